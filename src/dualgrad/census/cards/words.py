"""Numbers and grids of factors, in words."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import combinations, groupby
from typing import Any

from dualgrad.wording import SYMBOLS, listed

Run = Mapping[str, Any]

_SYMBOLS = SYMBOLS | {
    "cos_target": "c",
    "clean_ratio": "ρ",
    "lr": "learning rate",
    "width_mult": "width",
    "hold_type": "hold",
    "schedule_type": "schedule",
}


def number(value: float) -> str:
    """A number as people write it: 0.35, 1,773, 2e-05 as 0.00002."""
    if isinstance(value, int) or float(value).is_integer() and abs(value) >= 1:
        return f"{int(value):,}"
    return f"{value:.10f}".rstrip("0") if abs(value) < 1e-3 and value else f"{value:g}"


def plural(count: int, noun: str) -> str:
    """``1 epoch``, ``5,400 epochs``."""
    return f"{count:,} {noun}" + ("" if count == 1 else "es" if noun.endswith("s") else "s")


def values(levels: Sequence[Any]) -> str:
    """Levels of a factor: a run of whole numbers as a range, the rest one by one."""
    if all(isinstance(level, int) for level in levels) and len(levels) > 2:
        ordered = sorted(levels)
        if ordered == list(range(ordered[0], ordered[-1] + 1)):
            return f"{ordered[0]} to {ordered[-1]}"
    if all(isinstance(level, (int, float)) for level in levels):
        levels = sorted(levels)
    return ", ".join(level if isinstance(level, str) else number(level) for level in levels)


def path(lambdas: Sequence[float]) -> str:
    """A sequence of λ: stretches with equal steps by their ends, other sequences value by value."""
    if len(lambdas) < 4:
        return ", ".join(number(value) for value in lambdas)
    steps = [round(abs(after - before), 6) for before, after in zip(lambdas, lambdas[1:], strict=False)]
    text, at = number(round(lambdas[0], 6)), 0
    stretches = [(step, len(list(same))) for step, same in groupby(steps)]
    if len(stretches) > 4:
        return ", ".join(number(value) for value in lambdas)
    for step, length in stretches:
        at += length
        text += f"{',' if at > length else ''} to {number(round(lambdas[at], 6))} by {number(step)}"
    return f"{text} ({len(lambdas)} values)"


Block = dict[str, tuple[Any, ...]]  # factor -> its levels, in order


def blocks(cells: Iterable[Mapping[str, Any]]) -> list[Block]:
    """Combinations of factor levels as few rectangular grids, by joining the levels of one factor after the other."""
    found: list[Block] = [{name: (level,) for name, level in cell.items()} for cell in cells]
    factors = list(dict.fromkeys(name for block in found for name in block))
    for factor in reversed(factors):
        joined: dict[tuple[Any, ...], Block] = {}
        for block in found:
            if factor not in block:
                joined[False, *block.items()] = block
                continue
            rest = tuple((name, levels) for name, levels in block.items() if name != factor)
            before = joined.setdefault((True, *rest), {**block, factor: ()})
            before[factor] = (*before[factor], *block[factor])
        found = list(joined.values())
    return found


def grid(block: Block) -> str:
    """One rectangular grid in symbols: ``λ ∈ {0.1, 0.2} × η = 0.4 × seeds 0 to 2``."""
    parts = []
    for factor, levels in block.items():
        shown = values(levels)
        if factor == "seed":
            parts.append(f"seed {shown}" if len(levels) == 1 else f"seeds {shown}")
        else:
            symbol = _SYMBOLS.get(factor, factor)
            parts.append(f"{symbol} = {shown}" if len(levels) == 1 else f"{symbol} ∈ {{{shown}}}")
    return " × ".join(parts)


def told_apart(runs: Sequence[Run], words: Callable[[Run], str]) -> list[tuple[str, str]]:
    """What *words* says of runs, each with the condition under which it says so ("" if it is always the same).

    The condition names the fewest factors that tell the cases apart.
    """
    said = [(run, words(run)) for run in runs]
    cases = list(dict.fromkeys(text for _, text in said))
    if len(cases) == 1:
        return [("", cases[0])]
    factors = list(dict.fromkeys(name for run in runs for name in run["factors"]))
    for size in range(1, len(factors) + 1):
        for chosen in combinations(factors, size):
            seen: dict[tuple[Any, ...], str] = {}
            keys = [(tuple(run["factors"].get(name) for name in chosen), text) for run, text in said]
            if all(seen.setdefault(key, text) == text for key, text in keys):
                return [(_condition(chosen, seen, case), case) for case in cases]
    raise ValueError(f"runs of {runs[0]['experiment']} differ in something that no factor says")


def _condition(chosen: tuple[str, ...], seen: Mapping[tuple[Any, ...], str], case: str) -> str:
    cells = [
        {name: level for name, level in zip(chosen, key, strict=True) if level is not None}
        for key, text in seen.items()
        if text == case
    ]
    if all(not cell for cell in cells):
        return f"without {listed([_SYMBOLS.get(name, name) for name in chosen])}"
    return " or ".join(grid(block) if block else "otherwise" for block in blocks(cells))
