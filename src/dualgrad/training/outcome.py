"""From a trajectory to an outcome: pure functions of the resolved run and what was written down.

Because the outcome depends on nothing else, a run that is a copy or a prefix of another one gets its outcome from
the other's trajectory (D1/D2's replicated rows, X2's and Y1B's).
"""

from __future__ import annotations

from dualgrad.training.trajectory import Trajectory


def gate_passes(gate: dict, error: float) -> bool:
    """Return whether an error passes a gate: ``max`` (<=), ``below`` (<), ``min`` (>=)."""
    return (
        error <= gate.get("max", float("inf"))
        and error < gate.get("below", float("inf"))
        and error >= gate.get("min", float("-inf"))
    )


def stop_hit(stop: dict, error: float) -> bool:
    """Return whether one evaluation counts towards a stop rule (above or below a threshold)."""
    threshold, inclusive = stop["threshold"], stop.get("inclusive", False)
    if inclusive and error == threshold:
        return True
    return error > threshold if stop["error"] == "above" else error < threshold


def first_stop(stop: dict, errors: list[float]) -> int | None:
    """Return the index of the evaluation at which the rule fires, or None (S-T.md#3, S-T.md#4; Q-R.md#R3)."""
    hits = 0
    for position, error in enumerate(errors):
        hits = hits + 1 if stop_hit(stop, error) else 0
        if hits == stop["consecutive"]:
            return position
    return None


def summarise(run: dict, trajectory: Trajectory, extra: dict) -> dict:
    """Return the outcome of a run.

    Args:
        run: the resolved run.
        trajectory: what was written down.
        extra: what the trajectory does not hold: ``status``, ``constant_prediction``, ``steps``, averages over
            steps, errors of the weights each stage started from (``start_errors``), selections.

    Returns:
        Plain dict; only the fields that apply to this run (contract.md#run and the record schema).
    """
    rows = trajectory.rows("evaluations")
    stages = {stage["name"]: stage for stage in run["stages"]}
    by_stage = {name: [row for row in rows if row["stage"] == name] for name in stages}
    outcome = {key: value for key, value in extra.items() if key != "start_errors"}
    starts = extra.get("start_errors", {})

    trained = [row for row in rows if row["stage_epoch"] > 0]
    outcome["epochs"] = _trained_epochs(trained)
    main = _main_rows(run, rows)
    if main:
        outcome["test_error"] = main[-1]["test_error"]
        outcome["test_loss"] = main[-1]["test_loss"]
        best = min(
            (row for row in main if row["stage_epoch"] > 0), key=lambda r: r["test_error"], default=None
        )
        if best is not None:
            outcome["best_error"], outcome["best_epoch"] = best["test_error"], best["epoch"]
    elif starts:
        outcome["test_error"] = next(iter(starts.values()))

    _initial_error(run, stages, by_stage, starts, outcome)
    _gates_and_stops(run, by_stage, outcome)
    _branches(run, by_stage, starts, outcome)
    _thresholds(run, main, outcome)
    return outcome


def _trained_epochs(rows: list[dict]) -> int:
    last: dict[str, int] = {}
    for row in rows:
        last[row["stage"]] = row["stage_epoch"]
    return sum(last.values())


def _main_rows(run: dict, rows: list[dict]) -> list[dict]:
    """Rows that the run's error is about: the ordered branch of a two-branch run, else everything (census.csv)."""
    if {stage.get("branch") for stage in run["stages"]} >= {"ordered", "collapse"}:
        return [row for row in rows if row["branch"] == "ordered"]
    return rows


def _initial_error(run: dict, stages: dict, by_stage: dict, starts: dict, outcome: dict) -> None:
    first = next(iter(stages.values()))
    before = [row["test_error"] for row in by_stage[first["name"]] if row["stage_epoch"] == 0]
    if before:
        outcome["init_error"] = before[0]
    elif first["name"] in starts:
        outcome["init_error"] = starts[first["name"]]
    elif len(stages) > 1 and by_stage[first["name"]]:
        outcome["init_error"] = by_stage[first["name"]][-1]["test_error"]


def _gates_and_stops(run: dict, by_stage: dict, outcome: dict) -> None:
    for stage in run["stages"]:
        rows = by_stage[stage["name"]]
        gate, stop = stage.get("gate"), stage.get("stop")
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
        if stop["unit"] == "epoch":
            last = observed[-1]["stage_epoch"]
            outcome["lifetime"] = (
                last if at is None else observed[at]["stage_epoch"] - stop["consecutive"] + 1
            )


def _branches(run: dict, by_stage: dict, starts: dict, outcome: dict) -> None:
    finals, initials = {}, {}
    for stage in run["stages"]:
        branch, rows = stage.get("branch"), by_stage[stage["name"]]
        if not branch or not rows:
            continue
        if stage["start"]["kind"] == "fresh":
            initials[branch] = rows[-1]["test_error"]
        elif stage["name"] in starts:
            initials.setdefault(branch, starts[stage["name"]])
        finals[branch] = rows[-1]["test_error"]
    if set(finals) == {"ordered", "collapse"}:
        outcome["ordered_init_error"] = initials.get("ordered")
        outcome["collapse_init_error"] = initials.get("collapse")
        outcome["final_gap"] = finals["collapse"] - finals["ordered"]


def _thresholds(run: dict, rows: list[dict], outcome: dict) -> None:
    thresholds = run.get("thresholds") or {}
    if "convergence" in thresholds:
        outcome["convergence_epoch"] = next(
            (row["epoch"] for row in rows if row["test_error"] < thresholds["convergence"]), None
        )
    if "collapse" in thresholds:
        outcome["collapse_lambda"] = next(
            (row["lambda"] for row in rows if row["test_error"] >= thresholds["collapse"]), None
        )
    if "escaped" in thresholds:
        outcome["escaped"] = outcome["test_error"] < thresholds["escaped"]
        outcome["improvement"] = outcome["init_error"] - outcome["test_error"]
