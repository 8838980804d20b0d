"""Applying a mapping: published rows in, tables of edition ``released`` out, every value checked on the way."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from dualgrad import strict_json
from dualgrad.ingest.mapping import KEYS, Block, Event, Rule, Source
from dualgrad.release.errors import ArchiveError, MappingError
from dualgrad.tables.build import TableSet, check_values, complete, row_keys, run_columns
from dualgrad.tables.errors import TableError
from dualgrad.tables.schema import FLOAT64, TABLES, Column, column_of, columns

EDITION = "released"
_RUNS = columns("runs")
_COLUMNS = {table: columns(table) for table in TABLES}
# Accuracy and error were rounded apart from each other (text series: 4 decimals).
_ROUNDING = 1.01e-4
_SAME = 1e-9


def load_rows(path: Path) -> list[dict]:
    """Read a published result file: a JSON list of objects.

    Raises:
        ArchiveError: no JSON, NaN, infinity or a key twice in it, or not a list of objects.
    """
    try:
        rows = strict_json.loads(path.read_bytes())
    except OSError as error:
        raise ArchiveError(f"{path}: cannot be read ({error.strerror})") from None
    except ValueError as error:
        raise ArchiveError(f"{path}: not readable as JSON: {error}") from None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ArchiveError(f"{path}: expected a list of rows (objects)")
    return rows


class _Reader:
    """One published row being read: its raw values, the columns they give, and what to check later."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.raw: dict[str, Any] = {}
        self.columns: dict[str, Any] = {}
        self.factors: dict[str, Any] = {}
        self.named: dict[str, str] = {}
        self.equal: list[tuple[str, str]] = []

    def fail(self, name: str, value: Any, expected: str) -> ArchiveError:
        text = repr(value)
        return ArchiveError(f"{self.where}, field {name}: {text[:80]}, expected {expected}")

    def fields(
        self,
        row: Any,
        rules: Mapping[str, Rule],
        lists: Sequence[str],
        prefix: str = "",
        *,
        strict: bool = True,
    ) -> None:
        """Read an object's fields by their rules; ``lists`` are fields that blocks read."""
        if not isinstance(row, dict):
            raise self.fail(prefix.rstrip(".") or "(row)", row, "an object")
        if strict:
            for name in row:
                if name not in rules and prefix + name not in lists:
                    raise ArchiveError(f"{self.where}, field {prefix}{name}: not expected here")
        for name in lists:
            if name.startswith(prefix) and "." not in name[len(prefix) :]:
                if name[len(prefix) :] not in row:
                    raise ArchiveError(f"{self.where}, field {name}: missing")
                self.raw[name] = row[name[len(prefix) :]]
        for name, rule in rules.items():
            if name in row:
                self._field(prefix + name, row[name], rule, lists)
            elif not rule.optional:
                raise ArchiveError(f"{self.where}, field {prefix}{name}: missing")
        for name, rule in rules.items():
            if rule.one_minus is not None and name in row:
                self._complement(prefix + name, prefix + rule.one_minus)

    def _field(self, name: str, value: Any, rule: Rule, lists: Sequence[str]) -> None:
        self.raw[name] = value
        if rule.skip is not None:
            return
        if rule.fields is not None:
            self.fields(value, rule.fields, lists, name + ".")
            return
        if rule.has_constant and (type(value) is not type(rule.constant) or value != rule.constant):
            raise self.fail(name, value, repr(rule.constant))
        if rule.json:
            value = json.dumps(value, sort_keys=True)
        if rule.match is not None:
            value = self.matched(name, value, rule.match, rule.number, rule.format)
        targets = list(rule.to)
        kind = next(iter(targets), None) or column_of(rule.factor or "") or rule.equals
        if kind is not None:
            column = _RUNS[kind]
            if value is None and not rule.nullable:
                raise self.fail(name, value, "a value")
            try:
                check_values(column, [value], lambda _: f"{self.where}, field {name}")
            except TableError as error:
                raise ArchiveError(str(error)) from None
            if column.type == FLOAT64 and value is not None:
                value = float(value)
        if rule.plus and value is not None:
            value += rule.plus
        if rule.basename and value is not None:
            value = PurePosixPath(value).name
        for target in targets:
            self.columns[target] = value
            self.named[target] = name
        if rule.factor is not None and value is not None:  # null: the run has no such level (J without λ)
            self.factors[rule.factor] = value
        if rule.equals is not None:
            self.equal.append((name, rule.equals))

    def matched(
        self, name: str, value: Any, match: str | re.Pattern, number: bool = False, format: str | None = None
    ) -> Any:
        """Return the group of a pattern in a text field, as a number or in a format if so asked."""
        found = re.search(match, value) if isinstance(value, str) else None
        if found is None:
            raise self.fail(name, value, f"text like {getattr(match, 'pattern', match)}")
        value = int(found.group(1)) if number else found.group(1)
        return format.format(value) if format else value

    def factor(self, name: str, rule: Mapping[str, Any], position: int) -> Any:
        """Return the level of a factor that no field holds as such; ``position`` is the file's 0-based row."""
        if "const" in rule:
            return rule["const"]
        if "position" in rule:
            return rule["position"].format(position + 1)
        options = {key: rule[key] for key in ("number", "format") if key in rule}
        return self.matched(rule["from"], self.raw.get(rule["from"]), rule["match"], **options)

    def _complement(self, name: str, other: str) -> None:
        both = (self.raw[name], self.raw[other])
        for key, value in zip((name, other), both, strict=True):
            if type(value) not in (float, int):
                raise self.fail(key, value, "a number")
        if abs(both[0] + both[1] - 1.0) > _ROUNDING:
            raise self.fail(name, both[0], f"1 - {other} = {1.0 - both[1]:.6g}")


