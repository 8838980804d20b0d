"""Run one ``dualgrad`` command in a child of the warm worker: ``python -IS client.py COMMAND ARGUMENTS...``.

A stand-alone script: thousands of jobs start it, and each import would cost more than all it does.
"""

import _socket
import os
import sys

# One message goes to the server (length, then texts separated by NUL, with the standard streams attached), one comes
# back (the exit status in decimal). If the connection ends without one, the server is gone.
LOST = None
KILLED = 128 + 9


def through_worker(address: str, words: list[str]) -> int | None:
    """Return the exit status of `words` run by the worker, or LOST."""
    connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    try:
        connection.connect(os.fsencode(address))
        if hasattr(_socket, "SO_PEERCRED"):
            peer = connection.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, 12)
            if int.from_bytes(peer[4:8], sys.byteorder) != os.getuid():
                return LOST
        environment = [key + b"=" + value for key, value in os.environb.items()]
        texts = [os.getcwdb(), b"%d" % len(words), *map(os.fsencode, words), *environment]  # noqa: PTH109
        body = b"\0".join(texts)
        message = len(body).to_bytes(4, "little") + body
        streams = b"".join(stream.to_bytes(4, sys.byteorder) for stream in (0, 1, 2))
        sent = connection.sendmsg([message], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, streams)])
        if sent < len(message):
            connection.sendall(message[sent:])
        answer = b""
        while part := connection.recv(16):
            answer += part
        return int(answer) if answer.endswith(b"\n") else LOST
    except OSError:
        return LOST


def take_gpu(names: list[str]) -> str:
    """Reserve the GPU that fewest jobs of this user hold, until this process ends; return its name.

    A reservation is a lock of a file in a folder that nobody else can open: it cannot outlive its holder.
    """
    folder = os.environ.get("DUALGRAD_LOCKS")
    try:
        if folder:
            return _least_held(names, folder)
    except OSError:
        pass  # no such folder: spread them at least
    return names[os.getpid() % len(names)]


def _least_held(names: list[str], folder: str) -> str:
    import fcntl

    def locked(file: str, how: int) -> int:
        """Return a descriptor of a file with a lock on it, or -1 where somebody else has it."""
        slot = os.open(f"{folder}/{file}", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(slot, how)
        except BlockingIOError:
            os.close(slot)
            return -1
        return slot

    at_once = fcntl.LOCK_EX | fcntl.LOCK_NB
    turn = locked("gpus", fcntl.LOCK_EX)  # one job at a time looks and takes
    held = []
    for name in names:
        slots = [locked(file, at_once) for file in os.listdir(folder) if _is_slot(file, name)]  # noqa: PTH208
        held.append(slots.count(-1))
        for slot in slots:
            if slot >= 0:
                os.close(slot)
    best, level = names[held.index(min(held))], 0
    while (slot := locked(_slot(best, level), at_once)) < 0:
        level += 1
    os.set_inheritable(slot, True)  # kept if this process becomes the command itself
    os.close(turn)
    return best


def _slot(gpu: str, level: int | str) -> str:
    return f"gpu-{gpu.replace('/', '_')}-{level}"


def _is_slot(file: str, gpu: str) -> bool:
    return file.startswith(_slot(gpu, "")) and file[len(_slot(gpu, "")) :].isdigit()


def orphaned() -> bool:
    """Whether the workflow that this job belongs to is gone."""
    workflow = os.environ.get("DUALGRAD_WORKFLOW")
    if not workflow:
        return False
    try:
        os.kill(int(workflow), 0)
    except ProcessLookupError:
        return True
    return False


def main() -> int:
    """Run the command line through the worker, or become it; returns its exit status."""
    words = sys.argv[1:]
    settings = os.environ.get("DUALGRAD_SETTINGS")
    if settings:
        words += settings.split("\x1f")
    gpus = os.environ.get("DUALGRAD_GPUS")
    if gpus and words[:1] in (["train"], ["verify"]):  # the others need none
        os.environ["CUDA_VISIBLE_DEVICES"] = take_gpu(gpus.split(","))
    address = os.environ.get("DUALGRAD_WORKER")
    if address:
        status = through_worker(address, words)
        if orphaned():
            return 1
        if status == KILLED:
            sys.stderr.write(
                "dualgrad: this job was killed from outside, as the system does when memory runs out; "
                "run the same target again, with fewer --cores if that was it\n"
            )
        if status is not LOST:
            return status
        sys.stderr.write("dualgrad: the warm worker does not answer; this job goes on without it\n")
        sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, "-P", "-m", "dualgrad.jobs.alone", *words])


if __name__ == "__main__":
    try:
        status = main()
    except KeyboardInterrupt:
        status = 130
    os._exit(status)  # nothing to tidy up
