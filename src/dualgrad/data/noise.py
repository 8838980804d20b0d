"""Label noise and value labels, exactly as published.

Every published procedure draws from numpy's legacy generator (MT19937). Here each gets a private
`RandomState`, which yields the same numbers as the published calls on the seeded global generator, and the
published per-index loops are replaced by vector draws that are bit-identical to them. Labels are int64
vectors of shape (n,) in data-set order; no function changes its input.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dualgrad.census.run import (
    AsymmetricBernoulli,
    AsymmetricExact,
    LabelFile,
    Noise,
    Symmetric,
    TextPool,
    Transition,
    ValueSignal,
)
from dualgrad.data.errors import DataError
from dualgrad.data.trusted import trusted_subset

if TYPE_CHECKING:
    import torch

# X-Y.md#1.2: the private generator of trusted set, flips and subsample is seeded with run seed + 10000.
TEXT_SEED_OFFSET = 10_000
ImageNoise = Symmetric | AsymmetricBernoulli | AsymmetricExact | Transition


def _check_rate(rate: float) -> None:
    if not 0.0 <= rate <= 1.0:
        raise ValueError(f"noise rate {rate!r} is outside [0, 1]")


def symmetric(labels: np.ndarray, classes: int, rate: float, seed: int) -> np.ndarray:
    """Noisy labels (n,): int(rate * n) examples get a uniformly drawn *wrong* class.

    The true class is excluded, so the realised rate is exact, and for one seed the noise at a lower rate is
    part of the noise at a higher one. Source: A-G.md#1.2, I-P.md#0, Q-R.md#1.2, S-T.md#0.2, Td-W.md#1.
    """
    _check_rate(rate)
    labels = np.asarray(labels, dtype=np.int64)
    state = np.random.RandomState(seed)
    indices = state.permutation(len(labels))[: int(rate * len(labels))]
    draws = state.randint(0, classes - 1, size=len(indices))
    noisy = labels.copy()
    noisy[indices] = draws + (draws >= labels[indices])
    return noisy


def asymmetric_bernoulli(
    labels: np.ndarray, mapping: Sequence[Sequence[int]], rate: float, seed: int
) -> np.ndarray:
    """Noisy labels (n,): each example of a mapped class flips independently with probability `rate`.

    `mapping` holds pairs (source class, target class). Walking through the data set, only examples of a
    mapped class consume a uniform draw u, and flip if u < rate. Source: A-G.md#1.3 (experiment G).
    """
    _check_rate(rate)
    labels = np.asarray(labels, dtype=np.int64)
    target = labels.copy()
    affected = np.zeros(len(labels), dtype=bool)
    for source, destination in mapping:
        members = labels == source
        affected |= members
        target[members] = destination
    positions = np.flatnonzero(affected)
    flipped = positions[np.random.RandomState(seed).random_sample(len(positions)) < rate]
    noisy = labels.copy()
    noisy[flipped] = target[flipped]
    return noisy


def asymmetric_exact(
    labels: np.ndarray, mapping: Sequence[Sequence[int]], rate: float, seed: int
) -> np.ndarray:
    """Noisy labels (n,): of each mapped class exactly int(rate * class size) examples flip.

    The pairs (source, target) are served in the given order, from one generator; membership goes by the
    clean label. Source: docs/specification/Td-W.md#V1.
    """
    _check_rate(rate)
    labels = np.asarray(labels, dtype=np.int64)
    state = np.random.RandomState(seed)
    noisy = labels.copy()
    for source, destination in mapping:
        members = np.flatnonzero(labels == source)
        noisy[members[state.permutation(len(members))[: int(rate * len(members))]]] = destination
    return noisy


def transition(labels: np.ndarray, matrix: Sequence[Sequence[float]], seed: int) -> np.ndarray:
    """Noisy labels (n,): each example of class c gets class k with probability `matrix[c][k]`, on its own.

    One uniform draw u per example, in data-set order; its label is the first k whose cumulative share exceeds u.
    """
    labels = np.asarray(labels, dtype=np.int64)
    ends = np.cumsum(np.asarray(matrix, dtype=float), axis=1)
    ends /= ends[:, -1:]
    draws = np.random.RandomState(seed).random_sample(len(labels))
    return (draws[:, None] >= ends[labels]).sum(axis=1).astype(np.int64)


def text_pool(
    labels: np.ndarray,
    rate: float,
    trusted_ratio: float,
    subset: int | None,
    seed: int,
    *,
    seed_offset: int = TEXT_SEED_OFFSET,
    classes: int = 2,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Trusted set, label flips and structure subset of a text run, in the published draw order (X-Y.md#1.2).

    The trusted set is drawn per true class (max(1, floor(ratio * class size)) each) and leaves the noisy
    pool; floor(rate * pool size) labels of the pool flip to another class; `subset` examples of the pool,
    drawn without regard to the flips, form the structure set (None: the whole pool).

    Returns (structure indices, sorted; noisy labels of all n examples, clean where trusted; trusted indices,
    sorted). Raises ValueError where `subset` exceeds the pool or a rate is outside [0, 1].
    """
    _check_rate(rate)
    if not 0.0 <= trusted_ratio <= 1.0:
        raise ValueError(f"trusted ratio {trusted_ratio!r} is outside [0, 1]")
    labels = np.asarray(labels, dtype=np.int64)
    state = np.random.RandomState(seed + seed_offset)

    drawn = []
    for c in range(classes):
        members = np.flatnonzero(labels == c)
        drawn.append(members[state.permutation(len(members))[: max(1, int(trusted_ratio * len(members)))]])
    trusted = np.sort(np.concatenate(drawn))

    in_pool = np.ones(len(labels), dtype=bool)
    in_pool[trusted] = False
    pool = np.flatnonzero(in_pool)
    flipped = pool[state.permutation(len(pool))[: int(rate * len(pool))]]
    # With two classes there is one candidate, and drawing it does not advance the generator, here as in the
    # original.
    draws = state.randint(0, classes - 1, size=len(flipped))
    noisy = labels.copy()
    noisy[flipped] = draws + (draws >= labels[flipped])

    if subset is None:
        return pool, noisy, trusted
    if subset > len(pool):
        raise ValueError(
            f"a structure set of {subset} was asked for, but the noisy pool holds only {len(pool)}"
        )
    return np.sort(pool[state.permutation(len(pool))[:subset]]), noisy, trusted


