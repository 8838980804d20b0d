"""Trusted subsets: the few training examples whose clean label the value signal may use."""

from __future__ import annotations

import numpy as np


def trusted_subset(n: int, ratio: float, seed: int) -> np.ndarray:
    """Indices of the trusted examples, int64, in the order they were drawn.

    int(ratio * n) of n indices without replacement, from numpy's legacy generator seeded with `seed`
    (run seed + 2000 in D1-D3, A-G.md#1.4; run seed + 999 in V2). The draw ignores labels and noise, so
    it is not class-balanced, and for one seed the subsets are nested in the ratio.

    Raises ValueError where ratio is outside [0, 1].
    """
    if not 0.0 <= ratio <= 1.0:
        raise ValueError(f"trusted ratio {ratio!r} is outside [0, 1]")
    return np.random.RandomState(seed).permutation(n)[: int(ratio * n)].astype(np.int64)
