"""The warm worker: children stand in for their clients, and nothing outlives its owner."""

from __future__ import annotations

import ast
import contextlib
import errno
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from workflows import is_alive

import dualgrad.jobs.warm_worker
from dualgrad import __version__
from dualgrad.cli import main
from dualgrad.jobs.warm_worker import (
    ADDRESS,
    GPUS,
    LOCKS,
    PYTHON,
    SETTINGS,
    WORKFLOW,
    WarmWorker,
    grace,
    prepare_jobs,
    private_folder,
)
from dualgrad.validation import InputError

CLIENT = Path(dualgrad.jobs.warm_worker.__file__).with_name("client.py")

# A command that tests can steer, known to every Python that has its folder on PYTHONPATH.
COMMAND = """
import os, signal, sys, time
import click
from dualgrad.arguments import verb
from dualgrad.jobs import warm_worker

LOADED = []

def preload(root, settings, given):
    if LOADED:
        return False
    LOADED.append(os.getpid())
    return True

@verb
@click.argument("actions", nargs=-1)
def run(args):
    for action in args.actions:
        name, _, value = action.partition(":")
        if name == "say":
            print(value, flush=True)
        elif name == "who":
            print(os.getppid(), os.getpid(), len(LOADED), flush=True)
        elif name == "settings":
            print(args.config, flush=True)
        elif name == "where":
            print(os.getcwd(), os.environ.get("MARK"), sys.stdin.readline().strip(), flush=True)
        elif name == "gpu":
            print(os.environ.get("CUDA_VISIBLE_DEVICES"), flush=True)
        elif name == "sleep":
            time.sleep(float(value))
        elif name == "stubborn":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        elif name == "step":
            def finish(*_, seconds=float(value)):
                warm_worker.heard[0] = 1
                time.sleep(seconds)
                print("kept", flush=True)
                os._exit(143)
            signal.signal(signal.SIGTERM, finish)
        elif name == "kill-server":
            os.kill(os.getppid(), signal.SIGKILL)
            time.sleep(60)
        elif name == "die":
            os.kill(os.getpid(), int(value))
        elif name == "raise":
            raise RuntimeError(value)
        elif name == "leave":
            raise SystemExit(value)
        elif name == "exit":
            return int(value)
    return 0
"""


