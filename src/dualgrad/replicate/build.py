"""Make a replication's files: replication.parquet, seeds.parquet, epochs.parquet, replication.{png,md,html}."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from dualgrad.census.load import load_census
from dualgrad.files import visible
from dualgrad.pages import data_uri, render, write_page
from dualgrad.project import Project, load_project
from dualgrad.records import write_atomically
from dualgrad.replicate import compare, picture, words
from dualgrad.replicate.rows import Row, of_records, read_rows
from dualgrad.tables import parquet
from dualgrad.validation import InputError

FOLDER = Path(__file__).parent
TABLES = ("replication.parquet", "seeds.parquet", "epochs.parquet")
FILES = (*TABLES, "replication.png", "replication.md", "replication.html")
KEPT = "docs/replication"  # rows of finished runs, by edition, and values of other code
REFERENCE = "reference.csv"
WITHIN = "within_epoch.csv"
DOCUMENT_EPOCHS = 6


def gather(project: Project, editions: Sequence[str], released: Path, results: Path) -> words.Replication:
    """Read what was re-trained and what was published, and compare.

    Args:
        project: the project; of its edition are the settings.
        editions: names of trained editions, e.g. ``paper-sst2_tsv``.
        released: ``results/released``, with the tables of the published archive.
        results: folder with a folder for each edition.

    Raises:
        InputError: an edition that is not trained, or kept rows that are none.
        RecordError, TableError: a damaged record or table.
    """
    published = load_census(project.root, {"edition": "paper"})
    rows: list[Row] = []
    outdated: list[str] = []
    for name in editions:
        kept = ("precision", "compile", "cudnn_benchmark")
        settings = {"edition": name} | {key: project.settings[key] for key in kept}
        own = load_project(project.root, settings)
        if own.ingested:
            raise InputError(
                "replicate", name, "is read from the published archive; expected a trained edition"
            )
        if own.census.edition["name"] != name:
            raise InputError(
                "replicate", name, f"expected the edition's own name, {own.census.edition['name']}"
            )
        trained, old = of_records(results / name / "runs", name, own.census)
        outdated += old
        rows += trained + kept_rows(project.root, name, {row.key for row in trained})
    rows = [row for row in rows if row.name in published.runs]
    experiments = list(dict.fromkeys(row.experiment for row in rows))
    theirs = compare.published_rows(released, experiments)
    return words.Replication(
        list(editions),
        rows,
        compare.final(rows, theirs, published),
        compare.by_seed(rows, theirs, published),
        compare.by_epoch(rows, theirs, published, references(project.root)),
        outdated,
        published,
        published.datasets,
        within_epochs(project.root, rows),
    )


def kept_rows(root: Path, edition: str, but: set[tuple[str, str, str]]) -> list[Row]:
    """Return the kept rows of an edition, but for those whose :attr:`Row.key` a record has."""
    path = root / KEPT / f"{edition}.csv"
    rows = read_rows(path) if path.is_file() else []
    return [row for row in rows if row.key not in but]


def kept_editions(root: Path) -> list[str]:
    """Return the editions of which rows are kept."""
    return [path.stem for path in visible(root / KEPT, "*.csv") if path.name not in (REFERENCE, WITHIN)]


def references(root: Path) -> dict[tuple[str, str, str, int], float]:
    """Return values of the release's own code on the same data, where they are kept.

    Raises:
        InputError: a line that is none.
    """
    path = root / KEPT / REFERENCE
    if not path.is_file():
        return {}
    found = {}
    with path.open(newline="", encoding="utf-8") as file:
        lines = csv.DictReader(file)
        for one in lines:
            try:
                run, epoch = f"{one['experiment']}/{one['run']}", int(one["epoch"])
                found[one["dataset"], run, one["measure"], epoch] = float(one["value"])
            except (KeyError, TypeError, ValueError) as error:
                expected = "expected dataset, experiment, run, measure, epoch and value"
                raise InputError(path, f"line {lines.line_num}", f"{expected} ({error})") from None
    return found


def within_epochs(root: Path, rows: Sequence[Row]) -> pd.DataFrame:
    """Return what other code came to over the batches of runs among *rows*, within an epoch, where it is kept.

    Columns: dataset, experiment, run, source, step, steps (of the epoch), error, cosine (mean of the steps so far).
    """
    path = root / KEPT / WITHIN
    if not path.is_file():
        return pd.DataFrame()
    kept = pd.read_csv(path)
    mine = {(row.dataset, row.experiment, row.run) for row in rows}
    return kept[[key in mine for key in zip(kept["dataset"], kept["experiment"], kept["run"], strict=True)]]


def make(made: words.Replication, output: Path) -> None:
    """Write all files of a replication into a folder."""
    output.mkdir(parents=True, exist_ok=True)
    frames = (made.final, compare.FINAL), (made.seeds, compare.SEEDS), (made.epochs, compare.EPOCHS)
    for name, (frame, columns) in zip(TABLES, frames, strict=True):
        parquet.write_frame(output / name, frame, columns)
    title = f"Replication: {' and '.join(made.editions)}"
    drawn = output / "replication.png"
    picture.draw(made.epochs, title, [drawn])
    write_atomically(output / "replication.md", markdown(made, drawn.name).encode())
    page = render(
        FOLDER / "replicate.html",
        title=title,
        sentences=words.sentences(made),
        picture=data_uri(drawn),
        tables=words.tables_of(made),
        outside=lambda row: any(cell.endswith("*") for cell in row),
        editions=f"Re-trained: {', '.join(made.editions)}.",
    )
    write_page(output / "replication.html", page)


PREFACE = """What of the published training has been trained again by this project, beside the published rows of the
same conditions. `dualgrad replicate --document` makes this page from the rows of finished runs in
[docs/replication](replication/) and the released archive; of long runs it writes out some of the epochs. What your
own records say: `snakemake replicate --config edition=paper`, with the settings that they were trained under. It is
made anew as runs finish; no interval or p value allows for having looked before.
"""


def markdown(made: words.Replication, image: str, preface: str = "") -> str:
    """Return the replication as Markdown, with some of the epochs written out."""
    return render(
        FOLDER / "replication.md",
        preface=preface,
        sentences=words.sentences(made),
        picture=image,
        tables=words.tables_of(made, DOCUMENT_EPOCHS),
    )
