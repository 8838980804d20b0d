"""Measure how fast training and pipeline are, beside the published loop, in one call.

  step      one training step; --model for a network on synthetic 32x32 pictures
  epoch     data, steps and evaluation
  run       a whole run as a process: fresh, through the warm worker, and the published loop
  pipeline  runs through Snakemake: overhead per job, rate of scheduling, dry run, nothing to do, memory
  setup     `make setup` in a fresh clone, beside that of another commit (--against)
  library   a step by the library, by plain autograd and by TorchJD, and its memory; --model mlp, resnet18, distilbert
  gpu       everything about one GPU in one call: epochs, kernels, the step in other ways, precisions, runs packed on
            it, hours of the census
  loop      test errors of the published loop after some steps (--at) of a run's first epoch, over the run's batches;
            kept in docs/replication/within_epoch.csv, for the replication page

Alternatives take turns within one call. Printed are medians, quartiles in brackets, and ratios of the same round, so
other work on the machine does little harm; it should rest all the same. Results and records are left alone.

    dualgrad bench step
    dualgrad bench step A/lam0.35_eta0.4_seed0 --precision float32
    dualgrad bench step --model resnet18 --batch 128 --precision float32 --threads 2
    dualgrad bench step --against HEAD~1
    dualgrad bench epoch X1d/lam0.3_seed0 --json
    dualgrad bench library --model mlp --rounds 30
    dualgrad bench gpu --output gpu.json
    dualgrad bench loop K/lam0.3_eta0.4_seed4 --at 150,165,180 --config edition=paper paper_data=cifar10_jpeg
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import click

from dualgrad.arguments import FOLDER, RUN, OneOf, json_option, output_option, verb
from dualgrad.validation import InputError

if TYPE_CHECKING:
    import torch

    from dualgrad.census.run import Run
    from dualgrad.project import Project

# The demo's vision and text task.
RUNS = ("A/lam0.35_eta0.4_seed0", "X1d/lam0.3_seed0")
BENCHMARKS = ("step", "epoch", "run", "pipeline", "setup", "library", "gpu", "loop")
MODELS = ("resnet18", "resnet34", "vgg11", "simplecnn")
# Those of the library's benchmark.
SMALL_AND_LARGE = ("mlp", "resnet18", "distilbert")
# Which benchmarks know an argument.
KNOWN_BY = {
    "runs": ("step", "epoch", "run", "loop"),
    "model": ("step", "library", "gpu"),
    "batch": ("step", "library", "gpu"),
    "workers": ("epoch", "run", "gpu"),
    "precision": ("step", "epoch", "run", "library", "gpu", "loop"),
    "device": ("step", "epoch", "run", "library", "gpu", "loop"),
    "threads": ("step", "epoch", "run", "library", "gpu", "loop"),
    "rounds": ("step", "epoch", "run", "pipeline", "setup", "library", "gpu"),
    "jobs": ("pipeline",),
    "against": ("step", "pipeline", "setup"),
    "census": ("pipeline",),
    "demo": ("pipeline",),
    "images": ("gpu",),
    "minutes": ("gpu",),
    "packed": ("gpu",),
    "census_epochs": ("gpu",),
    "pictures": ("gpu",),
    "at": ("loop",),
}


def positive(text: str) -> int:
    """Read a positive whole number."""
    if not text.isdigit() or int(text) < 1:
        raise ValueError(f"expected a positive whole number; got '{text}'")
    return int(text)


def _positive_number(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise ValueError(f"expected a positive number; got '{text}'")
    return number


def _counts(text: str) -> list[int]:
    return [positive(part) for part in text.split(",")]


@verb
@click.argument("benchmark", type=OneOf(BENCHMARKS), metavar="BENCHMARK", help=", ".join(BENCHMARKS))
@click.argument("runs", type=RUN, nargs=-1, help=f"runs to measure (default: {' and '.join(RUNS)})")
@click.option(
    "--model",
    type=OneOf(tuple(dict.fromkeys((*MODELS, *SMALL_AND_LARGE)))),
    help="step: a network on synthetic pictures, instead of runs; gpu: which one (default: resnet18); library: "
    "mlp, resnet18 or distilbert (default: all three)",
)
@click.option("--batch", type=positive, metavar="N", help="batch size with --model, and of gpu")
@click.option("--precision", type=OneOf(["float64", "float32", "published"]))
@click.option(
    "--device", type=OneOf(["cpu", "cuda"]), help="(default: as for training; library: cpu, gpu: cuda)"
)
@click.option("--threads", type=positive, metavar="N", help="(default: threads_per_job; library and gpu: 1)")
@click.option("--rounds", type=positive, metavar="N", help="turns of each alternative")
@click.option(
    "--workers", type=positive, metavar="N", help="processes of the published image loader (default: 4)"
)
@click.option("--jobs", type=positive, metavar="N", help="pipeline: runs (default: the census)")
@click.option(
    "--census",
    type=positive,
    metavar="N",
    help="pipeline: a census of N runs instead, published and synthetic ones, whose training takes no time",
)
@click.option(
    "--demo",
    is_flag=True,
    default=None,
    help="pipeline: the miniature itself instead, from nothing: its main figures, then the rest of its census",
)
@click.option(
    "--against",
    metavar="COMMIT",
    help="step, pipeline, setup: beside another version from the repository's history, in turns",
)
@click.option("--images", type=positive, metavar="N", help="gpu: training images (default: 50000)")
@click.option("--minutes", type=_positive_number, metavar="M", help="gpu: time for all of it (default: 8)")
@click.option("--packed", type=_counts, metavar="N,N", help="gpu: processes to run at once (default: 1,2,4)")
@click.option(
    "--census-epochs",
    type=_positive_number,
    metavar="N",
    help="gpu: what the census comes to in epochs of ResNet-18, where it cannot be read",
)
@click.option(
    "--pictures",
    type=FOLDER,
    help="gpu: a prepared data set of CIFAR-10's pictures (data/cifar10); trains the first epoch of K on it",
)
@click.option(
    "--at", type=_counts, metavar="N,N", help="loop: after which steps to evaluate, beside the last"
)
@json_option(help="print the results as JSON")
@output_option(help="also write the JSON to this file")
def run(args: SimpleNamespace) -> int:
    """Run a benchmark and print what it found."""
    for name, benchmarks in KNOWN_BY.items():
        if getattr(args, name) not in (None, ()) and args.benchmark not in benchmarks:
            shown = "EXPERIMENT/RUN" if name == "runs" else f"--{name.replace('_', '-')}"
            known = f"known by: {', '.join(benchmarks)}"
            raise InputError("bench", args.benchmark, f"does not know {shown} ({known})")
    allowed = {"step": MODELS, "gpu": MODELS, "library": SMALL_AND_LARGE}.get(args.benchmark, ())
    if args.model and args.model not in allowed:
        raise InputError("bench", args.benchmark, f"expected --model {', '.join(allowed)}; got {args.model}")
    if args.output and not args.output.resolve().parent.is_dir():
        raise InputError("bench", "--output", f"the folder {args.output.parent} does not exist")
    from dualgrad.bench.timing import lines_of
    from dualgrad.data.errors import DataError

    measures: dict[str, Callable[[SimpleNamespace], dict]] = {
        "step": _step,
        "epoch": _epoch,
        "run": _run,
        "pipeline": _pipeline,
        "setup": _setup,
        "library": _library,
        "gpu": _gpu,
    }
    try:
        if args.benchmark == "loop":
            return _loop(args)
        measured = measures[args.benchmark](args)
    except DataError as error:
        raise InputError("bench", "", str(error)) from None
    report = {"benchmark": args.benchmark, "command": _again(args), **measured}
    text = json.dumps(report, indent=2)
    if args.output:
        args.output.write_text(f"{text}\n")
    print(text if args.json else "\n".join(lines_of(report)))
    return 0


def _again(args: SimpleNamespace) -> str:
    """The command line without folders and settings, which are this machine's."""
    words = ["dualgrad", "bench", args.benchmark, *args.runs]
    for name in KNOWN_BY:
        given = getattr(args, name)
        if name not in ("runs", "pictures") and given is not None:
            words.append(f"--{name.replace('_', '-')}")
            if given is not True:
                words.append(",".join(map(str, given)) if isinstance(given, list) else f"{given}")
    return " ".join(words)


