"""Intervals: bootstrap (vectorised, fixed seed), Student t, exact binomial.

A bootstrap replicate draws n values with replacement from n; only the counts matter, so a replicate's mean is a
row of multinomial weights times the values, and all replicates are one matrix product. Each estimate has a
generator of its own, seeded from :data:`SEED` and the estimate's name: it does not depend on what else is
computed.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np
from scipy.special import betaincinv, stdtr, stdtrit

SEED = 3916
RESAMPLES = 2000
LEVEL = 0.95

BOOTSTRAP = "bootstrap"
PAIRED = "paired bootstrap"

Bounds = tuple[float, float, str]


def generator(*name: object) -> np.random.Generator:
    """Return the random generator of the estimate with this name."""
    return np.random.default_rng([SEED, zlib.crc32("|".join(map(str, name)).encode())])


def weights(rng: np.random.Generator, n: int, resamples: int = RESAMPLES) -> np.ndarray:
    """Return (resamples, n) shares with which each value enters each replicate's mean."""
    return rng.multinomial(n, np.full(n, 1.0 / n), size=resamples) / n


def means(values: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Return each replicate's mean, (replicates,) or (replicates, columns); ``values`` is (n,) or (n, columns)."""
    centre = values.mean(axis=0)
    return shares @ (values - centre) + centre


def variances(values: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Return each replicate's population variance; shapes as for :func:`means`."""
    apart = values - values.mean(axis=0)
    return np.maximum(shares @ apart**2 - (shares @ apart) ** 2, 0.0)


def spread(values: np.ndarray) -> float:
    """Return the population standard deviation; exactly 0 where all values are equal."""
    return 0.0 if np.ptp(values) == 0 else float(values.std())


def percentile(draws: np.ndarray, how: str = BOOTSTRAP, level: float = LEVEL) -> Bounds | None:
    """Return the percentile interval of replicates; replicates may be infinite (the interval is then open).

    Order statistics without interpolation, so that infinite replicates do no harm. None if any replicate is
    undefined.
    """
    if draws.size == 0 or np.isnan(draws).any():
        return None
    tail = (1.0 - level) / 2
    low, high = np.quantile(draws, [tail, 1.0 - tail], method="inverted_cdf")
    return float(low), float(high), how


def mean_bounds(values: np.ndarray, *name: object) -> Bounds | None:
    """Return the bootstrap interval of a mean; None for fewer than two values."""
    if len(values) < 2:
        return None
    return percentile(means(values, weights(generator(*name), len(values))))


def difference_bounds(first: np.ndarray, second: np.ndarray, *name: object) -> Bounds | None:
    """Return the bootstrap interval of mean(first) - mean(second), the two drawn independently."""
    if min(len(first), len(second)) < 2:
        return None
    rng = generator(*name)
    draws = means(first, weights(rng, len(first))) - means(second, weights(rng, len(second)))
    return percentile(draws)


def t_bounds(values: Sequence[float], how: str = "t", level: float = LEVEL) -> tuple[Bounds | None, float]:
    """Return Student's interval of a mean and the p value of mean = 0: mean ± t·s/√n, s with n - 1.

    (None, NaN) for fewer than two values; equal values give an interval without width and no p value.
    """
    data = np.asarray(values, dtype=float)
    n = len(data)
    if n < 2:
        return None, np.nan
    mean, error = data.mean(), data.std(ddof=1) / np.sqrt(n)
    half = stdtrit(n - 1, (1 + level) / 2) * error
    p_value = 2 * stdtr(n - 1, -abs(mean) / error) if error > 0 else np.nan
    return (mean - half, mean + half, how), float(p_value)


def exact_bounds(hits: int, n: int, level: float = LEVEL) -> Bounds | None:
    """Return the Clopper-Pearson interval of a share: beta quantiles, never narrower than the level says."""
    if n == 0:
        return None
    tail = (1.0 - level) / 2
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
