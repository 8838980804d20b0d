"""What the pages of a report show, gathered from an edition's results as far as they are there."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.compute as pc

from dualgrad import strict_json
from dualgrad.census import Census
from dualgrad.claims.verdicts import VERDICTS
from dualgrad.figures.captions import CAPTIONS, figure_name
from dualgrad.figures.sources import FIGURE_EXPERIMENTS, FIGURE_PANELS, VARIANTS, experiments_of
from dualgrad.project import is_own
from dualgrad.statistics import build as statistics_build
from dualgrad.statistics.sources import ALL_STATISTICS
from dualgrad.tables import parquet
from dualgrad.tables.errors import TableError
from dualgrad.tables.read import made, read_tables

# Summaries of every evaluation and epoch would be most of the page; they stay in the file.
SHOWN_ROWS = {"summaries": ("table", "runs")}


def figures(edition_dir: Path) -> list[dict[str, Any]]:
    """Return the figures that are drawn: name, title, panels, experiments, variants, files of numbers."""
    found = []
    for figure in FIGURE_EXPERIMENTS:
        variants = [v for v in VARIANTS if (edition_dir / "figures" / v / f"{figure}.png").is_file()]
        if variants:
            title, panels, note, spread = CAPTIONS[figure]
            found.append(
                {
                    "figure": figure,
                    "name": figure_name(figure),
                    "title": title,
                    "panels": panels,
                    "note": note,
                    "spread": spread,
                    "experiments": {variant: experiments_of(figure, variant) for variant in variants},
                    "variants": variants,
                    "numbers": [f"{figure}_{panel}.parquet" for panel in FIGURE_PANELS[figure]],
                }
            )
    return found


def sheets(edition_dir: Path) -> list[dict[str, Any]]:
    """Return the statistics that are there, column by column, with their meanings.

    Columns are ``{name, unit, meaning, levels, of}``: distinct values, and for each row the number of its own (-1
    where the cell is empty).
    """
    found = []
    for name in ALL_STATISTICS:
        path = edition_dir / "statistics" / f"{name}.parquet"
        if not path.is_file():
            continue
        table = parquet.read(path)
        total = table.num_rows
        if name in SHOWN_ROWS:
            column, value = SHOWN_ROWS[name]
            table = table.filter(pc.equal(table[column], value))
        known = statistics_build.module(name)
        title, about = _texts(known.__doc__ or name)
        found.append(
            {
                "name": name,
                "title": title,
                "about": about,
                "rows": table.num_rows,
                "all_rows": total,
                "quantities": {
                    quantity: {"unit": what.unit, "meaning": what.meaning}
                    for quantity, what in known.QUANTITIES.items()
                },
                "columns": [
                    _column(field, table[field.name].to_pylist())
                    for field in table.schema
                    if field.name != "edition"
                ],
            }
        )
    return found


def _texts(docstring: str) -> tuple[str, str]:
    """A docstring's first sentence and what follows."""
    first, _, rest = docstring.strip().partition("\n\n")
    return " ".join(first.split()).rstrip("."), rest.strip()


def _column(field: Any, values: Sequence[Any]) -> dict[str, Any]:
    notes = {key.decode(): value.decode() for key, value in (field.metadata or {}).items()}
    numbers: dict[Any, int] = {}
    levels: list[Any] = []
    of = []
    for value in values:
        if value is None or (isinstance(value, float) and not math.isfinite(value)):
            of.append(-1)
            continue
        short = float(f"{value:.6g}") if isinstance(value, float) else value
        key = (type(short), short)
        if key not in numbers:
            numbers[key] = len(levels)
            levels.append(short)
        of.append(numbers[key])
    return {"name": field.name, **notes, "levels": levels, "of": of}


def record_counts(edition_dir: Path, experiments: Sequence[str]) -> dict[str, int]:
    """Return how many runs of these experiments have which status."""
    frame = read_tables(edition_dir, made(edition_dir, experiments), "runs", ["status"])
    return {str(key): int(value) for key, value in frame["status"].value_counts().items()}


def own(edition_dir: Path, census: Census) -> dict[str, list[dict[str, Any]]]:
    """Return what came of experiments of one's own, by series, as far as it has been made.

    Raises:
        TableError: a file is damaged.
    """
    found: dict[str, list[dict[str, Any]]] = {}
    for name, one in census.experiments.items():
        path = edition_dir / "experiments" / name / "results.json"
        if is_own(one) and path.is_file():
            try:
                found.setdefault(one["series"], []).append(strict_json.loads(path.read_bytes()))
            except ValueError as error:
                raise TableError(f"{path}: {error}; delete it and run the same target again") from None
    return found


def verdict_counts(edition_dir: Path) -> dict[str, int]:
    """Return how many claims have which verdict, best first; empty where they have not been checked."""
    path = edition_dir / "claims.parquet"
    if not path.is_file():
        return {}
    verdicts = parquet.read(path, names=["verdict"])["verdict"].to_pylist()
    return {verdict: verdicts.count(verdict) for verdict in VERDICTS if verdict in verdicts}
