"""Weights that another run starts from, and the state a killed run resumes from.

Both are torch files written atomically and read with ``weights_only=True``: loading one can run no code. They go to
the disk and come from it in pieces: a state is four times a network's weights, and no memory is asked for a
copy of it.
"""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, TypeGuard

import torch
from torch import Tensor

from dualgrad.files import open_regular, replacing
from dualgrad.training.errors import of_the_machine

_CHECKSUM = hashlib.sha256().digest_size


class CheckpointError(ValueError):
    """A checkpoint is missing, damaged, or not the one that its record describes."""


def weights_digest(weights: dict[str, Tensor]) -> str:
    """SHA-256 over names, dtypes, shapes and bytes of a state dict."""
    result = hashlib.sha256()
    for name in sorted(weights):
        tensor = weights[name].detach().cpu().contiguous()
        result.update(f"{name}|{tensor.dtype}|{tuple(tensor.shape)}|".encode())
        result.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return result.hexdigest()


class _Writer(io.RawIOBase):
    """A file that torch writes to, with the checksum of what it wrote.

    Attributes:
        error: why no more of it could be written; torch itself would say something else.
    """

    def __init__(self, stream: BinaryIO) -> None:
        super().__init__()
        self.error: OSError | None = None
        self._stream, self._sum = stream, hashlib.sha256()

    def write(self, data: Any) -> int:
        """Write a piece, unless one before it could not be written; return its length."""
        self._sum.update(data)
        try:
            if self.error is None:
                self._stream.write(data)
        except OSError as error:
            self.error = error
        return len(data)

    def digest(self) -> bytes:
        """Return the SHA-256 of all pieces."""
        return self._sum.digest()


def save(path: Path, content: Mapping[str, Any], *, checksum: bool = False) -> None:
    """Write a torch file atomically.

    Args:
        path: the file.
        content: plain data and tensors.
        checksum: put one in front, for :func:`load_with_checksum`.

    Raises:
        OSError: it cannot be written.
    """
    with replacing(path) as temporary, temporary.open("wb") as stream:
        stream.seek(_CHECKSUM if checksum else 0)
        writer = _Writer(stream)
        torch.save(content, writer)  # type: ignore[arg-type]
        if writer.error is not None:
            raise writer.error
        if checksum:
            stream.seek(0)
            stream.write(writer.digest())


def save_with_checksum(path: Path, content: Mapping[str, Any]) -> None:
    """Write a torch file atomically, with a checksum in front: torch itself overlooks flipped bits."""
    save(path, content, checksum=True)


class _BehindChecksum(io.FileIO):
    """What a file holds behind its checksum, as a file of its own."""

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a place, counted from behind the checksum."""
        return super().seek(offset + _CHECKSUM * (whence == os.SEEK_SET), whence) - _CHECKSUM

    def tell(self) -> int:
        """Return the place, counted so."""
        return super().tell() - _CHECKSUM


def load_with_checksum(path: Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """Read what :func:`save_with_checksum` wrote, without running any code in it.

    Raises:
        CheckpointError: missing, damaged, or holding anything but plain data and tensors.
    """
    try:
        with _BehindChecksum(open_regular(path)) as stream:
            checksum = stream.read(_CHECKSUM)
            if hashlib.file_digest(stream, "sha256").digest() != checksum:
                raise CheckpointError(f"{path}: damaged, its checksum does not match")
            return _load(path, stream, device)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error})") from None


def load(path: Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """Read a torch file without running any code in it.

    Raises:
        CheckpointError: missing, truncated, damaged, or holding anything but plain data and tensors.
    """
    try:
        if path.is_fifo():
            raise CheckpointError(f"{path}: not a regular file; delete it and run the same target again")
        return _load(path, path, device)
    except FileNotFoundError:
        raise CheckpointError(
            f"{path}: no such checkpoint; run the workflow for the run that writes it"
        ) from None


def _load(path: Path, source: Path | io.FileIO, device: torch.device | str) -> dict[str, Any]:
    try:
        with zipfile.ZipFile(source) as archive:  # torch stores its members; what swells is no file of ours
            if any(member.compress_type != zipfile.ZIP_STORED for member in archive.infolist()):
                raise ValueError("its members are compressed")
        if not isinstance(source, Path):
            source.seek(0)
        content: dict[str, Any] = torch.load(source, map_location=device, weights_only=True)
        return content
    except FileNotFoundError:
        raise
    except Exception as error:  # a damaged pickle can raise anything
        if of_the_machine(error):
            raise
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        if isinstance(error, pickle.UnpicklingError):  # torch goes on to advise what nobody should do
            reason = "not plain data and tensors"
        raise CheckpointError(
            f"{path}: damaged or unsafe checkpoint ({reason}); delete {path} and run the same target again"
        ) from None


def _is_state(weights: object) -> TypeGuard[dict[str, Tensor]]:
    """Whether this is a state dict of plain tensors: dense, with their values, by name."""
    return isinstance(weights, dict) and all(
        isinstance(name, str)
        and isinstance(tensor, Tensor)
        and tensor.layout is torch.strided
        and not tensor.is_meta
        and not tensor.is_quantized
        # Strides of 0 make a few bytes any number of them, which hashing would write out.
        and tensor.numel() * tensor.element_size() <= tensor.untyped_storage().nbytes()
        for name, tensor in weights.items()
    )


def load_stage(path: Path, record: Mapping[str, Any], stage: str) -> dict[str, Tensor]:
    """Return the weights of ``stage`` from a run's checkpoint file, checked against the run's record.

    Raises:
        CheckpointError: damaged, without that stage, or not the weights that the record's hash names.
    """
    content = load(path)
    name = f"{record['experiment']}/{record['run']}"
    stages = content.get("stages") if isinstance(content, dict) else None
    weights = stages.get(stage) if isinstance(stages, dict) else None
    expected = (record.get("checkpoint") or {}).get(stage)
    if expected is None or not _is_state(weights):
        raise CheckpointError(
            f"{path}: holds no weights of stage {stage!r} of {name}; delete {path} and run the same target again"
        )
    if weights_digest(weights) != expected:
        raise CheckpointError(
            f"{path}: weights do not match the record of {name}; delete {path} and run the same target again"
        )
    return weights
