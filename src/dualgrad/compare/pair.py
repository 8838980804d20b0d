"""Which two editions are compared. Light: Snakemake imports it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from dualgrad.census import CensusError, edition_names
from dualgrad.census.editions import load_edition, spelt_out
from dualgrad.project import Project
from dualgrad.validation import InputError, read_yaml


def pair_of(text: str | None, where: str) -> tuple[str, str]:
    """Return the two editions that a setting names.

    Args:
        text: two names with a comma between them, e.g. ``released,demo``.
        where: who asks, for messages.

    Raises:
        InputError: not two different names.
    """
    names = [name.strip() for name in (text or "").split(",")]
    whole = all(re.fullmatch(r"[\w-]+", name) for name in names)
    if len(names) != 2 or not whole or names[0] == names[1]:
        problem = (
            f"expected two different editions with a comma between them, as released,demo; got '{text or ''}'"
        )
        raise InputError(where, "compare", problem)
    return names[0], names[1]


def edition_file(root: Path, name: str) -> dict:
    """Return what an edition's file says, empty where it has none (a copied results folder)."""
    if name not in edition_names(root):
        return {}
    file = f"config/editions/{name}.yaml"
    return read_yaml(root / file, file)


def title_of(root: Path, name: str) -> str:
    """Return one line about an edition; of one on other copies of its data, or of first epochs, which."""
    unknown = "no file in config/editions"
    if settings := spelt_out(name, edition_names(root)):
        try:
            return load_edition(root, settings)["title"]
        except CensusError:  # a copy that has no entry here
            return unknown
    return edition_file(root, name).get("title", unknown)


def is_ingested(root: Path, name: str) -> bool:
    """Return whether an edition is read from the published archive."""
    return edition_file(root, name).get("records") == "ingested"


def check_compared(project: Project, names: Iterable[str]) -> None:
    """Refuse an edition that this execution cannot make, unless its tables are there.

    Raises:
        InputError: names the folder, and how to make what is missing.
    """
    names = list(names)
    for name in names:
        known = name == project.edition or is_ingested(project.root, name)
        folder = Path(project.settings["results_dir"], name, "tables", "parts")
        if not known and not all((folder / one / "runs.parquet").is_file() for one in project.counted):
            problem = (
                f"the tables of edition {name} are not complete. Make them first (snakemake tables --config "
                f"edition={name}), or compare what there is: dualgrad compare {' '.join(names)}"
            )
            raise InputError(folder, "", problem)


def newest_comparison(results: Path, edition: str) -> Path | None:
    """Return the page of the comparison that has this edition on a side and was made last; None: there is none."""
    pages = [
        path
        for path in (results / "compare").glob("*/summary.html")
        if path.parent.name.startswith(f"{edition}_") or path.parent.name.endswith(f"_{edition}")
    ]
    return max(pages, key=lambda path: path.stat().st_mtime, default=None)
