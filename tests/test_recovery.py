"""What a start finds of other starts, other machines and other clones, and what it leaves alone."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from workflows import copy_workflow, snakemake

from dualgrad import files
from dualgrad.jobs import recovery
from dualgrad.jobs.beside import other_code
from dualgrad.jobs.trained_before import changed_settings
from dualgrad.project import load_project
from dualgrad.release.errors import ArchiveError
from dualgrad.release.manifest import Entry, verify

ROOT = Path(__file__).resolve().parents[1]

# ---------------------------------------------------------------------------------------------- copied results


def results_of(folder: Path, runs: dict[str, list[str]]) -> SimpleNamespace:
    """A census of runs and what each needs, with records below the folder."""
    saved = {need for needs in runs.values() for need in needs}
    census = {name: {"needs": needs, "saves": name in saved} for name, needs in runs.items()}
    for name, needs in runs.items():
        record = folder / "runs" / f"{name}.json"
        record.parent.mkdir(parents=True, exist_ok=True)
        provenance = {"needs": {need: f"digest of {need}" for need in needs}}
        record.write_text(json.dumps({"digest": f"digest of {name}", "provenance": provenance}))
        if name in saved:
            (folder / "checkpoints" / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / "checkpoints" / f"{name}.pt").touch()
    return SimpleNamespace(runs=census)


def test_copied_results_are_put_into_the_order_of_their_making(tmp_path: Path) -> None:
    census = results_of(tmp_path, {"E/last": ["E/middle"], "E/middle": ["E/first"], "E/first": []})
    for age, name in enumerate(("E/last", "E/middle", "E/first")):  # the first one is the youngest
        for path in (tmp_path / f"runs/{name}.json", tmp_path / f"checkpoints/{name}.pt"):
            if path.exists():
                os.utime(path, (1000 + age, 1000 + age))
    assert recovery.settle_copies(census, tmp_path) == 2
    times = [(tmp_path / f"runs/E/{name}.json").stat().st_mtime for name in ("first", "middle", "last")]
    assert times == sorted(times)
    assert recovery.settle_copies(census, tmp_path) == 0


def test_a_record_made_from_another_one_stays_out_of_date(tmp_path: Path) -> None:
    census = results_of(tmp_path, {"E/first": [], "E/second": ["E/first"]})
    first, second = (tmp_path / f"runs/E/{name}.json" for name in ("first", "second"))
    first.write_text(json.dumps({"digest": "another digest"}))
    os.utime(second, (1000, 1000))
    assert recovery.settle_copies(census, tmp_path) == 0
    assert second.stat().st_mtime == 1000
    second.write_text("{damaged")
    os.utime(second, (1000, 1000))
    assert recovery.settle_copies(census, tmp_path) == 0


# ---------------------------------------------------------------------------------------------- other machines


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch):
    """Call something as if on another machine, where locks of this one are not seen."""

    def call(function, *arguments):
        with monkeypatch.context() as other:
            other.setattr(files, "host", lambda: "deadbeef")
            other.setattr("platform.node", lambda: "node7")
            return function(*arguments)

    return call


def test_what_another_machine_is_writing_is_left_alone(tmp_path: Path, elsewhere) -> None:
    def leave_one(name: str) -> Path:
        with pytest.raises(KeyboardInterrupt), files.replacing(tmp_path / name) as temporary:
            kept = temporary.with_name(f"{temporary.name}x")
            kept.write_text("half")
            raise KeyboardInterrupt
        return kept.rename(temporary)

    theirs, ours = elsewhere(leave_one, "theirs"), leave_one("ours")
    assert files.remove_stale_files(tmp_path) == [ours]
    assert theirs.exists()
    old = time.time() - 2 * 24 * 3600
    os.utime(theirs, (old, old))
    assert files.remove_stale_files(tmp_path) == [theirs]


def test_the_lock_of_a_workflow_on_another_machine_is_left_alone(tmp_path: Path, elsewhere) -> None:
    lock = tmp_path / "locks" / "0.input.lock"
    assert not elsewhere(recovery.remove_stale_lock, tmp_path)
    lock.parent.mkdir()
    lock.touch()
    assert not recovery.remove_stale_lock(tmp_path) and lock.exists()
    assert list(recovery.workflows_elsewhere(tmp_path).values()) == ["node7"]
    for path in recovery.workflows_elsewhere(tmp_path):
        path.unlink()
    recovery.release_lock(tmp_path)
    assert recovery.remove_stale_lock(tmp_path) and not lock.exists()
    recovery.release_lock(tmp_path)
    assert not list(tmp_path.glob("*.lock")), "a workflow that ends leaves no file"


# ---------------------------------------------------------------------------------------------- other starts


@pytest.fixture
def beside(tmp_path: Path):
    """A copy of the workflow in which another one runs, this process; its lock file, and a target that is there."""
    folder = copy_workflow(tmp_path)
    for name in ("digits.npz", "digits.json"):
        (folder / "data" / "digits").mkdir(parents=True, exist_ok=True)
        (folder / "data" / "digits" / name).touch()
    lock = folder / ".snakemake" / "locks" / "0.output.lock"
    recovery.remove_stale_lock(folder / ".snakemake")
    lock.parent.mkdir()
    lock.write_text("results/another.json\n")
    yield folder, lock
    recovery.release_lock(folder / ".snakemake")


def test_a_workflow_that_ends_leaves_the_lock_of_one_that_runs(beside) -> None:
    folder, lock = beside
    for words in (["data/digits/digits.npz"], ["data/digits/digits.npz", "--forcerun", "data_set"]):
        done = snakemake(folder, *words, "--cores", "1")
        assert done.returncode == 0, done.stdout
        assert list(lock.parent.iterdir()) == [lock]
    assert snakemake(folder, "--unlock").returncode == 0
    assert not lock.exists()


def test_only_what_runs_jobs_recovers_and_nothing_keeps_the_lock(tmp_path: Path) -> None:
    folder, target = copy_workflow(tmp_path), "data/digits/digits.npz"
    runs = folder / "results" / "demo" / "runs" / "A"
    record, state = runs / "lam0.35_eta0.4_seed0.json", runs / ".lam0.35_eta0.4_seed0.json.resume"
    future = time.time() + 1e6
    for path in (folder / target, folder / "data" / "digits" / "digits.json", state, record):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    os.utime(record, (future, future))
    (folder / "dry").mkdir()
    (folder / "dry" / "config.yaml").write_text("dry-run: true\n")
    for words in (["-np"], ["--workflow-profile", "dry"], ["--summary"], ["--list-rules"], ["--unlock"], []):
        assert state.exists() and record.stat().st_mtime == pytest.approx(future), words
        done = snakemake(folder, target, "--cores", "1", *words)
        assert done.returncode == 0, done.stdout
        assert not list((folder / ".snakemake").glob("*.lock")), words
    assert not state.exists() and record.stat().st_mtime <= time.time()


def second_start(folder: Path) -> threading.Thread:
    """Another start in the folder, which has begun."""
    thread = threading.Thread(target=recovery.remove_stale_lock, args=(folder,))
    thread.start()
    thread.join(0.3)
    return thread


def is_held(path: Path) -> bool:
    """Whether somebody holds a lock on a file."""
    with path.open() as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def test_a_start_waits_for_one_that_is_removing_locks(tmp_path: Path) -> None:
    path = tmp_path / f"dualgrad.{files.host()}.lock"
    with path.open("w") as first:
        fcntl.flock(first, fcntl.LOCK_EX)
        second = second_start(tmp_path)
        fcntl.flock(first, fcntl.LOCK_SH)
        second.join(5)
    assert is_held(path), "by the second one: a third would take its locks for a dead one's"
    recovery.release_lock(tmp_path)
    assert not path.exists()


def test_a_lock_that_its_last_holder_removes_is_taken_anew(tmp_path: Path) -> None:
    path = tmp_path / f"dualgrad.{files.host()}.lock"
    with path.open("w") as first:
        fcntl.flock(first, fcntl.LOCK_EX)
        second = second_start(tmp_path)
        path.unlink()
    second.join(5)
    assert path.exists() and is_held(path)
    recovery.release_lock(tmp_path)


# ---------------------------------------------------------------------------------------------- other clones


@pytest.mark.surroundings
def test_the_code_of_another_clone_is_named(tmp_path: Path) -> None:
    ours, theirs = tmp_path / "a" / "src" / "dualgrad", tmp_path / "b" / "src" / "dualgrad"
    for folder in (ours, theirs):
        folder.mkdir(parents=True)
        (folder / "__init__.py").write_text("x = 1\n")
    assert other_code(theirs, theirs) is None and other_code(theirs, ours) is None, "the same code"
    assert other_code(theirs, tmp_path / "nothing") is None, "a deployed workflow has no package beside it"
    (ours / "__init__.py").write_text("x = 2\n")
    text = other_code(theirs, ours)
    assert text is not None and str(theirs) in text and str(ours) in text and "make clean setup" in text


@pytest.mark.surroundings
def test_make_notices_an_environment_of_another_folder(tmp_path: Path) -> None:
    clone = tmp_path / "it's a $(copy)"
    (clone / ".venv" / "bin").mkdir(parents=True)
    shutil.copy(ROOT / "Makefile", clone)
    for name in ("envs/requirements.txt", "pyproject.toml", "src/dualgrad/jobs/launcher.py"):
        (clone / name).parent.mkdir(parents=True, exist_ok=True)
        (clone / name).touch()
    python = clone / ".venv" / "bin" / "python"
    ready = clone / ".venv" / "ready"
    for prints, status in ((str(tmp_path / "another"), 2), (str(clone), 0)):
        python.write_text(f"#!/bin/sh\ncat <<'END'\n{prints}\nEND\n")
        python.chmod(0o755)
        ready.touch()
        done = subprocess.run(["make", "setup"], cwd=clone, capture_output=True, text=True, check=False)
        assert done.returncode == status, done.stderr
        assert ("make clean setup" in done.stderr) == bool(status)


@pytest.mark.surroundings
@pytest.mark.parametrize("version", [(3, 10, 14), (3, 14, 0)])
def test_make_names_the_pythons_that_the_pins_are_for(tmp_path: Path, version: tuple[int, ...]) -> None:
    """Before anything is made: without wheels, an installer speaks of some package that nobody has asked for."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    for name in ("envs/requirements.txt", "pyproject.toml", "src/dualgrad/jobs/launcher.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    python = tmp_path / "python"
    code = f"import sys; sys.version_info = {version}; exec(sys.argv[1])"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" -c "{code}" "$2"\n')
    python.chmod(0o755)
    words = ["make", "setup", f"PYTHON={python}"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and f"{python} is not Python 3.11, 3.12 or 3.13" in done.stderr
    assert not (tmp_path / ".venv").exists()


# ---------------------------------------------------------------------------------------------- ends of lines


@pytest.mark.surroundings
def test_ends_of_lines_are_fixed_for_every_clone() -> None:
    checked = subprocess.run(
        [
            "git",
            "check-attr",
            "eol",
            "--",
            "src/dualgrad/jobs/bin/dualgrad",
            "Snakefile",
            "config/config.yaml",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if checked.returncode:
        pytest.skip("no git, or no clone")
    assert all(line.endswith(": eol: lf") for line in checked.stdout.splitlines())


@pytest.mark.surroundings
def test_an_archive_with_other_line_ends_is_called_so(tmp_path: Path) -> None:
    content = b"a,b\n1,2\n"
    entry = Entry("results/x.csv", len(content), hashlib.sha256(content).hexdigest())
    path = tmp_path / entry.path
    path.parent.mkdir()
    path.write_bytes(content.replace(b"\n", b"\r\n"))
    with pytest.raises(ArchiveError, match=r"line ends were changed to CRLF(.|\n)*core.autocrlf=false"):
        verify(tmp_path, {entry.path: entry})
    path.write_bytes(content.replace(b"1", b"3").replace(b"\n", b"\r\n"))
    with pytest.raises(ArchiveError, match="altered") as caught:
        verify(tmp_path, {entry.path: entry})
    assert "CRLF" not in str(caught.value)


# ---------------------------------------------------------------------------------------------- other settings


def test_settings_that_train_nothing_again_are_named(workspace: Path) -> None:
    """One record of each experiment is looked at, and damaged ones are left to whoever needs them."""
    project = load_project(workspace, {"edition": "smoke"})

    def recorded(run: str, **provenance: object) -> None:
        path = project.records / f"{run}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"provenance": provenance}))

    assert changed_settings(project) == []
    first = {name: one["runs"][0] for name, one in project.census.experiments.items() if one["runs"]}
    recorded(first["A"], device="cpu", threads=1)
    recorded(first["B"], device="cpu", threads=4)
    (project.records / f"{first['C']}.json").parent.mkdir()
    (project.records / f"{first['C']}.json").write_text("{damaged")
    (line,) = changed_settings(project)
    assert line.startswith("threads_per_job: runs of 1 of 2 experiments were trained with 4, ")
    two = load_project(workspace, {"edition": "smoke", "threads_per_job": 2})
    assert [line.split(",")[0][-6:] for line in changed_settings(two)] == ["with 1", "with 4"]
    recorded(first["B"], device="NVIDIA H100", threads=4)
    (line,) = changed_settings(project)
    assert line.startswith("device: ") and "on 'NVIDIA H100', device is now cpu" in line, "smoke is a CPU's"
    paper = load_project(workspace, {"edition": "paper"})
    shutil.copytree(project.records, paper.records)
    assert changed_settings(paper) == [], "device: auto is not asked"
    (line,) = changed_settings(load_project(workspace, {"edition": "paper", "device": "cuda"}))
    assert "on 'cpu', device is now cuda" in line
