"""How far a long command is: tqdm's bar on a terminal, plain lines now and then elsewhere."""

from __future__ import annotations

import io
import sys
import time
from collections import deque
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


class RunProgress:
    """Progress of a long run: one line that is rewritten on a terminal, a line every half minute elsewhere.

    Steps are shown where an epoch takes long.
    """

    _LONG = 2.0  # seconds
    # Time left follows the last half hour: what stopped a run, or shared its processor, before that is over.
    _MARKS, _APART = 180, 10.0

    def __init__(self, name: str) -> None:
        self._name = name
        self._terminal = sys.stdout.isatty()
        self._interval = 2 * TERMINAL if self._terminal else LOG
        self._last = self._epoch_began = time.monotonic()
        self._done, self._total, self._error = 0, 0, ""
        self._marks: deque[tuple[float, float]] = deque(maxlen=self._MARKS)  # when, and how far it was then

    def begin(self, done: int, total: int) -> None:
        """Note how far the run is, in epochs, before anything is done."""
        self._done, self._total = done, total
        self._last = self._epoch_began = time.monotonic()
        self._marks.clear()

    def epoch(self, done: int, total: int, error: float | None) -> None:
        """An epoch is done."""
        now = time.monotonic()
        self._done, self._total, self._epoch_began = done, total, now
        self._error = "" if error is None else f", test error {error:.4f}"
        left = self._left(done, now)
        if now - self._last < self._interval and not (self._terminal and done == total):
            return
        self._show(f"epoch {done} of {total}{self._error}{left if done < total else ''}", now, done == total)

    def step(self, done: int, total: int) -> None:
        """A step of the epoch under way is done."""
        now = time.monotonic()
        if not self._marks or now - self._marks[-1][0] >= self._APART:
            self._marks.append((now, self._done + done / total))
        if now - self._last < self._interval or now - self._epoch_began < self._LONG:
            return
        left = self._left(self._done + done / total, now)
        epochs = f"epoch {self._done + 1} of {self._total}, " if self._total else ""
        self._show(f"{epochs}step {done} of {total}{self._error}{left}", now)

    def _left(self, done: float, now: float) -> str:
        """How long the rest takes if it goes on like this, once that can be said."""
        if not self._marks or not self._total:
            return ""
        began, before = self._marks[0]
        if done - before <= 0 or now - began < self._LONG:
            return ""
        return f", about {duration((now - began) / (done - before) * (self._total - done))} left"

    def _show(self, text: str, now: float, last: bool = False) -> None:
        self._last = now
        if self._terminal:
            print(f"\r\x1b[K{self._name}: {text}", end="\n" if last else "", flush=True)
        else:
            print(f"{self._name}: {text}", flush=True)


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
