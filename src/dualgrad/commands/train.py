"""Train runs in this process, one after the other, and write their records.

Runs that it starts from must have been trained before: snakemake results/EDITION/runs/EXPERIMENT/RUN.json trains
those as well. A run that was interrupted goes on where it was: Ctrl-C or SIGTERM stop it after its step and keep its
state, a kill loses a minute at most. A second Ctrl-C ends it at once, like a kill. A record that says the same
already is left as it is.

    dualgrad train A/lam0.35_eta0.4_seed0
    dualgrad train A/lam0.35_eta0.4_seed0 A/lam0.35_eta0.4_seed1
    dualgrad train Y1B/seed3 --output seed3.json
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import click

from dualgrad.arguments import FILE, RUN, job_options, output_option, verb
from dualgrad.jobs import warm_worker
from dualgrad.progress import duration

if TYPE_CHECKING:
    from dualgrad.census import Census
    from dualgrad.project import Project


def needed_files(paths: Sequence[Path] | None) -> dict[str, Path] | None:
    """Return files of other runs by their paths below the results, wherever those lie; None where none were named.

    Raises:
        InputError: a path that does not end as records and checkpoints do.
    """
    from dualgrad.validation import InputError

    found: dict[str, Path] = {}
    for path in paths or ():
        kind, name = path.parts[-3:-2], "/".join(path.parts[-3:])
        if (kind, path.suffix) not in ((("runs",), ".json"), (("checkpoints",), ".pt")):
            expected = "expected .../runs/EXPERIMENT/RUN.json or .../checkpoints/EXPERIMENT/RUN.pt"
            raise InputError("--needs", str(path), expected)
        found[name] = path
    return None if paths is None else found


def data_folder(files: Sequence[Path] | None, default: Path) -> Path:
    """Return the folder of data sets in which these files lie (``FOLDER/NAME/FILE``); none: *default*.

    Raises:
        InputError: they lie in several, or are not there.
    """
    from dualgrad.validation import InputError

    for path in files or ():
        if not path.is_file():
            raise InputError("--data", str(path), "no such file")
    folders = sorted({path.parent.parent for path in files or ()})
    if len(folders) > 1:
        places = " and ".join(map(str, folders))
        raise InputError("--data", "", f"expected files FOLDER/NAME/FILE of one folder; got {places}")
    return folders[0] if folders else default


def own_context(project: Project, names: Sequence[str], files: Sequence[Path] | None) -> dict[str, Any]:
    """Return what a context says of files of one's own, having checked them against the runs' data sets.

    Raises:
        CensusError: one does not fit. InputError: other files were handed over than the runs read.
    """
    from dualgrad.census.own import check_own, own_files
    from dualgrad.validation import InputError

    census, root = project.census, project.root
    runs = [census.run(name) for name in names]
    wanted = list(dict.fromkeys(file for one in runs for file in own_files(one, root)))
    if files is not None and len(files) != len(wanted):
        raise InputError(
            "--files", "", f"expected {len(wanted)} ({', '.join(wanted) or 'none'}); got {len(files)}"
        )
    given = dict(zip(wanted, files or (), strict=False))
    for one in runs:
        check_own(
            one, census.datasets.get(one["task"]["dataset"]), root, lambda name: given.get(name, root / name)
        )
    named = {name: one.classes for name, one in census.datasets.items() if isinstance(one.classes, list)}
    return {"root": root, "files": given, "class_names": named}


@verb
@click.argument("runs", type=RUN, nargs=-1, required=True, help="the runs, as `dualgrad census` names them")
@output_option(help="record to write (default: where the workflow expects it)")
@click.option(
    "--checkpoint",
    type=FILE,
    help="checkpoint to write, for runs that others start from (default: as above)",
)
@job_options
def run(args: SimpleNamespace) -> int:
    """Train the runs named on the command line; one that fails does not keep the others from being trained."""
    from dualgrad.census.dependencies import closure
    from dualgrad.project import load_project
    from dualgrad.validation import InputError

    project = load_project(args.root, args.config)
    names = list(dict.fromkeys(args.runs))
    if len(names) > 1:
        if args.output or args.checkpoint:
            option = "--output" if args.output else "--checkpoint"
            raise InputError(option, "", f"is for one run; {len(names)} are named")
        runs = project.census.runs
        known = {name for name in names if name in runs}
        order = {name: len(closure({name}, runs)) for name in known}  # before what starts from them
        names.sort(key=lambda name: order.get(name, 0))
    worst = 0
    for name in names:
        status = execute(project, args, name)
        if status > 128:  # it was asked to stop
            return status
        worst = max(worst, status)
    return worst


def preload(root: Path, overrides: dict, given: SimpleNamespace) -> bool:
    """Import and read, before a worker forks, what this job's runs need; return whether any of it is new."""
    return read_for(root, overrides, given.runs)


_READ: set[tuple] = set()


