"""Verification: train runs a second time and compare with their records (contract.md#determinism).

A record's digest covers what was trained and what came of it, saved weights included. Training the same run again on
the same platform in the same precision has to give the same digest, however it was executed the first time. Nothing
is written: a second training lives in memory.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dualgrad.census import Census
    from dualgrad.training.trainer import Context

SAME, DIFFERENT, OUTDATED, FAILED = "same", "different", "outdated", "failed"
_SHOWN = 5  # places named where two records differ
# What a run reads beside its definition, by its name in messages: where the provenance holds its digest.
_READ = {
    "data": ("data", "content_sha256"),
    "labels from a file": ("labels", "sha256"),
    "trusted examples from a file": ("trusted", "sha256"),
    "source of the network": ("network", "sha256"),
}


@dataclass(frozen=True)
class Verdict:
    """What came of verifying one run.

    Attributes:
        run: ``EXPERIMENT/RUN``.
        result: ``same``; ``different``; ``outdated`` (the record is of another definition of the run than the census
            has now, so it was not trained); ``failed`` (the record, or something that the run needs, cannot be read).
        recorded: the record's digest, or None.
        again: digest of the second training, or None.
        seconds: what the second training took.
        differs: places where the two differ, as ``place: recorded | again``.
        note: why it failed, or on what other platform the record was made.
    """

    run: str
    result: str
    recorded: str | None = None
    again: str | None = None
    seconds: float = 0.0
    differs: list[str] = field(default_factory=list)
    note: str | None = None

    def as_json(self) -> dict[str, Any]:
        """Plain data, in the order of the attributes."""
        return asdict(self)


def recorded_runs(census: Census, records: Path, names: Iterable[str] = ()) -> list[str]:
    """Runs that have a record, in census order.

    Args:
        census: the edition's census.
        records: folder of the edition's records.
        names: experiments to choose from; none: all of them, not counted ones too.
    """
    wanted = [census.experiment(name) for name in names] or census.experiments.values()
    return [run for one in wanted for run in one["runs"] if (records / f"{run}.json").is_file()]


def sample_of(runs: Sequence[str], size: int, seed: int) -> list[str]:
    """*size* of the runs at random (all, if there are not more), in their order; the same for the same seed."""
    chosen = set(random.Random(seed).sample(list(runs), min(size, len(runs))))
    return [run for run in runs if run in chosen]


def verify(run: str, census: Census, context: Context) -> Verdict:
    """Train a run again and compare with its record.

    Args:
        run: ``EXPERIMENT/RUN``.
        census: the edition's census.
        context: where records, checkpoints and data are and how to train; its resume file is not used. Weights and
            numbers that the run takes from other runs are read from their records and checkpoints, which are checked
            by their own hashes.
    """
    from dualgrad.data.errors import DataError
    from dualgrad.records import RecordError, canonical_json, training
    from dualgrad.training.checkpoints import CheckpointError
    from dualgrad.training.errors import TrainingError, lacks_memory

    spec, clock = census.run(run), time.perf_counter()
    recorded = None
    try:
        record = context.record_of(run, spec["edition"])
        recorded = record["digest"]
        mine, now = training(record["spec"]), training(spec)
        if canonical_json(mine) != canonical_json(now):
            changed = _differences(mine, now, "spec")
            note = "trained under another definition of this run; run its target again"
            return Verdict(run, OUTDATED, recorded, differs=changed, note=note)
        spec = {**spec, "thresholds": record["spec"].get("thresholds")}  # they are read off, not trained
        again = _trained(spec, census, replace(context, resume=None))
    except (RecordError, CheckpointError, DataError, TrainingError) as error:
        return Verdict(run, FAILED, recorded, seconds=_since(clock), note=str(error))
    except (MemoryError, RuntimeError) as error:
        if not lacks_memory(error):
            raise
        reason = str(error).partition("\n")[0] or "the system gives no more"
        return Verdict(run, FAILED, recorded, seconds=_since(clock), note=f"not enough memory ({reason})")
    if again["digest"] == recorded:
        return Verdict(run, SAME, recorded, recorded, _since(clock))
    parts = ("outcome", "trajectory", "checkpoint")
    differs = [place for part in parts for place in _differences(record[part], again[part], part)]
    return Verdict(
        run,
        DIFFERENT,
        recorded,
        again["digest"],
        _since(clock),
        differs[:_SHOWN],
        _other_platform(record, again),
    )


def verify_all(
    runs: Sequence[str],
    census: Census,
    context: Context,
    report: Callable[[int, Verdict], None] | None = None,
) -> list[Verdict]:
    """Verify runs one after the other; *report* gets each verdict with its number, from 1."""
    verdicts = []
    for number, run in enumerate(runs, start=1):
        verdicts.append(verify(run, census, context))
        if report is not None:
            report(number, verdicts[-1])
    return verdicts


def _trained(spec: Mapping[str, Any], census: Census, context: Context) -> dict[str, Any]:
    from dualgrad.training.trainer import train

    source = spec["copy_of"]
    if source is None:
        return train(dict(spec), context)[0]
    # A copy trains nothing by itself: what it copies is trained again.
    record = _trained(census.run(source), census, context)
    return train(dict(spec), replace(context, given={source: record}))[0]


def _since(clock: float) -> float:
    return round(time.perf_counter() - clock, 3)


def _differences(old: Any, new: Any, place: str) -> list[str]:
    """Places where two pieces of JSON differ, the first of each list only."""
    if isinstance(old, dict) and isinstance(new, dict):
        keys = [*old, *(key for key in new if key not in old)]
        return [
            found
            for key in keys
            for found in _differences(old.get(key), new.get(key), f"{place}.{key}")
            if old.get(key) != new.get(key)
        ]
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for number, (one, other) in enumerate(zip(old, new, strict=True)):
            if one != other:
                return _differences(one, other, f"{place}[{number}]")
        return []
    return [] if old == new else [f"{place}: {_short(old)} | {_short(new)}"]


def _short(value: Any) -> str:
    text = f"{len(value)} values" if isinstance(value, list) else str(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


def _other_platform(record: Mapping[str, Any], again: Mapping[str, Any]) -> str | None:
    """Say what differs of what a result may depend on: equal digests are promised where nothing does."""
    from dualgrad.records import changed_conditions

    old, new = record["provenance"], again["provenance"]
    found = changed_conditions(old, new)
    for name, (key, digest) in _READ.items():
        before, now = ((one.get(key) or {}).get(digest, "none")[:12] for one in (old, new))
        if before != now:
            found.append(f"{name} {before}, here {now}")
    models = [(one.get("cpu") or {}).get("model") for one in (old, new)]
    for name, (before, now) in {
        "CPU model": models,
        "system": [one.get("platform") for one in (old, new)],
    }.items():
        if before != now:
            found.append(f"{name} {before}, here {now}")
    return f"recorded under other conditions: {'; '.join(found)}" if found else None
