"""Tables: the runs of an edition as Parquet, one folder of five tables per experiment, and all of them merged.

``results/<edition>/tables/parts/<experiment>/{runs,trajectories,epochs,geometry,steps}.parquet`` hold one experiment;
``results/<edition>/tables/<table>.parquet`` hold all counted ones in census order. Same rows, same bytes: nothing in
them depends on when or where they were written.
"""

from __future__ import annotations

import json
import math
import statistics
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from dualgrad.records import RecordError, canonical_json, conditions, read_record, training
from dualgrad.tables import parquet, schema
from dualgrad.tables.errors import TableError
from dualgrad.tables.schema import BOOL, FLOAT64, INT64, STRING, TABLES, Column, arrow_schema, columns
from dualgrad.thresholds import with_thresholds_of

_PYTHON_TYPES: dict[pa.DataType, tuple[frozenset[type], str]] = {
    STRING: (frozenset({str}), "text"),
    INT64: (frozenset({int}), "a whole number"),
    FLOAT64: (frozenset({float, int}), "a number"),
    BOOL: (frozenset({bool}), "true or false"),
}
# What a column can hold, before its own range; NaN lies in neither.
_LOWEST = {FLOAT64: -sys.float_info.max, INT64: -(2**63)}
_HIGHEST = {FLOAT64: sys.float_info.max, INT64: 2**63 - 1}
_BLOCKS = {"evaluations": "trajectories", "epochs": "epochs", "steps": "steps"}


def check_values(column: Column, values: Sequence[Any], where: Callable[[int], str]) -> None:
    """Check values against a column's type, range and nullability.

    Args:
        column: the column they are meant for.
        values: Python values, None for null.
        where: says for a position what to call it in a message.

    Raises:
        TableError: some value has the wrong type, is not finite, is out of range, or missing.
    """
    allowed, expected = _PYTHON_TYPES[column.type]
    found = set(map(type, values))
    numeric = column.type in (FLOAT64, INT64)
    present = values if type(None) not in found else [value for value in values if value is not None]
    good = found - {type(None)} <= allowed and (column.nullable or len(present) == len(values))
    if good and numeric and present:
        # One pass for all values; a NaN makes the sum NaN, an infinity makes it infinite or NaN.
        try:
            total = math.fsum(present) if column.type == FLOAT64 else 0.0
        except (OverflowError, ValueError):  # a whole number beyond floats; infinities of both signs
            total = math.inf
        low = _LOWEST[column.type] if column.low is None else column.low
        high = _HIGHEST[column.type] if column.high is None else column.high
        good = math.isfinite(total) and low <= min(present) and max(present) <= high
    if good:
        return
    for position, value in enumerate(values):
        if value is None:
            if not column.nullable:
                raise TableError(f"{where(position)}: nothing there, expected {expected}")
            continue
        if type(value) not in allowed:
            raise TableError(f"{where(position)}: {_short(value)}, expected {expected}")
        if numeric:
            if not _LOWEST[column.type] <= value <= _HIGHEST[column.type]:
                kind = "a finite number" if column.type == FLOAT64 else "a whole number of 64 bits"
                raise TableError(f"{where(position)}: {_short(value)}, expected {kind}")
            if (column.low is not None and value < column.low) or (
                column.high is not None and value > column.high
            ):
                most = "" if column.high is None else f" and at most {column.high:g}"
                raise TableError(
                    f"{where(position)}: {_short(value)}, expected at least {column.low:g}{most}"
                )
    raise TableError(f"{where(0)}: values out of range")


