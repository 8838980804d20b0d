"""Find or fetch a data set, check it and write the prepared files that training reads, under DIR/NAME.

Data sets are described in config/datasets. Everything is checked: downloads by their checksum, what they hold by the
set's own description. A set can be given with --from, as an archive or a folder, in its own layout or in another one:
CIFAR's python batches, Parquet as on the Hugging Face hub, pictures in folders by split and class (also as .tar or
.zip), an .npz of four arrays, .tsv or .csv with named columns. What counts is what the files hold.

Text is written once for either kind of network; for DistilBERT that needs its tokenizer (dualgrad data distilbert,
268 MB from the Hugging Face hub).

    dualgrad data digits
    dualgrad data cifar10 --from ~/Downloads/cifar-10-python.tar.gz
    dualgrad data cifar10_jpeg --from ../copies/cifar10_jpeg.tar.gz
    dualgrad data cifar10n --from ~/Downloads/CIFAR-10_human.pt
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import click

from dualgrad.arguments import DATA_SET, FOLDER, OneOf, json_option, verb

if TYPE_CHECKING:
    from dualgrad.census.datasets import DataSet

# The network that is fetched like a data set.
NETWORK = "distilbert"


@verb(either=("content", "tokens"))
@click.argument("name", type=DATA_SET, required=False, help="a data set, or distilbert; none: list them")
@click.option("--data-dir", type=FOLDER, help="folder of all data (default: the setting data_dir)")
@click.option(
    "--from",
    "source",
    type=click.Path(path_type=Path),
    help="archive, file or folder to take instead of the set's own sources",
)
@click.option("--offline", is_flag=True, help="use only what is here already")
@json_option(help="print what was written as JSON")
@click.option("--content", is_flag=True, help="write the decoded content alone")
@click.option(
    "--tokens",
    type=OneOf(["textcnn", "distilbert"]),
    help="write a prepared text set for this kind of network alone",
)
def run(args: SimpleNamespace) -> int:
    """Run the command; 0, or 1 with a message where the data cannot be had."""
    from dualgrad.census.datasets import all_annotations, load_datasets
    from dualgrad.data.content import summary
    from dualgrad.data.errors import DataError
    from dualgrad.data.prepare import content_path, known_digest
    from dualgrad.data.store import load_arrays
    from dualgrad.project import load_project
    from dualgrad.validation import clipped, did_you_mean

    project, sets = load_project(args.root, args.config), load_datasets(args.root)
    if args.name is None:
        print(table_of_sets(sets))
        return 0
    known = [*sets, NETWORK, *all_annotations(sets)]
    if args.name not in known:
        hint = did_you_mean(args.name, known)
        print(
            f"dualgrad data: no file in config/datasets describes '{clipped(args.name)}'{hint} "
            f"(known: {', '.join(known)})",
            file=sys.stderr,
        )
        return 2
    data_dir = args.data_dir or project.data
    try:
        if args.source is not None and not args.source.exists():
            raise DataError(f"{args.source} does not exist: --from names an archive, a file or a folder")
        made = _prepared(args, sets, data_dir, project.settings["data_copies"])
    except DataError as error:
        print(f"dualgrad data {args.name}: {error}", file=sys.stderr)
        return 1
    if args.json:
        print(json.dumps([{"path": str(path), "content_sha256": digest} for path, digest in made]))
    else:
        for path, digest in made:
            print(f"{path}" + (f"  content SHA-256 {digest}" if digest else "  all files as expected"))
        if args.name in sets and made and made[0][0] == content_path(data_dir, args.name):
            arrays = load_arrays(made[0][0], remedy="prepare it again")
            print(*(f"  {line}" for line in summary(sets[args.name], arrays)), sep="\n")
            same = [
                one.name
                for one in sets.values()
                if one.name != args.name and known_digest(one, data_dir) == made[0][1]
            ]
            if same:
                print(f"  the same content as {' and '.join(same)}")
    return 0


def _prepared(
    args: SimpleNamespace, sets: dict[str, DataSet], data_dir: Path, copies: str | None
) -> list[tuple[Path, str | None]]:
    """Return the files written and the digest of each's content (None: a folder)."""
    from dualgrad.census.datasets import READERS, all_annotations
    from dualgrad.data import prepare, pretrained
    from dualgrad.data.annotations import place
    from dualgrad.data.errors import DataError

    if args.name not in sets and (args.tokens or args.content):
        option = "--tokens" if args.tokens else "--content"
        raise DataError(f"{option} is for data sets, and {args.name} is none")
    if args.name == NETWORK:
        return [(pretrained.prepare_distilbert(data_dir, args.source, args.offline), None)]
    if args.name in (by_people := all_annotations(sets)):
        return [(place(*by_people[args.name], args.source, args.root), None)]
    entry = sets[args.name]
    if args.tokens and entry.kind != "text":
        raise DataError(f"--tokens is for text, and {entry.name} is a set of images")
    made: list[tuple[Path, str | None]] = []
    places = prepare.copy_places(args.root, copies)
    if not args.tokens or args.source or not prepare.is_content(entry, data_dir):
        made.append(prepare.prepare(entry, sets, data_dir, args.source, offline=args.offline, places=places))
    for reader in () if args.content or entry.kind != "text" else READERS:
        if args.tokens not in (None, reader):
            continue
        if args.tokens is None and entry.needs_tokenizer(reader) and not pretrained.is_prepared(data_dir):
            print(
                f"not written for DistilBERT, whose tokenizer is not here: run dualgrad data {NETWORK}, then "
                f"dualgrad data {entry.name} --tokens {reader}",
                file=sys.stderr,
            )
            continue
        made.append(prepare.prepare_tokens(entry, data_dir, reader, offline=args.offline))
    return made


def table_of_sets(sets: dict[str, DataSet]) -> str:
    """Return the data sets as lines: name, what it is, how large, where from."""
    from dualgrad.census.datasets import all_annotations

    by_people = all_annotations(sets)
    width = max(map(len, [*sets, NETWORK, *by_people]))
    lines = []
    for name, one in sets.items():
        sizes = " + ".join(f"{one.examples(split) or 0:,}" for split in ("train", "test"))
        origin = one.sources[0].shown if one.sources else "given with --from"
        copy = f"; another copy of {one.copy_of}" if one.copy_of else ""
        lines.append(
            f"{name:{width}}  {one.title}: {sizes} examples, {one.number_of_classes} classes{copy} ({origin})"
        )
    lines.append(
        f"{NETWORK:{width}}  DistilBERT's published weights and tokenizer (268 MB, Hugging Face hub)"
    )
    lines += [f"{name:{width}}  {one.title} (given with --from)" for name, (_, one) in by_people.items()]
    return "\n".join(lines)
