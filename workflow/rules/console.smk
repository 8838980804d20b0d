"""What the terminal shows of a workflow with thousands of jobs: how far it is, and what fails.

Snakemake writes about twelve lines for each job. In a long workflow this keeps the job table, progress when it has
changed by a percent (or half a minute has passed), and all warnings and errors. The complete log file keeps everything;
`snakemake --verbose` shows everything. (`quiet: [rules]` would not do: it hides failed jobs too.)
"""

import logging
import sys
import time

from snakemake.common import NOTHING_TO_BE_DONE_MSG
from snakemake_interface_logger_plugins.common import LogEvent

LONG = 50  # jobs
LINE = 400  # characters


class Brevity(logging.Filter):
    """Drops what is said about each single job, once the workflow is known to be long."""

    _per_job = {
        LogEvent.JOB_INFO,
        LogEvent.JOB_STARTED,
        LogEvent.JOB_FINISHED,
        LogEvent.GROUP_INFO,
        LogEvent.SHELLCMD,
    }

    def __init__(self):
        super().__init__()
        self._long = False
        self._shown = (-1, 0.0)

    def filter(self, record):
        event = getattr(record, "event", None)
        if event == LogEvent.JOB_FINISHED:
            TIME_LEFT.finish(record.job_id)
        if event == LogEvent.RUN_INFO:
            self._long = record.stats.get("total", 0) > LONG
        if not self._long or record.levelno > logging.INFO:
            return True
        if event == LogEvent.PROGRESS:
            return self._has_moved(record.done, record.total)
        if event == LogEvent.JOB_INFO and asks_a_cluster(record):
            return True
        return event not in self._per_job and record.msg != "Select jobs to execute..."

    def _has_moved(self, done, total):
        percent, now = 100 * done // total, time.monotonic()
        wait = 30 if percent == self._shown[0] else 2
        if done < total and now < self._shown[1] + wait:
            return False
        self._shown = (percent, now)
        return True


class Telling(logging.Formatter):
    """Snakemake's own formatter, but for some messages: progress comes with an estimate of what is left; a job's lines
    are no longer than people read; a dry run's job table comes with a warning where the CPU would train for days, and
    with what a cluster would be given; and a long dry run for a cluster shows each run in a line, with all that it asks
    for."""

    def __init__(self, inner):
        super().__init__()
        self._inner = inner

    def format(self, record):
        event = getattr(record, "event", None)
        if event == LogEvent.JOB_INFO and asks_a_cluster(record):
            return self._asked(record.wildcards["run"])
        text = self._inner.format(record)
        if event == LogEvent.JOB_INFO:  # a job can make hundreds of files, and have them all as its reason
            return "\n".join(line if len(line) <= LINE else f"{line[:LINE]} ..." for line in text.split("\n"))
        if event == LogEvent.PROGRESS and (left := TIME_LEFT.words()):
            return f"{text}, {left}"
        return self._with_plan(text) if event == LogEvent.RUN_INFO and workflow.dryrun else text

    def _with_plan(self, text):
        runs = planned_runs()
        more = [
            requests().unasked_cpu(trained_runs()),
            replaced_unasked(workflow.dag_settings.targets, SHOWING, runs, RECORDED),
            requests().in_words(runs, workflow.group_settings.group_components),
        ]
        return "\n\n".join([text.rstrip(), *filter(None, more), ""]) if any(more) else text

    def _asked(self, run):
        asked = requests()
        gigabytes = asked.megabytes(run, 1) / 1000
        return f"{run}: {asked.gpus} GPU, {asked.minutes(run, 1)} min, {gigabytes:.1f} GB, {asked.group(run) or 'alone'}"


class Places(logging.Filter):
    """Adds to the message that there is nothing to do where that lies which was asked for. (No hook is called.)"""

    def filter(self, record):
        if record.msg == NOTHING_TO_BE_DONE_MSG:
            record.msg = "\n".join([record.msg.rstrip("\n"), *places_of_targets()])
        return True


def places_of_targets():
    return closing(workflow.dag_settings.targets, PROJECT, Path.cwd())


def asks_a_cluster(record):
    """Return whether a message is that of a run in a long dry run for a cluster."""
    if not workflow.dryrun or len(workflow.dag) <= LONG:
        return False
    return record.rule_name in TRAINING and requests().cluster


def planned_runs():
    """Return the runs whose records the workflow makes."""
    jobs = workflow.dag.needrun_jobs(exclude_finished=False)
    return [job.wildcards.run for job in jobs if job.rule.name in TRAINING]


def trained_runs():
    """Return the runs that the workflow trains, whether for a record or for verification."""
    jobs = workflow.dag.needrun_jobs(exclude_finished=False)
    return [run for job in jobs if job.rule.name in TRAINED for run in trained_by_job(job)]


def trained_by_job(job):
    run = job.wildcards.run
    return [run] if job.rule.name in TRAINING else inputs.trained_to_verify(run, CENSUS)


def seconds_of_job(job):
    return sum(map(requests().seconds, trained_by_job(job))) if job.rule.name in TRAINED else OTHER_SECONDS


def planned_seconds():
    """Return what each job of the workflow is planned to take, by its number."""
    return {job.jobid: seconds_of_job(job) for job in workflow.dag.needrun_jobs()}


TIME_LEFT = TimeLeft()

if workflow.is_main_process and "--verbose" not in sys.argv:
    for handler in logger.handlers:
        if type(handler).__name__ == "ColorizingTextHandler":
            handler.addFilter(Brevity())
            handler.addFilter(Places())
            handler.setFormatter(Telling(handler.formatter))