def _settings(args: SimpleNamespace) -> tuple[Project, torch.device, int]:
    """Return (project, device, threads) with the command line laid on the settings."""
    import torch

    from dualgrad.project import load_project
    from dualgrad.training.devices import choose_device

    given = {"precision": args.precision, "threads_per_job": args.threads, "device": args.device}
    overrides = {key: one for key, one in given.items() if one is not None}
    project = load_project(args.root, args.config | overrides)
    device = (
        torch.device(args.device)
        if args.device
        else choose_device(project.settings["device"], project.edition_file["device"])
    )
    _check_device(device)
    return project, device, project.settings["threads_per_job"]


def _check_device(device: torch.device) -> None:
    import torch

    if device.type == "cuda" and not torch.cuda.is_available():
        raise InputError("bench", "--device", "cuda: torch sees no GPU here; try --device cpu")


def _step(args: SimpleNamespace) -> dict:
    from dualgrad.bench.step import bench_step

    if args.batch and not args.model:
        raise InputError("bench", "--batch", "is for --model; a run has its own batch size")
    if args.model and args.runs:
        raise InputError("bench", "--model", "expected a model or runs, not both")
    project, device, threads = _settings(args)
    if args.against:
        return _step_against(args, project, threads)
    if args.model:
        from dualgrad.bench.synthetic import synthetic_run

        batch = args.batch or 256
        precision = project.settings["precision"] or "float64"
        runs = [synthetic_run(args.model, batch, 4 * batch, 10, precision)]
    else:
        runs = _runs(args, project)
    results = [bench_step(run, project.data, device, threads, args.rounds or 15) for run in runs]
    return _reported("step", runs[0].precision, device, threads, results)


