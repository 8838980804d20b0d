"""Turn the published archive's result files into the tables of edition released.

The archive is a clone of the published repository (or its folder notebooks/Paper-A): --archive, else the setting
released_archive, else $DUALGRAD_RELEASED, else ../shared/released, else released_archive/ here. Every file that is
read is checked against config/released/manifest.csv first. --fetch gets the archive from the public repository.

    dualgrad ingest --archive ~/dual-gradient-learning
    dualgrad ingest --fetch --check
"""

from __future__ import annotations

import sys
from types import SimpleNamespace

import click

from dualgrad.arguments import EXPERIMENT, FOLDER, output_option, verb


@verb
@click.argument("experiments", type=EXPERIMENT, nargs=-1, help="experiments (default: all)")
@click.option("--archive", type=FOLDER, help="folder of the archive")
@output_option(type=FOLDER, help="folder of parts (default: results/released/tables/parts)")
@click.option("--fetch", is_flag=True, help="fetch the archive into released_archive/ first")
@click.option("--check", is_flag=True, help="check the files' hashes and write nothing")
def run(args: SimpleNamespace) -> int:
    """Check, and unless told otherwise ingest, the archive."""
    from dualgrad.census import load_census
    from dualgrad.ingest import ArchiveError, find_archive, read_manifest, verify
    from dualgrad.ingest.mapping import files_of, load_mapping
    from dualgrad.ingest.rows import EDITION, build_all
    from dualgrad.progress import progress
    from dualgrad.project import load_project
    from dualgrad.release.errors import MappingError
    from dualgrad.release.fetch import fetch
    from dualgrad.release.manifest import remember_archive
    from dualgrad.tables.errors import TableError

    # Of settings only folders: options of the edition beside which this one is read do not apply to it.
    project, census = load_project(args.root, args.config), load_census(args.root, {"edition": EDITION})
    for name in args.experiments:
        census.experiment(name)
    try:
        manifest = read_manifest(args.root)
        if args.fetch:
            paper = fetch(manifest, args.root / "released_archive")
        else:
            paper = find_archive(args.archive or project.archive, args.root)
        mapping = load_mapping(args.root / "config" / "released")
        unlisted = sorted(files_of(mapping) - manifest.keys())
        if unlisted:
            raise MappingError(f"config/released/manifest.csv does not list {', '.join(unlisted)}")
        verify(paper, manifest)
        if args.check:
            print(f"{paper}: all {len(manifest)} files as published")
            return 0
        names = args.experiments or [name for name in census.experiments if name in mapping]
        output = args.output or project.all_results / EDITION / "tables" / "parts"

        def runs_of(name: str) -> list[dict]:
            return [census.runs[target] for target in census.experiments[name]["runs"]]

        built = build_all(mapping, runs_of, paper, names)
        for name, tables in progress(built, len(names), "experiment", lambda one: one[0]):
            tables.write(output / name)
        remember_archive(output, paper)
    except (ArchiveError, MappingError, TableError) as error:
        print(f"dualgrad ingest: {error}", file=sys.stderr)
        return 1
    return 0
