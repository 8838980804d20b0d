"""Draw one figure from an edition's tables.

dualgrad figure Figure1 --edition demo --output figures/main/Figure1.pdf figures/main/Figure1.png
dualgrad figure ED_Fig5 --edition released --variant audited --output figures/audited/ED_Fig5.png
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import SimpleNamespace

import click

from dualgrad.arguments import FOLDER, OneOf, Several, output_option, verb
from dualgrad.figures.sources import FIGURE_EXPERIMENTS, VARIANTS


def preload(root: Path, overrides: dict, given: SimpleNamespace) -> bool:
    """Import and read, before a worker forks, what each figure needs; return whether any of it is new."""
    from dualgrad.figures import build
    from dualgrad.project import share_project

    build.module(given.figure)
    for name in ("backend_agg", "backend_pdf"):
        importlib.import_module(f"matplotlib.backends.{name}")
    for name in ("figures.style", "tables.read"):
        importlib.import_module(f"dualgrad.{name}")
    return share_project(root, overrides)


@verb
@click.argument("figure", type=OneOf(FIGURE_EXPERIMENTS), metavar="FIGURE", help="Figure1-5 or ED_Fig1-8")
@click.option(
    "--variant",
    type=OneOf(VARIANTS),
    default="published",
    show_default=True,
    help="published: as printed, quirks included; audited: the known artefacts taken out",
)
@click.option("--tables", type=FOLDER, help="the edition's tables (default: where the workflow makes them)")
@click.option(
    "--data-dir",
    type=FOLDER,
    help="where the plotted numbers go, one Parquet file per panel (default: nowhere)",
)
@output_option(cls=Several, required=True, help="files to write, by their ending .pdf, .png or .svg")
def run(args: SimpleNamespace) -> int:
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
    except TableError as error:
        print(f"dualgrad figure: {error}", file=sys.stderr)
        return 2
    print(f"{args.figure}, {args.variant}, edition {project.edition}: {', '.join(map(str, args.output))}")
    return 0
