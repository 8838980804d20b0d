"""The picture of a replication: each condition's measures over the epochs, ours on the published runs' band."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from dualgrad.drawing import save, styled
from dualgrad.replicate.compare import KEYS
from dualgrad.replicate.words import MEASURES, condition

OURS, REFERENCE, BAND = "#D55E00", "#0072B2", "#BBBBBB"
MOST = 12  # conditions drawn


def draw(epochs: pd.DataFrame, title: str, paths: Sequence[Path]) -> None:
    """Draw the comparison by epoch and write the picture.

    Args:
        epochs: as ``compare.by_epoch`` returns it.
        title: what was re-trained.
        paths: files to write, by their ending.
    """
    keys = [key for key in KEYS if key != "dataset"]
    groups: list[tuple[Any, pd.DataFrame]] = list(epochs.groupby(keys, sort=False))
    shown = groups[:MOST]
    with styled():
        from matplotlib.figure import Figure

        rows = max(1, len(shown))
        # A measure that none of them has recorded takes no column.
        recorded = {measure for _, group in shown for measure in group["measure"]} or {"error"}
        measures = {measure: word for measure, word in MEASURES.items() if measure in recorded}
        figure = Figure(figsize=(10, 0.5 + 1.75 * rows), layout="constrained")
        axes = figure.subplots(rows, len(measures), squeeze=False)
        for line, (key, group) in zip(axes, shown, strict=False):
            name = f"{key[0]}, {condition(key[1])}: "
            for ax, (measure, word) in zip(line, measures.items(), strict=True):
                part = group[group["measure"] == measure]
                if part.empty:
                    ax.set_axis_off()
                    continue
                # The copy with the most epochs first, with the band; what else it was trained on has open marks.
                sets = part["dataset"].value_counts(sort=True).index
                said = []
                for place, dataset in enumerate(sets):
                    of_set = part[part["dataset"] == dataset]
                    _measure(ax, of_set, first=place == 0)
                    mark = ("○ " if place else "● ") * (len(sets) > 1)
                    said.append(
                        f"{mark}{dataset}\nn = {_counts(of_set['n'])} on {_counts(of_set['n_published'])}"
                    )
                ax.set_title(textwrap.fill(name + word, 136 // len(measures)))
                if name:
                    ax.set_ylabel("\n".join(said), fontsize=7)
                name = ""
        if not shown:
            for ax in axes.flat:
                ax.set_axis_off()
            axes[0, 0].text(0, 0.5, "nothing to draw: no epochs on both sides")
        for column in axes.T:  # under the lowest that is drawn of each measure
            for ax in [ax for ax in column if ax.axison][-1:]:
                ax.set_xlabel("epoch")
        left = f" ({len(groups) - MOST} more conditions in the tables)" if len(groups) > MOST else ""
        figure.suptitle(
            f"{title}{left}\ngrey: published seeds, lowest to highest, and their mean; orange: re-trained "
            "(bar: lowest to highest; open: on another copy); blue cross: the release's code, same data, one seed",
            fontsize=8,
        )
        save(figure, paths)


def _measure(ax: Any, part: pd.DataFrame, *, first: bool = True) -> None:
    """One measure of a condition on one data set; with the published band where it is the *first*."""
    alone = len(part) == 1
    if first:
        if alone:  # a band of one epoch has no width
            ax.vlines(part["epoch"], part["low_published"], part["high_published"], color=BAND, lw=7)
        ax.fill_between(part["epoch"], part["low_published"], part["high_published"], color=BAND, lw=0)
        ax.plot(part["epoch"], part["mean_published"], color="#555555", lw=0.9, marker="_" if alone else None)
    # A line joins means of equally many runs: where some end earlier, the step would be theirs.
    for _, alike in part.groupby((part["n"] != part["n"].shift()).cumsum()):
        open_marks = {} if first else {"ls": "--", "ms": 5, "mfc": "white", "zorder": 3}
        ax.plot(
            alike["epoch"], alike["mean"], **{"color": OURS, "lw": 1.2, "marker": "o", "ms": 3} | open_marks
        )
    several = part[part["n"] > 1]
    ax.vlines(several["epoch"], several["low"], several["high"], color=OURS, lw=0.8)
    ax.plot(part["epoch"], part["reference"], color=REFERENCE, marker="x", ms=5, lw=0)
    ax.xaxis.get_major_locator().set_params(integer=True)


def _counts(values: pd.Series) -> str:
    low, high = int(values.min()), int(values.max())
    return f"{low}" if low == high else f"{low} to {high}"
