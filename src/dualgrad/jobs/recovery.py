"""What the start of a workflow finds of one that was killed, or whose clock was wrong, and puts in order."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import time
from collections.abc import Iterable
from pathlib import Path

from dualgrad import files

_TOLERANCE = 1.0  # seconds that the clocks of a file server may differ


def sweep(results: Path, *others: Path) -> list[Path]:
    """Remove what killed jobs left: temporary files, and states to resume from of runs that are recorded.

    Args:
        results: folder of an edition's results.
        others: more folders that jobs write to.

    Returns:
        What was removed.
    """
    removed = [path for folder in (results, *others) for path in files.sweep(folder)]
    for state in results.glob("runs/*/.*.json.resume"):
        record = state.with_name(state.name[1 : -len(".resume")])
        if record.is_file() and record.stat().st_mtime_ns >= state.stat().st_mtime_ns:
            state.unlink(missing_ok=True)
            removed.append(state)
    return removed


def remove_stale_lock(folder: Path) -> bool:
    """Say that a workflow runs here, until this process ends; remove Snakemake's lock if no other one runs.

    Snakemake's lock outlives a process that is killed, and does not say whose it is. All workflows of a folder share
    a lock that the kernel takes back from the dead: who gets it exclusively is alone. Where the file system knows
    no locks, nothing happens.

    Args:
        folder: the ``.snakemake`` of the working directory.

    Returns:
        Whether there was such a lock.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Never closed: the descriptor is the lock.
        handle = os.open(folder / "dualgrad.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        stale = folder / "locks"
        found = any(stale.glob("*.lock"))
        shutil.rmtree(stale, ignore_errors=True)
    except OSError:
        found = False
    # Refused where another workflow starts in this very moment, or where there are no locks.
    with contextlib.suppress(OSError):
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    return found


def settle_times(folders: Iterable[Path], now: float | None = None) -> int:
    """Date files from the future at *now*, in the order that they had.

    Snakemake refuses a job whose input is younger than what it has just made of it, and takes a result from the
    future for newer than anything that is made before then.

    Returns:
        How many files there were.
    """
    now = time.time() if now is None else now
    future: dict[int, list[str]] = {}
    for folder in folders:
        for place, _, names in os.walk(folder):
            for name in names:
                path = os.path.join(place, name)  # noqa: PTH118  (thousands of files, at every start)
                try:
                    when = os.stat(path).st_mtime_ns  # noqa: PTH116
                except OSError:
                    continue
                if when > (now + _TOLERANCE) * 1e9:
                    future.setdefault(when, []).append(path)
    # A microsecond apart: file systems keep at least that, and it stays after everything older.
    last = int(now * 1e9)
    for position, when in enumerate(sorted(future, reverse=True)):
        for path in future[when]:
            os.utime(path, ns=(last, last - 1000 * position))
    return sum(map(len, future.values()))
