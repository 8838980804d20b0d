"""Full disks, folders that cannot be written to, wrong clocks, two workflows at once, short memory, lost training."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dualgrad.cli import main
from dualgrad.jobs import recovery
from dualgrad.records import read_record
from dualgrad.tables.read import read_tables
from dualgrad.training import checkpoints
from dualgrad.training import trainer as run

from .pipeline import EDITION, FIGURE, SAVING, STARTING, Pipeline, copy_workflow

RUN = "S1/lam0.42_seed0"
TARGET = f"results/{EDITION}/runs/{RUN}.json"


@pytest.fixture
def folder(unhurt: Pipeline, tmp_path: Path) -> Path:
    """A copy of the workflow with data and without results."""
    copy_workflow(tmp_path / "workflow")
    shutil.copytree(unhurt.folder / "data", tmp_path / "workflow" / "data")
    return tmp_path / "workflow"


@pytest.fixture
def small_disk(folder: Path) -> Iterator[Path]:
    """A disk of 64 kB below the workflow's folder."""
    disk = folder / "disk"
    disk.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)]
    if os.getuid() != 0 or subprocess.run(words, capture_output=True, check=False).returncode:
        pytest.skip("only root can mount a disk")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def dualgrad(folder: Path, *words: str) -> int:
    """Run a command in this process for the workflow in a folder."""
    return main([*words, "--root", str(folder), "--edition", EDITION])


def refused(capsys: pytest.CaptureFixture[str]) -> str:
    """The one line that a command has said about why it failed."""
    (line,) = capsys.readouterr().err.splitlines()
    return line


# ------------------------------------------------------------------------------------------ disks


