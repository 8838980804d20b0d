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
from workflows import copy_workflow, environment, snakemake

from dualgrad.records import read_record
from dualgrad.training import checkpoints
from dualgrad.training import trainer as training

ROOT = Path(__file__).resolve().parents[1]
# One run by itself; one that starts from another's checkpoint; a long one with two stages.
ALONE, PREP, SWEEP, LONG = "B3/renorm_lam0.2_eta0.4_seed0", "Ta-prep-O/seed0", "Ta1-1/seed0", "T13/seed0"

# Trains a run as `dualgrad train` does, but keeps its state after every epoch, dies where told, and writes down the
# epochs that it has finished: SECONDS FILE STEP ARGUMENTS...
WRAPPER = """
import os, signal, sys
from functools import partial
from dualgrad.training import session
from dualgrad.training import trainer as run

seconds, log, last = float(sys.argv[1]), open(sys.argv[2], "a"), int(sys.argv[3])
plain, step, done = run.Context, session.Session.step, 0

def context(**settings):
    report = settings.pop("report")
    def note(epoch, total, error):
        print(epoch, file=log, flush=True)
        report(epoch, total, error)
    return plain(**settings, report=note, resume_seconds=seconds)

def counted(self, *arguments, **settings):
    global done
    done += 1
    if done == last:
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


def wrapped(folder: Path, name: str, *, seconds: float, dies_at: int = -1) -> subprocess.Popen:
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
    """Records of runs that were trained one by one, each in a process of its own. Read-only."""
    folder = copy_workflow(tmp_path_factory.mktemp("alone"))
    for name in (ALONE, PREP, SWEEP, LONG):
        train(folder, name)
    return folder


# --------------------------------------------------------------------------------------------------- how it is run


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(["--cores", "2"], id="worker, two cores"),
        pytest.param(["--cores", "1", "--no-hooks"], id="no worker, one core"),
    ],
)
def test_in_the_workflow(alone: Path, tmp_path: Path, words: list[str]) -> None:
    folder = copy_workflow(tmp_path)
    targets = [f"results/demo/runs/{name}.json" for name in (ALONE, SWEEP)]
    done = snakemake(folder, *targets, *words)
    assert done.returncode == 0, done.stdout
    for name in (ALONE, PREP, SWEEP):  # Ta-prep-O with it, for its checkpoint
        assert record_of(folder, name)["digest"] == record_of(alone, name)["digest"]
    assert not list(folder.glob("results/demo/runs/*/.*")), "no temporary file is left"


@pytest.mark.parametrize(("threads", "more"), [("1", {}), ("4", {"PYTHONHASHSEED": "7"})])
def test_with_another_environment_around(
    alone: Path, tmp_path: Path, threads: str, more: dict[str, str]
) -> None:
    """Training threads are a setting; what the environment says about threads is not.

    And Python's hash seed is no matter, on which Td2's published seeds depended.
    """
    folder = copy_workflow(tmp_path)
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    (record,) = train(folder, ALONE, more=dict.fromkeys(names, threads) | more)
    assert record["digest"] == record_of(alone, ALONE)["digest"]


# --------------------------------------------------------------------------------------------------- shared streams


def test_one_training_in_three_experiments(alone: Path, tmp_path: Path) -> None:
    """T1a, T13 and T1-spinodal begin with one training; T13 and the staircase go on together for ten epochs more."""
    folder = copy_workflow(tmp_path)
    long = record_of(alone, LONG)
    quench, staircase = train(folder, "T1a/seed0", "T1-spinodal/seed0")

    def errors(record: dict, stage: str, epochs: int) -> list[tuple]:
        columns = record["trajectory"]["evaluations"]
        rows = zip(columns["stage"], columns["lambda"], columns["epoch"], columns["test_error"], strict=True)
        return [row[1:] for row in rows if row[0] == stage and row[2] <= epochs]

    assert errors(long, "init", 50) == errors(quench, "init", 50) == errors(staircase, "init", 50) != []
    assert errors(long, "observe", 60) == errors(staircase, "sweep", 60)
    assert len(errors(long, "observe", 60)) == 10
    assert errors(long, "observe", 60) != errors(quench, "observe", 60)


# --------------------------------------------------------------------------------------------------- kills


def test_killed_in_mid_epoch_again_and_again(alone: Path, tmp_path: Path) -> None:
    """SIGKILL between two steps of an epoch: what was done since the state was kept is lost, nothing else."""
    folder, name, every = copy_workflow(tmp_path), LONG, 450
    steps = record_of(alone, name)["outcome"]["steps"]
    kills = 0
    while True:
        # An epoch has four steps, so this falls inside of one.
        process = wrapped(folder, name, seconds=0.0, dies_at=every - 1)
        _, errors = process.communicate(timeout=300)
        if process.returncode == 0:
            break
        assert process.returncode == -signal.SIGKILL, errors
        assert resume_file(folder, name).exists()
        kills += 1
    assert kills >= steps // every >= 2
    assert record_of(folder, name)["digest"] == record_of(alone, name)["digest"]
    assert not resume_file(folder, name).exists()
    assert epochs_of(folder) == list(range(1, record_of(alone, name)["outcome"]["epochs"] + 1)), "none twice"


def test_sigterm_keeps_the_state_and_the_next_start_continues(alone: Path, tmp_path: Path) -> None:
    """A long run, asked to stop twice: status 143, and the next start goes on where it was."""
    folder = copy_workflow(tmp_path)
    for wanted in (40, 120):
        process = wrapped(folder, LONG, seconds=60.0)
        deadline = time.monotonic() + 200
        while not epochs_of(folder) or epochs_of(folder)[-1] < wanted:
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.02)
        process.terminate()
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 143, errors
        said = rf"{LONG}: stopped in (the training, after )?epoch \d+ of 350(, after step \d+)?; run the same target"
        assert re.search(said, errors), errors
        state = checkpoints.load_with_checksum(resume_file(folder, LONG))["progress"]
        done = state["stage_epoch"] + (50 if state["stage"] else 0)  # the first stage has 50 epochs
        assert done == epochs_of(folder)[-1] >= wanted
        assert not (folder / "results" / "demo" / "runs" / f"{LONG}.json").exists()
    process = wrapped(folder, LONG, seconds=60.0)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    assert epochs_of(folder) == list(range(1, 351))
    assert record_of(folder, LONG)["digest"] == record_of(alone, LONG)["digest"]
    assert not resume_file(folder, LONG).exists()


def test_a_stopped_workflow_goes_on_where_its_job_was(alone: Path, tmp_path: Path) -> None:
    """The same through the worker, by Ctrl-C: the job keeps its last epoch, and the next workflow continues it."""
    folder = copy_workflow(tmp_path)
    target = f"results/demo/runs/{LONG}.json"
    words = [sys.executable, "-c", "from dualgrad.jobs.launcher import main; main()", target]
    running = subprocess.Popen(
        words, cwd=folder, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
    log = folder / "logs" / "demo" / "runs" / f"{LONG}.log"
    deadline = time.monotonic() + 120
    while not log.exists():  # the job has begun
        assert running.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    time.sleep(2.0)
    os.killpg(running.pid, signal.SIGINT)  # as a terminal does it: to Snakemake and to the job's client
    running.wait(timeout=120)
    if not (folder / target).exists():  # not too late for the signal
        assert running.returncode != 0
        if resume_file(folder, LONG).exists():  # nor too early
            assert checkpoints.load_with_checksum(resume_file(folder, LONG))["progress"]["steps"] > 0
    done = snakemake(folder, target)
    assert done.returncode == 0, done.stdout
    assert record_of(folder, LONG)["digest"] == record_of(alone, LONG)["digest"]


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


def test_a_resume_file_holds_no_code_and_is_a_few_kilobytes(alone: Path, tmp_path: Path) -> None:
    """It has a checksum and is read with weights_only: what a killed job left behind can run nothing."""
    folder = copy_workflow(tmp_path)
    process = wrapped(folder, ALONE, seconds=0.0, dies_at=100)
    process.communicate(timeout=120)
    path = resume_file(folder, ALONE)
    state = checkpoints.load_with_checksum(path)
    assert set(state) == {"run", "surroundings", "progress", "session", "epoch"}
    kept, spec = json.loads(state["run"]), record_of(alone, ALONE)["spec"]
    assert kept == {key: spec[key] for key in kept}
    assert set(spec) - set(kept) <= {"data", "edition", "thresholds"}  # what training does not follow
    assert path.stat().st_size < 1 << 20
