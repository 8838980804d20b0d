"""The pages of a report, and the files that lie beside them."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dualgrad.census import Census
from dualgrad.compare.pair import newest_comparison
from dualgrad.files import replacing
from dualgrad.outcomes import FILES
from dualgrad.outcomes.conditions import Condition
from dualgrad.outcomes.words import rows_of
from dualgrad.pages import linked, packed, render, write_page
from dualgrad.project import is_own, words_of
from dualgrad.report import content
from dualgrad.tables import parquet
from dualgrad.tables.read import differing, made, read_tables
from dualgrad.tables.schema import TABLES

TEMPLATES = Path(__file__).parent
# Pages beside the index, and what they are; all but the statistics are made by other commands.
PAGES = {
    "explorer": (
        "Census explorer",
        "All runs: filter them, open one, see its protocol and how to make it again.",
    ),
    "statistics": ("Statistics", "Every estimate with its interval, to search and sort."),
    "claims": ("Claims", "Every published number, measured again on these records, with a verdict."),
    "comparison": ("Comparison", "This edition beside another one: every condition, every phenomenon."),
    "replication": (
        "Replication",
        "What was trained again, beside the published rows of the same conditions.",
    ),
}
# Headings of the index's figures, and the folders in which their targets lie: Extended Data, and the main figures.
GROUPS = (("Extended data", "extended_data"), ("Main figures", "main"))
KINDS = {
    "demo": "A miniature on small data, made to show the phenomena. It is not evidence for the published results.",
    "smoke": "Cut down for tests. The numbers mean nothing.",
    "released": "Drawn and computed from the published archive's result files.",
    "paper": "Trained anew as published.",
}


def build(
    census: Census,
    config: Mapping[str, Any],
    edition_dir: Path,
    output: Path,
    others: Mapping[str, Path] | None = None,
) -> dict[str, int]:
    """Write a report of what is there: a folder that holds all that its pages show and lead to.

    That is index.html, statistics.html and the pages of other commands, the figures, the numbers that they draw, and
    the edition's tables.

    Args:
        census: the edition's census.
        config: settings of this execution, for the commands that the pages show.
        edition_dir: ``results/<edition>``.
        output: folder to write.
        others: pages to take along, by their names in PAGES, and ``controls``, what these come to (Markdown); None:
            all that are there, of the comparisons the newest.

    Returns:
        Number of figures, of statistics and of other pages in the report.

    Raises:
        TableError: a table is of another version.
    """
    figures = content.figures(edition_dir)
    sheets = content.sheets(edition_dir)
    output.mkdir(parents=True, exist_ok=True)
    if others is None:
        others = {name: edition_dir / f"{name}.html" for name in ("explorer", "claims")}
        others["replication"] = edition_dir / "replication" / "replication.html"
        others["controls"] = edition_dir / "controls.md"
        if comparison := newest_comparison(edition_dir.parent, edition_dir.name):
            others["comparison"] = comparison
    there = {name: path for name, path in others.items() if path.is_file()}
    controls = there.pop("controls", None)
    texts = {name: path.read_text(encoding="utf-8") for name, path in there.items()}
    if sheets:
        texts["statistics"] = _statistics(census, sheets, explorer="explorer" in texts)
    pages = [name for name in PAGES if name in texts]
    for one in figures:
        for variant in one["variants"]:
            for ending in ("png", "pdf"):
                source = edition_dir / "figures" / variant / f"{one['figure']}.{ending}"
                if source.is_file():
                    _copy(source, output / "figures" / variant / source.name)
    own = content.own(edition_dir, census)
    for one in (one for members in own.values() for one in members):
        folder = f"experiments/{one['experiment']}"
        for name in FILES:
            if (edition_dir / folder / name).is_file():
                _copy(edition_dir / folder / name, output / folder / name)
    if controls:
        _copy(controls, output / "controls.md")
    numbers = _copy_numbers(figures, edition_dir, output)
    tables = _copy_tables(census, edition_dir, output)
    texts["index"] = _index(
        census,
        words_of(census.root, config),
        edition_dir,
        figures,
        pages,
        numbers,
        tables,
        own,
        controls is not None,
    )
    titles = {"index.html": "Report"} | {f"{name}.html": PAGES[name][0] for name in pages}
    for name, text in texts.items():
        write_page(output / f"{name}.html", linked(text, f"{name}.html", titles))
    return {"figures": len(figures), "statistics": len(sheets), "pages": len(pages)}


def _copy_numbers(figures: Sequence[Mapping[str, Any]], edition_dir: Path, output: Path) -> set[str]:
    """Copy the numbers that the figures draw; returns their paths within the report."""
    copied = set()
    for one in figures:
        for variant in one["variants"]:
            inner = "figure_data" if variant == "published" else f"figure_data/{variant}"
            for name in one["numbers"]:
                source = edition_dir / inner / name
                if source.is_file():
                    _copy(source, output / inner / name)
                    copied.add(f"{inner}/{name}")
    return copied


def _copy_tables(census: Census, edition_dir: Path, output: Path) -> list[str]:
    """Write the edition's tables, as Parquet and as CSV; returns the names of those that have rows."""
    shown = [name for name, one in census.experiments.items() if one["counted"] or is_own(one)]
    there = made(edition_dir, shown)
    written = []
    for table in TABLES if there else ():
        frame = read_tables(edition_dir, there, table)
        (output / "tables").mkdir(parents=True, exist_ok=True)
        parquet.write_as_is(output / "tables" / f"{table}.parquet", frame)
        with replacing(output / "tables" / f"{table}.csv") as temporary:
            frame.to_csv(temporary, index=False)
        if not frame.empty:
            written.append(table)
    return written


