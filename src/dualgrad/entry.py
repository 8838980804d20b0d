"""The command where the library alone is installed, or works: it says what is missing, or where it works."""

from __future__ import annotations

import sys
from typing import NoReturn

from dualgrad import __version__


def command() -> NoReturn:
    """Be the command ``dualgrad``; leave with its exit status."""
    if sys.argv[1:] == ["--version"]:
        print(f"dualgrad {__version__}")
        sys.exit(0)
    try:
        import fcntl  # noqa: F401  (files are written and read under its locks; Windows has none)

        from dualgrad.cli import command as whole
    except ModuleNotFoundError as error:
        if error.name == "fcntl":
            print(
                "dualgrad: the commands need Linux, macOS or WSL 2; the library (from dualgrad import DualGradient) "
                "works on this system as well",
                file=sys.stderr,
            )
            sys.exit(2)
        if error.name is None or error.name.partition(".")[0] == "dualgrad":
            raise
        print(
            f"dualgrad: {error.name} is not installed. The library (from dualgrad import DualGradient) needs torch "
            'and numpy alone, the commands need the rest; in the clone: pip install ".[workflow]"',
            file=sys.stderr,
        )
        sys.exit(2)
    whole()
