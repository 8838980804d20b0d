"""Extended Data Figure 7: coarse sweeps of the text runs.

Source: figure specification, ED Figure 7 a-c.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dualgrad.figures import frames as f
from dualgrad.figures import style as s
from dualgrad.figures.frames import Tables

AUDIT_NOTE = (
    "as published (nothing pooled); the three panels differ in training length and learning-rate schedule"
)
# By network and whether the noise rate is the high one; as in Figure 5a.
COLOURS = {
    ("DistilBERT", True): s.RED,
    ("DistilBERT", False): s.BLUE,
    ("TextCNN", True): s.RED,
    ("TextCNN", False): s.TEAL,
}
SETTINGS = {"a": ("X1b", "DistilBERT"), "b": ("X1c", "TextCNN"), "c": ("X1d", "DistilBERT")}


def compute(tables: Tables, experiment: str) -> pd.DataFrame:
    """All runs, and mean and SD per lambda."""
    runs = tables.runs(experiment).dropna(subset=["test_error"])
    first = runs.iloc[0] if len(runs) else None
    return f.panel(
        f.rows("words", "network", label=tables.network(experiment)),
        f.single_runs(runs, "lam", "test_error", experiment),
        f.summary(runs, "test_error", experiment),
        f.number("runs", len(runs)),
        f.number("noise rate", first["noise_rate"] if first is not None else math.nan),
        f.number("epochs", first["epochs"] if first is not None else math.nan),
    )


def _panel(letter: str) -> Callable[[Tables], pd.DataFrame]:
    def function(tables: Tables) -> pd.DataFrame:
        return compute(tables, SETTINGS[letter][0])

    function.__doc__ = f"The sweep {SETTINGS[letter][0]}."
    return function


PANELS = {letter: _panel(letter) for letter in SETTINGS}


def draw(panels: dict[str, pd.DataFrame], look: s.Look) -> Figure:
    """The whole figure from its panel frames."""
    page = s.Page(look, "ED_Fig7", 2.7, AUDIT_NOTE)
    axes = page.panels("abc", 3, wspace=0.52)
    for letter in SETTINGS:
        draw_panel(page, axes[letter], panels[letter], letter)
    return page.finish()


def draw_panel(page: s.Page, ax: Axes, data: pd.DataFrame, letter: str) -> None:
    """Dots of all runs, diamonds for the means."""
    rate, epochs = f.get(data, "noise rate"), f.get(data, "epochs")
    length = f", {epochs:.0f} ep" if f.known(epochs) else ""
    network = SETTINGS[letter][1]
    title = f"{network}, η={rate:g}{length}" if f.known(rate) else network
    colour = COLOURS.get((network, bool(rate > 0.6)), s.GREY)
    s.labels(ax, title, "Mixing coefficient λ", "Test error" if letter == "a" else "")
    mean, dots = f.pick(data, "mean"), f.pick(data, "run")
    if mean.empty:
        s.no_data(ax)
        return
    ax.scatter(
        dots["x"] + s.jitter(len(dots), 0.008), dots["y"], s=3.5, color=colour, alpha=0.35, lw=0, zorder=2
    )
    s.curve(ax, mean, colour, marker="D", size=4.2, band=0.15, width=1.3, zorder=4)
    text = f"n={f.get(data, 'runs'):.0f}{s.named(', η=', rate, 'g')}"
    size = f.words(data, "network")
    if size and not page.look.published_scale:
        text = size.removeprefix(network).removeprefix(" of ").removeprefix(", ") + f"\n{text}"
    page.note(ax, text, corner="lower left", color=s.GREY)
