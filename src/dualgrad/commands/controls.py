"""Answer the controls: what the published census cannot tell apart, from experiments that vary one thing alone.

Reads the controls' tables or records, and writes controls.json and controls.md. (`snakemake controls` trains them
first.)

    dualgrad controls --edition demo
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--results", type=Path, help="the edition's results (default: results/EDITION)")
    parser.add_argument("--output", type=Path, help="folder to write (default: the edition's results)")
    parser.add_argument("--json", action="store_true", help="print the answers as JSON, write nothing")


def run(args: argparse.Namespace) -> int:
    """Write or print the answers."""
    from dualgrad.controls import answer, markdown, plain
    from dualgrad.project import load_project
    from dualgrad.records import RecordError, write_atomically
    from dualgrad.tables.errors import TableError

    project = load_project(args.root, args.config)
    results = args.results or project.results
    try:
        data = plain(answer(project.census, results), project.edition)
    except (TableError, RecordError) as error:
        print(f"dualgrad controls: {error}", file=sys.stderr)
        return 1
    text = json.dumps(data, indent=1, ensure_ascii=False)
    if args.json:
        print(text)
        return 0
    output = args.output or results
    write_atomically(output / "controls.json", f"{text}\n".encode())
    write_atomically(output / "controls.md", markdown(data).encode())
    for name, one in data["controls"].items():
        print(f"{name}: {one['question']}")
        for sentence in one["sentences"]:
            print(f"  {sentence}")
    print(f"{output / 'controls.md'}")
    return 0
