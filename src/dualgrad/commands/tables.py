"""Turn records into Parquet tables: runs, trajectories, epochs, geometry, steps.

With names of experiments: read and check their records and write one folder of tables each. With --merge: join the
experiments' folders into one file per table. With --schema: print what the columns mean.

    dualgrad tables R3a --edition demo
    dualgrad tables --merge --edition demo
"""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import click

from dualgrad.arguments import EXPERIMENT, FOLDER, json_option, output_option, verb


def preload(root: Path, overrides: dict, given: SimpleNamespace) -> bool:
    """Import and read, before a worker forks, what each experiment's tables need; return whether any of it is new."""
    from dualgrad.project import share_project

    for name in ("pandas", "pyarrow.parquet", "dualgrad.tables.build", "dualgrad.tables.read"):
        importlib.import_module(name)
    return share_project(root, overrides)


@verb
@click.argument("experiments", type=EXPERIMENT, nargs=-1, help="experiments; --merge: default all")
@click.option(
    "--records",
    type=FOLDER,
    help="folder of one experiment's records (default: results/EDITION/runs/EXPERIMENT)",
)
@output_option(
    type=FOLDER,
    help="folder to write (default: results/EDITION/tables/parts/EXPERIMENT; --merge: results/EDITION/tables)",
)
@click.option(
    "--parts", type=FOLDER, help="with --merge: folder of parts (default: results/EDITION/tables/parts)"
)
@click.option("--merge", is_flag=True, help="join the parts of the counted experiments")
@click.option("--schema", is_flag=True, help="print the columns, their units and meanings")
@json_option(help="print the files that were written, or the columns, as JSON")
def run(args: SimpleNamespace) -> int:
    """Write tables of experiments, or merge them."""
    from dualgrad.progress import progress
    from dualgrad.project import load_project
    from dualgrad.records import CONDITIONS, RecordError
    from dualgrad.tables import schema
    from dualgrad.tables.build import experiment_tables
    from dualgrad.tables.errors import TableError
    from dualgrad.tables.read import differing_conditions, merge_parts

    if args.schema:
        print(json.dumps(schema.as_plain(), indent=2) if args.json else schema.describe())
        return 0
    project = load_project(args.root, args.config)
    census, edition = project.census, project.edition
    parts = args.parts or project.results / "tables" / "parts"
    if not args.merge and not args.experiments:
        print("dualgrad tables: name experiments, or say --merge", file=sys.stderr)
        return 2
    if not args.merge and len(args.experiments) > 1 and (args.records or args.output):
        print("dualgrad tables: --records and --output are for one experiment", file=sys.stderr)
        return 2
    written: list[tuple[str | None, Path]] = []
    named = {name: census.experiment(name) for name in args.experiments}
    try:
        if args.merge:
            names = list(named) or project.counted
            output = args.output or project.results / "tables"
            merge_parts(parts, names, output)
            _say(args, [(None, output)], f"{output}: {', '.join(schema.TABLES)} of {len(names)} experiments")
            return 0
        if project.ingested:
            print(f"dualgrad tables: edition {edition} has no records; use dualgrad ingest", file=sys.stderr)
            return 2
        for name, experiment in progress(named.items(), len(named), "experiment", lambda one: one[0]):
            runs = (census.runs[target] for target in experiment["runs"])
            tables = experiment_tables(runs, args.records or project.records / name, edition)
            tables.write(args.output or parts / name)
            written.append((name, args.output or parts / name))
            runs_table = tables.arrow("runs").select(["experiment", *CONDITIONS]).to_pandas(use_threads=False)
            for one, names in differing_conditions(runs_table).items():
                print(
                    f"dualgrad tables: the records of {one} differ in {', '.join(names)} "
                    "(columns of the table runs); to train them alike, delete those that are to be made again",
                    file=sys.stderr,
                )
    except (TableError, RecordError) as error:
        print(f"dualgrad tables: {error}", file=sys.stderr)
        return 1
    places = ", ".join(str(folder) for _, folder in written)
    _say(args, written, f"{places}: {', '.join(schema.TABLES)}")
    return 0


def _say(args: SimpleNamespace, written: Sequence[tuple[str | None, Path]], text: str) -> None:
    """Say what was written: in a line, or file by file as JSON."""
    from pyarrow import parquet

    from dualgrad.tables.schema import TABLES

    if not args.json:
        print(text)
        return
    files = [(name, table, folder / f"{table}.parquet") for name, folder in written for table in TABLES]
    print(
        json.dumps(
            [
                {
                    "experiment": name,
                    "table": table,
                    "path": str(path),
                    "rows": parquet.read_metadata(path).num_rows,
                }
                for name, table, path in files
            ],
            indent=2,
        )
    )