def _factor_key(factors: Mapping[str, Any]) -> frozenset:
    return frozenset(
        (name, round(float(value), 9) if isinstance(value, int | float) else value)
        for name, value in factors.items()
    )


def _equal(a: Any, b: Any) -> bool:
    if isinstance(a, bool) or isinstance(b, bool) or isinstance(a, str) or isinstance(b, str):
        return type(a) is type(b) and a == b
    return a == b if a is None or b is None else abs(a - b) <= _SAME


def build_experiment(
    experiment: str,
    sources: Sequence[Source],
    runs: Sequence[Mapping[str, Any]],
    load: Callable[[str], list[dict]],
) -> TableSet:
    """Turn one experiment's published files into its tables, one row per run of the census, in census order.

    Args:
        experiment: its name.
        sources: mapping of its files.
        runs: its runs as the census resolves them, in order.
        load: returns the rows of a published file by path.

    Raises:
        ArchiveError: a row, field or value is not what the mapping and the census expect; or a run has no row or two.
        MappingError: the mapping itself cannot be applied.
    """
    by_factors = {_factor_key(run["factors"]): run for run in runs}
    done: dict[str, tuple[dict, list]] = {}
    for source in sources:
        for where, row, parent, position, item in _source_rows(source, load):
            reader = _Reader(where)
            if parent is not None:
                reader.fields(parent, source.inherit, (), strict=False)
            lists = [block.source for block in source.blocks if block.source]
            reader.fields(row, source.fields, lists)
            for name, rule in source.factors.items():
                reader.factors[name] = reader.factor(name, rule, position)
            run = by_factors.get(_factor_key(reader.factors))
            if run is None:
                levels = ", ".join(f"{name}={value}" for name, value in reader.factors.items())
                raise ArchiveError(f"{where}: no run of {experiment} has {levels}; not a row of the census")
            if run["run"] in done:
                raise ArchiveError(f"{where}: second row for {experiment}/{run['run']}, expected one")
            done[run["run"]] = _run_tables(source, reader, run, position, item)
    missing = [run["run"] for run in runs if run["run"] not in done]
    if missing and not any(source.partial for source in sources):
        files = ", ".join(dict.fromkeys(source.file for source in sources))
        raise ArchiveError(
            f"{files}: no row for {len(missing)} of {len(runs)} runs of {experiment}, first {missing[0]}"
        )
    tables = TableSet()
    rows = [done[run["run"]][0] for run in runs if run["run"] in done]
    tables.add(
        "runs",
        len(rows),
        {},
        {name: [row.get(name) for row in rows] for name in _RUNS},
        where=lambda name, i: f"{experiment}/{rows[i]['run']}: {name}",
    )
    for row in rows:
        keys = row_keys(row)
        for table, count, series in done[row["run"]][1]:
            tables.add(table, count, keys, series)
    return tables


