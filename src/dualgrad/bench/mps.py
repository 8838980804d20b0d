"""NVIDIA's multi-process service: kernels of several processes run on one GPU at the same time, not in turns."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

CONTROL = "nvidia-cuda-mps-control"
_PATIENCE = 20.0  # seconds for the service to start or end


def available() -> bool:
    """Whether the service is installed here."""
    return shutil.which(CONTROL) is not None


@contextlib.contextmanager
def serving() -> Iterator[None]:
    """With a service of our own, which processes started meanwhile use; the GPU's settings stay as they are.

    Raises:
        RuntimeError: it does not start.
    """
    with tempfile.TemporaryDirectory(prefix="dualgrad-mps-", ignore_cleanup_errors=True) as folder:
        places = {f"CUDA_MPS_{what}_DIRECTORY": str(Path(folder, what.lower())) for what in ("PIPE", "LOG")}
        for place in places.values():
            Path(place).mkdir()
        with mock.patch.dict(os.environ, places):
            try:
                _control("-d")
                yield
            finally:
                with contextlib.suppress(RuntimeError):
                    _control(typed=b"quit -t 5\n")


def _control(*words: str, typed: bytes = b"") -> None:
    """Call the service's control.

    Raises:
        RuntimeError: it fails.
    """
    nowhere = subprocess.DEVNULL  # no pipes: the service that it leaves behind may hold them open
    try:
        subprocess.run(
            [CONTROL, *words], input=typed, stdout=nowhere, stderr=nowhere, check=True, timeout=_PATIENCE
        )
    except (OSError, subprocess.SubprocessError) as problem:
        raise RuntimeError(f"{CONTROL} does not start: {problem}") from None
