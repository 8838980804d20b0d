"""What is read off a run's evaluations at its named thresholds: another threshold needs no other training."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

# Of an outcome, what thresholds decide.
FIELDS = ("convergence_epoch", "collapse_lambda", "escaped", "improvement")


def main_rows(branches: Iterable[str | None], rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows that a run's error is about: the ordered branch of a two-branch run, else all (census.csv).

    Args:
        branches: those of its stages.
        rows: its evaluations in order, as a record's trajectory has them.
    """
    if {"ordered", "collapse"} <= set(branches):
        return [row for row in rows if row["branch"] == "ordered"]
    return list(rows)


def at_thresholds(
    thresholds: Mapping[str, float], rows: Sequence[Mapping[str, Any]], outcome: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the fields of an outcome that follow from named thresholds.

    Args:
        thresholds: error by name.
        rows: what :func:`main_rows` returned.
        outcome: the rest of the outcome: first and last error.
    """
    found: dict[str, Any] = {}
    if "convergence" in thresholds:
        found["convergence_epoch"] = next(
            (row["epoch"] for row in rows if row["test_error"] < thresholds["convergence"]), None
        )
    if "collapse" in thresholds:
        found["collapse_lambda"] = next(
            (row["lambda"] for row in rows if row["test_error"] >= thresholds["collapse"]), None
        )
    if "escaped" in thresholds:
        found["escaped"] = outcome["test_error"] < thresholds["escaped"]
        found["improvement"] = outcome["init_error"] - outcome["test_error"]
    return found


def with_thresholds_of(run: Mapping[str, Any], record: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a record with its outcome read off at another run's thresholds; its digest stays that of the training.

    Args:
        run: the run as the census has it now.
        record: a verified record of the same training.
    """
    if record["spec"].get("thresholds") == run.get("thresholds"):
        return record
    columns = record["trajectory"].get("evaluations") or {}
    rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    outcome = {key: value for key, value in record["outcome"].items() if key not in FIELDS}
    main = main_rows([stage.get("branch") for stage in run["stages"]], rows)
    outcome |= at_thresholds(run.get("thresholds") or {}, main, outcome)
    return {**record, "spec": {**record["spec"], "thresholds": run.get("thresholds")}, "outcome": outcome}
