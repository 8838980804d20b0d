"""Why the text model does not recover: elapsed epochs (time) against what it was put through (path), at λ = 0.60.

All effects are differences of mean final errors, paired by seed over the seeds that both sides have: Student's
interval and p value over the seeds' differences. Y1A is trained at λ = 0.60 for 57 epochs, Y1B for 3; Y2k3 and
Y2k10 spend 3 epochs at 0.60, then 3 or 10 at 0.20, then 13 at 0.60 again; X3 runs a loop of λ.

- time effect = Y1A (last epoch) - Y1B (last epoch). Y1B is a prefix of Y1A, so this is one training at two
  ages.
- path effect, raw = Y2 (last epoch) - Y1B: 19 or 26 epochs against 3.
- path effect at equal total epochs = Y2 at epoch e - Y1A at epoch e, for every recovery epoch (`epoch`).
- path effect at equal epochs spent at 0.60 = Y2 (last epoch) - Y1A at epoch 3 + 13.
- recovery gap = Y2 (last epoch) - the same run at the end of its first phase.
- dose effect, raw = Y2k10 - Y2k3, last epochs (19 against 26 epochs), by four tests; net = the difference of
  the two path effects at equal total epochs.
- X3: error at 0.60 on the way up or down against Y1B, against Y1A's last epoch, and against Y1A at the same
  epoch.

Sources: docs/specification/FIGURES.md, Figure 5d-e; config/claims.yaml, conclusion 14; X-Y.md#3.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import ttest_ind

from dualgrad.estimators import bootstrap
from dualgrad.estimators.ranks import mann_whitney
from dualgrad.statistics.layout import Quantity, Sheet
from dualgrad.tables.edition import Tables
from dualgrad.tables.schema import FLOAT64, INT64, STRING, Column

LAMBDA = 0.60
RECOVERIES = ("Y2k3", "Y2k10")

KEYS = (
    Column("noise_rate", FLOAT64, "label-noise rate η", "fraction"),
    Column("lam", FLOAT64, "λ of both sides"),
    Column("epoch", FLOAT64, "epoch of the first side", "epochs"),
    Column("reference_epoch", FLOAT64, "epoch of the second side", "epochs"),
    Column("matched", STRING, "raw, total epochs, epochs at 0.60, or same run"),
    Column("direction", STRING, "way of the loop (X3)"),
    Column("test", STRING, "test behind p_value, where several are given"),
    Column("positive", INT64, "seeds whose own difference is positive", "runs"),
)

QUANTITIES = {
    "time_effect": Quantity("fraction", "Y1A last epoch minus Y1B last epoch"),
    "path_effect": Quantity("fraction", "Y2 minus Y1B (raw) or minus Y1A (matched)"),
    "recovery_gap": Quantity("fraction", "Y2 last epoch minus end of the first phase"),
    "dose_effect": Quantity("fraction", "Y2k10 minus Y2k3, raw or net of the time effect"),
    "loop_effect": Quantity(
        "fraction", "X3 at 0.60 minus Y1B (raw), Y1A's last epoch, or Y1A at the same epoch"
    ),
}


def compute(tables: Tables) -> pd.DataFrame:
    """Return time, path and dose effects."""
    return _Decomposition(tables).frame()


class _Decomposition:
    """Effects, from errors by seed (rows) and epoch (columns)."""

    def __init__(self, tables: Tables) -> None:
        self.tables = tables
        self.sheet = Sheet(tables.edition, KEYS, QUANTITIES)
        self.long, self.short = self.errors("Y1A"), self.errors("Y1B")
        etas = tables.runs()["noise_rate"].dropna()
        self.keys: dict[str, Any] = {"noise_rate": etas.iloc[0] if len(etas) else None, "lam": LAMBDA}

    def errors(self, experiment: str, **where: object) -> pd.DataFrame:
        """Test errors by seed and epoch."""
        rows = self.tables.trajectories(experiment)
        for column, value in where.items():
            rows = rows[rows[column] == value]
        return rows.pivot_table(index="seed", columns="epoch", values="test_error")

    def frame(self) -> pd.DataFrame:
        """All effects."""
        last = {name: _last(table) for name, table in (("Y1A", self.long), ("Y1B", self.short))}
        self.effect("time_effect", "Y1A-Y1B", last["Y1A"], last["Y1B"], matched="raw")
        matched = {}
        for experiment in RECOVERIES:
            matched[experiment] = self.recovery(experiment, last["Y1B"])
        self.dose(matched)
        for experiment in ("X3_fast", "X3_slow"):
            self.loop(experiment, last["Y1A"], last["Y1B"])
        return self.sheet.frame()

    def effect(
        self,
        quantity: str,
        name: str,
        first: tuple[pd.Series, float],
        second: tuple[pd.Series, float],
        **more: Any,
    ) -> pd.Series:
        """Append a difference paired by seed, and return the seeds' differences."""
        difference = (first[0] - second[0]).dropna()
        values = difference.to_numpy(dtype=float)
        bounds, p_value = bootstrap.t_bounds(values, "paired t")
        self.sheet.add(
            quantity,
            values.mean() if len(values) else None,
            len(values),
            bounds=bounds,
            p_value=p_value,
            note=None if len(values) else "no seed has both sides",
            experiment=name,
            epoch=first[1],
            reference_epoch=second[1],
            positive=int((values > 0).sum()),
            **self.keys,
            **more,
        )
        return difference

    def at(self, epoch: float) -> tuple[pd.Series, float]:
        """Y1A's errors at an epoch (empty where it was not trained that long)."""
        if epoch in self.long.columns:
            return self.long[epoch], epoch
        return pd.Series(dtype=float), epoch

    def recovery(self, experiment: str, short: tuple[pd.Series, float]) -> pd.Series:
        """The path effects of one Y2 experiment; returns the seeds' effects at equal total epochs."""
        table = self.errors(experiment, stage="phase3_recovery")
        end = _last(table)
        first = _last(self.errors(experiment, stage="phase1_good"))
        self.effect("path_effect", f"{experiment}-Y1B", end, short, matched="raw")
        name = f"{experiment}-Y1A"
        for epoch in table.columns[:-1]:
            self.effect("path_effect", name, (table[epoch], epoch), self.at(epoch), matched="total epochs")
        final = self.effect("path_effect", name, end, self.at(end[1]), matched="total epochs")
        spent = first[1] + len(table.columns) if len(table.columns) else np.nan
        self.effect("path_effect", name, end, self.at(spent), matched="epochs at 0.60")
        self.effect("recovery_gap", experiment, end, first, matched="same run")
        return final

    def dose(self, matched: dict[str, pd.Series]) -> None:
        """Y2k10 against Y2k3, raw by four tests and net of time."""
        ends = {name: _last(self.errors(name, stage="phase3_recovery")) for name in RECOVERIES}
        more, less = ends["Y2k10"], ends["Y2k3"]
        name = "Y2k10-Y2k3"
        self.effect("dose_effect", name, more, less, matched="raw", test="paired t")
        first, second = (side[0].dropna().to_numpy(dtype=float) for side in (more, less))
        n = min(len(first), len(second))
        keys: dict[str, Any] = {
            "experiment": name,
            "epoch": more[1],
            "reference_epoch": less[1],
            "matched": "raw",
            **self.keys,
        }
        for test in ("Student", "Welch", "Mann-Whitney"):
            if n < 2:
                self.sheet.add("dose_effect", None, n, test=test, **keys)
                continue
            bounds, p_value = _unpaired(test, first, second)
            value = first.mean() - second.mean()
            self.sheet.add("dose_effect", value, n, bounds=bounds, p_value=p_value, test=test, **keys)
        self.effect(
            "dose_effect",
            name,
            (matched["Y2k10"], more[1]),
            (matched["Y2k3"], less[1]),
            matched="total epochs",
            test="paired t",
        )

    def loop(self, experiment: str, long: tuple[pd.Series, float], short: tuple[pd.Series, float]) -> None:
        """X3 at λ = 0.60 on both ways."""
        rows = self.tables.trajectories(experiment, stage="loop")
        rows = rows[np.isclose(rows["lam"], LAMBDA)]
        for way in ("up", "down"):
            mine = rows[rows["direction"] == way]
            side = (mine.set_index("seed")["test_error"], mine["epoch"].min() if len(mine) else np.nan)
            more = {"direction": way}
            self.effect("loop_effect", f"{experiment}-Y1B", side, short, matched="raw", **more)
            self.effect("loop_effect", f"{experiment}-Y1A", side, long, matched="raw", **more)
            self.effect(
                "loop_effect", f"{experiment}-Y1A", side, self.at(side[1]), matched="total epochs", **more
            )


def _last(table: pd.DataFrame) -> tuple[pd.Series, float]:
    """Errors at the last epoch, and that epoch."""
    if len(table.columns) == 0:
        return pd.Series(dtype=float), np.nan
    return table[table.columns[-1]], float(table.columns[-1])


def _unpaired(test: str, first: np.ndarray, second: np.ndarray) -> tuple[bootstrap.Bounds | None, float]:
    """Interval and p value of an unpaired comparison; Mann-Whitney has no interval of the mean."""
    if test == "Mann-Whitney":
        return None, mann_whitney(first, second)[0]
    if np.ptp(first) == 0 and np.ptp(second) == 0:
        return None, np.nan
    found = ttest_ind(first, second, equal_var=test == "Student")
    interval = found.confidence_interval(bootstrap.LEVEL)
    return (float(interval.low), float(interval.high), f"{test} t"), float(found.pvalue)