def read_for(root: Path, overrides: dict, names: Sequence[str]) -> bool:
    """Import and read what some runs and experiments need (no names: all); return whether any of it is new.

    No more than that: what the text models are built from takes seconds to import.
    """
    from dualgrad.data import preload as preload_tasks
    from dualgrad.data.errors import DataError
    from dualgrad.models import import_for
    from dualgrad.project import load_project, share_project
    from dualgrad.training import devices as _devices  # noqa: F401
    from dualgrad.training import trainer as _  # noqa: F401  (imports torch and the loop)
    from dualgrad.training.determinism import DTYPES, code_digest

    code_digest()  # read once for all
    new = share_project(root, overrides)
    project = load_project(root, overrides)
    if project.ingested:  # nothing is trained
        return new
    # On the host, for a GPU too: a CUDA context does not survive a fork.
    experiments, runs = project.census.experiments, project.census.runs
    asked = [run for name in names for run in (experiments[name]["runs"] if name in experiments else [name])]
    for name in asked or runs:
        if name not in runs:
            continue  # the child says so
        spec = runs[name]
        task = spec["task"]
        key = (task["dataset"], task["model"]["name"], repr(task.get("normalize")), spec["precision"])
        if (project.data, *key) in _READ:
            continue
        import_for(task["model"]["name"])
        if not (project.data / task["dataset"]).is_dir():
            continue  # preparing a set here would start threads, which no fork survives; a rule does it
        try:
            preload_tasks([spec], DTYPES[spec["precision"]], project.data)
        except DataError:
            continue  # the child says so
        _READ.add((project.data, *key))
        new = True
    return new


def prepare_missing(census: Census, spec: dict[str, Any], data_dir: Path) -> None:
    """Prepare a run's data set if it comes with an installed package: nothing has to be fetched for it."""
    from dualgrad.data.prepare import prepare_embedded

    if not spec["task"]["synthetic"]:
        prepare_embedded(census.datasets[spec["task"]["dataset"]], census.datasets, data_dir)


def check_data(census: Census, spec: Mapping[str, Any], data_dir: Path) -> None:
    """Refuse prepared data that were written when their entry said something else (see ``check_definition``)."""
    from dualgrad.data.prepare import check_definition
    from dualgrad.jobs.inputs import data_files

    entry = census.datasets.get(spec["task"]["dataset"])
    if entry is None:
        return
    for path in (data_dir / file for file in data_files(spec)):
        if path.suffix == ".npz" and path.exists():
            check_definition(entry, path)


def execute(project: Project, args: SimpleNamespace, name: str) -> int:
    """Train one run and write its record, and its checkpoint if others start from it.

    Args:
        project: the workflow's project.
        args: ``output`` and ``checkpoint`` (paths; None: where the workflow expects them), ``needs``, ``data`` and
            ``files`` (of other runs, of the data set, of one's own; None: likewise).
        name: the run, EXPERIMENT/RUN.

    Returns:
        0 on success; 1 with a message on standard error where something that the run needs is not as it should
        be; 143 where SIGTERM, and 130 where Ctrl-C stopped it after a step, with its state kept.
    """
    from dualgrad.data.errors import DataError
    from dualgrad.records import RecordError, write_record
    from dualgrad.training import checkpoints
    from dualgrad.training.devices import choose_device
    from dualgrad.training.errors import NO_ENGINE, TrainingError, lacks_gpu_memory, lacks_memory
    from dualgrad.training.trainer import Context, Interrupted, train
    from dualgrad.validation import InputError

    stop = StopSignals()
    try:
        spec = project.census.run(name)
        if project.ingested:
            raise TrainingError(f"{name}: the edition {spec['edition']} is read from files, not trained")
        output = args.output or project.records / f"{name}.json"
        checkpoint = args.checkpoint or project.checkpoints / f"{name}.pt"
        if args.data is None:
            prepare_missing(project.census, spec, project.data)
        data_dir = data_folder(args.data, project.data)
        check_data(project.census, spec, data_dir)
        resume = output.with_name(f".{output.name}.resume")
        shown = _Progress(name)
        context = Context(
            records=project.records,
            checkpoints=project.checkpoints,
            data_dir=data_dir,
            needed=needed_files(args.needs),
            device=choose_device(project.settings["device"], project.edition_file["device"]),
            threads=project.settings["threads_per_job"],
            resume=resume,
            **own_context(project, [name], args.files),
            report_begin=shown.begin,
            report=shown.epoch,
            report_step=shown.step,
            stop_requested=stop,
        )
        with stop:
            record, weights = train(spec, context)
        kept = _is_kept(output, checkpoint if spec["saves"] else None, record)
        if spec["saves"] and not kept:
            seed = record["outcome"].get("selected_seed", spec["seed"])
            checkpoints.save(checkpoint, {"run": name, "seed": seed, "stages": weights})
        if not kept:
            write_record(output, record)  # last: a record says that everything of its run is there
        resume.unlink(missing_ok=True)
    except Interrupted as interruption:
        print(interruption, file=sys.stderr)
        return 128 + (stop.signal or signal.SIGTERM)
    except (
        InputError,
        DataError,
        RecordError,
        TrainingError,
        checkpoints.CheckpointError,
    ) as error:
        print(f"dualgrad: {error}", file=sys.stderr)
        return 1
    except (MemoryError, RuntimeError) as error:
        if not lacks_memory(error):
            raise
        reason = str(error).splitlines()[0] if str(error) else "the system gives no more"
        what, remedy = "", "with fewer --cores"
        if lacks_gpu_memory(error):
            # After how much there is and is free comes advice about torch.
            reason = ". ".join(reason.split(". ")[:3])
            what = " on the GPU" + ", or a cuDNN that does not fit it" * (NO_ENGINE in reason)
            remedy = "with fewer runs on it (--resources gpu=N), or on a larger one"
        print(
            f"dualgrad: {name}: not enough memory{what} ({reason}); run the same target again {remedy}",
            file=sys.stderr,
        )
        return 1
    outcome = record["outcome"]
    reached = f"test error {outcome['test_error']:.4f}, " if "test_error" in outcome else ""
    print(f"{name}: {outcome['status']}, {reached}{record['provenance']['seconds']:.1f} s")
    print(f"record {output}{' (as it was)' if kept else ''}\ndigest {record['digest']}")
    return 0


