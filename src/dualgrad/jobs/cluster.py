"""What SLURM can be asked: where it keeps no accounting, `sacct` knows no job, and Snakemake would wait for ever."""

from __future__ import annotations

import re
import subprocess
from typing import Any


def slurm_configuration() -> str:
    """Return what `scontrol show config` prints; empty where there is no answer within ten seconds."""
    try:
        return subprocess.run(
            ["scontrol", "show", "config"], capture_output=True, text=True, timeout=10, check=True
        ).stdout
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
