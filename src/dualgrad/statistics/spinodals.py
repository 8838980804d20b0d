"""The λ at which a ladder's network collapses (way up) or recovers (way down), with censoring.

A run climbs or descends a ladder of λ and stops at its event: three evaluations in a row beyond the threshold.
A run without event is censored at the ladder's end: its λ is known only to lie beyond it. The published means
(`recorded_*`) put censored R3 runs at the ladder's last λ, as recorded; T1-spinodal and T2-spinodal record
nothing for them.

Kaplan-Meier (scipy.stats.ecdf): S(k) = Π (1 - d_j / n_j) over rungs j up to k, d_j events and n_j runs at
risk; `median_lambda` is the λ of the first rung with S <= 1/2, with its log-log interval; null where fewer than
half of the runs have the event. Floor: the rule needs three evaluations, so R3's earliest possible λ is its
third rung; runs that fire there were beyond the threshold from the start (`floor_share`).

`width` = mean recorded λ up - mean recorded λ down. With censored runs on the way down it is a lower
bound, where the way up is not at the floor; else it is none.

Sources: docs/specification/FIGURES.md, Figure 2d; config/claims.yaml, conclusion 10; Q-R.md#R3; S-T.md#4.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from dualgrad.estimators import bootstrap
from dualgrad.estimators.survival import ladder_median
from dualgrad.statistics.layout import Quantity, Sheet
from dualgrad.tables.edition import Tables
from dualgrad.tables.schema import FLOAT64, STRING, Column

# Experiment -> direction, and the first rung at which its rule can fire (R3 evaluates once per rung, the others ten
# times, and three evaluations in a row are needed).
LADDERS = {"R3a": ("up", 3), "R3b": ("down", 3), "T1-spinodal": ("up", 1), "T2-spinodal": ("down", 1)}
WIDTHS = (("R3a", "R3b"), ("T1-spinodal", "T2-spinodal"))

KEYS = (
    Column("noise_rate", FLOAT64, "label-noise rate η", "fraction"),
    Column("hold_type", STRING, "short or long hold per λ (R3)"),
    Column("hold_epochs", FLOAT64, "epochs per λ", "epochs"),
    Column("direction", STRING, "up or down; null for a width"),
    Column("ladder_start", FLOAT64, "first λ of the ladder"),
    Column("ladder_end", FLOAT64, "last λ of the ladder"),
)

QUANTITIES = {
    "event_share": Quantity("1", "share of runs with the event within the ladder"),
    "censored": Quantity("runs", "runs without it"),
    "recorded_mean": Quantity("lambda", "mean recorded λ, censored runs at the ladder's end"),
    "recorded_sd": Quantity("lambda", "its population standard deviation"),
    "median_lambda": Quantity("lambda", "Kaplan-Meier median"),
    "survival_at_end": Quantity("1", "Kaplan-Meier share of runs without event beyond the ladder"),
    "first_crossing": Quantity(
        "lambda", "median λ of the first evaluation beyond the threshold, sustained or not"
    ),
    "floor_share": Quantity("1", "share of events at the first rung at which the rule can fire"),
    "start_error": Quantity("fraction", "mean error before the ladder"),
    "width": Quantity("lambda", "mean recorded λ up minus mean recorded λ down"),
}


def compute(tables: Tables) -> pd.DataFrame:
    """Return thresholds and widths of all ladders."""
    sheet = Sheet(tables.edition, KEYS, QUANTITIES)
    for experiment in LADDERS:
        runs = tables.runs(experiment)
        if runs.empty:
            direction = LADDERS[experiment][0]
            sheet.add("event_share", None, 0, experiment=experiment, direction=direction)
        for keys, rows in _groups(runs):
            _ladder(sheet, {"experiment": experiment, **keys}, rows, tables)
    for up, down in WIDTHS:
        descents = dict(_keyed(tables.runs(down)))
        for key, rows in _keyed(tables.runs(up)):
            if key in descents:
                _width(sheet, f"{up}-{down}", rows, descents[key])
    return sheet.frame()


def _groups(runs: pd.DataFrame) -> Iterator[tuple[dict[str, Any], pd.DataFrame]]:
    for (eta, hold), rows in runs.groupby(["noise_rate", "hold_type"], dropna=False, sort=False):
        words = None if hold is None or hold != hold else hold
        yield {"noise_rate": eta, "hold_type": words, "hold_epochs": rows["hold_epochs"].min()}, rows


def _keyed(runs: pd.DataFrame) -> Iterator[tuple[tuple[Any, ...], pd.DataFrame]]:
    for keys, rows in _groups(runs):
        yield (keys["noise_rate"], keys["hold_type"]), rows


def _ladder(sheet: Sheet, keys: dict, runs: pd.DataFrame, tables: Tables) -> None:
    experiment = keys["experiment"]
    direction, floor = LADDERS[experiment]
    path = tables.trajectories(experiment, stage="sweep")
    ladder = np.sort(path["lam"].unique())
    if direction == "down":
        ladder = ladder[::-1]
    path = path[path["run"].isin(runs["run"])]
    runs = runs[runs["run"].isin(path["run"])]  # a failed gate has no ladder
    n = len(runs)
    keys = {**keys, "direction": direction}
    if n == 0 or len(ladder) == 0:
        sheet.add("event_share", None, 0, note="no run reached the ladder", **keys)
        return
    keys |= {"ladder_start": ladder[0], "ladder_end": ladder[-1]}
    event = runs["event"].map(lambda flag: bool(flag) if flag is not None else False).to_numpy(dtype=bool)
    last = runs["run"].map(path.groupby("run")["lam"].last()).to_numpy(dtype=float)
    stopped = np.where(event, runs["threshold_lambda"].to_numpy(dtype=float), last)
    rung = np.array([int(np.abs(ladder - level).argmin()) + 1 for level in stopped])
    hits = int(event.sum())
    note = f"{n - hits} of {n} runs are censored: no event up to λ = {ladder[-1]:g}" if hits < n else None
    sheet.add("event_share", hits / n, n, bounds=bootstrap.exact_bounds(hits, n), **keys)
    sheet.add("censored", n - hits, n, **keys)
    early = int((rung[event] <= floor).sum())
    recorded = runs["threshold_lambda"].dropna().to_numpy(dtype=float)
    missing = note if len(recorded) < n else None
    at_floor = len(recorded) > 0 and bool((np.abs(recorded - recorded[0]) < 1e-9).all())
    bounds = None if at_floor else bootstrap.mean_bounds(recorded)
    if at_floor and hits and early == hits:
        below = "beyond the threshold from the start: the threshold lies at or before this rung"
        note = f"all runs sit on the rule's earliest rung, {below} (interval-censored)"
    value = recorded.mean() if len(recorded) else None
    sheet.add("recorded_mean", value, len(recorded), bounds=bounds, note=missing or note, **keys)
    sd = bootstrap.spread(recorded) if len(recorded) else None
    sheet.add("recorded_sd", sd, len(recorded), note=missing or note, **keys)
    median, bounds, survival = ladder_median(rung, event, ladder)
    if early == hits == n or n <= bootstrap.LEAST_FOR_SPREAD:
        bounds = None  # one rung is the rule's resolution, no precision; five runs bound no median at 95 %
    sheet.add("median_lambda", median, n, bounds=bounds, note=note, **keys)
    sheet.add("survival_at_end", survival[0], n, bounds=survival[1], **keys)
    first = runs["first_crossing_lambda"].dropna().to_numpy(dtype=float)
    late = f"{n - len(first)} of {n} runs never cross" if len(first) < n else None
    sheet.add("first_crossing", np.median(first) if len(first) else None, len(first), note=late, **keys)
    bounds = bootstrap.exact_bounds(early, hits)
    none = None if hits else "no event"
    sheet.add("floor_share", early / hits if hits else None, hits, bounds=bounds, note=none, **keys)
    start = runs["init_error"].dropna().to_numpy(dtype=float)
    bounds = bootstrap.mean_bounds(start)
    sheet.add("start_error", start.mean() if len(start) else None, len(start), bounds=bounds, **keys)


def _width(sheet: Sheet, name: str, up: pd.DataFrame, down: pd.DataFrame) -> None:
    keys = {
        "experiment": name,
        "noise_rate": up["noise_rate"].min(),
        "hold_type": up["hold_type"].iloc[0],
        "hold_epochs": up["hold_epochs"].min(),
    }
    first, second = (rows["threshold_lambda"].dropna().to_numpy(dtype=float) for rows in (up, down))
    n = min(len(first), len(second))
    if n == 0:
        sheet.add("width", None, 0, note="one way has no recorded λ: all its runs are censored", **keys)
        return
    counts = [
        f"{int((rows['censored'] == True).sum())} of {len(rows)} runs on the way {way} are censored"  # noqa: E712
        for way, rows in (("up", up), ("down", down))
        if (rows["censored"] == True).any()  # noqa: E712
    ]
    note = "a lower bound: " + " and ".join(counts) if counts else None
    bounds = bootstrap.difference_bounds(first, second)
    sheet.add("width", first.mean() - second.mean(), n, bounds=bounds, note=note, **keys)
