"""Compute statistics of an edition's tables: results/<edition>/statistics/<name>.parquet, one row per estimate.

Without names: all of them. --partial takes the experiments whose tables are there and leaves out the others. With
--schema: print what the files hold (docs/statistics.md).

    dualgrad statistics --edition released
    dualgrad statistics boundaries two_branch --edition demo --partial
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    from dualgrad.statistics.sources import STATISTICS

    parser.add_argument(
        "names", metavar="NAME", nargs="*", help=f"statistics (default: all): {', '.join(STATISTICS)}"
    )
    parser.add_argument("--output", type=Path, help="folder to write (default: results/EDITION/statistics)")
    parser.add_argument("--partial", action="store_true", help="leave out experiments without tables")
    parser.add_argument("--schema", action="store_true", help="print the columns and quantities")


def preload(root: Path, overrides: dict) -> None:
    """Import, before the worker forks, what all statistics need."""
    import dualgrad.statistics.boundaries
    import dualgrad.statistics.build  # noqa: F401


def run(args: argparse.Namespace) -> int:
    """Compute and write statistics."""
    from dualgrad.project import load_project
    from dualgrad.statistics import build
    from dualgrad.statistics.sources import STATISTICS
    from dualgrad.tables.build import TableError
    from dualgrad.validation import InputError, did_you_mean

    if args.schema:
        print(build.describe(), end="")
        return 0
    for name in args.names:
        if name not in STATISTICS:
            raise InputError(
                "dualgrad statistics", name, f"no such statistic{did_you_mean(name, STATISTICS)}"
            )
    project = load_project(args.root, args.config)
    output = args.output or project.results / "statistics"
    try:
        for name in args.names or STATISTICS:
            build.make(
                name, project.results, output / f"{name}.parquet", project.counted, partial=args.partial
            )
    except TableError as error:
        print(f"dualgrad statistics: {error}", file=sys.stderr)
        return 1
    return 0
