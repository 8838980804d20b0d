"""Correlations of two arrays of numbers: Pearson's r and, of ranks, Spearman's ρ."""

from __future__ import annotations

import math

import numpy as np
from scipy.stats import rankdata


def pearson(first: np.ndarray, second: np.ndarray) -> float:
    """Return Pearson's r, element by element; NaN for fewer than two elements or where one side does not vary."""
    first, second = np.ravel(first), np.ravel(second)
    if len(first) < 2 or np.ptp(first) == 0 or np.ptp(second) == 0:
        return math.nan
    return float(np.corrcoef(first, second)[0, 1])


def spearman(first: np.ndarray, second: np.ndarray) -> float:
    """Return Spearman's ρ, ties at their mean rank; 0 where one side does not vary, NaN for fewer than two."""
    ranks = [rankdata(np.ravel(values)) for values in (first, second)]
    if len(ranks[0]) > 1 and min(map(np.ptp, ranks)) == 0:
        return 0.0
    return pearson(*ranks)
