"""The same through the commands that people type: `dualgrad` and `snakemake`, each a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from . import small, words
from .case import Case

FEW = [words.SETTINGS[0], words.EDITIONS[0], words.CENSUSES[0], words.COMMANDS[0]]


def run(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a command in a folder, with this Python's environment."""
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize("case", FEW, ids=str)
def test_dualgrad(case: Case, root: Path) -> None:
    case.change(root)
    before = small.tree(root)
    done = run([sys.executable, "-m", "dualgrad", *case.command], root)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("dualgrad") and "Traceback" not in done.stderr
    assert all(word in done.stderr for word in case.words), done.stderr
    assert small.tree(root) == before


@pytest.mark.parametrize("case", [words.SETTINGS[0], words.CENSUSES[0]], ids=str)
def test_snakemake(case: Case, root: Path) -> None:
    """Refused before any job exists."""
    case.change(root)
    before = small.tree(root)
    snakefile = str(small.ROOT / "Snakefile")
    done = run([sys.executable, "-m", "snakemake", "-n", "--cores", "1", "--snakefile", snakefile], root)
    said = done.stdout + done.stderr
    assert done.returncode != 0 and "Traceback" not in said
    assert all(word in said for word in case.words), said
    after = {name: what for name, what in small.tree(root).items() if not name.startswith(".snakemake")}
    assert after == before


@pytest.mark.surroundings
def test_a_message_survives_any_terminal(root: Path) -> None:
    """Bytes that are no text, on a terminal that knows ASCII alone."""
    command = [os.fsencode(sys.executable), b"-m", b"dualgrad", b"show", b"A/\xff\xe9\x1b[31m"]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii:strict", "LC_ALL": "C"}
    done = subprocess.run(command, cwd=root, capture_output=True, env=environment, timeout=120, check=False)
    assert done.returncode == 2 and b"no such run" in done.stderr
    assert b"Traceback" not in done.stderr and b"\x1b" not in done.stderr
