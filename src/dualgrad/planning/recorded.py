"""Seconds from the edition's own records: of the runs that are done, and of others like them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dualgrad.planning.networks import network_of
from dualgrad.planning.rates import Rate
from dualgrad.planning.work import Work, work_of

OWN = "recorded here for the run itself"
SAME_NETWORK = "recorded here, per pass through the same network"


@dataclass(frozen=True)
class Recorded:
    """What the records of an edition say about time.

    Attributes:
        device: the device that most of them were trained on, or None without records.
        seconds: run -> seconds of its training, of the records made there.
        done: all runs that have a record.
    """

    device: str | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    done: frozenset[str] = frozenset()


def read_recorded(folder: Path, runs: Iterable[str], precision: str) -> Recorded:
    """Look through the records of an edition.

    Only a record's provenance is read; a file that is no record counts as none, and training will say what is wrong.

    Args:
        folder: of the edition's records (``results/<edition>/runs``).
        runs: the runs to look for.
        precision: seconds of records in another precision say nothing here.
    """
    found: dict[str, tuple[str, float]] = {}
    done = set()
    for name in runs:
        try:
            record = json.loads((folder / f"{name}.json").read_bytes())
            provenance, spec = record["provenance"], record["spec"]
            done.add(name)
            if spec["precision"] == precision:
                found[name] = provenance["device"], float(provenance["seconds"])
        except (OSError, ValueError, KeyError, TypeError):
            continue
    if not found:
        return Recorded(done=frozenset(done))
    (device, _), *_ = Counter(device for device, _ in found.values()).most_common(1)
    return Recorded(
        device, {name: s for name, (where, s) in found.items() if where == device}, frozenset(done)
    )


def rates_of_records(recorded: Recorded, runs: Mapping[str, Mapping[str, Any]]) -> dict[str, Rate]:
    """Return a rate per network: all recorded seconds of its runs over all their passes."""
    sums: dict[str, tuple[float, Work]] = {}
    for name, value in recorded.seconds.items():
        run = runs[name]
        work = work_of(run)
        # A run that stopped or failed a gate did less than planned.
        early = any(stage["stop"] or stage["gate"] for stage in run["stages"])
        if work.units and not early:
            before, done = sums.get(network_of(run["task"]), (0.0, Work()))
            sums[network_of(run["task"])] = before + value, done + work
    return {
        network: Rate.of_unit(value / work.units * 1e6, SAME_NETWORK)
        for network, (value, work) in sums.items()
    }
