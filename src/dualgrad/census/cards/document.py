"""The document of all cards (`docs/protocols.md`)."""

from __future__ import annotations

import re
from pathlib import Path

from dualgrad.census.cards.experiments import card, counts, hours, shared_groups
from dualgrad.census.cards.words import values
from dualgrad.census.datasets import DataSet
from dualgrad.census.load import Census
from dualgrad.pages import render
from dualgrad.wording import listed

_SERIES = {
    "A-Q": "images, from scratch",
    "R-W": "loops, ladders, lifetimes, two branches, traps",
    "X": "text",
    "Y": "controls for the text runs",
    "helper": "needed by others, not counted",
    "archived": "superseded, not counted",
}


def document(census: Census) -> str:
    """``docs/protocols.md``: introduction, table, and the cards by series."""
    rows, untimed = {}, []
    total = {"runs": 0, "trainings": 0, "epochs": 0, "hours": 0.0}
    for name, experiment in census.experiments.items():
        count = counts(census, [census.runs[target] for target in experiment["runs"]])
        if experiment["counted"]:
            total = {key: total[key] + (count[key] or 0) for key in total}
            untimed += [] if count["timed"] else [name]
        rows[name] = {
            "anchor": _anchor(f"{name}: {experiment['title']}"),
            "title": experiment["title"],
            "runs": f"{count['runs']:,}" if experiment["counted"] else f"({count['runs']})",
            "trainings": f"{count['trainings']:,}",
            "epochs": f"{count['epochs']:,}",
            "hours": hours(count),
        }
    return render(
        Path(__file__).parent / "protocols.md",
        images=_data(census, "image"),
        text=_data(census, "text"),
        rows=rows,
        total=total,
        untimed=listed(untimed),
        shared=_shared(census),
        series=_series(census),
    )


def _data(census: Census, kind: str) -> dict[str, str]:
    """What the introduction says of the first published set of a kind: title, sizes of splits, images, classes."""
    names = dict.fromkeys(run["task"]["dataset"] for run in census.runs.values() if run["counted"])
    one: DataSet = next(found for name in names if (found := census.datasets[name]).kind == kind)
    words = {split: f"{one.examples(split) or 0:,}" for split in ("train", "test")} | {"title": one.title}
    given = one.splits["train"].per_class
    if isinstance(given, list) and isinstance(one.classes, list):
        words["classes"] = ", ".join(f"{n:,} {name}" for n, name in zip(given, one.classes, strict=True))
    return words | ({"size": " × ".join(map(str, one.shape[1:]))} if one.shape else {})


def _anchor(heading: str) -> str:
    """The anchor that Git hosts give a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def _shared(census: Census) -> dict[str, tuple[str, str]]:
    """Stream groups of several experiments: which these are, and the seeds that all of them have."""
    found = {}
    for group, names in shared_groups(census).items():
        seeds = [
            {run["factors"].get("seed") for run in census.runs.values() if run["experiment"] == name}
            for name in names
        ]
        found[group] = listed(names), values(sorted(set.intersection(*seeds)))
    return found


def _series(census: Census) -> dict[str, list[str]]:
    """Cards by the heading of their series; what is not counted comes last."""
    order = dict.fromkeys(one["series"] for one in census.experiments.values())
    last = [series for series in order if series in ("helper", "archived")]
    found = {}
    for series in [one for one in order if one not in last] + last:
        word = {"helper": "Helpers", "archived": "Archived"}.get(series, f"Series {series}")
        heading = f"{word}: {_SERIES[series]}" if series in _SERIES else word
        found[heading] = [
            card(census, name) for name, one in census.experiments.items() if one["series"] == series
        ]
    return found
