"""Whether two samples spread alike: Brown and Forsythe's test and what is too small for it; pairs: Pitman's."""

from __future__ import annotations

import functools
import math

import numpy as np
from scipy import stats

from dualgrad.estimators.bootstrap import ROUNDING


def brown_forsythe(first: np.ndarray, second: np.ndarray) -> float:
    """Return the p value of the test for equal variances that centres each sample, (n,), on its median.

    NaN for fewer than three elements, whose distances from the median do not vary, and where those of neither sample
    do. Source: Brown and Forsythe 1974, https://doi.org/10.1080/01621459.1974.10482955.
    """
    if min(len(first), len(second)) < 3:
        return math.nan
    if max(np.ptp(np.abs(one - np.median(one))) for one in (first, second)) <= ROUNDING:
        return math.nan
    return float(stats.levene(first, second, center="median").pvalue)


def pitman_morgan(first: np.ndarray, second: np.ndarray) -> float:
    """Return the p value of the test for equal variances of pairs, (n,): that sum and difference are uncorrelated.

    NaN for fewer than three pairs, and where sum or difference does not vary. Source: Pitman 1939,
    https://doi.org/10.1093/biomet/31.1-2.9.
    """
    sides = first + second, first - second
    if len(first) < 3 or min(map(np.ptp, sides)) <= ROUNDING:
        return math.nan
    return float(stats.pearsonr(*sides).pvalue)


@functools.cache
def smallest_p(first: int, second: int) -> float:
    """Return the smallest p value that samples of these sizes can have in the test; NaN where there is none.

    It is that of a sample whose elements lie as far on either side of the median as can be, beside one without any
    spread: 0.12 for three beside three, so that such samples never differ at the level 0.05.
    """
    found = [
        brown_forsythe(_extreme(one), np.zeros(other)) for one, other in ((first, second), (second, first))
    ]
    return float(np.nanmin(found)) if np.isfinite(found).any() else math.nan


def _extreme(n: int) -> np.ndarray:
    side = np.arange(n) - (n - 1) / 2
    sample: np.ndarray = np.sign(side) + 1e-6 * side  # the distances of an even number would not vary at all
    return sample
