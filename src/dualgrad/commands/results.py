"""Print what came of an experiment: number of runs, mean, standard deviation and interval, by its factors.

Taken from the experiment's table, or from its records as far as there are any. A condition is a combination of the
factors named by --by (default: all that have several levels); seeds and replicates repeat it.

    dualgrad results M2 --edition released
    dualgrad results A --by lambda,noise_rate --plot
    dualgrad results T1a --of lifetime --json
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("experiment", metavar="EXPERIMENT", help="as `dualgrad census` names it")
    parser.add_argument("--by", metavar="FACTOR,FACTOR", help="factors that make a condition")
    parser.add_argument("--of", metavar="OUTCOME", default="test_error", help="a column of the table runs")
    parser.add_argument(
        "--plot", action="store_true", help="draw means and intervals (default: on a terminal)"
    )
    parser.add_argument("--json", action="store_true", help="print the conditions as JSON")


def run(args: argparse.Namespace) -> int:
    """Print the conditions."""
    from dualgrad.outcomes import factors_of, runs_of, summarise, table
    from dualgrad.project import load_project
    from dualgrad.records import RecordError
    from dualgrad.tables.errors import TableError

    project = load_project(args.root, args.config)
    try:
        rows = runs_of(project.census, args.experiment, project.results)
    except (TableError, RecordError) as error:
        print(f"dualgrad results: {error}", file=sys.stderr)
        return 1
    by = args.by.split(",") if args.by else factors_of(rows, project.census, args.experiment)
    conditions = summarise(rows, by, args.of)
    if args.json:
        print(json.dumps([asdict(one) for one in conditions], indent=2, ensure_ascii=False))
        return 0
    planned = len(project.census.experiment(args.experiment)["runs"])
    print(f"{args.experiment}: {project.census.experiment(args.experiment)['title']}")
    print(f"edition {project.edition}, {len(rows)} of {planned} runs\n")
    print(table(conditions, by, args.of, chart=args.plot or sys.stdout.isatty()))
    return 0