def random_labels(
    n: int, classes: int, *, seed: int | None = None, generator: torch.Generator | None = None
) -> np.ndarray:
    """Uniform value labels (n,), true class included, fixed per example for a run.

    With `seed`: numpy's legacy generator, as in J (seed 2000 for every run; I-P.md#J). With `generator`: a
    private torch CPU generator, for B and C-Misaligned, whose published labels came from the GPU's generator
    (docs/specification/A-G.md#1.5, step 6) and so cannot be repeated on another device.
    """
    if (seed is None) == (generator is None):
        raise ValueError("random_labels needs either a seed or a generator")
    if seed is not None:
        return np.random.RandomState(seed).randint(0, classes, size=n).astype(np.int64)
    import torch

    return torch.randint(0, classes, (n,), generator=generator).numpy()


def shifted(labels: np.ndarray, classes: int) -> np.ndarray:
    """Systematically wrong value labels (n,): the next class, (y + 1) mod classes (A-G.md#B2)."""
    return (np.asarray(labels, dtype=np.int64) + 1) % classes


def generator_seed(seed: int | None, offset: int | None, base_seed: int | None) -> int:
    """The seed of a part of a run: its own where it is fixed, else the run's base seed and an offset.

    Raises DataError where there is neither.
    """
    if seed is not None:
        return seed
    if base_seed is None:
        raise DataError("this block has a seed_offset, which needs the run's base seed, and there is none")
    return base_seed + (offset or 0)


def noisy_labels(noise: ImageNoise, labels: np.ndarray, classes: int, base_seed: int | None) -> np.ndarray:
    """Noisy labels (n,) by a run's label noise; for noise `text_pool` see `label_tables`."""
    seed = generator_seed(noise.seed, noise.seed_offset, base_seed)
    if isinstance(noise, Symmetric):
        return symmetric(labels, classes, noise.rate, seed)
    if isinstance(noise, Transition):
        return transition(labels, noise.matrix, seed)
    draw = asymmetric_bernoulli if isinstance(noise, AsymmetricBernoulli) else asymmetric_exact
    return draw(labels, noise.map, noise.rate, seed)


@dataclass(frozen=True)
class LabelTables:
    """All label vectors of a run, int64, over the whole training set (n,), plus index sets.

    clean, noisy: labels by example; structure: indices the structure gradient draws batches from (ascending);
    trusted: indices of the trusted set, or None; value: labels for the value gradient, or None where
    they are random and neither a seed nor a generator was given.
    """

    clean: np.ndarray
    noisy: np.ndarray
    structure: np.ndarray
    trusted: np.ndarray | None
    value: np.ndarray | None


def label_tables(
    noise: Noise,
    value: ValueSignal,
    labels: np.ndarray,
    classes: int,
    base_seed: int | None,
    *,
    subset: int | None = None,
    generator: torch.Generator | None = None,
    given: np.ndarray | None = None,
    listed: np.ndarray | None = None,
) -> LabelTables:
    """Label vectors and index sets of a run, from its label noise and its value signal.

    `labels` are the clean labels (n,). `base_seed` is the seed s that offsets are added to. `subset` is the
    size of a text run's structure set. `generator` is the run's private stream for random value labels
    (needed only where value.labels is random without a fixed seed). `given` are the noisy labels (n,) where the
    noise is a file's, `listed` the indices of the trusted examples where a file lists them.
    """
    labels = np.asarray(labels, dtype=np.int64)
    n = len(labels)
    if isinstance(noise, TextPool):
        assert value.trusted is not None and value.trusted.ratio is not None  # as the model of a run has it
        structure, noisy, trusted = text_pool(
            labels,
            noise.rate,
            value.trusted.ratio,
            subset,
            generator_seed(noise.seed, 0, base_seed),
            seed_offset=noise.seed_offset or 0,
            classes=classes,
        )
        return LabelTables(labels, noisy, structure, trusted, labels)

    chosen = listed
    if value.trusted is not None and value.trusted.ratio is not None:
        chosen = trusted_subset(
            n, value.trusted.ratio, generator_seed(None, value.trusted.seed_offset, base_seed)
        )
    targets: np.ndarray | None = labels
    if value.labels == "shifted":
        targets = shifted(labels, classes)
    elif value.labels == "random":
        fixed = value.random.seed if value.random is not None else None
        targets = None
        if fixed is not None:
            targets = random_labels(n, classes, seed=fixed)
        elif generator is not None:
            targets = random_labels(n, classes, generator=generator)
    if isinstance(noise, LabelFile):
        if given is None:
            raise DataError("noise from a file needs the labels that it holds")
        noisy = given
    else:
        noisy = noisy_labels(noise, labels, classes, base_seed)
    return LabelTables(labels, noisy, np.arange(n, dtype=np.int64), chosen, targets)
