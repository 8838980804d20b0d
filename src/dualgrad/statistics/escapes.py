"""How often runs leave the state of constant prediction, with exact intervals.

Escape attempts (Td2): a trapped state trained on for 50 epochs in one of six ways; escaped if it ends below
0.60. The 18 attempts are three traps in six ways each: the traps are the units.

Plateaus in other trajectories: `least` or more evaluations in a row with exactly the same error, at or above 0.85
(1 - 1.5/C for C classes; a constant predictor's error depends on its class alone). Each run, or branch of a run
that has two, counts once, with its first plateau. It is left if a later evaluation is below the level, and
ended_below if the last one is. Runs of one start and seed are one unit (the long and the short hold of R3b, the
sweeps that go on from one preparation), which leaves its plateau if one of its runs does. Counted are runs that are
evaluated after every epoch or every λ, without their starting phases; attempts (Td2) have rows of their own.

Sources: docs/specification/FIGURES.md, Figure 3c and 4d; config/claims.yaml, conclusion 11; Td-W.md#Td2.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from dualgrad.estimators import bootstrap
from dualgrad.statistics.facts import trap_level
from dualgrad.statistics.layout import Quantity, Sheet
from dualgrad.statistics.sources import PLATEAUS, START_OF
from dualgrad.tables.edition import Tables
from dualgrad.tables.schema import FLOAT64, INT64, STRING, Column

LEAST = (3, 5, 10)
ALL_PLATEAUS = "plateaus"

KEYS = (
    Column("noise_rate", FLOAT64, "label-noise rate η; null: both", "fraction"),
    Column("intervention", STRING, "escape attempt of Td2; all: the six together"),
    Column("hold_type", STRING, "short or long hold per λ (R3)"),
    Column("lam", FLOAT64, "λ of the attempt"),
    Column("least", INT64, "evaluations that make a plateau"),
)

QUANTITIES = {
    "escaped_share": Quantity("1", "share of traps that one attempt or more leaves"),
    "escaped": Quantity("runs", "attempts that escape"),
    "lowest_error": Quantity("fraction", "lowest final error of the attempts"),
    "plateaus": Quantity("runs", "runs with a plateau"),
    "left_share": Quantity("1", "share of starts of which a run leaves its plateau"),
    "left": Quantity("runs", "plateaus that are left"),
    "ended_below": Quantity("runs", "runs with a plateau whose last error is below the level"),
    "lowest_after": Quantity("fraction", "lowest error after a plateau"),
}


def compute(tables: Tables) -> pd.DataFrame:
    """Return escapes and plateaus."""
    sheet = Sheet(tables.edition, KEYS, QUANTITIES)
    _attempts(sheet, tables)
    if tables.trajectories(*PLATEAUS).empty:
        sheet.add("plateaus", None, 0, experiment=ALL_PLATEAUS)
        return sheet.frame()
    plateaus = {least: _plateaus(tables, least) for least in LEAST}
    for least, found in plateaus.items():
        for experiment in PLATEAUS:
            mine = found[found["experiment"] == experiment]
            hold = tables.runs(experiment).set_index("run")["hold_type"]
            for (eta, held), rows in mine.assign(hold=mine["run"].map(hold)).groupby(
                ["noise_rate", "hold"], dropna=False, sort=False
            ):
                words = held if isinstance(held, str) else None
                _count(
                    sheet,
                    {"experiment": experiment, "noise_rate": eta, "hold_type": words, "least": least},
                    rows,
                )
        _count(sheet, {"experiment": ALL_PLATEAUS, "least": least}, found)
        for eta, rows in found.groupby("noise_rate"):
            _count(sheet, {"experiment": ALL_PLATEAUS, "noise_rate": eta, "least": least}, rows)
    return sheet.frame()


def _attempts(sheet: Sheet, tables: Tables) -> None:
    runs = tables.runs("Td2")
    runs = runs[runs["intervention"].notna()] if len(runs) else runs
    if runs.empty:
        sheet.add("escaped_share", None, 0, experiment="Td2", intervention="all")
        return
    parts = [(name, rows) for name, rows in runs.groupby("intervention", sort=False)]
    for name, rows in (("all", runs), *parts):
        ended = rows[rows["escaped"].notna()]
        hits, n = int(ended["escaped"].astype(bool).sum()), len(ended)
        keys = {"experiment": "Td2", "noise_rate": rows["noise_rate"].min(), "intervention": name}
        if name != "all":
            keys["lam"] = rows["lam"].min()
        note = "three traps in six ways: not independent" if name == "all" else None
        free = int((ended["init_error"] < trap_level(tables.num_classes("Td2"))).sum())
        missing = len(rows) - n
        if missing or free:
            note = f"{missing} attempts have no outcome, {free} start from states that are not trapped"
        # Attempts on one trap share its start: traps are the units, left if one attempt or more escapes.
        traps = ended.groupby("slot")["escaped"].agg(lambda flags: flags.astype(bool).any())
        units = len(traps)
        keys["runs"] = n
        bounds = bootstrap.exact_bounds(int(traps.sum()), units)
        share = traps.mean() if units else None
        sheet.add("escaped_share", share, units, bounds=bounds, note=note, **keys)
        sheet.add("escaped", hits if n else None, units, note=note, **keys)
        sheet.add("lowest_error", ended["test_error"].min() if n else None, units, note=note, **keys)


def _plateaus(tables: Tables, least: int) -> pd.DataFrame:
    """Return each run's first plateau: whether it is left, how the run ends, the lowest error after it."""
    path = tables.trajectories(*PLATEAUS)
    path = path[~path["stage"].str.endswith(("init", "select")).astype(bool)]
    levels = {name: trap_level(tables.num_classes(name)) for name in PLATEAUS}
    found = []
    for (experiment, run, branch), rows in path.groupby(
        ["experiment", "run", "branch"], dropna=False, sort=False
    ):
        errors = rows["test_error"].to_numpy(dtype=float)
        level = levels[str(experiment)]
        end = first_plateau(errors, level, least)
        if end is None:
            continue
        later = errors[end:]
        found.append(
            {
                "experiment": experiment,
                "run": run,
                "branch": branch,
                "noise_rate": rows["noise_rate"].iloc[0],
                "start": f"{START_OF.get(str(experiment), {}).get(branch, experiment)} {rows['seed'].iloc[0]:g}",
                "left": bool((later < level).any()),
                "below": bool(errors[-1] < level),
                "lowest": later.min() if len(later) else np.nan,
            }
        )
    return pd.DataFrame(
        found, columns=["experiment", "run", "branch", "noise_rate", "start", "left", "below", "lowest"]
    )


