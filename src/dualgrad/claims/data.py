"""Rows that claims are measured from: the tables as NumPy columns, selections of their rows, whose rows they are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dualgrad.tables import edition
from dualgrad.tables.errors import MissingError
from dualgrad.tables.read import made
from dualgrad.tables.schema import BOOL, TABLES, columns, word_of

#: Error of a network that predicts one class of ten: trapped, or dead (not finite), which is recorded the same way.
TRAPPED = 0.9
# λ and η are written with at most four decimals; sums of steps leave an error in the 17th.
_DECIMALS = 6
#: Factors and recorded constants that make runs of an experiment different trainings; seeds and slots are left out.
CELL = (
    *("lambda", "noise_rate", "replicate", "condition", "method", "clean_ratio", "cos_target", "model"),
    *("width_mult", "lr", "schedule_type", "hold_type", "branch", "intervention"),
)


@dataclass
class Table:
    """One table: columns by name (numbers and flags float64 with NaN, text object with None) and its rows' runs."""

    columns: dict[str, np.ndarray]
    runs: np.ndarray

    @classmethod
    def of(cls, frame: pd.DataFrame, table: str, codes: dict[str, int]) -> Table:
        """Convert a frame of the edition's reader; runs that are not in *codes* get the next numbers.

        Columns are called by the words of ``config/claims.yaml`` (``lambda`` for ``lam``).
        """
        kinds = columns(table)
        data: dict[str, np.ndarray] = {}
        for name in frame.columns:
            values = frame[name].to_numpy()
            if kinds[name].type == BOOL:
                values = np.array([np.nan if flag is None else float(flag) for flag in values], dtype=float)
            data[word_of(name)] = values
        names = (f"{a}/{b}" for a, b in zip(data["experiment"], data["run"], strict=True))
        runs = np.fromiter(
            (codes.setdefault(name, len(codes)) for name in names), dtype=np.int64, count=len(frame)
        )
        return cls(data, runs)

    @cached_property
    def places(self) -> dict[str, np.ndarray]:
        """Experiment -> numbers of its rows."""
        names, codes = np.unique(self.columns["experiment"].astype(str), return_inverse=True)
        return {str(name): rows for name, rows in zip(names, split(codes, len(names)), strict=True)}


class Rows:
    """Some rows of a table, in order."""

    def __init__(self, table: Table, index: np.ndarray) -> None:
        self.table, self.index = table, index

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, name: str) -> np.ndarray:
        return self.table.columns[name][self.index]

    def __contains__(self, name: object) -> bool:
        return name in self.table.columns

    @property
    def run(self) -> np.ndarray:
        """Number of each row's run (:attr:`Tables.names`)."""
        return self.table.runs[self.index]

    def keep(self, chosen: np.ndarray) -> Rows:
        """Return the rows where a mask holds, or the rows of an index."""
        return Rows(self.table, self.index[chosen])

    def choose(self, where: Mapping[str, Any]) -> Rows:
        """Return the rows that fulfil all conditions (column -> condition, see :func:`matches`)."""
        rows = self
        for name, condition in where.items():
            if condition is not None:
                rows = rows.keep(matches(rows[name], condition))
        return rows

    def known(self, name: str) -> Rows:
        """Return the rows with a value of a number."""
        return self.keep(~np.isnan(self[name]))

    def levels(self, name: str) -> np.ndarray:
        """Return a column for grouping: numbers rounded so that equal levels are equal."""
        values = self[name]
        return np.round(values, _DECIMALS) if values.dtype.kind == "f" else values.astype(str)

    def groups(self, names: Sequence[str]) -> tuple[list[Any], list[np.ndarray]]:
        """Return the sorted levels of columns and, for each, the places of its rows."""
        if not names:
            return [None], [np.arange(len(self))]
        parts = [np.unique(self.levels(name), return_inverse=True) for name in names]
        codes = parts[0][1]
        for values, more in parts[1:]:
            codes = codes * len(values) + more
        found, inverse = np.unique(codes, return_inverse=True)
        labels = []
        for code in found:
            label = []
            for values, _ in reversed(parts):
                code, place = divmod(int(code), len(values))
                label.append(values[place].item() if hasattr(values[place], "item") else values[place])
            labels.append(tuple(reversed(label)) if len(names) > 1 else label[0])
        return labels, split(inverse, len(found))

    def by_run(self) -> list[np.ndarray]:
        """Places of each run's rows, in the order of the rows."""
        found, inverse = np.unique(self.run, return_inverse=True)
        return split(inverse, len(found))

    def untrapped(self, name: str) -> Rows:
        """Return the rows of runs that leave the trap: some value of a column is not exactly 0.9."""
        free = np.abs(self[name] - TRAPPED) > 1e-9
        return self.keep(np.isin(self.run, np.unique(self.run[free])))

    def one_per_run(self, name: str, how: str) -> tuple[Rows, np.ndarray]:
        """Return one row per run (its first) and for each the first, last, min, max, mean or sum of a column."""
        values, groups = self[name], self.by_run()
        joined = np.array([_PER_RUN[how](values[one]) for one in groups])
        return self.keep(np.array([one[0] for one in groups], dtype=int)), joined


