"""A scan over a numeric factor: where the outcome is lowest, where it starts to rise, where it spreads most.

The factor has levels in ascending order, and each level has runs. Where the same repetitions (seeds) were run at
every level, differences and resamples are by repetition (paired); otherwise levels are independent samples.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dualgrad.estimators import bootstrap
from dualgrad.estimators.curves import last_crossing
from dualgrad.estimators.spread import brown_forsythe, smallest_p
from dualgrad.estimators.units import bounds_of_samples


@dataclass(frozen=True)
class Estimate:
    """A number and the ends of its interval at ``bootstrap.LEVEL``; None: no interval, or open at this end."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Scan:
    """What is read off a scan.

    Attributes:
        levels: of the factor, ascending.
        n: number of runs at each.
        means: of the outcome at each.
        ends: of the mean's interval (Student's) at each; None below two runs.
        paired: whether every repetition was run at every level.
        optimum: the level with the lowest mean; its interval comes from resampled runs, below eight of them from
            tests: levels that these do not rule out.
        lowest: the mean there. It was chosen by looking, so a little too low.
        below, above: what one step of the grid loses: mean at the neighbouring level minus the lowest; None at an
            end. As the lowest was chosen by looking, their intervals and rise's are Bonferroni's over all others.
        rise: first level above the optimum from which on every mean is told apart from the lowest one; None: none is.
        rise_by: how much higher the mean is there.
        middle: level where the mean, beyond the optimum, last crosses half-way between the lowest and the highest
            mean upwards, by linear interpolation; None: the outcome does not rise beyond the optimum.
        crossing: the same for a fixed value of the outcome; None where none was asked for or it is not crossed.
        widest: level with the largest variance; None where no level has two runs.
        widest_ratio: that variance over the one at the optimum; None: one of them is 0 or unknown.
        widest_p: p value of Brown and Forsythe's test of these two.
    """

    levels: tuple[float, ...]
    n: tuple[int, ...]
    means: tuple[float, ...]
    ends: tuple[tuple[float, float] | None, ...]
    paired: bool
    optimum: Estimate
    lowest: Estimate
    below: Estimate | None
    above: Estimate | None
    rise: float | None
    rise_by: Estimate | None
    middle: Estimate | None
    crossing: Estimate | None
    widest: float | None
    widest_ratio: float | None
    widest_p: float | None

    @property
    def at_edge(self) -> bool:
        """Whether the lowest mean lies at the first or last level: the real optimum may lie beyond."""
        return self.optimum.value in (self.levels[0], self.levels[-1])


def scan(
    levels: Sequence[float], groups: Sequence[np.ndarray], *, paired: bool = False, level: float | None = None
) -> Scan:
    """Read a scan.

    Args:
        levels: (k,) ascending, three or more.
        groups: the outcome of the runs at each level; of equal length and in the same order of repetitions where
            *paired*.
        paired: whether repetitions are the same at every level.
        level: a value of the outcome whose crossing is asked for.

    Raises:
        ValueError: fewer than three levels, a level without runs, levels out of order, or pairs that are none.
    """
    at = np.asarray(levels, dtype=float)
    data = [np.asarray(group, dtype=float) for group in groups]
    if len(at) < 3 or len(at) != len(data) or (np.diff(at) <= 0).any() or min(map(len, data)) == 0:
        raise ValueError("expected three levels or more, ascending, each with runs")
    if paired and len({len(group) for group in data}) > 1:
        raise ValueError("expected equally many runs at every level of a paired scan")
    means = np.array([group.mean() for group in data])
    sizes = [len(group) for group in data]
    best = int(means.argmin())
    few = min(sizes) < bootstrap.SMALL
    draws = None if few else _draws(data, paired)

    each = 1.0 - (1.0 - bootstrap.LEVEL) / (len(at) - 1)

    def apart(k: int) -> Estimate:
        return difference(data[k], data[best], paired=paired, level=each)

    later = [(k, apart(k)) for k in range(best + 1, len(at))]
    risen = None
    for k, one in reversed(later):
        if one.low is None or one.low <= 0:
            break
        risen = k, one
    widest, ratio, p_value = _widest(at, data, best)
    if draws is None:
        optimum = bootstrap.lowest_bounds(at, data, paired)
    else:
        optimum = bootstrap.percentile(at[draws.argmin(axis=1)], n=min(sizes))
    left = _left_out(data, paired) if few else []
    return Scan(
        levels=tuple(map(float, at)),
        n=tuple(sizes),
        means=tuple(map(float, means)),
        ends=tuple(None if bounds is None else bounds[:2] for bounds, _ in map(bootstrap.t_bounds, data)),
        paired=paired,
        optimum=_estimate(float(at[best]), optimum),
        lowest=mean(data[best]),
        below=apart(best - 1) if best else None,
        above=apart(best + 1) if best + 1 < len(at) else None,
        rise=None if risen is None else float(at[risen[0]]),
        rise_by=None if risen is None else risen[1],
        middle=_crossing(at, means, draws, left, min(sizes), None),
        crossing=None if level is None else _crossing(at, means, draws, left, min(sizes), level),
        widest=widest,
        widest_ratio=ratio,
        widest_p=p_value,
    )


