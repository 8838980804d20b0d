"""How far a long command is: one line that is rewritten on a terminal, plain lines now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TextIO, TypeVar

T = TypeVar("T")
# Seconds between two messages: on a terminal, and in a log.
TERMINAL, LOG = 0.1, 30.0


def progress(
    items: Iterable[T],
    total: int,
    what: str,
    name: Callable[[T], str] = str,
    stream: TextIO | None = None,
) -> Iterator[T]:
    """Yield the items, saying on standard error which one of how many was made last.

    Args:
        items: what is worked through; each is told about once it is there.
        total: how many there will be.
        what: what they are, e.g. "experiment".
        name: what an item is called.
        stream: where to say it.
    """
    stream = stream or sys.stderr
    terminal = stream.isatty()
    last = time.monotonic()
    for number, item in enumerate(items, start=1):
        now = time.monotonic()
        if now - last >= (TERMINAL if terminal else LOG) or (terminal and number == total):
            last = now
            text = f"{what} {number} of {total}: {name(item)}"
            end = "\n" if number == total or not terminal else ""
            print(f"\r\x1b[K{text}" if terminal else text, end=end, file=stream, flush=True)
        yield item


def duration(seconds: float) -> str:
    """Return a time in the two units that say it best."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {seconds} s" if minutes else f"{seconds} s"
