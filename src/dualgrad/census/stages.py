"""The words of a census entry: merging, references, factor levels, run names, segments, stages.

A census entry is written for readers; a resolved run is written for the trainer. The functions here turn the one
into the other, piece by piece, and know nothing about files.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any

from dualgrad.census.part import LONGEST
from dualgrad.validation import InputError, clipped, did_you_mean


class CensusError(InputError):
    """The census cannot be used; the message names file, key and what was expected."""


# --- merging -------------------------------------------------------------------------------------------------

# One choice with its details ("stop after 5 epochs above 0.40"): an override replaces it whole, because a mix of
# two choices ("multistep with a warm-up of 0.1") means nothing.
ATOMIC_KEYS = frozenset(
    ("start", "schedule", "segments", "evaluate", "gate", "stop")  # of a stage
    + (
        "model",
        "normalize",
        "augment",
        "noise",
        "method",
        "optimizer",
        "random",
        "trusted",
        "synthetic",
        "lr_scale",
    )
)


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Lay *over* on *base*: mappings merge key by key, everything else (and every key of ATOMIC_KEYS) is replaced."""
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        if isinstance(value, dict) and isinstance(old, dict) and key not in ATOMIC_KEYS:
            # Names in `let` and levels in `factors` are values in themselves, never merged into one another.
            merged[key] = {**old, **value} if key in ("let", "factors") else merge(old, value)
        else:
            merged[key] = value
    return merged


# --- references ----------------------------------------------------------------------------------------------

_VALUE = re.compile(r"\$([A-Za-z_]\w*)(?: *([+-]) *(\d+(?:\.\d+)?))?")  # $seed, $seed + 100
_LONGEST_TEXT = 10_000
_TEXT = re.compile(r"\{([A-Za-z_]\w*)\}")  # Ta-prep-O/seed{seed}


def references(node: Any) -> set[str]:
    """Names that *node* refers to, by ``$name`` or, inside a text, by ``{name}``."""
    found: set[str] = set()
    waiting = [node]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            waiting += one.values()
        elif isinstance(one, list):
            waiting += one
        elif isinstance(one, str) and ("$" in one or "{" in one):
            whole = _VALUE.fullmatch(one)
            found.update([whole[1]] if whole else _TEXT.findall(one))
    return found


def substitute(node: Any, names: Mapping[str, Any]) -> Any:
    """Put values for the references in *node*: ``$name`` keeps its type, ``{name}`` is written as in run names.

    Raises:
        KeyError: nothing has that name.
        TypeError: ``$name + number`` of something that is no number.
        ValueError: a text becomes too long.
    """
    if isinstance(node, str):
        if "$" in node and (whole := _VALUE.fullmatch(node)):
            value = names[whole[1]]
            if whole[2]:
                if isinstance(value, bool) or not isinstance(value, (int, float)):
                    raise TypeError(f"'{node}' needs a number; {whole[1]} is {value!r}")
                number = float(whole[3]) if "." in whole[3] else int(whole[3])
                return value + number if whole[2] == "+" else value - number
            return value
        if "{" not in node:
            return node
        text = _TEXT.sub(lambda hit: spell(names[hit[1]], slug=False), node)
        if len(text) > _LONGEST_TEXT:  # texts that contain others twice grow without end
            raise ValueError(f"'{clipped(node, 40)}' becomes longer than {_LONGEST_TEXT:,} characters")
        return text
    if isinstance(node, dict):
        return {key: substitute(value, names) for key, value in node.items()}
    if isinstance(node, list):
        return [substitute(value, names) for value in node]
    return node


# --- factors and names ---------------------------------------------------------------------------------------

_RANGE = re.compile(r"(\d+)\.\.(\d+)")
MOST_LEVELS = 100_000
# A run's name is a file's name (with an ending, and a dot before it while it is written) and part of a command.
_RUN = re.compile(r"[A-Za-z0-9_+-][A-Za-z0-9._+-]{0,199}")


def levels(spec: Any) -> dict[Any, dict[str, Any] | None]:
    """Levels of a factor, in order, each with what it overrides (None: nothing).

    Accepts a list, one value, an integer range ``0..49`` (both ends included) or a mapping level -> overrides.

    Raises:
        ValueError: a range that has no level, or too many; a level twice.
    """
    if isinstance(spec, dict):
        return {level: over or None for level, over in spec.items()}
    if isinstance(spec, str) and (ends := _RANGE.fullmatch(spec)):
        first, last = int(ends[1]), int(ends[2])
        if not 0 <= last - first < MOST_LEVELS:
            raise ValueError(f"expected a range of 1 to {MOST_LEVELS:,} levels such as 0..49; got {spec}")
        return dict.fromkeys(range(first, last + 1))
    listed = spec if isinstance(spec, list) else [spec]
    found = dict.fromkeys(listed)
    if len(found) < len(listed):
        twice = next(level for number, level in enumerate(listed) if level in listed[:number])
        raise ValueError(f"the level {twice!r} is listed twice")
    return found