def _array(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    if kind == FLOAT64:  # Arrow makes no real numbers of whole ones beyond 2**53
        values = [None if value is None else float(value) for value in values]
    return pa.array(values, type=kind)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


class TableSet:
    """Rows of all five tables of one experiment, collected column by column."""

    def __init__(self) -> None:
        self._data: dict[str, dict[str, list[Any]]] = {
            table: {name: [] for name in columns(table)} for table in TABLES
        }

    def add(
        self,
        table: str,
        count: int,
        same: Mapping[str, Any],
        series: Mapping[str, Sequence[Any]] | None = None,
        *,
        where: Callable[[str, int], str] | None = None,
    ) -> None:
        """Append ``count`` rows.

        Args:
            table: one of :data:`schema.TABLES`.
            count: number of rows.
            same: values shared by all of them.
            series: values by row; columns in neither are null.
            where: names (column, row) in messages.

        Raises:
            TableError: a value does not fit its column, or a name is no column.
        """
        series = series or {}
        known = columns(table)
        for name in (*same, *series):
            if name not in known:
                raise TableError(f"table {table} has no column {name!r}; see dualgrad/tables/schema.py")
        naming = where or f"{table}.{{0}}, row {{1}}".format
        for name, column in known.items():
            values = series[name] if name in series else [same.get(name)] * count
            if len(values) != count:
                raise TableError(f"{naming(name, 0)}: {len(values)} values, expected {count}")
            check_values(column, values, partial(naming, name))
            self._data[table][name].extend(values)

    def arrow(self, table: str) -> pa.Table:
        """Return one table as Arrow, in the order in which rows were added."""
        target = arrow_schema(table)
        data = self._data[table]
        return pa.Table.from_arrays([_array(data[field.name], field.type) for field in target], schema=target)

    def write(self, folder: Path) -> None:
        """Write all five tables into a folder, empty ones included."""
        folder.mkdir(parents=True, exist_ok=True)
        for table in TABLES:
            rows = self.arrow(table)
            with parquet.writer(folder / f"{table}.parquet", rows.schema) as writer:
                writer.write_table(rows, row_group_size=max(1, rows.num_rows))


# --------------------------------------------------------------------------------------------- rows of a run


def effective_values(run: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``noise_rate``, ``lam`` and ``seed`` of a resolved run (see the schema), each None where undefined."""
    factors = run["factors"]
    lam = factors.get("lambda")
    if lam is None:
        trained = {
            segment["lambda"]
            for stage in run.get("stages", ())
            for segment in stage.get("segments", ())
            if segment.get("epochs") or segment.get("steps")
        }
        lam = trained.pop() if len(trained) == 1 else None
    seed = run.get("seed")
    return {
        "noise_rate": run["noise"].get("rate"),
        "lam": lam,
        "seed": factors.get("seed") if seed is None else seed,
    }


def lr_drops(run: Mapping[str, Any]) -> list[int]:
    """Return the epochs of a session after which the learning rate of a resolved run falls, in order."""
    schedules = [stage.get("schedule") or {} for stage in run.get("stages", ())]
    return sorted({epoch for schedule in schedules for epoch in schedule.get("milestones", ())})


def held_epochs(run: Mapping[str, Any]) -> int | None:
    """Return the epochs per λ of a resolved run that steps λ in equal holds, else None."""
    for stage in run.get("stages", ()):
        swept = [s for s in stage.get("segments", ()) if s.get("direction") is not None]
        held = {segment.get("epochs") for segment in swept}
        if len(swept) > 1 and len(held) == 1:
            return int(held.pop())
    return None


def run_columns(run: Mapping[str, Any], edition: str) -> dict[str, Any]:
    """Return what the census says of a run as ``runs`` columns: identity, factors, labels, effective values."""
    row: dict[str, Any] = {
        "edition": edition,
        **{name: run[name] for name in ("series", "experiment", "run", "counted")},
    }
    given = {**(run.get("labels") or {}), **run["factors"]}
    known = {*schema.FACTOR_COLUMNS, *schema.CONSTANT_COLUMNS}
    row |= {name: _plain(name, value) for name, value in given.items() if name in known}
    # Experiments of one's own may have factors that no published one has: they are all here.
    row["factors"] = json.dumps(run["factors"], sort_keys=True, ensure_ascii=False)
    row |= effective_values(run)
    row["num_classes"] = run["task"]["classes"]
    row["lr_drops"] = json.dumps(lr_drops(run))
    row.setdefault("hold_epochs", held_epochs(run))
    return row


def _plain(name: str, value: Any) -> Any:
    """Return a factor or label as its column's Python type (1 as 1.0 in a real column, mappings as JSON)."""
    kind = columns("runs")[name].type
    if isinstance(value, dict | list):
        return json.dumps(value, sort_keys=True)
    if kind == FLOAT64 and type(value) is int:
        return float(value)
    return value


def row_keys(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the columns that every table repeats from ``runs``."""
    return {name: row[name] for name in ("edition", "series", "experiment", "run", "noise_rate", "seed")}


def complete(row: dict[str, Any], evaluations: Sequence[Mapping[str, Any]]) -> None:
    """Fill outcome columns that follow from others, the same way for every edition.

    Args:
        row: ``runs`` columns, changed in place; what is set already stays.
        evaluations: the run's evaluations in order, as trajectory rows.
    """

    def fill(name: str, value: Any) -> None:
        if row.get(name) is None:
            row[name] = value

    last = {evaluation["branch"]: evaluation for evaluation in evaluations}
    main = evaluations
    if {"ordered", "collapse"} <= last.keys():
        main = [evaluation for evaluation in evaluations if evaluation["branch"] == "ordered"]
        fill("ordered_final_error", last["ordered"]["test_error"])
        fill("collapse_final_error", last["collapse"]["test_error"])
        fill("final_gap", row["collapse_final_error"] - row["ordered_final_error"])
        fill("init_error", row.get("ordered_init_error"))
    elif evaluations and evaluations[-1]["direction"] is not None:
        fill("final_lambda", evaluations[-1]["lam"])
    if main:
        fill("test_error", main[-1]["test_error"])
        fill("test_loss", main[-1].get("test_loss"))
    trained = [e for e in main if e["stage_epoch"] > 0 and e["test_error"] is not None]
    if len(trained) > 1:  # a lone final evaluation says nothing about the best one
        best = min(trained, key=lambda evaluation: evaluation["test_error"])
        fill("best_error", best["test_error"])
        if row["best_error"] == best["test_error"]:
            fill("best_epoch", best["epoch"])
    if evaluations:
        ends = {evaluation["stage"]: evaluation["stage_epoch"] for evaluation in evaluations}
        fill("epochs", sum(ends.values()))
    for error, accuracy in (("test_error", "test_acc"), ("best_error", "best_acc")):
        if row.get(error) is not None:
            fill(accuracy, 1.0 - row[error])


# --------------------------------------------------------------------------------------------- trained records


def add_record(tables: TableSet, record: Mapping[str, Any], seeds: dict[str, int | None]) -> None:
    """Add a verified record's rows.

    Args:
        tables: what to add to.
        record: the record.
        seeds: seed used by each run of the experiment so far, by ``EXPERIMENT/RUN``; gains this run's.

    Raises:
        TableError: the record holds something the schema has no place for.
    """
    name = f"{record['experiment']}/{record['run']}"
    row = run_columns(record["spec"], record["edition"])
    known = columns("runs")
    for key, value in record["outcome"].items():
        if key not in schema.OUTCOME_COLUMNS:
            raise TableError(f"{name}: outcome {key!r} has no column; add it to dualgrad/tables/schema.py")
        check_values(known[key], [value], f"{name}: {key}".format)
        row[key] = value
    if row["seed"] is None:
        if (
            row.get("selected_seed") is None
        ):  # an escape attempt has the seed of the trap that it starts from (Td2)
            row["selected_seed"] = seeds.get(record["spec"]["stages"][0]["start"].get("run", ""))
        row["seed"] = row["selected_seed"]
    seeds[name] = row["seed"]
    if row["noise_rate"] is None:  # labels from a file: what was measured against the data set's
        row["noise_rate"] = (record["provenance"].get("labels") or {}).get("noise_rate")
    if row.get("dataset") is None:
        row["dataset"] = record["spec"]["task"]["dataset"]
    row["seconds"] = record["provenance"].get("seconds")
    row["digest"] = record["digest"]
    row |= conditions(record["provenance"])
    row["cpu_model"] = (record["provenance"].get("cpu") or {}).get("model")
    keys = row_keys(row)
    blocks = {block: _block(record, block, name) for block in _BLOCKS}
    for block, table in _BLOCKS.items():
        count, series = blocks[block]
        tables.add(
            table,
            count,
            keys,
            series,
            where=f"{name}: {block}.{{0}}[{{1}}]".format,
        )
    evaluations, steps = (_rows_of(*blocks[block], _BLOCKS[block]) for block in ("evaluations", "steps"))
    _published_fill(record["spec"], evaluations, row)
    complete(row, evaluations)
    tables.add("runs", 1, row, where=f"{name}: {{0}}".format)
    count, series = _geometry(steps, evaluations)
    tables.add("geometry", count, keys, series)


def _published_fill(
    run: Mapping[str, Any], evaluations: Sequence[Mapping[str, Any]], row: dict[str, Any]
) -> None:
    """Give a ladder that ended without event its last λ as threshold, as the published rows do (R3)."""
    stops = [stage["stop"] for stage in run["stages"] if stage.get("stop")]
    if row.get("censored") and any(stop["unit"] == "segment" for stop in stops):
        row["threshold_lambda"] = evaluations[-1]["lam"]


def _block(record: Mapping[str, Any], block: str, name: str) -> tuple[int, dict[str, list[Any]]]:
    """Return (rows, columns) of one trajectory block; an absent block has no rows."""
    series = record["trajectory"].get(block) or {}
    if not isinstance(series, dict) or not all(isinstance(values, list) for values in series.values()):
        raise TableError(f"{name}: trajectory block {block} is no object of lists")
    lengths = {len(values) for values in series.values()}
    if len(lengths) > 1:
        raise TableError(f"{name}: the columns of trajectory block {block} differ in length")
    return (lengths.pop() if lengths else 0), {
        schema.column_of(key): values for key, values in series.items()
    }


def _rows_of(count: int, series: Mapping[str, list[Any]], table: str) -> list[dict[str, Any]]:
    """Return a block's rows with every column of its table, absent ones None."""
    missing = [None] * count
    names = list(columns(table))
    return [
        dict(zip(names, values, strict=True))
        for values in zip(*(series.get(name, missing) for name in names), strict=True)
    ]


def _geometry(
    steps: Sequence[Mapping[str, Any]], evaluations: Sequence[Mapping[str, Any]]
) -> tuple[int, dict[str, list[Any]]]:
    """Average the logged steps of every λ of a sweep (standard deviations over steps, population)."""
    segments: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for step in steps:
        segments.setdefault((step["stage"], step["segment"]), []).append(step)
    if len(segments) < 2:  # a step log at one λ (Td1) is no geometry along a sweep
        return 0, {}
    errors = {(e["stage"], e["segment"]): e["test_error"] for e in evaluations}
    result: list[dict[str, Any]] = []
    for key, logs in segments.items():
        row: dict[str, Any] = {
            **{name: logs[0][name] for name in ("stage", "branch", "segment", "lam")},
            "error": errors.get(key),
            "n_logs": len(logs),
        }
        for name in (
            "cos_struct_value",
            "cos_mix_value",
            "norm_struct",
            "norm_value",
            "norm_mix",
            "loss_struct",
            "loss_value",
        ):
            values = [log[name] for log in logs if log[name] is not None]
            row[f"{name}_mean"] = statistics.fmean(values) if values else None
            if name.startswith("cos_"):
                row[f"{name}_std"] = statistics.pstdev(values) if values else None
        result.append(row)
    return len(result), {name: [row[name] for row in result] for name in result[0]}


def experiment_tables(runs: Iterable[Mapping[str, Any]], records: Path, edition: str) -> TableSet:
    """Read and verify the records of one experiment's runs and return their tables.

    Args:
        runs: resolved runs in census order.
        records: folder with one ``<run>.json`` per run.
        edition: edition that they must belong to.

    Raises:
        RecordError: a record is missing, truncated, altered, another run's, or of another definition of the run.
        TableError: a record does not fit the schema.
    """
    tables = TableSet()
    seeds: dict[str, int | None] = {}
    for run in runs:
        path = records / f"{run['run']}.json"
        record = read_record(path, edition=edition, name=f"{run['experiment']}/{run['run']}")
        if canonical_json(training(record["spec"])) != canonical_json(training(run)):
            raise RecordError(
                f"{path}: was trained under another definition of this run (census, edition or precision "
                f"changed since); delete {path} and run the same target again"
            )
        try:
            add_record(tables, with_thresholds_of(run, record), seeds)
        except TableError as error:
            raise TableError(
                f"{path}: {error}; if the record is from another version, delete it and run again"
            ) from None
    return tables
