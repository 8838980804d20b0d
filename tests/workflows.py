"""A copy of the workflow to run in, for tests of any kind; the repository's own results stay as they are."""

from __future__ import annotations

import shutil
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def copy_workflow(target: Path) -> Path:
    """A copy of all that the workflow consists of, apart from the package."""
    target.mkdir(parents=True, exist_ok=True)
    for name in ("Snakefile", "config", "workflow"):
        source = ROOT / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, target / name)
    (target / "profiles").symlink_to("workflow/profiles")
    return target