def _step_against(args: SimpleNamespace, project: Project, threads: int) -> dict:
    from dualgrad.bench.against import bench_steps
    from dualgrad.bench.timing import report

    given = [f"--{name}" for name in ("model", "precision", "device") if getattr(args, name)]
    if given or project.edition != "demo":
        problem = f"takes runs of the edition demo as it is{', without ' + given[0] if given else ''}"
        raise InputError("bench", "--against", problem)
    names = args.runs or RUNS
    _runs(args, project)  # their data
    results = bench_steps(args.root, project.data, args.against, names, threads, args.rounds or 15)
    return report("step", torch_cpu(), threads, project.census.edition["precision"], results)


def torch_cpu() -> torch.device:
    """The CPU, for benchmarks of processes."""
    import torch

    return torch.device("cpu")


def _setup(args: SimpleNamespace) -> dict:
    from dualgrad.bench.against import bench_setup
    from dualgrad.bench.timing import report

    if not args.against:
        raise InputError(
            "bench", "setup", "expected --against COMMIT: a clone of which to set up beside this one's"
        )
    return report("setup", torch_cpu(), 1, "float64", bench_setup(args.root, args.against, args.rounds or 3))


def _runs(args: SimpleNamespace, project: Project) -> list[Run]:
    """Return the runs that are measured, with their data prepared where that takes no download."""
    from dualgrad.census.run import read
    from dualgrad.data.errors import DataError
    from dualgrad.jobs.handed_over import prepare_missing
    from dualgrad.records import definition

    runs = [project.census.run(name) for name in args.runs or RUNS]
    for run in runs:
        try:
            prepare_missing(project.census, run, project.data)
        except DataError as error:
            raise InputError("bench", "", str(error)) from None
    return [read(definition(run)) for run in runs]


def _epoch(args: SimpleNamespace) -> dict:
    from dualgrad.bench.baseline import WORKERS
    from dualgrad.bench.epoch import bench_epoch

    project, device, threads = _settings(args)
    runs = _runs(args, project)
    workers = args.workers or WORKERS
    results = [bench_epoch(run, project.data, device, threads, args.rounds or 15, workers) for run in runs]
    return _reported("epoch", runs[0].precision, device, threads, results)


def _run(args: SimpleNamespace) -> dict:
    from dualgrad.bench.baseline import WORKERS
    from dualgrad.bench.whole_run import bench_run

    project, device, threads = _settings(args)
    names = args.runs or RUNS
    precision = project.census.run(names[0])["precision"]
    settings = {**args.config, "edition": project.edition, "threads_per_job": threads}
    settings |= {key: getattr(args, key) for key in ("precision", "device") if getattr(args, key)}
    words = ["--root", str(args.root)]
    for key, value in settings.items():
        words += ["--config", f"{key}={json.dumps(value)}"]
    results = [
        bench_run(
            *(name, project.census.runs, words, project.data, device, threads),
            *(args.rounds or 5, args.workers or WORKERS),
        )
        for name in names
    ]
    return _reported("run", precision, device, threads, results)


