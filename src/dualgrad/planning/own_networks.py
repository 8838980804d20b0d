"""Networks of one's own, which nobody has timed: measured by one forward pass each, and remembered.

A module of somebody's may do anything, so it is imported in a process of its own; and what plans runs must not wait
for torch. Measurements are kept beside the edition's results, by the network's options and the digest of its source.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dualgrad.census import imports
from dualgrad.project import Project
from dualgrad.records import definition, write_atomically

FILE = "networks.json"
EXAMPLES = 8
SECONDS = 300  # a network that takes longer for so few is not waited for


@dataclass(frozen=True)
class Measured:
    """What one forward pass in training tells of a network.

    Attributes:
        parameters: trainable numbers.
        saved: numbers that the pass keeps for the backward pass, per example.
        operations: floating-point operations of the pass, per example (a multiply-add counts two).
        seconds: of a million examples, on a CPU core of this machine, in the run's precision.
        apart: a second pass over the same batch would be another, as with dropout.
    """

    parameters: int
    saved: int
    operations: int
    seconds: float
    apart: bool


_known: dict[str, Measured | None] = {}  # in this process; None: it cannot be built, as its job will say


def measured(run: Mapping[str, Any]) -> Measured | None:
    """Return what :func:`measure` found of a run's network; None of a built-in one, or before it is asked."""
    return _known.get(_key(run)) if "import" in run["task"]["model"] else None


def is_known(run: Mapping[str, Any]) -> bool:
    """Whether there is nothing to measure for a resolved run."""
    return "import" not in run["task"]["model"] or _key(run) in _known


def measure(project: Project) -> None:
    """Measure all networks of one's own in a project's census that are not known yet; takes seconds, once."""
    runs = {
        _key(run): run for run in project.census.runs.values() if "import" in run["task"]["model"]
    }  # one run for each network
    new = {key: run for key, run in runs.items() if key not in _known}
    if not new:
        return
    file = project.results / FILE
    kept = _read(file)
    names = {key: _with_source(key, run, project.root) for key, run in new.items()}
    missing = {
        key: definition(run) | {"data": run["data"]} for key, run in new.items() if names[key] not in kept
    }
    if missing:
        found, failed = _in_another_process(missing, project.root)
        kept |= {names[key]: one for key, one in found.items()}
        for key, why in failed.items():
            name = missing[key]["task"]["model"]["import"]
            print(
                f"task.model.import: {name}: not measured, and planned as a larger network than most: {why}",
                file=sys.stderr,
            )
        if found:
            try:
                file.parent.mkdir(parents=True, exist_ok=True)
                write_atomically(file, f"{json.dumps(kept, indent=1)}\n".encode())
            except OSError:  # a folder that may only be read: measured again next time
                pass
    for key in new:
        _known[key] = Measured(**kept[names[key]]) if names[key] in kept else None


def _key(run: Mapping[str, Any]) -> str:
    """Everything that a network's size depends on, but its source."""
    task = run["task"]
    shape = run["data"].get("shape") or task.get("max_length")
    return json.dumps([task["model"], task["kind"], task["classes"], shape, run["precision"]], sort_keys=True)


def _with_source(key: str, run: Mapping[str, Any], root: Path) -> str:
    module = run["task"]["model"]["import"].partition(":")[0]
    try:
        source = imports.source_digest(module, root)
    except (imports.ImportPathError, OSError):
        source = ""
    return hashlib.sha256(f"{key}{source}".encode()).hexdigest()


def _read(file: Path) -> dict[str, dict[str, Any]]:
    """Measurements that were kept; none where the file is not one of ours."""
    try:
        kept = json.loads(file.read_bytes())
        return {name: asdict(Measured(**one)) for name, one in kept.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def _in_another_process(
    runs: Mapping[str, Mapping[str, Any]], root: Path
) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """Return what was measured of the runs' networks, and why others were not."""
    words = [sys.executable, "-m", "dualgrad.planning.own_networks", str(root)]
    try:
        done = subprocess.run(
            words, input=json.dumps(runs), capture_output=True, text=True, timeout=SECONDS, check=True
        )
        found, failed = json.loads(done.stdout)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        return {}, dict.fromkeys(runs, str(error).partition("\n")[0])
    return found, failed


def _main() -> None:
    """Measure the networks of the runs on standard input; say why where that fails."""
    from dualgrad.planning.calibrate import forward_pass

    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what somebody's module prints is no part of the answer
    found, failed = {}, {}
    for key, run in json.load(sys.stdin).items():
        try:
            found[key] = asdict(forward_pass(run, Path(sys.argv[1]), EXAMPLES))
        except (Exception, SystemExit) as error:  # somebody's code may raise anything
            first, *_ = str(error).splitlines() or [type(error).__name__]
            failed[key] = first
    with answer:
        json.dump((found, failed), answer)


if __name__ == "__main__":
    _main()
