"""``python -m tests.faults``: kill pipelines at random moments, or damage their files, for as long as one likes."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

from .damage import KINDS, WAYS, through_snakemake
from .kills import storm, undisturbed
from .pipeline import Failure, Pipeline


def main() -> int:
    """Run the storm; 0 if everything held."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="where to work (default: a temporary folder)")
    parser.add_argument("--damage", action="store_true", help="damage files instead")
    args = parser.parse_args()
    folder = args.folder or Path(tempfile.mkdtemp(prefix="faults-"))  # stays where something did not hold
    try:
        if args.damage:
            undisturbed(folder / "undisturbed")
            unhurt = Pipeline(folder / "undisturbed")
            count = len(list(through_snakemake(unhurt, folder, tuple(KINDS), WAYS)))
            text = f"{count} kinds of damage: each refused by name, each repaired by doing as told"
        else:
            text = storm(folder, args.kills, args.seed).text(args.seed)
    except Failure as failure:
        print(f"FAILED: {failure}", file=sys.stderr)
        return 1
    print(text)
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
