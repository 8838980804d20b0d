"""Scans of an experiment: curves over its numeric factors, one for each combination of the other factors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dualgrad.estimators.scan import Estimate, Scan, difference, mean, scan
from dualgrad.outcomes.conditions import REPEATS, place
from dualgrad.validation import InputError, did_you_mean

Rows = Sequence[Mapping[str, Any]]

#: Outcomes by which a λ is chosen, best first: errors on examples that neither train nor test.
VALIDATION = ("validation_error", "validation_noisy_error")
#: Fewer levels make no curve.
LEAST_LEVELS = 3


@dataclass(frozen=True)
class Reading:
    """A scan and where it lies.

    Attributes:
        levels: of the other factors.
        over: the factor that is scanned.
        of: the outcome.
        scan: what is read off it.
    """

    levels: dict[str, Any]
    over: str
    of: str
    scan: Scan


@dataclass(frozen=True)
class Choice:
    """A λ chosen on validation examples, and what it comes to on the test set, which had no say.

    Attributes:
        chosen: the scan of the validation error.
        test: test error of the runs at the chosen λ.
        best_test: the λ that the test set itself would choose.
        lost: test error at the chosen λ minus that at ``best_test``.
    """

    chosen: Reading
    test: Estimate
    best_test: float
    lost: Estimate


def numeric_factors(rows: Rows, by: Sequence[str]) -> list[str]:
    """Return the factors with numbers at three levels or more: λ first, then those with most levels."""
    found = {}
    for name in by:
        levels = {row.get(name) for row in rows}
        if len(levels) >= LEAST_LEVELS and all(_is_number(level) for level in levels):
            found[name] = len(levels)
    return sorted(found, key=lambda name: (name != "lambda", -found[name]))


def _is_number(level: Any) -> bool:
    return isinstance(level, int | float) and not isinstance(level, bool)


def readings(
    rows: Rows, by: Sequence[str], over: str, of: str = "test_error", *, level: float | None = None
) -> list[Reading]:
    """Return the scan over a factor for each combination of the others that has three levels of it.

    Runs without a value are left out.

    Raises:
        InputError: no run has such a factor, or it has no three numbers.
    """
    known = {key for row in rows for key in row}
    if over not in known:
        raise InputError("", f"--over {over}", f"no run here has this column{did_you_mean(over, known)}")
    if not numeric_factors(rows, [over]):
        raise InputError("", f"--over {over}", f"expected a factor with numbers at {LEAST_LEVELS} levels")
    others = [name for name in by if name != over]
    groups: dict[tuple[Any, ...], dict[float, list[tuple[tuple[Any, ...], float]]]] = {}
    for row in rows:
        if row[of] is None:
            continue
        mine = groups.setdefault(tuple(row.get(name) for name in others), {})
        mine.setdefault(float(row[over]), []).append((_repeat(row), float(row[of])))
    found = []
    for other in sorted(groups, key=place):
        at = sorted(groups[other])
        if len(at) < LEAST_LEVELS:
            continue
        data, paired = _paired([groups[other][one] for one in at])
        levels = dict(zip(others, other, strict=True))
        found.append(Reading(levels, over, of, scan(at, data, paired=paired, level=level)))
    return found


def _repeat(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(row.get(name) for name in REPEATS)


def _paired(groups: Sequence[list[tuple[tuple[Any, ...], float]]]) -> tuple[list[np.ndarray], bool]:
    """Values of each level, in the order of their repetitions; whether these are the same at every level."""
    tables = [dict(group) for group in groups]
    same = all(len(table) == len(group) for table, group in zip(tables, groups, strict=True))
    if same and all(table.keys() == tables[0].keys() for table in tables):
        return [np.array([table[key] for key in tables[0]]) for table in tables], True
    return [np.array([value for _, value in group]) for group in groups], False


def choices(rows: Rows, by: Sequence[str]) -> list[Choice]:
    """Return the λ that validation chooses for each combination of the other factors; none without validation.

    One for each validation error that is recorded: by the data set's own labels and by the noisy ones.
    """
    if "lambda" not in by or "lambda" not in numeric_factors(rows, by):
        return []
    found = []
    for of in VALIDATION:
        if not any(row.get(of) is not None for row in rows):
            continue
        both = [row for row in rows if row.get(of) is not None and row["test_error"] is not None]
        tests = {repr(one.levels): one.scan for one in readings(both, by, "lambda")}
        for reading in readings(both, by, "lambda", of):
            found.append(_choice(reading, tests[repr(reading.levels)], both))
    return found


def _choice(reading: Reading, test: Scan, rows: Rows) -> Choice:
    mine = [row for row in rows if all(row.get(name) == level for name, level in reading.levels.items())]

    def errors(level: float) -> list[tuple[tuple[Any, ...], float]]:
        return [(_repeat(row), float(row["test_error"])) for row in mine if float(row["lambda"]) == level]

    chosen, best = reading.scan.optimum.value, test.optimum.value
    here, there = errors(chosen), errors(best)
    (first, second), paired = _paired([here, there])
    lost = Estimate(0.0, 0.0, 0.0) if chosen == best else difference(first, second, paired=paired)
    return Choice(reading, mean(first), best, lost)