def _source_rows(source: Source, load: Callable[[str], list[dict]]) -> Iterator[tuple]:
    """Yield (where, row, parent, position of the file's row, position in the nested list) of a source."""
    for position, row in enumerate(load(source.file)):
        where = f"{source.file}, row {position}"
        if source.each is None:
            yield where, row, None, position, None
            continue
        items = row.get(source.each)
        if not isinstance(items, list):
            raise ArchiveError(f"{where}, field {source.each}: {items!r}, expected a list")
        for i, item in enumerate(items):
            yield f"{where}, {source.each}[{i}]", item, row, position, i


def _run_tables(
    source: Source, reader: _Reader, run: Mapping[str, Any], position: int, item: int | None
) -> tuple[dict, list]:
    """Return (``runs`` columns, [(table, rows, columns)]) of one run."""
    row = run_columns(run, EDITION)
    named = dict(reader.named)
    for name, value in (*source.constants.items(), *reader.columns.items()):
        known = row.get(name)
        if known is not None and value is not None and not _equal(known, value):
            raise reader.fail(named.get(name, name), value, f"{known!r} (census, {run['run']})")
        if known is None:
            row[name] = value
    if row.get("selected_seed") is not None and row["seed"] is None:
        row["seed"] = row["selected_seed"]
    row |= {
        "source_file": source.file.removeprefix("results/"),
        "source_row": position,
        "source_item": item,
        "status": "gate_failed" if row.get("init_success") is False else "completed",
    }
    pieces: list[tuple[str, int, dict]] = []
    evaluations: list[dict] = []
    counters: dict[tuple, tuple[Any, int]] = {}
    for block in source.blocks:
        for table, count, series in _block(block, reader, row, counters):
            pieces.append((table, count, series))
            if table == "trajectories":
                evaluations += [
                    dict(zip(series, values, strict=True)) for values in zip(*series.values(), strict=True)
                ]
    if source.event is not None:
        if row["status"] == "completed":
            _check_event(source.event, evaluations, row, reader)
        else:
            row["event"] = False
    complete(row, evaluations)
    for name, column in reader.equal:
        if not _equal(reader.raw[name], row.get(column)):
            raise reader.fail(name, reader.raw[name], f"{row.get(column)!r} ({column} of {run['run']})")
    return row, pieces


def _resolved(value: Any, row: Mapping[str, Any], stage: str | None = None) -> Any:
    """Return a block's own value: plain, ``$column`` of the run, or ``{$column: {level: value}}``."""
    if isinstance(value, str) and value.startswith("$"):
        return stage if value == "$stage" else row.get(value[1:])
    if isinstance(value, dict):
        ((selector, choices),) = value.items()
        level = _resolved(selector, row, stage)
        if level not in choices:
            raise MappingError(f"{selector} is {level!r}, expected one of {', '.join(map(str, choices))}")
        return choices[level]
    return value


def _block(
    block: Block, reader: _Reader, row: Mapping[str, Any], counters: dict[tuple, tuple[Any, int]]
) -> list[tuple[str, int, dict]]:
    """Return [(table, rows, columns)] of one block."""
    if not block.source:
        count, values = 1, {}
        for target, name in block.point.items():
            if type(reader.raw.get(name)) not in (float, int):
                raise reader.fail(name, reader.raw.get(name), "a number")
            values[target] = [float(reader.raw[name])]
    else:
        if block.copy_of is not None:
            return _check_copy(block, reader)
        if block.values_of:
            return _check_values_of(block, reader)
        count, values = _items(block, reader, row)
    if block.length is not None and count != block.length:
        raise reader.fail(block.source or "(point)", count, f"{block.length} items")

    keys: dict[str, list] = {
        "lam": [row["lam"]] * count,
        "branch": [None] * count,
        "direction": [None] * count,
    }
    keys |= {name: values.pop(name) for name in KEYS if name in values}
    stages = keys.setdefault("stage", [block.same.get("stage")] * count)
    for name, value in block.same.items():
        if name != "stage":
            keys[name] = [_resolved(value, row, stage) for stage in stages]
    if block.every is not None:
        every = _resolved(block.every, row)
        keys["epoch"] = [every * (i + 1) for i in range(count)]
    if None in stages or "epoch" not in keys:
        raise MappingError(f"{reader.where}, {block.source}: the mapping gives no stage or epoch")
    if "stage_epoch" not in keys:
        keys["stage_epoch"] = [
            epoch - _resolved(block.after, row, stage)
            for epoch, stage in zip(keys["epoch"], stages, strict=True)
        ]
    result = []
    for table in dict.fromkeys(target.partition(".")[0] for target in values):
        series = {name: column for name, column in keys.items() if name in _COLUMNS[table]}
        series["segment"] = _segments(table, keys, counters)
        series |= {
            target.partition(".")[2]: column
            for target, column in values.items()
            if target.partition(".")[0] == table
        }
        result.append((table, count, series))
    errors = values.get("trajectories.test_error")
    for index, same in ((-1, block.ends_with), (0, block.starts_with)):
        if same is not None and errors and not _equal(errors[index], row.get(same)):
            raise reader.fail(f"{block.source}[{index}]", errors[index], f"{row.get(same)!r} ({same})")
    return result


