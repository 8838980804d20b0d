"""From a trajectory to an outcome: pure functions of the resolved run and what was written down.

Because the outcome depends on nothing else, a run that is a copy or a prefix of another one gets its outcome from
the other's trajectory (D1/D2's replicated rows, X2's and Y1B's).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dualgrad.census.run import Gate, Run, Stop
from dualgrad.thresholds import at_thresholds, main_rows
from dualgrad.training.trajectory import VALIDATION, Row, Trajectory


def gate_passes(gate: Gate, error: float) -> bool:
    """Return whether an error passes a gate: ``max`` (<=), ``below`` (<), ``min`` (>=)."""
    return (
        (gate.max is None or error <= gate.max)
        and (gate.below is None or error < gate.below)
        and (gate.min is None or error >= gate.min)
    )


def stop_hit(stop: Stop, error: float) -> bool:
    """Return whether one evaluation counts towards a stop rule (above or below a threshold)."""
    if stop.inclusive and error == stop.threshold:
        return True
    return error > stop.threshold if stop.error == "above" else error < stop.threshold


def first_stop(stop: Stop, errors: list[float]) -> int | None:
    """Return the index of the evaluation at which the rule fires, or None (S-T.md#3, S-T.md#4; Q-R.md#R3)."""
    hits = 0
    for position, error in enumerate(errors):
        hits = hits + 1 if stop_hit(stop, error) else 0
        if hits == stop.consecutive:
            return position
    return None


def summarise(run: Run, trajectory: Trajectory, extra: Mapping[str, Any]) -> dict[str, Any]:
    """Return the outcome of a run.

    Args:
        run: the run.
        trajectory: what was written down.
        extra: what the trajectory does not hold: ``status``, ``constant_prediction``, ``steps``, averages over
            steps, errors of the weights each stage started from (``start_errors``), selections.

    Returns:
        Plain dict; only the fields that apply to this run (contract.md#run and the record schema).
    """
    rows = trajectory.rows("evaluations")
    by_stage = {stage.name: [row for row in rows if row["stage"] == stage.name] for stage in run.stages}
    outcome: dict[str, Any] = {key: value for key, value in extra.items() if key != "start_errors"}
    starts = extra.get("start_errors", {})

    trained = [row for row in rows if row["stage_epoch"] > 0]
    outcome["epochs"] = _trained_epochs(trained)
    main = main_rows({stage.branch for stage in run.stages}, rows)
    if main:
        outcome["test_error"] = main[-1]["test_error"]
        outcome["test_loss"] = main[-1]["test_loss"]
        outcome |= {key: main[-1][key] for key in VALIDATION if key in main[-1]}
        best = min(
            (row for row in main if row["stage_epoch"] > 0), key=lambda r: r["test_error"], default=None
        )
        if best is not None:
            outcome["best_error"], outcome["best_epoch"] = best["test_error"], best["epoch"]
    elif starts:
        outcome["test_error"] = next(iter(starts.values()))

    _initial_error(run, by_stage, starts, outcome)
    _gates_and_stops(run, by_stage, outcome)
    _branches(run, by_stage, starts, outcome)
    return outcome | at_thresholds(run.thresholds, main, outcome)


def _trained_epochs(rows: list[Row]) -> int:
    last: dict[str, int] = {}
    for row in rows:
        last[row["stage"]] = row["stage_epoch"]
    return sum(last.values())


def _initial_error(
    run: Run, by_stage: Mapping[str, list[Row]], starts: Mapping[str, float], outcome: dict[str, Any]
) -> None:
    first = run.stages[0].name
    before = [row["test_error"] for row in by_stage[first] if row["stage_epoch"] == 0]
    if before:
        outcome["init_error"] = before[0]
    elif first in starts:
        outcome["init_error"] = starts[first]
    elif len(run.stages) > 1 and by_stage[first]:
        outcome["init_error"] = by_stage[first][-1]["test_error"]


def _gates_and_stops(run: Run, by_stage: Mapping[str, list[Row]], outcome: dict[str, Any]) -> None:
    for stage in run.stages:
        rows, gate, stop = by_stage[stage.name], stage.gate, stage.stop
        if gate and rows:
            passed = gate_passes(gate, rows[-1]["test_error"])
            outcome["init_success"] = passed and outcome.get("init_success", True)
        if not stop:
            continue
        errors = [row["test_error"] for row in rows if row["stage_epoch"] > 0]
        if not errors:  # the gate before it failed: a life of length 0, which is no censored observation
            outcome |= {"event": False, "censored": False, "lifetime": 0, "threshold_lambda": None}
            continue
        at = first_stop(stop, errors)
        observed = [row for row in rows if row["stage_epoch"] > 0]
        crossing = next((row["lambda"] for row in observed if stop_hit(stop, row["test_error"])), None)
        outcome |= {
            "event": at is not None,
            "censored": at is None,
            "first_crossing_lambda": crossing,
            "threshold_lambda": None if at is None else observed[at]["lambda"],
        }
        if stop.unit == "epoch":
            last = observed[-1]["stage_epoch"]
            outcome["lifetime"] = last if at is None else observed[at]["stage_epoch"] - stop.consecutive + 1


def _branches(
    run: Run, by_stage: Mapping[str, list[Row]], starts: Mapping[str, float], outcome: dict[str, Any]
) -> None:
    finals: dict[str, float] = {}
    initials: dict[str, float] = {}
    for stage in run.stages:
        branch, rows = stage.branch, by_stage[stage.name]
        if not branch or not rows:
            continue
        if stage.start.kind == "fresh":
            initials[branch] = rows[-1]["test_error"]
        elif stage.name in starts:
            initials.setdefault(branch, starts[stage.name])
        finals[branch] = rows[-1]["test_error"]
    if set(finals) == {"ordered", "collapse"}:
        outcome["ordered_init_error"] = initials.get("ordered")
        outcome["collapse_init_error"] = initials.get("collapse")
        outcome["final_gap"] = finals["collapse"] - finals["ordered"]
