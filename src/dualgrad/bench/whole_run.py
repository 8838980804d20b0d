"""``dualgrad bench run``: a whole run as a process: ours fresh, ours through the warm worker, the published loop."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

import dualgrad.jobs.warm_worker
from dualgrad.bench.sides import trainable
from dualgrad.bench.timing import measurement, take_turns
from dualgrad.census.run import read
from dualgrad.jobs.warm_worker import ADDRESS, GPUS, LOCKS, PYTHON, SETTINGS, WORKFLOW, WarmWorker
from dualgrad.records import definition
from dualgrad.validation import InputError

CLIENT = Path(dualgrad.jobs.warm_worker.__file__).with_name("bin") / "dualgrad"
CPU = torch.device("cpu")  # what is timed are processes: there is no device to wait for


def environment(more: Mapping[str, str]) -> dict[str, str]:
    """Return this process's environment, without what a workflow around it may have put there, and with *more*."""
    dropped = (ADDRESS, WORKFLOW, PYTHON, SETTINGS, GPUS, LOCKS)
    return {name: value for name, value in os.environ.items() if name not in dropped} | dict(more)


def bench_run(
    name: str,
    runs: dict[str, dict],
    words: Sequence[str],
    data_dir: Path,
    device: torch.device,
    threads: int,
    rounds: int,
    workers: int,
) -> dict:
    """Return the measurement of one whole run in seconds. Records are written to a temporary folder.

    Args:
        name: the run.
        runs: the census's runs by name; those that the run needs are trained first, and not timed.
        words: settings, as every `dualgrad` command line takes them.
        data_dir: folder of prepared data sets.
        device, threads: for the published loop; ours has them among the settings.
        rounds: how often each alternative takes its turn.
        workers: processes of the published image loaders.

    Raises:
        InputError: the published loop does not know what the run does, or a process failed.
    """
    run = trainable(read(definition(runs[name])))
    if len(run.stages) > 1 or run.stages[0].stop or run.max_steps:
        raise InputError("bench", name, "the published loop here knows runs of one full stage only")
    with tempfile.TemporaryDirectory(prefix="dualgrad-bench-") as scratch:
        results = [
            *words,
            "--config",
            f"results_dir={scratch}/results",
            "--config",
            f"data_dir={data_dir.resolve()}",
        ]
        record = Path(scratch) / "record.json"
        train = ["train", name, "--output", str(record), *results]
        if runs[name]["saves"]:
            train += ["--checkpoint", f"{scratch}/weights.pt"]
        fresh = [sys.executable, "-m", "dualgrad"]
        for need in needed_by(name, runs):
            execute([*fresh, "train", need, *results])
        job = {
            "run": run.plain(),
            "data_dir": str(data_dir),
            "device": str(device),
            "threads": threads,
            "workers": workers,
        }
        job_file = Path(scratch) / "job.json"
        job_file.write_text(json.dumps(job | {"output": f"{scratch}/published.json"}))
        baseline = [sys.executable, "-m", "dualgrad.bench.baseline", str(job_file)]
        worker = WarmWorker()
        worker.start()
        try:
            pieces = {
                "warm worker": lambda: execute([str(CLIENT), *train]),
                "fresh process": lambda: execute([*fresh, *train]),
                "baseline": lambda: execute(baseline),
            }
            pieces["warm worker"]()  # imports and reads what its children share
            seconds = take_turns(pieces, rounds, CPU)
            training = json.loads(record.read_text())["provenance"]["seconds"]
        finally:
            worker.stop()
    return measurement(f"run {name} as a process", "s", seconds, of_which_training=training)


def needed_by(name: str, runs: dict[str, dict]) -> list[str]:
    """Return the runs that must be trained before a run, in an order in which they can be."""
    order: dict[str, None] = {}

    def visit(one: str) -> None:
        for need in runs[one]["needs"]:
            visit(need)
            order[need] = None

    visit(name)
    return list(order)


def execute(command: Sequence[str], folder: Path | None = None, more: dict[str, str] | None = None) -> str:
    """Run a command and return what it printed.

    Raises:
        InputError: it failed; the message has the end of its output.
    """
    done = subprocess.run(
        command,
        cwd=folder,
        env=os.environ | {PYTHON: sys.executable} | (more or {}),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        end = "\n".join(done.stdout.splitlines()[-15:])
        shown = " ".join(map(str, command[:6]))
        raise InputError("bench", "", f"`{shown} …` ended with status {done.returncode}:\n{end}")
    return done.stdout