def _segments(table: str, keys: Mapping[str, list], counters: dict[tuple, tuple[Any, int]]) -> list[int]:
    """Number the stretches of one λ within each stage and branch, across blocks."""
    result = []
    for stage, branch, lam in zip(keys["stage"], keys["branch"], keys["lam"], strict=True):
        last, number = counters.get((table, stage, branch), (lam, 0))
        number += lam != last
        counters[table, stage, branch] = (lam, number)
        result.append(number)
    return result


def _columns_of(block: Block, reader: _Reader) -> tuple[int, dict[str, list]]:
    """Return (items, values by item field) of a nested list, in either published form."""
    data, expected = reader.raw[block.source], block.item.keys()
    if block.form == "columns":
        if not isinstance(data, dict) or data.keys() != expected:
            raise reader.fail(block.source, data, f"an object with {', '.join(expected)}")
        lengths = set()
        for name, values in data.items():
            if not isinstance(values, list):
                raise reader.fail(f"{block.source}.{name}", values, "a list")
            lengths.add(len(values))
        if len(lengths) != 1:
            raise reader.fail(block.source, sorted(lengths), "lists of equal length")
        return lengths.pop(), data
    if not isinstance(data, list):
        raise reader.fail(block.source, data, "a list")
    for i, item in enumerate(data):
        if not isinstance(item, dict) or item.keys() != expected:
            raise reader.fail(f"{block.source}[{i}]", item, f"an object with {', '.join(expected)}")
    return len(data), {name: [item[name] for item in data] for name in expected}


def _items(block: Block, reader: _Reader, row: Mapping[str, Any]) -> tuple[int, dict[str, list]]:
    """Read the items of a nested list: (count, values by ``table.column`` or key)."""
    count, data = _columns_of(block, reader)
    result: dict[str, list] = {}
    for name, rule in block.item.items():
        values = data[name]

        def place(i: int, name: str = name) -> str:
            return f"{reader.where}, field {block.source}[{i}].{name}"

        if rule.skip is not None:
            continue
        if rule.index is not None:
            wrong = [i for i, value in enumerate(values) if type(value) is not int or value != i + rule.index]
            if wrong:
                raise ArchiveError(
                    f"{place(wrong[0])}: {values[wrong[0]]!r}, expected {wrong[0] + rule.index}"
                )
        if rule.one_minus is not None:
            for i, (value, other) in enumerate(zip(values, data[rule.one_minus], strict=True)):
                if not _is_number(value) or not _is_number(other) or abs(value + other - 1.0) > _ROUNDING:
                    raise ArchiveError(f"{place(i)}: {value!r}, expected 1 - {rule.one_minus}")
        if rule.equals is not None:
            for i, value in enumerate(values):
                if not _equal(value, row.get(rule.equals)):
                    raise ArchiveError(f"{place(i)}: {value!r}, expected {row.get(rule.equals)!r}")
        if rule.map is not None:
            for i, value in enumerate(values):
                if not isinstance(value, str) or value not in rule.map:
                    raise ArchiveError(f"{place(i)}: {value!r}, expected one of {', '.join(rule.map)}")
            values = [rule.map[value] for value in values]
        for target in rule.to:
            column = _target_column(target)
            try:
                check_values(column, values, place)
            except TableError as error:
                raise ArchiveError(str(error)) from None
            if not rule.nullable and None in values:
                raise ArchiveError(f"{place(values.index(None))}: nothing there, expected a value")
            if rule.plus:
                values = [None if value is None else value + rule.plus for value in values]
            result[target] = list(map(float, values)) if column.type == FLOAT64 else list(values)
    return count, result


