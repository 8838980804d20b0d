"""Keep the measured numbers of README and docs true.

Sentences with measured numbers are written into the documents from docs/numbers/sentences.yaml and the kept numbers
beside it: one file per edition (demo), per form of the published archive (released: its result files; complete: a
clone with notebooks and pictures), and for what the plan says. Named forms are measured again on their tables, which
have to be there, and compared with what is kept. Numbers of benchmarks are read from docs/performance, where
`dualgrad bench --output` has put them. --fix writes numbers and documents; without it, the exit status is 1 where
something is out of step.

    dualgrad numbers
    dualgrad numbers demo plan --fix
    dualgrad numbers complete --config released_archive=../dual-gradient-learning --fix
"""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING

import click

from dualgrad.arguments import OneOf, verb

if TYPE_CHECKING:
    from dualgrad.sentences import Sentences, Values

_FORMS = ("demo", "released", "complete", "plan")


@verb
@click.argument(
    "forms",
    type=OneOf(_FORMS),
    metavar="[FORM]...",
    nargs=-1,
    help=f"measure these again: {', '.join(_FORMS)}",
)
@click.option("--fix", is_flag=True, help="write what is out of step")
def run(args: SimpleNamespace) -> int:
    """Measure, compare, write."""
    from dualgrad import sentences as s
    from dualgrad.claims.data import MissingError
    from dualgrad.claims.load import load_ledger
    from dualgrad.project import load_project
    from dualgrad.records import write_atomically
    from dualgrad.release.errors import ArchiveError
    from dualgrad.tables.errors import TableError

    experiments = load_project(args.root, args.config).census.experiments
    sentences = s.load_sentences(args.root, load_ledger(args.root, experiments), experiments)
    stale = []
    for form in args.forms:
        try:
            about, found = measured(args, sentences, form)
        except (TableError, ArchiveError, MissingError) as error:
            print(f"dualgrad numbers: {form}: {error}", file=sys.stderr)
            return 1
        path = args.root / s.FOLDER / f"{form}.json"
        text = s.numbers_text(form, about, found)
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            stale.append(str(s.FOLDER / path.name))
            if args.fix:
                write_atomically(path, text.encode())
    values = s.values_of(sentences, args.root)
    for document, passages in sentences.passages.items():
        path = args.root / document
        old = path.read_text(encoding="utf-8")
        new = s.document_with(old, document, passages, values)
        if new != old:
            stale.append(document)
            if args.fix:
                write_atomically(path, new.encode())
    if stale:
        done = "written" if args.fix else "out of step, run: dualgrad numbers --fix"
        print(f"dualgrad numbers: {', '.join(stale)}: {done}", file=sys.stderr)
    else:
        print(f"{', '.join(sentences.passages)}: in step")
    return int(bool(stale) and not args.fix)


def measured(args: SimpleNamespace, sentences: Sentences, form: str) -> tuple[str, Values]:
    """What a form's numbers are about, and the numbers.

    Raises:
        ArchiveError: the archive at hand is of another form, or there is none.
    """
    from dualgrad import sentences as s
    from dualgrad.claims.data import Tables
    from dualgrad.claims.load import load_ledger
    from dualgrad.ingest import find_archive, read_manifest
    from dualgrad.project import load_project
    from dualgrad.release.contents import COMPLETE, FORMS, RESULTS, Release
    from dualgrad.release.errors import ArchiveError

    if form == "plan":
        return "what dualgrad plan says without records", s.plan(sentences, args.root)
    project = load_project(args.root, {**args.config, "edition": s.FORMS[form]})
    ledger = load_ledger(args.root, project.census.experiments)
    release, about = None, f"edition {project.edition}"
    if project.ingested:
        archive = find_archive(project.archive, args.root)
        release = Release(archive, list(read_manifest(args.root)), project.census.runs)
        wanted = COMPLETE if form == "complete" else RESULTS
        if release.form != wanted:
            raise ArchiveError(f"{archive} is {FORMS[release.form]}; expected {FORMS[wanted]}")
        about = f"the published archive: {FORMS[wanted]}"
    tables = Tables.read(project.results)
    return about, s.measure(sentences, form, ledger, tables, release)
