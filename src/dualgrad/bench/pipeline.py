"""``dualgrad bench pipeline``: what Snakemake and the worker add to the training of many runs.

Works on a copy of the workflow in a temporary folder; the user's results stay as they are.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import yaml

from dualgrad.bench.processes import Took, environment, execute
from dualgrad.bench.timing import measurement
from dualgrad.bench.whole_run import CLIENT
from dualgrad.census import Census
from dualgrad.validation import InputError

# The demo with one step per run: what is left is overhead.
EDITION = {
    "extends": "demo",
    "title": "One step of each run",
    "epochs_per_segment": 1,
    "kinds": {"image": {"task": {"steps_per_epoch": 1}}, "text": {"task": {"steps_per_epoch": 1}}},
}
# A `dualgrad` that makes the files of its job and does nothing else, for jobs whose training takes no time.
STUB = """\
#!/bin/sh
if [ "$1" = data ]; then
    name=$2 file=$2
    while [ $# -gt 0 ]; do
        case "$1" in --tokens) file=$2 ;; --data-dir) folder=$2 ;; esac
        shift
    done
    mkdir -p "$folder/$name"; : > "$folder/$name/$file.npz"; : > "$folder/$name/$file.json"; exit
fi
while [ $# -gt 0 ]; do
    case "$1" in --output | --checkpoint) : > "$2"; shift ;; esac
    shift
