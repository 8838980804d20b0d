"""Whether the final errors of one condition fall into two groups.

A cell holds the runs that differ in their seed only, ten or more. Answers, of which only the last cuts at a
threshold:

- Hartigan's dip D: the largest distance between the empirical distribution and the nearest one with a single
  mode, with its p value against the uniform (package diptest, 4,000 samples from a fixed generator). A small p
  rejects one mode.
- Two Gaussians against one: BIC = k ln n - 2 ln L, difference BIC(1) - BIC(2) (scikit-learn, four starts, fixed
  seed). Positive favours two components, which a skewed single mode does as well: `mixture_modes` counts the
  modes of the fitted mixture's density.
- BIC of three shapes of the errors: one Gaussian, two, and one log-normal with a free left end, which is skewed but
  has a single mode; Silverman's test of cells of thirty runs or more.
- What a test that does not reject is worth: `dip_power`, the share of samples of this size from two equal Gaussian
  lobes that the dip test would tell from one mode. A cell of ten runs is not testable, and its note says so.
- The counts below and not below 0.30, as the figures colour the runs (L, H).

`pooled` rows put the noise rates of one λ together, as the published Figure 1c and Extended Data 2d draw them;
`epoch` rows are the same cell during training (S2, λ = 0.50). p values are not corrected for the number of
cells.

Sources: FIGURES.md, Figure 1c, 3b, Extended Data 2; config/claims.yaml, conclusion 2; S-T.md#2.
"""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
from scipy.stats import skew

from dualgrad.estimators import bootstrap
from dualgrad.estimators.dip import dip
from dualgrad.estimators.modes import dip_power, gaussian_bic, shifted_lognormal_bic, silverman
from dualgrad.statistics.layout import Quantity, Sheet
from dualgrad.tables.edition import Tables
from dualgrad.tables.schema import BOOL, FLOAT64, STRING, Column

LEAST = 10
# Below so many runs no test tells one mode from two.
LEAST_TESTABLE = 30
LOBES = (3.0, 3.5, 4.0)
DEAD = 0.9
THRESHOLD = 0.30
CELL = ("noise_rate", "lam", "width_mult", "lr", "model", "replicate")

KEYS = (
    Column("noise_rate", FLOAT64, "label-noise rate η; null where noise rates are pooled", "fraction"),
    Column("lam", FLOAT64, "λ of the cell"),
    Column("width_mult", FLOAT64, "width multiplier (Q1)"),
    Column("model", STRING, "architecture as recorded (X)"),
    Column("epoch", FLOAT64, "epoch of the errors; null: the last", "epochs"),
    Column("pooled", BOOL, "both noise rates together"),
    Column("lobe_distance", FLOAT64, "distance of the two lobes of dip_power, in sd of one lobe"),
)

QUANTITIES = {
    "dip": Quantity("1", "Hartigan's dip D; p_value is that of the dip test"),
    "skewness": Quantity("1", "third standardised moment (population)"),
    "median": Quantity("fraction", "median error"),
    "mixture_bic_gain": Quantity("1", "BIC of one Gaussian minus BIC of two; positive favours two"),
    "bic_one_gaussian": Quantity("1", "BIC of one Gaussian; smaller is better"),
    "bic_two_gaussians": Quantity("1", "BIC of two Gaussians"),
    "bic_shifted_lognormal": Quantity("1", "BIC of one log-normal with a free left end: one skewed mode"),
    "silverman": Quantity("runs", "runs in Silverman's test; p_value is that against one mode"),
    "silverman_alive": Quantity("runs", "the same without runs at exactly the error of constant predictors"),
    "dip_power": Quantity(
        "1", "how often the dip test rejects one mode where two equal lobes lie lobe_distance apart"
    ),
    "mixture_modes": Quantity("1", "modes of the fitted density of two Gaussians"),
    "low_share": Quantity("1", "share of runs with an error below 0.30 (L); the rest is H"),
    "low_count": Quantity("runs", "number of runs with an error below 0.30 (L)"),
}


