"""Data sets that installed packages or source distributions hold, for the editions in miniature."""

from __future__ import annotations

import io
import math
from typing import Any

import numpy as np

from dualgrad.census.datasets import DigitPairs, Digits, RatedSentences
from dualgrad.data.content import Arrays, text_arrays
from dualgrad.data.errors import DataError
from dualgrad.data.places import Place
from dualgrad.data.store import tar_member

_LARGEST = 16 << 20  # bytes of a list of sentences


def digits(layout: Digits) -> Arrays:
    """Return scikit-learn's 1,797 handwritten digits (8x8), as many of each class for testing."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = ((bunch.images.astype(np.int64) * 255 + 8) // 16).astype(np.uint8)[:, None]
    labels = bunch.target.astype(np.int64)
    state = np.random.RandomState(layout.seed)
    is_test = np.zeros(len(labels), dtype=bool)
    for c in range(10):
        is_test[state.permutation(np.flatnonzero(labels == c))[: layout.test_per_class]] = True
    return {
        "train_images": images[~is_test],
        "train_labels": labels[~is_test],
        "test_images": images[is_test],
        "test_labels": labels[is_test],
    }


def digit_pairs(layout: DigitPairs) -> Arrays:
    """Return pairs of digits (8x16), class 10 * left + right, in shuffled order.

    Training and test pairs share no digit image.
    """
    single = digits(layout.digits)
    state = np.random.RandomState(layout.seed)
    out: Arrays = {}
    for part, per_class in (("train", layout.train_per_class), ("test", layout.test_per_class)):
        images, labels = single[f"{part}_images"], single[f"{part}_labels"]
        members = [np.flatnonzero(labels == c) for c in range(10)]
        pair_labels = state.permutation(np.repeat(np.arange(100, dtype=np.int64), per_class))
        left = np.array([members[c][state.randint(len(members[c]))] for c in pair_labels // 10])
        right = np.array([members[c][state.randint(len(members[c]))] for c in pair_labels % 10])
        out[f"{part}_images"] = np.concatenate([images[left], images[right]], axis=3)
        out[f"{part}_labels"] = pair_labels
    return out


def rated_sentences(place: Place, layout: RatedSentences) -> Arrays:
    """Return sentences labelled by the sign of their rating, in three splits; a rating of 0 has none and is left out.

    ``<split>_order``: places in the source.

    Raises:
        DataError: the archive does not hold what it should.
    """
    sdist = place.path
    inner = next((content for _, content in place.read(lambda name: str(name) == layout.archive)), None)
    if inner is None:
        raise DataError(f"{sdist}: the file {layout.archive} is missing")
    content = tar_member(io.BytesIO(inner), f"{sdist}/{layout.archive}", layout.file, _LARGEST)
    try:
        rows = [line.split("\t") for line in content.decode("utf-8").split("\n") if line.strip()]
        rated = [(sentence, float(rating)) for _, rating, sentence in rows]
    except ValueError as error:  # no UTF-8, not three fields, no number
        raise DataError(
            f"{sdist}: {layout.file}: expected number, rating and sentence in a row ({error})"
        ) from error
    if len(rows) != layout.rows or not all(math.isfinite(rating) for _, rating in rated):
        raise DataError(
            f"{sdist}: {layout.file} does not hold {layout.rows:,} rows of number, rating and sentence"
        )
    kept = [(sentence, int(rating > 0)) for sentence, rating in rated if rating != 0]
    labels = np.array([label for _, label in kept], dtype=np.int64)
    arrays: Arrays = {}
    for split, indices in _split(labels, layout).items():
        arrays |= text_arrays(split, [kept[i][0] for i in indices], labels[indices])
        arrays[f"{split}_order"] = indices
    return arrays


def _split(labels: np.ndarray, layout: RatedSentences) -> dict[str, np.ndarray]:
    """Indices of test and pretraining sentences, as many of either class, and of the rest, for training."""
    state = np.random.RandomState(layout.seed)
    parts: dict[str, list[Any]] = {"test": [], "pretrain": [], "train": []}
    for c in (0, 1):
        members = state.permutation(np.flatnonzero(labels == c))
        cuts = np.split(members, [layout.test_per_class, layout.test_per_class + layout.pretrain_per_class])
        for part, indices in zip(parts, cuts, strict=True):
            parts[part].append(indices)
    return {part: np.sort(np.concatenate(indices)) for part, indices in parts.items()}
