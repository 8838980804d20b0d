"""Signals: what SIGTERM and Ctrl-C do to a training, in this process and in one of its own."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from dualgrad.cli import main
from dualgrad.jobs import warm_worker
from dualgrad.jobs.stop_signals import StopSignals
from dualgrad.progress import RunProgress, duration
from dualgrad.records import read_record

ROOT = Path(__file__).resolve().parents[1]
RUN = "B3/renorm_lam0.2_eta0.4_seed0"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The setting that names a folder with the data of the run, made once for all of these tests."""
    setting = f"data_dir={tmp_path_factory.mktemp('data')}"
    assert main(["data", "digits", "--root", str(ROOT), "--config", setting]) == 0
    return setting


@pytest.fixture
def signalled(monkeypatch: pytest.MonkeyPatch):
    """Send this process a signal in the third step of its next training."""
    from dualgrad.training.session import Session

    plain, wanted = Session.step, {"number": None, "left": 3}

    def step(self, *arguments, **settings):
        if wanted["number"] is not None:
            wanted["left"] -= 1
            if wanted["left"] == 0:
                os.kill(os.getpid(), wanted["number"])
        return plain(self, *arguments, **settings)

    monkeypatch.setattr(Session, "step", step)
    return wanted


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_stop_is_of_its_training_alone(workspace, data, signalled, capfd, number, status):
    """The next training in this process is whole, and signals are handled as before."""
    before = [signal.getsignal(one) for one in (signal.SIGTERM, signal.SIGINT)]
    signalled["number"] = number
    words = ["train", RUN, "--root", str(workspace), "--config", data]
    assert main(words) == status
    errors = capfd.readouterr().err
    assert "stopped in epoch 1 of" in errors and "after step 3; run the same target again" in errors
    assert ("Ctrl-C again" in errors) is (number == signal.SIGINT)
    assert [signal.getsignal(one) for one in (signal.SIGTERM, signal.SIGINT)] == before
    signalled["number"] = None
    assert main(words) == 0
    record = read_record(workspace / "results" / "demo" / "runs" / f"{RUN}.json")
    assert record["outcome"]["status"] == "completed"
    assert not list(workspace.rglob("*.resume"))
    capfd.readouterr()


def test_a_stop_after_the_last_step_is_heard_before_the_next_run(workspace, data, monkeypatch, capfd):
    from dualgrad.training import trainer

    plain, trained = trainer.train, []

    def train(spec, context):
        trained.append(spec["run"])
        found = plain(spec, context)
        os.kill(os.getpid(), signal.SIGTERM)
        return found

    monkeypatch.setattr(trainer, "train", train)
    second = RUN.replace("seed0", "seed1")
    assert main(["train", RUN, second, "--root", str(workspace), "--config", data]) == 143
    assert trained == [RUN.partition("/")[2]]
    assert not (workspace / "results" / "demo" / "runs" / f"{second}.json").exists()
    capfd.readouterr()


def test_weights_that_nobody_starts_from_are_not_promised(workspace, data, capfd):
    words = ["train", RUN, "--checkpoint", str(workspace / "weights.pt"), "--root", str(workspace)]
    assert main([*words, "--config", data]) == 1
    assert f"--checkpoint: no run starts from {RUN}" in capfd.readouterr().err


def test_signals_that_are_ignored_stay_ignored_and_threads_train_too():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with StopSignals() as stop:
            os.kill(os.getpid(), signal.SIGINT)
            assert not stop() and signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
    failed = []

    def work() -> None:
        try:
            with StopSignals() as stop:
                assert not stop()
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert failed == []


def test_the_second_ctrl_c_is_python_s_own(capfd, monkeypatch):
    with pytest.raises(KeyboardInterrupt), StopSignals() as stop:
        monkeypatch.setattr(warm_worker, "heard", bytearray(1))
        os.kill(os.getpid(), signal.SIGINT)
        assert stop() and stop.signal == signal.SIGINT
        assert warm_worker.heard[0], "so the worker knows that the step is being finished"
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(1)  # never slept through
    capfd.readouterr()


# A process that imports all that a training needs, and becomes one of them after the other: NUMBER ARGUMENTS...
ONE_BY_ONE = """
import os, sys, time
from pathlib import Path
from dualgrad.census import load_census
from dualgrad.cli import command
from dualgrad.training.session import Session

plain = Session.step

def step(self, *arguments, **settings):
    print("step", flush=True)
    time.sleep(0.2)
    return plain(self, *arguments, **settings)

Session.step = step
load_census(Path(sys.argv[3]))
for number in range(int(sys.argv[1])):
    child = os.fork()
    if child == 0:
        os.dup2(os.open(f"errors{number}.txt", os.O_CREAT | os.O_WRONLY), 2)
        print(os.getpid(), flush=True)
        break
    print("ended", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
else:
    sys.exit()
sys.argv = ["dualgrad", "train", sys.argv[2], "--root", *sys.argv[3:]]
command()  # and to the end of this interpreter, which says what it ignores
"""


def test_any_number_of_ctrl_c_ends_without_a_traceback(workspace, data):
    """In processes of their own, one after the other, wherever those are by then."""
    presses = (1, 2, 5)
    words = [str(len(presses)), RUN, str(workspace), "--config", data]
    process = subprocess.Popen(
        [sys.executable, "-c", ONE_BY_ONE, *words], stdout=subprocess.PIPE, text=True, cwd=workspace
    )
    assert process.stdout is not None
    for number, times in enumerate(presses):
        child = int(process.stdout.readline())
        assert process.stdout.readline() == "step\n"
        for _ in range(times):
            with contextlib.suppress(ProcessLookupError):  # it has ended
                os.kill(child, signal.SIGINT)
            time.sleep(0.05)
        status = next(line for line in process.stdout if line != "step\n")
        errors = (workspace / f"errors{number}.txt").read_text()
        assert status == "ended 130\n", (times, errors)
        assert "Traceback" not in errors and "Exception ignored" not in errors, (times, errors)
        assert 1 <= len(errors.strip().splitlines()) <= 2, (times, errors)
    assert process.wait(timeout=60) == 0


def test_where_epochs_are_long_steps_and_time_left_are_shown(monkeypatch, capsys):
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    shown = RunProgress("A/run")
    shown.begin(0, 100)
    for step in range(1, 11):
        now += 10.0
        shown.step(step, 196)
    text = capsys.readouterr().out.split("\r\x1b[K")
    assert text[1] == "A/run: epoch 1 of 100, step 1 of 196"
    left = 90.0 / (9 / 196) * (100 - 10 / 196)
    assert text[-1] == f"A/run: epoch 1 of 100, step 10 of 196, about {duration(left)} left"
    shown.epoch(1, 100, 0.25)
    now += 36_000.0  # stopped for ten hours
    for step in range(1, 190):
        now += 20.0
        shown.step(step, 196)
    assert capsys.readouterr().out.endswith(f"about {duration(20 * (98 * 196 + 7))} left"), (
        "as fast as of late"
    )
    quick = RunProgress("A/quick")
    quick.begin(0, 3)
    capsys.readouterr()
    for step in range(1, 11):
        now += 0.1
        quick.step(step, 20)
    assert "step" not in capsys.readouterr().out, "short epochs show epochs"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(4.4, "4 s"), (75, "1 min 15 s"), (7_260, "2 h 1 min"), (3 * 86_400 + 7_200, "3 d 2 h")],
)
def test_durations(seconds, words):
    assert duration(seconds) == words
