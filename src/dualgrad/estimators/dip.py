"""Hartigan's dip test: one p value for one sample, wherever it is asked."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

_DRAWS = 4000
_SEED = 20260118  # any fixed number: the same p in every run


@lru_cache
def _uniform_dips(size: int) -> np.ndarray:
    import diptest

    random = np.random.default_rng([_SEED, size])
    draws = np.sort(random.random((_DRAWS, size)), axis=1)
    return np.array([diptest.dipstat(draw) for draw in draws])


def dip(values: np.ndarray) -> tuple[float, float]:
    """Return Hartigan's dip D and its p value, (values,) of any order.

    D is the largest distance between the empirical distribution and the nearest one with a single mode; p is the
    share of 4,000 uniform samples of the same size, from a fixed generator, whose dip is at least as large.

    Raises:
        ValueError: fewer than three values.

    Source: Hartigan & Hartigan 1985 (package diptest).
    """
    import diptest

    if len(values) < 3:
        raise ValueError("fewer than three values for a dip test")
    found = float(diptest.dipstat(np.sort(values)))
    return found, float(np.mean(_uniform_dips(len(values)) >= found))