def first_plateau(errors: np.ndarray, level: float, least: int) -> int | None:
    """Return where the first plateau ends (index after it), or None.

    Args:
        errors: a run's errors in order.
        level: lowest error that counts.
        least: equal errors in a row that make a plateau.
    """
    start = 0
    for at in range(1, len(errors) + 1):
        if at < len(errors) and abs(errors[at] - errors[start]) < 1e-9:
            continue
        if errors[start] >= level and at - start >= least:
            return at
        start = at
    return None


def _count(sheet: Sheet, keys: dict, rows: pd.DataFrame) -> None:
    units = rows.groupby(["noise_rate", "start"])["left"].any()
    runs, n = len(rows), len(units)
    keys = {**keys, "runs": runs}
    sheet.add("plateaus", runs, n, **keys)
    sheet.add("left", int(rows["left"].sum()), n, **keys)
    note = None if n else "no plateau"
    bounds = bootstrap.exact_bounds(int(units.sum()), n)
    sheet.add("left_share", units.mean() if n else None, n, bounds=bounds, note=note, **keys)
    sheet.add("ended_below", int(rows["below"].sum()), n, **keys)
    lowest = rows["lowest"].min() if n else None
    none = "no evaluation after a plateau" if n else "no plateau"
    sheet.add("lowest_after", lowest, n, note=none if lowest is None or lowest != lowest else None, **keys)
