"""Estimates over independent units (seeds, starts): interval, p value, what one unit carries, what was in reach.

A unit is whatever runs do not share: a seed with its noise and its initial weights, or a start that runs go on from.
Differences are paired by unit; a number that is no mean over units gets the jackknife's standard error (one unit left
out) and Student's quantile; a share over units is exact.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.special import ndtri, stdtr, stdtrit
from scipy.stats import binom, binomtest, nct

from dualgrad.estimators import bootstrap

JACKKNIFE = "jackknife t"
POWER = 0.8


@dataclass(frozen=True)
class Estimate:
    """A number over units, against a reference.

    Attributes:
        value: the number; NaN: none.
        low, high: its 95 % interval; NaN: none.
        p_value: two-sided, of value = reference; NaN: none.
        n: units.
        without: smallest and largest value with one unit left out; NaN where that cannot be had.
        detectable: smallest distance from the reference that this many units with this spread would have shown with
            a power of 80 %; NaN: none. Shares: the smallest share above (or largest below) the reference.
        how: the interval's name.
    """

    value: float
    low: float = math.nan
    high: float = math.nan
    p_value: float = math.nan
    n: int = 0
    without: tuple[float, float] = (math.nan, math.nan)
    detectable: float = math.nan
    how: str = ""


def of_values(values: np.ndarray, reference: float = 0.0, how: str = "t") -> Estimate:
    """Return the mean of one value per unit, with Student's interval and p value."""
    values = np.asarray(values, dtype=float)
    n = len(values)
    if n == 0:
        return Estimate(math.nan)
    left = (values.sum() - values) / (n - 1) if n > 1 else np.array([math.nan])
    error = float(values.std(ddof=1)) / math.sqrt(n) if n > 1 else math.nan
    return _student(float(values.mean()), error, n, n - 1, left, reference, how)


def of_pairs(first: np.ndarray, second: np.ndarray) -> Estimate:
    """Return the mean difference of two samples of which each pair is one unit."""
    return of_values(np.asarray(first) - np.asarray(second), how="paired t")


def of_two(first: np.ndarray, second: np.ndarray) -> Estimate:
    """Return mean(first) - mean(second) of two samples that share no units (Welch); n is the smaller one."""
    n, m = len(first), len(second)
    if min(n, m) == 0:
        return Estimate(math.nan)
    value = float(np.mean(first) - np.mean(second))
    left = [math.nan]
    error, freedom = math.nan, 0.0
    if min(n, m) > 1:
        left = [float((np.sum(first) - x) / (n - 1) - np.mean(second)) for x in first]
        left += [float(np.mean(first) - (np.sum(second) - x) / (m - 1)) for x in second]
        error, freedom = bootstrap.welch(first, second)
    return _student(value, error, min(n, m), freedom, np.array(left), 0.0, "Welch t")


def of_left_out(
    value: float, left_out: np.ndarray, reference: float = 0.0, *, chosen_of: int = 1
) -> Estimate:
    """Return an estimate from its value and its values with one unit left out each: jackknife, Student's quantile.

    A value left out that is not finite leaves no interval: the estimate then hangs on that unit. Of a value that was
    picked as the largest of several (``chosen_of``), interval and p value are Bonferroni's.
    """
    n = len(left_out)
    if not math.isfinite(value):
        return Estimate(math.nan, n=n)
    if n < 2 or not np.isfinite(left_out).all():
        known = left_out[~np.isnan(left_out)]
        ends = (float(known.min()), float(known.max())) if n and len(known) == n else (math.nan, math.nan)
        return Estimate(value, n=n, without=ends)
    error = math.sqrt((n - 1) / n * float(((left_out - left_out.mean()) ** 2).sum()))
    how = JACKKNIFE if chosen_of == 1 else f"{JACKKNIFE}, Bonferroni for {chosen_of}"
    return _student(value, error, n, n - 1, left_out, reference, how, chosen_of)


def of_correlation(r: float, left_out: np.ndarray) -> Estimate:
    """Return a correlation from its value and its values with one unit left out each, against 0.

    The jackknife is that of Fisher's z = artanh r, whose spread does not depend on r; the interval is brought back. A
    correlation of exactly 1 or -1 has none.
    """
    n = len(left_out)
    if not abs(r) < 1 or not (np.abs(left_out) < 1).all():
        return Estimate(r, n=n)
    z = of_left_out(math.atanh(r), np.arctanh(left_out))
    without = (math.tanh(z.without[0]), math.tanh(z.without[1]))
    if math.isnan(z.low):
        return Estimate(r, n=n, without=without)
    low, high, detectable = (math.tanh(one) for one in (z.low, z.high, z.detectable))
    return Estimate(r, low, high, z.p_value, n, without, detectable, JACKKNIFE)


def jackknife(
    samples: list[np.ndarray],
    statistic: Callable[[list[np.ndarray]], float],
    reference: float = 0.0,
    *,
    chosen_of: int = 1,
) -> Estimate:
    """Return a statistic of several tables whose rows are the same units, with one unit left out in all at a time.

    Args:
        samples: arrays of (units, …), equal numbers of rows; a unit that a sample lacks is a row of NaN.
        statistic: takes the samples, returns a number.
        reference: what the value is compared with.
        chosen_of: of how many such statistics it was picked as the largest.
    """
    return of_left_out(*_left_out(samples, statistic), reference, chosen_of=chosen_of)