def spell(value: Any, slug: bool = True) -> str:
    """A factor level as it stands in a run's name: numbers in full, texts in lower case with dashes.

    As published, 0.10 is written 0.1 and 2.0 is written 2.
    """
    if isinstance(value, float):
        short = f"{value:g}"
        return short if float(short) == value else repr(value)
    if isinstance(value, int):
        return str(value)
    return re.sub(r"[^a-z0-9.]+", "-", str(value).lower()).strip("-") if slug else str(value)


@lru_cache
def _with_factors(template: str, factors: tuple[str, ...]) -> str:
    """A template without the parts whose factors a run does not have."""
    pieces = re.split(
        r"_(?=[^_{}]*\{)", template
    )  # the underscores between parts, not those inside factor names
    return "_".join(piece for piece in pieces if set(_TEXT.findall(piece)) <= set(factors))


def run_name(template: str, factors: Mapping[str, Any]) -> str:
    """Fill ``lam{lambda}_seed{seed}``; a part whose factor this run does not have is left out.

    Raises:
        ValueError: what comes out cannot be the name of a file.
    """
    name = _TEXT.sub(lambda hit: spell(factors[hit[1]]), _with_factors(template, tuple(factors)))
    if not _RUN.fullmatch(name):
        expected = "expected up to 200 letters, digits, dots, -, + and _, and no dot first"
        raise ValueError(f"a run would be called {clipped(repr(name))}; {expected}")
    return name


# --- segments ------------------------------------------------------------------------------------------------


def ladder(spec: Any) -> list[float]:
    """λ values of a ladder: a list as written, or ``{from, to, step}`` with both ends, rounded to 6 decimals.

    Raises:
        ValueError: the steps do not lead from one end to the other.
    """
    if isinstance(spec, list):
        return [float(value) for value in spec]
    first, last, step = (float(_get(spec, key, "a ladder")) for key in ("from", "to", "step"))
    count = abs(last - first) / step if step > 0 else 0.5
    if count > LONGEST:
        raise ValueError(
            f"a ladder has at most {LONGEST:,} steps; from {first:g} to {last:g} by {step:g} has more"
        )
    if abs(count - round(count)) > 1e-6:
        raise ValueError(f"no ladder leads from {first:g} to {last:g} in steps of {step:g}")
    return [round(first + math.copysign(step, last - first) * i, 6) for i in range(round(count) + 1)]


def ramp(spec: Mapping[str, Any], epochs: int) -> list[float]:
    """λ of each epoch e = 0..E-1: from + w·(to - from) with w = e/E (linear) or (1 - cos πe/E)/2 (cosine).

    As published for Q2 (Q-R.md): the last epoch is one step short of `to`, and linear values are not rounded.
    """
    first, last = (float(_get(spec, key, "a ramp")) for key in ("from", "to"))
    if spec.get("shape", "linear") == "linear":
        return [first + (e / epochs) * (last - first) for e in range(epochs)]
    # Rounded, because the last digit of a cosine depends on the C library.
    return [
        round(first + (last - first) * (1 - math.cos(math.pi * e / epochs)) / 2, 12) for e in range(epochs)
    ]


# What a segment generator may be made of; `epochs` or `steps` is its length.
_GENERATORS = (
    {"lambda", "epochs"},
    {"lambda", "steps"},
    {"ladder", "hold"},
    {"ramp", "epochs"},
    {"loop", "hold"},
)


def segments(spec: Any) -> list[dict[str, Any]]:
    """Write a segment generator out as the plain list ``[{lambda, epochs, direction}, ...]``.

    Generators: ``{lambda, epochs}`` or ``{lambda, steps}`` (constant), ``{ladder, hold}``,
    ``{ramp: {from, to, shape}, epochs}``, ``{loop: {up, down}, hold}``, and a list of these, one after the other.

    Raises:
        ValueError: none of these, a length that is no positive integer, or more epochs than fit into memory.
    """
    found: list[dict[str, Any]] = []
    epochs = 0
    for one in _written_out(spec):
        found.append(one)
        epochs += one.get("epochs", 1)
        if epochs > LONGEST:
            raise ValueError(f"segments have at most {LONGEST:,} epochs together; these have more")
    return found


def _written_out(spec: Any) -> Iterator[dict[str, Any]]:
    if isinstance(spec, list):
        for part in spec:
            yield from _written_out(part)
        return
    if not isinstance(spec, dict) or set(spec) not in _GENERATORS:
        shapes = " or ".join("{" + ", ".join(sorted(shape)) + "}" for shape in _GENERATORS)
        raise ValueError(f"expected segments of the shape {shapes}; got {spec!r}")
    for length in ("epochs", "steps", "hold"):
        number = spec.get(length, 1)
        if isinstance(number, bool) or not isinstance(number, int) or number < 1:
            raise ValueError(
                f"the number of {length} of a segment must be a positive integer; got {number!r}"
            )
        if length != "steps" and number > LONGEST:
            raise ValueError(f"the number of {length} of a segment is at most {LONGEST:,}; got {number}")
    if "ladder" in spec:
        yield from _held(ladder(spec["ladder"]), spec["hold"])
    elif "loop" in spec:
        for way in ("up", "down"):
            yield from _held(ladder(_get(spec["loop"], way, "a loop")), spec["hold"], way)
    elif "ramp" in spec:
        yield from _held(ramp(spec["ramp"], spec["epochs"]), 1)
    elif isinstance(spec["lambda"], bool) or not isinstance(spec["lambda"], (int, float)):
        raise ValueError(f"the lambda of a segment must be a number; got {spec['lambda']!r}")
    else:
        yield {**spec, "lambda": float(spec["lambda"]), "direction": None}


