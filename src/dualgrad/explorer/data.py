"""What the explorer shows, in the compact form in which the page carries it.

Columns over runs rather than objects, levels and indices instead of repeated values, errors as whole
ten-thousandths. Trajectories of thousands of runs follow few calendars (which stage, λ and epoch an evaluation
belongs to), and protocols are put together from few parts: both are written once and referred to by number.
``runs.js`` unpacks it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from dualgrad.census import Census
from dualgrad.project import is_own
from dualgrad.tables import schema
from dualgrad.tables.build import effective_values
from dualgrad.tables.edition import Tables, native
from dualgrad.tables.read import made

TABLES = ("runs", "trajectories", "epochs")
ERROR_UNIT, COSINE_UNIT = 10_000, 1_000
# What the page calls a run that the census has and the tables do not.
MISSING = "not made"
SERIES = {
    "A-Q": "Images: from scratch",
    "R-W": "Images: sweeps, switches and traps",
    "X": "Text: fixed λ and loops",
    "Y": "Text: damage and recovery",
}
# Shown by other means, or the same as another column.
_LEFT_OUT = {"status", "test_error", "test_acc", "best_acc"}
_OUTCOMES = [one for one in (*schema.OUTCOMES, *schema.PROVENANCE) if one.name not in _LEFT_OUT]
# Of a resolved run, what the page has elsewhere.
_IDENTITY = {"experiment", "run", "series", "counted", "edition", "factors", "seed"}


class Levels:
    """Values seen so far, each with a number."""

    def __init__(self) -> None:
        self.values: list[Any] = []
        self._numbers: dict[str, int] = {}

    def number(self, value: Any) -> int:
        """Return the number of a JSON value; -1 for None."""
        if value is None:
            return -1
        key = json.dumps(value)
        if key not in self._numbers:
            self._numbers[key] = len(self.values)
            self.values.append(value)
        return self._numbers[key]


def levels_of(values: Iterable[Any]) -> dict[str, list]:
    """Return values as their distinct levels and, for each, the number of its level (-1: none)."""
    levels = Levels()
    of = [levels.number(value) for value in values]
    return {"levels": levels.values, "of": of}


def gather(census: Census, edition_dir: Path) -> dict[str, Any]:
    """Return the page's data: plain JSON types.

    Args:
        census: the edition's census; its counted runs are shown, those without a row in the tables as not made, and
            those of experiments of one's own whose tables have been made.
        edition_dir: ``results/<edition>``; its tables' parts are read, as far as they are there.

    Raises:
        TableError: a part is of another version, or a table of it is missing.
    """
    own = made(edition_dir, [name for name, one in census.experiments.items() if is_own(one)])
    shown = {name: one for name, one in census.experiments.items() if one["counted"] or name in own}
    targets = [target for one in shown.values() for target in one["runs"]]
    specs = [census.runs[target] for target in targets]
    tables = Tables(edition_dir, made(edition_dir, shown), TABLES)
    frames = {table: tables.table(table) for table in TABLES}
    rows = _rows(frames["runs"])
    effective = [_effective(spec, rows.get(target)) for target, spec in zip(targets, specs, strict=True)]
    return {
        "edition": {key: census.edition[key] for key in ("name", "title", "records")},
        "experiments": [
            {
                "name": name,
                "title": one["title"],
                "series": one["series"],
                "count": len(one["runs"]),
            }
            for name, one in shown.items()
        ],
        "series": SERIES,
        "names": [spec["run"] for spec in specs],
        "factors": _factors(specs),
        "eta": levels_of(one["noise_rate"] for one in effective),
        "lam": levels_of(one["lam"] for one in effective),
        "seed": [-1 if one["seed"] is None else one["seed"] for one in effective],
        "base_seed": [-1 if spec["seed"] is None else spec["seed"] for spec in specs],
        "status": levels_of(rows[target]["status"] if target in rows else MISSING for target in targets),
        "error": [_whole(rows.get(target, {}).get("test_error"), ERROR_UNIT) for target in targets],
        "outcomes": _outcomes(targets, rows),
        "trajectories": _trajectories(targets, frames["trajectories"]),
        "cosines": _cosines(targets, frames["epochs"]),
        "protocols": {
            key: levels_of(_wrapped(spec.get(key)) for spec in specs)
            for key in specs[0]
            if key not in _IDENTITY
        },
        "meanings": {
            column.name: {"meaning": column.meaning, "unit": column.unit}
            for column in _OUTCOMES
            if column.meaning
        },
    }


def _wrapped(value: Any) -> list:
    """Null is a value of a protocol, not its absence."""
    return [value]


def _rows(runs: Any) -> dict[str, dict[str, Any]]:
    """Rows of the table ``runs`` as plain dicts by run id, without empty cells."""
    columns = {name: native(runs, "runs", name) for name in runs}
    rows = (dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True))
    return {
        f"{row['experiment']}/{row['run']}": {key: value for key, value in row.items() if value is not None}
        for row in rows
    }


def _effective(spec: Mapping[str, Any], row: Mapping[str, Any] | None) -> dict[str, Any]:
    """Noise rate, λ and seed: as recorded, where a run has a row."""
    return {key: (row or {}).get(key, value) for key, value in effective_values(spec).items()}


def _factors(specs: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, list]]:
    names = dict.fromkeys(name for spec in specs for name in spec["factors"])
    return {name: levels_of(spec["factors"].get(name) for spec in specs) for name in names}


def _whole(value: float | None, unit: int) -> int:
    return -1 if value is None else round(value * unit)


def _outcomes(targets: Sequence[str], rows: Mapping[str, Mapping]) -> dict[str, dict[str, list]]:
    """Columns of outcomes and provenance that somebody fills: in which runs, and with what."""
    found: dict[str, dict[str, list]] = {}
    for column in _OUTCOMES:
        at = [number for number, target in enumerate(targets) if column.name in rows.get(target, ())]
        if at:
            values = [_short(rows[targets[number]][column.name]) for number in at]
            gaps = [b - a for a, b in zip([0, *at], at, strict=False)]
            found[column.name] = {"gaps": gaps, **levels_of(values)}
    return found


def _short(value: Any) -> Any:
    """A value with as many digits as are worth reading."""
    if isinstance(value, float):
        value = float(f"{value:.6g}")
        return int(value) if value.is_integer() and abs(value) < 1e15 else value
    return value


def _trajectories(targets: Sequence[str], table: Any) -> dict[str, Any]:
    """Calendars, each run's calendar, and all errors one after the other."""
    calendars = Levels()
    wanted = ("stage", "branch", "direction", "lam", "segment", "epoch", "test_error")
    of, errors = dict.fromkeys(targets, -1), {}
    for target, columns in _by_run(table, "trajectories", wanted):
        *places, epochs, values = columns
        calendar = []
        for place, rows in groupby(zip(*places, epochs, strict=True), key=lambda row: row[:-1]):
            stage, branch, direction, lam, _ = place
            calendar.append([stage, branch, direction, lam, [row[-1] for row in rows]])
        of[target] = calendars.number(calendar)
        errors[target] = [round(value * ERROR_UNIT) for value in values]
    return {
        "calendars": calendars.values,
        "of": list(of.values()),
        "errors": [error for target in targets for error in errors.get(target, ())],
    }


def _cosines(targets: Sequence[str], table: Any) -> dict[str, Any]:
    """As trajectories: epochs and the mean cosine of both gradients, where it was recorded every epoch."""
    calendars = Levels()
    of, cosines = dict.fromkeys(targets, -1), {}
    for target, (epochs, values) in _by_run(table, "epochs", ("epoch", "cos_mean")):
        if any(value is not None for value in values):
            of[target] = calendars.number(epochs)
            cosines[target] = [None if value is None else round(value * COSINE_UNIT) for value in values]
    return {
        "calendars": calendars.values,
        "of": list(of.values()),
        "values": [value for target in targets for value in cosines.get(target, ())],
    }


def _by_run(frame: Any, table: str, names: Sequence[str]) -> Iterable[tuple[str, list[list]]]:
    """Columns of consecutive rows of one run, None where empty."""
    columns = [native(frame, table, name) for name in names]
    ids = (frame["experiment"] + "/" + frame["run"]).tolist()
    begin = 0
    for target, rows in groupby(ids):
        end = begin + sum(1 for _ in rows)
        yield target, [column[begin:end] for column in columns]
        begin = end
