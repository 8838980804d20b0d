"""Draw one figure from an edition's tables.

dualgrad figure Figure1 --edition demo --output figures/main/Figure1.pdf figures/main/Figure1.png
dualgrad figure ED_Fig5 --edition released --variant audited --output figures/audited/ED_Fig5.png
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    from dualgrad.figures.sources import FIGURE_EXPERIMENTS, VARIANTS

    parser.add_argument(
        "figure", choices=list(FIGURE_EXPERIMENTS), metavar="FIGURE", help="Figure1-5 or ED_Fig1-8"
    )
    parser.add_argument(
        "--variant",
        choices=VARIANTS,
        default="published",
        help="published: as printed, quirks included; audited: the known artefacts taken out (default: %(default)s)",
    )
    parser.add_argument(
        "--tables", type=Path, help="the edition's tables (default: where the workflow makes them)"
    )
    parser.add_argument(
        "--data-dir",
        type=Path,
        help="where the plotted numbers go, one Parquet file per panel (default: nowhere)",
    )
    parser.add_argument(
        "--output",
        type=Path,
        nargs="+",
        required=True,
        help="files to write, by their ending .pdf, .png or .svg",
    )


def run(args: argparse.Namespace) -> int:
    """Draw the figure."""
    from dualgrad.figures import build
    from dualgrad.figures.sources import experiments_of
    from dualgrad.figures.trained import trained
    from dualgrad.project import load_project
    from dualgrad.tables.errors import TableError

    project = load_project(args.root, args.config)
    tables = args.tables or project.results / "tables"
    known = trained(project.census, experiments_of(args.figure, args.variant))
    try:
        build.make(args.figure, project.edition, tables, args.output, args.data_dir, args.variant, known)
    except (TableError, ValueError) as error:
        print(f"dualgrad figure: {error}", file=sys.stderr)
        return 2
    print(f"{args.figure}, {args.variant}, edition {project.edition}: {', '.join(map(str, args.output))}")
    return 0
