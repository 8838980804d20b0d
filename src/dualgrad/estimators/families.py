"""p values of tests that were made together: corrected for their number.

As in statsmodels' ``multipletests``, bit by bit (a test compares), without a second for importing it and without the
garbage collection that it makes for each family: with the tables in memory those took longer than most statistics.
"""

from __future__ import annotations

import numpy as np
import pandas as pd


def holm(p_values: pd.Series) -> pd.Series:
    """Return p values that bound the chance of a single false rejection in the family (Holm 1979); NaN stay NaN."""
    known, places = _ranked(p_values)
    corrected = np.maximum.accumulate(known * np.arange(len(known), 0, -1))
    return _in_place(corrected, places, p_values)


def benjamini_hochberg(p_values: pd.Series) -> pd.Series:
    """Return p values that bound the share of false rejections among all (Benjamini & Hochberg 1995)."""
    known, places = _ranked(p_values)
    shares = np.arange(1, len(known) + 1) / max(len(known), 1)
    corrected = np.minimum.accumulate((known / shares)[::-1])[::-1]
    return _in_place(corrected, places, p_values)


def _ranked(p_values: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """Return the p values that are known, ascending, and the place of each."""
    values = pd.to_numeric(p_values).to_numpy(dtype=float, na_value=np.nan)
    places = np.flatnonzero(~np.isnan(values))
    places = places[np.argsort(values[places])]
    return values[places], places


def _in_place(corrected: np.ndarray, places: np.ndarray, p_values: pd.Series) -> pd.Series:
    result = np.full(len(p_values), np.nan)
    result[places] = np.minimum(corrected, 1.0)
    return pd.Series(result, index=p_values.index)
