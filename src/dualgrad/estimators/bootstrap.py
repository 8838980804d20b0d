"""Intervals: bootstrap (vectorised, fixed seed), Student t, exact binomial.

A bootstrap replicate draws n values with replacement from n; only the counts matter, so a replicate's mean is a
row of multinomial weights times the values, and all replicates are one matrix product. Generators are seeded from
:data:`SEED` and the shape of the data: an estimate does not depend on what else is computed, and equal data give
equal intervals.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from scipy.special import betaincinv, ndtr, stdtr, stdtrit

SEED = 3916
RESAMPLES = 2000
LEVEL = 0.95

BOOTSTRAP = "bootstrap"
PAIRED = "paired bootstrap"
JACKKNIFE = "jackknife of log sd"
#: Fewer values than this get Student's interval: percentiles of their resamples are far too narrow.
SMALL = 8
#: So many values, or fewer, get no interval of a standard deviation.
LEAST_FOR_SPREAD = 5
#: Values that lie no farther apart than this are the same.
ROUNDING = 1e-12

Bounds = tuple[float, float, str]


def generator(*name: object) -> np.random.Generator:
    """Return the random generator of the estimates with this name."""
    return np.random.default_rng([SEED, zlib.crc32("|".join(map(str, name)).encode())])


def weights(rng: np.random.Generator, n: int, resamples: int = RESAMPLES) -> np.ndarray:
    """Return (resamples, n) shares with which each value enters each replicate's mean."""
    return rng.multinomial(n, np.full(n, 1.0 / n), size=resamples) / n


@lru_cache(maxsize=32)
def _shares(n: int, sample: int = 0) -> np.ndarray:
    """:func:`weights` of samples of one size, drawn once; another *sample* is drawn apart."""
    return weights(generator("resamples", n, sample), n)


