"""Compute statistics of an edition's tables: results/<edition>/statistics/<name>.parquet, one row per estimate.

Without names: all of them. --partial takes the experiments whose tables are there and leaves out the others. With
--schema: print what the files hold (docs/statistics.md).

    dualgrad statistics --edition released
    dualgrad statistics boundaries two_branch --edition demo --partial
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import click

from dualgrad.arguments import FOLDER, STATISTIC, json_option, output_option, results_option, verb
from dualgrad.statistics.sources import ALL_STATISTICS, OWN_STATISTIC, STATISTICS


def preload(root: Path, overrides: dict, given: SimpleNamespace) -> None:
    """Import, before the worker forks, what all statistics need."""
    import dualgrad.statistics.boundaries
    import dualgrad.statistics.build  # noqa: F401


@verb
@click.argument(
    "names", type=STATISTIC, nargs=-1, help=f"statistics (default: all): {', '.join(ALL_STATISTICS)}"
)
@results_option()
@output_option(type=FOLDER, help="folder to write (default: results/EDITION/statistics)")
@click.option("--partial", is_flag=True, help="leave out experiments without tables")
@click.option("--schema", is_flag=True, help="print the columns and quantities")
@json_option(help="print the files that were written as JSON")
def run(args: SimpleNamespace) -> int:
    """Compute and write statistics."""
    from dualgrad.progress import progress
    from dualgrad.project import load_project
    from dualgrad.statistics import build
    from dualgrad.tables.errors import TableError
    from dualgrad.validation import InputError, did_you_mean

    if args.schema:
        print(build.describe(), end="")
        return 0
    for name in args.names:
        if name not in ALL_STATISTICS:
            raise InputError("", name, f"no such statistic{did_you_mean(name, ALL_STATISTICS)}")
    project = load_project(args.root, args.config)
    results = args.results or project.results
    output = args.output or results / "statistics"
    if OWN_STATISTIC in args.names and not project.own:
        problem = (
            f"config/census holds no experiments of one's own that the edition '{project.edition}' trains"
        )
        raise InputError("", OWN_STATISTIC, problem)
    names = args.names or [*STATISTICS, *([OWN_STATISTIC] if project.own else [])]
    files = {name: output / f"{name}.parquet" for name in names}
    try:
        for name, file in progress(files.items(), len(files), "statistic", lambda one: one[0]):
            every = project.own if name == OWN_STATISTIC else project.counted
            build.make(name, results, file, every, partial=args.partial)
    except TableError as error:
        print(f"dualgrad statistics: {error}", file=sys.stderr)
        return 1
    if args.json:
        print(json.dumps({name: str(file) for name, file in files.items()}, indent=2))
    else:
        made = "1 statistic" if len(files) == 1 else f"{len(files)} statistics"
        print(f"{made} in {output}; `dualgrad report` makes a page of them")
    return 0
