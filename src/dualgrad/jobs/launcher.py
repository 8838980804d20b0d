"""The command ``snakemake`` in the environment that ``make setup`` builds: Snakemake, with targets allowed last.

``--resources`` and its like take every word up to the next option, so in ``snakemake --resources gpu=1 figures/main``
Snakemake takes the target for a resource and stops. This puts the missing ``--`` before trailing words that are no
NAME=VALUE and hands over; it does nothing else.
"""

from __future__ import annotations

import shlex
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

# Snakemake's options that take any number of NAME=VALUE words (a test compares the list with Snakemake's own).
GREEDY = frozenset(
    {
        *("--config", "-C", "--resources", "--res", "--default-resources", "--default-res"),
        *("--set-threads", "--set-resources", "--set-scatter", "--set-resource-scopes"),
        *("--groups", "--group-components", "--consider-ancient"),
    }
)


def with_separator(arguments: Sequence[str]) -> list[str]:
    """Return the arguments with ``--`` before targets that a greedy option would swallow."""
    arguments = list(arguments)
    options = [place for place, word in enumerate(arguments) if word.startswith("-")]
    if not options or arguments[options[-1]] not in GREEDY:
        return arguments
    for place in range(options[-1] + 1, len(arguments)):
        if "=" not in arguments[place]:
            return [*arguments[:place], "--", *arguments[place:]]
    return arguments


def main() -> None:
    """Run Snakemake on this command line."""
    from snakemake.cli import main as snakemake

    sys.argv = ["snakemake", *with_separator(sys.argv[1:])]
    try:
        snakemake()
    except KeyboardInterrupt:  # one more Ctrl-C than Snakemake reckons with
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        sys.exit(130)


# Read by sh: a #! line of Python's own would not bear a long path, or one with a space. -P: no module of the folder
# that it is called in stands before Python's own.
_SCRIPT = """\
#!/bin/sh
exec {python} -P -c 'from dualgrad.jobs.launcher import main; main()' "$@"
"""


def install() -> None:
    """Put the launcher in place of Snakemake's own script, beside this Python."""
    script = Path(sys.executable).with_name("snakemake")
    script.write_text(_SCRIPT.format(python=shlex.quote(sys.executable)))
    script.chmod(0o755)


if __name__ == "__main__":
    install()
