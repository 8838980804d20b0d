"""The warm worker: a process with everything imported that forks a child for each job (contract.md#speed).

Three parts:

- ``WarmWorker`` (this module) lives inside Snakemake. It opens a socket, starts the server, restarts it if it
  dies, and ends it. The server also ends by itself when Snakemake goes, however it goes: its standard input is a
  pipe that only Snakemake holds open.
- ``server`` imports a command's modules when the command is first asked for and from then on forks. A child has the
  client's arguments, environment, working folder and standard streams, so it is what the client would have been.
- ``client`` is what ``dualgrad`` means in a job's shell command (``bin`` is put on the jobs' PATH). It starts in
  10 ms because it imports nothing, waits for its child and leaves with its status. Without a worker (a cluster
  node, a crash) it becomes the command itself.

A job is killed by killing its client: the server sees the connection close and ends the child.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from dualgrad.gpus import local_gpus
from dualgrad.validation import InputError

# Environment of the jobs. The worker's address; the process they belong to; the Python that runs them; settings added
# to every command line; GPUs to choose from, and the folder of their locks.
ADDRESS = "DUALGRAD_WORKER"
WORKFLOW = "DUALGRAD_WORKFLOW"
PYTHON = "DUALGRAD_PYTHON"
SETTINGS = "DUALGRAD_SETTINGS"
GPUS = "DUALGRAD_GPUS"
LOCKS = "DUALGRAD_LOCKS"
SEPARATOR = "\x1f"  # of settings: a folder's name may hold a line's end

# A byte that is 1 once this process has heard a request to stop and will end by itself, after the step that it is in.
# In a child of the worker, the worker sees it.
heard: bytearray | mmap.mmap = bytearray(1)

_RESTARTS = 5
_PATIENCE = 2.0  # seconds for the server itself, beside what its children have
_STILL_STOPPED = 2.0  # seconds: a batch system that suspends everything lets everything go on at once
# VECLIB: on macOS NumPy calls Accelerate when it is imported, whose threads no fork survives.
_THREADS = (
    *("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS"),
    "VECLIB_MAXIMUM_THREADS",
)
# A look for GPUs that initialises none, and no thread that gives back Arrow's memory.
_WITHOUT_THREADS = {
    "PYTORCH_NVML_BASED_CUDA_CHECK": "1",
    "JE_ARROW_MALLOC_CONF": "background_thread:false",
}
# What pins threads to cores, as module systems of clusters set it: every job would be pinned to the same ones.
_PINNING = ("OMP_PROC_BIND", "OMP_PLACES", "GOMP_CPU_AFFINITY", "KMP_AFFINITY", "KMP_HW_SUBSET")
_LONGEST_ADDRESS = 100  # bytes; a socket's path has at most 107, on macOS 103
# A step of a large network on a CPU takes ten seconds and more. Longer than a minute is not worth waiting for: a run
# that is killed loses no more than that.
_GRACE, _GRACE_HEARD = 5.0, 60.0


def grace(*, heard: bool = False) -> float | None:
    """Return the seconds that a job has to end in good order before it is killed; None: as many as SLURM gives.

    Args:
        heard: the job has heard that it is to stop, and finishes its step.
    """
    return None if "SLURM_JOB_ID" in os.environ else _GRACE_HEARD if heard else _GRACE


def private_folder() -> Path:
    """Return a folder that this user alone can open, for sockets and locks: the same one for all workflows here.

    Where another user has taken its name, or it would be too long for a socket, another one, of this process alone.
    """
    places = [os.environ.get("XDG_RUNTIME_DIR"), tempfile.gettempdir(), "/tmp"]
    for place in filter(None, places):
        folder = Path(place) / f"dualgrad-{os.getuid()}"
        if len(os.fsencode(folder)) > _LONGEST_ADDRESS - 32:
            continue
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
            found = folder.lstat()
        except OSError:
            continue
        if stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o077:
            return folder
    return Path(tempfile.mkdtemp(prefix="dualgrad-", dir="/tmp"))


def _sweep_sockets(folder: Path) -> None:
    """Remove the sockets of workflows that were killed together with their workers: nobody listens to them."""
    for path in folder.glob("worker-*"):
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            try:
                probe.connect(str(path))
            except ConnectionRefusedError:
                path.unlink()


def prepare_jobs(settings: Sequence[str], *, deployed: bool = False, included: bool = False) -> None:
    """Make ``dualgrad`` in the jobs of this process mean the worker's client.

    Args:
        settings: words that every command line ends with.
        deployed: jobs run in an environment of their own (conda, a container): its Python, and this package's code.
        included: the workflow is a module of another one, whose own scripts may import from their folder.

    Raises:
        InputError: the client cannot be executed. The shell would look on, find the command as people type it, and
            run jobs without the settings.
    """
    client = Path(__file__).with_name("bin") / "dualgrad"
    if not os.access(client, os.X_OK):
        problem = (
            "cannot be executed, and jobs are run by it: chmod +x it; where the file system allows no programs, "
            "install the package elsewhere (pip install FOLDER, without -e)"
        )
        raise InputError(client, "", problem)
    if not included:  # a `random.py` beside the Snakefile must not stand before Python's own
        os.environ["PYTHONSAFEPATH"] = "1"
    if path := os.environ.get("PYTHONPATH"):  # an empty entry is the working folder
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, path.split(os.pathsep)))
    os.environ[PYTHON] = "python" if deployed else sys.executable
    os.environ[SETTINGS] = SEPARATOR.join(settings)
    for name in _PINNING:
        os.environ.pop(name, None)
    own = str(client.parent)
    _prepend("PATH", own, os.defpath)
    if deployed:
        _prepend("PYTHONPATH", str(Path(__file__).parents[2]))
        for name in (
            "APPTAINERENV_PREPEND_PATH",
            "SINGULARITYENV_PREPEND_PATH",
        ):  # a container has a PATH of its own
            _prepend(name, own)


def _prepend(name: str, folder: str, default: str = "") -> None:
    """Put a folder in front of a search path, once."""
    path = [one for one in os.environ.get(name, default).split(os.pathsep) if one]
    if folder not in path:
        os.environ[name] = os.pathsep.join([folder, *path])


def share_gpus() -> Path:
    """Tell the jobs of this process which GPUs to choose from, where there are several; return the locks' folder."""
    folder = private_folder()
    os.environ[LOCKS] = str(folder)
    if len(names := local_gpus()) > 1:
        os.environ[GPUS] = ",".join(names)
    return folder


