"""The picture: the mean error of every condition in one edition against that in the other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from dualgrad.drawing import save, styled

# Colours that stay apart under red-green colour blindness, and markers that differ as well.
SERIES = {"A-Q": ("#0072B2", "o"), "R-W": ("#E08A00", "s"), "X": ("#009E73", "^"), "Y": ("#882E72", "D")}


def draw(rows: pd.DataFrame, names: tuple[str, str], margin: float, paths: Sequence[Path]) -> None:
    """Draw one dot per condition and write the picture.

    Args:
        rows: conditions as :func:`conditions.compare` returns them.
        names: the two editions.
        margin: margin of the equivalence test, drawn as a band about the diagonal.
        paths: files to write, by their ending.
    """
    both = rows[(rows["field"] == "test_error") & rows["difference"].notna()]
    with styled():
        from matplotlib.figure import Figure

        figure = Figure(figsize=(6.2, 6.0), layout="constrained")
        ax = figure.add_subplot()
        ax.fill_between([0, 1], [-margin, 1 - margin], [margin, 1 + margin], color="#EFEFEF", lw=0, zorder=0)
        ax.plot([0, 1], [0, 1], color="#8A8A8A", lw=0.8, zorder=1)
        for series, (colour, marker) in SERIES.items():
            mine = both[both["series"] == series]
            if len(mine):
                ax.scatter(
                    mine["mean_first"],
                    mine["mean_second"],
                    s=15,
                    marker=marker,
                    facecolor=colour,
                    edgecolor="white",
                    linewidth=0.35,
                    alpha=0.75,
                    label=f"{series} ({len(mine)})",
                    zorder=3,
                )
        ax.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
        ax.set_xlabel(f"mean test error, {names[0]}")
        ax.set_ylabel(f"mean test error, {names[1]}")
        ax.set_title(f"{names[1]} against {names[0]}: {len(both)} conditions")
        if len(both):
            ax.legend(loc="upper left", title="series (conditions)", alignment="left", handletextpad=0.2)
        else:
            ax.text(0.5, 0.5, "no condition in both editions", ha="center", va="center", color="#6B6B6B")
        ax.text(
            0.985,
            0.02,
            f"one dot per condition; grey: equal, ±{100 * margin:g} points",
            transform=ax.transAxes,
            ha="right",
            va="bottom",
            color="#6B6B6B",
            fontsize=7,
        )
        save(figure, paths)
