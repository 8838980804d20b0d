"""The same run, the same digest: alone, in the DAG, with and without the worker, on more cores, killed and resumed.

Real processes and real signals, on runs of edition demo. Steps and epochs are counted by a wrapper that the processes
are started with; nothing else about them differs from `dualgrad train`.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest
from oracles.lab import MLP, Lab, run_of, stage, vectors
from workflows import command, copy_workflow, environment, snakemake

from dualgrad.records import read_record
from dualgrad.training import checkpoints
from dualgrad.training import trainer as training

ROOT = Path(__file__).resolve().parents[1]
# One run by itself; one that starts from another's checkpoint; one with two stages; two that begin as it does.
ALONE, PREP, SWEEP = "B3/renorm_lam0.2_eta0.4_seed0", "Ta-prep-O/seed0", "Ta1-1/seed0"
STAIRCASE, LONG, QUENCH = "T1-spinodal/seed0", "T13/seed0", "T1a/seed0"
EPOCHS = 50, 90  # of the staircase
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")

# Trains a run as `dualgrad train` does, but keeps its state as often as told, dies in mid-epoch after so many steps,
# and writes down the epochs that it has finished: SECONDS FILE STEP ARGUMENTS...
WRAPPER = """
import os, signal, sys
from functools import partial
from dualgrad.training import session
from dualgrad.training import trainer as run

seconds, log, last = float(sys.argv[1]), open(sys.argv[2], "a"), int(sys.argv[3])
plain, step, done, within = run.Context, session.Session.step, 0, 0

def context(**settings):
    report = settings.pop("report")
    def note(epoch, total, error):
        global within
        within = 0
        print(epoch, file=log, flush=True)
        report(epoch, total, error)
    return plain(**settings, report=note, resume_seconds=seconds)

def counted(self, *arguments, **settings):
    global done, within
    done, within = done + 1, within + 1
    if 0 < last <= done and within > 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return step(self, *arguments, **settings)

run.Context, session.Session.step = context, counted
from dualgrad.cli import main
sys.exit(main(["train", *sys.argv[4:]]))
"""


def train(folder: Path, *names: str, more: Mapping[str, str] | None = None) -> list[dict]:
    """Train runs by `dualgrad train` in a process of their own; return their records."""
    words = [sys.executable, "-m", "dualgrad.cli", "train", *names, "--root", str(folder)]
    done = subprocess.run(words, env=environment(more), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [record_of(folder, name) for name in names]


def record_of(folder: Path, name: str) -> dict:
    return read_record(folder / "results" / "demo" / "runs" / f"{name}.json", edition="demo", name=name)


def resume_file(folder: Path, name: str) -> Path:
    path = folder / "results" / "demo" / "runs" / f"{name}.json"
    return path.with_name(f".{path.name}.resume")


def wrapped(folder: Path, name: str, *, seconds: float, dies_at: int = 0) -> subprocess.Popen:
    """Start the wrapper; its list of epochs is `epochs.txt`."""
    words = [sys.executable, "-c", WRAPPER, str(seconds), str(folder / "epochs.txt"), str(dies_at)]
    return subprocess.Popen(
        [*words, name, "--root", str(folder)],
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def epochs_of(folder: Path) -> list[int]:
    """Epochs finished, in the order in which that happened."""
    path = folder / "epochs.txt"
    return [int(line) for line in path.read_text().split()] if path.exists() else []


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Records of runs that were trained one after the other, in one process with one thread. Read-only.

    The tests below train each of them in processes of their own.
    """
    folder = copy_workflow(tmp_path_factory.mktemp("alone"))
    train(folder, ALONE, PREP, SWEEP, LONG, QUENCH, STAIRCASE, more=dict.fromkeys(THREADS, "1"))
    return folder


# --------------------------------------------------------------------------------------------------- how it is run


def test_in_the_workflow_without_worker(alone: Path, tmp_path: Path) -> None:
    """Each in a process of its own, on one core; with the worker, on two: below."""
    folder = copy_workflow(tmp_path)
    done = snakemake(folder, f"results/demo/runs/{SWEEP}.json", "--cores", "1", "--no-hooks")
    assert done.returncode == 0, done.stdout
    check_records(folder, alone, PREP, SWEEP)  # the first for its checkpoint


def check_records(folder: Path, alone: Path, *names: str) -> None:
    for name in names:
        assert record_of(folder, name)["digest"] == record_of(alone, name)["digest"]
    assert not list(folder.glob("results/demo/runs/*/.*")), "no temporary file is left"


def test_with_another_environment_around(alone: Path, tmp_path: Path) -> None:
    """Training threads are a setting; what the environment says about threads is not.

    And Python's hash seed is no matter, on which Td2's published seeds depended.
    """
    folder = copy_workflow(tmp_path)
    (record,) = train(folder, ALONE, more=dict.fromkeys(THREADS, "4") | {"PYTHONHASHSEED": "7"})
    assert record["digest"] == record_of(alone, ALONE)["digest"]


# --------------------------------------------------------------------------------------------------- shared streams


def test_one_training_in_three_experiments(alone: Path) -> None:
    """T1a, T13 and T1-spinodal begin with one training; T13 and the staircase go on together for ten epochs more."""
    long, quench, staircase = (record_of(alone, name) for name in (LONG, QUENCH, STAIRCASE))

    def errors(record: dict, stage: str, epochs: int) -> list[tuple]:
        columns = record["trajectory"]["evaluations"]
        rows = zip(columns["stage"], columns["lambda"], columns["epoch"], columns["test_error"], strict=True)
        return [row[1:] for row in rows if row[0] == stage and row[2] <= epochs]

    assert errors(long, "init", 50) == errors(quench, "init", 50) == errors(staircase, "init", 50) != []
    assert errors(long, "observe", 60) == errors(staircase, "sweep", 60)
    assert len(errors(long, "observe", 60)) == 10
    assert errors(long, "observe", 60) != errors(quench, "observe", 60)


