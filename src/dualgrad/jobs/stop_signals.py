"""Signals that ask a run to stop after its step."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from typing import Any

from dualgrad.jobs import warm_worker


class StopSignals:
    """SIGTERM and a first Ctrl-C as requests to stop, for as long as the block lasts; true once one has come.

    A second Ctrl-C is what it always was. Signals that are ignored (nohup, a shell's background job) stay so, and
    outside the main thread, where Python has no signals, nothing happens.

    Attributes:
        signal: the one that came first, or None.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self._before: dict[signal.Signals, Any] = {}

    def __call__(self) -> bool:
        """Whether somebody has asked."""
        return self.signal is not None

    def __enter__(self) -> StopSignals:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._ask)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            # None: a handler that Python does not know.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        self._before.clear()

    def _ask(self, number: int, frame: object) -> None:
        self.signal = self.signal or number
        warm_worker.heard[0] = 1
        if number == signal.SIGINT:
            signal.signal(number, signal.default_int_handler)
            text = (
                "\nstopping after this step; its state is kept, and the same command continues it. "
                "Ctrl-C again ends at once and loses what was done since the state was kept last, a minute at most.\n"
            )
            with contextlib.suppress(OSError):
                os.write(2, text.encode())  # print may be what the signal interrupted