def mean(values: np.ndarray) -> Estimate:
    """Return a mean with Student's interval."""
    return _estimate(float(values.mean()), bootstrap.t_bounds(values)[0])


def difference(
    first: np.ndarray, second: np.ndarray, *, paired: bool, level: float = bootstrap.LEVEL
) -> Estimate:
    """Return mean(first) - mean(second) with Student's interval of the pairs, or Welch's of two samples."""
    if paired:
        bounds = bootstrap.t_bounds(first - second, level=level)[0]
    else:
        bounds = bootstrap.welch_bounds(first, second, level)
    return _estimate(float(first.mean() - second.mean()), bounds)


def _draws(data: Sequence[np.ndarray], paired: bool) -> np.ndarray:
    """Resampled means, (replicates, levels)."""
    sizes = [len(group) for group in data]
    rng = bootstrap.generator("scan", paired, *sizes)
    if paired:
        return bootstrap.means(np.stack(data, axis=1), bootstrap.weights(rng, sizes[0]))
    return np.stack([bootstrap.means(group, bootstrap.weights(rng, len(group))) for group in data], axis=1)


def _left_out(data: Sequence[np.ndarray], paired: bool) -> list[np.ndarray]:
    """Means with one repetition left out, (repetitions, levels): of all levels, or of one level at a time.

    Empty where a level has a single run.
    """
    if min(map(len, data)) < 2:
        return []
    without = [(group.sum() - group) / (len(group) - 1) for group in data]
    if paired:
        return [np.stack(without, axis=1)]
    means = np.array([group.mean() for group in data])
    found = []
    for k, column in enumerate(without):
        rows = np.tile(means, (len(column), 1))
        rows[:, k] = column
        found.append(rows)
    return found


def _crossing(
    at: np.ndarray,
    means: np.ndarray,
    draws: np.ndarray | None,
    left: Sequence[np.ndarray],
    n: int,
    level: float | None,
) -> Estimate | None:
    """Last upward crossing of a level; of None: half-way between the lowest mean and the highest one beyond it."""

    def place(rows: np.ndarray) -> np.ndarray:
        if level is not None:
            return last_crossing(at, rows, level)
        best = rows.argmin(axis=1)
        beyond = np.arange(rows.shape[1])[None] >= best[:, None]
        highest = np.where(beyond, rows, -np.inf).max(axis=1)
        cut = np.where(beyond, rows, rows.min(axis=1)[:, None])
        return last_crossing(at, cut, (rows.min(axis=1) + highest) / 2)

    (found,) = place(means[None])
    if not np.isfinite(found):
        return None
    if draws is not None:
        return _estimate(float(found), bootstrap.percentile(place(draws), n=n))
    bounds = bounds_of_samples(float(found), [place(rows) for rows in left]) if left else None
    return _estimate(float(found), bounds)


def _widest(
    at: np.ndarray, data: Sequence[np.ndarray], best: int
) -> tuple[float | None, float | None, float | None]:
    several = [k for k, group in enumerate(data) if len(group) > 1]
    if not several:
        return None, None, None
    spread = {k: bootstrap.variance(data[k], 1) for k in several}
    widest = max(several, key=spread.__getitem__)
    if widest == best:
        return float(at[widest]), 1.0, None
    if best not in spread or spread[best] == 0 or spread[widest] == 0:
        return float(at[widest]), None, None
    p_value = math.nan  # runs that are too few to differ by this test are not tested
    if smallest_p(len(data[widest]), len(data[best])) < 0.05:
        p_value = brown_forsythe(data[widest], data[best])
    return float(at[widest]), spread[widest] / spread[best], None if math.isnan(p_value) else p_value


def _estimate(value: float, bounds: bootstrap.Bounds | None) -> Estimate:
    low, high = (None, None) if bounds is None else bounds[:2]
    return Estimate(
        value,
        low if low is not None and np.isfinite(low) else None,
        high if high is not None and np.isfinite(high) else None,
    )
