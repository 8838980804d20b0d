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

import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import click

from dualgrad.arguments import FILE, RUN, job_options, output_option, verb
from dualgrad.jobs.stop_signals import StopSignals
from dualgrad.progress import RunProgress

if TYPE_CHECKING:
    from dualgrad.project import Project
    from dualgrad.training.trainer import Context


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
    worst, stop = 0, StopSignals()
    for name in names:
        status = execute(project, args, name, stop)
        if status > 128:  # it was asked to stop
            return status
        if stop() and name != names[-1]:  # after this run's last step
            return 128 + (stop.signal or signal.SIGTERM)
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
    from dualgrad.data import load_task
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
            load_task(task, "cpu", DTYPES[spec["precision"]], project.data)
        except DataError:
            continue  # the child says so
        _READ.add((project.data, *key))
        new = True
    return new


def execute(project: Project, args: SimpleNamespace, name: str, stop: StopSignals) -> int:
    """Train one run and write its record, and its checkpoint if others start from it.

    Args:
        project: the workflow's project.
        args: ``output`` and ``checkpoint`` (paths; None: where the workflow expects them), ``needs``, ``data`` and
            ``files`` (of other runs, of the data set, of one's own; None: likewise).
        name: the run, EXPERIMENT/RUN.
        stop: hears, while it trains, that it is to stop.

    Returns:
        0 on success; 1 with a message on standard error where something that the run needs is not as it should
        be; 143 where SIGTERM, and 130 where Ctrl-C stopped it after a step, with its state kept.
    """
    from dualgrad.data.errors import DataError
    from dualgrad.records import RecordError
    from dualgrad.training.checkpoints import CheckpointError
    from dualgrad.training.errors import TrainingError, lacks_memory
    from dualgrad.training.trainer import Interrupted, train
    from dualgrad.validation import InputError

    try:
        spec = project.census.run(name)
        if project.ingested:
            raise TrainingError(f"{name}: the edition {spec['edition']} is read from files, not trained")
        if args.checkpoint and not spec["saves"]:
            raise InputError("--checkpoint", "", f"no run starts from {name}, so its weights are not kept")
        output = args.output or project.records / f"{name}.json"
        checkpoint = args.checkpoint or project.checkpoints / f"{name}.pt"
        resume = output.with_name(f".{output.name}.resume")
        context = _context(project, args, name, resume, stop)
        with stop:
            record, weights = train(spec, context)
        kept = _keep(record, output, weights, checkpoint if spec["saves"] else None)
        resume.unlink(missing_ok=True)
    except Interrupted as interruption:
        print(interruption, file=sys.stderr)
        return 128 + (stop.signal or signal.SIGTERM)
    except (InputError, DataError, RecordError, TrainingError, CheckpointError) as error:
        print(f"dualgrad: {error}", file=sys.stderr)
        return 1
    except (MemoryError, RuntimeError) as error:
        if not lacks_memory(error):
            raise
        print(f"dualgrad: {name}: {_lack(error)}", file=sys.stderr)
        return 1
    outcome = record["outcome"]
    reached = f"test error {outcome['test_error']:.4f}, " if "test_error" in outcome else ""
    print(f"{name}: {outcome['status']}, {reached}{record['provenance']['seconds']:.1f} s")
    print(f"record {output}{' (as it was)' if kept else ''}\ndigest {record['digest']}")
    return 0


def _context(project: Project, args: SimpleNamespace, name: str, resume: Path, stop: StopSignals) -> Context:
    """What the run is trained with; its data set is prepared if that takes no download."""
    from dualgrad.jobs import handed_over
    from dualgrad.training.devices import choose_device
    from dualgrad.training.trainer import Context

    spec = project.census.run(name)
    if args.data is None:
        handed_over.prepare_missing(project.census, spec, project.data)
    data_dir = handed_over.data_folder(args.data, project.data)
    handed_over.check_data(project.census, spec, data_dir)
    shown = RunProgress(name)
    return Context(
        records=project.records,
        checkpoints=project.checkpoints,
        data_dir=data_dir,
        needed=handed_over.files_of_other_runs(args.needs),
        device=choose_device(project.settings["device"], project.edition_file["device"]),
        threads=project.settings["threads_per_job"],
        resume=resume,
        **handed_over.own_context(project, [name], args.files),
        report_begin=shown.begin,
        report=shown.epoch,
        report_step=shown.step,
        stop_requested=stop,
    )


def _keep(record: dict[str, Any], output: Path, weights: dict[str, Any], checkpoint: Path | None) -> bool:
    """Write what a run left, unless it is there already; return whether it was."""
    from dualgrad.records import write_record
    from dualgrad.training import checkpoints

    if _is_there(record, output, checkpoint):
        return True
    if checkpoint is not None:
        name = f"{record['experiment']}/{record['run']}"
        seed = record["outcome"].get("selected_seed", record["spec"]["seed"])
        checkpoints.save(checkpoint, {"run": name, "seed": seed, "stages": weights})
    write_record(output, record)  # last: a record says that everything of its run is there
    return False


def _lack(error: BaseException) -> str:
    """What there was too little memory for, and what helps."""
    from dualgrad.training.errors import NO_ENGINE, lacks_gpu_memory

    reason = str(error).splitlines()[0] if str(error) else "the system gives no more"
    what, remedy = "", "with fewer --cores"
    if lacks_gpu_memory(error):
        # After how much there is and is free comes advice about torch.
        reason = ". ".join(reason.split(". ")[:3])
        what = " on the GPU" + ", or a cuDNN that does not fit it" * (NO_ENGINE in reason)
        remedy = (
            "with fewer runs on it (--resources gpu=N), or on a larger one; an experiment of your own needs less "
            "with a smaller task.batch_size or task.eval_batch_size"
        )
    return f"not enough memory{what} ({reason}); run the same target again {remedy}"


def _is_there(record: dict[str, Any], output: Path, checkpoint: Path | None) -> bool:
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