_PER_RUN: dict[str, Callable[[np.ndarray], Any]] = {
    "first": lambda values: values[0],
    "last": lambda values: values[-1],
    "min": np.nanmin,
    "max": np.nanmax,
    "mean": np.mean,
    "sum": np.sum,
}


def split(codes: np.ndarray, count: int) -> list[np.ndarray]:
    """Return the places of each code from 0 to count - 1, in order."""
    if not count:
        return []
    order = np.argsort(codes, kind="stable")
    return np.split(order, np.cumsum(np.bincount(codes, minlength=count))[:-1])


class Tables:
    """The tables of an edition."""

    def __init__(self, tables: edition.Tables) -> None:
        """Take the edition's tables; experiments outside of them are sought in its parts."""
        self._folder = tables.edition_dir
        self._source = tables
        self._statistics: dict[str, pd.DataFrame] = {}
        self._codes: dict[str, int] = {}
        self._tables = {name: Table.of(tables.table(name), name, self._codes) for name in TABLES}
        self._more: dict[tuple[str, str], Rows | None] = {}

    @classmethod
    def read(cls, edition_dir: Path) -> Tables:
        """Read ``<edition_dir>/tables``.

        Raises:
            TableError: a table is missing or of another version.
        """
        return cls(edition.Tables(edition_dir, None))

    @property
    def runs(self) -> Table:
        """The table of counted runs."""
        return self._tables["runs"]

    @property
    def names(self) -> list[str]:
        """EXPERIMENT/RUN by number."""
        return list(self._codes)

    @cached_property
    def edition(self) -> str:
        """The edition's name as the rows have it."""
        editions = self.runs.columns["edition"]
        return str(editions[0]) if len(editions) else ""

    def of_series(self, series: Iterable[str]) -> list[str]:
        """Experiments of some series, in census order."""
        chosen = np.isin(self.runs.columns["series"].astype(str), list(series))
        return list(dict.fromkeys(self.runs.columns["experiment"][chosen]))

    @cached_property
    def cells(self) -> np.ndarray:
        """Number of each counted run's cell: runs of an experiment, equal in all factors but seed and slot."""
        codes = np.zeros(len(self.runs.runs), dtype=np.int64)
        for name in ("experiment", *CELL):
            values = self.runs.columns[name]
            keys = (
                np.round(np.nan_to_num(values, nan=-9.0), _DECIMALS)
                if values.dtype.kind == "f"
                else values.astype(str)
            )
            _, codes = np.unique(
                np.stack([codes, np.unique(keys, return_inverse=True)[1]]), axis=1, return_inverse=True
            )
            codes = codes.ravel()
        return codes

    def rows(self, table: str, experiments: Sequence[str]) -> Rows:
        """Return a table's rows of some experiments, in the order given.

        Raises:
            MissingError: an experiment has no rows there.
        """
        source = self._tables[table]
        pieces = []
        for name in experiments:
            if name not in source.places:
                if len(experiments) == 1:
                    return self._uncounted(table, name)
                raise MissingError(f"no {table} of {name}")
            pieces.append(source.places[name])
        if not pieces:
            raise MissingError("no experiments")
        return Rows(source, np.concatenate(pieces) if len(pieces) > 1 else pieces[0])

    def statistic(self, name: str) -> pd.DataFrame:
        """Return the rows of a statistic (dualgrad.statistics), computed on these tables when first asked for."""
        from dualgrad.statistics import build
        from dualgrad.statistics.sources import STATISTICS

        if name not in self._statistics:
            source = STATISTICS[name]
            frames = {}
            for table in source.tables:
                whole = self._source.table(table)
                known = source.experiments
                frames[table] = whole if known is None else whole[whole["experiment"].isin(known)]
            self._statistics[name] = build.compute(
                name, edition.Tables.of_frames(frames, self._source.edition)
            )
        return self._statistics[name]

    def _uncounted(self, table: str, experiment: str) -> Rows:
        """Rows of an experiment outside the merged tables, such as an archived one."""
        key = (table, experiment)
        if key not in self._more:
            frame = pd.DataFrame()
            if self._folder and made(self._folder, [experiment], [table]):
                frame = edition.Tables(self._folder, [experiment]).table(table)
            found = None if frame.empty else Table.of(frame, table, self._codes)
            self._more[key] = None if found is None else Rows(found, np.arange(len(frame)))
        rows = self._more[key]
        if rows is None:
            raise MissingError(f"no {table} of {experiment}")
        return rows


