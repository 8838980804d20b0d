"""Matplotlib for figures that are files: loaded without a display, whatever the environment says."""

from __future__ import annotations

import os
import sys


def load_matplotlib() -> None:
    """Load Matplotlib with the backend Agg, unless the process has it already with one of its own.

    MPLBACKEND comes along from a notebook's terminal or a login script; a backend that this environment lacks ends
    Matplotlib's import, one with a window ends Seaborn's where there is no display.
    """
    if "matplotlib" in sys.modules:
        return
    inherited = os.environ.pop("MPLBACKEND", None)
    try:
        import matplotlib

        matplotlib.use("agg")
    finally:
        if inherited is not None:
            os.environ["MPLBACKEND"] = inherited
