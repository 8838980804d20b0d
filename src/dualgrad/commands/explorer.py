"""Write the census explorer: all runs of an edition on one self-contained HTML page.

It is made from the tables of the edition's experiments; runs that are not there yet are shown as not made.

    dualgrad explorer --edition released
    dualgrad explorer --edition demo --output explorer.html
"""

from __future__ import annotations

import json
import sys
from types import SimpleNamespace

from dualgrad.arguments import json_option, output_option, results_option, verb


@verb
@results_option()
@output_option(help="page to write (default: results/EDITION/explorer.html)")
@json_option(help="print what was written as JSON")
def run(args: SimpleNamespace) -> int:
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
