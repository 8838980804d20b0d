"""Times of alternatives that take turns, and the machine on which they were taken."""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

import torch

from dualgrad.training.determinism import cpu_model

Spread = dict[str, float]
# Packages whose versions may change what is measured.
PACKAGES = ("numpy", "pydantic", "snakemake", "torch", "torchjd", "torchvision", "transformers")


def spread(values: Sequence[float]) -> Spread:
    """Return median, quartiles (``low``, ``high``) and number of some values."""
    quartiles = statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else [values[0]] * 3
    return {"median": quartiles[1], "low": quartiles[0], "high": quartiles[2], "n": len(values)}


def synchronise(device: torch.device) -> None:
    """Wait until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds_of(
    piece: Callable[[], object], device: torch.device, clock: Callable[[], float] = time.perf_counter
) -> float:
    """Return the seconds that a piece of work takes on ``device``, by default those of the wall."""
    synchronise(device)
    began = clock()
    piece()
    synchronise(device)
    return clock() - began


def take_turns(
    pieces: Mapping[str, Callable[[], object]],
    rounds: int,
    device: torch.device,
    enough: Callable[[], bool] = lambda: False,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Time each piece once in every round; every other round goes backwards, so that no piece is always first.

    Args:
        pieces: the alternatives. Warming them up is the caller's business.
        rounds: how often.
        device: what to wait for.
        enough: asked before every round but the first; True ends the benchmark early.
        clock: seconds so far, of the wall or of the processor.

    Returns:
        Seconds by piece, one per round.
    """
    seconds: dict[str, list[float]] = {name: [] for name in pieces}
    for number in range(rounds):
        if number and enough():
            break
        for name in list(pieces)[:: -1 if number % 2 else 1]:
            seconds[name].append(seconds_of(pieces[name], device, clock))
    return seconds


def repeats_for(piece: Callable[[], object], device: torch.device, wanted: float) -> int:
    """Return how often a piece must be repeated to last ``wanted`` seconds; runs it twice, which warms it up."""
    piece()
    return max(1, round(wanted / max(seconds_of(piece, device), 1e-6)))


def measurement(what: str, unit: str, values: Mapping[str, Sequence[float]], **details: object) -> dict:
    """Return one result: the spread of each alternative, and how many times ours each of the others takes.

    Args:
        what: what was measured.
        unit: of the values.
        values: one number per round for each alternative; the first is ours.
        details: further numbers; those that are None are left out.
    """
    first, *others = values
    ratios = {
        f"{other}/{first}": spread([b / a for a, b in zip(values[first], values[other], strict=True)])
        for other in others
    }
    return {
        "what": what,
        "unit": unit,
        "values": {name: spread(numbers) for name, numbers in values.items()},
        "ratios": ratios,
        "details": {name: value for name, value in details.items() if value is not None},
    }


def report(benchmark: str, device: torch.device, threads: int, precision: str, results: list[dict]) -> dict:
    """Return what a benchmark prints: when, with what and where it was measured, and its results."""
    return {
        "benchmark": benchmark,
        "date": datetime.now(UTC).date().isoformat(),
        "code": code(),
        "machine": {
            "processor": cpu_model(),
            "cores": os.cpu_count(),
            "load": round(os.getloadavg()[0], 2),
            "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
            "threads": threads,
            "precision": precision,
        },
        "results": results,
    }


def code() -> dict[str, object]:
    """Return what was measured: the commit, where the package lies in a git repository, and versions of packages."""
    folder = Path(__file__).parents[2]
    found: dict[str, object] = {}
    if commit := _git(folder, "rev-parse", "HEAD"):
        found = {"commit": commit, "changed": bool(_git(folder, "status", "--porcelain", "--", "."))}
    versions = {"python": platform.python_version(), "torch": str(torch.__version__)}
    for name in ("dualgrad", *PACKAGES):
        try:
            versions.setdefault(name, metadata.version(name))
        except metadata.PackageNotFoundError:
            continue
    return {**found, "versions": versions}


def _git(folder: Path, *words: str) -> str:
    """What git says of a folder; nothing where there is no git, or no repository."""
    try:
        done = subprocess.run(["git", "-C", str(folder), *words], capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def lines_of(report: Mapping) -> list[str]:
    """Return a report as lines to read."""
    machine, version = report["machine"], report["code"]["versions"]["torch"]
    lines = [
        f"{report['benchmark']} on {machine['device']} ({machine['processor']}, {machine['cores']} cores, load "
        f"{machine['load']}), {machine['precision']}, {machine['threads']} thread(s), torch {version}"
    ]
    for result in report["results"]:
        lines.append(f"\n{result['what']}")
        rows = [(name, one, result["unit"]) for name, one in result["values"].items()]
        rows += [(name, one, "times") for name, one in result["ratios"].items()]
        rows += [(name.replace("_", " "), value, "") for name, value in result["details"].items()]
        width = max(len(name) for name, _, _ in rows)
        for name, value, unit in rows:
            shown = _shown(value)
            if isinstance(value, dict):
                around = f"[{_shown(value['low'])} to {_shown(value['high'])}, n = {value['n']}]"
                shown = f"{_shown(value['median']):>10} {unit:8} {around if value['n'] > 1 else ''}"
            lines.append(f"  {name:{width}}  {shown}".rstrip())
    return lines + [f"\nnote: {note}" for note in report.get("notes", [])]


def _shown(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
