"""What the numbers of a run must be, wherever they come from: written down, a factor level, a `let`, an edition.

The schema sees what is written; here is what it comes to once references have their values.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

# A stage that is written out epoch by epoch (a ramp, a plan) must fit into memory.
LONGEST = 100_000
# NumPy's legacy generator takes seeds below 2^32; offsets are added to these.
LARGEST_SEED = 2**31 - 1


@dataclass(frozen=True)
class Limit:
    """A closed range of numbers; ``whole``: integers alone; ``empty``: null is allowed."""

    low: float | None = None
    high: float | None = None
    whole: bool = False
    empty: bool = False

    def problem(self, value: Any) -> str | None:
        """Return what is wrong with a value, or None."""
        if value is None and self.empty:
            return None
        number = type(value) is int or (isinstance(value, float) and not self.whole and math.isfinite(value))
        if not number:
            kind = "an integer" if self.whole else "a number"
            return f"expected {kind}{' or null' if self.empty else ''}; got {value!r}"
        if self.low is not None and value < self.low:
            return f"expected at least {self.low:g}; got {value!r}"
        if self.high is not None and value > self.high:
            return f"expected at most {self.high:,.10g}; got {value!r}"
        return None


_SHARE, _AMOUNT = Limit(0, 1), Limit(0)
_POSITIVE, _PERHAPS = Limit(1, whole=True), Limit(1, whole=True, empty=True)
_SEED = Limit(0, LARGEST_SEED, whole=True)

# Key of a run -> path within it (* stands for every item of a list) -> limit. What is absent is not checked.
LIMITS: dict[str, dict[str, Limit]] = {
    "seed": {"": Limit(0, LARGEST_SEED, whole=True, empty=True)},
    "streams": {"replicate": _SEED},
    "task": {
        "classes": Limit(2, whole=True),
        "batch_size": _POSITIVE,
        "eval_batch_size": _POSITIVE,
        "steps_per_epoch": _PERHAPS,
        "max_length": _PERHAPS,
        "subset": _PERHAPS,
        "normalize.mean.*": Limit(),
        "normalize.std.*": Limit(1e-9),
    },
    "noise": {"rate": _SHARE, "seed": _SEED, "seed_offset": _SEED},
    "value": {
        "period": _POSITIVE,
        "random.seed": _SEED,
        "random.seed_offset": _SEED,
        "trusted.ratio": _SHARE,
        "trusted.seed_offset": _SEED,
        "synthetic.cosine": Limit(-1, 1),
    },
    "optimizer": {"lr": _AMOUNT, "momentum": _AMOUNT, "weight_decay": _AMOUNT},
    "stages": {
        "*.seed_offset": _SEED,
        "*.lr": Limit(0, empty=True),
        "*.start.index": Limit(0, whole=True),
        "*.schedule.milestones.*": Limit(0, LONGEST, whole=True),
        "*.schedule.gamma": _AMOUNT,
        "*.evaluate.every": _PERHAPS,
        "*.segments.*.lambda": _SHARE,
        "*.segments.*.epochs": Limit(1, LONGEST, whole=True),
        "*.segments.*.steps": _POSITIVE,
    },
}
_PATHS = {
    key: [(path.split(".") if path else [], limit) for path, limit in limits.items()]
    for key, limits in LIMITS.items()
}


def check(key: str, part: Any) -> None:
    """Check one part of a run.

    Args:
        key: its key in the run, e.g. ``noise``.
        part: its value, without references.

    Raises:
        ValueError: a number has the wrong type or lies outside of its range; says which.
    """
    for path, limit in _PATHS.get(key, ()):
        for place, value in _at(part, path, ""):
            problem = limit.problem(value)
            if problem:
                raise ValueError(f"{place}: {problem}" if place else problem)


def _at(part: Any, path: list[str], place: str) -> Iterator[tuple[str, Any]]:
    """Yield the values at a path, each with its place in words."""
    for number, word in enumerate(path):
        if word == "*":
            if not isinstance(part, list):
                raise ValueError(f"{place}: expected a list; got {part!r}")
            for i, one in enumerate(part):
                name = one.get("name", i) if isinstance(one, Mapping) else i
                yield from _at(one, path[number + 1 :], f"{place}.{name}".lstrip("."))
            return
        if not isinstance(part, Mapping) or word not in part:
            return
        part, place = part[word], f"{place}.{word}".lstrip(".")
    yield place, part