def means(values: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Return each replicate's mean, (replicates,) or (replicates, columns); ``values`` is (n,) or (n, columns)."""
    centre = values.mean(axis=0)
    result: np.ndarray = shares @ (values - centre) + centre
    return result


def variances(values: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Return each replicate's population variance; shapes as for :func:`means`."""
    apart = values - values.mean(axis=0)
    result: np.ndarray = np.maximum(shares @ apart**2 - (shares @ apart) ** 2, 0.0)
    return result


def variance(values: np.ndarray, ddof: int = 0) -> float:
    """Return the variance of values, (n,), divided by n - ddof; exactly 0 where they differ by rounding alone."""
    return 0.0 if np.ptp(values) <= ROUNDING else float(np.var(values, ddof=ddof))


def spread(values: np.ndarray, ddof: int = 0) -> float:
    """Return the standard deviation, the root of :func:`variance`."""
    return float(np.sqrt(variance(values, ddof)))


def percentile(draws: np.ndarray, n: int | None = None) -> Bounds | None:
    """Return the percentile interval of replicates; replicates may be infinite (the interval is then open).

    Order statistics without interpolation, so that infinite replicates do no harm. None if any replicate is
    undefined.

    Args:
        draws: (replicates,).
        n: runs that are resampled, if the percentiles are to be widened for their number: resamples vary by
            √((n - 1)/n) too little, and Student's quantiles are wider than the normal ones (Hesterberg 2015, expanded
            percentile interval).
    """
    if draws.size == 0 or np.isnan(draws).any():
        return None
    tail = tail_of(n)
    low, high = np.quantile(draws, [tail, 1.0 - tail], method="inverted_cdf")
    return float(low), float(high), BOOTSTRAP


def tail_of(n: int | None) -> float:
    """Return the share of replicates beyond each end of a percentile interval (see :func:`percentile`)."""
    tail = (1.0 - LEVEL) / 2
    if n is None or n < 2:
        return tail
    return float(ndtr(np.sqrt(n / (n - 1)) * stdtrit(n - 1, tail)))


def mean_bounds(values: np.ndarray) -> Bounds | None:
    """Return the interval of a mean: Student's below eight values, expanded bootstrap percentiles from there on.

    Equal data give equal intervals, in whatever order. None for fewer than two values.
    """
    n = len(values)
    if n < SMALL:
        return t_bounds(values)[0]
    ordered = np.sort(values)
    return percentile(means(ordered, _shares(n)), n=n)


def difference_bounds(first: np.ndarray, second: np.ndarray) -> Bounds | None:
    """Return the interval of mean(first) - mean(second), two independent samples.

    Welch's where one has fewer than eight values, expanded bootstrap percentiles otherwise. None where one has fewer
    than two.
    """
    least = min(len(first), len(second))
    if least < SMALL:
        return welch_bounds(first, second)
    draws = means(np.sort(first), _shares(len(first))) - means(np.sort(second), _shares(len(second), 1))
    return percentile(draws, n=least)


def sd_bounds(values: np.ndarray) -> Bounds | None:
    """Return the interval of a standard deviation: log s ± t · (jackknife standard error of log s).

    It leans on the data's own kurtosis, not on a normal shape. None for five values or fewer, or equal ones: so few
    say next to nothing about a spread.
    """
    n = len(values)
    if n <= LEAST_FOR_SPREAD or np.ptp(values) <= ROUNDING:
        return None
    low, high = sd_ends(np.asarray(values, dtype=float)[None])
    return float(low[0]), float(high[0]), JACKKNIFE


def sd_ends(data: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the ends of :func:`sd_bounds` of each row of (samples, n), as population standard deviations."""
    n = data.shape[1]
    apart = (data - data.mean(axis=1, keepdims=True)) ** 2
    variance = apart.sum(axis=1) / (n - 1)
    left_out = np.maximum(((n - 1) * variance[:, None] - n / (n - 1) * apart) / (n - 2), 1e-300)
    logs = np.log(left_out) / 2
    error = np.sqrt((n - 1) / n * ((logs - logs.mean(axis=1, keepdims=True)) ** 2).sum(axis=1))
    reach = np.exp(stdtrit(n - 1, (1 + LEVEL) / 2) * error)
    population = np.sqrt(variance * (n - 1) / n)
    return population / reach, population * reach


def extreme_bounds(
    first: np.ndarray, second: np.ndarray | None = None, largest: bool = True
) -> Bounds | None:
    """Return the interval of the largest (or smallest) mean difference over columns, which was chosen by looking.

    Simultaneous intervals of all columns (Student's or Welch's at Bonferroni's level) hold together, so the largest
    true difference lies between the largest lower and the largest upper end.

    Args:
        first: (n, columns): differences by pair where *second* is None, else one sample.
        second: the other, independent sample, (m, columns).
        largest: the largest; else the smallest.

    Returns:
        None where a sample has fewer than two rows.
    """
    columns = first.shape[1]
    each = 1.0 - (1.0 - LEVEL) / columns
    how = f"{'paired t' if second is None else 'Welch t'}, Bonferroni"
    found = [
        t_bounds(first[:, i], level=each)[0]
        if second is None
        else welch_bounds(first[:, i], second[:, i], level=each)
        for i in range(columns)
    ]
    known = [bounds for bounds in found if bounds is not None]
    if len(known) < columns or not known:
        return None
    pick = max if largest else min
    return pick(low for low, _, _ in known), pick(high for _, high, _ in known), how


def lowest_bounds(levels: np.ndarray, groups: Sequence[np.ndarray], paired: bool) -> Bounds | None:
    """Return the range of the levels that runs do not rule out as the one with the lowest true mean.

    A level is ruled out where its mean is told apart from a lower one: t tests against each of the others (paired, or
    Welch's), one-sided, at Bonferroni's level; so the lowest one is kept at least as often as :data:`LEVEL` says.

    Args:
        levels: (k,) ascending.
        groups: the runs at each; of equal length and in the same order of units where *paired*.
        paired: whether the units are the same at every level.

    Returns:
        None where a level has fewer than two runs.
    """
    k = len(levels)
    if min(map(len, groups)) < 2:
        return None
    each = (1.0 - LEVEL) / max(k - 1, 1)
    kept = []
    for i in range(k):
        higher = [_error_of_difference(groups[i], groups[j], paired) for j in range(k) if j != i]
        if not any(apart > -float(stdtrit(freedom, each)) * error for apart, error, freedom in higher):
            kept.append(i)
    how = f"{'paired t' if paired else 'Welch t'}, Bonferroni"
    return float(levels[min(kept)]), float(levels[max(kept)]), how


def _error_of_difference(first: np.ndarray, second: np.ndarray, paired: bool) -> tuple[float, float, float]:
    """Difference of two means, its standard error, degrees of freedom."""
    apart = float(np.mean(first) - np.mean(second))
    if paired:
        n = len(first)
        return apart, spread(first - second, 1) / float(np.sqrt(n)), n - 1.0
    return apart, *welch(first, second)


def welch(first: np.ndarray, second: np.ndarray) -> tuple[float, float]:
    """Return the standard error of a difference of means and its degrees of freedom (Welch-Satterthwaite).

    Two values or more on each side. Equal values have no spread, not that of their rounding; without any the degrees
    of freedom are infinite.
    """
    n, m = len(first), len(second)
    a, b = (variance(one, 1) / len(one) for one in (first, second))
    if a + b == 0:
        return 0.0, np.inf
    return float(np.sqrt(a + b)), (a + b) ** 2 / (a**2 / (n - 1) + b**2 / (m - 1))


def welch_bounds(first: np.ndarray, second: np.ndarray, level: float = LEVEL) -> Bounds | None:
    """Return Welch's interval of mean(first) - mean(second); None where one has fewer than two values."""
    if min(len(first), len(second)) < 2:
        return None
    value, error, freedom = _error_of_difference(first, second, paired=False)
    half = float(stdtrit(freedom, (1 + level) / 2)) * error
    return value - half, value + half, "Welch t"


def t_bounds(
    values: Sequence[float] | np.ndarray, how: str = "t", level: float = LEVEL
) -> tuple[Bounds | None, float]:
    """Return Student's interval of a mean and the p value of mean = 0: mean ± t·s/√n, s with n - 1.

    (None, NaN) for fewer than two values; equal values give an interval without width and no p value.
    """
    data = np.asarray(values, dtype=float)
    n = len(data)
    if n < 2:
        return None, np.nan
    mean, error = float(data.mean()), spread(data, 1) / float(np.sqrt(n))
    half = float(stdtrit(n - 1, (1 + level) / 2)) * error
    p_value = 2 * stdtr(n - 1, -abs(mean) / error) if error > 0 else np.nan
    return (mean - half, mean + half, how), float(p_value)


def exact_bounds(hits: int, n: int) -> Bounds | None:
    """Return the Clopper-Pearson interval of a share: beta quantiles, never narrower than :data:`LEVEL` says."""
    if n == 0:
        return None
    tail = (1.0 - LEVEL) / 2
    low = 0.0 if hits == 0 else betaincinv(hits, n - hits + 1, tail)
    high = 1.0 if hits == n else betaincinv(hits + 1, n - hits, 1.0 - tail)
    return float(low), float(high), "Clopper-Pearson"


def open_note(bounds: Bounds | None) -> str | None:
    """Return a note where an interval is open because replicates never reach what is estimated."""
    if bounds is None:
        return None
    ends = [end for end, value in zip(("below", "above"), bounds[:2], strict=True) if not np.isfinite(value)]
    return (
        f"the interval is open {' and '.join(ends)}: resamples do not get there within the grid"
        if ends
        else None
    )
