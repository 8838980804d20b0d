"""Synthetic results for tests of what is made from tables: evaluated where the protocols say, errors by a formula."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from dualgrad.census.run import Stage
from dualgrad.tables.build import TableSet, row_keys, run_columns
from dualgrad.training.plan import plan_stage


def error_of(run: Mapping[str, Any], lam: float, epoch: int) -> float:
    """An error that falls with training, and jumps up at a λ that depends on the noise."""
    rate, seed = run["noise"]["rate"], run["seed"] or 0
    floor = 0.1 + 0.25 * rate + (0.5 if lam > 0.55 - 0.15 * rate else 0.0) + 0.001 * (seed % 7)
    return round(min(0.9, floor + 0.3 * math.exp(-epoch / 20)), 4)


def tables_of(runs: Iterable[Mapping[str, Any]], edition: str) -> TableSet:
    """Tables of some runs. Those called seed7 have failed their gate."""
    tables = TableSet()
    for run in runs:
        row = run_columns(run, edition)
        series: dict[str, list] = {}
        clock: dict[str, int] = {}
        for stage in run["stages"]:
            session = stage["session"]
            for number, epoch in enumerate(plan_stage(Stage.model_validate(stage)), start=1):
                clock[session] = clock.get(session, 0) + 1
                if not epoch.evaluate:
                    continue
                place = {
                    **{"stage": stage["name"], "branch": stage["branch"], "segment": epoch.segment},
                    **{"direction": epoch.direction, "lam": epoch.lam},
                    **{"stage_epoch": number, "epoch": clock[session]},
                    "test_error": error_of(run, epoch.lam, clock[session]),
                }
                for name, value in place.items():
                    series.setdefault(name, []).append(value)
        errors = series["test_error"]
        tables.add("trajectories", len(errors), row_keys(row), series)
        if run["log"]["epochs"] or run["experiment"] == "K":
            epochs = list(range(1, sum(clock.values()) + 1))
            cosines = {"epoch": epochs, "stage_epoch": epochs, "cos_mean": [0.5 / k - 0.5 for k in epochs]}
            same = {**row_keys(row), "stage": "main", "segment": 0, "lam": 0.3}
            tables.add("epochs", len(epochs), same, cosines)
        outcome = {
            **{"status": "gate_failed" if run["run"] == "seed7" else "completed"},
            **{"test_error": errors[-1], "best_error": min(errors), "epochs": sum(clock.values())},
            **{"seconds": 12.5, "digest": "d" * 64},
        }
        tables.add("runs", 1, {**row, **outcome})
    return tables


def write_results(folder: Path, census: Any, experiments: Iterable[str]) -> Path:
    """Write ``<folder>/<edition>/tables/parts`` of some experiments; returns the edition's folder."""
    edition = census.edition["name"]
    for name in experiments:
        runs = [census.runs[target] for target in census.experiments[name]["runs"]]
        tables_of(runs, edition).write(folder / edition / "tables" / "parts" / name)
    return folder / edition
