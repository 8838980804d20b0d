"""Curves of the final error against λ, their bootstrap replicates, and what is read off them.

A curve holds the runs of one experiment (or of several that repeat the same training) that differ in λ and seed
only. Runs of one seed share its label noise and its initial weights at every λ: whole seeds are drawn or left out,
never single runs. All functions of replicates take means as (replicates, λ).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from dualgrad.estimators import bootstrap
from dualgrad.estimators.units import bounds_of
from dualgrad.statistics.facts import constant_predictors
from dualgrad.tables.edition import Tables
from dualgrad.tables.schema import FLOAT64, STRING, Column

# Factors that tell curves of one experiment apart.
SPLIT = (
    "noise_rate",
    "width_mult",
    "lr",
    "model",
    "method",
    "condition",
    "clean_ratio",
    "cos_target",
    "replicate",
)
CURVE_COLUMNS = (
    Column("noise_rate", FLOAT64, "label-noise rate η", "fraction"),
    Column("width_mult", FLOAT64, "width multiplier (Q1)"),
    Column("lr", FLOAT64, "initial learning rate (Q3; P2: as recorded)"),
    Column("model", STRING, "architecture (P, P2, X)"),
    Column("method", STRING, "method, where recorded"),
    Column("clean_ratio", FLOAT64, "trusted share of the training set (D1, D2)", "fraction"),
    Column("replicate", FLOAT64, "which execution of the same grid (M1)"),
)
CURVE_KEYS = tuple(column.name for column in CURVE_COLUMNS)

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
        seeds: seed of each run, by λ as in groups; none: every run is a unit of its own.
    """

    experiment: str
    keys: Mapping[str, Any]
    lam: np.ndarray
    groups: tuple[np.ndarray, ...]
    constant: tuple[int, ...] = ()
    missing: tuple[float, ...] = ()
    seeds: tuple[np.ndarray, ...] = ()

    @cached_property
    def means(self) -> np.ndarray:
        """Mean error at each λ, (λ,)."""
        return np.array([group.mean() for group in self.groups])

    @cached_property
    def variances(self) -> np.ndarray:
        """Population variance at each λ, (λ,)."""
        return np.array([bootstrap.variance(group) for group in self.groups])

    @cached_property
    def sizes(self) -> np.ndarray:
        """Number of runs at each λ, (λ,)."""
        return np.array([len(group) for group in self.groups])

    @cached_property
    def places(self) -> tuple[np.ndarray, ...]:
        """Number of the unit (seed) that each run belongs to, by λ."""
        if not self.seeds:
            ends = np.cumsum(self.sizes)
            return tuple(np.arange(end - size, end) for end, size in zip(ends, self.sizes, strict=True))
        known = np.unique(np.concatenate(self.seeds))
        return tuple(np.searchsorted(known, seeds) for seeds in self.seeds)

    @cached_property
    def units(self) -> int:
        """Number of independent units: seeds."""
        return max((int(place.max()) for place in self.places), default=-1) + 1

    @property
    def runs(self) -> int:
        """Number of runs."""
        return int(self.sizes.sum())

    @property
    def least(self) -> int:
        """Number of units at the λ that has fewest."""
        return min(len(np.unique(place)) for place in self.places)

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

    @cached_property
    def _shares(self) -> tuple[np.ndarray, ...]:
        """Weight of each run in each replicate's mean, by λ, (replicates, runs): whole seeds are drawn."""
        rng = bootstrap.generator("curve", self.units, *self.sizes)
        counts = rng.multinomial(self.units, np.full(self.units, 1 / self.units), size=bootstrap.RESAMPLES)
        for _ in range(200):  # a λ that has few of the seeds may get none of them: draw again
            empty = np.any([counts[:, place].sum(axis=1) == 0 for place in self.places], axis=0)
            if not empty.any():
                break
            size = int(empty.sum())
            counts[empty] = rng.multinomial(self.units, np.full(self.units, 1 / self.units), size=size)
        drawn = (counts[:, place].astype(float) for place in self.places)
        return tuple(np.nan_to_num(one / one.sum(axis=1, keepdims=True)) for one in drawn)

    def _draws(self, statistic: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> np.ndarray:
        pairs = zip(self.groups, self._shares, strict=True)
        return np.stack([statistic(group, shares) for group, shares in pairs], axis=1)

    def _left_out(self, statistic: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> np.ndarray:
        """A statistic at each λ with one unit left out at a time, (units, λ); NaN where none is left."""
        columns = []
        for group, place in zip(self.groups, self.places, strict=True):
            kept = (place[None] != np.arange(self.units)[:, None]).astype(float)
            with np.errstate(invalid="ignore"):
                columns.append(statistic(group, kept / kept.sum(axis=1, keepdims=True)))
        return np.stack(columns, axis=1)

    @cached_property
    def means_left_out(self) -> np.ndarray:
        """Means with one seed left out at a time, (units, λ)."""
        return self._left_out(bootstrap.means)

    @cached_property
    def variances_left_out(self) -> np.ndarray:
        """Variances with one seed left out at a time, (units, λ)."""
        return self._left_out(bootstrap.variances)

    def interval(self, of: Callable[[np.ndarray], np.ndarray]) -> bootstrap.Bounds | None:
        """Return the interval of what a function reads off the means: takes (rows, λ), returns (rows,).

        The jackknife's over seeds below eight of them, else percentiles of resampled seeds.
        """
        if self.least < bootstrap.SMALL:
            return bounds_of(float(of(self.means[None])[0]), of(self.means_left_out))
        return bootstrap.percentile(of(self.mean_draws), n=self.least)

    @cached_property
    def by_seed(self) -> np.ndarray | None:
        """Errors by seed and λ, (units, λ), where every seed has one run at every λ; else None."""
        if any(len(place) != self.units or len(np.unique(place)) != self.units for place in self.places):
            return None
        return np.stack(
            [group[np.argsort(place)] for group, place in zip(self.groups, self.places, strict=True)], axis=1
        )

    def lowest(self) -> bootstrap.Bounds | None:
        """Return the interval of the λ with the lowest mean.

        Below eight seeds the λ that tests do not rule out, else percentiles of resampled seeds.
        """
        if self.least >= bootstrap.SMALL:
            return bootstrap.percentile(self.lam[self.mean_draws.argmin(axis=1)], n=self.least)
        table = self.by_seed
        groups = self.groups if table is None else tuple(table.T)
        return bootstrap.lowest_bounds(self.lam, groups, table is not None)

    def variance_bounds(self, at: int, level: float = bootstrap.LEVEL) -> bootstrap.Bounds | None:
        """Return the interval of the population variance at one λ: ln s² ± t · (jackknife standard error of ln s²).

        Args:
            at: number of the λ.
            level: confidence level.

        Returns:
            None for five seeds or fewer; no width where nothing varies.
        """
        place, group = self.places[at], self.groups[at]
        units = np.unique(place)
        n, size = len(units), len(group)
        if n <= bootstrap.LEAST_FOR_SPREAD:
            return None
        value = self.variances[at]
        if value == 0:
            return 0.0, 0.0, bootstrap.JACKKNIFE
        kept = np.array([size - (place == unit).sum() for unit in units])
        left = np.maximum(self.variances_left_out[units, at] * kept / (kept - 1), 1e-300)
        logs = np.log(left)
        error = float(np.sqrt((n - 1) / n * ((logs - logs.mean()) ** 2).sum()))
        reach = float(np.exp(stdtrit(n - 1, (1 + level) / 2) * error))
        return float(value / reach), float(value * reach), bootstrap.JACKKNIFE

    def peak_bounds(self) -> bootstrap.Bounds | None:
        """Return the interval of the largest variance over λ, which was chosen by looking (Bonferroni)."""
        each = 1.0 - (1.0 - bootstrap.LEVEL) / len(self.lam)
        found = [self.variance_bounds(at, each) for at in range(len(self.lam))]
        known = [bounds for bounds in found if bounds is not None]
        if len(known) < len(found):
            return None
        how = f"{bootstrap.JACKKNIFE}, Bonferroni"
        return max(low for low, _, _ in known), max(high for _, high, _ in known), how

    @cached_property
    def mean_draws(self) -> np.ndarray:
        """Bootstrap replicates of the means, (replicates, λ); whole seeds are drawn."""
        return self._draws(bootstrap.means)

    @cached_property
    def variance_draws(self) -> np.ndarray:
        """Bootstrap replicates of the variances, (replicates, λ), from the same draws as the means."""
        return self._draws(bootstrap.variances)

    def share_below(self, threshold: float) -> Curve:
        """Return the curve of the share of runs below a threshold, of the same seeds."""
        below = tuple((group < threshold).astype(float) for group in self.groups)
        return replace(self, groups=below)


def curves(runs: pd.DataFrame) -> Iterator[Curve]:
    """Yield the curves of the given runs' experiments: one per combination of factors other than λ and seed.

    A curve has three λ or more. Runs trained without value gradient (λ = 0 of D1, D2 and G: plain cross-entropy) are
    no points of it.
    """
    runs = runs[runs["lam"] > 0]
    for experiment, rows in runs.groupby("experiment", sort=False):
        split = [name for name in SPLIT if rows[name].notna().any()]
        for levels, group in rows.groupby(split, sort=False, dropna=False):
            keys = dict(zip(split, levels, strict=True))
            if group["lam"].nunique() >= 3:
                yield curve_of(str(experiment), keys, group)


def curve_of(experiment: str, keys: Mapping[str, Any], runs: pd.DataFrame) -> Curve:
    """Return the curve of some runs; runs without a final error are left out."""
    rows = runs.assign(constant=constant_predictors(runs)).dropna(subset=["lam", "test_error"])
    levels = np.sort(rows["lam"].unique())
    missing = sorted(set(runs["lam"].dropna()) - set(levels))
    errors, constant, seeds = [], [], []
    for level in levels:
        mine = rows[rows["lam"] == level]
        errors.append(mine["test_error"].to_numpy(dtype=float))
        constant.append(int(mine["constant"].sum()))
        seeds.append(mine["seed"].to_numpy(dtype=float))
    shown = {name: value for name, value in keys.items() if value is not None and value == value}
    return Curve(experiment, shown, levels, tuple(errors), tuple(constant), tuple(missing), tuple(seeds))


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
        for eta, rows in whole.groupby("noise_rate"):
            if rows["experiment"].nunique() > 1:
                yield curve_of(name, {"noise_rate": eta}, rows)


def key_words(keys: Mapping[str, Any], wanted: Sequence[str]) -> dict[str, Any]:
    """Return the wanted keys of a curve, absent ones left out."""
    return {name: keys[name] for name in wanted if name in keys}