def _pipeline(args: SimpleNamespace) -> dict:
    from dualgrad.bench.against import bench_runs
    from dualgrad.bench.pipeline import bench_census, bench_demo, bench_pipeline, drawn
    from dualgrad.bench.timing import report
    from dualgrad.project import load_project

    unused = {"census": ("demo", "against", "jobs"), "demo": ("against", "jobs", "rounds"), "against": ()}
    for name, others in unused.items():
        if getattr(args, name) and (given := [other for other in others if getattr(args, other)]):
            raise InputError("bench", f"--{name}", f"takes no --{given[0]}; leave out one of them")
    project = load_project(args.root, {**args.config, "edition": "demo"})
    census = project.census
    if args.census:
        results = bench_census(args.root, args.census, args.rounds or 1)
    elif args.demo:
        results = bench_demo(args.root, project.data, os.cpu_count() or 1)
    elif args.against:
        names = drawn(census, args.jobs or 100)
        results = bench_runs(args.root, project.data, args.against, names, args.rounds or 3)
    else:
        results = bench_pipeline(args.root, project.data, census, args.jobs, args.rounds or 3)
    return report("pipeline", torch_cpu(), 1, census.edition["precision"], results)


def _library(args: SimpleNamespace) -> dict:
    import torch

    from dualgrad.bench.library import bench_library
    from dualgrad.bench.timing import report
    from dualgrad.training.determinism import DTYPES

    device = torch.device(args.device or "cpu")
    _check_device(device)
    precision, threads = args.precision or "float32", args.threads or 1
    results = [
        result
        for model in ([args.model] if args.model else SMALL_AND_LARGE)
        for result in bench_library(model, args.batch, device, DTYPES[precision], threads, args.rounds)
    ]
    return report("library", device, threads, precision, results)


def _gpu(args: SimpleNamespace) -> dict:
    import torch

    from dualgrad.bench.baseline import WORKERS
    from dualgrad.bench.gpu import PUBLISHED, Gpu
    from dualgrad.bench.timing import report

    device = torch.device(args.device or "cuda")
    _check_device(device)
    model, batch, images, test_images = PUBLISHED
    batch = args.batch or batch
    if args.images:
        images, test_images = args.images, -(-args.images // 5)
    if images < batch:
        raise InputError("bench", "--images", f"expected at least one batch ({batch}); got {images}")
    gpu = Gpu(
        device=device,
        threads=args.threads or 1,
        model=args.model or model,
        batch=batch,
        images=images,
        test_images=test_images,
        rounds=args.rounds or 5,
        workers=args.workers or WORKERS,
        precision=args.precision or "published",
        packed=args.packed or [1, 2, 4],
        seconds=60 * (args.minutes or 8.0),
        census_epochs=args.census_epochs or _census_epochs(args.root),
        pictures=args.pictures,
    )
    gpu.measure()
    return {**report("gpu", device, gpu.threads, gpu.precision, gpu.results), "notes": gpu.notes}


def _loop(args: SimpleNamespace) -> int:
    """Keep test errors of the published loop within first epochs of runs."""
    from dualgrad.bench.within import keep, within_epoch
    from dualgrad.replicate.build import KEPT, WITHIN

    if args.json or args.output or not args.runs:
        raise InputError("bench", "loop", "expected EXPERIMENT/RUN, without --json and --output")
    project, device, threads = _settings(args)
    for run in _runs(args, project):
        rows = within_epoch(run, project.data, device, threads, args.at or [])
        keep(args.root / KEPT / WITHIN, rows)
        print(f"{run.experiment}/{run.run}, test error after so many of {rows['steps'].iloc[0]} steps:")
        print(*(f"{row.step:6} {row.error:.4f}" for row in rows.itertuples()), sep="\n")
    return 0


def _census_epochs(root: Path) -> float | None:
    """What the census comes to in epochs of ResNet-18; None where a library that reading it takes is missing."""
    from dualgrad.bench.gpu import census_epochs
    from dualgrad.census import load_census

    try:
        return census_epochs(load_census(root, {"edition": "paper"}))
    except ImportError:
        return None


def _reported(
    benchmark: str, precision: str, device: torch.device, threads: int, results: list[dict]
) -> dict:
    from dualgrad.bench.timing import report

    return report(benchmark, device, threads, precision, results)
