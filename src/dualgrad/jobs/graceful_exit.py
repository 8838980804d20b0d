"""A fault of Snakemake's that this workflow meets: told to end, it sometimes hangs instead.

Its handler of SIGTERM waits, in the main thread, for a lock that this thread may just be holding (seen in 9.27).
A submission that a cluster ends just when one of its jobs has failed then stays for ever, its worker with it.
"""

from __future__ import annotations

import _thread
from typing import Any

from dualgrad.jobs.replaced import replace


def exit_from_a_thread(scheduler: type) -> None:
    """Have Snakemake's class of schedulers ask for its end from a thread of its own; once is enough.

    The handler is put up by Snakemake when it makes a scheduler, in a submission of a cluster as well, which calls no
    hooks: so this must be said before, while the workflow is read.
    """

    def made(plain: Any) -> Any:
        def exit_gracefully(self: Any, *signal_and_frame: Any) -> None:
            _thread.start_new_thread(plain, (self,))

        return exit_gracefully

    replace(scheduler, "exit_gracefully", made)
