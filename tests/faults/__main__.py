"""``python -m tests.faults``: kill pipelines at random moments, for as long as one likes."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

from .kills import storm
from .pipeline import Failure


def main() -> int:
    """Run the storm; 0 if everything held."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="where to work (default: a temporary folder)")
    args = parser.parse_args()
    folder = args.folder or Path(tempfile.mkdtemp(prefix="faults-"))  # stays where something did not hold
    try:
        tally = storm(folder, args.kills, args.seed)
    except Failure as failure:
        print(f"FAILED: {failure}", file=sys.stderr)
        return 1
    print(tally.text(args.seed))
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
