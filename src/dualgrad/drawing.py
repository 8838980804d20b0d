"""Matplotlib for figures that are files: loaded without a display, whatever the environment says."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dualgrad.files import replacing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Of pictures that are not the published figures.
STYLE: Any = {  # (matplotlib types its settings key by key)
    "font.family": "DejaVu Sans",  # ships with matplotlib: the same picture everywhere
    "font.size": 8.0,
    "axes.linewidth": 0.7,
    "axes.titlesize": 9.0,
    "axes.titlelocation": "left",
    "legend.frameon": False,
    "pdf.fonttype": 42,
    "svg.hashsalt": "dualgrad",
    "text.parse_math": False,  # titles and levels are a user's own words
}
DPI = 160


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


@contextmanager
def styled(style: Any = STYLE) -> Iterator[None]:
    """Draw here with Matplotlib's defaults and a style; a user's own matplotlibrc must not change a figure."""
    load_matplotlib()
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(style)
        yield


def save(figure: Figure, paths: Iterable[Path], dpi: float = DPI) -> None:
    """Write a figure in the formats the names ask for, without times, so that equal data give equal bytes."""
    import matplotlib

    pdf = {
        "CreationDate": None,
        "ModDate": None,
        "Creator": "dualgrad",
        "Producer": f"matplotlib {matplotlib.__version__}",
    }
    for path in paths:
        kind = path.suffix.lstrip(".").lower()
        metadata = {"pdf": pdf, "png": {"Software": None}}.get(kind, {"Date": None})
        with replacing(path) as temporary:
            figure.savefig(temporary, format=kind, dpi=dpi, metadata=metadata)