done
"""
# Where a synthetic census stands, and how many runs an experiment of it has at most.
SYNTHETIC, OF_AN_EXPERIMENT = "synthetic", 3600
SNAKEMAKE = [sys.executable, "-c", "from dualgrad.jobs.launcher import main; main()"]
REAL_JOBS = 60  # runs of one step


def bench_pipeline(root: Path, data_dir: Path, census: Census, jobs: int | None, rounds: int) -> list[dict]:
    """Return the measurements of the pipeline.

    Args:
        root: folder of the workflow.
        data_dir: folder of prepared data sets; digits have to be among them, reviews may be.
        census: the census of edition ``demo``.
        jobs: schedule so many runs instead of the whole census.
        rounds: how often dry runs, checks of finished work and single processes are timed.

    Raises:
        InputError: there is no Snakemake in this environment, or one of the commands failed.
    """
    if importlib.util.find_spec("snakemake") is None:
        raise InputError("", "bench pipeline", "there is no Snakemake in this environment: make setup")
    counted = [name for name, run in census.runs.items() if run["counted"]]
    with tempfile.TemporaryDirectory(prefix="dualgrad-bench-") as scratch:
        folder = Path(scratch)
        copy_workflow(root, folder)
        real = _real_jobs(census, data_dir, min(jobs or REAL_JOBS, REAL_JOBS))
        return [
            *_overhead(folder, real, data_dir.resolve(), rounds),
            *_scheduling(folder, counted[:jobs], len(counted), rounds),
        ]


def drawn(census: Census, count: int) -> list[str]:
    """Return so many counted runs, evenly over the whole census."""
    counted = [name for name, run in census.runs.items() if run["counted"]]
    count = min(count, len(counted))
    return [counted[number * len(counted) // count] for number in range(count)]


def bench_census(root: Path, total: int, rounds: int) -> list[dict]:
    """Return how Snakemake takes a census of so many runs, published and synthetic ones, that train in no time.

    Args:
        root: folder of the workflow.
        total: runs of the census; rounded down to what full factor grids give.
        rounds: how often dry runs are timed.

    Raises:
        InputError: as from :func:`bench_pipeline`; or the census has more runs as it is.
    """
    with tempfile.TemporaryDirectory(prefix="dualgrad-bench-") as scratch:
        folder = Path(scratch)
        copy_workflow(root, folder)
        total, last = _grow(folder, total)
        words = ["--cores", "2", "--config", "data_dir=stub-data"]
        more = {"PATH": _stubbed(folder)}
        part = [f"results/demo/tables/parts/{last}/runs.parquet"]
        dry = [_command(folder, "census", "--dry-run", *words) for _ in range(rounds)]
        alone = [_command(folder, *part, "--dry-run", *words) for _ in range(rounds)]
        whole = _command(folder, "census", *words, more=more)
        moments = sorted(file.stat().st_mtime for file in folder.glob("results/demo/runs/*/*.json"))
        return [
            _taken(f"a census of {total} runs, dry run", dry),
            _taken(f"a census of {total} runs, dry run of one experiment's tables", alone),
            measurement(
                f"a census of {total} runs, with training that takes no time: jobs per second",
                "1/s",
                {"rate": [(len(moments) - 1) / max(moments[-1] - moments[0], 1e-9)]},
                jobs=len(moments),
                seconds_in_all=whole.seconds,
                cpu_ms_of_a_job=1000 * whole.cpu / len(moments),
                mib=whole.memory,
            ),
        ]


def bench_demo(root: Path, data_dir: Path, cores: int) -> list[dict]:
    """Return what the miniature takes: its main figures from an empty results folder, then the rest of its census.

    Args:
        root: folder of the workflow.
        data_dir: folder of prepared data sets; what is missing in it is prepared, and counted.
        cores: jobs at once.

    Raises:
        InputError: as from :func:`bench_pipeline`.
    """
    results, all_of_it = [], []
    with tempfile.TemporaryDirectory(prefix="dualgrad-bench-") as scratch:
        folder = Path(scratch)
        copy_workflow(root, folder)
        words = ["--cores", str(cores), "--config", "edition=demo", f"data_dir={data_dir.resolve()}"]
        for target in ("figures/main", "census"):
            before = len(_records(folder))
            took = _command(folder, target, *words)
            all_of_it.append(took)
            what = f"snakemake {target} --cores {cores} (demo)"
            results.append(_wall_and_processor(what, [took], runs=len(_records(folder)) - before))
    return [*results, _wall_and_processor("both", all_of_it)]


def _records(folder: Path) -> list[Path]:
    return list(folder.glob("results/demo/runs/*/[!.]*.json"))


def _wall_and_processor(what: str, took: Sequence[Took], **details: object) -> dict:
    values = {"wall": [sum(one.seconds for one in took)], "processor": [sum(one.cpu for one in took)]}
    # Not alternatives: what one is of the other says how busy the cores were.
    return measurement(what, "s", values, **details) | {"ratios": {}}


def _taken(what: str, took: Sequence[Took]) -> dict:
    cpu, memory = statistics.median(one.cpu for one in took), max(one.memory for one in took)
    return measurement(what, "s", {"wall": [one.seconds for one in took]}, cpu_s=cpu, mib=memory)


def _grow(folder: Path, total: int) -> tuple[int, str]:
    """Add synthetic experiments to a copied census; return how many runs it has then, and the last name."""
    file = folder / "config" / "census" / "totals.yaml"
    totals = yaml.safe_load(file.read_text())
    grid = {"lambda": [0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5], "noise_rate": [0.4, 0.8]}
    cells = len(grid["lambda"]) * len(grid["noise_rate"])
    published = totals["totals"]["all"]
    seeds = (total - published) // cells
    if seeds < 1:
        raise InputError(
            "bench", "--census", f"expected more than the published {published} runs; got {total}"
        )
    experiments, name = {}, ""
    for number, first in enumerate(range(0, seeds, OF_AN_EXPERIMENT // cells)):
        last, name = min(seeds, first + OF_AN_EXPERIMENT // cells), f"Synthetic-{number}"
        experiments[name] = {
            "title": "Synthetic, to be many",
            "count": (last - first) * cells,
            "extends": ["base", "fixed"],
            "factors": {**grid, "seed": f"{first}..{last - 1}"},
        }
    totals["totals"] |= {SYNTHETIC: seeds * cells, "all": published + seeds * cells}
    file.write_text(yaml.safe_dump(totals, sort_keys=False))
    content = {"series": SYNTHETIC, "experiments": experiments}
    (file.parent / f"{SYNTHETIC}.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    return published + seeds * cells, name


def _stubbed(folder: Path) -> str:
    """A PATH on which ``dualgrad`` makes files of no content."""
    stub = folder / "stub" / "dualgrad"
    stub.parent.mkdir()
    stub.write_text(STUB)
    stub.chmod(0o755)
    return os.pathsep.join([str(stub.parent), str(CLIENT.parent), os.environ.get("PATH", os.defpath)])


def copy_workflow(root: Path, folder: Path) -> None:
    """Copy what the workflow consists of, apart from the package, and add the edition of one step."""
    shutil.copy(root / "Snakefile", folder)
    for name in ("config", "workflow"):
        shutil.copytree(root / name, folder / name)
    (folder / "profiles").symlink_to("workflow/profiles")
    (folder / "config" / "editions" / "one-step.yaml").write_text(yaml.safe_dump(EDITION))


def _real_jobs(census: Census, data_dir: Path, count: int) -> list[str]:
    """Runs of the demo's vision and, if the reviews are there, text task, half and half."""
    vision = census.experiments["A"]["runs"]
    text = census.experiments["X1b"]["runs"] if (data_dir / "reviews").is_dir() else []
    mixed = [name for pair in zip(vision, text, strict=False) for name in pair] or vision
    return mixed[:count]


def _targets(names: Sequence[str], edition: str) -> list[str]:
    return [f"results/{edition}/runs/{name}.json" for name in names]


def _snakemake(folder: Path, *words: str, more: dict[str, str] | None = None) -> float:
    """Run Snakemake in a folder; return its wall seconds."""
    return _command(folder, *words, more=more).seconds


def _command(folder: Path, *words: str, more: dict[str, str] | None = None) -> Took:
    """Run Snakemake in a folder."""
    key = f"snakemake {' '.join(words[-3:])}"
    return execute([*SNAKEMAKE, *words], folder, environment(more or {}), key)


# ------------------------------------------------------------------------------------- jobs that train one step


