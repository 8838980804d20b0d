"""Outcomes as text: a table with a small chart for a terminal, sentences, and a page in Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dualgrad.estimators.bootstrap import LEVEL
from dualgrad.estimators.scan import Estimate
from dualgrad.outcomes.conditions import Condition
from dualgrad.outcomes.scans import Choice, Reading
from dualgrad.wording import SYMBOLS

SIGNS = SYMBOLS | {"period": "K"}
LABELS = {
    "validation_error": "by the data set's own labels",
    "validation_noisy_error": "by the noisy labels",
}


def table(conditions: Sequence[Condition], by: Sequence[str], of: str, *, chart: bool) -> str:
    """Return the conditions as text: a line each, with a bar of the interval where *chart*."""
    titles = [*by, "n", of, "sd", f"{100 * LEVEL:g} % interval"]
    lines = [
        [*map(_level, (one.levels[name] for name in by)), str(one.n), *_numbers(one)] for one in conditions
    ]
    if chart:
        titles.append("")
        for line, bar in zip(lines, bars(conditions), strict=True):
            line.append(bar)
    widths = [max(len(line[k]) for line in [titles, *lines]) for k in range(len(titles))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if chart and k == len(widths) - 1 else cell.rjust(width)
            for k, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in [titles, *lines]
    )


def bars(conditions: Sequence[Condition], width: int = 40) -> list[str]:
    """Return each condition's mean and interval on one scale, from 0 (or the least value) to the largest."""
    ends = [value for one in conditions for value in (one.mean, one.low, one.high) if value is not None]
    if not ends:
        return [""] * len(conditions)
    low, high = min(0.0, *ends), max(ends)
    span = high - low or 1.0

    def place(value: float) -> int:
        return min(width - 1, max(0, round((value - low) / span * (width - 1))))

    drawn = []
    for one in conditions:
        cells = [" "] * width
        if one.low is not None and one.high is not None:
            for k in range(place(one.low), place(one.high) + 1):
                cells[k] = "─"
        if one.mean is not None:
            cells[place(one.mean)] = "●"
        drawn.append("│" + "".join(cells).rstrip())
    return drawn


def _level(level: Any) -> str:
    return "–" if level is None else f"{level:g}" if isinstance(level, float) else str(level)


def _numbers(one: Condition) -> list[str]:
    mean = "–" if one.mean is None else f"{one.mean:.4f}"
    sd = "–" if one.sd is None else f"{one.sd:.4f}"
    interval = "–" if one.low is None or one.high is None else f"[{one.low:.4f}, {one.high:.4f}]"
    return [mean, sd, interval]


def spoken(levels: Mapping[str, Any]) -> str:
    """Return levels in words: "η = 0.4, K = 16"."""
    return ", ".join(f"{SIGNS.get(name, name)} = {_level(level)}" for name, level in levels.items())


def with_ends(one: Estimate, form: str = ".3f") -> str:
    """Return an estimate with its interval."""
    if one.low is None and one.high is None:
        return f"{one.value:{form}}"
    ends = ["open" if end is None else f"{end:{form}}" for end in (one.low, one.high)]
    return f"{one.value:{form}} [{', '.join(ends)}]"


def said(reading: Reading) -> str:
    """Return what a scan says, as one line."""
    found, sign = reading.scan, SIGNS.get(reading.over, reading.over)
    where = f"{spoken(reading.levels)}: " if reading.levels else ""
    n = f"n = {counted(found.n)}"
    parts = [
        f"{where}lowest {reading.of} at {sign} = {with_ends(found.optimum, 'g')}: {with_ends(found.lowest)}, {n}"
    ]
    if found.at_edge:
        parts[0] += f" (the {'first' if found.optimum.value == found.levels[0] else 'last'} of the grid)"
    steps = []
    for word, loss in (("down", found.below), ("up", found.above)):
        if loss is not None:
            steps.append(f"{with_ends(loss, '+.3f')} {word}")
    if steps:
        parts.append(f"one step of the grid loses {' and '.join(steps)}")
    if found.rise is not None and found.rise_by is not None:
        parts.append(f"told apart from {sign} = {found.rise:g} on: {with_ends(found.rise_by, '+.3f')}")
    if found.middle is not None and found.rise is not None:
        parts.append(f"half of the rise beyond it at {sign} = {with_ends(found.middle)}")
    if found.crossing is not None:
        parts.append(f"the level asked for is crossed at {sign} = {with_ends(found.crossing)}")
    if found.widest_ratio is not None and found.widest_ratio > 1.05:
        p_value = found.widest_p
        test = "too few runs to test" if p_value is None else f"Brown-Forsythe p = {p_value:.2g}"
        parts.append(
            f"largest variance at {sign} = {found.widest:g}, {found.widest_ratio:.3g} times that at the lowest "
            f"({test})"
        )
    return "; ".join(parts)


def advised(choice: Choice) -> str:
    """Return a recommendation of λ, as sentences."""
    found = choice.chosen.scan
    where = f"{spoken(choice.chosen.levels)}: " if choice.chosen.levels else ""
    lines = [
        f"{where}λ = {found.optimum.value:g}, chosen on validation examples {LABELS[choice.chosen.of]}"
        f"{_interval_of(found.optimum)}: error there {with_ends(found.lowest)} on them and {with_ends(choice.test)} "
        f"on the test set, n = {counted(found.n)}."
    ]
    if found.at_edge:
        end = "first" if found.optimum.value == found.levels[0] else "last"
        lines.append(f"It is the {end} λ of the grid: a better one may lie beyond, so the grid should go on.")
    for word, loss in (("below", found.below), ("above", found.above)):
        if loss is not None:
            place = found.levels[found.levels.index(found.optimum.value) + (1 if word == "above" else -1)]
            lines.append(f"One step {word} (λ = {place:g}) loses {with_ends(loss, '+.3f')}.")
    if found.rise is not None and found.rise_by is not None:
        lines.append(f"From λ = {found.rise:g} on the error is higher: {with_ends(found.rise_by, '+.3f')}.")
    elif not found.at_edge:
        lines.append("No larger λ of the grid has an error that is told apart from the lowest.")
    if choice.best_test == found.optimum.value:
        lines.append("The test set would have chosen the same λ.")
    else:
        lines.append(
            f"The test set itself would have chosen λ = {choice.best_test:g}; not to have looked at it costs "
            f"{with_ends(choice.lost, '+.3f')}."
        )
    return " ".join(lines)


def _interval_of(one: Estimate) -> str:
    if one.low is None or one.high is None:
        return ""
    return f" ({100 * LEVEL:g} % interval {one.low:g} to {one.high:g})"


def counted(n: Sequence[int]) -> str:
    """Return how many runs stand behind values: "10", or "8 to 10"."""
    return f"{n[0]}" if min(n) == max(n) else f"{min(n)} to {max(n)}"


def rows_of(conditions: Sequence[Condition], by: Sequence[str], of: str) -> tuple[list[str], list[list[str]]]:
    """Return head and cells of the table of conditions."""
    head = [
        *(SIGNS.get(name, name) for name in by),
        "n",
        of.replace("_", " "),
        "sd",
        f"{100 * LEVEL:g} % interval",
    ]
    cells = [
        [*map(_level, (one.levels[name] for name in by)), str(one.n), *_numbers(one)] for one in conditions
    ]
    return head, cells
