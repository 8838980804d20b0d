"""Say what training a selection takes: jobs, epochs, hours, memory, disk, and how it divides over GPUs.

A selection is what Snakemake is asked for: census, experiments, figures (Figure2, figures/main), runs or their paths;
what they need is planned as well. Seconds come from the edition's own records where there are any, else from the
publication's; --calibrate measures a few steps of each network on this machine, on synthetic data, and
--seconds-per-epoch and --rates say what was measured elsewhere. Every number says where it comes from.

    dualgrad plan census --edition paper --config precision=published
    dualgrad plan figures/main
    dualgrad plan Q1 M2 --edition paper --calibrate --gpus 1,4
    dualgrad plan census --edition paper --seconds-per-epoch resnet18=1.5
    dualgrad plan census --edition paper --calibrate --json > rates.json
    dualgrad plan Figure2 --edition paper --rates rates.json
"""

from __future__ import annotations

import json
from dataclasses import asdict
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import click

from dualgrad.arguments import EXPERIMENT_OR_RUN, FILE, json_option, verb
from dualgrad.validation import InputError

if TYPE_CHECKING:
    from dualgrad.census import Census
    from dualgrad.planning.plan import Plan
    from dualgrad.planning.rates import Rate

HERE = "plan"


def _counts(text: str) -> list[int]:
    if not all(part.isdigit() and 0 < int(part) <= 100_000 for part in text.split(",")):
        raise ValueError(f"expected whole numbers with commas between them; got '{text}'")
    return [int(part) for part in text.split(",")]


def _packed(text: str) -> tuple[int, float]:
    count, _, gain = text.partition(":")
    try:
        found = int(count), float(gain)
    except ValueError:
        found = 0, 0.0
    if found[0] < 1 or not 0 < found[1] <= found[0]:
        raise ValueError(
            f"expected N:GAIN with a gain between 0 and N, as `dualgrad bench gpu` measures it; got '{text}'"
        )
    return found


@verb(either=("calibrate", "seconds_per_epoch", "rates"))
@click.argument(
    "selection",
    type=EXPERIMENT_OR_RUN,
    nargs=-1,
    required=True,
    help="or census, a figure, a path: what is to be made",
)
@click.option("--calibrate", is_flag=True, help="measure each network here, in the edition's precision")
@click.option(
    "--seconds-per-epoch",
    metavar="NETWORK=SECONDS",
    multiple=True,
    help="an epoch with one evaluation, e.g. resnet18=1.85; can be repeated. Other networks are scaled",
)
@click.option("--rates", type=FILE, help="what --calibrate --json or bench gpu wrote")
@click.option("--left", is_flag=True, help="plan only what has no record yet")
@click.option(
    *("--gpus", "--jobs"),
    "gpus",
    type=_counts,
    default="1,2,4,8",
    show_default=True,
    metavar="N,N",
    help="GPUs to divide the runs over, or jobs at once on a CPU",
)
@click.option(
    "--packed",
    type=_packed,
    default="1:1",
    metavar="N:GAIN",
    help="N runs share a GPU and together do GAIN times the work of one, as `dualgrad bench gpu` measures it",
)
@json_option(help="write the plan as JSON")
def run(args: SimpleNamespace) -> int:
    """Make and print the plan."""
    from dualgrad.planning import own_networks
    from dualgrad.planning.given import given_in_file, given_in_words
    from dualgrad.planning.plan import make_plan
    from dualgrad.planning.recorded import read_recorded
    from dualgrad.planning.selection import select
    from dualgrad.project import load_project

    project = load_project(args.root, args.config)
    config, census = project.settings, project.census
    if project.ingested:
        raise InputError(
            HERE, census.edition["name"], "nothing is trained in this edition; its records are read"
        )
    names = select(census, args.selection)
    own_networks.measure(project)
    recorded = read_recorded(project.records, census.runs, census.edition["precision"])
    device = "cpu" if "cpu" in (config["device"], census.edition["device"]) else "cuda"
    rates, device_name = None, None
    peak: dict[str, int] = {}
    if args.calibrate:
        rates, peak, device, device_name = _calibrated(census, names, config)
    elif args.seconds_per_epoch or args.rates:
        given = (
            given_in_file(args.rates, census)
            if args.rates
            else given_in_words(args.seconds_per_epoch, census, "--seconds-per-epoch")
        )
        rates, device, device_name = given.rates, given.device or device, given.device_name
    left = [name for name in names if name not in recorded.done]
    plan = make_plan(census, left if args.left else names, device, recorded, rates, device_name)
    report = _report(plan, census, args, len(names) - len(left), peak)
    print(json.dumps(report, indent=2) if args.json else _text(report))
    return 0


