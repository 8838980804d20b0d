"""One mode or two: BIC of a skewed single mode beside Gaussian ones, Silverman's test, and the dip test's power."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from scipy import stats

from dualgrad.estimators import bootstrap
from dualgrad.estimators.dip import dip

_GRID = 512


def shifted_lognormal_bic(values: np.ndarray) -> float:
    """Return the BIC (three parameters, smaller is better) of a log-normal with a free left end.

    The end is searched below the smallest value: at each candidate the other two parameters are the mean and spread
    of log(value - end).

    Args:
        values: (n,), not all equal.
    """
    data = np.sort(np.asarray(values, dtype=float))
    n, span = len(data), float(np.ptp(data))
    # The likelihood is unbounded as the end reaches the smallest value: candidates stay a step of the data away.
    ends = data[0] - span * np.geomspace(1e-2, 10.0, 200)
    logs = np.log(data[None] - ends[:, None])
    spread = logs.std(axis=1)
    likelihood = -logs.sum(axis=1) - n * (np.log(spread) + 0.5 * np.log(2 * np.pi) + 0.5)
    return float(3 * np.log(n) - 2 * likelihood.max())


def silverman(values: np.ndarray, resamples: int = 500) -> float:
    """Return Silverman's p value against one mode: the share of smoothed resamples with more modes than one.

    The critical bandwidth is the smallest with which a Gaussian kernel density has one mode; resamples are drawn from
    that density, scaled to the sample's variance (Silverman 1981; Efron & Tibshirani 1993, chapter 16).

    Args:
        values: (n,), not all equal.
        resamples: number of resamples, from a fixed generator.
    """
    data = np.sort(np.asarray(values, dtype=float))
    width = critical_bandwidth(data)
    variance = data.var()
    rng = bootstrap.generator("silverman", len(data))
    shrink = 1.0 / np.sqrt(1.0 + width**2 / variance)
    more = 0
    for _ in range(resamples):
        drawn = rng.choice(data, len(data)) + width * rng.standard_normal(len(data))
        more += modes(data.mean() + shrink * (drawn - data.mean()), width) > 1
    return more / resamples


def critical_bandwidth(values: np.ndarray) -> float:
    """Return the smallest bandwidth with which a Gaussian kernel density of the values has one mode (bisection)."""
    low, high = 0.0, float(np.ptp(values))
    while high - low > 1e-3 * np.ptp(values):
        middle = (low + high) / 2
        low, high = (low, middle) if modes(values, middle) == 1 else (middle, high)
    return high


def modes(values: np.ndarray, width: float) -> int:
    """Return the number of modes of a Gaussian kernel density, on a grid of 512 points."""
    low, high = values.min() - 3 * width, values.max() + 3 * width
    counts, edges = np.histogram(values, _GRID, (low, high))
    step = edges[1] - edges[0]
    reach = max(1, int(np.ceil(4 * width / step)))
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) * step / width) ** 2)
    density = np.convolve(counts, kernel)
    rising = np.sign(np.diff(density))
    rising = rising[rising != 0]
    return int(((rising[:-1] > 0) & (rising[1:] < 0)).sum())


@lru_cache
def dip_power(n: int, distance: float, draws: int = 400, level: float = 0.05) -> float:
    """Return how often the dip test rejects one mode for two equal Gaussian lobes so many sd apart.

    Args:
        n: size of the sample.
        distance: distance of the lobes' centres in standard deviations of one lobe.
        draws: number of samples, from a fixed generator.
        level: p value at which one mode is rejected.
    """
    rng = bootstrap.generator("dip power", n, distance)
    lobe = rng.integers(0, 2, (draws, n))
    samples = rng.standard_normal((draws, n)) + distance * lobe
    return float(np.mean([dip(sample)[1] < level for sample in samples]))


def gaussian_bic(values: np.ndarray) -> float:
    """Return the BIC (two parameters, smaller is better) of one Gaussian."""
    data = np.asarray(values, dtype=float)
    return float(2 * np.log(len(data)) - 2 * stats.norm.logpdf(data, data.mean(), data.std()).sum())
