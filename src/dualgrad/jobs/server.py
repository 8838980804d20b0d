"""The warm worker's process: ``python -m dualgrad.jobs.server DESCRIPTOR`` (see ``dualgrad.jobs.warm_worker``).

One thread, plain blocking calls: a process that forks must own no other threads, and no CUDA context.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import gc
import math
import mmap
import os
import selectors
import signal
import socket
import struct
import sys
import time
import traceback
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import dualgrad.jobs.warm_worker
from dualgrad import cli
from dualgrad.arguments import settings_of
from dualgrad.census import find_root

_LIFELINE = 0  # standard input: open as long as the workflow lives
_PR_SET_PDEATHSIG, _MADV_HUGEPAGE, _MADV_COLLAPSE = 1, 14, 25  # Linux


class _Child:
    """A forked job: its client's connection, and when to lose patience with it."""

    def __init__(self, pid: int, connection: socket.socket, heard: mmap.mmap) -> None:
        self.pid, self.connection, self.heard = pid, connection, heard
        self.deadline: float | None = None
        self._asked = 0.0

    def end(self) -> None:
        """Ask it to end; `deadline` says when to insist."""
        if self.deadline is None:
            self._asked = time.monotonic()
            self.deadline = self._latest()
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGTERM)

    def _latest(self) -> float:
        patience = dualgrad.jobs.warm_worker.grace(heard=bool(self.heard[0]))
        return math.inf if patience is None else self._asked + patience

    def overdue(self) -> bool:
        """Whether it had its time; one that has heard, and finishes a step, has more."""
        if self.deadline is None or self.deadline > time.monotonic():
            return False
        self.deadline = self._latest()
        return self.deadline <= time.monotonic()