# -------------------------------------------------------------------------------------------------- seconds


def _calibrated(
    census: Census, names: list[str], config: dict[str, Any]
) -> tuple[dict[str, Rate], dict[str, int], str, str]:
    """Rates, memory by network, and the device on which they were measured."""

    from dualgrad.planning.calibrate import calibrate, device_name
    from dualgrad.planning.networks import network_of
    from dualgrad.progress import progress
    from dualgrad.training.devices import DeviceError, choose_device

    try:
        device = choose_device(config["device"], census.edition["device"])
    except DeviceError as error:
        problem = f"torch sees no GPU here ({error.problem}); add --config device=cpu"
        raise InputError(HERE, "--calibrate", problem) from None
    # Of each network a run whose step is the usual one, else any that trains.
    chosen: dict[str, dict[str, Any]] = {}
    usual = ("clean", "trusted_batches")
    for one in sorted(
        (census.runs[name] for name in names), key=lambda one: one["value"]["labels"] not in usual
    ):
        if not one["copy_of"] and one["method"] == "dual" and not one["value"]["synthetic"]:
            chosen.setdefault(network_of(one["task"]), one)
    if not chosen:
        raise InputError(
            HERE, "--calibrate", "no run of this selection mixes two gradients; add one that does"
        )
    rates, peak = {}, {}
    measured = calibrate(chosen, device, config["threads_per_job"], census.root)
    for network, rate, taken in progress(measured, len(chosen), "network", name=lambda one: one[0]):
        rates[network], peak[network] = rate, taken
    return rates, peak, device.type, device_name(device)


# -------------------------------------------------------------------------------------------------- report


def _report(
    plan: Plan, census: Census, args: SimpleNamespace, done: int, peak: dict[str, int]
) -> dict[str, Any]:
    from dualgrad.planning.networks import network_of
    from dualgrad.planning.storage import disk, memory

    work, seconds = plan.total()
    runs = plan.runs.values()
    needed = [memory(one, plan.device) for one in runs if not one["copy_of"]]
    packed, gain = args.packed
    slower = packed / gain
    schedules = [(count, plan.schedule(count * packed, slower)) for count in args.gpus] if plan.runs else []
    stored = disk(runs)
    return {
        "edition": census.edition["name"],
        "precision": census.edition["precision"],
        "selection": args.selection,
        "device": plan.device,
        "device_name": plan.device_name,
        "jobs": len(plan.runs),
        "counted": sum(one["counted"] for one in runs),
        "copies": sum(bool(one["copy_of"]) for one in runs),
        "recorded": done,
        "left_only": args.left,
        "hours": seconds / 3600,
        "work": asdict(work),
        "experiments": [
            {
                "experiment": name,
                "jobs": len(own),
                **asdict(plan.total(own)[0]),
                "hours": plan.total(own)[1] / 3600,
            }
            for name, own in plan.by_experiment().items()
        ],
        "sources": [
            {"source": source, "runs": count, "hours": value / 3600}
            for source, (count, value) in plan.by_source().items()
        ],
        "assumed_factor": plan.assumed_factor(),
        "rates": {name: asdict(rate) for name, rate in plan.rates.items()},
        "packed": {"runs": packed, "gain": gain},
        "schedules": [
            {
                "slots": count,
                "hours": one.makespan / 3600,
                "efficiency": one.efficiency,
                "critical_path_hours": one.critical_path / 3600,
            }
            for count, one in schedules
        ],
        "memory": {
            "host_bytes": max((one.host for one in needed), default=0),
            "device_bytes": max((one.device for one in needed), default=0),
            "measured_device_bytes": {
                name: size
                for name, size in peak.items()
                if size and name in {network_of(o["task"]) for o in runs}
            },
        },
        "disk": {**asdict(stored), "total": stored.total},
    }