# --------------------------------------------------------------------------------------------------- kills


def test_stopped_killed_and_stopped_again(alone: Path, tmp_path: Path) -> None:
    """SIGTERM keeps the state, in either stage; SIGKILL between two steps loses what came after it was kept last."""
    folder = copy_workflow(tmp_path)
    stop(folder, 40)
    # From what was stopped, on to where it is killed.
    process = wrapped(folder, STAIRCASE, seconds=0.0, dies_at=80)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == -signal.SIGKILL, errors
    check_resume_file(resume_file(folder, STAIRCASE), record_of(alone, STAIRCASE)["spec"])
    # From what was killed, on to where it is stopped; and from there to the end.
    stop(folder, epochs_of(folder)[-1] + 20)
    process = wrapped(folder, STAIRCASE, seconds=60.0)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    assert epochs_of(folder) == list(range(1, sum(EPOCHS) + 1)), "none twice"
    assert record_of(folder, STAIRCASE)["digest"] == record_of(alone, STAIRCASE)["digest"]
    assert not resume_file(folder, STAIRCASE).exists()


def stop(folder: Path, wanted: int) -> None:
    """Train the staircase, and ask it to stop after so many epochs: status 143, and its state is kept."""
    process = wrapped(folder, STAIRCASE, seconds=60.0)
    deadline = time.monotonic() + 200
    while not epochs_of(folder) or epochs_of(folder)[-1] < wanted:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    process.terminate()
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 143, errors
    place = rf"in (the training, after )?epoch \d+ of {sum(EPOCHS)}(, after step \d+)?"
    said = rf"{STAIRCASE}: stopped {place}; run the same target"
    assert re.search(said, errors), errors
    state = checkpoints.load_with_checksum(resume_file(folder, STAIRCASE))["progress"]
    done = state["stage_epoch"] + (EPOCHS[0] if state["stage"] else 0)
    assert done == epochs_of(folder)[-1] >= wanted
    assert not (folder / "results" / "demo" / "runs" / f"{STAIRCASE}.json").exists()


def check_resume_file(path: Path, spec: Mapping[str, object]) -> None:
    """It has a checksum and is read with weights_only: what a killed job left behind can run nothing. It is small."""
    state = checkpoints.load_with_checksum(path)
    assert set(state) == {"run", "surroundings", "progress", "session", "epoch"}
    kept = json.loads(state["run"])
    prepared = kept.pop("prepared")  # what it was trained on, and how that is read
    assert re.fullmatch("[0-9a-f]{64}", prepared["content"]) and {"classes"} < set(prepared)
    assert kept == {key: spec[key] for key in kept}
    assert set(spec) - set(kept) <= {"data", "edition", "thresholds"}  # what training does not follow
    assert path.stat().st_size < 1 << 20


def test_a_stopped_workflow_goes_on_where_its_jobs_were(alone: Path, tmp_path: Path) -> None:
    """Through the worker, by Ctrl-C: jobs keep their last epoch, and the next workflow continues them."""
    folder = copy_workflow(tmp_path)
    targets = [f"results/demo/runs/{name}.json" for name in (ALONE, SWEEP, STAIRCASE)]
    running = subprocess.Popen(
        command(*targets, "--cores", "2"),
        cwd=folder,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    log = folder / "logs" / "demo" / "runs" / f"{STAIRCASE}.log"
    deadline = time.monotonic() + 120
    while not log.exists():  # the job has begun
        assert running.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    time.sleep(1.0)
    os.killpg(running.pid, signal.SIGINT)  # as a terminal does it: to Snakemake and to the job's client
    running.wait(timeout=120)
    if not all((folder / target).exists() for target in targets):  # not too late for the signal
        assert running.returncode != 0
        if resume_file(folder, STAIRCASE).exists():  # nor too early
            assert checkpoints.load_with_checksum(resume_file(folder, STAIRCASE))["progress"]["steps"] > 0
    done = snakemake(folder, *targets, "--cores", "2")
    assert done.returncode == 0, done.stdout
    check_records(folder, alone, ALONE, PREP, SWEEP, STAIRCASE)


# --------------------------------------------------------------------------------------------------- resume files


def test_resume_files_are_written_once_a_minute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An epoch of 7 seconds by the clock: the state is kept after 63, 126, ... seconds, and not in between."""
    lab = Lab(tmp_path, monkeypatch)
    task = lab.add(vectors())
    run = run_of(task, MLP, [stage(segments=[(0.4, 40)])])
    whole, _ = lab.train(run)
    now, saved = 0.0, []
    monkeypatch.setattr(training.time, "perf_counter", lambda: now)
    keep = checkpoints.save_with_checksum
    monkeypatch.setattr(checkpoints, "save_with_checksum", lambda *given: (saved.append(now), keep(*given)))

    def epoch(done: int, total: int, error: float | None) -> None:
        nonlocal now
        now += 7.0

    record, _ = lab.train(run, resume=tmp_path / "resume", report=epoch)
    assert saved == [63.0, 126.0, 189.0, 252.0]
    assert record["digest"] == whole["digest"]

    # A state that takes 5 seconds to be written is written every 100, not every minute.
    def slowly(*given: object) -> None:
        nonlocal now
        saved.append(now)
        keep(*given)
        now += 5.0

    now, saved = 0.0, []
    monkeypatch.setattr(checkpoints, "save_with_checksum", slowly)
    lab.train(run, resume=tmp_path / "slowly", report=epoch)
    assert saved == [63.0, 173.0, 283.0]