def _is_kept(output: Path, checkpoint: Path | None, record: dict[str, Any]) -> bool:
    """Whether an undamaged record that says the same, made under the same conditions, is there with its weights.

    Written once more it would only have another date, and all that is made of it would be made again.
    """
    from dualgrad.records import RecordError, changed_conditions, read_record
    from dualgrad.training.checkpoints import CheckpointError, load_stage

    if not output.is_file():
        return False
    try:
        there = read_record(output)
        if (there["digest"], there["edition"]) != (record["digest"], record["edition"]):
            return False
        if checkpoint is not None:
            for stage in there.get("checkpoint") or {}:
                load_stage(checkpoint, there, stage)
    except (RecordError, CheckpointError):
        return False
    return not changed_conditions(there["provenance"], record["provenance"])


class StopSignals:
    """SIGTERM and a first Ctrl-C as requests to stop, for as long as the block lasts; true once one has come.

    A second Ctrl-C is what it always was. Signals that are ignored (nohup, a shell's background job) stay so, and
    outside the main thread, where Python has no signals, nothing happens.

    Attributes:
        signal: the one that came first, or None.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self._before: dict[signal.Signals, Any] = {}

    def __call__(self) -> bool:
        """Whether somebody has asked."""
        return self.signal is not None

    def __enter__(self) -> StopSignals:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._ask)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            # None: a handler that Python does not know.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        self._before.clear()

    def _ask(self, number: int, frame: object) -> None:
        self.signal = self.signal or number
        warm_worker.heard[0] = 1
        if number == signal.SIGINT:
            signal.signal(number, signal.default_int_handler)
            text = (
                "\nstopping after this step; its state is kept, and the same command continues it. "
                "Ctrl-C again ends at once and loses what was done since the state was kept last, a minute at most.\n"
            )
            with contextlib.suppress(OSError):
                os.write(2, text.encode())  # print may be what the signal interrupted


class _Progress:
    """Progress of a long run: one line that is rewritten on a terminal, a line every half minute elsewhere.

    Steps are shown where an epoch takes long.
    """

    _LONG = 2.0  # seconds

    def __init__(self, name: str) -> None:
        self._name = name
        self._terminal = sys.stdout.isatty()
        self._interval = 0.2 if self._terminal else 30.0
        self._last = self._epoch_began = time.monotonic()
        self._done, self._total, self._error = 0, 0, ""
        self._start: tuple[float, float] | None = None  # when steps began, and how far it was then

    def begin(self, done: int, total: int) -> None:
        """Note how far the run is, in epochs, before anything is done."""
        self._done, self._total = done, total
        self._last = self._epoch_began = time.monotonic()
        self._start = None

    def epoch(self, done: int, total: int, error: float | None) -> None:
        """An epoch is done."""
        now = time.monotonic()
        self._done, self._total, self._epoch_began = done, total, now
        self._error = "" if error is None else f", test error {error:.4f}"
        left = self._left(done, now)
        if now - self._last < self._interval and not (self._terminal and done == total):
            return
        self._show(f"epoch {done} of {total}{self._error}{left if done < total else ''}", now, done == total)

    def step(self, done: int, total: int) -> None:
        """A step of the epoch under way is done."""
        now = time.monotonic()
        if self._start is None:
            self._start = now, self._done + done / total
        if now - self._last < self._interval or now - self._epoch_began < self._LONG:
            return
        left = self._left(self._done + done / total, now)
        epochs = f"epoch {self._done + 1} of {self._total}, " if self._total else ""
        self._show(f"{epochs}step {done} of {total}{self._error}{left}", now)

    def _left(self, done: float, now: float) -> str:
        """How long the rest takes if it goes on like this, once that can be said."""
        if self._start is None or not self._total:
            return ""
        began, before = self._start
        if done - before <= 0 or now - began < self._LONG:
            return ""
        return f", about {duration((now - began) / (done - before) * (self._total - done))} left"

    def _show(self, text: str, now: float, last: bool = False) -> None:
        self._last = now
        if self._terminal:
            print(f"\r\x1b[K{self._name}: {text}", end="\n" if last else "", flush=True)
        else:
            print(f"{self._name}: {text}", flush=True)
