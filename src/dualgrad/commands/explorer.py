"""Write the census explorer: all runs of an edition on one self-contained HTML page.

It is made from the tables of the edition's experiments; runs that are not there yet are shown as not made.

    dualgrad explorer --edition released
    dualgrad explorer --edition demo --output explorer.html
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "--results", type=Path, help="the edition's results, with its tables (default: results/EDITION)"
    )
    parser.add_argument("--output", type=Path, help="page to write (default: results/EDITION/explorer.html)")
    parser.add_argument("--json", action="store_true", help="print what was written as JSON")


def run(args: argparse.Namespace) -> int:
    """Write the page."""
    from dualgrad.explorer import build
    from dualgrad.project import load_project
    from dualgrad.tables.errors import TableError

    project = load_project(args.root, args.config)
    results = args.results or project.results
    output = args.output or results / "explorer.html"
    try:
        made = build(project.census, project.settings, results, output)
    except TableError as error:
        print(f"dualgrad explorer: {error}", file=sys.stderr)
        return 1
    if args.json:
        print(json.dumps({"path": str(output), **made}))
    else:
        size = made["bytes"] / 1e6
        print(f"{output}: {made['runs']} runs, {made['results']} of them made, {size:.1f} MB")
    return 0
