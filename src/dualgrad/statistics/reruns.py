"""The same training twice: how much of the variance between runs appears at an identical seed.

M1 trained each (λ, seed) twice with equal seeds: initial weights and label noise are the same; what else differed is
not recorded (GPU kernels that add in another order, the streams that batches and crops come from). The two executions
of a seed are a pair; at each λ the variance between runs splits into

- within seeds: Σ (x₁ - x₂)² / 2 over pairs, divided by their number (the variance of one execution about its seed);
- between seeds: what the mean squares of a one-way layout leave, (MSB - MSW) / 2, at least 0.

`within_share` is within / (within + between). Near 1, the seed says nothing of the outcome: identical training, in
the sense of the seed, ends differently. The interval is that of the intraclass correlation of a one-way layout (F
distribution; Shrout & Fleiss 1979). `lam_from` pools all λ at and above it: mean squares are taken about each λ's
mean, and have Satterthwaite's degrees of freedom, because the spread changes with λ and a few λ carry most of it.
`rerun_ratio` asks the same in another way: the square of within over the variance between the seeds of one execution
(n - 1), 1 where a rerun differs as much as another seed. That variance leaves out what two executions differ by at a
λ as a whole, and few seeds tell it badly: the two numbers need not agree.
Needs an edition whose two executions differ: where training is deterministic and replicates share streams, every
difference is 0.

Sources: I-P.md#M1; docs/specification/contract.md (M1's two replicates are independent executions).
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.stats import f as fisher

from dualgrad.estimators import bootstrap
from dualgrad.statistics.layout import Quantity, Sheet
from dualgrad.tables.edition import Tables
from dualgrad.tables.schema import FLOAT64, Column

KEYS = (
    Column("noise_rate", FLOAT64, "label-noise rate η; null: both, each about its own means", "fraction"),
    Column("lam", FLOAT64, "λ; null: several together"),
    Column("lam_from", FLOAT64, "smallest λ that is taken together; null: one λ"),
)

QUANTITIES = {
    "within_share": Quantity("1", "share of the variance between runs that appears at an identical seed"),
    "within_sd": Quantity("fraction", "standard deviation of one execution about its seed's mean"),
    "between_sd": Quantity("fraction", "standard deviation of seeds' means, executions taken out"),
    "largest_difference": Quantity("fraction", "largest difference of two executions of one seed"),
    "rerun_ratio": Quantity(
        "1", "within_sd squared over the variance between seeds within one execution, mean over both"
    ),
    "identical_share": Quantity("1", "share of pairs with exactly the same error"),
}
POOLED_FROM = (0.0, 0.45)


def compute(tables: Tables) -> pd.DataFrame:
    """Return the split of the variance at each λ, and of all λ from some on."""
    sheet = Sheet(tables.edition, KEYS, QUANTITIES)
    runs = tables.runs("M1").dropna(subset=["test_error", "replicate"])
    if runs.empty:
        for quantity in QUANTITIES:
            sheet.add(quantity, None, 0, experiment="M1", note="no runs")
        return sheet.frame()
    whole = []
    for eta, rows in runs.groupby("noise_rate"):
        pairs = rows.pivot_table(index=["lam", "seed"], columns="replicate", values="test_error").dropna()
        keys = {"experiment": "M1", "noise_rate": eta}
        if pairs.shape[1] != 2 or pairs.empty:
            for quantity in QUANTITIES:
                sheet.add(quantity, None, len(pairs), note="no pairs of executions", **keys)
            continue
        lam = pairs.index.get_level_values("lam").to_numpy(dtype=float)
        values = pairs.to_numpy(dtype=float)
        for level in np.unique(lam):
            _add(sheet, {**keys, "lam": level}, values[lam == level], lam[lam == level])
        for start in POOLED_FROM:
            kept = lam >= start - 1e-9
            if kept.any():
                _add(sheet, {**keys, "lam_from": start}, values[kept], lam[kept])
        whole.append((values, lam, np.full(len(lam), eta)))
    if len(whole) > 1:
        values, lam, rate = (np.concatenate(one) for one in zip(*whole, strict=True))
        for start in POOLED_FROM:
            kept = lam >= start - 1e-9
            cells = lam[kept] + 10 * rate[kept]  # runs of one λ and noise rate share a mean
            if kept.any():
                _add(sheet, {"experiment": "M1", "lam_from": start}, values[kept], cells)
    return sheet.frame()


def _add(sheet: Sheet, keys: dict, values: np.ndarray, lam: np.ndarray) -> None:
    n = len(values)
    keys = {**keys, "runs": 2 * n}
    apart = np.abs(values[:, 0] - values[:, 1])
    within, between, share, bounds = split_variance(values, lam)
    note = None if np.isfinite(share) else "all errors of a λ are equal, or it has one pair"
    sheet.add("within_share", share, n, bounds=bounds, note=note, **keys)
    sheet.add("within_sd", np.sqrt(within), n, **keys)
    known = bool(np.isfinite(between))
    sheet.add(
        "between_sd", np.sqrt(between) if known else None, n, note=None if known else "one pair", **keys
    )
    by_level = pd.DataFrame(values).groupby(lam)
    spread = float(by_level.var(ddof=1).to_numpy().mean()) if by_level.size().min() > 1 else np.nan
    ratio = within / spread if spread > 0 else None
    why = None if ratio is not None else "a λ has one pair, or no spread"
    sheet.add("rerun_ratio", ratio, n, note=why, **keys)
    sheet.add("largest_difference", apart.max(), n, **keys)
    same = int((apart == 0).sum())
    sheet.add("identical_share", same / n, n, bounds=bootstrap.exact_bounds(same, n), **keys)


def split_variance(
    values: np.ndarray, group: np.ndarray
) -> tuple[float, float, float, bootstrap.Bounds | None]:
    """Return (within, between, within / (within + between), its interval) of pairs, group means taken out.

    Args:
        values: (pairs, 2).
        group: (pairs,): pairs of one group share a mean; differences between groups are no part of the variance.

    Returns:
        NaN for between and the share where a group has a single pair throughout, or nothing varies.
    """
    n = len(values)
    within = float(((values[:, 0] - values[:, 1]) ** 2).sum() / 2 / n)
    means = values.mean(axis=1)
    levels = np.unique(group)
    freedom = n - len(levels)
    if freedom < 1:
        return within, np.nan, np.nan, None
    squares = np.array([((means[group == one] - means[group == one].mean()) ** 2).sum() for one in levels])
    between_square = 2 * float(squares.sum()) / freedom
    between = max((between_square - within) / 2, 0.0)
    if within + between == 0:
        return within, between, np.nan, None
    share = within / (within + between)
    if within == 0:
        return within, between, share, None
    ratio = between_square / within
    sizes = np.array([(group == one).sum() for one in levels])
    halves = np.array([((values[group == one, 0] - values[group == one, 1]) ** 2).sum() for one in levels])
    degrees = satterthwaite(squares, sizes - 1), satterthwaite(halves, sizes)
    ends = [
        (ratio / fisher.ppf(q, *degrees) - 1) / (ratio / fisher.ppf(q, *degrees) + 1)
        for q in ((1 + bootstrap.LEVEL) / 2, (1 - bootstrap.LEVEL) / 2)
    ]
    low, high = (1.0 - min(max(end, 0.0), 1.0) for end in reversed(ends))
    return within, between, share, (low, high, "intraclass F")


def satterthwaite(squares: np.ndarray, freedom: np.ndarray) -> float:
    """Return the degrees of freedom of a sum of sums of squares, (groups,), that have those of their own.

    A group without any degree of freedom adds nothing; all of them where every group spreads alike.
    """
    known = freedom > 0
    if not squares[known].any():
        return float(freedom.sum())
    return float(squares[known].sum() ** 2 / (squares[known] ** 2 / freedom[known]).sum())
