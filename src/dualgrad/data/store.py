"""Prepared data files: written whole or not at all, and refused when they are not what was written."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dualgrad.data.errors import DataError


def content_digest(arrays: Mapping[str, np.ndarray]) -> str:
    """SHA-256 (hex) over names, dtypes, shapes and values of the arrays, whatever file holds them."""
    total = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        total.update(f"{name}:{array.dtype.str}:{array.shape}\n".encode())
        total.update(array.tobytes())
    return total.hexdigest()


def file_sha256(path: Path) -> str:
    """SHA-256 (hex) of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_atomic(path: Path, content: bytes) -> None:
    """Write `path` whole or not at all (temporary file in the same folder, then rename)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        # mkstemp makes private files; data may be shared between users of one machine.
        umask = os.umask(0)
        os.umask(umask)
        Path(name).chmod(0o666 & ~umask)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def save_arrays(path: Path, arrays: Mapping[str, np.ndarray], source: Mapping[str, Any]) -> None:
    """Write arrays to `path` (.npz) and their digest and origin to `path` with suffix .json, which comes
    last.
    """
    import io

    stream = io.BytesIO()
    np.savez(stream, **arrays)
    write_atomic(path, stream.getvalue())
    note = {"format": 1, "content_sha256": content_digest(arrays), "source": dict(source)}
    write_atomic(path.with_suffix(".json"), (json.dumps(note, indent=2, sort_keys=True) + "\n").encode())


def load_arrays(path: Path, *, expected: str | None = None, remedy: str) -> dict[str, np.ndarray]:
    """Arrays of a prepared file, checked against its .json note and, where given, against a pinned digest.

    Raises DataError, ending in `remedy`, where a file is missing, truncated, altered or not the pinned
    content.
    """
    note_path = path.with_suffix(".json")
    for needed in (path, note_path):
        if not needed.is_file():
            raise DataError(f"{needed} is missing: {remedy}")
    try:
        recorded = json.loads(note_path.read_text())["content_sha256"]
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} cannot be read ({error}): delete it and {remedy}") from error
    found = content_digest(arrays)
    for wanted, where in ((recorded, f"recorded in {note_path.name}"), (expected, "known for this data set")):
        if wanted is not None and found != wanted:
            raise DataError(
                f"{path} is not what it should be: its content has SHA-256 {found}, but {wanted} is {where}. "
                f"Delete it and {remedy}"
            )
    return arrays
