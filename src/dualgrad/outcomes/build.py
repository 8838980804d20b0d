"""All that came of an experiment, in one place: gathered, as JSON, as text, as a folder of files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dualgrad.outcomes import FILES, words
from dualgrad.outcomes.conditions import Condition, factors_of, runs_of, summarise
from dualgrad.outcomes.scans import Choice, Reading, choices, numeric_factors, readings
from dualgrad.pages import render
from dualgrad.records import write_atomically
from dualgrad.validation import InputError

if TYPE_CHECKING:
    from dualgrad.census import Census


@dataclass(frozen=True)
class Results:
    """What came of an experiment.

    Attributes:
        experiment, title, edition: which.
        made, planned: number of runs.
        of: the outcome.
        by: factors that make the conditions.
        over: factor of the scans; None: no factor has numbers at three levels.
        conditions: in the order of their levels.
        readings: a scan for each combination of the other factors.
        choices: λ chosen on validation examples, where they were recorded.
    """

    experiment: str
    title: str
    edition: str
    made: int
    planned: int
    of: str
    by: list[str]
    over: str | None
    conditions: list[Condition]
    readings: list[Reading]
    choices: list[Choice]


def gather(
    census: Census,
    name: str,
    edition_dir: Path,
    *,
    by: Sequence[str] | None = None,
    of: str = "test_error",
    over: str | None = None,
    level: float | None = None,
) -> Results:
    """Return what came of an experiment, published or one's own.

    Args:
        census: the edition's census.
        name: the experiment.
        edition_dir: ``results/<edition>``.
        by: factors that make a condition; default: all with several levels but seed and replicate.
        of: column of the table ``runs``.
        over: factor of the scans; default: λ, or the one with most levels.
        level: value of the outcome whose crossing is asked for.

    Raises:
        InputError: no such experiment, factor or outcome, or nothing of it has been made.
        TableError, RecordError: what there is cannot be read.
    """
    entry = census.experiment(name)
    rows = runs_of(census, name, edition_dir)
    factors = list(by) if by else factors_of(census, name)
    conditions = summarise(rows, factors, of)
    numeric = numeric_factors(rows, factors)
    if over is not None and over not in factors:
        factors_known = ", ".join(factors) or "none"
        raise InputError(
            "", f"--over {over}", f"expected one of the factors that make conditions: {factors_known}"
        )
    over = over or (numeric[0] if numeric else None)
    return Results(
        experiment=name,
        title=entry["title"],
        edition=census.edition["name"],
        made=len(rows),
        planned=len(entry["runs"]),
        of=of,
        by=factors,
        over=over,
        conditions=conditions,
        readings=readings(rows, factors, over, of, level=level) if over else [],
        choices=choices(rows, factors),
    )


def plain(found: Results) -> dict[str, Any]:
    """Return results as JSON types, with what they say in words."""
    return {
        **asdict(found),
        "says": [words.said(one) for one in found.readings],
        "advice": [words.advised(one) for one in found.choices],
    }


def text(found: Results, *, chart: bool) -> str:
    """Return results for a terminal."""
    lines = [
        f"{found.experiment}: {found.title}",
        f"edition {found.edition}, {found.made} of {found.planned} runs",
        "",
        words.table(found.conditions, found.by, found.of, chart=chart),
    ]
    if found.readings:
        lines += ["", *map(words.said, found.readings)]
    if found.choices:
        lines += ["", "Which λ?", *map(words.advised, found.choices)]
    return "\n".join(lines)


def page(found: Results, picture: str) -> str:
    """Return results as a page in Markdown that shows *picture*, a file beside it."""
    head, rows = words.rows_of(found.conditions, found.by, found.of)
    return render(Path(__file__).parent / "results.md", picture=picture, head=head, rows=rows, **plain(found))


def write(found: Results, folder: Path) -> list[Path]:
    """Write results as page, JSON and pictures; returns the files."""
    from dualgrad.outcomes.picture import draw

    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / name for name in FILES]
    title = f"{found.experiment}, edition {found.edition}: {found.title}"
    draw(title, found.conditions, found.readings, found.of, paths[2:])
    write_atomically(paths[1], f"{json.dumps(plain(found), indent=1, ensure_ascii=False)}\n".encode())
    write_atomically(paths[0], page(found, FILES[2]).encode())
    return paths