def jackknife_correlation(
    samples: list[np.ndarray], statistic: Callable[[list[np.ndarray]], float]
) -> Estimate:
    """The same of a statistic that is a correlation, against 0 (see :func:`of_correlation`)."""
    return of_correlation(*_left_out(samples, statistic))


def _left_out(
    samples: list[np.ndarray], statistic: Callable[[list[np.ndarray]], float]
) -> tuple[float, np.ndarray]:
    """A statistic of samples, and with one unit left out in all at a time."""
    n = len(samples[0])
    kept = ~np.eye(n, dtype=bool)
    left = [statistic([sample[row] for sample in samples]) for row in kept] if n > 1 else []
    return statistic(samples), np.array(left)


def bounds_of(value: float, left_out: np.ndarray) -> bootstrap.Bounds | None:
    """Return the jackknife interval of a value as the statistics keep it; None where there is none."""
    found = of_left_out(value, left_out)
    return None if math.isnan(found.low) else (found.low, found.high, JACKKNIFE)


def bounds_of_samples(value: float, left_out: Sequence[np.ndarray]) -> bootstrap.Bounds | None:
    """Return the jackknife interval of a value read off several independent samples.

    Args:
        value: the value.
        left_out: for each sample, the values with one of its units left out.

    Returns:
        None where a value is not finite or a sample has fewer than two units; degrees of freedom are those of the
        smallest sample.
    """
    sizes = [len(one) for one in left_out]
    if min(sizes) < 2 or not math.isfinite(value) or not all(np.isfinite(one).all() for one in left_out):
        return None
    squares = [
        (n - 1) / n * float(((one - one.mean()) ** 2).sum()) for n, one in zip(sizes, left_out, strict=True)
    ]
    half = float(stdtrit(min(sizes) - 1, (1 + bootstrap.LEVEL) / 2)) * math.sqrt(sum(squares))
    return value - half, value + half, JACKKNIFE


def _student(
    value: float,
    error: float,
    n: int,
    freedom: float,
    left: np.ndarray,
    reference: float,
    how: str,
    tests: int = 1,
) -> Estimate:
    without = (float(np.min(left)), float(np.max(left)))
    if math.isnan(error) or n < 2:
        return Estimate(value, n=n, without=without)
    least = bootstrap.ROUNDING * max(abs(value), 1.0)
    if error <= least:
        value = reference if abs(value - reference) <= least else value
        return Estimate(value, value, value, float(value == reference), n, without, 0.0, how)
    half = _critical(freedom, tests) * error
    p_value = min(1.0, tests * float(2 * stdtr(freedom, -abs(value - reference) / error)))
    detectable = error * _noncentrality(freedom, tests)
    return Estimate(value, value - half, value + half, p_value, n, without, detectable, how)


def _critical(freedom: float, tests: int) -> float:
    """Student's quantile for a two-sided interval at ``bootstrap.LEVEL``, over several tests."""
    return float(stdtrit(freedom, 1 - (1 - bootstrap.LEVEL) / 2 / tests))


@lru_cache(maxsize=256)
def _noncentrality(freedom: float, tests: int = 1) -> float:
    """Return the true distance, in standard errors, that a two-sided 5 % t test finds with a power of 80 %."""
    from scipy.optimize import brentq

    if math.isinf(freedom):
        return _critical(freedom, tests) + float(ndtri(POWER))
    critical = _critical(freedom, tests)
    return float(brentq(lambda d: nct.sf(critical, freedom, d) - POWER, 0.1, 10 * critical + 10))


def of_share(hits: int, n: int, reference: float, sign: int = 1) -> Estimate:
    """Return a share of units with its exact interval and binomial p value against the reference.

    Args:
        hits: units that have it.
        n: units.
        reference: share under comparison; 0 and 1 have no p value.
        sign: 1: shares above the reference are looked for, -1: below.
    """
    bounds = bootstrap.exact_bounds(hits, n)
    if bounds is None:
        return Estimate(math.nan)
    p_value = float(binomtest(hits, n, reference).pvalue) if 0 < reference < 1 else math.nan
    without = (max(hits - 1, 0) / (n - 1), min(hits, n - 1) / (n - 1)) if n > 1 else (math.nan, math.nan)
    if n > 1 and hits == n:
        without = (1.0, 1.0)
    return Estimate(
        hits / n, bounds[0], bounds[1], p_value, n, without, _share(n, reference, sign), "Clopper-Pearson"
    )


def _share(n: int, reference: float, sign: int) -> float:
    """Return the nearest share beyond the reference that n units would have shown with a power of 80 %; NaN: none."""
    counts = range(n + 1)
    shown = []
    for k in counts:
        bounds = bootstrap.exact_bounds(k, n)
        assert bounds is not None
        beyond = bounds[0] > reference if sign > 0 else bounds[1] < reference
        shown.append(beyond and (reference not in (0.0, 1.0) or k > 1))  # a single unit shows nothing
    hits = np.flatnonzero(shown)
    if not len(hits):
        return math.nan
    shares = np.linspace(reference, 1.0 if sign > 0 else 0.0, 1001)
    power = binom.pmf(hits[:, None], n, shares[None]).sum(axis=0)
    found = np.flatnonzero(power >= POWER)
    return float(shares[found[0]]) if len(found) else math.nan
