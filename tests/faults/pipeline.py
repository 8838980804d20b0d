"""A small pipeline to hurt: runs, one that starts from another's weights, a copy, tables, a figure. Ten seconds."""

from __future__ import annotations

import os
import signal
import subprocess
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import workflows

from dualgrad.census import load_census
from dualgrad.records import read_record
from dualgrad.tables import parquet
from dualgrad.training.checkpoints import load_stage

ROOT = Path(__file__).resolve().parents[2]
EDITION = "faults"
FIGURE = "figures/extended_data/ED_Fig2.png"
SAVING, STARTING = "Ta-prep-O/seed0", "Ta1-1/seed0"  # the second starts from weights of the first
TRAINED = ("S1/lam0.42_seed0", "S2/eta0.4_lam0.5_seed0", STARTING, "D1/trusted0.05_lam0_eta0.4_seed0")
TABLES = [f"results/{EDITION}/tables/parts/{name}/runs.parquet" for name in ("Ta1-1", "D1", "S1", "S2")]
TARGETS = (FIGURE, *TABLES)

_EDITION = """\
extends: smoke
title: Runs that take long enough to be killed
epochs_per_segment: 6
"""

# Every Python of a pipeline reads this: moments that a kill would hardly ever meet last longer, and the state to
# resume from is kept after every epoch.
_STRETCHED = """\
import os, time
from functools import partial

if "DUALGRAD_FAULTS" in os.environ:
    fsync = os.fsync

    def slow_fsync(handle):
        fsync(handle)  # the file is written, and has not got its name yet
        time.sleep(0.01 if ".resume." in os.readlink(f"/proc/self/fd/{handle}") else 0.15)

    os.fsync = slow_fsync
    from dualgrad.commands import train
    from dualgrad.progress import RunProgress

    plain = train.execute

    def execute(*words):
        from dualgrad.training import trainer as run

        if not isinstance(run.Context, partial):
            run.Context = partial(run.Context, resume_seconds=0.1)
        return plain(*words)

    train.execute = execute
    report = RunProgress.epoch

    def slow_epoch(self, *numbers):
        time.sleep(0.02)
        return report(self, *numbers)

    RunProgress.epoch = slow_epoch
"""


class Failure(AssertionError):
    """The pipeline did not hold; the message says where and how."""


def copy_workflow(target: Path) -> Path:
    """A copy of the workflow, with the edition of these tests."""
    workflows.copy_workflow(target)
    (target / "config" / "editions" / f"{EDITION}.yaml").write_text(_EDITION)
    return target


