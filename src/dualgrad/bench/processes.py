"""Commands that benchmarks run, and what these take."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dualgrad.jobs.warm_worker import ADDRESS, GPUS, LOCKS, PYTHON, SETTINGS, WORKFLOW
from dualgrad.validation import InputError


@dataclass(frozen=True)
class Took:
    """What a command took: wall seconds, CPU seconds of its processes, and memory of the largest (MiB)."""

    seconds: float
    cpu: float
    memory: float


def environment(more: Mapping[str, str]) -> dict[str, str]:
    """Return this process's environment, without what a workflow around it may have put there, and with *more*."""
    dropped = (ADDRESS, WORKFLOW, PYTHON, SETTINGS, GPUS, LOCKS)
    return {name: value for name, value in os.environ.items() if name not in dropped} | dict(more)


def execute(
    words: Sequence[str], folder: Path | None = None, env: Mapping[str, str] | None = None, key: str = ""
) -> Took:
    """Run a command, by default here and in this process's environment; *key* is what an error names.

    Raises:
        InputError: it failed; the message has the end of its output.
    """
    began = time.perf_counter()
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(
            words,
            cwd=folder,
            env=env or os.environ | {PYTHON: sys.executable},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.perf_counter() - began
        if process.returncode:
            output.seek(0)
            end = "\n".join(output.read().splitlines()[-15:])
            shown = " ".join(map(str, words[:6]))
            raise InputError("bench", key, f"`{shown} …` ended with status {process.returncode}:\n{end}")
    memory = used.ru_maxrss / (1024**2 if sys.platform == "darwin" else 1024)
    return Took(seconds, used.ru_utime + used.ru_stime, memory)
