"""The measured claims as files: Parquet for programs, Markdown for the terminal, one HTML page for people."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from dualgrad.claims import verdicts
from dualgrad.claims.data import Selection, Tables
from dualgrad.claims.evaluate import PUBLISHED, Report, Result, plain_number
from dualgrad.claims.words import name_of
from dualgrad.pages import packed, render
from dualgrad.records import write_atomically
from dualgrad.release.manifest import COMMIT, PAPER, REPOSITORY
from dualgrad.tables import parquet

_FILES = f"https://github.com/{REPOSITORY}/blob/{COMMIT}/{PAPER.as_posix()}/results"
_SIGNIFICANT = 5
_FOLDER = Path(__file__).parent / "page"

_SCHEMA = pa.schema(
    [
        ("edition", pa.string()),
        ("id", pa.string()),
        ("topic", pa.string()),
        ("places", pa.list_(pa.string())),
        ("statement", pa.string()),
        ("printed", pa.string()),
        ("printed_values", pa.list_(pa.float64())),
        ("unit", pa.string()),
        ("step", pa.float64()),
        ("measured", pa.string()),
        ("measured_values", pa.list_(pa.float64())),
        ("difference", pa.float64()),
        ("verdict", pa.string()),
        ("caveat", pa.string()),
        ("note", pa.string()),
        ("reason", pa.string()),
        ("measure", pa.string()),
        (
            "readings",
            pa.list_(
                pa.struct(
                    [
                        ("reading", pa.string()),
                        ("measured", pa.string()),
                        ("agrees", pa.bool_()),
                        ("measure", pa.string()),
                    ]
                )
            ),
        ),
        ("experiments", pa.list_(pa.string())),
        ("runs", pa.int64()),
    ]
)


def write(report: Report, tables: Tables, folder: Path) -> list[Path]:
    """Write claims.parquet, claims.md and claims.html into a folder; each appears complete or not at all."""
    written = [folder / f"claims.{ending}" for ending in ("parquet", "md", "html")]
    parquet.write(written[0], pa.Table.from_pylist(as_rows(report, tables), schema=_SCHEMA))
    write_atomically(written[1], markdown(report).encode())
    write_atomically(written[2], html(report, tables).encode())
    return written


def as_rows(report: Report, tables: Tables) -> list[dict[str, Any]]:
    """Return one plain dict per claim, with the columns of claims.parquet."""
    return [_row(report, result, tables) for result in report.results.values()]


def _row(report: Report, result: Result, tables: Tables) -> dict[str, Any]:
    claim = result.claim
    used = runs_used(result)
    names = tables.names
    experiments = list(dict.fromkeys(names[run].split("/", 1)[0] for run in used))
    printed = claim.printed if isinstance(claim.printed, list) else [claim.printed]
    return {
        "edition": report.edition,
        "id": claim.id,
        "topic": claim.topic,
        "places": list(claim.places),
        "statement": claim.says,
        "printed": result.printed,
        "printed_values": _numbers(printed) if claim.step is not None else [],
        "unit": claim.unit,
        "step": claim.step,
        "measured": result.measured,
        "measured_values": _numbers(result.values),
        "difference": result.difference,
        "verdict": result.verdict,
        "caveat": claim.caveat,
        "note": result.note,
        "reason": result.reason,
        "measure": result.words,
        "readings": [
            {"reading": one.name, "measured": one.text, "agrees": one.agrees, "measure": one.words}
            for one in result.readings
        ],
        "experiments": experiments,
        "runs": len(used),
    }


def runs_used(result: Result) -> np.ndarray:
    """Numbers of all runs behind a claim, each once."""
    return (
        np.unique(np.concatenate([one.runs for one in result.used]))
        if result.used
        else np.empty(0, dtype=int)
    )


def _numbers(values: Sequence[Any]) -> list[float]:
    return [float(one) for one in values if isinstance(one, int | float)]


def difference_text(result: Result) -> str:
    """Return the largest difference from the printed numbers, signed, with a digit more than printed."""
    if result.difference is None or result.claim.step is None:
        return ""
    digits = max(0, 1 - math.floor(math.log10(result.claim.step)))
    if digits > 5:
        return f"{result.difference:+.1e}"
    text = plain_number(round(result.difference, digits), f"+.{digits}f" if digits > 1 else "+g")
    return "0" if not text.strip("+-0.") else text


# ------------------------------------------------------------------------------------------------- Markdown


def markdown(report: Report) -> str:
    """Return the report as Markdown: counts, conclusions, and all claims by topic."""
    documents = report.ledger.documents
    by_document = {documents[code]: counts for code, counts in report.counts_by_document().items()}
    return render(
        _FOLDER / "claims.md",
        edition=report.edition,
        published=report.edition == PUBLISHED,
        about=_about(report),
        verdicts=verdicts.TITLES,
        counted={"**all claims**": report.counts(), **by_document},
        conclusions=report.conclusions,
        topics=report.ledger.topics,
        results=list(report.results.values()),
    )


def _about(report: Report) -> str:
    if report.edition == PUBLISHED:
        return (
            "Every number and statement that was published about the census, measured on the published result files. "
            "Reproduced: equal after rounding to the printed digits; close: within two units of the last one; "
            "ambiguous: some readings agree, some do not. A verdict speaks of the number, the caveat of what it "
            f"can carry. {report.composition()} What the data cannot tell apart, because the census never varies the "
            "one without the other (a stale value gradient, the oracle, the learning rate's drop): docs/controls.md."
        )
    return (
        f"**This is edition {report.edition}, not the published data.** The published claims are measured on its "
        "tables by the same rules; a verdict says whether this edition gives the published number. "
        f"{report.composition()}"
    )


# ------------------------------------------------------------------------------------------------- HTML


def html(report: Report, tables: Tables) -> str:
    """Return the report as one self-contained page."""
    return render(
        _FOLDER / "claims.html",
        edition=report.edition,
        published=report.edition == PUBLISHED,
        about=_about(report).rpartition("**")[2].strip(),
        data=packed(page_data(report, tables)),
    )


def page_data(report: Report, tables: Tables) -> dict[str, Any]:
    """Return what the page shows: claims, conclusions and, each once, the rows behind them."""
    selections: dict[Any, int] = {}
    shown: list[dict[str, Any]] = []
    used_runs: set[int] = set()

    def number_of(selection: Selection) -> int:
        runs, values = selection.by_run()
        key = (selection.words, selection.field, runs.tobytes())
        if key not in selections:
            selections[key] = len(shown)
            used_runs.update(runs.tolist())
            one: dict[str, Any] = {
                "words": selection.words,
                "runs": runs,
                "several": len(runs) < len(selection.runs),
            }
            if selection.field is not None and not np.isnan(values).all():
                one |= {"field": name_of(selection.field), "values": [_short(value) for value in values]}
            shown.append(one)
        return selections[key]

    claims = [
        _claim_data(result, [number_of(one) for one in result.used]) for result in report.results.values()
    ]
    places = {run: place for place, run in enumerate(sorted(used_runs))}
    for one in shown:
        numbers = [places[run] for run in one["runs"].tolist()]
        one["runs"] = [b - a for a, b in zip([0, *numbers], numbers, strict=False)]  # steps are short
    names = tables.names
    return {
        "edition": report.edition,
        "published": report.edition == PUBLISHED,
        "verdicts": verdicts.TITLES,
        "documents": report.ledger.documents,
        "topics": report.ledger.topics,
        "byDocument": report.counts_by_document(),
        "claims": claims,
        "conclusions": [
            {
                "title": one.title if report.edition == PUBLISHED else one.question,
                "text": one.text,
                "numbers": list(one.numbers),
                "claims": [name for name in one.claims if name in report.results],
            }
            for one in report.conclusions
        ],
        "selections": shown,
        "runs": _by_experiment([names[run] for run in sorted(used_runs)]),
        "sources": _sources(tables),
    }


def _claim_data(result: Result, selections: Sequence[int]) -> dict[str, Any]:
    claim = result.claim
    relative = None if result.difference is None or not claim.step else abs(result.difference) / claim.step
    data = {
        "id": claim.id,
        "topic": claim.topic,
        "places": [place.split(" § ", 1) for place in claim.places],
        "says": claim.says,
        "printed": result.printed,
        "measured": result.measured,
        "difference": difference_text(result),
        "units": None if relative is None else round(relative, 3),
        "verdict": result.verdict,
        "caveat": claim.caveat,
        "note": result.note,
        "reason": result.reason,
        "words": result.words,
        "readings": [[one.name, one.text, one.agrees, one.words] for one in result.readings],
        "selections": list(dict.fromkeys(selections)),
    }
    return {key: value for key, value in data.items() if value not in ("", None, [])}


def _short(value: float) -> float | int | None:
    if math.isnan(value):
        return None
    short = float(f"{value:.{_SIGNIFICANT}g}")
    return int(short) if short == int(short) else short


def _by_experiment(names: Sequence[str]) -> list[list[Any]]:
    """Group EXPERIMENT/RUN names by stretches of one experiment: the page puts them together again."""
    groups: list[list[Any]] = []
    for name in names:
        experiment, run = name.split("/", 1)
        if not groups or groups[-1][0] != experiment:
            groups.append([experiment, []])
        groups[-1][1].append(run)
    return groups


def _sources(tables: Tables) -> dict[str, Any]:
    """Where published rows stand: the folder of the release, and its files by experiment."""
    columns = tables.runs.columns
    files: dict[str, list[str]] = {}
    for experiment, file in zip(columns["experiment"], columns["source_file"], strict=True):
        if file and file not in files.setdefault(experiment, []):
            files[experiment].append(file)
    return {"base": _FILES, "files": files}
