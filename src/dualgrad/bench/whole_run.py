"""``dualgrad bench run``: a whole run as a process: ours fresh, ours through the warm worker, the published loop."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch

import dualgrad.jobs.warm_worker
from dualgrad.bench.processes import execute
from dualgrad.bench.sides import trainable
from dualgrad.bench.timing import measurement, take_turns
from dualgrad.census.dependencies import closure, dependency_depth
from dualgrad.census.run import read
from dualgrad.jobs.warm_worker import WarmWorker
from dualgrad.records import definition
from dualgrad.validation import InputError

CLIENT = Path(dualgrad.jobs.warm_worker.__file__).with_name("bin") / "dualgrad"
CPU = torch.device("cpu")  # what is timed are processes: there is no device to wait for


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
        depth = dependency_depth(runs)
        for need in sorted(closure({name}, runs) - {name}, key=lambda one: (depth[one], one)):
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
