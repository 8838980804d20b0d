"""Files of data: fetched against a known hash, written whole or not at all, refused when altered."""

from __future__ import annotations

import hashlib
import io
import json
import math
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from dualgrad.archives import ArchiveDamage, open_tar
from dualgrad.data.errors import DataError
from dualgrad.downloads import DownloadError, download, pause
from dualgrad.files import read_regular, replacing


def content_digest(arrays: Mapping[str, np.ndarray]) -> str:
    """SHA-256 (hex) over names, dtypes, shapes and values of the arrays, whatever file holds them."""
    total = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        total.update(f"{name}:{array.dtype.str}:{array.shape}\n".encode())
        total.update(array.tobytes())
    return total.hexdigest()


def file_hash(path: Path) -> str:
    """SHA-256 (hex) of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def check_file(path: Path, sha256: str, remedy: str) -> None:
    """Raise DataError, ending in `remedy`, unless `path` is a file with this SHA-256."""
    if not path.is_file():
        raise DataError(f"{path} is missing: {remedy}")
    found = file_hash(path)
    if found != sha256:
        raise DataError(
            f"{path} is truncated or altered: its SHA-256 is {found}, expected {sha256}; "
            f"delete it and {remedy}"
        )


def fetch(
    url: str, path: Path, sha256: str, *, largest: int = 1 << 30, attempts: int = 3, timeout: float = 60.0
) -> None:
    """Download `url` to `path`, unless it is there with this SHA-256 already.

    Raises DataError where the network fails `attempts` times or the content is not the expected one, or larger
    than `largest` bytes; `path` is then neither created nor replaced.
    """
    if path.is_file() and file_hash(path) == sha256:
        return
    problem = ""
    for attempt in range(attempts):
        pause(attempt)
        try:
            with replacing(path) as temporary, temporary.open("wb") as stream:
                found = download(url, stream, largest, timeout=timeout)
                if found != sha256:
                    raise DownloadError(f"the download has SHA-256 {found}, expected {sha256}")
            return
        except DownloadError as error:
            problem = str(error)
    raise DataError(
        f"{url} could not be fetched ({problem}): try again, or download it on a machine that can reach it and give "
        f"the file with --from {path.name}"
    )


def tar_member(stream: BinaryIO, shown: str, name: str, limit: int) -> bytes:
    """The content of one regular file in an open .tar.gz stream, called `shown` in messages; nothing is unpacked.

    So no path, link or mode in the archive can touch the disk. Raises DataError where the member is missing,
    is not a regular file, is larger than `limit` bytes, or the archive is damaged.
    """
    try:
        with open_tar(stream, _LARGEST_ARCHIVE) as opened:
            found = opened.getmember(name)
            if not found.isreg():
                raise DataError(f"{shown}: member {name!r} is not a regular file")
            return bounded(shown, name, opened.extractfile(found), found.size, limit)
    except (KeyError, ArchiveDamage) as error:
        raise DataError(f"{shown}: no readable member {name!r} ({error})") from error


# The largest archive here, CIFAR's, holds 186 MB.
_LARGEST_ARCHIVE = 1 << 30


def bounded(shown: object, name: str, stream: Any, size: int, limit: int) -> bytes:
    """Return what a stream holds, and close it.

    Raises:
        DataError: it is larger than ``limit`` bytes, by its header or in fact.
    """
    # The size in the header is a claim: read one byte more than allowed and see.
    with stream:
        content = stream.read(limit + 1) if size <= limit else b""
    if size > limit or len(content) > limit:
        raise DataError(f"{shown}: {name} is larger than the {limit} bytes expected at most")
    return content


def save_arrays(path: Path, arrays: Mapping[str, np.ndarray], note: Mapping[str, Any]) -> str:
    """Write arrays to `path` (.npz), then their digest and a note about them beside it (.json); return the digest.

    A file that holds the same already keeps its date, and what was made from it stays up to date.
    """
    buffer = io.BytesIO()
    np.savez(buffer, **dict[str, Any](arrays))
    digest = content_digest(arrays)
    whole = json.dumps({"format": 1, "content_sha256": digest, **note}, indent=2, sort_keys=True) + "\n"
    for file, content in ((path, buffer.getbuffer()), (path.with_suffix(".json"), whole.encode())):
        if not file.is_file() or file.read_bytes() != content:
            with replacing(file) as temporary:
                temporary.write_bytes(content)
    return digest


def read_note(path: Path) -> dict[str, Any]:
    """Return what is noted beside a prepared file; empty where that cannot be read."""
    try:
        note = json.loads(read_regular(path.with_suffix(".json")))
    except (OSError, ValueError, RecursionError):
        return {}
    return note if isinstance(note, dict) else {}


def _check_size(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> None:
    """Raise ValueError unless a member of an .npz file holds what its header says, before memory is asked for."""
    if member.compress_type != zipfile.ZIP_STORED:
        raise ValueError(f"{member.filename} is compressed")
    with archive.open(member) as stream:
        version = np.lib.format.read_magic(stream)
        read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        shape, _, dtype = read[version](stream)
        if math.prod(shape) * dtype.itemsize > member.file_size:
            raise ValueError(f"{member.filename} says that it is larger than it is")


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
        recorded = json.loads(read_regular(note_path))["content_sha256"]
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                _check_size(archive, member)
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
    except (
        Exception
    ) as error:  # a damaged archive of arrays can raise anything, and ask for any amount of memory
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise DataError(f"{path} cannot be read ({reason}): delete it and {remedy}") from error
    found = content_digest(arrays)
    for wanted, where in ((recorded, f"recorded in {note_path.name}"), (expected, "that of this data set")):
        if wanted is not None and found != wanted:
            raise DataError(
                f"{path} is altered: its content has SHA-256 {found}, but {wanted} is {where}; "
                f"delete it and {remedy}"
            )
    return arrays
