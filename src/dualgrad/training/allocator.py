"""How a training process's C library keeps memory that is freed."""

from __future__ import annotations

import contextlib
import ctypes
import sys

# Of glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3
_MIB = 1 << 20
_MOST = (1 << 31) - 1  # mallopt takes an int


def keep_freed_memory() -> None:
    """Have memory that a step frees kept for the next one, instead of given back to the kernel.

    glibc maps every array of more than 128 KiB (later up to 32 MiB) by itself and unmaps it when it is freed, so
    that each step has the same pages zeroed and mapped anew. An activation of the published image networks takes up
    to 64 MiB. Other C libraries are left as they are.
    """
    if not sys.platform.startswith("linux"):
        return
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        if not mallopt(_M_MMAP_THRESHOLD, _MOST):
            mallopt(_M_MMAP_THRESHOLD, 32 * _MIB)  # the most that some versions take
        mallopt(_M_TRIM_THRESHOLD, _MOST)
        mallopt(_M_TOP_PAD, 16 * _MIB)