def _text(report: dict[str, Any]) -> str:
    places = {"cpu": "a CPU", "cuda": "a GPU"}
    on = f"{places[report['device']]} ({report['device_name']})"
    head = f"edition {report['edition']}, {report['precision']}, on {on}: {' '.join(report['selection'])}"
    if not report["jobs"]:
        return f"{head}\nnothing is left to train: all {report['recorded']} jobs have records"
    lines = [head, "", *_table(report), ""]
    notes = []
    if report["jobs"] > report["counted"]:
        notes.append(f"{report['jobs'] - report['counted']:,} jobs are needed but not counted.")
    if report["copies"]:
        notes.append(f"{report['copies']:,} are copies of other runs and train nothing.")
    if report["recorded"]:
        notes.append(
            f"{report['recorded']:,} more have records already."
            if report["left_only"]
            else f"{report['recorded']:,} have records already; --left plans the others."
        )
    lines += [*notes, "Epochs are upper bounds: gates and stop rules end some runs sooner."]
    lines += ["", "where the time comes from:"]
    for one in report["sources"]:
        lines.append(f"  {_time(one['hours']):>9}  {one['runs']:5,} runs  {one['source']}")
    beside = report["hours"] - sum(one["hours"] for one in report["sources"])
    lines.append(
        f"  {_time(beside):>9}  {report['jobs']:5,} jobs  beside their training: start, reading, writing"
    )
    if report["assumed_factor"]:
        lines.append(
            f"  Published seconds times {report['assumed_factor']:g} for {report['precision']}: an assumption, not a "
            "measurement; --calibrate measures. The published runs computed in precision=published."
        )
    unit = "GPUs" if report["device"] == "cuda" else "jobs at once"
    packed = report["packed"]
    shared = (
        f", {packed['runs']} runs on each ({packed['gain']:g} times the work of one)"
        if packed["runs"] > 1
        else ""
    )
    lines += ["", f"divided over {unit}{shared}, each free one taking the next run that can start:"]
    for one in report["schedules"]:
        lines.append(
            f"  {one['slots']:4}  {_time(one['hours']):>9}  {one['efficiency']:4.0%} of their time in use"
        )
    chain = report["schedules"][0]["critical_path_hours"]
    lines.append(
        f"  No number is faster than {_time(chain)}, the longest chain of runs that need each other."
    )
    memory, stored = report["memory"], report["disk"]
    lines += ["", f"memory per run, at most: {_size(memory['host_bytes'])}"]
    if memory["device_bytes"]:
        lines[-1] += f", and {_size(memory['device_bytes'])} on the GPU (estimated)"
    if memory["measured_device_bytes"]:
        lines[-1] += f"; {_size(max(memory['measured_device_bytes'].values()))} measured"
    parts = ", ".join(
        f"{name} {_size(stored[name])}" for name in ("records", "checkpoints", "tables", "data")
    )
    lines.append(f"disk: {_size(stored['total'])} ({parts})")
    return "\n".join(lines)


def _table(report: dict[str, Any]) -> list[str]:
    total = {"experiment": "all", "jobs": report["jobs"], **report["work"], "hours": report["hours"]}
    rows = [
        (
            one["experiment"],
            f"{one['jobs']:,}",
            f"{one['epochs']:,}",
            f"{one['steps']:,}",
            f"{(one['passes'] + one['shared']) / 1e6:,.1f} M",
            _time(one["hours"]),
        )
        for one in [*report["experiments"], total]
    ]
    rows.insert(0, ("experiment", "jobs", "epochs", "steps", "examples", "time"))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(
            [row[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(row[1:], widths[1:], strict=True))]
        )
        for row in rows
    ]


def _time(hours: float) -> str:
    if hours >= 1:
        return f"{hours:,.1f} h"
    return f"{hours * 60:.1f} min" if hours * 60 >= 1 else f"{hours * 3600:.1f} s"


def _size(count: float) -> str:
    count /= 1024
    for unit in ("KiB", "MiB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"
