"""Write the report of an edition: a folder of pages to open, send or put on any web server.

index.html shows the figures with the way back to their runs, statistics.html the statistics as tables to search in;
the census explorer and the claims page lie beside them, if they have been made. What is not there yet is left out.

    dualgrad report --edition released
    dualgrad report --edition demo --output ~/demo-report
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import click

from dualgrad.arguments import FILE, FOLDER, Several, json_option, output_option, results_option, verb


@verb
@results_option()
@output_option(type=FOLDER, help="folder to write (default: results/EDITION/report)")
@click.option(
    "--pages",
    cls=Several,
    type=FILE,
    help="pages of other commands to take along: explorer.html, claims.html, replication.html, controls.md, "
    "summary.html of a comparison (default: those that have been made)",
)
@json_option(help="print what was written as JSON")
def run(args: SimpleNamespace) -> int:
    """Write the report."""
    from dualgrad.project import load_project
    from dualgrad.report import build
    from dualgrad.tables.errors import TableError

    project = load_project(args.root, args.config)
    results = args.results or project.results
    output = args.output or results / "report"
    try:
        made = build(project.census, project.settings, results, output, _named(args.pages))
    except TableError as error:
        print(f"dualgrad report: {error}", file=sys.stderr)
        return 1
    if args.json:
        print(json.dumps({"path": str(output / "index.html"), **made}))
    else:
        print(f"{output / 'index.html'}: {made['figures']} figures, {made['statistics']} statistics")
    return 0


def _named(pages: Sequence[Path] | None) -> dict[str, Path] | None:
    """Return pages by their names in a report; None where none were named.

    Raises:
        InputError: a file that is no page of a report, or not there.
    """
    from dualgrad.report.build import PAGES
    from dualgrad.validation import InputError, did_you_mean

    found: dict[str, Path] = {}
    for path in pages or ():
        name = "comparison" if path.name == "summary.html" else path.stem
        if path.name != "controls.md" and (name not in PAGES or path.suffix != ".html"):
            known = [*(f"{one}.html" for one in PAGES if one != "comparison"), "controls.md"]
            problem = f"expected {', '.join(known)} or summary.html{did_you_mean(path.name, known)}"
            raise InputError("--pages", str(path), problem)
        if not path.is_file():
            raise InputError("--pages", str(path), "no such file")
        found[name] = path
    return None if pages is None else found
