"""Make a comparison's files: conditions.parquet, phenomena.parquet, compare.{png,pdf}, summary.{md,html}."""

from __future__ import annotations

from pathlib import Path

from dualgrad.compare import conditions, page, phenomena, picture
from dualgrad.compare.editions import Edition
from dualgrad.pages import write_page
from dualgrad.records import write_atomically
from dualgrad.tables import parquet

FILES = (
    "conditions.parquet",
    "phenomena.parquet",
    "compare.png",
    "compare.pdf",
    "summary.md",
    "summary.html",
)
_PHENOMENA = {
    "name": "identifier",
    "group": "heading",
    "says": "the statement",
    "measure": "the number that decides it",
    "unit": "unit of the values",
    "expected": "where the value must lie to confirm it",
    "caveat": "what the number cannot carry",
    **{
        f"{name}_{side}": f"{meaning}, {side} edition"
        for side in ("first", "second")
        for name, meaning in (
            ("value", "the number"),
            ("low", "lower end of its 95 % interval"),
            ("high", "upper end"),
            ("interval", "how the interval was made"),
            ("p_value", "two-sided p value of no difference from the reference"),
            ("p_holm", "the same, corrected for the number of phenomena (Holm)"),
            ("n", "independent units behind it"),
            ("detectable", "distance from the reference (shares: share) found with a power of 80 %"),
            ("note", "what to know"),
            ("verdict", "shown, direction only, not shown, opposite or no data"),
        )
    },
    "result": "what the two verdicts come to",
}


def make(
    first: Edition, second: Edition, titles: tuple[str, str], output: Path, margin: float
) -> page.Comparison:
    """Compare two editions and write all files into a folder; returns what the summary says."""
    comparison = page.Comparison(
        (first.name, second.name),
        titles,
        margin,
        conditions.compare(first, second, margin),
        phenomena.compare(first, second),
    )
    output.mkdir(parents=True, exist_ok=True)
    meanings = {
        name: f"{meaning} [{unit}]" if unit else meaning
        for name, (unit, meaning) in conditions.COLUMNS.items()
    }
    parquet.write_frame(output / "conditions.parquet", comparison.conditions, meanings)
    parquet.write_frame(output / "phenomena.parquet", comparison.phenomena, _PHENOMENA)
    drawn = output / "compare.png"
    picture.draw(comparison.conditions, comparison.names, margin, (drawn, output / "compare.pdf"))
    write_atomically(output / "summary.md", page.markdown(comparison, drawn.name).encode())
    write_page(output / "summary.html", page.html(comparison, drawn))
    return comparison
