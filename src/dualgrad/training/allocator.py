"""How a training process's C library keeps memory that is freed."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from pathlib import Path

# Of glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3
_MIB = 1 << 20
_MOST = (1 << 31) - 1  # mallopt takes an int
# Activations take up to 128 MiB in the training of the published image networks, and 250 MiB in their evaluation.
_KEPT = 160 * _MIB
# Resident bytes of a process that holds such activations.
_LARGE = 2 << 30


def keep_freed_memory() -> None:
    """Have memory that a step frees kept for the next one, instead of given back to the kernel.

    glibc maps every array of more than 128 KiB (later up to 32 MiB) by itself and unmaps it when it is freed, so
    that each step has the same pages zeroed and mapped anew. Other C libraries are left as they are.
    """
    if (library := _glibc()) is None:
        return
    if not library.mallopt(_M_MMAP_THRESHOLD, _KEPT):
        library.mallopt(_M_MMAP_THRESHOLD, 32 * _MIB)  # the most that some versions take
    library.mallopt(_M_TRIM_THRESHOLD, _MOST)
    library.mallopt(_M_TOP_PAD, 16 * _MIB)


def give_back_freed_memory() -> None:
    """Give a large process' freed memory back, before work whose arrays are of other sizes than a step's.

    They would find no room in the gaps, and the process would grow by all that they need.
    """
    if (library := _glibc()) is not None and _resident() > _LARGE:
        library.malloc_trim(0)


def _resident() -> int:
    """Bytes of this process in main memory now (what getrusage says is the most there was, also before it began)."""
    with contextlib.suppress(OSError):
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0


def _glibc() -> ctypes.CDLL | None:
    """The C library, if it has glibc's own functions."""
    if not sys.platform.startswith("linux"):
        return None
    with contextlib.suppress(OSError):
        library = ctypes.CDLL(None)
        if hasattr(library, "mallopt") and hasattr(library, "malloc_trim"):
            return library
    return None
