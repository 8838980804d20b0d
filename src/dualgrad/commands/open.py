"""Show a page or a figure that has been made, in the system's browser or viewer.

dualgrad open report
dualgrad open explorer --edition released
dualgrad open figure 1
dualgrad open figure ED3 --variant audited
"""

from __future__ import annotations

import re
import sys
import webbrowser
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import click

from dualgrad.arguments import OneOf, verb
from dualgrad.figures.sources import VARIANTS

if TYPE_CHECKING:
    from dualgrad.project import Project

# Where each page lies: the report's own copy first, whose links lead to the others. And what makes it.
PAGES = {
    "report": (("report/index.html",), "snakemake report"),
    "explorer": (("report/explorer.html", "explorer.html"), "snakemake report"),
    "statistics": (("report/statistics.html",), "snakemake report"),
    "claims": (("report/claims.html", "claims.html"), "snakemake claims"),
    "replication": (("replication/replication.html",), "snakemake replicate"),
}
WHAT = (*PAGES, "comparison", "figure")


@verb
@click.argument("what", type=OneOf(WHAT), metavar="PAGE", help=", ".join(WHAT))
@click.argument("number", required=False, metavar="[N]", help="of a figure: 1 to 5, ED1 to ED8")
@click.option("--variant", type=OneOf(VARIANTS), default="published", help="of a figure")
@click.option("--print", is_flag=True, help="print the path and open nothing")
def run(args: SimpleNamespace) -> int:
    """Open it."""
    from dualgrad.project import load_project, words_of

    project = load_project(args.root, args.config)
    paths, remedy = _places(project, args)
    path = next((path for path in paths if path.is_file()), None)
    if path is None:
        words = words_of(project.root, project.settings)
        remedy += words.removeprefix(" --config") if " --config " in remedy else words
        print(f"dualgrad open: {paths[0]} has not been made yet; make it: {remedy}", file=sys.stderr)
        return 1
    print(path)
    if not args.print and not webbrowser.open(path.resolve().as_uri()):
        print("dualgrad open: no browser was found here; open the path above", file=sys.stderr)
        return 1
    return 0


def _places(project: Project, args: SimpleNamespace) -> tuple[list[Path], str]:
    """Where the page or figure may lie, best first, and the command that makes it."""
    from dualgrad.validation import InputError

    if args.what in PAGES:
        names, remedy = PAGES[args.what]
        return [project.results / name for name in names], remedy
    if args.what == "comparison":
        from dualgrad.compare.pair import newest_comparison

        made = newest_comparison(project.all_results, project.edition)
        expected = project.all_results / "compare" / f"released_{project.edition}" / "summary.html"
        return [made or expected], f"snakemake compare --config compare=released,{project.edition}"
    found = re.fullmatch(r"(?i)(?:figure)?([1-5])|(?:ed[_ ]?(?:fig)?)([1-8])", args.number or "")
    if not found:
        raise InputError("", "figure", f"expected 1 to 5, or ED1 to ED8; got '{args.number or ''}'")
    name = f"Figure{found[1]}" if found[1] else f"ED_Fig{found[2]}"
    target = "audited" if args.variant == "audited" else "main" if found[1] else "extended_data"
    return [
        project.results / "figures" / args.variant / f"{name}.png"
    ], f"snakemake figures/{target}/{name}.png"
