"""Least squares with an interaction, shared by width and learning rate."""

from __future__ import annotations

import numpy as np

from dualgrad.estimators import bootstrap


def interaction(
    lam: np.ndarray, factor: np.ndarray, error: np.ndarray
) -> tuple[float, bootstrap.Bounds, float] | None:
    """Fit error = b0 + b1 λ + b2 x + b3 λ x by least squares over runs, x = log2(factor), both centred.

    Standard errors are heteroscedasticity-consistent (HC3, package statsmodels): the spread grows with λ.

    Returns:
        (b3, 95 % interval, p value); None where the fit is not possible.
    """
    from statsmodels.regression.linear_model import OLS

    if len(error) < 8 or np.ptp(error) == 0:
        return None
    a = lam - lam.mean()
    x = np.log2(factor) - np.log2(factor).mean()
    design = np.column_stack([np.ones_like(a), a, x, a * x])
    if np.linalg.matrix_rank(design) < 4:
        return None
    fit = OLS(error, design).fit(cov_type="HC3")
    low, high = fit.conf_int()[3]
    return float(fit.params[3]), (float(low), float(high), "HC3"), float(fit.pvalues[3])


def per_doubling(factors: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """Return the slope of each replicate's values on log2(factor); draws is (replicates, factors)."""
    x = np.log2(factors)
    x = x - x.mean()
    slopes: np.ndarray = draws @ x / (x @ x)
    return slopes
