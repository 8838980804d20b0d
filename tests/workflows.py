"""A copy of the workflow to run in, and Snakemake in it, for tests of any kind; the repository's results stay."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
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


def command(*words: str) -> list[str]:
    """The command `snakemake`, as `make setup` installs it."""
    return [sys.executable, "-c", "from dualgrad.jobs.launcher import main; main()", *words]


def environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's environment, without what a workflow around it may have put there."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("DUALGRAD_")}
    return kept | (more or {})


def snakemake(
    folder: Path, *words: str, more: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess:
    """Run Snakemake in a folder, with its messages in ``stdout``."""
    return subprocess.run(
        command(*words),
        cwd=folder,
        env=environment(more),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
        check=False,
    )


def planned(output: str) -> dict[str, int]:
    """Jobs by rule, from the job table that Snakemake prints; empty if there is nothing to do."""
    if "Nothing to be done" in output:
        return {}
    table = output.rpartition("Job stats:")[2]
    return {rule: int(count) for rule, count in re.findall(r"^(\S+) +(\d+)$", table, re.MULTILINE)}
