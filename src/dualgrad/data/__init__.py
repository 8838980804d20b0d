"""What a training run reads that is not a gradient: examples, labels, label noise, trusted subsets.

`noise` and `trusted` need no torch; what does is imported on first use.
"""

from __future__ import annotations

from typing import Any

__all__ = ["load_task"]


def __getattr__(name: str) -> Any:
    if name == "load_task":
        from dualgrad.data.task import load_task

        return load_task
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
