"""The vocabulary of measures: how a number is taken from the tables (config/claims.yaml describes it).

A measure is a mapping. It either reads rows (``experiments`` or ``series`` or ``rows``, ``where``, ``field``,
``statistic``, ``over`` for one value per level), or joins two measures (``difference``, ``ratio``, ``reduction``), or
lists several (``parts``), or calls a named function (``function``); ``take`` then picks from the values by level, and
``unit`` scales the result. Measures inside others inherit what they do not say themselves.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from dualgrad.claims.data import MissingError, Rows, Selection, Tables, matches
from dualgrad.claims.words import rows_in_words
from dualgrad.estimators.correlation import pearson
from dualgrad.estimators.curves import last_crossing, steepest_step

#: Printed unit -> factor from the tables' fractions.
UNITS = {"": 1.0, "%": 100.0, "pp": 100.0, "1e-3": 1e3, "1e-4": 1e4, "M": 1.0}
#: Keys that say what kind of measure it is; a measure that has one drops the outer one.
KINDS = ("difference", "ratio", "reduction", "parts", "function")
# Keys that say which rows -> outer keys that they replace. Named rows bring their own table.
_REPLACED = {
    "rows": ("experiments", "series", "table"),
    "experiments": ("rows", "series"),
    "series": ("rows", "experiments"),
}

Value = float | int | str | bool | None


@dataclass
class Series:
    """Values by level, in the order of the levels."""

    levels: list[Any]
    values: list[float]

    def array(self) -> np.ndarray:
        """The values as an array."""
        return np.asarray(self.values, dtype="float64")


def inherit(outer: Mapping[str, Any], inner: Mapping[str, Any], part: bool = False) -> dict[str, Any]:
    """Return a measure with what it inherits: all of *outer* that *inner* does not say; conditions are joined.

    A measure of another kind has no use for the outer one's arguments; ``take`` it keeps if it is one of its parts.
    """
    base = dict(outer)
    if any(key in inner for key in KINDS):
        for key in (*KINDS, "with", "then", *(() if part else ("take",))):
            base.pop(key, None)
    for key in _REPLACED.get(next((one for one in _REPLACED if one in inner), ""), ()):
        base.pop(key, None)
    merged = {key: value for key, value in {**base, **inner}.items() if value is not None}
    where = {**outer.get("where", {}), **inner.get("where", {})}
    if where:
        merged["where"] = {name: condition for name, condition in where.items() if condition is not None}
    return merged


def parts_of(node: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the parts of a measure that lists several, each with what it inherits."""
    outer = {key: value for key, value in node.items() if key not in ("parts", "then")}
    return [inherit(outer, part, part=True) for part in node["parts"]]


