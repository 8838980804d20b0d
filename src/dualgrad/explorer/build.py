"""The explorer's page: template, style, script and data in one file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dualgrad.census import Census
from dualgrad.explorer.data import gather
from dualgrad.pages import packed, render, write_page
from dualgrad.project import load_settings

TEMPLATE = Path(__file__).parent / "explorer.html"


def build(census: Census, config: Mapping[str, Any], edition_dir: Path, output: Path) -> dict[str, int]:
    """Write the page of an edition.

    Args:
        census: the edition's census.
        config: settings of this execution; the commands that the page shows name what differs from the files.
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
    default = load_settings(census.root)["edition"]

    def command(edition: str, more: str = "") -> str:
        settings = "" if edition == default else f" --config edition={edition}"
        return f"snakemake {config['results_dir']}/{edition}/runs/{{run}}.json --cores 1{more}{settings}"

    name = census.edition["name"]
    if census.edition["records"] == "ingested":
        return [
            {"about": "Train it in miniature", "command": command("demo")},
            {"about": "Train it as published (on a GPU)", "command": command("paper", " --resources gpu=1")},
        ]
    gpu = "" if census.edition["device"] == "cpu" else " --resources gpu=1"
    return [{"about": "Make this record again", "command": command(name, gpu)}]