def _held(values: list[float], hold: int, direction: str | None = None) -> Iterator[dict[str, Any]]:
    if direction is None and values[0] != values[-1]:
        direction = "up" if values[-1] > values[0] else "down"
    return ({"lambda": value, "epochs": hold, "direction": direction} for value in values)


def _get(spec: Mapping[str, Any], key: str, what: str) -> Any:
    if key not in spec:
        raise ValueError(f"{what} needs '{key}'; got {dict(spec)!r}")
    return spec[key]


# --- stages --------------------------------------------------------------------------------------------------


RunsOf = Callable[[str], list[str]]  # experiment -> ids of its runs


def start(spec: Any, runs_of: RunsOf) -> dict[str, Any]:
    """Normal form of a stage's start; *runs_of* gives the candidates of ``select: {from: EXPERIMENT}``."""
    if isinstance(spec, str):
        return {"kind": spec}  # fresh | continue
    if "select" in spec:
        rule: dict[str, Any] = {
            "stage": "main",
            "by": "test_error",
            "min": None,
            "max": None,
            "order": "position",
            "index": 0,
        }
        rule |= spec["select"]
        return {"kind": "select", "runs": runs_of(rule.pop("from")), **rule}
    if "run" in spec:
        return {"kind": "checkpoint", "run": spec["run"], "stage": spec.get("stage", "main")}
    return {"kind": "stage", "stage": spec["stage"]}


def schedule(spec: Any) -> dict[str, Any]:
    """Normal form of a learning-rate schedule: ``constant``, ``{milestones: [...]}`` or ``{warmup: 0.1}``."""
    if isinstance(spec, str):
        return {"kind": spec}
    if "milestones" in spec:
        return {"kind": "multistep", "milestones": spec["milestones"], "gamma": spec.get("gamma", 0.1)}
    return {"kind": "warmup_linear", "warmup": spec["warmup"]}


def stages(
    spec: Mapping[str, Mapping[str, Any]], defaults: Mapping[str, Any], runs_of: RunsOf
) -> list[dict[str, Any]]:
    """Stages in their order, each complete. A stage that continues another belongs to its session.

    Raises:
        ValueError: a stage starts from one that does not come before it, sets what its session has set, or there
            are more epochs than fit into memory.
    """
    done: dict[str, dict[str, Any]] = {}
    epochs = 0
    last: dict[str, Any] = {}
    for name, written in spec.items():
        stage = {"name": name, **defaults, **written}
        stage["start"] = start(stage["start"], runs_of)
        stage["segments"] = segments(stage["segments"])
        epochs += sum(one.get("epochs", 1) for one in stage["segments"])
        if epochs > LONGEST:
            raise ValueError(f"the stages of a run have at most {LONGEST:,} epochs together; these have more")
        if stage["start"]["kind"] == "continue":
            if not done:
                raise ValueError(f"stage '{name}' continues, but no stage comes before it")
            own = {"session", "seed_offset", "lr", "schedule"} & written.keys()
            if own:
                raise ValueError(
                    f"stage '{name}' continues '{last['name']}' and cannot set its own {min(own)}"
                )
            # One session: optimizer, schedule and streams run on.
            stage |= {
                "lr": None,
                "schedule": None,
                "session": last["session"],
                "seed_offset": last["seed_offset"],
            }
        else:
            stage["schedule"] = schedule(stage["schedule"])
            stage["session"] = stage["session"] or name
        source = stage["start"]["stage"] if stage["start"]["kind"] == "stage" else None
        if source is not None and source not in done:
            raise ValueError(
                f"stage '{name}' starts from '{source}', no stage before it{did_you_mean(source, done)}"
            )
        if stage["gate"]:
            stage["gate"] = {"on_fail": "warn", **stage["gate"]}
        done[name] = last = stage
    return list(done.values())


def closest(word: str, known: Iterable[str]) -> str:
    """The did-you-mean hint for a run id: the experiment is compared first, then the run within it."""
    known = list(known)
    experiment, _, run = word.partition("/")
    names = dict.fromkeys(one.split("/", 1)[0] for one in known)
    if experiment not in names:
        return did_you_mean(experiment, names)
    return did_you_mean(word, [one for one in known if one.startswith(experiment + "/")])
