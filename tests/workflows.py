"""A copy of the workflow to run in, and Snakemake in it, for tests of any kind; the repository's results stay."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# Snakemake is started a hundred times, and importing it takes as long as what most tests ask of it. So processes are
# forked from one that has imported it; they run its `main` as the command does.
_FORKS = multiprocessing.get_context("forkserver")
_IMPORTED = (
    "snakemake.cli",
    "snakemake.report",
    "pandas",
    "jsonschema",
    "pydantic",
    "requests",
    "smart_open",
)
_PLUGINS = ("executor_plugin_slurm", "storage_plugin_fs", "storage_plugin_s3")
_OURS = ("dualgrad.jobs.launcher", "dualgrad.jobs.requests", "read_before")
_FORKS.set_forkserver_preload([*_IMPORTED, *(f"snakemake_{name}" for name in _PLUGINS), *_OURS])


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
    with tempfile.NamedTemporaryFile("r", encoding="utf-8", errors="replace") as messages:
        process = _FORKS.Process(
            target=_be_snakemake, args=(words, str(folder), environment(more), messages.name)
        )
        with _found_by_forks(Path(__file__).parent):
            process.start()
        process.join(600)
        if process.exitcode is None:
            process.kill()
            raise subprocess.TimeoutExpired(command(*words), 600, messages.read())
        return subprocess.CompletedProcess(command(*words), process.exitcode, messages.read())


@contextlib.contextmanager
def _found_by_forks(folder: Path) -> Iterator[None]:
    """Let the process to fork from, should it start now, find a folder's modules (Python 3.11 forgets `sys.path`)."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(folder), before]))
    try:
        yield
    finally:
        del os.environ["PYTHONPATH"]
        if before is not None:
            os.environ["PYTHONPATH"] = before


def _be_snakemake(words: Sequence[str], folder: str, around: Mapping[str, str], messages: str) -> None:
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(around)
    tempfile.tempdir = None  # may be another one here
    with Path(messages).open("a", encoding="utf-8") as stream:
        os.dup2(stream.fileno(), 1)
        os.dup2(stream.fileno(), 2)
    from dualgrad.jobs.launcher import main

    sys.argv = ["snakemake", *words]
    main()


def planned(output: str) -> dict[str, int]:
    """Jobs by rule, from the job table that Snakemake prints; empty if there is nothing to do."""
    if "Nothing to be done" in output:
        return {}
    table = output.rpartition("Job stats:")[2]
    return {rule: int(count) for rule, count in re.findall(r"^(\S+) +(\d+)$", table, re.MULTILINE)}


def is_alive(process: int) -> bool:
    """Whether a process runs (a zombie does not)."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):  # it may go between opening and reading
        return False