@dataclass
class Pipeline:
    """The workflow in a folder of its own.

    Attributes:
        folder: the copy of the workflow.
        mark: what all of its processes have in their environment, wherever they end up.
        addresses: sockets of its workers, as far as seen.
    """

    folder: Path
    mark: str = field(default_factory=lambda: uuid.uuid4().hex)
    addresses: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        if not (self.folder / "Snakefile").exists():
            copy_workflow(self.folder)
        hooks = self.folder / "hooks"
        hooks.mkdir(exist_ok=True)
        (hooks / "sitecustomize.py").write_text(_STRETCHED)
        (self.folder / "tmp").mkdir(exist_ok=True)
        self.results = self.folder / "results" / EDITION

    @property
    def environment(self) -> dict[str, str]:
        """This process's environment, without a workflow around it, with the mark and the hooks."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("DUALGRAD_")}
        path = os.pathsep.join([str(self.folder / "hooks"), kept.get("PYTHONPATH", "")])
        own = {"DUALGRAD_FAULTS": self.mark, "PYTHONPATH": path, "TMPDIR": str(self.folder / "tmp")}
        return kept | own

    def start(self, *words: str, log: str = "messages.txt") -> subprocess.Popen:
        """Start Snakemake for the targets, as `make setup` installs it, with its messages in a file."""
        with (self.folder / log).open("w") as messages:
            return subprocess.Popen(
                workflows.command(*self.words(*words)),
                cwd=self.folder,
                env=self.environment,
                stdout=messages,
                stderr=messages,
                start_new_session=True,
            )

    def run(self, *words: str, log: str = "messages.txt") -> tuple[int, str]:
        """Run Snakemake to its end, which nobody hurts; its status and its messages."""
        done = workflows.snakemake(self.folder, *self.words(*words), more=self.environment)
        (self.folder / log).write_text(done.stdout)
        return done.returncode, done.stdout

    @staticmethod
    def words(*words: str) -> list[str]:
        """What follows the command `snakemake`: these words, or the targets."""
        return [*(words or TARGETS), "--cores", "2", "--config", f"edition={EDITION}"]

    def messages(self, log: str = "messages.txt") -> str:
        """What Snakemake has written so far."""
        return (self.folder / log).read_text()

    def processes(self) -> dict[int, Process]:
        """All processes of this pipeline that are alive."""
        found = {}
        mark = f"DUALGRAD_FAULTS={self.mark}".encode()
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                if mark not in (entry / "environ").read_bytes():
                    continue
                process = Process.of(entry)
            except OSError:
                continue
            if process.state not in "ZX":
                found[process.pid] = process
                self.addresses |= process.addresses
        return found

    def digests(self) -> dict[str, str]:
        """Digests of the records that are there; a record or checkpoint that is not whole is a failure."""
        found = {}
        for path in sorted(self.results.glob("runs/*/[!.]*.json")):
            name = f"{path.parent.name}/{path.stem}"
            record = read_record(path, edition=EDITION, name=name)
            found[name] = record["digest"]
            weights = self.results / "checkpoints" / f"{name}.pt"
            for stage in record["checkpoint"] or ():
                load_stage(weights, record, stage)  # written before the record, so it is there
        for path in self.results.glob("tables/**/[!.]*.parquet"):
            parquet.read(path)
        return found

    def leftovers(self) -> list[str]:
        """Temporary files, states to resume from, sockets and locks that are still there."""
        hidden = [
            path
            for name in ("results", "figures", "data")
            for path in (self.folder / name).rglob(".*")
        ]  # fmt: skip
        # PyTorch makes an empty cache folder when it is imported, and Snakemake's own goes when it ends in peace.
        others = ("torchinductor_", "snakemake")
        hidden += [path for path in (self.folder / "tmp").iterdir() if not path.name.startswith(others)]
        # The folder of sockets and locks stays for the next workflow, empty.
        own = self.folder / "tmp" / f"dualgrad-{os.getuid()}"
        hidden = [path for path in hidden if path != own] + list(own.glob("*"))
        hidden += (self.folder / ".snakemake").glob("locks/*")
        sockets = Path("/proc/net/unix").read_text()
        return [str(path.relative_to(self.folder)) for path in hidden] + [
            name for name in self.addresses if name in sockets
        ]

    def wait_for_silence(self, seconds: float) -> list[Process]:
        """Wait until no process of this pipeline lives; those that do after all."""
        deadline = time.monotonic() + seconds
        while (alive := self.processes()) and time.monotonic() < deadline:
            time.sleep(0.1)
        return list(alive.values())

    def end(self) -> None:
        """Kill whatever is left of it."""
        for pid in self.processes():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue


@dataclass(frozen=True)
class Process:
    """A process as the kernel describes it."""

    pid: int
    parent: int
    state: str
    words: tuple[str, ...]
    addresses: frozenset[str]

    @classmethod
    def of(cls, entry: Path) -> Process:
        """Read one of /proc's folders; OSError where the process is gone."""
        state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
        words = tuple(word.decode(errors="replace") for word in (entry / "cmdline").read_bytes().split(b"\0"))
        settings = (entry / "environ").read_bytes().split(b"\0")
        names = {one.decode().partition("=")[2] for one in settings if one.startswith(b"DUALGRAD_WORKER=")}
        return cls(int(entry.name), int(parent), state, words, frozenset(names - {""}))


def roles(processes: Mapping[int, Process], main: int) -> dict[str, list[int]]:
    """What can be killed, by role: Snakemake, its worker, the worker's children, the jobs' clients."""
    found: dict[str, list[int]] = {"snakemake": [main] if main in processes else []}
    servers = [one.pid for one in processes.values() if "dualgrad.jobs.server" in one.words]
    found["worker"] = [pid for pid in servers if processes[pid].parent == main]
    found["job"] = [pid for pid in servers if processes[pid].parent in found["worker"]]
    found["job"] += [one.pid for one in processes.values() if "dualgrad.jobs.alone" in one.words]
    found["client"] = [
        one.pid for one in processes.values() if any(word.endswith("client.py") for word in one.words)
    ]
    return {role: pids for role, pids in found.items() if pids}


def runs_of(folder: Path) -> dict[str, dict]:
    """All runs of the edition of these tests, by name."""
    return load_census(folder, {"edition": EDITION}).runs
