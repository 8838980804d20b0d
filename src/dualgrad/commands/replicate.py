"""Put re-trained runs beside the published rows of the same conditions: final errors, and epoch by epoch.

For whatever records of a trained edition there are; for runs whose records are gone, from the rows that are kept in
docs/replication. The published rows are those of the edition released (snakemake tables --config edition=released).
Without names: the configured edition. Writes results/EDITION/replication.

    dualgrad replicate paper-sst2_tsv
    dualgrad replicate --edition paper --config paper_data=cifar10_jpeg --config max_epochs=3
    dualgrad replicate --keep paper-sst2_tsv      keep a row of each finished run in docs/replication
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import click

from dualgrad.arguments import EDITION, FOLDER, output_option, results_option, verb


@verb
@click.argument("editions", type=EDITION, nargs=-1, help="trained editions, e.g. paper-sst2_tsv")
@results_option(help="folder of all results (default: the setting results_dir)")
@click.option("--released", type=FOLDER, help="the published edition's results (default: .../released)")
@output_option(type=FOLDER, help="folder to write (default: results/EDITION/replication)")
@click.option("--keep", is_flag=True, help="write a row of each finished run into docs/replication")
@click.option("--document", is_flag=True, help="write docs/replication.md, of all editions with kept rows")
def run(args: SimpleNamespace) -> int:
    """Compare, write, and say in short what came out."""
    from dualgrad.project import load_project
    from dualgrad.records import RecordError
    from dualgrad.replicate import build
    from dualgrad.tables.errors import TableError

    project = load_project(args.root, args.config)
    editions = args.editions or ([] if args.document else [project.edition])
    kept = build.kept_editions(args.root) if args.document else []
    editions = list(dict.fromkeys([*editions, *kept]))
    results = args.results or project.all_results
    released = args.released or results / "released"
    output = args.output or results / "_".join(editions) / "replication"
    try:
        made = build.gather(project, editions, released, results)
        if args.keep:
            _keep(args.root, made.editions, made.rows)
        build.make(made, output)
        if args.document:
            _document(args.root, made, output)
    except (RecordError, TableError) as error:
        print(f"dualgrad replicate: {error}", file=sys.stderr)
        return 1
    from dualgrad.replicate.words import sentences

    counted = any(made.census.experiments[row.experiment]["counted"] for row in made.rows)
    if counted and not made.final["n_published"].sum() + len(made.epochs):
        print(
            f"{released}: no published rows of these experiments; make them: "
            "snakemake tables --config edition=released"
        )
    print(*sentences(made), f"{output}: {', '.join(build.FILES)}", sep="\n")
    return 0


def _keep(root: Path, editions: list[str], rows: list) -> None:
    from dualgrad.replicate.build import KEPT, kept_rows
    from dualgrad.replicate.rows import write_rows

    for edition in editions:
        mine = [row for row in rows if row.edition == edition]
        if mine:  # rows of runs that the census no longer has are kept as they are
            mine += kept_rows(root, edition, {row.key for row in mine})
            write_rows(root / KEPT / f"{edition}.csv", sorted(mine, key=lambda row: row.key))


def _document(root: Path, made: object, output: Path) -> None:
    import shutil
    from typing import Any, cast

    from dualgrad.records import write_atomically
    from dualgrad.replicate import build

    image = root / "docs" / "images" / "replication.png"
    image.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(output / "replication.png", image)
    text = build.markdown(cast(Any, made), "images/replication.png", build.PREFACE)
    write_atomically(root / "docs" / "replication.md", text.encode())
