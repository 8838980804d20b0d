"""Keep a warm worker for jobs that are started by hand.

The workflow starts a worker of its own. This one serves a shell: it prints lines that make `dualgrad` there hand its
work to a process that has imported everything already, and runs until Ctrl-C.

    dualgrad worker > worker.env &
    . ./worker.env
    for seed in 0 1 2; do dualgrad train M2/lam0.4_eta0.4_seed$seed; done
"""

from __future__ import annotations

import argparse
import os
import shlex
import signal


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""


def run(args: argparse.Namespace) -> int:
    """Serve until told to stop."""
    from dualgrad.worker import WarmWorker, prepare_jobs

    signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGINT))  # end on either, in good order
    prepare_jobs([])
    worker = WarmWorker()
    try:
        worker.start()
        for name, value in os.environ.items():
            if name == "PATH" or name.startswith("DUALGRAD_"):
                print(f"export {name}={shlex.quote(value)}")
        print(end="", flush=True)
        while True:
            signal.pause()
    except KeyboardInterrupt:
        return 0
    finally:
        worker.stop()
