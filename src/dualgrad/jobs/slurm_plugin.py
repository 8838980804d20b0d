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
    """Have the plugin take states of submissions for what they are; once is enough.

    Args:
        plugin: its module.
    """
    plain = plugin.query_job_status
    if getattr(plain, "knows_all", False):
        return
    states = States()

    async def query_job_status(*arguments: Any, **named: Any) -> tuple[dict[str, str] | None, float | None]:
        found, seconds = await plain(*arguments, **named)
        return (None if found is None else states.known(found)), seconds

    query_job_status.knows_all = True  # type: ignore[attr-defined]
    plugin.query_job_status = query_job_status


def report_exceptions(plugin: Any) -> None:
    """Have an exception while a group is submitted end that group, and say what it was; once is enough.

    The plugin asks the group for its rule, which it has not, and so raises another one in a thread of its own, where
    nobody hears it.

    Args:
        plugin: its module.
    """
    plain = plugin.Executor.run_job
    if getattr(plain, "reports_exceptions", False):
        return

    def run_job(self: Any, job: Any) -> None:
        try:
            plain(self, job)
        except Exception as error:
            reason = error.__context__ or error
            self._report_job_error_threadsafe(
                plugin.SubmittedJobInfo(job), f"It could not be submitted: {reason}\n"
            )

    run_job.reports_exceptions = True  # type: ignore[attr-defined]
    plugin.Executor.run_job = run_job


def show_reasons(group_job: type) -> None:
    """Have Snakemake show why a group failed, as it does for a job of its own; once is enough.

    Args:
        group_job: Snakemake's class of groups.
    """
    plain = group_job.log_error  # type: ignore[attr-defined]
    if getattr(plain, "shows_reasons", False):
        return

    def log_error(self: Any, msg: str | None = None, **named: Any) -> None:
        plain(self, msg, **named)
        if msg:
            logging.getLogger("snakemake.logging").error(f"Group {self.groupid}: {msg}")

    log_error.shows_reasons = True  # type: ignore[attr-defined]
    group_job.log_error = log_error  # type: ignore[attr-defined]


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


def requeue_when_preempted(executor: type, job: str, pause: float = 1.0) -> None:
    """Have a submission that is preempted with time to end go back into the queue as soon as its run has ended.

    Otherwise it has failed: SLURM does not put it back, and Snakemake's next attempt asks for twice the memory. Once
    is enough.

    Args:
        executor: the class that runs jobs within a submission.
        job: the submission's number.
        pause: seconds between two questions.
    """
    plain = executor.report_job_error  # type: ignore[attr-defined]
    if getattr(plain, "requeues", False):
        return

    def report_job_error(self: Any, *arguments: Any, **named: Any) -> None:
        show = ("scontrol", "--oneliner", "show", "job", job)
        if is_preempted(answer(*show), datetime.now()):
            answer("scontrol", "requeue", job)  # where it is refused, SLURM does it when the time has passed
            while is_preempted(answer(*show), datetime.now()):
                time.sleep(pause)
        plain(self, *arguments, **named)

    report_job_error.requeues = True  # type: ignore[attr-defined]
    executor.report_job_error = report_job_error  # type: ignore[attr-defined]


def keep_going(scheduler: type) -> None:
    """Have a submission do what is left of it when a run fails; once is enough.

    The plugin does not hand on ``--keep-going``: the rest of the group would stay untrained in all attempts.

    Args:
        scheduler: Snakemake's class of schedulers, within a submission.
    """
    plain = scheduler.__init__  # type: ignore[misc]
    if getattr(plain, "keeps_going", False):
        return

    def begin(self: Any, *arguments: Any, **named: Any) -> None:
        plain(self, *arguments, **named)
        self.keepgoing = True

    begin.keeps_going = True  # type: ignore[attr-defined]
    scheduler.__init__ = begin  # type: ignore[misc]


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