def _copy(source: Path, target: Path) -> None:
    with replacing(target) as temporary:
        shutil.copyfile(source, temporary)


def _statistics(census: Census, sheets: Sequence[Mapping[str, Any]], *, explorer: bool) -> str:
    edition = census.edition["name"]
    data = {
        "edition": edition,
        "experiments": [name for name, one in census.experiments.items() if one["counted"] or is_own(one)],
        "explorer": explorer,
        "sheets": sheets,
    }
    return render(TEMPLATES / "statistics.html", edition=edition, data=packed(data))


def _index(
    census: Census,
    settings: str,
    edition_dir: Path,
    figures: Sequence[Mapping[str, Any]],
    pages: Sequence[str],
    numbers_there: set[str],
    tables: Sequence[str],
    own: Mapping[str, Sequence[Mapping[str, Any]]],
    controls: bool,
) -> str:
    edition = census.edition
    counted = {name: one for name, one in census.experiments.items() if one["counted"]}
    statuses = content.record_counts(edition_dir, list(counted))
    unlike = differing(edition_dir, made(edition_dir, counted))
    notes = "".join(f" Records of {name} differ in {', '.join(in_)}." for name, in_ in unlike.items())
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for one in figures:
        title, folder = GROUPS[one["figure"].startswith("Figure")]
        groups.setdefault(title, []).append(_figure(one, folder, census.experiments, settings, numbers_there))
    return render(
        TEMPLATES / "index.html",
        edition=edition,
        kind=KINDS.get(edition["name"], "Not the published results.") + notes,
        oracle=sum(has_oracle(run) for run in census.runs.values() if run["counted"]),
        controls=controls,
        made=sum(statuses.values()),
        planned=sum(len(one["runs"]) for one in counted.values()),
        statuses=statuses,
        pages={name: about for name, about in PAGES.items() if name in pages},
        verdicts=content.verdict_counts(edition_dir),
        figures=groups,
        titles={name: one["title"] for name, one in census.experiments.items()},
        audited=any("audited" in one["variants"] for one in figures),
        own={series: [_with_table(one) for one in members] for series, members in own.items()},
        files=FILES,
        tables=tables,
    )


def has_oracle(run: Mapping[str, Any]) -> bool:
    """Whether a run's value labels are the true ones of the whole batch.

    A direction made up at an angle to the structure gradient asks for no label.
    """
    value = run["value"]
    made_up = bool(value) and (value["synthetic"] or {}).get("about") == "struct"
    return run["method"] in ("dual", "lossmix") and value["labels"] == "clean" and not made_up


def _with_table(one: Mapping[str, Any]) -> dict[str, Any]:
    """An experiment of one's own with its conditions as a table."""
    head, rows = rows_of([Condition(**row) for row in one["conditions"]], one["by"], one["of"])
    return {**one, "head": head, "rows": rows}


def _figure(
    one: Mapping[str, Any], folder: str, known: Mapping[str, Any], settings: str, numbers: set[str]
) -> dict[str, Any]:
    """A figure with, for each variant, its number of runs, its command and the files of what it plots."""
    commands, plotted = {}, {}
    for variant in one["variants"]:
        target = f"figures/{folder if variant == 'published' else variant}/{one['figure']}.pdf"
        commands[variant] = f"snakemake {target}{settings}"
        inner = "figure_data" if variant == "published" else f"figure_data/{variant}"
        plotted[variant] = {
            file: f"{inner}/{file}" for file in one["numbers"] if f"{inner}/{file}" in numbers
        }
    runs = {
        variant: sum(len(known[name]["runs"]) for name in names)
        for variant, names in one["experiments"].items()
    }
    return {**one, "runs": runs, "commands": commands, "plotted": plotted}
