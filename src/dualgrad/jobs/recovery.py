"""What the start of a workflow finds of one that was killed, or whose clock was wrong, and puts in order."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import platform
import shutil
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from dualgrad import files
from dualgrad.census import Census
from dualgrad.census.dependencies import dependency_depth

_TOLERANCE = 1.0  # seconds that the clocks of a file server may differ


def remove_stale_files(results: Path, *others: Path) -> list[Path]:
    """Remove what killed jobs left: temporary files, and states to resume from of runs that are recorded.

    Args:
        results: folder of an edition's results.
        others: more folders that jobs write to.

    Returns:
        What was removed.
    """
    removed = [path for folder in (results, *others) for path in files.remove_stale_files(folder)]
    for state in results.glob("runs/*/.*.json.resume"):
        record = state.with_name(state.name[1 : -len(".resume")])
        if record.is_file() and record.stat().st_mtime_ns >= state.stat().st_mtime_ns:
            state.unlink(missing_ok=True)
            removed.append(state)
    return removed


_LOCK = "dualgrad.{host}.lock"


def remove_stale_lock(folder: Path) -> bool:
    """Say that a workflow runs here, until this process ends; remove Snakemake's lock if no other one runs.

    Snakemake's lock outlives a process that is killed, and does not say whose it is. All workflows of a folder on one
    machine share a lock that the kernel takes back from the dead: who gets it exclusively is alone there. Locks can
    be local to a machine, so each has a file of its own, and where another one has a file, nothing is removed; nor
    is it where the file system knows no locks.

    Args:
        folder: the ``.snakemake`` of the working directory.

    Returns:
        Whether there was such a lock.
    """
    folder = folder.absolute()
    if folder in _held:
        return False
    found = False
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle, alone = _take_lock(folder / _LOCK.format(host=files.host()))
    except OSError:
        return False
    _held[folder] = handle
    if not alone:
        return False
    with contextlib.suppress(OSError):
        os.truncate(handle, 0)
        os.write(handle, platform.node().encode())
        if not workflows_elsewhere(folder):
            stale = folder / "locks"
            found = any(stale.glob("*.lock"))
            shutil.rmtree(stale, ignore_errors=True)
    with contextlib.suppress(OSError):
        fcntl.flock(handle, fcntl.LOCK_SH)
    return found


def workflows_elsewhere(folder: Path) -> dict[Path, str]:
    """Return the other machines on which a workflow runs in this folder, or was killed: their files and names."""
    own = folder / _LOCK.format(host=files.host())
    found = {}
    for path in sorted(folder.glob(_LOCK.format(host="*"))):
        if path != own:
            with contextlib.suppress(OSError):
                found[path] = path.read_text(errors="replace")[:64] or path.name
    return found


def release_lock(folder: Path) -> None:
    """Say that this workflow has ended; the last one on this machine removes the file."""
    folder = folder.absolute()
    handle = _held.pop(folder, None)
    if handle is None:
        return
    with contextlib.suppress(OSError):
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        (folder / _LOCK.format(host=files.host())).unlink()
    os.close(handle)


# Never closed before the end: the descriptor is the lock.
_held: dict[Path, int] = {}


def _take_lock(path: Path) -> tuple[int, bool]:
    """Open a file and lock it; returns the descriptor, and whether the lock is exclusive, as nobody else has it."""
    for _ in range(10):
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        alone = False
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                alone = True
            except BlockingIOError:
                fcntl.flock(handle, fcntl.LOCK_SH)  # one that starts in this very moment is waited for
        except OSError:
            return handle, False  # there are no locks here
        # The last one that ends removes the file, maybe after it was opened here: others would lock another one.
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(handle), path.stat()):
                return handle, alone
        os.close(handle)
    raise OSError(f"{path}: removed again and again")


def recover(census: Census, results: Path, places: Sequence[Path]) -> list[str]:
    """Put in order what stands in the way of a workflow that starts; hold its lock from now on.

    Args:
        census: the edition's census.
        results: folder of the edition's results.
        places: all folders that jobs write to.

    Returns:
        What a person should know, in lines.
    """
    folder, said = Path(".snakemake"), []
    if remove_stale_lock(folder):
        said.append("The lock of a workflow that was killed here is removed.")
    said += [
        f"A workflow runs in this folder on {host}, or was killed there; then remove {path}."
        for path, host in workflows_elsewhere(folder).items()
    ]
    remove_stale_files(*places)
    settle_copies(census, results)
    if moved := clamp_future_mtimes(places):
        dated = "were dated in the future, as by a clock that was wrong; they are dated now, in their order."
        said.append(f"{moved} files {dated}")
    return said


def recover_before_jobs(workflow: Any, recover: Callable[[], list[str]], warn: Callable[[str], None]) -> None:
    """Have Snakemake recover once it is about to look at files and to run jobs, and release the lock at its end.

    While the workflow is read it does not say what it will do: a dry run, a summary, a list of rules change nothing.

    Args:
        workflow: Snakemake's own.
        recover: what puts things in order, and returns what to say.
        warn: takes each line of that.
    """
    plain = workflow.execute

    def execute(executor_plugin: Any, **more: Any) -> Any:
        if executor_plugin.common_settings.dryrun_exec:
            return plain(executor_plugin=executor_plugin, **more)
        try:
            for line in recover():
                warn(line)
            return plain(executor_plugin=executor_plugin, **more)
        finally:
            release_lock(Path(".snakemake"))

    workflow.execute = execute


def settle_copies(census: Census, results: Path) -> int:
    """Date records of copied results after the records that they were trained from, where digests say that they are.

    Copied without their times, half of all records are younger than others that were trained from them, and would be
    trained again. A record names the digests of those that it was trained from, so times need not decide.

    Args:
        census: the edition's census.
        results: folder of the edition's results.

    Returns:
        How many runs there were.
    """
    depth = dependency_depth(census.runs)
    settled = 0
    for name in sorted((name for name, run in census.runs.items() if run["needs"]), key=depth.__getitem__):
        needs = census.runs[name]["needs"]
        try:
            own = [path.stat().st_mtime_ns for path in _files_of(name, census, results)]
            needed = [path.stat().st_mtime_ns for need in needs for path in _files_of(need, census, results)]
            if max(needed) <= min(own):
                continue
            known = json.loads((results / f"runs/{name}.json").read_bytes())["provenance"]["needs"]
            found = {
                need: json.loads((results / f"runs/{need}.json").read_bytes())["digest"] for need in needs
            }
            if known != found:
                continue
            for path in _files_of(name, census, results):
                os.utime(path, ns=(max(needed), max(needed)))
        except (OSError, ValueError, LookupError, TypeError):
            continue  # one is missing, damaged, or of an older version: Snakemake decides
        settled += 1
    return settled


def _files_of(name: str, census: Census, results: Path) -> list[Path]:
    files_there = [results / f"runs/{name}.json"]
    return [*files_there, results / f"checkpoints/{name}.pt"] if census.runs[name]["saves"] else files_there


def clamp_future_mtimes(folders: Iterable[Path], now: float | None = None) -> int:
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
