"""Measure the published claims on an edition's tables and say which hold.

Without names: counts by verdict. With names of claims, or --verdict, --topic or --document: these claims one by one,
with how they are measured. --output writes claims.parquet, claims.md and claims.html (one self-contained page) into a
folder. config/claims.yaml holds the claims.

    dualgrad claims --edition released
    dualgrad claims ce-eta04 gap-22-53 --edition released --runs
    dualgrad claims --verdict not_reproduced --document "Figure 1" --edition released
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import click

from dualgrad.arguments import CLAIM, DOCUMENT, FOLDER, TOPIC, VERDICT, json_option, output_option, verb

if TYPE_CHECKING:
    from dualgrad.claims.data import Tables
    from dualgrad.claims.evaluate import Report, Result
    from dualgrad.claims.load import Ledger


@verb
@click.argument("claims", type=CLAIM, nargs=-1, help="names of claims (default: all)")
@click.option("--verdict", type=VERDICT, help="only claims with this verdict, e.g. not_reproduced")
@click.option("--topic", type=TOPIC, help="only claims of this topic, e.g. traps")
@click.option(
    "--document", type=DOCUMENT, help='only claims that this document prints, e.g. "Figure 1" or v3.1'
)
@click.option("--runs", is_flag=True, help="list the runs behind each claim with their values")
@click.option("--tables", type=FOLDER, help="the edition's results (default: results/EDITION)")
@output_option(type=FOLDER, help="folder for claims.parquet, claims.md and claims.html")
@json_option(help="write counts and claims as JSON")
def run(args: SimpleNamespace) -> int:
    """Measure, then print or write."""
    from dualgrad.claims.data import Tables
    from dualgrad.claims.evaluate import measure_all
    from dualgrad.claims.load import load_ledger
    from dualgrad.claims.report import as_rows, write
    from dualgrad.ingest import ArchiveError, read_manifest
    from dualgrad.project import load_project
    from dualgrad.release.contents import Release
    from dualgrad.tables.errors import TableError

    project = load_project(args.root, args.config)
    ledger = load_ledger(args.root, project.census.experiments)
    wanted = chosen(ledger, args)
    folder = args.tables or project.results
    try:
        archive = _archive(project.archive, args.root, folder) if project.ingested else None
        tables = Tables.read(folder)
        release = Release(archive, list(read_manifest(args.root)), project.census.runs)
    except (TableError, ArchiveError) as error:
        print(f"dualgrad claims: {error}", file=sys.stderr)
        return 1
    report = measure_all(ledger, tables, release, None if args.output else wanted)
    if args.output:
        write(report, tables, args.output)
    shown = [
        report.results[name]
        for name in wanted
        if not args.verdict or report.results[name].verdict == args.verdict
    ]
    if args.json:
        names = {result.claim.id for result in shown}
        rows = [row for row in as_rows(report, tables) if row["id"] in names]
        print(
            json.dumps(
                {"edition": report.edition, "counts": report.counts(shown), "claims": rows},
                ensure_ascii=False,
            )
        )
    elif args.claims or args.verdict or args.topic or args.document:
        for result in shown:
            print(in_full(result, tables, args.runs))
        print(counts_line(report, shown))
    else:
        print(table_of_counts(report))
        print(report.composition())
    return 0


def _archive(option: str | None, root: Path, folder: Path) -> Path | None:
    """Return the published archive: the one that the settings name, or else the one that was ingested.

    Without one, claims about its files cannot be tested; that is said, with what to do about it.

    Raises:
        ArchiveError: the settings name one that is not there.
    """
    from dualgrad.release.manifest import HOW, archive_at_hand

    archive = archive_at_hand(option, root, folder / "tables")
    if archive is None:
        print(
            "dualgrad claims: the published archive is not here, so claims about its files are not testable; "
            f"{HOW}",
            file=sys.stderr,
        )
    return archive


def chosen(ledger: Ledger, args: SimpleNamespace) -> list[str]:
    """Names of the claims that were asked for, in the ledger's order.

    Raises:
        InputError: a name, topic, document or verdict that does not exist, with the nearest that does.
    """
    from dualgrad.claims.verdicts import VERDICTS
    from dualgrad.validation import InputError, did_you_mean

    known = {
        "claim": ([claim.id for claim in ledger.claims], args.claims),
        "--topic": (list(ledger.topics), [args.topic] if args.topic else []),
        "--document": (list(ledger.documents), [args.document] if args.document else []),
        "--verdict": (list(VERDICTS), [args.verdict] if args.verdict else []),
    }
    for what, (names, given) in known.items():
        for name in given:
            if name not in names:
                among = "" if what == "claim" else f", expected one of {', '.join(names)}"
                raise InputError(what, name, f"there is none of this name{among}{did_you_mean(name, names)}")
    return [
        claim.id
        for claim in ledger.claims
        if (not args.claims or claim.id in args.claims)
        and (not args.topic or claim.topic == args.topic)
        and (not args.document or args.document in claim.documents)
    ]


def table_of_counts(report: Report) -> str:
    """Counts by verdict, of all claims and by document."""
    from dualgrad.claims.verdicts import TITLES

    counted = {"all claims": report.counts()} | {
        report.ledger.documents[code]: counts for code, counts in report.counts_by_document().items()
    }
    width = max(map(len, counted))
    lines = [f"{f'edition {report.edition}':{width}}  " + "  ".join(TITLES.values()) + "  all"]
    for name, counts in counted.items():
        numbers = [f"{counts[verdict]:{len(title)}}" for verdict, title in TITLES.items()]
        lines.append(f"{name:{width}}  {'  '.join(numbers)}  {sum(counts.values()):3}")
    return "\n".join(lines)


def counts_line(report: Report, results: list[Result]) -> str:
    """Counts by verdict of some claims, in a line."""
    from dualgrad.claims.verdicts import TITLES

    found = ", ".join(
        f"{count} {TITLES[verdict]}" for verdict, count in report.counts(results).items() if count
    )
    return f"edition {report.edition}: {len(results)} claims" + (f" ({found})" if found else "")


def in_full(result: Result, tables: Tables, runs: bool) -> str:
    """A claim with everything that is known of it, as text."""
    from dualgrad.claims.report import difference_text
    from dualgrad.claims.verdicts import TITLES

    claim = result.claim
    lines = [f"{claim.id}: {TITLES[result.verdict]}", f"  {claim.says}"]
    facts = [("printed", f"{result.printed}  ({'; '.join(claim.places)})")]
    if result.readings:
        signs = {True: "agrees", False: "disagrees", None: "not testable"}
        facts += [("reading", f"{one.name}: {one.text}  ({signs[one.agrees]})") for one in result.readings]
    else:
        facts.append(("measured", result.measured))
    facts += [
        ("difference", difference_text(result)),
        ("reason", result.reason),
        ("measure", result.words),
        ("caveat", "" if claim.caveat == "none" else claim.caveat),
        ("note", result.note),
    ]
    lines += [f"  {name:10}  {fact}" for name, fact in facts if fact]
    if runs:
        names = tables.names
        for selection in result.used:
            lines.append(f"  runs        {selection.words}")
            numbers, values = selection.by_run()
            for number, value in zip(numbers, values, strict=True):
                lines.append(f"    {names[number]}" + ("" if value != value else f"  {value:.6g}"))
    return "\n".join(lines) + "\n"
