"""Write docs/protocols.md: what each experiment of the census trains, in words and numbers.

The cards describe what was published, whatever edition is configured.

    dualgrad cards                  write docs/protocols.md
    dualgrad cards --check          say whether it is in step with the census
    dualgrad cards T1a W2           print the cards of some experiments
"""

from __future__ import annotations

import sys
from types import SimpleNamespace

import click

from dualgrad.arguments import EXPERIMENT, output_option, verb

FILE = "docs/protocols.md"


@verb
@click.argument("experiments", type=EXPERIMENT, nargs=-1, help="print these cards, write nothing")
@output_option(help=f"file to write or check (default: {FILE})")
@click.option("--check", is_flag=True, help="write nothing; leave with 1 if the file is out of step")
def run(args: SimpleNamespace) -> int:
    """Write, check or print."""
    from dualgrad.census import load_census
    from dualgrad.census.cards.document import document
    from dualgrad.census.cards.experiments import card
    from dualgrad.records import write_atomically

    census = load_census(args.root, {"edition": "paper"})
    if args.experiments:
        for name in args.experiments:
            census.experiment(name)  # refused in words if there is none
        print("\n\n".join(card(census, name) for name in args.experiments))
        return 0
    text, path = document(census), args.output or args.root / FILE
    if args.check:
        if path.is_file() and path.read_text(encoding="utf-8") == text:
            print(f"{path} is what the census says")
            return 0
        print(f"dualgrad cards: {path} is not what the census says; run: dualgrad cards", file=sys.stderr)
        return 1
    write_atomically(path, text.encode())
    print(path)
    return 0
