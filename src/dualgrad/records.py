"""Records: one JSON file per run, whole or absent, with a digest that says whether two runs are the same.

A record is ``{format, edition, experiment, run, series, counted, factors, synthetic, spec, outcome, trajectory,
checkpoint, digest, provenance}``. The digest covers what was trained and what came of it (spec, outcome, trajectory,
weights saved), never when, where or how fast (docs/specification/contract.md#determinism). In the file a record
also has a checksum of all of it, called ``seal``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dualgrad import strict_json
from dualgrad.files import read_regular, replacing

FORMAT = 2
_IDENTITY = ("edition", "experiment", "run", "series", "counted", "factors")
_REQUIRED = ("format", *_IDENTITY, "spec", "outcome", "trajectory", "digest", "provenance")
# Planning figures: knowing them better must not change what a run *is*. (The seconds are in older records alone.)
PLANNING = ("seconds_recorded", "data")


# Of a record's provenance, what may change a result: name, and where it stands.
CONDITIONS: dict[str, tuple[str, ...]] = {
    "dualgrad": ("versions", "dualgrad"),
    "code": ("code",),
    "torch": ("versions", "torch"),
    "device": ("device",),
    "arithmetic": ("arithmetic",),
    "threads": ("threads",),
    "cpu_capability": ("cpu", "capability"),
}


class RecordError(ValueError):
    """A record file is missing, truncated, altered, or belongs to another run."""


def canonical_json(value: Any) -> bytes:
    """Serialise plain JSON values to one byte string per value: sorted keys, no spaces, no NaN."""
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode()


def definition(run: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a resolved run is: all of it but the planning figures."""
    return {key: value for key, value in run.items() if key not in PLANNING}


def training(run: Mapping[str, Any]) -> dict[str, Any]:
    """Return what of a resolved run makes its training: its definition without what is read off afterwards."""
    return {key: value for key, value in definition(run).items() if key != "thresholds"}


def digest(record: dict) -> str:
    """SHA-256 over the canonical spec, outcome, trajectory and weight hashes of a record (hex)."""
    payload = {
        "spec": definition(record["spec"]),
        "outcome": record["outcome"],
        "trajectory": record["trajectory"],
        "checkpoint": record.get("checkpoint"),
    }
    return hashlib.sha256(canonical_json(payload)).hexdigest()


def make_record(
    spec: dict, outcome: dict, trajectory: dict, checkpoint: dict | None, provenance: dict
) -> dict:
    """Assemble a complete record, digest included, from its parts."""
    record = {
        "format": FORMAT,
        **{key: spec[key] for key in _IDENTITY},
        # True: synthetic data or a few steps only. Written once more where nobody reading the file can miss it.
        "synthetic": bool(spec.get("synthetic", False)),
        "spec": spec,
        "outcome": outcome,
        "trajectory": trajectory,
        "checkpoint": checkpoint,
        "provenance": provenance,
    }
    record["digest"] = digest(record)
    return record


def conditions(provenance: Mapping[str, Any]) -> dict[str, Any]:
    """Return what may have changed a result, by the names of CONDITIONS; None where the record does not say.

    The arithmetic is told in words, e.g. ``float32, TF32 convolutions``.
    """
    found: dict[str, Any] = {}
    for name, path in CONDITIONS.items():
        value: Any = provenance
        for key in path:
            value = value.get(key) if isinstance(value, Mapping) else None
        found[name] = value
    if isinstance(found["arithmetic"], Mapping):
        one = found["arithmetic"]
        words = [str(one["dtype"])] if one.get("dtype") else []
        if one.get("tf32_convolutions"):
            words.append("TF32 convolutions")
        if one.get("training_autocast"):
            words.append(f"training in {one['training_autocast']}")
        found["arithmetic"] = ", ".join(words)
    return found


def changed_conditions(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Say in which conditions two provenances differ; threads and kind of CPU count where the CPU trains."""
    old, new = conditions(before), conditions(now)
    on_cpu = "cpu" in (old["device"], new["device"])
    return [
        f"{name.replace('cpu_capability', 'CPU')} {old[name]}, here {new[name]}"
        for name in CONDITIONS
        if old[name] != new[name] and (on_cpu or name not in ("threads", "cpu_capability"))
    ]


def _checksum(record: dict) -> str:
    return hashlib.sha256(canonical_json(record)).hexdigest()


def write_atomically(path: Path, data: bytes) -> None:
    """Write bytes so that ``path`` holds either its old content or all of the new one, even after a crash."""
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def write_record(path: Path, record: dict) -> None:
    """Write a record atomically as one line of JSON, with its checksum."""
    write_atomically(path, canonical_json(record | {"seal": _checksum(record)}) + b"\n")


def read_record(path: Path, *, edition: str | None = None, name: str | None = None) -> dict:
    """Read and verify a record.

    Args:
        path: the record file.
        edition: edition the record must belong to, or None for any.
        name: ``EXPERIMENT/RUN`` the record must belong to, or None for any.

    Raises:
        RecordError: the file is missing, no complete JSON, of another format, altered since it was written
            (digest), or another run's; the message names the file and what to do.
    """
    remedy = f"delete {path} and run the same target again"
    try:
        record = strict_json.loads(read_regular(path))
    except FileNotFoundError:
        raise RecordError(f"{path}: no such record; run the workflow for it first") from None
    except OSError as error:
        raise RecordError(f"{path}: cannot be read ({error.strerror}); {remedy}") from None
    except ValueError as error:
        raise RecordError(f"{path}: not a complete JSON record ({error}); {remedy}") from None
    if not isinstance(record, dict) or any(key not in record for key in _REQUIRED):
        missing = [k for k in _REQUIRED if not isinstance(record, dict) or k not in record]
        raise RecordError(f"{path}: not a dualgrad record, missing {', '.join(missing)}; {remedy}")
    if record["format"] != FORMAT:
        raise RecordError(f"{path}: record format {record['format']!r}, expected {FORMAT}; {remedy}")
    for key in ("spec", "outcome", "trajectory", "provenance"):
        if not isinstance(record[key], dict):
            raise RecordError(f"{path}: malformed record, {key}: expected an object; {remedy}")
    try:
        checksum = record.pop("seal", None)
        whole = checksum == _checksum(record)
        actual = digest(record)
    except (TypeError, AttributeError, ValueError, KeyError) as error:
        raise RecordError(f"{path}: malformed record ({error}); {remedy}") from None
    spec = record["spec"]
    marked = record.get("synthetic", False) == bool(spec.get("synthetic", False))
    if actual != record["digest"] or not marked or any(record[key] != spec.get(key) for key in _IDENTITY):
        raise RecordError(f"{path}: content does not match its digest {record['digest']!r}; {remedy}")
    if not whole:  # what the digest leaves out
        raise RecordError(f"{path}: content does not match its checksum; {remedy}")
    found = f"{record['experiment']}/{record['run']}"
    if name is not None and found != name:
        raise RecordError(f"{path}: holds the run {found}, expected {name}; {remedy}")
    if edition is not None and record["edition"] != edition:
        raise RecordError(f"{path}: belongs to edition {record['edition']!r}, expected {edition!r}; {remedy}")
    return record
