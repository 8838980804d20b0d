"""How far a long command is: tqdm's bar on a terminal, plain lines now and then elsewhere."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import TextIO, TypeVar

T = TypeVar("T")
# Seconds between two messages: on a terminal, and in a log.
TERMINAL, LOG = 0.1, 30.0


class _Lines(io.TextIOBase):
    """A log in which every state of a bar is a line of its own."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        if line := text.strip():
            print(line, file=self._stream, flush=True)
        return len(text)


def progress(
    items: Iterable[T],
    total: int,
    what: str,
    name: Callable[[T], str] = str,
    stream: TextIO | None = None,
) -> Iterator[T]:
    """Yield the items, saying on standard error which one of how many was made last, and how long the rest takes.

    Args:
        items: what is worked through; each is told about once it is there.
        total: how many there will be.
        what: what they are, e.g. "experiment".
        name: what an item is called.
        stream: where to say it.
    """
    from tqdm import tqdm  # not for those who want a duration

    stream = stream or sys.stderr
    terminal = stream.isatty()
    with tqdm(
        items,
        desc=what,
        total=total,
        file=stream if terminal else _Lines(stream),
        mininterval=TERMINAL if terminal else LOG,
        miniters=1,
        delay=0 if terminal else LOG,
        leave=terminal,
        bar_format=None if terminal else "{desc} {n_fmt} of {total_fmt}{postfix}",
        dynamic_ncols=terminal,
    ) as bar:
        for item in bar:
            bar.set_postfix_str(name(item), refresh=False)
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
