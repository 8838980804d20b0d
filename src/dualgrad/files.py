"""Files that appear whole or not at all, and what remains of those whose writer was killed."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import platform
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

_ENDING = ".tmp"
_ABANDONED = 24 * 3600.0  # seconds after which nobody is writing a temporary file of another machine any more


@cache
def host() -> str:
    """Return a short name of this machine that can be part of a file's name."""
    return hashlib.sha256(platform.node().encode()).hexdigest()[:8]


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Name a temporary file beside *path* to write to; it becomes *path* when the block ends well, or vanishes.

    So *path* holds its old content or all of the new one, even after a crash. A lock that ends with this process
    tells a file that is being written from one whose writer was killed (:func:`remove_stale_files`).
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        handle, name = tempfile.mkstemp(
            dir=path.parent, prefix=f".{path.name}.", suffix=f".{host()}{_ENDING}"
        )
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None
    temporary = Path(name)
    try:
        _lock(handle)
        # mkstemp makes files private; results are to be readable like any other output.
        umask = os.umask(0)
        os.umask(umask)
        with contextlib.suppress(
            OSError
        ):  # a courtesy, which shares of other systems and object stores refuse
            os.fchmod(handle, 0o666 & ~umask)
        yield temporary
        _flush(handle)
        temporary.replace(path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename in (None, str(temporary)):
            raise OSError(error.errno, error.strerror or str(error), str(path)) from None
        raise
    finally:
        os.close(handle)


@contextmanager
def scratch(parent: Path, name: str) -> Iterator[Path]:
    """Make a folder ``.NAME.*.tmp`` below *parent* that is gone when the block ends, or swept later."""
    parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=parent, prefix=f".{name}.", suffix=f".{host()}{_ENDING}"))
    handle = os.open(folder, os.O_RDONLY)
    try:
        _lock(handle)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(handle)


def visible(folder: Path, pattern: str) -> list[Path]:
    """Return what matches a pattern below a folder, in order, but for hidden files and what hidden folders hold.

    Those are no content: an editor's lock (Emacs: a link to nowhere), what macOS writes beside a file on shares and
    in archives (``._NAME``), and Jupyter's copies of a file that it has opened (``.ipynb_checkpoints``).
    """
    found = sorted(folder.glob(pattern))
    return [
        path for path in found if not any(part.startswith(".") for part in path.relative_to(folder).parts)
    ]


def open_regular(path: Path) -> int:
    """Open a file for reading and return its descriptor. A pipe under its name would wait for a writer for ever.

    Raises:
        OSError: there is no such file, it cannot be read, or it is no regular file.
    """
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return handle


def read_regular(path: Path) -> bytes:
    """Return what a file holds.

    Raises:
        OSError: as :func:`open_regular`.
    """
    with os.fdopen(open_regular(path), "rb") as stream:
        return stream.read()


def explain(error: OSError) -> str:
    """Say what cannot be read or written, why, and what to do, in one line."""
    reason = error.strerror or str(error) or type(error).__name__
    remedy = {
        errno.ENOSPC: "make room, then run the same target again",
        errno.EDQUOT: "make room, then run the same target again",
        errno.EROFS: "the settings results_dir and data_dir say where files go",
        errno.EACCES: "the settings results_dir and data_dir say where files go",
    }.get(error.errno or 0, "")
    file = error.filename2 or error.filename  # of a renaming, the file that was to be
    return ": ".join(str(part) for part in (file, reason, remedy) if part)


def remove_stale_files(folder: Path) -> list[Path]:
    """Remove the temporary files and folders below *folder* that nobody is writing any more; return them.

    Locks can be local to a machine (NFS, for one): what another one writes is left alone for a day.
    """
    removed = []
    for path in sorted(folder.rglob(f".*{_ENDING}")):
        with contextlib.suppress(OSError):  # somebody is writing it, or it is gone, or not ours to remove
            ours = path.name.endswith(f".{host()}{_ENDING}")
            if not ours and time.time() - path.lstat().st_mtime < _ABANDONED:
                continue
            handle = os.open(path, (os.O_RDONLY if path.is_dir() else os.O_RDWR) | os.O_NOFOLLOW)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(path) if path.is_dir() else path.unlink()
                removed.append(path)
            finally:
                os.close(handle)
    return removed


def _flush(handle: int) -> None:
    """Have the file on the disk before it gets its name; some file systems cannot say when it is."""
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS):
            raise


def _lock(handle: int) -> None:
    # File systems without locks refuse here and in `remove_stale_files`, which then leaves everything where it is.
    with contextlib.suppress(OSError):
        fcntl.flock(handle, fcntl.LOCK_EX)
