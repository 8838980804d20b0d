"""A figure without a drawing function of its own: each panel drawn by what the rows of its frame are.

Layers ``mean`` (a curve with its band), ``run`` (thin lines, or points where a run has one), ``number`` (a text), and
the words ``title``, ``x`` and ``y`` (title and axis names).
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dualgrad.figures import frames as f
from dualgrad.figures import style as s

COLOURS = (s.BLUE, s.RED, s.GREEN, s.PURPLE, s.ORANGE, s.TEAL)
ROW_HEIGHT = 2.6  # inches, footer and title aside


def draw(name: str, panels: Mapping[str, pd.DataFrame], look: s.Look) -> Figure:
    """The whole figure from its panel frames, two panels a row."""
    page = s.Page(look, name, 0.9 + ROW_HEIGHT * math.ceil(len(panels) / 2))
    axes = page.panels("".join(panels), min(2, len(panels)))
    for letter, data in panels.items():
        draw_panel(page, axes[letter], data)
    return page.finish()


def draw_panel(page: s.Page, ax: Axes, data: pd.DataFrame) -> None:
    """One panel: its series in the order of their names."""
    s.labels(ax, *(f.words(data, name) or "" for name in ("title", "x", "y")))
    shown = data[data["layer"].isin(["mean", "run"])].dropna(subset=["x", "y"])
    if shown.empty:
        s.no_data(ax)
        return
    for number, series in enumerate(sorted(set(shown["series"]))):
        colour, label = COLOURS[number % len(COLOURS)], str(series) or None
        for _, rows in f.pick(shown, "run", series).groupby("run"):
            rows = rows.sort_values("x")
            ax.plot(
                rows["x"], rows["y"], color=colour, lw=0.5, marker="." if len(rows) == 1 else None, alpha=0.5
            )
        s.curve(ax, f.pick(shown, "mean", series).sort_values("x"), colour, label=label)
    for number in f.pick(data, "number").itertuples():
        page.note(ax, f"{number.series}: {number.y:.3g}")
    page.legend(ax)
