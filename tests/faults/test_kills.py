"""A sample of what ``python -m tests.faults`` does: a kill at a random moment, and what kills leave."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from dualgrad import files
from dualgrad.jobs import recovery

from .kills import storm
from .pipeline import FIGURE, Pipeline

SEED = int(os.environ.get("DUALGRAD_FAULTS_SEED", "0"))


def test_a_killed_pipeline_goes_on(unhurt: Pipeline, tmp_path: Path) -> None:
    expected = unhurt.digests(), (unhurt.folder / FIGURE).read_bytes()
    tally = storm(tmp_path, 1, SEED, expected, per_pipeline=(1, 1))
    print(tally.text(SEED))
    assert len(tally.kills) == 1


def test_what_the_hooks_stretch_is_there(unhurt: Pipeline) -> None:
    done = subprocess.run([sys.executable, "-c", ""], env=unhurt.environment, capture_output=True, check=True)
    assert done.stderr == b"", "Python goes on without hooks that fail"


def write_and_hang(path: Path) -> int:
    """Start a process that is in the middle of writing a file; its number."""
    reading, writing = os.pipe()
    process = os.fork()
    if process == 0:
        with files.replacing(path) as temporary:
            temporary.write_text("half")
            os.write(writing, b".")
            signal.pause()
    os.read(reading, 1)
    return process


def test_only_the_dead_are_swept(tmp_path: Path) -> None:
    path = tmp_path / "runs" / "A" / "x.json"
    writer = write_and_hang(path)
    (left,) = path.parent.iterdir()
    try:
        assert files.remove_stale_files(tmp_path) == [] and left.exists()
    finally:
        os.kill(writer, signal.SIGKILL)
        os.waitpid(writer, 0)
    assert left.exists() and not path.exists()
    assert files.remove_stale_files(tmp_path) == [left] and not left.exists()


def test_a_scratch_folder_is_swept_with_what_is_in_it(tmp_path: Path) -> None:
    with files.scratch(tmp_path, "fetch") as folder:
        (folder / "part").write_text("half")
        assert files.remove_stale_files(tmp_path) == []
        os.rename(folder, tmp_path / "moved")  # noqa: PTH104
        left = tmp_path / f".fetch.dead.{files.host()}.tmp"
        (tmp_path / "moved").rename(left)
    assert files.remove_stale_files(tmp_path) == [left]
    assert list(tmp_path.iterdir()) == []


def test_states_to_resume_from_go_with_their_record(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "A"
    folder.mkdir(parents=True)
    for name, finished in (("done", True), ("not-done", False)):
        (folder / f".{name}.json.resume").touch()
        if finished:
            (folder / f"{name}.json").touch()
    assert recovery.remove_stale_files(tmp_path) == [folder / ".done.json.resume"]


@pytest.mark.parametrize("other", ["none", "alive", "killed"])
def test_only_a_dead_workflows_lock_is_removed(tmp_path: Path, other: str) -> None:
    lock = tmp_path / "locks" / "0.input.lock"
    if other != "none":
        reading, writing = os.pipe()
        process = os.fork()
        if process == 0:
            recovery.remove_stale_lock(tmp_path)
            lock.parent.mkdir()
            lock.touch()
            os.write(writing, b".")
            signal.pause()
        os.read(reading, 1)
    if other == "killed":
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
    assert recovery.remove_stale_lock(tmp_path) is (other == "killed")
    assert lock.exists() is (other == "alive")
    if other == "alive":
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
