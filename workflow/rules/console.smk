"""What the terminal shows of a workflow with thousands of jobs: how far it is, and what fails.

Snakemake writes about twelve lines for each job. In a long workflow this keeps the job table, progress when it has
changed by a percent (or half a minute has passed), and all warnings and errors. The complete log file keeps everything;
`snakemake --verbose` shows everything. (`quiet: [rules]` would not do: it hides failed jobs too.)
"""

import logging
import sys
import time

from snakemake_interface_logger_plugins.common import LogEvent

LONG = 50  # jobs


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
        if event == LogEvent.RUN_INFO:
            self._long = record.stats.get("total", 0) > LONG
        if not self._long or record.levelno > logging.INFO:
            return True
        if event == LogEvent.PROGRESS:
            return self._has_moved(record.done, record.total)
        return event not in self._per_job and record.msg != "Select jobs to execute..."

    def _has_moved(self, done, total):
        percent, now = 100 * done // total, time.monotonic()
        wait = 30 if percent == self._shown[0] else 2
        if done < total and now < self._shown[1] + wait:
            return False
        self._shown = (percent, now)
        return True


if workflow.is_main_process and "--verbose" not in sys.argv:
    for handler in logger.handlers:
        if type(handler).__name__ == "ColorizingTextHandler":
            handler.addFilter(Brevity())
