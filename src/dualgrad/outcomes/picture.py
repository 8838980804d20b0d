"""The picture of an experiment: the outcome over a numeric factor, or by condition where there is none."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dualgrad.drawing import save, styled
from dualgrad.estimators.bootstrap import LEVEL
from dualgrad.outcomes.conditions import Condition
from dualgrad.outcomes.scans import Reading
from dualgrad.outcomes.words import SIGNS, counted, spoken

# Colours that stay apart under red-green colour blindness, and markers that differ as well.
COLOURS = ("#0072B2", "#E08A00", "#009E73", "#882E72", "#56B4E9", "#C8321F", "#6B6B6B", "#222222")
MARKERS = "os^DvPX*"
MOST_PANELS, MOST_LINES = 12, len(COLOURS)


def draw(
    title: str, conditions: Sequence[Condition], readings: Sequence[Reading], of: str, paths: Sequence[Path]
) -> None:
    """Draw an experiment and write the picture.

    Args:
        title: what it shows, with the edition.
        conditions: drawn by name where there are no readings.
        readings: of one factor and one outcome; a line each, in panels by all but the factor with most levels.
        of: the outcome.
        paths: files to write, by their ending.
    """
    with styled():
        from matplotlib.figure import Figure

        panels = _panels(readings)
        shown = dict(list(panels.items())[:MOST_PANELS])
        columns = min(3, max(1, len(shown)))
        rows = -(-max(1, len(shown)) // columns)
        height = 2.9 * rows if readings else max(2.0, 0.6 + 0.22 * len(conditions))
        figure = Figure(figsize=(max(5.0, 3.4 * columns), height + 0.6), layout="constrained")
        axes = figure.subplots(rows, columns, squeeze=False, sharey=True).ravel()
        for ax in axes[max(1, len(shown)) :]:
            ax.set_axis_off()
        if readings:
            for ax, (name, lines) in zip(axes, shown.items(), strict=False):
                _curves(ax, name, lines)
        else:
            _dots(axes[0], conditions)
        word = of.replace("_", " ")
        for place, ax in enumerate(axes[: len(shown)]):
            if place % columns == 0:
                ax.set_ylabel(word)
        if not readings:
            axes[0].set_xlabel(word)
        left = (
            f" ({len(panels) - MOST_PANELS} more panels are not drawn)" if len(panels) > MOST_PANELS else ""
        )
        undrawn = len(conditions) - sum(len(one.scan.levels) for one in readings) if readings else 0
        left += f" ({undrawn} conditions are not on these curves: see the table)" if undrawn else ""
        ring = "; ring: lowest mean" if readings else ""
        figure.suptitle(
            textwrap.fill(title + left, int(19 * figure.get_figwidth()))
            + f"\nmeans with {100 * LEVEL:g} % intervals{ring}",
            fontsize=8,
        )
        save(figure, paths)


def _panels(readings: Sequence[Reading]) -> dict[str, dict[str, Reading]]:
    """Readings by panel and line: the factor with most levels makes the lines, the others the panels."""
    levels: dict[str, set[str]] = {}
    for one in readings:
        for name, level in one.levels.items():
            levels.setdefault(name, set()).add(repr(level))
    fitting = [name for name in levels if len(levels[name]) <= MOST_LINES]
    line = max(fitting, key=lambda name: len(levels[name]), default=None)
    found: dict[str, dict[str, Reading]] = {}
    for one in readings:
        rest: Mapping[str, Any] = {name: level for name, level in one.levels.items() if name != line}
        words = spoken({line: one.levels[line]}) if line is not None else ""
        found.setdefault(spoken(rest), {})[words] = one
    return found


def _curves(ax: Any, name: str, lines: Mapping[str, Reading]) -> None:
    for k, (words, reading) in enumerate(lines.items()):
        found = reading.scan
        colour, marker = COLOURS[k % len(COLOURS)], MARKERS[k % len(MARKERS)]
        ax.plot(found.levels, found.means, color=colour, lw=1.1, marker=marker, ms=3.2, label=words or None)
        ends = [(level, one) for level, one in zip(found.levels, found.ends, strict=True) if one is not None]
        ax.vlines(
            [level for level, _ in ends],
            [low for _, (low, _) in ends],
            [high for _, (_, high) in ends],
            color=colour,
            lw=0.8,
        )
        ax.plot(found.optimum.value, found.lowest.value, "o", ms=8, mfc="none", mec=colour, mew=0.9)
        ax.set_xlabel(SIGNS.get(reading.over, reading.over.replace("_", " ")))
        if min(found.levels) > 0 and max(found.levels) / min(found.levels) >= 16:
            ax.set_xscale("log", base=2)
            ax.set_xticks(found.levels, [f"{level:g}" for level in found.levels])
            ax.minorticks_off()
    runs = [n for one in lines.values() for n in one.scan.n]
    ax.set_title(textwrap.fill(", ".join(filter(None, [name, f"n = {counted(runs)}"])), 44))
    if any(lines):
        ax.legend(fontsize=6.5)


def _dots(ax: Any, conditions: Sequence[Condition]) -> None:
    for place, one in enumerate(conditions):
        if one.mean is not None:
            ax.plot(one.mean, place, "o", ms=4, color=COLOURS[0])
        if one.low is not None and one.high is not None:
            ax.hlines(place, one.low, one.high, color=COLOURS[0], lw=0.9)
    ax.set_yticks(
        range(len(conditions)), [f"{spoken(one.levels) or 'all runs'} (n = {one.n})" for one in conditions]
    )
    ax.invert_yaxis()
