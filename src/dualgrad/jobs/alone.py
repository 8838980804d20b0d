"""Run one ``dualgrad`` command in this process: what the client becomes when no worker answers."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time

from dualgrad.jobs.warm_worker import WORKFLOW, grace, heard

_INTERVAL = 1.0  # seconds between looks


def _end_with(workflow: int) -> None:
    """End this process when the workflow is gone: nothing of ours outlives it."""
    while True:
        try:
            os.kill(workflow, 0)
        except ProcessLookupError:
            break
        time.sleep(_INTERVAL)
    os.kill(os.getpid(), signal.SIGTERM)
    if (patience := grace()) is not None:
        time.sleep(patience)
        if heard[0]:
            time.sleep(max(0.0, (grace(heard=True) or patience) - patience))
        os._exit(1)


def main() -> int:
    """Run the command in ``sys.argv``, for as long as its workflow lives."""
    workflow = os.environ.get(WORKFLOW)
    if workflow:
        threading.Thread(target=_end_with, args=[int(workflow)], daemon=True).start()
    from dualgrad.cli import main as dualgrad

    return dualgrad(sys.argv[1:])


if __name__ == "__main__":
    try:
        status = main()
    except KeyboardInterrupt:
        status = 130
    if status == 130:  # more of them, while Python ends, change nothing
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.exit(status)
