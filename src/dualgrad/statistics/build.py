"""Make a statistic's file; describe all of them."""

from __future__ import annotations

import importlib
import re
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import pandas as pd

from dualgrad.statistics import layout
from dualgrad.statistics.sources import ALL_STATISTICS, OWN_STATISTIC
from dualgrad.tables.edition import Tables


def module(name: str) -> ModuleType:
    """Return the module of a statistic.

    Raises:
        ValueError: there is no such statistic.
    """
    if name not in ALL_STATISTICS:
        raise ValueError(f"unknown statistic '{name}', expected one of: {', '.join(ALL_STATISTICS)}")
    return importlib.import_module(f"{__package__}.{name}")


def open_tables(
    name: str, edition_dir: Path, every: Sequence[str] | None = None, *, partial: bool = False
) -> Tables:
    """Return the tables that a statistic reads.

    Args:
        name: statistic.
        edition_dir: ``results/<edition>``.
        every: experiments of a statistic that names none: all counted ones, or all of one's own.
        partial: leave out experiments without tables.
    """
    source = ALL_STATISTICS[name]
    experiments = source.experiments or tuple(every or ())
    return Tables(edition_dir, experiments, source.tables, partial=partial)


def compute(name: str, tables: Tables) -> pd.DataFrame:
    """Return a statistic's rows."""
    return module(name).compute(tables)


def make(
    name: str,
    edition_dir: Path,
    output: Path,
    every: Sequence[str] | None = None,
    *,
    partial: bool = False,
) -> pd.DataFrame:
    """Compute a statistic and write its file; returns the rows.

    Raises:
        ValueError: there is no such statistic.
        TableError: a table is missing or of another version.
    """
    known = module(name)
    rows = compute(name, open_tables(name, edition_dir, every, partial=partial))
    layout.write(rows, known.KEYS, output)
    return rows


def describe() -> str:
    """Return what every file holds, as Markdown: definitions, columns, quantities. This is most of the docs."""
    lines = ["## Columns of every file", "", *_columns((*layout.FIRST, *layout.LAST))]
    for name, source in ALL_STATISTICS.items():
        known = module(name)
        experiments = " ".join(source.experiments or ()) or "all counted experiments"
        if name == OWN_STATISTIC:
            experiments = "all experiments of one's own"
        lines += ["", f"## {name}", "", _linked((known.__doc__ or "").strip()), ""]
        lines += [f"Reads: {', '.join(source.tables)} of {experiments}.", ""]
        lines += [*_columns(known.KEYS), "", "| quantity | unit | definition |", "|---|---|---|"]
        for quantity, what in known.QUANTITIES.items():
            lines.append(f"| `{quantity}` | {what.unit or 'as in the row'} | {what.meaning} |")
    return "\n".join(lines) + "\n"


def _linked(text: str) -> str:
    """Make links of citations of the specification, for a document in docs/."""
    text = re.sub(
        r"(?:docs/specification/)?\b([A-Z]\w*-[A-Z])\.md#([\w.-]*\w)",
        r"[\1 \2](specification/\1.md#\2)",
        text,
    )
    return re.sub(r"(?:docs/specification/)?\bFIGURES\.md\b", "[FIGURES](specification/FIGURES.md)", text)


def _columns(columns: Sequence[layout.Column]) -> list[str]:
    lines = ["| column | type | unit | meaning |", "|---|---|---|---|"]
    lines += [f"| `{c.name}` | {c.type} | {c.unit} | {c.meaning} |" for c in columns]
    return lines
