"""Curves of the final error against λ, their bootstrap replicates, and what is read off them.

A curve holds the runs of one experiment (or of several that repeat the same training) that differ in λ and seed
only. All functions of replicates take means as (replicates, λ).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import expit

from dualgrad.estimators import bootstrap
from dualgrad.statistics.inputs import Tables, constant_predictors

# Factors that tell curves of one experiment apart.
SPLIT = ("eta", "width_mult", "lr", "model", "method", "condition", "clean_ratio", "cos_target", "replicate")
CURVE_KEYS = ("eta", "width_mult", "lr", "model", "method", "clean_ratio", "replicate")

# Experiments that repeat the same training at other λ or seeds: taken together as one curve. A where-clause picks the
# rows that are the same training.
SAME_TRAINING: tuple[tuple[str, Mapping[str, Mapping[str, Any]]], ...] = (
    ("A+M2", {"A": {}, "M2": {}}),
    ("M3b+M3", {"M3b": {}, "M3": {}}),
    (
        "K+M1+M2+M3+N1+N2+P",
        {**{name: {} for name in ("K", "M1", "M2", "M3", "N1", "N2")}, "P": {"model": "ResNet18"}},
    ),
)


@dataclass(frozen=True)
class Curve:
    """Final errors by λ.

    Attributes:
        experiment: its name, or several joined by +.
        keys: factor levels that all its runs share.
        lam: λ levels, ascending.
        groups: errors of the runs at each λ.
        constant: how many runs at each λ end as constant predictors.
        missing: λ levels of the design at which no run has a final error.
    """

    experiment: str
    keys: Mapping[str, Any]
    lam: np.ndarray
    groups: tuple[np.ndarray, ...]
    constant: tuple[int, ...] = ()
    missing: tuple[float, ...] = ()

    @cached_property
    def means(self) -> np.ndarray:
        """Mean error at each λ, (λ,)."""
        return np.array([group.mean() for group in self.groups])

    @cached_property
    def variances(self) -> np.ndarray:
        """Population variance at each λ, (λ,)."""
        return np.array([group.var() for group in self.groups])

    @cached_property
    def sizes(self) -> np.ndarray:
        """Number of runs at each λ, (λ,)."""
        return np.array([len(group) for group in self.groups])

    @property
    def too_short(self) -> str | None:
        """Why nothing can be read off this curve, if that is so."""
        if len(self.lam) >= 3:
            return None
        return (
            f"final errors at {len(self.lam)} of {len(self.lam) + len(self.missing)} λ; a curve needs three"
        )

    @property
    def gaps(self) -> str | None:
        """A note on λ levels without final errors."""
        return (
            f"no final error at λ = {', '.join(f'{lam:g}' for lam in self.missing)}" if self.missing else None
        )

    @property
    def name(self) -> str:
        """What it is called in generators' names."""
        return f"{self.experiment}|{sorted((k, str(v)) for k, v in self.keys.items())}"

    def _draws(self, statistic: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> np.ndarray:
        rng = bootstrap.generator("curve", self.name)
        columns = [statistic(group, bootstrap.weights(rng, len(group))) for group in self.groups]
        return np.stack(columns, axis=1)

    @cached_property
    def mean_draws(self) -> np.ndarray:
        """Bootstrap replicates of the means, (replicates, λ); runs are drawn within each λ."""
        return self._draws(bootstrap.means)

    @cached_property
    def variance_draws(self) -> np.ndarray:
        """Bootstrap replicates of the variances, (replicates, λ), from the same draws as the means."""
        return self._draws(bootstrap.variances)

    def share_draws(self, threshold: float) -> tuple[np.ndarray, np.ndarray]:
        """Return the share of runs below a threshold at each λ, (λ,), and its replicates, (replicates, λ)."""
        rng = bootstrap.generator("curve", self.name)
        below = [(group < threshold).astype(float) for group in self.groups]
        draws = [bootstrap.means(group, bootstrap.weights(rng, len(group))) for group in below]
        return np.array([group.mean() for group in below]), np.stack(draws, axis=1)


def curves(runs: pd.DataFrame, least: int = 3) -> Iterator[Curve]:
    """Yield the curves of the given runs' experiments: one per combination of factors other than λ and seed.

    Runs trained without value gradient (λ = 0 of D1, D2 and G: plain cross-entropy) are no points of these curves.
    """
    runs = runs[runs["lam"] > 0]
    for experiment, rows in runs.groupby("experiment", sort=False):
        split = [name for name in SPLIT if rows[name].notna().any()]
        for levels, group in rows.groupby(split, sort=False, dropna=False):
            keys = dict(zip(split, levels, strict=True))
            if group["lam"].nunique() >= least:
                yield curve_of(str(experiment), keys, group)


def curve_of(experiment: str, keys: Mapping[str, Any], runs: pd.DataFrame) -> Curve:
    """Return the curve of some runs; runs without a final error are left out."""
    rows = runs.assign(constant=constant_predictors(runs)).dropna(subset=["lam", "test_error"])
    levels = np.sort(rows["lam"].unique())
    missing = sorted(set(runs["lam"].dropna()) - set(levels))
    errors, constant = [], []
    for level in levels:
        mine = rows[rows["lam"] == level]
        errors.append(mine["test_error"].to_numpy(dtype=float))
        constant.append(int(mine["constant"].sum()))
    shown = {name: value for name, value in keys.items() if value is not None and value == value}
    return Curve(experiment, shown, levels, tuple(errors), tuple(constant), tuple(missing))


def joined_curves(tables: Tables) -> Iterator[Curve]:
    """Yield the curves of experiments that repeat the same training, by noise rate, where two or more add to it."""
    for name, members in SAME_TRAINING:
        pieces = []
        for experiment, where in members.items():
            rows = tables.runs(experiment)
            for column, value in where.items():
                rows = rows[rows[column] == value]
            pieces.append(rows)
        whole = pd.concat(pieces)
        for eta, rows in whole.groupby("eta"):
            if rows["experiment"].nunique() > 1:
                yield curve_of(name, {"eta": eta}, rows)


# ------------------------------------------------------------------------------------------- read off curves


def last_crossing(lam: np.ndarray, values: np.ndarray, level: float | np.ndarray) -> np.ndarray:
    """Return where curves cross a level upwards for the last time, by linear interpolation.

    ``lam[i-1] + (level - y[i-1]) / (y[i] - y[i-1]) · (lam[i] - lam[i-1])`` for the largest i with
    ``y[i-1] < level <= y[i]``.

    Args:
        lam: λ levels, ascending.
        values: (replicates, λ).
        level: one level, or one per replicate.

    Returns:
        λ per replicate; +inf where the curve ends below the level (not reached within the grid), -inf where it never
        is below it.
    """
    values = np.atleast_2d(values)
    levels = np.broadcast_to(np.asarray(level, dtype=float), values.shape[:1])
    crosses = (values[:, :-1] < levels[:, None]) & (levels[:, None] <= values[:, 1:])
    at = values.shape[1] - 2 - np.argmax(crosses[:, ::-1], axis=1)
    rows = np.arange(len(values))
    before, after = values[rows, at], values[rows, at + 1]
    with np.errstate(divide="ignore", invalid="ignore"):
        crossing = lam[at] + (levels - before) / (after - before) * (lam[at + 1] - lam[at])
    never = np.where(values[:, -1] < levels, np.inf, -np.inf)
    return np.where(crosses.any(axis=1), crossing, never)


def steepest(lam: np.ndarray, values: np.ndarray, sign: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Return middle and slope of the steepest step (rising for sign 1, falling for -1), (replicates,) each.

    Args:
        lam: (λ,) ascending.
        values: (λ,), or (replicates, λ).
        sign: which way to look.
    """
    slopes = np.diff(np.atleast_2d(values), axis=1) / np.diff(lam)
    at = np.argmax(sign * slopes, axis=1)
    return (lam[at] + lam[at + 1]) / 2, slopes[np.arange(len(slopes)), at]


@dataclass(frozen=True)
class Sigmoid:
    """Fitted sigmoids, one per replicate: start + (end - start) / (1 + exp(-(λ - midpoint) / width))."""

    midpoint: np.ndarray
    width: np.ndarray
    start: np.ndarray
    end: np.ndarray


def fit_sigmoid(lam: np.ndarray, values: np.ndarray, sizes: np.ndarray) -> Sigmoid:
    """Fit sigmoids to curves by least squares over runs (weights: runs per λ), all replicates at once.

    Midpoint and width are searched (a grid over the λ range, refined three times around each replicate's best); for
    given ones the two plateaus are linear (variable projection). Plateaus lie in [0, 1], the midpoint within the
    grid, the width between a tenth of the smallest λ step and the whole range.

    Returns:
        One fit per replicate; NaN where no sigmoid with plateaus in [0, 1] exists.
    """
    values = np.atleast_2d(values)
    share = sizes / sizes.sum()
    span, step = lam[-1] - lam[0], np.diff(lam).min()
    low, high = np.log(0.1 * step), np.log(span)
    grid_m, grid_w = np.meshgrid(np.linspace(lam[0], lam[-1], 41), np.linspace(low, high, 13))
    middle, width = grid_m.ravel()[None], grid_w.ravel()[None]
    size_m, size_w = span / 40, (high - low) / 12
    for round_ in range(4):
        best = _best(lam, values, share, middle, width)
        if round_ == 3:
            break
        offsets_m, offsets_w = np.meshgrid(np.linspace(-1, 1, 7), np.linspace(-1, 1, 5))
        middle = np.clip(best[0][:, None] + size_m * offsets_m.ravel(), lam[0], lam[-1])
        width = np.clip(best[1][:, None] + size_w * offsets_w.ravel(), low, high)
        size_m, size_w = size_m / 3, size_w / 2
    midpoint, log_width, start, end = best
    none = np.isnan(start)
    return Sigmoid(np.where(none, np.nan, midpoint), np.where(none, np.nan, np.exp(log_width)), start, end)


def _best(
    lam: np.ndarray, values: np.ndarray, share: np.ndarray, middle: np.ndarray, width: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return (midpoint, log width, start, end) of each replicate's best candidate.

    ``middle`` and ``width`` (logarithm) are (1 or replicates, candidates).
    """
    shape = expit((lam - middle[..., None]) / np.exp(width)[..., None])  # (1 or replicates, candidates, λ)
    centre = shape @ share
    apart = shape - centre[..., None]
    spread = np.maximum((apart**2) @ share, 1e-300)
    level = values @ share
    off = (values - level[:, None]) * share
    product = off @ apart[0].T if len(middle) == 1 else np.einsum("rk,rck->rc", off, apart)
    height = product / spread
    start = level[:, None] - height * centre
    end = start + height
    gain = (
        product * height
    )  # what the fit explains; the rest of the sum of squares is the same for all candidates
    feasible = (start >= 0) & (start <= 1) & (end >= 0) & (end <= 1)
    gain = np.where(feasible, gain, -np.inf)
    at = np.argmax(gain, axis=1)
    rows = np.arange(len(values))
    possible = np.isfinite(gain[rows, at])

    def pick(array: np.ndarray) -> np.ndarray:
        wide = np.broadcast_to(array, gain.shape)
        return np.where(possible, wide[rows, at], np.nan)

    # An impossible replicate keeps its place in later rounds and is NaN in the end.
    return (
        np.where(possible, pick(middle), lam[0]),
        np.where(possible, pick(width), 0.0),
        pick(start),
        pick(end),
    )


def key_words(keys: Mapping[str, Any], wanted: Sequence[str]) -> dict[str, Any]:
    """Return the wanted keys of a curve, absent ones left out."""
    return {name: keys[name] for name in wanted if name in keys}
