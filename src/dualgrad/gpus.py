"""The GPUs of this machine, by the names that CUDA gives them, without torch."""

from __future__ import annotations

import itertools
import os
import re
from pathlib import Path

WINDOWS_DRIVER = Path("/usr/lib/wsl/lib/libcuda.so.1")


def local_gpus() -> list[str]:
    """Return the names that CUDA gives to this machine's GPUs, without asking torch: that takes seconds."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        found = [str(number) for number, _ in enumerate(Path("/dev").glob("nvidia[0-9]*"))]
        # Linux within Windows has no such files: its driver lies here, and of several GPUs the first counts.
        return found or ["0"] * WINDOWS_DRIVER.is_file()
    # As CUDA reads it: numbers or identifiers, up to the first that is neither (SLURM's NoDevFiles, -1).
    names = [name.strip() for name in visible.split(",")]
    return list(itertools.takewhile(re.compile(r"\d+|(GPU|MIG)-.+").fullmatch, names))