@pytest.fixture
def stub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An environment in which `dualgrad stub` exists, and a folder like a workflow's."""
    folder = tmp_path / "stub"
    folder.mkdir()
    (folder / "stub_command.py").write_text(COMMAND)
    (folder / "sitecustomize.py").write_text(
        "from dualgrad import cli\ncli.COMMANDS['stub'] = cli.COMMANDS['verify'] = ('stub_command', 'for tests')\n"
    )
    (tmp_path / "Snakefile").touch()
    (tmp_path / "config" / "census").mkdir(parents=True)
    monkeypatch.setenv("PYTHONPATH", f"{folder}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    for name in (ADDRESS, WORKFLOW, PYTHON, SETTINGS, GPUS, LOCKS, "PYTHONSAFEPATH"):
        monkeypatch.setenv(name, "")  # so that it is put back at the end
        monkeypatch.delenv(name)
    monkeypatch.setenv("PATH", os.environ["PATH"])
    monkeypatch.chdir(tmp_path)
    prepare_jobs([])
    return tmp_path


@pytest.fixture
def worker(stub: Path) -> Iterator[WarmWorker]:
    """A running worker that knows `dualgrad stub`."""
    worker = WarmWorker()
    worker.start()
    yield worker
    worker.stop()


def start(*actions: str, command: str = "stub", **more) -> subprocess.Popen:
    """Start a job as a rule's command would."""
    return subprocess.Popen(
        ["dualgrad", command, *actions], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **more
    )


def job(*actions: str, command: str = "stub", **more) -> subprocess.CompletedProcess:
    """Run a job to its end."""
    return subprocess.run(
        ["dualgrad", command, *actions], capture_output=True, text=True, timeout=60, check=False, **more
    )


def who(line: str) -> tuple[int, int, int]:
    """Parent, process and number of preloads, as the action `who` prints them."""
    parent, process, loaded = map(int, line.split())
    return parent, process, loaded


def server(worker: WarmWorker) -> int:
    """The server's process, as its children see it."""
    return who(job("who").stdout)[0]


def eventually(condition: Callable[[], bool], seconds: float = 15.0) -> bool:
    """Whether a condition comes true in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.05)
    return condition()


# ------------------------------------------------------------------------------------------ being the client


def test_children_share_one_warm_process(worker: WarmWorker) -> None:
    first, second = who(job("who").stdout), who(job("who").stdout)
    assert first[0] == second[0] == worker._process.pid
    assert first[1] != second[1]
    assert first[2] == second[2] == 1, "the command was prepared once, before the first fork"


def test_a_child_has_the_clients_folder_environment_and_streams(worker: WarmWorker, tmp_path: Path) -> None:
    elsewhere = tmp_path / "sub folder"
    elsewhere.mkdir()
    done = job("where", "say:ä '\"$x", cwd=elsewhere, env=os.environ | {"MARK": "a=b\nc"}, input="a line\n")
    assert done.stdout == f"{elsewhere} a=b\nc a line\nä '\"$x\n"
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("action", "status", "message"),
    [
        ("exit:3", 3, ""),
        ("raise:no such thing", 1, "RuntimeError: no such thing"),
        ("--nonsense", 2, "there is no option --nonsense"),
        (
            f"die:{signal.SIGKILL}",
            128 + signal.SIGKILL,
            "killed from outside, as the system does when memory",
        ),
    ],
)
def test_the_clients_status_is_the_childs(worker: WarmWorker, action: str, status: int, message: str) -> None:
    done = job(action)
    assert done.returncode == status
    assert message in done.stderr


def test_settings_end_every_command_line(worker: WarmWorker) -> None:
    prepare_jobs(["--config", "data_dir=/a folder", "--config", "edition=smoke"])
    assert job("settings").stdout == "{'data_dir': '/a folder', 'edition': 'smoke'}\n"


def test_many_jobs_at_once(worker: WarmWorker) -> None:
    jobs = [start("sleep:0.2", f"say:{number}") for number in range(20)]
    assert [one.communicate(timeout=60)[0] for one in jobs] == [f"{number}\n" for number in range(20)]


def test_the_client_imports_next_to_nothing() -> None:
    tree = ast.parse(CLIENT.read_text())
    imported = {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    assert imported == {"_socket", "fcntl", "os", "sys"}, "fcntl where GPUs are shared out"
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]


def test_another_user_is_turned_away(worker: WarmWorker) -> None:
    if os.getuid() != 0:
        pytest.skip("only root can take on another user's identity")
    code = """
        import os, socket
        os.setuid(65534)
        with socket.socket(socket.AF_UNIX) as s:
            try:
                s.connect(os.environ["DUALGRAD_WORKER"])
            except PermissionError:
                print("turned away")
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True
    )
    assert done.stdout == "turned away\n"
    assert job("say:still here").stdout == "still here\n"


@pytest.mark.parametrize("rubbish", [b"", b"\0", b"\xff\xff\xff\xff", b"\x05\0\0\0abcde", b"\x03\0\0\0a\0b"])
def test_rubbish_does_not_hurt_the_server(worker: WarmWorker, rubbish: bytes) -> None:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(os.environ[ADDRESS])
        connection.sendall(rubbish)
        connection.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionResetError):
            assert connection.recv(10) == b""
    assert job("say:still here").stdout == "still here\n"


