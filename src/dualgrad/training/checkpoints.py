"""Weights that another run starts from, and the state a killed run resumes from.

Both are torch files written atomically and read with ``weights_only=True``: loading one can run no code.
"""

from __future__ import annotations

import hashlib
import io
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeGuard

import torch
from torch import Tensor

from dualgrad.files import read_regular
from dualgrad.records import write_atomically


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


def save(path: Path, content: Mapping[str, Any]) -> None:
    """Write a torch file atomically."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    write_atomically(path, buffer.getvalue())


def save_with_checksum(path: Path, content: Mapping[str, Any]) -> None:
    """Write a torch file atomically, with a checksum in front: torch itself overlooks flipped bits."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    data = buffer.getvalue()
    write_atomically(path, hashlib.sha256(data).digest() + data)


def load_with_checksum(path: Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """Read what :func:`save_with_checksum` wrote, without running any code in it.

    Raises:
        CheckpointError: missing, damaged, or holding anything but plain data and tensors.
    """
    try:
        content = read_regular(path)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error})") from None
    checksum, data = content[:32], content[32:]
    if hashlib.sha256(data).digest() != checksum:
        raise CheckpointError(f"{path}: damaged, its checksum does not match")
    return _load(path, io.BytesIO(data), device)


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


def _load(path: Path, source: Path | io.BytesIO, device: torch.device | str) -> dict[str, Any]:
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