@dataclass
class Measurer:
    """Evaluates measures on one edition's tables.

    Attributes:
        tables: the rows.
        named: row sets that measures call by name (``rows: low-1``).
        functions: named functions (see :mod:`functions`).
        release: what is known of the published archive beside its rows, or None.
        results: verdicts of claims measured so far, by id; the ledger's claims about itself read them.
        used: selections since they were last taken away, or None where nobody asks.
    """

    tables: Tables
    named: Mapping[str, Mapping[str, Any]]
    functions: Mapping[str, Callable[..., Any]]
    release: Any = None
    results: dict[str, Any] = field(default_factory=dict)
    used: list[Selection] | None = None

    # ------------------------------------------------------------------------------------------ evaluation

    def measure(self, node: Mapping[str, Any]) -> list[Value]:
        """Return a measure's values, scaled to its unit.

        Raises:
            MissingError: the edition lacks rows, levels or values that the measure needs.
        """
        if "parts" in node:
            values = [value for part in parts_of(node) for value in self.measure(part)]
            return _listed(take(values, node["then"])) if "then" in node else values
        values, factors = _listed(self.raw(node)), _factors(node)
        return [_plain(one, factors[place % len(factors)]) for place, one in enumerate(values)]

    def raw(self, node: Mapping[str, Any]) -> Any:
        """Return a measure's value before scaling: a number, a text, a list of them, or a :class:`Series`."""
        kind = next((key for key in KINDS if key in node), None)
        if kind == "parts":
            return self.measure(node)
        if kind == "function":
            value = self.functions[node["function"]](self, node, **node.get("with", {}))
        elif kind is not None:
            outer = {key: value for key, value in node.items() if key not in (kind, "take", "unit")}
            first, second = (self.raw(inherit(outer, one)) for one in node[kind])
            value = _joined(_JOINS[kind], first, second)
        else:
            value = self._read(node)
        return take(value, node["take"]) if "take" in node else value

    # ------------------------------------------------------------------------------------------ rows

    def select(self, node: Mapping[str, Any]) -> Rows:
        """Return the rows that a measure names, and remember which runs they are of.

        Raises:
            MissingError: there are none.
        """
        node = self.resolved(node)
        name = field_of(node)
        rows = self.tables.rows(node.get("table", "runs"), self._experiments(node))
        rows = rows.choose(node.get("where", {}))
        if "of" in node:
            runs = self.tables.rows("runs", self._experiments(node)).choose(node["of"])
            rows = rows.keep(np.isin(rows.run, runs.run))
        if node.get("untrapped"):
            rows = rows.untrapped(name)
        if not len(rows):
            raise MissingError(f"no rows: {rows_in_words(node)}")
        if self.used is not None:
            numbers = rows[name] if name in rows and rows[name].dtype.kind == "f" else None
            self.used.append(
                Selection(rows_in_words(node), None if numbers is None else name, rows.run, numbers)
            )
        return rows

    def resolved(self, node: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return a measure with its named rows written out; its own conditions come on top of theirs."""
        if "rows" not in node:
            return node
        rest = {key: value for key, value in node.items() if key != "rows"}
        rows = self.named[node["rows"]]
        return {**rows, **rest, "where": {**rows.get("where", {}), **rest.get("where", {})}}

    def _experiments(self, node: Mapping[str, Any]) -> list[str]:
        if "series" in node:
            return self.tables.of_series(node["series"])
        return list(node.get("experiments", ()))

    def words_of(self, node: Mapping[str, Any]) -> str:
        """Say which rows a measure reads."""
        return rows_in_words(self.resolved(node))

    def cells(self, node: Mapping[str, Any]) -> tuple[list[Any], list[np.ndarray]]:
        """Return the levels of ``over`` and the field's values at each.

        Raises:
            MissingError: one of the levels asked for has no rows.
        """
        rows = self.select(node).known(field_of(node))
        found, places = rows.groups(_names(node["over"]))
        values = rows[field_of(node)]
        return self._at_levels(node, found, [values[one] for one in places])

    def _at_levels(
        self, node: Mapping[str, Any], found: list[Any], values: list[Any]
    ) -> tuple[list[Any], list[Any]]:
        """Narrow to the levels that a measure names, in its order."""
        if "levels" not in node:
            return found, values
        wanted = [round(level, 6) if isinstance(level, float | int) else level for level in node["levels"]]
        for level in wanted:
            if level not in found:
                raise MissingError(f"no rows at {_names(node['over'])[0]} {level}: {self.words_of(node)}")
        return wanted, [values[found.index(level)] for level in wanted]

    def _read(self, node: Mapping[str, Any]) -> Any:
        statistic, name = node.get("statistic", "mean"), field_of(node)
        if statistic in ("count", "share"):
            return self._count(node, statistic == "share")
        if "over" in node:
            found, cells = self.cells(node)
            return Series(found, [self._statistic(values, node) for values in cells])
        rows = self.select(node)
        if statistic == "levels":
            return _different(rows.levels(name))
        if statistic == "distinct":
            return len(_different(rows.levels(name)))
        if statistic == "values":
            return rows[name][np.argsort(rows["seed"], kind="stable")].tolist()
        values = rows.one_per_run(name, node["per_run"])[1] if "per_run" in node else rows[name]
        return self._statistic(values[~np.isnan(values)], node)

    def _statistic(self, values: np.ndarray, node: Mapping[str, Any]) -> float:
        if not len(values):
            raise MissingError(f"no {field_of(node)}: {self.words_of(node)}")
        return float(STATISTICS[node.get("statistic", "mean")](values))

    def _count(self, node: Mapping[str, Any], share: bool) -> Any:
        """Count rows, or those of them that fulfil ``which``; with ``over``, by level."""
        condition = node.get("which", {})
        shown = {} if "field" in node or not condition else {"field": next(iter(condition))}
        rows = self.select({**node, **shown})
        hit = np.ones(len(rows), dtype=bool)
        for name, bound in condition.items():
            hit &= matches(rows[name], bound)
        if "over" not in node:
            return float(hit.mean()) if share else int(hit.sum())
        found, places = rows.groups(_names(node["over"]))
        counted = [float(hit[one].mean() if share else hit[one].sum()) for one in places]
        return Series(*self._at_levels(node, found, counted))


def _factors(node: Mapping[str, Any]) -> list[float]:
    """Factors of a measure's values: its unit's, but 1 for counts and for levels."""
    unit = UNITS[node.get("unit", "")]
    if node.get("statistic") in ("count", "distinct"):
        unit = 1.0
    taken = node.get("take")
    if not isinstance(taken, list):
        taken = [taken]
    words = [one if isinstance(one, str | None) else next(iter(one)) for one in taken]
    return [1.0 if word in LEVEL_TAKES else unit for word in words]


def _names(over: str | list[str]) -> list[str]:
    return over if isinstance(over, list) else [over]


def _different(values: np.ndarray) -> list[Any]:
    """Different values, sorted, missing ones left out."""
    if values.dtype.kind == "f":
        return np.unique(values[~np.isnan(values)]).tolist()
    return sorted({str(value) for value in values if value not in (None, "None")})


def field_of(node: Mapping[str, Any]) -> str:
    """Return the column that a measure reads; test_error unless it says otherwise."""
    return node.get("field", "test_error")


def _skewness(values: np.ndarray) -> float:
    from scipy.stats import skew

    return float(skew(values)) if values.std() else math.nan


#: Statistics of a sample; spreads without a 1 divide by n, those with one by n - 1.
STATISTICS: dict[str, Callable[[np.ndarray], float]] = {
    "mean": np.mean,
    "sd": np.std,
    "sd1": lambda values: np.std(values, ddof=1) if len(values) > 1 else math.nan,
    "var": np.var,
    "var1": lambda values: np.var(values, ddof=1) if len(values) > 1 else math.nan,
    "median": np.median,
    "min": np.min,
    "max": np.max,
    "skewness": _skewness,
    "first": lambda values: values[0],
    "last": lambda values: values[-1],
}

#: Statistics of rows and levels rather than of a sample.
COUNTS = ("count", "share", "levels", "distinct", "values")

_JOINS: dict[str, Callable[[Any, Any], Any]] = {
    "difference": lambda a, b: a - b,
    "ratio": lambda a, b: _ratio(a, b),
    "reduction": lambda a, b: 1.0 - _ratio(a, b),
}


def _ratio(a: float, b: float) -> float:
    if b == 0:
        raise MissingError("a ratio to zero")
    return a / b


def _joined(join: Callable[[Any, Any], Any], first: Any, second: Any) -> Any:
    """Join two values; two series at the levels that both have."""
    if isinstance(first, Series) and isinstance(second, Series):
        other = dict(zip(second.levels, second.values, strict=True))
        common = [
            (level, value) for level, value in zip(first.levels, first.values, strict=True) if level in other
        ]
        if not common:
            raise MissingError("the two sides have no level in common")
        return Series([level for level, _ in common], [join(value, other[level]) for level, value in common])
    if isinstance(first, Series):
        return Series(first.levels, [join(value, second) for value in first.values])
    if isinstance(first, list) and isinstance(second, list):
        if len(first) != len(second):
            raise MissingError(f"{len(first)} values on one side and {len(second)} on the other")
        return [join(a, b) for a, b in zip(first, second, strict=True)]
    return join(first, second)


# ------------------------------------------------------------------------------------------------- picking by level


def take(value: Any, how: str | Mapping[str, Any] | list[Any]) -> Any:
    """Pick from values by level.

    Args:
        value: a :class:`Series` (or a list, for what needs no levels).
        how: a word of :data:`TAKES`, or a mapping of one word to its argument; a list of them gives a list.

    Raises:
        MissingError: what is asked for does not exist, such as a crossing.
    """
    if isinstance(how, list):
        return [take(value, one) for one in how]
    word, argument = (how, None) if isinstance(how, str) else next(iter(how.items()))
    series = value if isinstance(value, Series) else Series(list(range(len(value))), list(value))
    needed = 2 if word in _OF_STEPS else 1
    if len(series.values) < needed:
        raise MissingError(f"{len(series.values)} values, too few for {word.replace('_', ' ')}")
    return TAKES[word](series, argument)


def _at(series: Series, level: Any) -> float:
    for one, value in zip(series.levels, series.values, strict=True):
        if one == level or (isinstance(one, float) and math.isclose(one, level, abs_tol=1e-9)):
            return value
    raise MissingError(f"no value at level {level}")


def _extreme(best: Callable[[np.ndarray], Any]) -> Callable[[Series, Any], Any]:
    return lambda series, _: series.levels[int(best(series.array()))]


def _largest(series: Series, _: Any) -> float:
    """The value of largest size, sign kept."""
    values = series.array()
    return float(values[np.argmax(np.abs(values))])


def crossing(series: Series, level: float, falling: bool = False) -> float:
    """Return the level where values cross *level* upwards (or downwards) for the last time, linearly interpolated.

    Raises:
        MissingError: they do not.
    """
    x, y = np.asarray(series.levels, dtype="float64"), series.array()
    sign = -1 if falling else 1
    found = float(last_crossing(x, sign * y, sign * level)[0]) if len(x) > 1 else math.inf
    if not math.isfinite(found):
        raise MissingError(f"no crossing of {level:g}")
    return found


def _slope_at(series: Series, level: float) -> float:
    """Slope per unit λ of the grid interval in which the values cross *level* upwards."""
    x, y = np.asarray(series.levels, dtype="float64"), series.array()
    place = crossing(series, level)
    i = int(np.clip(np.searchsorted(x, place, side="right") - 1, 0, len(x) - 2))
    return float((y[i + 1] - y[i]) / (x[i + 1] - x[i]))


def _steepest(series: Series) -> tuple[int, float]:
    """Place and slope of the steepest step, rising or falling."""
    place, slope = steepest_step(np.asarray(series.levels, dtype="float64"), series.array(), 0)
    return int(place[0]), float(slope[0])


def _first_above(series: Series, level: float) -> float:
    """First level with a value above; NaN where there is none, which is a finding and not a gap in the data."""
    for one, value in zip(series.levels, series.values, strict=True):
        if value > level:
            return one
    return math.nan


def _first_above_after_minimum(series: Series, level: float) -> float:
    start = int(np.argmin(series.array()))
    return _first_above(Series(series.levels[start:], series.values[start:]), level)


def _lowest(series: Series, count: int) -> list[Any]:
    order = np.argsort(series.array(), kind="stable")[:count]
    return sorted(series.levels[int(i)] for i in order)


def _from(series: Series, level: float) -> np.ndarray:
    values = series.array()[np.asarray(series.levels, dtype="float64") >= level - 1e-9]
    if not len(values):
        raise MissingError(f"no level from {level:g} on")
    return values


def _levels_where(series: Series, condition: Any) -> list[Any]:
    hits = matches(series.array(), condition)
    return [level for level, hit in zip(series.levels, hits, strict=True) if hit]


def _last_level(series: Series, condition: Any) -> Any:
    found = _levels_where(series, condition)
    return found[-1] if found else math.nan


def _correlation(first: np.ndarray, second: np.ndarray) -> float:
    found = pearson(first, second)
    if math.isnan(found):
        raise MissingError("no correlation of values that are all the same")
    return found


def _pearson(series: Series, _: Any) -> float:
    return _correlation(np.asarray(series.levels, dtype="float64"), series.array())


def _spearman(series: Series, _: Any) -> float:
    from scipy.stats import rankdata

    return _correlation(rankdata(series.levels), rankdata(series.values))


TAKES: dict[str, Callable[[Series, Any], Any]] = {
    "at": _at,
    "max": lambda series, _: float(series.array().max()),
    "min": lambda series, _: float(series.array().min()),
    "range": lambda series, _: float(np.ptp(series.array())),
    "span": lambda series, _: [float(series.array().min()), float(series.array().max())],
    "largest": _largest,
    "largest_at": _extreme(lambda values: np.argmax(np.abs(values))),
    "sum": lambda series, _: float(series.array().sum()),
    "mean": lambda series, _: float(series.array().mean()),
    "sd": lambda series, _: float(series.array().std()),
    "first": lambda series, _: series.values[0],
    "last": lambda series, _: series.values[-1],
    "argmax": _extreme(np.argmax),
    "argmin": _extreme(np.argmin),
    "argmax_at_edge": lambda series, _: int(np.argmax(series.array())) in (0, len(series.values) - 1),
    "second": lambda series, _: float(np.sort(series.array())[-2]),
    "crossing": lambda series, level: crossing(series, level),
    "falling_crossing": lambda series, level: crossing(series, level, falling=True),
    "doubling": lambda series, _: crossing(series, 2 * float(series.array().min())),
    "slope_at": _slope_at,
    "steepest": lambda series, end: series.levels[_steepest(series)[0] + (end == "end")],
    "steepness": lambda series, _: abs(_steepest(series)[1]),
    "first_above": _first_above,
    "first_above_after_minimum": _first_above_after_minimum,
    "lowest": _lowest,
    "levels": lambda series, condition: _levels_where(series, condition),
    "count": lambda series, condition: int(matches(series.array(), condition).sum()),
    "n": lambda series, _: len(series.values),
    "distinct": lambda series, _: sorted(set(np.round(series.array(), 9).tolist())),
    "last_level": lambda series, condition: _last_level(series, condition),
    "rise": lambda series, _: series.values[-1] - float(series.array().min()),
    "largest_size": lambda series, _: float(np.abs(series.array()).max()),
    "largest_from": lambda series, level: float(_from(series, level).max()),
    "size_from": lambda series, level: float(np.abs(_from(series, level)).max()),
    "largest_step_share": lambda series, _: _ratio(
        float(np.diff(series.array()).max()), float(np.ptp(series.array()))
    ),
    "falls": lambda series, _: bool((np.diff(series.array()) < 0).all()),
    "steps": lambda series, _: np.diff(series.array()).tolist(),
    "pearson": _pearson,
    "spearman": _spearman,
}


def _listed(value: Any) -> list[Any]:
    if isinstance(value, Series):
        value = value.values
    return list(value) if isinstance(value, list | tuple | np.ndarray) else [value]


# Ways to take that compare neighbours or need a spread.
_OF_STEPS = frozenset(
    (
        *(
            "steepest",
            "steepness",
            "slope_at",
            "crossing",
            "falling_crossing",
            "doubling",
            "second",
            "steps",
            "falls",
        ),
        *("pearson", "spearman", "largest_step_share"),
    )
)
#: Ways to take that give levels or numbers of them, which have no unit.
LEVEL_TAKES = frozenset(
    (
        *(
            "argmax",
            "argmin",
            "argmax_at_edge",
            "largest_at",
            "crossing",
            "falling_crossing",
            "doubling",
            "steepest",
        ),
        *("first_above", "first_above_after_minimum", "last_level", "levels", "lowest", "count", "n"),
        *("falls", "pearson", "spearman"),
    )
)


def _plain(value: Any, factor: float) -> Value:
    """Return a value as a plain Python one, numbers scaled; NaN stands for "none"."""
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if isinstance(value, int | np.integer):
        return int(value) if factor == 1 else float(value) * factor
    if isinstance(value, float | np.floating):
        return None if math.isnan(value) else float(value) * factor
    return value
