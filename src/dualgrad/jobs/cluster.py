"""What SLURM is asked before anything is submitted.

Where it keeps no accounting, `sacct` knows no job, and Snakemake would wait for ever; what an earlier Snakemake has
left in the queue would be submitted a second time.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any


def slurm_configuration() -> str:
    """Return what `scontrol show config` prints."""
    return answer("scontrol", "show", "config")


def answer(*words: str) -> str:
    """Return what one of SLURM's commands prints; empty where it fails, or says nothing within ten seconds."""
    try:
        return subprocess.run(words, capture_output=True, text=True, timeout=10, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return ""


def keeps_no_accounting(configuration: str) -> bool:
    """Return whether a SLURM of this configuration keeps no accounting; False where it does not say."""
    found = re.search(r"^AccountingStorageType\s*=\s*(\S+)", configuration, re.M)
    return found is not None and found[1] in ("accounting_storage/none", "(null)", "none")


def ask_squeue_without_accounting(settings: Any) -> bool:
    """Let the SLURM plugin ask `squeue` for the states of jobs where `sacct` knows none.

    Args:
        settings: the executor's settings; of another executor than SLURM, they stay as they are.

    Returns:
        Whether they were changed.
    """
    if getattr(settings, "status_command", None) != "sacct" or not keeps_no_accounting(slurm_configuration()):
        return False
    settings.status_command = "squeue"
    return True


def left_in_the_queue(folder: Path, settings: Any) -> str | None:
    """Say which submissions of an earlier Snakemake of this folder are still running or waiting.

    Args:
        folder: where Snakemake runs.
        settings: the executor's settings; another executor than SLURM is not asked.

    Returns:
        Which, and what to do; None where there are none, or no answer.
    """
    if not hasattr(settings, "status_command"):
        return None
    shown = answer("squeue", "--me", "--noheader", "--format=%i|%k|%Z")
    lines = [line.split("|", 2) for line in shown.splitlines()]
    # The plugin's own comment tells them from whatever else is submitted from here, such as Snakemake itself.
    found = [job for job, comment, place in lines if comment.startswith("rule_") and Path(place) == folder]
    if not found:
        return None
    return (
        f"Submissions of an earlier Snakemake in this folder are still running or waiting: {', '.join(found)}. What "
        "they do would be submitted a second time. Wait until `squeue --me` lists them no more, or end them with "
        f"`scancel {' '.join(found)}`, then type the same command again."
    )
