"""p values of tests that were made together: corrected for their number."""

from __future__ import annotations

import numpy as np
import pandas as pd


def holm(p_values: pd.Series) -> pd.Series:
    """Return p values that bound the chance of a single false rejection in the family (Holm 1979); NaN stay NaN."""
    return _adjusted(p_values, "holm")


def benjamini_hochberg(p_values: pd.Series) -> pd.Series:
    """Return p values that bound the share of false rejections among all (Benjamini & Hochberg 1995)."""
    return _adjusted(p_values, "fdr_bh")


def _adjusted(p_values: pd.Series, method: str) -> pd.Series:
    from statsmodels.stats.multitest import multipletests

    known = pd.to_numeric(p_values).to_numpy(dtype=float, na_value=np.nan)
    found = ~np.isnan(known)
    result = np.full(len(known), np.nan)
    if found.any():
        result[found] = multipletests(known[found], method=method)[1]
    return pd.Series(result, index=p_values.index)