def _overhead(folder: Path, names: list[str], data_dir: Path, rounds: int) -> list[dict]:
    settings = ["--config", "edition=one-step", f"data_dir={data_dir}"]
    first, second = names[: len(names) // 2] or names, names[len(names) // 2 :]
    _snakemake(folder, *_targets(first, "one-step"), "--cores", "1", *settings)
    alone, training = _intervals(folder, first)
    memory = _Memory()
    with memory:
        _snakemake(folder, *_targets(second, "one-step"), "--cores", "2", *settings)
    together, _ = _intervals(folder, second)

    fresh = []
    for _ in range(rounds):
        began = time.perf_counter()
        words = ["--root", str(folder), "--edition", "one-step", "--config", f"data_dir={data_dir}"]
        output = folder / "fresh.json"
        execute([sys.executable, "-m", "dualgrad", "train", first[0], "--output", str(output), *words])
        fresh.append(time.perf_counter() - began - _seconds(output))
    jobs = measurement(
        f"overhead of a job: time between two records on one core, without training ({len(first)} runs of one step)",
        "s",
        {"worker": [pause - s for pause, s in zip(alone, training, strict=True)]},
    )
    # Not a ratio of rounds: the two were not measured in turns.
    median = jobs["values"]["worker"]["median"]
    mean = sum(alone) / len(alone) - sum(training) / len(training)
    processes = measurement("overhead of a fresh process per run", "s", {"fresh process": fresh})
    processes["details"]["times_a_job's"] = processes["values"]["fresh process"]["median"] / median
    jobs["details"] = {"mean": mean, "jobs_per_second_at_two": len(together) / sum(together)}
    results = [jobs, processes]
    if memory.peak:
        results.append(
            measurement(
                "memory of worker and children with two jobs at once (peak PSS)",
                "MiB",
                {"worker": [memory.peak / 1024]},
                most_processes=memory.processes,
            )
        )
    return results


def _intervals(folder: Path, names: list[str]) -> tuple[list[float], list[float]]:
    """Seconds between records, in the order of their appearance, and how long each but the first trained."""
    files = [folder / target for target in _targets(names, "one-step")]
    files.sort(key=lambda file: file.stat().st_mtime_ns)
    moments = [file.stat().st_mtime for file in files]
    pauses = [b - a for a, b in zip(moments, moments[1:], strict=False)]
    return pauses, [_seconds(file) for file in files[1:]]


def _seconds(record: Path) -> float:
    return json.loads(record.read_text())["provenance"]["seconds"]


class _Memory:
    """Watches the workers of this process's descendants: peak of their proportional set size, in KiB (Linux)."""

    def __init__(self) -> None:
        self.peak, self.processes = 0, 0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> None:
        if Path("/proc/self/smaps_rollup").exists():
            self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._done.set()
        if self._thread.ident:
            self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(0.05):
            workers = [
                pid for pid in _family(os.getpid()) if b"dualgrad.jobs.server" in _read(pid, "cmdline")
            ]
            # A worker's children keep its command line.
            sizes = [_pss(pid) for pid in workers]
            if sum(sizes) > self.peak:
                self.peak, self.processes = sum(sizes), len(sizes)


def _family(pid: int) -> list[int]:
    """Descendants of a process."""
    parents: dict[int, list[int]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        fields = _read(int(folder.name), "stat").rpartition(b")")[2].split()
        if fields:
            parents.setdefault(int(fields[1]), []).append(int(folder.name))
    found, waiting = [], [pid]
    while waiting:
        children = parents.get(waiting.pop(), [])
        found += children
        waiting += children
    return found


def _read(pid: int, name: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:
        return b""  # it has ended


def _pss(pid: int) -> int:
    for line in _read(pid, "smaps_rollup").splitlines():
        if line.startswith(b"Pss:"):
            return int(line.split()[1])
    return 0


# ---------------------------------------------------------------------------------- jobs that take no time at all


def _scheduling(folder: Path, names: list[str], census: int, rounds: int) -> list[dict]:
    path = _stubbed(folder)
    words = ["--cores", "2", "--config", "data_dir=stub-data"]
    whole = len(names) == census
    targets = ["census"] if whole else _targets(names, "demo")
    what = f"the census ({census} counted runs)" if whole else f"{len(names)} runs"
    dry = [_snakemake(folder, *targets, "--dry-run", *words) for _ in range(rounds)]
    total = _snakemake(folder, *targets, *words, more={"PATH": path})
    moments = sorted(file.stat().st_mtime for file in folder.glob("results/demo/runs/*/*.json"))
    again = [_snakemake(folder, *targets, *words, more={"PATH": path}) for _ in range(rounds)]
    rate = (len(moments) - 1) / max(moments[-1] - moments[0], 1e-9)
    return [
        measurement(f"{what}, dry run", "s", {"dry run": dry}),
        measurement(
            f"{what}, with training that takes no time: jobs scheduled per second",
            "1/s",
            {"rate": [rate]},
            jobs=len(moments),
            seconds_in_all=total,
        ),
        measurement(f"{what} again, with nothing to do", "s", {"nothing to do": again}),
    ]
