"""Reading the tables of an edition: parts of experiments, and all of them merged."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from dualgrad.records import CONDITIONS
from dualgrad.tables import parquet
from dualgrad.tables.errors import TableError
from dualgrad.tables.schema import BOOL, INT64, STRING, TABLES, arrow_schema

if TYPE_CHECKING:  # imported where it is used: merging tables needs none of it
    import pandas as pd


def part_path(parts: Path, experiment: str, table: str) -> Path:
    """Return where one table of one experiment lies."""
    return parts / experiment / f"{table}.parquet"


def _read(
    path: Path,
    table: str,
    names: Sequence[str] | None = None,
    experiment: str | None = None,
    editions: set[str] | None = None,
) -> pa.Table:
    """Read a table of one experiment (None: of several); *editions* gains its rows' edition, and must keep to one."""
    wanted = None if names is None else list(dict.fromkeys([*names, "edition", "experiment"]))
    rows = parquet.read(path, arrow_schema(table), wanted)
    # Files that were copied here: what is trained, tried out and published never mixes.
    held = set(rows["experiment"].unique().to_pylist())
    if experiment is not None and held - {experiment}:
        raise TableError(
            f"{path}: holds rows of {' and '.join(sorted(held))}, expected {experiment}; "
            f"delete {path} and run the same target again"
        )
    editions = set() if editions is None else editions
    editions.update(rows["edition"].unique().to_pylist())
    if len(editions) > 1:
        raise TableError(f"{path}: rows of the editions {' and '.join(sorted(editions))} together")
    return rows if names is None else rows.select(list(names))


def made(edition_dir: Path, experiments: Iterable[str], tables: Sequence[str] = ("runs",)) -> list[str]:
    """Return those experiments whose parts have been made."""
    parts = edition_dir / "tables" / "parts"
    return [name for name in experiments if all(part_path(parts, name, table).is_file() for table in tables)]


def merge_parts(parts: Path, experiments: Sequence[str], output: Path) -> None:
    """Concatenate the parts of experiments, in the order given, into one file per table.

    One row group per experiment; never more than one experiment's rows in memory.

    Raises:
        TableError: a part is missing, of another version or of another edition than the rest.
    """
    output.mkdir(parents=True, exist_ok=True)
    editions: set[str] = set()
    for table in TABLES:
        with parquet.writer(output / f"{table}.parquet", arrow_schema(table)) as writer:
            for experiment in experiments:
                path = part_path(parts, experiment, table)
                part = _read(path, table, experiment=experiment, editions=editions)
                if part.num_rows:
                    writer.write_table(part, row_group_size=part.num_rows)


def read_tables(
    edition_dir: Path | str,
    experiments: Sequence[str] | str | None,
    table: str,
    names: Sequence[str] | None = None,
) -> pd.DataFrame:
    """Read one table of some experiments as a pandas frame.

    Args:
        edition_dir: ``results/<edition>``.
        experiments: their parts are read and stacked in this order; None reads the merged table.
        table: runs, trajectories, epochs, geometry or steps.
        names: columns to read, default all.

    Returns:
        DataFrame with a plain index; text as ``string``, whole numbers as ``Int64``, flags as ``boolean`` (missing:
        ``NA``), real numbers as ``float64`` (missing: NaN).

    Raises:
        TableError: a table is missing, of another version, or holds rows of several editions.
    """
    folder = Path(edition_dir) / "tables"
    if experiments is None:
        return to_frame(_read(folder / f"{table}.parquet", table, names))
    wanted = [experiments] if isinstance(experiments, str) else list(experiments)
    editions: set[str] = set()
    pieces = [_read(part_path(folder / "parts", e, table), table, names, e, editions) for e in wanted]
    if not pieces:
        return to_frame(arrow_schema(table).empty_table())
    return to_frame(pa.concat_tables(pieces))


def to_frame(table: pa.Table) -> pd.DataFrame:
    """Convert an Arrow table to pandas with the dtypes that :func:`read_tables` documents."""
    import pandas as pd

    mapping = {STRING: pd.StringDtype("pyarrow"), INT64: pd.Int64Dtype(), BOOL: pd.BooleanDtype()}
    return table.to_pandas(types_mapper=mapping.get, use_threads=False)


def differing(edition_dir: Path, experiments: Sequence[str]) -> dict[str, list[str]]:
    """Return what :func:`differing_conditions` says of some experiments' tables."""
    return differing_conditions(
        read_tables(edition_dir, experiments, "runs", names=["experiment", *CONDITIONS])
    )


def differing_conditions(runs: pd.DataFrame) -> dict[str, list[str]]:
    """Return experiments whose records were not all made alike, with what they differ in (records.CONDITIONS).

    Args:
        runs: rows of ``runs`` with columns ``experiment`` and those of CONDITIONS.
    """
    counts = runs.groupby("experiment", sort=False)[list(CONDITIONS)].nunique(dropna=False)
    return {
        str(name): [c for c in CONDITIONS if row[c] > 1] for name, row in counts.iterrows() if (row > 1).any()
    }
