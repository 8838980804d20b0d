"""Print what came of an experiment, published or one's own: runs, mean, standard deviation and interval by factor.

Taken from the experiment's table, or from its records as far as there are any. A condition is a combination of the
factors named by --by (default: all that have several levels); seeds and replicates repeat it. Where a factor has
numbers at three levels, what is read off the curve follows: where the outcome is lowest, what one step of the grid
loses, from where on it is higher, where it spreads most. Where the runs have validation examples, a choice of λ.

    dualgrad results M2 --edition released
    dualgrad results A --by lambda,noise_rate --plot
    dualgrad results T1a --of lifetime --json
    dualgrad results my-scan --output my-scan
"""

from __future__ import annotations

import json
import sys
from types import SimpleNamespace

import click

from dualgrad.arguments import EXPERIMENT, FOLDER, json_option, output_option, results_option, verb


@verb
@click.argument("experiment", type=EXPERIMENT, help="as `dualgrad census` names it")
@click.option("--by", metavar="FACTOR,FACTOR", help="factors that make a condition")
@click.option("--of", metavar="OUTCOME", default="test_error", help="a column of the table runs")
@click.option("--over", metavar="FACTOR", help="numeric factor of the curves (default: lambda, if it is one)")
@click.option("--level", metavar="VALUE", type=float, help="also say where the mean crosses this value")
@click.option("--plot", is_flag=True, help="draw means and intervals (default: on a terminal)")
@json_option(help="print everything as JSON")
@results_option()
@output_option(type=FOLDER, help="folder to write: page, JSON and figure")
def run(args: SimpleNamespace) -> int:
    """Print or write what came of the experiment."""
    from dualgrad.outcomes import build
    from dualgrad.project import load_project
    from dualgrad.records import RecordError
    from dualgrad.tables.errors import TableError

    project = load_project(args.root, args.config)
    by = [name for name in args.by.split(",") if name] if args.by else None
    try:
        found = build.gather(
            project.census,
            args.experiment,
            args.results or project.results,
            by=by,
            of=args.of,
            over=args.over,
            level=args.level,
        )
    except (TableError, RecordError) as error:
        print(f"dualgrad results: {error}", file=sys.stderr)
        return 1
    if args.output:
        paths = build.write(found, args.output)
        print(", ".join(map(str, paths)))
    elif args.json:
        print(json.dumps(build.plain(found), indent=2, ensure_ascii=False))
    else:
        print(build.text(found, chart=args.plot or sys.stdout.isatty()))
    return 0
