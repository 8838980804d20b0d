"""The explorer's page: template, style, script and data in one file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from shlex import quote
from typing import Any

from dualgrad.census import Census
from dualgrad.explorer.data import gather
from dualgrad.pages import packed, render, write_page
from dualgrad.project import words_of

TEMPLATE = Path(__file__).parent / "explorer.html"


def build(census: Census, config: Mapping[str, Any], edition_dir: Path, output: Path) -> dict[str, int]:
    """Write the page of an edition.

    Args:
        census: the edition's census.
        config: settings of this execution, for the commands that the page shows.
        edition_dir: ``results/<edition>`` with the tables' parts.
        output: the page.

    Returns:
        Number of runs shown, of those with a result, and of bytes written.

    Raises:
        TableError: a table is missing or of another version.
    """
    data = gather(census, edition_dir)
    data["commands"] = commands(census, config)
    page = render(TEMPLATE, edition=census.edition["name"], data=packed(data))
    write_page(output, page)
    made = sum(error >= 0 for error in data["error"])
    return {"runs": len(data["names"]), "results": made, "bytes": len(page.encode())}


def commands(census: Census, config: Mapping[str, Any]) -> list[dict[str, str]]:
    """Return how to re-make a run of this edition: what it does, and the command with ``{run}`` for the run's id.

    An ingested edition has nothing to re-make: its runs are trained as published or in miniature.
    """

    def command(edition: str, settings: Mapping[str, Any], more: str = "") -> str:
        target = f"{quote(config['results_dir'])}/{edition}/runs/{{run}}.json"
        return f"snakemake {target} --cores 1{more}{words_of(census.root, settings)}"

    gpu = " --resources gpu=1"
    if census.edition["records"] == "ingested":
        demo, paper = ({**config, "edition": name} for name in ("demo", "paper"))
        return [
            {"about": "Train it in miniature", "command": command("demo", demo)},
            {"about": "Train it as published (on a GPU)", "command": command("paper", paper, gpu)},
        ]
    more = "" if census.edition["device"] == "cpu" else gpu
    return [{"about": "Make this record again", "command": command(census.edition["name"], config, more)}]
