"""A SLURM cluster of one node on this host, for tests: munged, slurmctld and slurmd with everything in one folder.

Key, sockets, ports and state are its own, so it disturbs no other SLURM; its GPUs are plain files. All three daemons
run in the foreground as children of the test and end with it.
"""

from __future__ import annotations

import ctypes
import getpass
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

_DAEMONS = ("munged", "slurmctld", "slurmd")
_CLIENTS = ("sacct", "sbatch", "scancel", "scontrol", "sinfo", "squeue", "srun")
_PR_SET_PDEATHSIG = 1
_PLACES = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])

_CONFIG = """\
ClusterName=test
SlurmctldHost={name}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=10
SlurmctldPort={controller_port}
SlurmdPort={node_port}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SlurmdParameters=config_overrides
SchedulerParameters=sched_min_interval=100000,sched_interval=1,bf_interval=2
ReturnToService=2
JobRequeue=0
KillWait=10
MinJobAge=3600
MpiDefault=none
GresTypes=gpu
NodeName={name} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory={memory} Gres=gpu:{gpus}
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
PartitionName=test Nodes={name} Default=YES MaxTime=INFINITE PriorityTier=1 GraceTime=120 State=UP
PartitionName=urgent Nodes={name} MaxTime=INFINITE PriorityTier=9 State=UP
"""


def missing() -> list[str]:
    """Return the programs of SLURM and munge that this host lacks."""
    return [name for name in (*_DAEMONS, *_CLIENTS) if shutil.which(name, path=_PLACES) is None]


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def _eventually(condition: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


@dataclass(frozen=True)
class SlurmHost:
    """A running cluster.

    Attributes:
        folder: where everything of it lies; short, because a socket's path must be.
        bin: SLURM's commands, each knowing this cluster; to be put on the PATH.
    """

    folder: Path
    bin: Path

    def ask(self, *words: str) -> str:
        """Return what one of SLURM's commands says."""
        return subprocess.run(
            [self.bin / words[0], *words[1:]], capture_output=True, text=True, check=True, timeout=30
        ).stdout

    def logs(self) -> str:
        """Return the last words of the daemons."""
        return "\n".join(
            f"--- {path.name}\n" + "\n".join(path.read_text(errors="replace").splitlines()[-20:])
            for path in sorted(self.folder.glob("*.log"))
        )


@contextmanager
def slurm_host(folder: Path, *, cpus: int, gpus: int, memory: int) -> Iterator[SlurmHost]:
    """Start a cluster of one node; end it, and whatever it still runs, afterwards.

    Args:
        folder: an empty folder.
        cpus, gpus, memory: what the node says that it has (memory in MiB).

    Raises:
        RuntimeError: it does not come up; with the daemons' messages.
    """
    name = socket.gethostname().partition(".")[0]
    libc = ctypes.CDLL(None)  # loaded before the forks
    for sub in ("state", "spool", "bin"):
        (folder / sub).mkdir()
    config = folder / "slurm.conf"
    config.write_text(
        _CONFIG.format(
            name=name,
            user=getpass.getuser(),
            folder=folder,
            controller_port=_free_port(),
            node_port=_free_port(),
            cpus=cpus,
            memory=memory,
            gpus=gpus,
        )
    )
    devices = [folder / f"gpu{number}" for number in range(gpus)]
    for device in devices:
        device.touch()
    (folder / "gres.conf").write_text("".join(f"Name=gpu File={device}\n" for device in devices))
    key = folder / "munge.key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o600)
    # The plugin that starts a job's step takes every SLURM_ variable from it, SLURM_CONF with them.
    for client in _CLIENTS:
        script = folder / "bin" / client
        script.write_text(f"#!/bin/sh\nSLURM_CONF='{config}' exec {shutil.which(client)} \"$@\"\n")
        script.chmod(0o755)

    host = SlurmHost(folder, folder / "bin")
    commands = {
        "munged": [
            *("--foreground", "--force", f"--key-file={key}", f"--socket={folder}/munge.socket"),
            *(f"--pid-file={folder}/munged.pid", f"--seed-file={folder}/munged.seed", "--num-threads=2"),
        ],
        "slurmctld": ["-D", "-c", "-f", str(config)],
        "slurmd": ["-D", "-c", "-f", str(config)],
    }
    running: dict[str, subprocess.Popen] = {}
    try:
        for daemon, words in commands.items():
            with (folder / f"{daemon}.log").open("wb") as log:
                running[daemon] = subprocess.Popen(
                    [shutil.which(daemon, path=_PLACES), *words],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env=os.environ | {"SLURM_CONF": str(config)},
                    start_new_session=True,
                    preexec_fn=lambda: libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM),
                )
            if daemon == "munged":
                _eventually((folder / "munge.socket").is_socket, 10)

        def ready() -> bool:
            state = subprocess.run(
                [host.bin / "sinfo", "--noheader", "--format=%T"], capture_output=True, text=True, check=False
            )
            return state.stdout.strip() == "idle"

        if not _eventually(ready, 30):
            raise RuntimeError(f"SLURM does not come up here:\n{host.logs()}")
        yield host
        # Jobs first: their processes are slurmd's to end.
        host.ask("scancel", "--full", "--signal=KILL", f"--user={getpass.getuser()}")
        host.ask("scancel", f"--user={getpass.getuser()}")
        _eventually(lambda: not host.ask("squeue", "--noheader"), 20)
    finally:
        for process in reversed(running.values()):
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


if __name__ == "__main__":  # a cluster to try things out on, until Ctrl-C
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with (
        tempfile.TemporaryDirectory(prefix="slurm-") as place,
        suppress(KeyboardInterrupt),
        slurm_host(Path(place), cpus=2, gpus=2, memory=16000) as cluster,
    ):
        print(f"export PATH={cluster.bin}:$PATH", flush=True)
        signal.pause()
