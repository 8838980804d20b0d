"""Fetch a data set, check it and write the prepared file that training reads, under DIR/NAME.

  digits, digit_pairs   scikit-learn's digits; nothing to download
  reviews               rated movie-review sentences from the source distribution of vaderSentiment 2.5
                        (2.5 MB, through pip)
  cifar10, cifar100     the published archives (170 MB each)
  sst2                  GLUE SST-2 (7 MB), and distilbert below for its tokenizer
  distilbert            distilbert-base-uncased (268 MB) from the Hugging Face hub

Everything that comes from outside is checked against a checksum. Without network access, give the archive, or
a folder with the unpacked files, with --from.

    dualgrad data digits
    dualgrad data cifar10 --from ~/Downloads/cifar-10-python.tar.gz
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

NAMES = ("digits", "digit_pairs", "reviews", "cifar10", "cifar100", "sst2", "distilbert")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("name", choices=NAMES, metavar="NAME", help=", ".join(NAMES))
    parser.add_argument(
        "--data-dir",
        type=Path,
        metavar="DIR",
        help="folder of all data (default: the setting data_dir)",
    )
    parser.add_argument(
        "--from",
        dest="source",
        type=Path,
        metavar="PATH",
        help="archive or folder to take instead of the network",
    )
    parser.add_argument("--offline", action="store_true", help="use only what is in DIR already")
    parser.add_argument("--json", action="store_true", help="print what was written as JSON")


def prepare(
    name: str, data_dir: Path, source: Path | None = None, offline: bool = False
) -> list[tuple[Path, str | None]]:
    """Prepare one data set; return the files written and the digest of each's content (None: a folder)."""
    if name in ("digits", "digit_pairs", "cifar10", "cifar100"):
        from dualgrad.data.images import prepare_images

        return [prepare_images(name, data_dir, source, offline)]
    if name == "reviews":
        from dualgrad.data.reviews import prepare_reviews

        return [prepare_reviews(data_dir, source, offline)]
    from dualgrad.data import sst2

    if name == "sst2":
        return list(sst2.prepare_sst2(data_dir, source, offline))
    return [(sst2.prepare_distilbert(data_dir, source, offline), None)]


def run(args: argparse.Namespace) -> int:
    """Run the command; 0, or 1 with a message where the data cannot be had."""
    from dualgrad.data.errors import DataError
    from dualgrad.project import load_project

    data_dir = args.data_dir or load_project(args.root, args.config).data
    try:
        if args.source is not None and not args.source.exists():
            raise DataError(f"{args.source} does not exist: --from names an archive or a folder")
        made = prepare(args.name, data_dir, args.source, args.offline)
    except DataError as error:
        print(f"dualgrad data {args.name}: {error}", file=sys.stderr)
        return 1
    if args.json:
        print(json.dumps([{"path": str(path), "content_sha256": digest} for path, digest in made]))
    else:
        for path, digest in made:
            print(f"{path}" + (f"  content SHA-256 {digest}" if digest else "  all files as expected"))
    return 0
