"""Faults of Snakemake and of its SLURM plugin (2.8.0) that submissions meet, put right while the workflow is read.

What the plugin waits for, for ever: a submission that was cancelled (`sacct` says who did it after the state), one
that was preempted for good, one whose submission raised an exception. What nobody is told: why `sbatch` refused a
group. What is counted as a failure: a submission that is about to be put back into the queue.
"""

from __future__ import annotations

import logging
import os
import re
import sys
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any

from dualgrad.jobs.cluster import answer
from dualgrad.jobs.replaced import replace

# A submission that SLURM puts back into the queue is pending within seconds; one that stays preempted is lost.
_PREEMPTED_FOR_GOOD = 600.0


class States:
    """States of submissions in the words that the plugin knows.

    Attributes:
        clock: seconds, for tests.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self._preempted_since: dict[str, float] = {}

    def known(self, states: dict[str, str]) -> dict[str, str]:
        """Return states of submissions without what `sacct` says beside them, and the end of preempted ones.

        Args:
            states: by a submission's number, as `sacct` or `squeue` tell them: ``CANCELLED by 1000``.
        """
        now = self.clock()
        plain = {job: state.partition(" ")[0] for job, state in states.items()}
        preempted = {job for job, state in plain.items() if state == "PREEMPTED"}
        self._preempted_since = {job: self._preempted_since.get(job, now) for job in preempted}
        for job, since in self._preempted_since.items():
            if now - since >= _PREEMPTED_FOR_GOOD:
                plain[job] = "CANCELLED"
        return plain


def know_all_states(plugin: Any) -> None:
    """Have the plugin take states of submissions for what they are.

    Args:
        plugin: its module.
    """
    states = States()

    def made(plain: Any) -> Any:
        async def query_job_status(
            *arguments: Any, **named: Any
        ) -> tuple[dict[str, str] | None, float | None]:
            found, seconds = await plain(*arguments, **named)
            return (None if found is None else states.known(found)), seconds

        return query_job_status

    replace(plugin, "query_job_status", made)


def report_exceptions(plugin: Any) -> None:
    """Have an exception while a group is submitted end that group, and say what it was.

    The plugin asks the group for its rule, which it has not, and so raises another one in a thread of its own, where
    nobody hears it.

    Args:
        plugin: its module.
    """

    def made(plain: Any) -> Any:
        def run_job(self: Any, job: Any) -> None:
            try:
                plain(self, job)
            except Exception as error:
                reason = error.__context__ or error
                self._report_job_error_threadsafe(
                    plugin.SubmittedJobInfo(job), f"It could not be submitted: {reason}\n"
                )

        return run_job

    replace(plugin.Executor, "run_job", made)


def show_reasons(group_job: type) -> None:
    """Have Snakemake show why a group failed, as it does for a job of its own.

    Args:
        group_job: Snakemake's class of groups.
    """

    def made(plain: Any) -> Any:
        def log_error(self: Any, msg: str | None = None, **named: Any) -> None:
            plain(self, msg, **named)
            if msg:
                logging.getLogger("snakemake.logging").error(f"Group {self.groupid}: {msg}")

        return log_error

    replace(group_job, "log_error", made)


def is_preempted(shown: str, now: datetime) -> bool:
    """Return whether SLURM is about to take the node from a submission.

    Args:
        shown: what `scontrol show job` prints of it.
        now: the time of this machine.
    """
    found = dict(re.findall(r"(\w+)=(\S+)", shown))
    try:
        start, chosen, end = (
            datetime.fromisoformat(found[key]) for key in ("StartTime", "PreemptTime", "EndTime")
        )
    except (KeyError, ValueError):
        return False  # PreemptTime=None
    # A submission that was preempted before, and runs again, was chosen before it started.
    return start <= chosen and now < end


def requeue_when_preempted(executor: type, job: str) -> None:
    """Have a submission that is preempted with time to end go back into the queue as soon as its run has ended.

    Otherwise it has failed: SLURM does not put it back, and Snakemake's next attempt asks for twice the memory.

    Args:
        executor: the class that runs jobs within a submission.
        job: the submission's number.
    """
    show = ("scontrol", "--oneliner", "show", "job", job)

    def made(plain: Any) -> Any:
        def report_job_error(self: Any, *arguments: Any, **named: Any) -> None:
            if is_preempted(answer(*show), datetime.now()):
                answer(
                    "scontrol", "requeue", job
                )  # where it is refused, SLURM does it when the time has passed
                while is_preempted(answer(*show), datetime.now()):
                    time.sleep(1)
            plain(self, *arguments, **named)

        return report_job_error

    replace(executor, "report_job_error", made)


def keep_going(scheduler: type) -> None:
    """Have a submission do what is left of it when a run fails.

    The plugin does not hand on ``--keep-going``: the rest of the group would stay untrained in all attempts.

    Args:
        scheduler: Snakemake's class of schedulers, within a submission.
    """

    def made(plain: Any) -> Any:
        def begin(self: Any, *arguments: Any, **named: Any) -> None:
            plain(self, *arguments, **named)
            self.keepgoing = True

        return begin

    replace(scheduler, "__init__", made)


def mend(group_job: type) -> None:
    """Put right whatever of this can happen here: in the Snakemake that submits, and in one within a submission.

    Args:
        group_job: Snakemake's class of groups.
    """
    show_reasons(group_job)
    if plugin := sys.modules.get("snakemake_executor_plugin_slurm"):
        know_all_states(plugin)
        report_exceptions(plugin)
    within = sys.modules.get("snakemake_executor_plugin_slurm_jobstep")
    if within and "SLURM_JOB_ID" in os.environ:
        requeue_when_preempted(within.Executor, os.environ["SLURM_JOB_ID"])