class Server:
    """Accepts jobs, forks, reports how they ended."""

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self._children: dict[int, _Child] = {}
        self._pid = os.getpid()
        self._libc = ctypes.CDLL(None) if sys.platform == "linux" else None
        self._selector = selectors.DefaultSelector()
        self._selector.register(listener, selectors.EVENT_READ, self._accept)
        self._selector.register(_LIFELINE, selectors.EVENT_READ, self._end_with_owner)
        # A child's end arrives as a byte in this pipe, so one select sees everything.
        self._signals, wake = os.pipe()
        for end in (self._signals, wake):
            os.set_blocking(end, False)
        self._wake = wake
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, self._ask_to_stop)
        self._selector.register(self._signals, selectors.EVENT_READ, lambda: os.read(self._signals, 4096))
        # The end of the workflow arrives as a signal as well: imports take seconds, and the loop waits for them.
        signal.signal(signal.SIGIO, self._owner_left)
        fcntl.fcntl(_LIFELINE, fcntl.F_SETOWN, self._pid)
        fcntl.fcntl(_LIFELINE, fcntl.F_SETFL, fcntl.fcntl(_LIFELINE, fcntl.F_GETFL) | os.O_ASYNC)
        self._running, self._asked = True, False

    def _ask_to_stop(self, *_: object) -> None:
        self._asked = True  # a signal comes at any moment; the loop acts on it

    def _owner_left(self, *_: object) -> None:
        if not self._children:
            self._remove_socket()
            os._exit(0)
        for child in list(self._children.values()):
            child.end()

    def serve(self) -> None:
        """Serve until the workflow ends, then end what is still running."""
        while self._running or self._children:
            deadlines = [child.deadline for child in self._children.values() if child.deadline is not None]
            wait = max(0.0, min(deadlines) - time.monotonic()) if deadlines else None
            wait = None if wait == math.inf else wait
            for key, _ in self._selector.select(wait):
                key.data()
            if self._asked:
                self._stop()
            self._reap()
            for child in self._children.values():
                if child.overdue():
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(child.pid, signal.SIGKILL)

    def _end_with_owner(self) -> None:
        self._remove_socket()
        self._stop()

    def _remove_socket(self) -> None:
        """Remove the socket's file: its owner, who would start another server, is gone."""
        with contextlib.suppress(OSError):
            Path(self._listener.getsockname()).unlink()

    def _stop(self) -> None:
        if self._running:
            self._running = False
            self._selector.unregister(_LIFELINE)
            self._selector.unregister(self._listener)
            self._listener.close()
        for child in self._children.values():
            child.end()

    def _reap(self) -> None:
        for pid, child in list(self._children.items()):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                del self._children[pid]
                with contextlib.suppress(KeyError):  # its client left first
                    self._selector.unregister(child.connection)
                code = os.waitstatus_to_exitcode(status)
                with contextlib.suppress(OSError):  # the client may be gone
                    child.connection.sendall(b"%d\n" % (code if code >= 0 else 128 - code))
                child.connection.close()
                child.heard.close()

    def _accept(self) -> None:
        if not self._running:
            return
        connection, _ = self._listener.accept()
        try:
            folder, words, environment, streams = _receive(connection)
        except (OSError, ValueError):
            connection.close()  # not ours, or cut short
            return
        self._prepare(folder, words)
        heard = mmap.mmap(-1, 1)  # shared with the child
        try:
            pid = os.fork()
        except OSError:
            pid = -1  # out of memory or processes: let the client see what it can do
        if pid == 0:
            dualgrad.jobs.warm_worker.heard = heard
            self._become(connection, folder, words, environment, streams)  # does not return
        for stream in streams:
            os.close(stream)
        if pid < 0:
            heard.close()
            connection.close()
            return
        child = self._children[pid] = _Child(pid, connection, heard)
        # Clients say nothing more: readable means that the client is gone, so its job must go too.
        self._selector.register(connection, selectors.EVENT_READ, lambda: self._left(child))

    def _left(self, child: _Child) -> None:
        self._selector.unregister(child.connection)
        child.end()

    def _prepare(self, folder: str, words: list[str]) -> None:
        """Import and read what a command needs, the first time that it is asked for."""
        imported = len(sys.modules)
        try:
            verb = cli.verb_of(words[0])
            given = SimpleNamespace(**verb.make_context(words[0], words[1:], resilient_parsing=True).params)
            preload = getattr(import_module(cli.COMMANDS[words[0]][0]), "preload", None)
            if preload is None:
                return
            new = preload(given.root or find_root(Path(folder)), settings_of(given), given)
        except (Exception, SystemExit):
            return  # the child meets the same mistake, and tells its client
        if new or len(sys.modules) > imported:
            # What is here by now is shared with all children: keep the collector from touching (copying) it.
            gc.collect()
            gc.freeze()
            self._collapse_memory()

    def _collapse_memory(self) -> None:
        """Put this process's memory into huge pages, so that a fork copies 512 times fewer entries of page tables.

        With torch imported a fork that does nothing then takes 16 ms instead of 47. Kernels before Linux 6.1 refuse;
        nothing else changes.
        """
        if not self._libc:
            return
        size = 1 << 21
        for line in Path("/proc/self/maps").read_text("utf-8", errors="replace").splitlines():
            place, access, *_, last = line.split()
            if access != "rw-p" or (last != "[heap]" and not last.isdigit()):
                continue  # not plain memory: a file's, or a stack
            low, high = (int(address, 16) for address in place.split("-"))
            low, high = -(-low // size) * size, high // size * size
            if low < high:
                for advice in (_MADV_HUGEPAGE, _MADV_COLLAPSE):
                    self._libc.madvise(ctypes.c_void_p(low), ctypes.c_size_t(high - low), advice)

    def _become(
        self,
        connection: socket.socket,
        folder: str,
        words: list[str],
        environment: dict[str, str],
        streams: list[int],
    ) -> None:
        """In the forked child: be the process that the client would have been, and exit."""
        status = 1
        try:
            if self._libc:
                self._libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != self._pid:
                os._exit(1)  # the server died before it could take this child along
            signal.set_wakeup_fd(-1)
            for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGIO):
                signal.signal(number, signal.SIG_DFL)
            for other in (self._listener, connection, *(one.connection for one in self._children.values())):
                other.close()
            self._selector.close()
            os.close(self._signals)
            os.close(self._wake)
            for target, stream in enumerate(streams):
                os.dup2(stream, target)
                os.close(stream)
            os.environ.clear()
            os.environ.update(environment)
            os.chdir(folder)
            status = cli.main(words)
        except SystemExit as leave:
            status = leave.code if isinstance(leave.code, int) else int(leave.code is not None)
            if not isinstance(leave.code, int | None):
                print(leave.code, file=sys.stderr)  # as Python does
        except BaseException:
            traceback.print_exc()
        finally:
            with contextlib.suppress(Exception):
                sys.stdout.flush()
                sys.stderr.flush()
            # Not sys.exit: the server's clean-up is not this process's business.
            os._exit(status or 0)


def _receive(connection: socket.socket) -> tuple[str, list[str], dict[str, str], list[int]]:
    """Read one request.

    Raises:
        OSError, ValueError: it is not complete, or not from this user.
    """
    if hasattr(socket, "SO_PEERCRED"):
        _, uid, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        if uid != os.getuid():
            raise ValueError("another user's connection")
    connection.settimeout(10)
    data, streams, _, _ = socket.recv_fds(connection, 1 << 16, 3)
    try:
        while len(data) < 4 or len(data) < 4 + int.from_bytes(data[:4], "little"):
            part = connection.recv(1 << 16)
            if not part:
                raise ValueError("cut short")
            data += part
        if len(streams) != 3:
            raise ValueError("no standard streams")
        folder, count, *rest = [os.fsdecode(text) for text in data[4:].split(b"\0")]
        words, environment = rest[: int(count)], rest[int(count) :]
        return folder, words, dict(entry.split("=", 1) for entry in environment), streams
    except BaseException:
        for stream in streams:
            os.close(stream)
        raise


def main() -> None:
    """Serve on the listening socket whose descriptor is the first argument."""
    # Here, not in the children: their standard output is another file than this stream was opened on.
    cli.show_anything()
    Server(socket.socket(fileno=int(sys.argv[1]))).serve()


if __name__ == "__main__":
    main()
