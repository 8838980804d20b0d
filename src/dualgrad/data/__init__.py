"""What a training run reads that is not a gradient: examples, labels, label noise, trusted subsets.

`noise` and `trusted` need numpy only; everything that needs torch is imported on first use.
"""

from __future__ import annotations

from typing import Any

from dualgrad.data.errors import DataError

__all__ = ["DataError", "Task", "label_tables", "load_task", "preload"]


def __getattr__(name: str) -> Any:
    if name in ("Task", "load_task", "preload"):
        from dualgrad.data import task

        return getattr(task, name)
    if name == "label_tables":
        from dualgrad.data.noise import label_tables

        return label_tables
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