@dataclass(frozen=True)
class Selection:
    """Rows that a measure looked at.

    Attributes:
        words: what they are.
        field: the column that was read, or None where rows were only counted.
        runs: number of each row's run.
        values: the field by row, or None.
    """

    words: str
    field: str | None
    runs: np.ndarray
    values: np.ndarray | None

    def by_run(self) -> tuple[np.ndarray, np.ndarray]:
        """Runs and, for each, the mean of its values (NaN where there are none)."""
        runs, inverse = np.unique(self.runs, return_inverse=True)
        if self.values is None:
            return runs, np.full(len(runs), np.nan)
        with np.errstate(invalid="ignore"):
            return runs, np.bincount(inverse, weights=self.values) / np.bincount(inverse)


def matches(column: np.ndarray, condition: Any) -> np.ndarray:
    """Return which values fulfil a condition: a value, a list of values, or bounds.

    Bounds: ``below``, ``at_most``, ``above``, ``at_least``, ``not`` (a value or a list), ``known`` (true or false),
    ``multiple_of`` a whole number, ``starting`` with a text.
    """
    if isinstance(condition, Mapping):
        chosen = np.ones(len(column), dtype=bool)
        for word, bound in condition.items():
            chosen &= _BOUNDS[word](column, bound)
        return chosen
    return _among(column, condition if isinstance(condition, list) else [condition])


def _among(column: np.ndarray, values: Sequence[Any]) -> np.ndarray:
    if column.dtype == object:
        wanted = {None if value is None else str(value) for value in values}
        return np.fromiter((value in wanted for value in column), dtype=bool, count=len(column))
    chosen = np.zeros(len(column), dtype=bool)
    for value in values:
        chosen |= np.abs(column - float(value)) < 10.0**-_DECIMALS
    return chosen


def _known(column: np.ndarray, bound: bool) -> np.ndarray:
    missing = np.isnan(column) if column.dtype.kind == "f" else np.equal(column, np.array(None)).astype(bool)
    return ~missing if bound else missing


_BOUNDS = {
    "below": lambda column, bound: column < bound,
    "at_most": lambda column, bound: column <= bound,
    "above": lambda column, bound: column > bound,
    "at_least": lambda column, bound: column >= bound,
    "not": lambda column, bound: ~_among(column, bound if isinstance(bound, list) else [bound]),
    "known": _known,
    "multiple_of": lambda column, bound: np.mod(column, bound) == 0,
    "starting": lambda column, bound: np.array(
        [str(value or "").startswith(bound) for value in column], dtype=bool
    ),
}
