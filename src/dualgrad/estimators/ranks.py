"""Mann-Whitney's test, exact with ties where the splits can be counted."""

from __future__ import annotations

from itertools import combinations
from math import comb

import numpy as np
from scipy import stats

MOST_SPLITS = 20_000


def mann_whitney(first: np.ndarray, second: np.ndarray) -> tuple[float, str]:
    """Return the two-sided p value and how it was had: "exact" or "normal approximation".

    Every split of the joint sample into two of these sizes is counted, ties with their middle ranks; p is the share
    of splits whose rank sum is at least as far from its expectation. Where there are more than 20,000 splits: scipy's
    exact distribution without ties, the normal approximation with them.

    Raises:
        ValueError: an empty sample.
    """
    n, m = len(first), len(second)
    if not n or not m:
        raise ValueError("Mann-Whitney's test of an empty sample")
    ranks = stats.rankdata(np.concatenate([first, second]))
    if comb(n + m, n) <= MOST_SPLITS:
        splits = np.array(list(combinations(range(n + m), n)))
        expected = n * (n + m + 1) / 2
        off = np.abs(ranks[splits].sum(axis=1) - expected)
        return float(np.mean(off >= abs(ranks[:n].sum() - expected) - 1e-9)), "exact"
    tied = len(np.unique(ranks)) < n + m
    p_value = stats.mannwhitneyu(first, second, method="asymptotic" if tied else "exact").pvalue
    return float(p_value), "normal approximation" if tied else "exact"