def compute(tables: Tables) -> pd.DataFrame:
    """Return dip, mixture and counts of all cells with at least ten runs."""
    sheet = Sheet(tables.edition, KEYS, QUANTITIES)
    runs = tables.runs()
    for experiment, rows in runs.groupby("experiment", sort=False):
        split = [name for name in CELL if rows[name].notna().any()]
        for levels, cell in rows.groupby(split, sort=False, dropna=False):
            if len(cell) < LEAST:
                continue
            keys = {name: value for name, value in zip(split, levels, strict=True) if value == value}
            keys = {"experiment": str(experiment), "pooled": False, **_known(keys)}
            _add(sheet, keys, cell["test_error"])
    long_runs = runs[runs["experiment"] == "S2"]
    for lam, cell in long_runs.groupby("lam"):
        if cell["noise_rate"].nunique() > 1:
            _add(sheet, {"experiment": "S2", "lam": lam, "pooled": True}, cell["test_error"])
    path = tables.trajectories("S2", stage="main")
    path = path[np.isclose(path["noise_rate"], 0.4) & np.isclose(path["lam"], 0.50)]
    for epoch, cell in path.groupby("epoch"):
        keys = {"experiment": "S2", "noise_rate": 0.4, "lam": 0.50, "epoch": epoch, "pooled": False}
        _add(sheet, keys, cell["test_error"])
    return sheet.frame()


def dip_of(values: np.ndarray) -> tuple[float, float, dict[float, float]]:
    """Return Hartigan's dip D, its p value, and the test's power for two lobes at each distance of LOBES.

    Args:
        values: (n,), sorted, not all equal.
    """
    found, p_value = dip(values)
    return found, p_value, {distance: dip_power(len(values), distance) for distance in LOBES}


def _known(keys: dict) -> dict:
    names = {column.name for column in KEYS}
    return {name: value for name, value in keys.items() if name in names and value is not None}


def _add(sheet: Sheet, keys: dict, errors: pd.Series) -> None:
    values = np.sort(errors.dropna().to_numpy(dtype=float))
    n = len(values)
    low = int((values < THRESHOLD).sum())
    if n < LEAST or values[0] == values[-1]:
        note = f"{n} runs with a final error" if n < LEAST else "all errors are equal"
        for quantity in ("dip", "skewness", "mixture_bic_gain", "mixture_modes"):
            sheet.add(quantity, None, n, note=note, **keys)
    else:
        found, p_value, powers = dip_of(values)
        note = None
        if n < LEAST_TESTABLE:
            power = dip_power(n, 4.0)
            note = f"not testable: at n = {n} the test finds two lobes 4 sd apart in {power:.0%} of samples"
        sheet.add("dip", found, n, p_value=p_value, note=note, **keys)
        for distance, power in powers.items():
            sheet.add("dip_power", power, n, lobe_distance=distance, **keys)
        sheet.add("skewness", float(skew(values)), n, **keys)
        gain, modes = _mixture(values)
        sheet.add("mixture_bic_gain", gain, n, **keys)
        _shapes(sheet, keys, values, gain)
        sheet.add("mixture_modes", modes, n, **keys)
    sheet.add("median", float(np.median(values)) if n else None, n, **keys)
    sheet.add("low_share", low / n if n else None, n, bounds=bootstrap.exact_bounds(low, n), **keys)
    sheet.add("low_count", low if n else None, n, **keys)


def _shapes(sheet: Sheet, keys: dict, values: np.ndarray, gain: float) -> None:
    """BIC of three shapes, and Silverman's test of the final errors of large cells."""
    n, one = len(values), gaussian_bic(values)
    sheet.add("bic_one_gaussian", one, n, **keys)
    sheet.add("bic_two_gaussians", one - gain, n, **keys)
    sheet.add("bic_shifted_lognormal", shifted_lognormal_bic(values), n, **keys)
    if n < LEAST_TESTABLE or keys.get("epoch") is not None:
        return
    sheet.add("silverman", n, n, p_value=silverman(values), **keys)
    alive = values[np.abs(values - DEAD) > 1e-9]
    if 3 <= len(alive) < n and np.ptp(alive) > 0:
        sheet.add("silverman_alive", len(alive), len(alive), p_value=silverman(alive), **keys)


def _mixture(values: np.ndarray) -> tuple[float, int]:
    """Return BIC(1) - BIC(2) of Gaussian mixtures and the number of modes of the second."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture

    data = values[:, None]
    # Components narrower than a hundredth of the spread would be single repeated errors.
    floor = 1e-4 * values.var()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        one, two = (
            GaussianMixture(
                k,
                n_init=4 if k > 1 else 1,
                init_params="k-means++",
                random_state=bootstrap.SEED,
                reg_covar=floor,
            ).fit(data)
            for k in (1, 2)
        )
    grid = np.linspace(values[0], values[-1], 512)
    density = two.score_samples(grid[:, None])
    inner = density[1:-1]
    modes = int(((inner > density[:-2]) & (inner >= density[2:])).sum())
    modes += int(density[0] > density[1]) + int(density[-1] > density[-2])
    return float(one.bic(data) - two.bic(data)), modes