def test_preparing_jobs_starts_no_thread(worker: WarmWorker, tmp_path: Path) -> None:
    root = Path(__file__).parents[1]
    data = ("--config", f"data_dir={tmp_path / 'data'}")
    assert main(["data", "digits", "--root", str(root), *data]) == 0
    record = ("--output", str(tmp_path / "record.json"))
    process = Path(f"/proc/{worker._process.pid}")
    for words, library in (
        (("train", "A/lam0.1_eta0.4_seed0", *data, *record), "libtorch"),
        (("tables", "nothing"), "libarrow"),
        (("figure", "Figure1", "--tables", "nowhere", "--output", "x.pdf"), "matplotlib"),
        (("statistics", "nothing"), "scipy"),
    ):
        done = subprocess.run(
            ["dualgrad", *words, "--root", str(root), "--edition", "smoke"],
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert (done.returncode == 0) == (words[0] == "train"), done.stderr
        assert library in (process / "maps").read_text()
        assert len(list((process / "task").iterdir())) == 1, "a process that forks must own no other thread"


# ------------------------------------------------------------------------------------------ going without


def test_without_a_worker_the_client_does_the_work(stub: Path) -> None:
    done = job("who", "exit:4")
    parent, _, loaded = who(done.stdout)
    assert (parent, loaded, done.returncode) == (os.getpid(), 0, 4)
    assert done.stderr == ""


@pytest.mark.surroundings
def test_a_place_without_sockets_costs_the_worker_alone(
    stub: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    class Refused(socket.socket):
        def bind(self, address: object) -> None:
            raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    worker = WarmWorker()
    monkeypatch.setattr(socket, "socket", Refused)
    worker.start()
    try:
        assert "Operation not supported: '/" in capfd.readouterr().err
        done = job("who", "exit:4")
        assert who(done.stdout)[0] == os.getpid() and done.returncode == 4 and done.stderr == ""
        assert os.environ[WORKFLOW] == str(os.getpid()), "they end with it"
    finally:
        worker.stop()


def test_a_job_whose_server_died_is_done_without_it(worker: WarmWorker) -> None:
    client = start("who", "sleep:2", "say:done")
    parent = who(client.stdout.readline())[0]
    os.kill(parent, signal.SIGKILL)
    output, complaint = client.communicate(timeout=60)
    alone = who(output.splitlines()[0])
    assert alone[0] == os.getpid(), "the client became the command"
    assert output.endswith("done\n") and client.returncode == 0
    assert "goes on without it" in complaint


def test_a_server_that_died_is_started_again(worker: WarmWorker) -> None:
    first = server(worker)
    os.kill(first, signal.SIGKILL)
    assert eventually(lambda: server(worker) not in (first, os.getpid()))


def test_a_server_that_keeps_dying_is_given_up(worker: WarmWorker, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(dualgrad.jobs.warm_worker._RESTARTS + 1):
        process = worker._process
        process.kill()
        process.wait()
        eventually(lambda process=process: worker._process is not process, 5)
    assert eventually(lambda: worker._listener.fileno() == -1)
    done = job("say:alone")
    assert done.stdout == "alone\n"
    assert "does not answer" in done.stderr


def test_children_die_with_their_server(worker: WarmWorker) -> None:
    client = start("who", "stubborn", "sleep:60")
    parent, child, _ = who(client.stdout.readline())
    client.kill()  # so that it does not do the work again
    os.kill(parent, signal.SIGKILL)
    assert eventually(lambda: not is_alive(child))
    client.communicate()


# ------------------------------------------------------------------------------------------ ending


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_killing_a_client_ends_its_job(worker: WarmWorker, number: int) -> None:
    client = start("who", "sleep:60")
    parent, child, _ = who(client.stdout.readline())
    client.send_signal(number)
    client.communicate(timeout=20)
    assert client.returncode != 0
    assert eventually(lambda: not is_alive(child))
    assert is_alive(parent)


def test_a_job_that_ignores_sigterm_is_killed(worker: WarmWorker) -> None:
    client = start("stubborn", "who", "sleep:60")
    child = who(client.stdout.readline())[1]
    client.kill()
    client.communicate()
    assert eventually(lambda: not is_alive(child))


@pytest.fixture
def impatient(stub: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WarmWorker]:
    """A worker that waits tenths of a second for its jobs, and three for those that have heard."""
    patience = {"_GRACE": 0.3, "_GRACE_HEARD": 3.0}
    with (stub / "stub" / "sitecustomize.py").open("a") as hooks:
        hooks.write(f"from dualgrad.jobs import warm_worker\nvars(warm_worker).update({patience})\n")
    for name, seconds in {**patience, "_PATIENCE": 0.3}.items():
        monkeypatch.setattr(dualgrad.jobs.warm_worker, name, seconds)
    worker = WarmWorker()
    worker.start()
    yield worker
    worker.stop()


@pytest.mark.parametrize(("seconds", "kept"), [("1.2", "kept\n"), ("60", "")])
def test_a_job_that_finishes_its_step_has_more_time(impatient: WarmWorker, seconds: str, kept: str) -> None:
    client = start(f"step:{seconds}", "who", "sleep:60")
    child = who(client.stdout.readline())[1]
    client.kill()
    client.wait()
    assert client.stdout.read() == kept, "until the child closes it too"
    assert eventually(lambda: not is_alive(child))


def test_the_end_of_a_workflow_waits_for_steps_and_says_so(
    impatient: WarmWorker, capfd: pytest.CaptureFixture[str]
) -> None:
    client = start("step:1.2", "who", "sleep:60")
    client.stdout.readline()
    impatient.stop()
    assert client.communicate(timeout=20)[0] == "kept\n" and client.returncode == 143
    assert "runs finish their step and keep their state" in capfd.readouterr().err


def test_a_worker_that_is_stopped_is_noticed(
    worker: WarmWorker, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(dualgrad.jobs.warm_worker, "_STILL_STOPPED", 0.3)
    number = server(worker)

    def told() -> str:
        return capfd.readouterr().err

    os.kill(number, signal.SIGSTOP)
    os.kill(number, signal.SIGCONT)  # as a batch system does with all processes
    time.sleep(0.6)
    assert told() == ""
    os.kill(number, signal.SIGSTOP)
    said = []
    assert eventually(lambda: said.append(told()) or f"kill -CONT {number} lets it go on" in "".join(said))
    os.kill(number, signal.SIGCONT)
    assert server(worker) == number
    os.kill(number, signal.SIGSTOP)
    worker.stop()
    assert not is_alive(number)


def listening(address: str) -> bool:
    """Whether somebody listens to a socket of this name, or its file is there."""
    return address in Path("/proc/net/unix").read_text() or Path(address).exists()


def test_stopping_leaves_nothing(worker: WarmWorker) -> None:
    address = os.environ[ADDRESS]
    client = start("who", "sleep:60")
    parent, child, _ = who(client.stdout.readline())
    assert listening(address)
    worker.stop()
    assert not is_alive(parent) and not is_alive(child)
    assert not listening(address)
    assert ADDRESS not in os.environ
    client.communicate(timeout=20)
    assert client.returncode == 128 + signal.SIGTERM
    worker.stop()  # again: no harm


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_nothing_outlives_its_owner(stub: Path, number: int) -> None:
    code = """
        import os, subprocess, time
        from dualgrad.jobs.warm_worker import WarmWorker
        WarmWorker().start()
        print(os.environ["DUALGRAD_WORKER"], flush=True)
        subprocess.Popen(["dualgrad", "stub", "who", "sleep:60"])
        time.sleep(60)
    """
    before = set(stub.iterdir())
    owner = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    address = owner.stdout.readline().strip()
    parent, child, _ = who(owner.stdout.readline())
    owner.send_signal(number)
    owner.wait()
    assert eventually(lambda: not is_alive(parent) and not is_alive(child))
    # The pipe is closed by whoever held it last: the client. It does not start the work again.
    assert owner.stdout.read() == ""
    assert not listening(address)
    assert set(stub.iterdir()) == before


def test_a_server_that_is_still_importing_ends_with_its_owner(stub: Path) -> None:
    (stub / "stub" / "slow_command.py").write_text(
        "from dualgrad.arguments import verb\n@verb\ndef run(args):\n    return 0\n"
        "def preload(root, settings, given):\n    import time\n"
        "    open('preloading', 'w').close()\n    time.sleep(60)\n"
    )
    with (stub / "stub" / "sitecustomize.py").open("a") as hooks:
        hooks.write("cli.COMMANDS['slow'] = ('slow_command', 'for tests')\n")
    code = """
        import subprocess, time
        from dualgrad.jobs.warm_worker import WarmWorker
        worker = WarmWorker()
        worker.start()
        print(worker._process.pid, flush=True)
        subprocess.Popen(["dualgrad", "slow"], stdout=subprocess.DEVNULL)
        time.sleep(60)
    """
    words = [sys.executable, "-c", textwrap.dedent(code)]
    owner = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    server = int(owner.stdout.readline())
    assert eventually((stub / "preloading").exists)
    owner.kill()
    owner.communicate()
    assert eventually(lambda: not is_alive(server), 5)


def test_a_job_without_worker_ends_with_its_workflow(stub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    workflow = subprocess.Popen(["sleep", "60"])
    monkeypatch.setenv(WORKFLOW, str(workflow.pid))
    alone = start("say:here", "sleep:60")
    assert alone.stdout.readline() == "here\n"
    workflow.kill()
    workflow.wait()
    assert alone.wait(timeout=20) != 0
    alone.communicate()


# ------------------------------------------------------------------------------------------ GPUs


def test_gpus_are_shared_out(worker: WarmWorker, monkeypatch: pytest.MonkeyPatch) -> None:
    # Names that no other test or workflow on this machine can hold.
    names = [f"test-{os.getpid()}-{number}" for number in range(2)]
    monkeypatch.setenv(GPUS, ",".join(names))

    def trainings(count: int) -> tuple[list[subprocess.Popen], list[str]]:
        jobs = [start("gpu", "sleep:60", command="verify") for _ in range(count)]
        return jobs, [one.stdout.readline().strip() for one in jobs]

    def end(one: subprocess.Popen) -> None:
        one.kill()
        one.communicate()

    assert job("gpu").stdout.strip() == "None", "tables and figures take none"
    jobs, held = trainings(4)
    assert sorted(held) == sorted(2 * names), "with all taken, a second round begins"
    for one, name in zip(jobs, held, strict=True):
        if name == names[0]:
            end(one)
    more, now = trainings(2)
    assert now == 2 * names[:1], "the one that fewest hold, and none of them is left idle"
    assert job("gpu", command="verify").stdout.strip() == names[0]
    for one in jobs + more:
        end(one)


def test_a_gpu_is_kept_without_a_worker(stub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"test-{os.getpid()}-{number}" for number in range(2)]
    monkeypatch.setenv(GPUS, ",".join(names))
    monkeypatch.setenv(LOCKS, str(stub))
    holder = start("gpu", "sleep:60", command="verify")
    assert holder.stdout.readline().strip() == names[0]
    assert job("gpu", command="verify").stdout.strip() == names[1]
    with contextlib.suppress(ProcessLookupError):
        holder.kill()
    holder.communicate()


def test_sockets_and_locks_lie_where_nobody_else_can_look(worker: WarmWorker) -> None:
    folder = Path(os.environ[ADDRESS]).parent
    assert folder.stat().st_mode & 0o777 == 0o700 and folder.stat().st_uid == os.getuid()
    assert os.environ[LOCKS] == str(folder)
    assert listening(os.environ[ADDRESS])


def test_a_folder_that_another_user_has_taken_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Path(tempfile.mkdtemp(dir="/tmp"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(place))
    (place / f"dualgrad-{os.getuid()}").mkdir(mode=0o755)
    (place / f"dualgrad-{os.getuid()}").chmod(0o755)
    assert private_folder().parent != place
    shutil.rmtree(place)


def test_sockets_of_the_dead_are_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    place = Path(tempfile.mkdtemp(dir="/tmp"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(place))
    dead = private_folder() / "worker-dead"
    assert dead.is_relative_to(place)
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(dead))
    living = WarmWorker()
    living.start()
    try:
        assert not dead.exists() and Path(os.environ[ADDRESS]).exists()
    finally:
        living.stop()
        shutil.rmtree(place)


@pytest.mark.surroundings
def test_jobs_are_not_pinned_to_one_core(stub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {"OMP_PROC_BIND": "true", "OMP_PLACES": "cores", "GOMP_CPU_AFFINITY": "0"}
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    prepare_jobs([])
    assert not settings.keys() & os.environ.keys()


@pytest.mark.surroundings
def test_a_client_that_cannot_be_executed_is_refused(stub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a file system without programs: the shell would run the command that people type, without settings."""
    module = stub / "jobs" / "warm_worker.py"
    (module.parent / "bin").mkdir(parents=True)
    client = Path(shutil.copy(CLIENT.with_name("bin") / "dualgrad", module.parent / "bin"))
    monkeypatch.setattr(dualgrad.jobs.warm_worker, "__file__", str(module))
    prepare_jobs([])
    client.chmod(0o644)
    with pytest.raises(InputError, match="jobs/bin/dualgrad: cannot be executed"):
        prepare_jobs([])


@pytest.mark.surroundings
@pytest.mark.parametrize("name", ["random.py", "signal.py"])
def test_a_file_beside_the_snakefile_shadows_no_module(stub: Path, name: str) -> None:
    # Without the hooks of these tests, which import both before the folder could shadow them.
    (stub / "stub" / "sitecustomize.py").unlink()
    (stub / name).write_text("raise SystemExit('shadowed')\n")
    for start_worker in (False, True):
        worker = WarmWorker()
        if start_worker:
            worker.start()
        done = subprocess.run(
            ["dualgrad", "--version"], capture_output=True, text=True, timeout=60, check=False
        )
        worker.stop()
        assert (done.returncode, done.stdout) == (0, f"dualgrad {__version__}\n"), done.stderr


def test_the_text_of_an_exit_is_told(worker: WarmWorker) -> None:
    done = job("leave:no such thing")
    assert (done.returncode, done.stderr) == (1, "no such thing\n")


def test_a_job_on_a_node_has_the_seconds_that_slurm_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    assert (grace(), grace(heard=True)) == (5.0, 60.0)
    monkeypatch.setenv("SLURM_JOB_ID", "1")
    assert grace() is None and grace(heard=True) is None


# ------------------------------------------------------------------------------------------ by hand
