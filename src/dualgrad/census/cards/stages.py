"""What a stage of a run does, in words: start, λ, schedule, evaluation, gate and stop rule."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from typing import Any

from dualgrad.census.cards.words import Run, number, path, plural
from dualgrad.wording import listed

_ORDINALS = ("first", "second", "third", "fourth", "fifth")


def _seed(offset: int) -> str:
    return f"seed s + {offset}" if offset else "seed s"


def other(run: Run, name: str) -> str:
    """Another run's name with the parts that it has in common with this one as letters."""
    if run["seed"] is not None:
        name = re.sub(rf"seed{run['seed']}(?=\b|_)", "seed{s}", name)
    if "lambda" in run["factors"]:
        name = name.replace(f"lam{run['factors']['lambda']:g}", "lam{λ}")
    slot = run["factors"].get("slot")
    return f"`{name.replace(slot, '{slot}') if slot else name}`"


def _start(run: Run, stage: Mapping[str, Any], slots: Sequence[str]) -> str:
    start, seed = stage["start"], _seed(stage["seed_offset"])
    kind = start["kind"]
    if kind == "fresh":
        return f"new weights, {seed}"
    if kind == "continue":
        return "goes on with the same optimizer, schedule, step count and cache"
    new = f"new optimizer, {seed}" if stage["segments"] else "no training"
    if kind == "stage":
        return f"weights of `{start['stage']}`, {new}"
    if kind == "checkpoint":
        of = "" if start["stage"] == "main" else f" (`{start['stage']}`)"
        return f"weights of {other(run, start['run'])}{of}, {new}"
    place = run["factors"].get("slot") in slots and slots.index(run["factors"]["slot"]) == start["index"]
    which = "one per slot" if place else f"the {_ORDINALS[start['index']]}"
    source = start["runs"][0].partition("/")[0]
    low, high = start["min"], start["max"]
    bounds = (
        (f"{number(low)} ≤ " if low is not None else "")
        + "error"
        + (f" < {number(high)}" if high is not None else "")
    )
    order = "in ascending order of error" if start["order"] == "ascending" else "in the order of their seeds"
    passing = f" with {bounds}" if bounds != "error" else ""
    return f"weights of a run of {source}{passing}, {which}, {order}; {new}"


def _held(segments: Sequence[Mapping[str, Any]]) -> str:
    lengths: set[Any] = {segment.get("epochs") for segment in segments}
    return plural(lengths.pop(), "epoch") if len(lengths) == 1 else ""


def _lambda(run: Run, stage: Mapping[str, Any]) -> str:
    segments = stage["segments"]
    if len(segments) == 1:
        (segment,) = segments
        length = (
            plural(segment["steps"], "step") if "steps" in segment else plural(segment["epochs"], "epoch")
        )
        own = run["method"] == "ce" or run["factors"].get("lambda") == segment["lambda"]
        return length if own else f"{length} at λ = {number(segment['lambda'])}"
    parts = []
    for direction, group in groupby(segments, key=lambda segment: segment["direction"]):
        part = list(group)
        if len(part) <= 3 and direction is None:
            parts += [f"{plural(one['epochs'], 'epoch')} at λ = {number(one['lambda'])}" for one in part]
            continue
        way = f"{direction} " if direction and len({one["direction"] for one in segments}) > 1 else ""
        parts.append(f"λ {way}{path([one['lambda'] for one in part])}, {_held(part)} each")
    return "; then ".join(parts)


def _schedule(run: Run, stage: Mapping[str, Any]) -> str:
    rate, schedule = stage["lr"], stage["schedule"]
    if schedule is None or not stage["segments"]:
        return ""
    kind = schedule["kind"]
    if kind == "constant":
        return "constant rate" + (f" {number(rate)}" if rate is not None else "")
    if kind == "multistep":
        return f"rate × {number(schedule['gamma'])} after epochs {listed([str(m) for m in schedule['milestones']])}"
    share = number(100 * schedule["warmup"])
    return f"rate rising from 0 over the first {share} % of the updates, then falling linearly to 0"


def _evaluated(stage: Mapping[str, Any]) -> str:
    rule = stage["evaluate"]
    if rule.get("at"):
        when = "evaluated at the end of each λ"
    elif rule.get("every") == 1:
        when = "evaluated after every epoch"
    elif rule.get("every"):
        when = f"evaluated every {rule['every']} epochs"
    else:
        when = "evaluated at the end" if stage["segments"] else "evaluated"
    return when + (", and before the first step" if rule.get("before") and stage["segments"] else "")


def _gate(gate: Mapping[str, Any] | None) -> str:
    if not gate:
        return ""
    words = {"max": "at most", "below": "below", "min": "at least"}
    what = " and ".join(f"{words[key]} {number(gate[key])}" for key in words if key in gate)
    end = "the run ends here otherwise" if gate["on_fail"] == "stop" else "noted only"
    return f"gate: error {what} ({end})"


def _stop(stop: Mapping[str, Any] | None) -> str:
    if not stop:
        return ""
    sign = {"above": ">", "below": "<"}[stop["error"]]
    if stop["inclusive"]:
        sign = {">": "≥", "<": "≤"}[sign]
    unit = {"epoch": "epochs", "segment": "λ-steps"}[stop["unit"]]
    return f"stops after {stop['consecutive']} {unit} in a row with error {sign} {number(stop['threshold'])}"


def stage_words(slots: Sequence[str]) -> list[Callable[..., str]]:
    """What is said of a stage, in functions of a run and the stage's place in it.

    Where it starts, λ over time, schedule, evaluations, gate and stop rule.
    """

    def about(words: Callable[[Run, Mapping[str, Any]], str]) -> Callable[..., str]:
        return lambda run, place: words(run, run["stages"][place])

    return [
        about(lambda run, stage: _start(run, stage, slots)),
        about(lambda run, stage: _lambda(run, stage) if stage["segments"] else ""),
        about(_schedule),
        about(lambda run, stage: _evaluated(stage)),
        about(lambda run, stage: _gate(stage["gate"])),
        about(lambda run, stage: _stop(stage["stop"])),
    ]
