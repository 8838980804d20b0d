"""What one run needs from another: found in the runs themselves, checked, and written into them."""

from __future__ import annotations

from collections.abc import Mapping
from graphlib import CycleError, TopologicalSorter
from typing import Any

from dualgrad.census.run import measured
from dualgrad.census.stages import CensusError, closest
from dualgrad.validation import did_you_mean


def link(runs: dict[str, dict[str, Any]], places: Mapping[str, tuple[str, str]]) -> None:
    """Fill in `needs`, `saves` and the stages' `save` flags.

    A run needs every run it copies, starts from, selects among or takes its learning-rate scale or the body of its
    model from. A stage is
    saved because another run starts from its weights, never because somebody said so.

    Raises:
        CensusError: a needed run or stage that does not exist, a start from a copy, or runs that need each other in a
            circle.
    """
    known_sources: dict[int, list[tuple[str, str]]] = {}  # stage lists are shared by many runs
    wanted: dict[str, set[str]] = {}
    for target, run in runs.items():
        stages = run["stages"]
        if id(stages) not in known_sources:
            known_sources[id(stages)] = _sources(stages)
        sources = list(known_sources[id(stages)])
        body = run["task"]["model"].get("body_from")
        if body:
            sources.append((body, "main"))
        needs = [source for source, _ in sources]
        needs += [run["copy_of"]] if run["copy_of"] else []
        needs += [run["lr_scale"]["run"]] if isinstance(run["lr_scale"], dict) else []
        run["needs"], run["saves"] = list(dict.fromkeys(needs)), False
        for need in run["needs"]:
            if need not in runs:
                file, key = places[run["experiment"]]
                raise CensusError(
                    file, key, f"'{target}' needs '{need}', which does not exist{closest(need, runs)}"
                )
        if isinstance(run["lr_scale"], dict):
            _check_measured(target, run, runs, places)
        for source, stage in sources:
            if original := runs[source]["copy_of"]:
                file, key = places[run["experiment"]]
                problem = (
                    f"'{target}' cannot start from '{source}', which copies '{original}' and has no weights"
                )
                raise CensusError(file, key, problem)
            wanted.setdefault(source, set()).add(stage)
            names = [one["name"] for one in runs[source]["stages"]]
            if stage not in names:
                file, key = places[run["experiment"]]
                hint = did_you_mean(stage, names)
                raise CensusError(
                    file, key, f"'{source}' has no stage '{stage}' to start '{target}' from{hint}"
                )
    for target, stages in wanted.items():
        run = runs[target]
        run["saves"] = True
        run["stages"] = [{**stage, "save": stage["name"] in stages} for stage in run["stages"]]
    _check_circles(runs, places)


def _check_measured(
    target: str,
    run: Mapping[str, Any],
    runs: Mapping[str, Mapping[str, Any]],
    places: Mapping[str, tuple[str, str]],
) -> None:
    """Whether the run that a learning rate's factor comes from measures it."""
    source, field = run["lr_scale"]["run"], run["lr_scale"]["field"]
    fields = measured(runs[source])
    if field not in fields:
        file, key = places[run["experiment"]]
        problem = f"'{source}' does not measure '{field}' for '{target}'{did_you_mean(field, fields)}"
        raise CensusError(file, f"{key}.lr_scale.field", f"{problem} (it does: {', '.join(sorted(fields))})")


def _sources(stages: list[dict[str, Any]]) -> list[tuple[str, str]]:
    sources = []
    for stage in stages:
        begin = stage["start"]
        if begin["kind"] == "checkpoint":
            sources.append((begin["run"], begin["stage"]))
        elif begin["kind"] == "select":
            sources += [(run, begin["stage"]) for run in begin["runs"]]
    return sources


def _check_circles(runs: Mapping[str, Mapping[str, Any]], places: Mapping[str, tuple[str, str]]) -> None:
    try:
        _sorter(runs).prepare()
    except CycleError as error:
        chain = error.args[1][::-1]  # from a run to what it needs
        file, key = places[runs[chain[0]]["experiment"]]
        raise CensusError(file, key, f"runs need each other: {' -> '.join(chain)}") from None


def _sorter(runs: Mapping[str, Mapping[str, Any]]) -> TopologicalSorter[str]:
    return TopologicalSorter({target: run["needs"] for target, run in runs.items() if run["needs"]})


def dependency_depth(runs: Mapping[str, Mapping[str, Any]]) -> dict[str, int]:
    """How deep each run's needs go: 0 without any, else one more than the deepest of those it needs."""
    found = dict.fromkeys(runs, 0)
    for target in _sorter(runs).static_order():
        found[target] = 1 + max((found[need] for need in runs[target]["needs"]), default=-1)
    return found


def closure(wanted: set[str], runs: Mapping[str, Mapping[str, Any]]) -> set[str]:
    """*wanted* and everything it needs, directly or not."""
    found, waiting = set(), list(wanted)
    while waiting:
        target = waiting.pop()
        if target not in found:
            found.add(target)
            waiting += runs[target]["needs"]
    return found
