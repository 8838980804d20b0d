"""The one reader of an edition's tables: figures, statistics, claims, comparison and explorer ask it.

Numbers come as ``float64``, texts and flags as Python values with None where empty; λ and η are rounded to six
decimals, so that equal levels are equal although sums of steps leave an error in the 17th.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd

from dualgrad.tables.errors import TableError
from dualgrad.tables.read import made, read_tables
from dualgrad.tables.schema import BOOL, INT64, STRING, TABLES, columns

#: How branches are named by the experiments that recorded them.
BRANCHES = {"ordered_up": "ordered", "low_error": "ordered", "collapse_down": "collapse"}
_LEVELS = ("lam", "noise_rate", "target_lambda", "threshold_lambda", "first_crossing_lambda")
_DECIMALS = 6


class Tables:
    """The tables of one edition, cut down to some experiments, read when first asked for."""

    def __init__(
        self,
        edition_dir: Path,
        experiments: Sequence[str] | None,
        tables: Sequence[str] = TABLES,
        *,
        partial: bool = False,
    ) -> None:
        """Prepare reading.

        Args:
            edition_dir: ``results/<edition>``.
            experiments: experiments to read, from their parts; None: all counted ones, from the merged tables.
            tables: tables to read.
            partial: leave out experiments whose tables have not been made, instead of refusing.
        """
        self.edition_dir: Path | None = Path(edition_dir)
        self.edition = self.edition_dir.name
        self._tables = tuple(tables)
        self._frames: dict[str, pd.DataFrame] = {}
        self._wanted = None if experiments is None else tuple(experiments)
        if partial and self._wanted is not None:
            self._wanted = tuple(made(self.edition_dir, self._wanted, ("runs", *self._tables)))

    @classmethod
    def of_frames(cls, frames: Mapping[str, pd.DataFrame], edition: str = "") -> Self:
        """Return tables that are at hand as frames; what a frame lacks counts as empty."""
        tables = cls.__new__(cls)
        tables.edition_dir, tables.edition = None, edition
        tables._tables, tables._wanted = TABLES, None
        tables._frames = {name: plain(frames.get(name, pd.DataFrame()), name, whole=True) for name in TABLES}
        return tables

    @property
    def experiments(self) -> tuple[str, ...]:
        """Names of the experiments, in the order of their rows."""
        if self._wanted is None:
            self._wanted = tuple(dict.fromkeys(self.table("runs")["experiment"]))
        return self._wanted

    def table(self, name: str) -> pd.DataFrame:
        """Return a whole table; see :func:`plain`.

        Raises:
            TableError: it is not one of the declared tables, is missing, or is of another version.
        """
        if name not in self._tables:
            raise TableError(f"the table '{name}' was not declared as one that is read")
        if name not in self._frames:
            assert self.edition_dir is not None  # frames at hand are all there
            self._frames[name] = plain(read_tables(self.edition_dir, self._wanted, name), name)
        return self._frames[name]

    def runs(self, *experiments: str, noise_rate: float | None = None) -> pd.DataFrame:
        """Return the counted runs of some experiments (default: all), in census order."""
        frame = _of(self.table("runs"), experiments)
        frame = frame[frame["counted"].ne(False)]  # unknown counts
        return frame if noise_rate is None else frame[np.isclose(frame["noise_rate"], noise_rate)]

    def trajectories(
        self, *experiments: str, stage: str | None = None, branch: str | None = None
    ) -> pd.DataFrame:
        """Return the evaluations of some experiments in the order they were made."""
        frame = _of(self.table("trajectories"), experiments)
        for column, value in (("stage", stage), ("branch", branch)):
            if value is not None:
                frame = frame[frame[column] == value]
        return frame

    def epochs(self, *experiments: str) -> pd.DataFrame:
        """Return per-epoch training statistics."""
        return _of(self.table("epochs"), experiments)

    def geometry(self, *experiments: str) -> pd.DataFrame:
        """Return per-λ means of the logged gradient geometry."""
        return _of(self.table("geometry"), experiments)

    def steps(self, *experiments: str) -> pd.DataFrame:
        """Return logged steps."""
        return _of(self.table("steps"), experiments)

    def lr_drops(self, experiment: str) -> tuple[int, ...]:
        """Return the epochs of a session after which the learning rate falls, as the census has them.

        Those of the experiment's first run: all of its runs have one schedule. Empty without runs.
        """
        given = self.runs(experiment)["lr_drops"].dropna()
        return tuple(json.loads(given.iloc[0])) if len(given) else ()

    def num_classes(self, experiment: str) -> int:
        """Return how many classes an experiment's task has; 10 where no run says so."""
        given = self.runs(experiment)["num_classes"].dropna()
        return int(given.iloc[0]) if len(given) else 10


def _of(frame: pd.DataFrame, experiments: Iterable[str]) -> pd.DataFrame:
    wanted = tuple(experiments)
    return frame[frame["experiment"].isin(wanted)].copy() if wanted else frame


def plain(frame: pd.DataFrame, table: str, *, whole: bool = False) -> pd.DataFrame:
    """Return a table with text as Python text or None, flags as True, False or None, numbers as float64.

    Args:
        frame: as :func:`~dualgrad.tables.read.read_tables` returns it.
        table: its name.
        whole: give it all columns of the table, empty where it has none.
    """
    known = columns(table)
    data: dict[str, np.ndarray] = {}
    for name in known if whole else frame.columns:
        text = known[name].type in (STRING, BOOL)
        if name not in frame:
            data[name] = np.full(len(frame), None if text else np.nan, dtype=object if text else float)
            continue
        column = frame[name]
        if text:
            values = column.astype(object).to_numpy()
            data[name] = np.where(column.isna().to_numpy(), np.array(None), values)
        else:
            numbers = pd.to_numeric(column, errors="coerce") if column.dtype == object else column
            data[name] = numbers.to_numpy(dtype=float, na_value=np.nan)
            if name in _LEVELS:
                data[name] = np.round(data[name], _DECIMALS)
    result = pd.DataFrame(data, index=frame.index)
    if "branch" in result:
        result["branch"] = np.array([BRANCHES.get(name, name) for name in result["branch"]], dtype=object)
    return result


def native(frame: pd.DataFrame, table: str, name: str) -> list[Any]:
    """Return a column of a :func:`plain` frame as JSON has it: whole numbers whole, None where empty."""
    values: list[Any] = frame[name].tolist()
    kind = columns(table)[name].type
    if kind in (STRING, BOOL):
        return values
    return [None if value != value else int(value) if kind == INT64 else value for value in values]


def level_of(runs: pd.DataFrame, factor: str) -> pd.Series:
    """Return a factor's level in each run, None where the run has none: also of factors without a column."""
    levels = [json.loads(text).get(factor) if text else None for text in runs["factors"]]
    return pd.Series(levels, index=runs.index, dtype=object)
