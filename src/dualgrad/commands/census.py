"""List, filter and count the runs of the census.

Without options: one line per experiment, with totals per series. With --where or names of experiments: the runs
themselves. --json writes a list of objects with experiment, run, series, counted and factors.

    dualgrad census A M1 --where lambda=0.35 --where noise_rate=0.8
    dualgrad census --series X --json
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import click

from dualgrad.arguments import EXPERIMENT, LEVEL, SERIES, json_option, verb

if TYPE_CHECKING:
    from dualgrad.census import Census


@verb(either=("runs", "count", "json"))
@click.argument("experiments", type=EXPERIMENT, nargs=-1, help="experiments (default: all)")
@click.option(
    "--series", type=SERIES, multiple=True, help="only this series, e.g. R-W; can be given several times"
)
@click.option(
    "--where",
    type=LEVEL,
    multiple=True,
    help="only runs with this factor level, e.g. lambda=0.35; can be given several times",
)
@click.option("--runs", is_flag=True, help="list the runs even if nothing is filtered")
@click.option("--count", is_flag=True, help="print the number of counted runs alone")
@json_option(help="write the runs as JSON")
def run(args: SimpleNamespace) -> int:
    """List, count or dump."""
    from dualgrad.project import load_project

    census = load_project(args.root, args.config).census
    chosen = filtered(census, args.experiments, args.series, args.where)
    if args.json:
        keys = ("experiment", "run", "series", "counted", "factors")
        rows = (json.dumps({key: one[key] for key in keys}, ensure_ascii=False) for one in chosen)
        print("[\n" + ",\n".join(rows) + "\n]")
    elif args.count:
        print(sum(one["counted"] for one in chosen))
    elif args.runs or args.where or args.experiments:
        for one in chosen:
            print(f"{one['experiment']}/{one['run']}" + ("" if one["counted"] else "  (not counted)"))
    else:
        print(_table(census, chosen))
    return 0


def filtered(
    census: Census, experiments: Iterable[str], series: Iterable[str] | None, where: Iterable[str]
) -> list[dict[str, Any]]:
    """Runs of the census that fit, in census order.

    Raises:
        CensusError: an experiment, series, factor or level that no run has, with the nearest that one has.
    """
    from dualgrad.census import CensusError
    from dualgrad.validation import did_you_mean

    wanted = {name: census.experiment(name) for name in experiments} or census.experiments
    if series:
        known = dict.fromkeys(one["series"] for one in census.experiments.values())
        for name in series:
            if name not in known:
                hint = did_you_mean(name, known)
                raise CensusError("--series", name, f"expected one of {', '.join(known)}{hint}")
        wanted = {name: one for name, one in wanted.items() if one["series"] in series}
    chosen = [census.runs[target] for one in wanted.values() for target in one["runs"]]
    asked: dict[str, str] = {}
    for text in where:
        factor, equals, level = text.partition("=")
        if not equals:
            raise CensusError("--where", text, "expected FACTOR=LEVEL, e.g. lambda=0.35")
        factors = dict.fromkeys(name for one in chosen for name in one["factors"])
        if factor not in factors:
            hint = did_you_mean(factor, factors)
            raise CensusError(
                "--where", factor, f"no run here has this factor{hint} (known: {', '.join(factors)})"
            )
        if factor in asked:
            problem = f"{factor} is asked for twice, here and as {asked[factor]}; a run has one level of each factor"
            raise CensusError("--where", text, problem)
        asked[factor] = text
        levels = dict.fromkeys(one["factors"][factor] for one in chosen if factor in one["factors"])
        fits = _same(level)
        if not any(map(fits, levels)):
            shown = ", ".join(map(str, levels))
            raise CensusError("--where", text, f"no run here has this level (known: {shown})")
        chosen = [one for one in chosen if factor in one["factors"] and fits(one["factors"][factor])]
    return chosen


def _same(text: str) -> Callable[[Any], bool]:
    try:
        number = float(text)
    except ValueError:
        return lambda level: str(level).lower() == text.lower()
    return lambda level: level == number if isinstance(level, (int, float)) else str(level) == text


def _table(census: Census, chosen: list[dict[str, Any]]) -> str:
    numbers: dict[str, int] = {}
    for one in chosen:
        numbers[one["experiment"]] = numbers.get(one["experiment"], 0) + 1
    width = max((len(name) for name in numbers), default=0)
    lines, total = [], 0
    # Published series first, in their order; then what is needed or kept beside them.
    order = sorted(numbers, key=lambda name: not census.experiments[name]["counted"])
    for series in dict.fromkeys(census.experiments[name]["series"] for name in order):
        names = [name for name in numbers if census.experiments[name]["series"] == series]
        counted = sum(numbers[name] for name in names if census.experiments[name]["counted"])
        total += counted
        lines.append(f"{series}: {counted} runs" if counted else f"{series}: not counted")
        lines += [
            f"  {name:{width}}  {numbers[name]:4}  {census.experiments[name]['title']}" for name in names
        ]
    edition = census.edition["name"]
    return "\n".join([*lines, f"total: {total} counted runs (edition {edition})"])
