"""Whether the code that is imported is the code that lies beside the workflow."""

from __future__ import annotations

import shlex
from pathlib import Path

from dualgrad.jobs.inputs import revision


def other_code(imported: Path, beside: Path) -> str | None:
    """Say that another clone's code runs, and what to do; None where it is this one's, or the same.

    Args:
        imported: folder of the package that is imported.
        beside: folder of the package beside the workflow; need not be there.
    """
    if not (beside / "__init__.py").is_file() or imported.samefile(beside):
        return None
    if revision(imported, "**/*.py") == revision(beside, "**/*.py"):
        return None
    clone = beside.parents[1]
    return (
        f"the package that is imported, {imported}, is not the one beside this workflow, {beside}: what is changed "
        f"here would have no effect, and records would name the wrong code. In {clone}: `make clean setup`, then "
        f"`source .venv/bin/activate`; in an environment of your own: pip install -e {shlex.quote(str(clone))}"
    )