def _is_number(value: Any) -> bool:
    return type(value) in (float, int) and math.isfinite(value)


def _target_column(target: str) -> Column:
    table, _, name = target.partition(".")
    if name:
        return _COLUMNS[table][name]
    return _COLUMNS["trajectories"][target]


def _check_copy(block: Block, reader: _Reader) -> list:
    """Check that a list repeats those items of another list that match ``where`` (R1, R2 branches)."""
    expected = [
        item
        for item in reader.raw[block.copy_of or ""]
        if isinstance(item, dict) and all(item.get(name) == value for name, value in block.where.items())
    ]
    if reader.raw[block.source] != expected:
        raise reader.fail(block.source, reader.raw[block.source], f"the items of {block.copy_of} again")
    return []


def _check_values_of(block: Block, reader: _Reader) -> list:
    """Check that a plain list repeats one field of another list's items (X3 paths)."""
    other, name = block.values_of
    expected = [item.get(name) for item in reader.raw[other] if isinstance(item, dict)]
    if reader.raw[block.source] != expected:
        raise reader.fail(block.source, reader.raw[block.source], f"{name} of {other} again")
    return []


def _check_event(event: Event, evaluations: Sequence[Mapping[str, Any]], row: dict, reader: _Reader) -> None:
    """Apply a stop rule to the recorded evaluations; what is recorded must agree, what is not is filled in."""
    watched = [e for e in evaluations if e["stage"] == event.stage and e["stage_epoch"] > 0]
    run_length, at, first = 0, None, None
    for evaluation in watched:
        error = evaluation["test_error"]
        beyond = error > event.threshold if event.above else error < event.threshold
        hit = beyond or (event.inclusive and error == event.threshold)
        run_length = run_length + 1 if hit else 0
        if hit and first is None:
            first = evaluation
        if run_length == event.consecutive:
            at = evaluation
            break
    found: dict[str, Any] = {
        "event": at is not None,
        "censored": at is None,
        "threshold_lambda": None if at is None else at["lam"],
        "first_crossing_lambda": None if first is None else first["lam"],
    }
    if event.by_segment:
        if at is None:
            found["threshold_lambda"] = watched[-1]["lam"]
    else:
        found["lifetime"] = (
            watched[-1]["stage_epoch"] if at is None else at["stage_epoch"] - event.consecutive + 1
        )
    if at is not None and at is not watched[-1]:
        raise reader.fail(event.stage, len(watched), "no evaluation after the event")
    for name, value in found.items():
        if name in reader.columns and not _equal(reader.columns[name], value):
            raise reader.fail(reader.named[name], reader.columns[name], f"{value!r} by the stop rule")
        row[name] = value


def build_all(
    mapping: Mapping[str, Sequence[Source]],
    runs_of: Callable[[str], Sequence[Mapping[str, Any]]],
    paper: Path,
    experiments: Sequence[str],
) -> Iterator[tuple[str, TableSet]]:
    """Yield (experiment, tables) for experiments in order.

    Args:
        mapping: sources by experiment.
        runs_of: the census's resolved runs of an experiment, in order.
        paper: the archive's ``notebooks/Paper-A``.
        experiments: names.

    Raises:
        ArchiveError, MappingError: see :func:`build_experiment`.
    """
    cache: dict[str, list[dict]] = {}

    def load(file: str) -> list[dict]:
        if file not in cache:
            cache.clear()  # consecutive sources of one experiment share a file; nothing else does
            cache[file] = load_rows(paper / file)
        return cache[file]

    for experiment in experiments:
        if experiment not in mapping:
            raise MappingError(f"config/released: no mapping for experiment {experiment}")
        try:
            yield experiment, build_experiment(experiment, mapping[experiment], runs_of(experiment), load)
        except TableError as error:
            raise ArchiveError(f"{experiment}: {error}") from None