def test_a_full_disk(
    unhurt: Pipeline, folder: Path, small_disk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    on_disk = ["--config", "results_dir=disk"]
    filler = small_disk / "filler"
    filler.write_bytes(bytes(1 << 16))
    assert dualgrad(folder, "train", RUN, *on_disk) == 1
    line = refused(capsys)
    assert f"disk/{EDITION}/runs/{RUN}.json: No space left on device: make room, then run" in line
    assert [path for path in small_disk.rglob("*") if path.is_file()] == [filler]
    filler.unlink()
    assert dualgrad(folder, "train", RUN, *on_disk) == 0
    record = read_record(small_disk / EDITION / "runs" / f"{RUN}.json")
    assert record["digest"] == unhurt.digests()[RUN]
    filler.write_bytes(bytes(50_000))
    assert dualgrad(folder, "tables", "S1", *on_disk) == 1
    assert "No space left on device: make room" in refused(capsys)
    assert not list(small_disk.rglob("*.parquet")) and not list(small_disk.rglob(".*"))


def test_a_state_that_cannot_be_kept_costs_nothing_but_itself(
    folder: Path, unhurt: Pipeline, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(path: Path, content: dict) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr(checkpoints, "save_with_checksum", full)
    monkeypatch.setattr(run.Context, "resume_seconds", 0.0)
    plain = run.Context.__init__
    monkeypatch.setattr(
        run.Context, "__init__", lambda self, *a, **k: plain(self, *a, **k, resume_seconds=0.0)
    )
    assert dualgrad(folder, "train", RUN) == 0
    assert "the state to resume from cannot be kept: " in capsys.readouterr().err
    assert read_record(folder / TARGET)["digest"] == unhurt.digests()[RUN]


def test_training_is_not_lost_to_a_disk_that_fills_at_its_end(
    folder: Path, unhurt: Pipeline, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The state to resume from goes when the record is safe, not before."""
    from dualgrad import records

    plain, write = run.Context.__init__, records.write_record
    monkeypatch.setattr(
        run.Context, "__init__", lambda self, *a, **k: plain(self, *a, **k, resume_seconds=0.0)
    )

    def full(path: Path, record: dict) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr(records, "write_record", full)
    assert dualgrad(folder, "train", RUN) == 1
    assert "No space left on device" in capsys.readouterr().err
    state = (folder / TARGET).with_name(f".{Path(TARGET).name}.resume")
    done = checkpoints.load_with_checksum(state)["progress"]["stage_epoch"]
    monkeypatch.setattr(records, "write_record", write)
    epochs = []
    monkeypatch.setattr(run.Trainer, "run_epoch", lambda *given: epochs.append(given))
    assert dualgrad(folder, "train", RUN) == 0
    assert done == unhurt_epochs(unhurt) and epochs == [], "nothing was trained a second time"
    assert not state.exists()
    assert read_record(folder / TARGET)["digest"] == unhurt.digests()[RUN]


def unhurt_epochs(unhurt: Pipeline) -> int:
    """Epochs of the run that these tests train."""
    return read_record(unhurt.folder / TARGET)["outcome"]["epochs"]


def test_a_folder_that_cannot_be_written_to(
    folder: Path, small_disk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    assert dualgrad(folder, "train", RUN, "--config", "results_dir=disk") == 1
    line = refused(capsys)
    assert "disk/" in line and "Read-only file system: the settings results_dir and data_dir" in line


# ------------------------------------------------------------------------------------------ clocks


def test_times_from_the_future_come_back_in_their_order(tmp_path: Path) -> None:
    now = 1_000_000.0
    times = {"old": -5.0, "now": 0.0, "soon": 0.5, "c": 9e5, "a": 3600.0, "b": 3600.5, "twin": 3600.0}
    for name, ahead in times.items():
        path = tmp_path / name
        path.touch()
        os.utime(path, (now + ahead, now + ahead))
    assert recovery.clamp_future_mtimes([tmp_path], now) == 4
    after = {name: (tmp_path / name).stat().st_mtime for name in times}
    assert {name: after[name] - now for name in ("old", "now", "soon")} == {
        "old": -5.0,
        "now": 0.0,
        "soon": 0.5,
    }
    assert now - 0.1 < after["a"] == after["twin"] < after["b"] < after["c"] <= now
    assert recovery.clamp_future_mtimes([tmp_path], now) == 0


def test_a_clock_that_was_ahead_and_one_that_is_behind(unhurt: Pipeline, tmp_path: Path) -> None:
    """Snakemake alone refuses tables that are older than records from the future, until that future has come."""
    folder = tmp_path / "pipeline"
    shutil.copytree(unhurt.folder, folder, symlinks=True)
    pipeline = Pipeline(folder)
    ahead = time.time() + 7200
    for path in folder.glob(f"results/{EDITION}/runs/*/*.json"):
        os.utime(path, (ahead, ahead))
    os.utime(folder / TARGET, (1, 1))
    table = f"results/{EDITION}/tables/parts/S1/runs.parquet"
    (folder / table).unlink()
    status, messages = pipeline.run(table)
    assert status == 0, messages
    assert "files were dated in the future" in messages
    assert pipeline.digests() == unhurt.digests()
    status, messages = pipeline.run("--dry-run", FIGURE, table)
    assert "Nothing to be done" in messages


# ------------------------------------------------------------------------------------------ others


def test_two_workflows_at_once(folder: Path, unhurt: Pipeline) -> None:
    pipeline = Pipeline(folder)
    first = pipeline.start(TARGET)
    while not list((folder / ".snakemake").glob("locks/*")):
        assert first.poll() is None
        time.sleep(0.02)
    first.send_signal(signal.SIGSTOP)  # or it might be done before the second has started
    try:
        status, messages = pipeline.run(TARGET, log="second.txt")
    finally:
        first.send_signal(signal.SIGCONT)
    assert status != 0
    assert "Directory cannot be locked" in messages
    assert "lock of a workflow that was killed" not in messages
    assert first.wait(timeout=120) == 0
    assert pipeline.digests()[RUN] == unhurt.digests()[RUN]
    assert not pipeline.wait_for_silence(20) and not pipeline.leftovers()


@pytest.mark.parametrize(
    "words", [(), ("--mode", "remote", "--no-hooks", "--cores", "1")], ids=["workflow", "submission"]
)
def test_sigterm_at_the_worst_moment_does_not_hang(folder: Path, words: tuple[str, ...]) -> None:
    """Snakemake's handler waits for a lock; here the signal comes while the main thread holds it."""
    hooks = """
        import os, signal
        from snakemake.scheduling.job_scheduler import JobScheduler
        plain = JobScheduler._finish_jobs
        def finish(self):
            if self._lock.locked() and self._user_kill is None:
                os.kill(os.getpid(), signal.SIGTERM)
            return plain(self)
        JobScheduler._finish_jobs = finish
        from dualgrad.jobs.launcher import main
        main()
    """
    command = [sys.executable, "-c", textwrap.dedent(hooks), TARGET, *words, "--config", f"edition={EDITION}"]
    done = subprocess.run(
        command,
        cwd=folder,
        env=Pipeline(folder).environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode != 0
    assert "Will exit after finishing currently running jobs" in done.stdout


def test_short_memory_is_said_in_a_line(folder: Path) -> None:
    code = f"""
        import resource, sys, torch
        from dualgrad.cli import main
        from dualgrad.training import trainer as run
        size = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
        def epoch(*given):
            resource.setrlimit(resource.RLIMIT_AS, (size, size))
            torch.empty(1 << 34)
        run.Trainer.run_epoch = epoch
        sys.exit(main(["train", "{RUN}", "--edition", "{EDITION}"]))
    """
    lines = "\n".join(line.strip() if "    " * 3 not in line else line[8:] for line in code.splitlines())
    done = subprocess.run(
        [sys.executable, "-c", lines], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"dualgrad: {RUN}: not enough memory (") and line.endswith("with fewer --cores")


def test_a_run_that_diverges_is_a_row_of_the_tables(folder: Path) -> None:
    """Not a crash, and no number that is none: status dead, all the way (the training itself: test_training.py)."""
    edition = folder / "config" / "editions" / f"{EDITION}.yaml"
    models = "".join(f"  {name}: {{lr_factor: 1.0e+299}}\n" for name in ("resnet18_own", "resnet18_tv"))
    edition.write_text(f"{edition.read_text()}models:\n{models}")
    for name in (RUN, SAVING, STARTING):
        assert dualgrad(folder, "train", name) == 0
    assert dualgrad(folder, "tables", "S1", "Ta1-1") == 0
    for name in ("S1", "Ta1-1"):
        rows = read_tables(folder / "results" / EDITION, name, "runs", ["status", "test_error"])
        assert rows["status"].tolist() == ["dead"]
        assert rows["test_error"].between(0, 1).all()
