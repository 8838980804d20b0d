"""Compare two editions: condition by condition and phenomenon by phenomenon, with a picture and a one-page summary.

Editions are compared as far as their tables have been made; what only one of them has is listed. Without names: those
of the setting compare. Writes results/compare/FIRST_SECOND.

    dualgrad compare released demo
    dualgrad compare released paper --margin 0.01
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import click

from dualgrad.arguments import EDITION, FOLDER, json_option, output_option, results_option, verb


def preload(root: Path, overrides: dict, given: SimpleNamespace) -> None:
    """Import, before the worker forks, what a comparison needs."""
    import dualgrad.compare.build  # noqa: F401


@verb
@click.argument("editions", type=EDITION, nargs=-1, help="two editions, the published one first")
@click.option("--margin", type=float, help="margin of the equivalence test (default: compare_margin)")
@results_option(help="folder of both editions' results (default: the setting results_dir)")
@output_option(type=FOLDER, help="folder to write (default: results/compare/FIRST_SECOND)")
@json_option(help="print what came out, and the files, as JSON")
def run(args: SimpleNamespace) -> int:
    """Compare, write, and say in short what came out."""
    from dualgrad.compare import build, page
    from dualgrad.compare.editions import Edition
    from dualgrad.compare.pair import pair_of, title_of
    from dualgrad.project import load_project
    from dualgrad.tables.errors import TableError
    from dualgrad.validation import InputError

    project = load_project(args.root, args.config)
    names = pair_of(",".join(args.editions) if args.editions else project.settings["compare"], "compare")
    margin = project.settings["compare_margin"] if args.margin is None else args.margin
    if not 0 < margin < 1:
        raise InputError("", "--margin", f"expected a fraction between 0 and 1; got {margin:g}")
    results = args.results or project.all_results
    output = args.output or results / "compare" / "_".join(names)
    try:
        first, second = (Edition(results / name, project.counted) for name in names)
        titles = (title_of(args.root, names[0]), title_of(args.root, names[1]))
        made = build.make(first, second, titles, output, margin)
    except TableError as error:
        print(f"dualgrad compare: {error}", file=sys.stderr)
        return 1
    if args.json:
        files = {name: str(output / name) for name in build.FILES}
        counts = made.phenomena["result"].value_counts().to_dict()
        print(
            json.dumps({"editions": names, "margin": margin, "phenomena": counts, "files": files}, indent=2)
        )
    else:
        print(*page.overview(made), f"{output}: {', '.join(build.FILES)}", sep="\n")
    return 0