def _say(text: str) -> None:
    print(f"dualgrad: {text}", file=sys.stderr, flush=True)


def _wait_for_end(server: subprocess.Popen[bytes]) -> None:
    """Wait for the server's end; says so where somebody stops it (SIGSTOP), as jobs then wait for ever."""
    while hasattr(os, "waitid"):
        try:
            found = os.waitid(os.P_PID, server.pid, os.WEXITED | os.WSTOPPED | os.WNOWAIT)
            if found is None or found.si_code != os.CLD_STOPPED:
                break
            os.waitid(os.P_PID, server.pid, os.WSTOPPED | os.WNOHANG)  # told once
            time.sleep(_STILL_STOPPED)
            if os.waitid(os.P_PID, server.pid, os.WEXITED | os.WCONTINUED | os.WNOHANG | os.WNOWAIT):
                os.waitid(os.P_PID, server.pid, os.WCONTINUED | os.WNOHANG)
                continue
        except ChildProcessError:
            break  # its end was noticed elsewhere
        _say(
            f"the warm worker (process {server.pid}) was stopped by a signal, and jobs wait for it: "
            f"kill -CONT {server.pid} lets it go on, kill -KILL {server.pid} has another one take its place"
        )
    server.wait()


def _let_go(server: subprocess.Popen[bytes]) -> None:
    """Close the pipe whose end tells the server to end."""
    if server.stdin:
        server.stdin.close()


class WarmWorker:
    """The worker of one workflow, seen from the process that owns it. Nothing happens before ``start``."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._listener: socket.socket | None = None
        self._process: subprocess.Popen[bytes]  # as soon as there is a listener

    def start(self) -> None:
        """Start the server, and tell the jobs of this process about it (through the environment).

        Where no socket can be made (a folder for temporary files on a share), jobs go without: slower, not wrong.
        """
        os.environ[WORKFLOW] = str(os.getpid())
        try:
            self._listener, os.environ[ADDRESS] = self._listen(share_gpus())
        except OSError as error:
            _say(f"there is no warm worker, and each job imports all for itself: {error}")
            return
        self._process = self._spawn(self._listener)
        threading.Thread(target=self._revive, name="dualgrad-worker", daemon=True).start()

    def stop(self) -> None:
        """End the server and its children, and remove what it left. Does nothing if there is none."""
        with self._lock:
            listener, self._listener = self._listener, None
        if listener is None:
            return
        listener.close()
        _let_go(self._process)
        self._process.send_signal(signal.SIGCONT)  # stopped, it could not end
        try:
            self._wait_for_steps()
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            self._process.kill()
            self._process.wait()
        Path(os.environ[ADDRESS]).unlink(missing_ok=True)
        for name in (ADDRESS, WORKFLOW, GPUS, LOCKS):
            os.environ.pop(name, None)

    def _wait_for_steps(self) -> None:
        """Wait for the server to end its children and itself; says so where that takes long.

        Raises:
            subprocess.TimeoutExpired: longer than jobs are given.
        """
        try:
            self._process.wait(timeout=_GRACE + _PATIENCE)
        except subprocess.TimeoutExpired:
            _say("runs finish their step and keep their state, in a minute at most; Ctrl-C ends them at once")
            self._process.wait(timeout=_GRACE_HEARD)

    @staticmethod
    def _listen(folder: Path) -> tuple[socket.socket, str]:
        _sweep_sockets(folder)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        # A file in a folder of ours: neither another user nor another container of this network can connect.
        address = str(folder / f"worker-{os.urandom(8).hex()}")
        try:
            listener.bind(address)
        except OSError as error:
            listener.close()
            raise OSError(error.errno, error.strerror, address) from None
        # Clients that come while the server is still importing, or is being restarted, wait in this queue.
        listener.listen(1024)
        return listener, address

    @staticmethod
    def _spawn(listener: socket.socket) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "dualgrad.jobs.server", str(listener.fileno())],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            pass_fds=[listener.fileno()],
            # One thread each: a process that forks must own no thread pools.
            env=os.environ | dict.fromkeys(_THREADS, "1") | _WITHOUT_THREADS,
            # Out of the terminal's reach: Ctrl-C is for Snakemake, which then lets its jobs end.
            start_new_session=True,
        )

    def _revive(self) -> None:
        """Start the server again when it dies; give up, and close the door, when it does so again and again."""
        for _ in range(_RESTARTS):
            _wait_for_end(self._process)
            with self._lock:
                if self._listener is None:
                    return
                _let_go(self._process)
                self._process = self._spawn(self._listener)
        _wait_for_end(self._process)
        with self._lock:
            if self._listener is not None:
                self._listener.close()  # from here on clients are refused, and do their work themselves
