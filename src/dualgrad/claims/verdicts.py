"""The rule that turns a measured number into a verdict (claims ledger, verdict rule).

reproduced: equal after rounding to the printed digits; close: within two units of the last printed digit; not
reproduced: neither. A claim with several readings is ambiguous where some agree and some do not. A verdict speaks
about the number; the caveat says what the number can carry.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

REPRODUCED, CLOSE, NOT_REPRODUCED = "reproduced", "close", "not_reproduced"
AMBIGUOUS, NOT_TESTABLE = "ambiguous", "not_testable"
VERDICTS = (REPRODUCED, CLOSE, NOT_REPRODUCED, AMBIGUOUS, NOT_TESTABLE)
#: How they are written for readers.
TITLES = {
    REPRODUCED: "reproduced",
    CLOSE: "close",
    NOT_REPRODUCED: "not reproduced",
    AMBIGUOUS: "ambiguous",
    NOT_TESTABLE: "not testable",
}
# Means of errors with four decimals end on ties of the next digit; binary fractions miss them by a hair.
_SLACK = 1e-9
#: "About 100 runs" is right within this share (the ledger's rule for approximate counts).
ABOUT = 0.10


def differences(measured: Sequence[Any], printed: Sequence[Any]) -> list[float] | None:
    """Return measured - printed, one by one, or None where that makes no sense (texts, other lengths)."""
    if len(measured) != len(printed) or not all(map(_is_number, [*measured, *printed])):
        return None
    return [a - b for a, b in zip(measured, printed, strict=True)]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def by_rounding(measured: Sequence[Any], printed: Sequence[Any], step: float | None) -> str:
    """Return the verdict of numbers against printed ones; the worst number decides.

    Args:
        measured: values in the printed unit.
        printed: values as printed.
        step: one unit of the last printed digit; None where the printed things are no numbers.
    """
    gaps = differences(measured, printed)
    if gaps is None or step is None:
        return REPRODUCED if list(measured) == list(printed) else NOT_REPRODUCED
    worst = max((abs(gap) for gap in gaps), default=math.inf) / step
    if worst <= 0.5 + _SLACK / step:
        return REPRODUCED
    return CLOSE if worst <= 2 + _SLACK / step else NOT_REPRODUCED


def fulfils(values: Sequence[Any], expected: Any) -> bool:
    """Return whether values fulfil a criterion (``expect``, see the schema), all of them unless it says otherwise.

    ``None`` stands for "there is none" and fulfils only ``none: true``.
    """
    return all(_RULES[word](list(values), bound) for word, bound in expected.items())


def _each(test: Any) -> Any:
    return lambda values, bound: bool(values) and all(_is_number(one) and test(one, bound) for one in values)


def _equal(values: Sequence[Any], bound: Any) -> bool:
    wanted = bound if isinstance(bound, list) else [bound]
    return len(values) == len(wanted) and all(
        math.isclose(a, b, abs_tol=1e-9) if _is_number(a) and _is_number(b) else a == b
        for a, b in zip(values, wanted, strict=True)
    )


def _moving(sign: int) -> Any:
    return lambda values, bound: (
        all(map(_is_number, values))
        and all(sign * (b - a) > 0 for a, b in zip(values, values[1:], strict=False)) is bound
    )


_RULES: Mapping[str, Any] = {
    "equal": _equal,
    "below": _each(lambda one, bound: one < bound),
    "at_most": _each(lambda one, bound: one <= bound),
    "above": _each(lambda one, bound: one > bound),
    "at_least": _each(lambda one, bound: one >= bound),
    "between": _each(lambda one, bound: bound[0] <= one <= bound[1]),
    "about": _each(lambda one, bound: abs(one - bound) <= ABOUT * abs(bound)),
    "decreasing": _moving(-1),
    "increasing": _moving(1),
    "none": lambda values, bound: all(one is None for one in values) is bound,
    "complete": lambda values, bound: (len(values) == 2 and values[0] == values[1]) is bound,
    "different": lambda values, bound: (len(set(values)) == len(values)) is bound,
    "falls_by": lambda values, bound: all(map(_is_number, values)) and values[0] - values[-1] >= bound,
    "each": lambda values, bound: (
        len(values) == len(bound)
        and all(fulfils([one], rule) for one, rule in zip(values, bound, strict=True))
    ),
}


def joined(agreements: Sequence[bool | None]) -> str:
    """Return the verdict of a claim from its readings: True agrees, False does not, None cannot be tested."""
    tested = [one for one in agreements if one is not None]
    if not tested:
        return NOT_TESTABLE
    if all(tested):
        return REPRODUCED
    return AMBIGUOUS if any(tested) else NOT_REPRODUCED
