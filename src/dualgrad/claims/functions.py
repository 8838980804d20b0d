"""Named functions of measures: what the vocabulary cannot say in a line.

A function is called as ``fn(measurer, node, **with)``: the measure that names it says which rows (``experiments``,
``where``, ``field``, …), its ``with`` the rest. ``between`` holds two or more measures that inherit from it. Returns
a number, a flag, a list of them, or a :class:`measure.Series`. Every function raises MissingError where an edition
lacks the rows.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from dualgrad.claims.data import TRAPPED, MissingError, Rows
from dualgrad.claims.measure import STATISTICS, Measurer, Series, field_of, inherit, parts_of
from dualgrad.claims.verdicts import REPRODUCED, by_rounding
from dualgrad.estimators.bootstrap import ROUNDING, t_bounds, variance
from dualgrad.estimators.dip import dip as dip_of
from dualgrad.estimators.ranks import mann_whitney
from dualgrad.estimators.spread import brown_forsythe, smallest_p
from dualgrad.estimators.survival import stays
from dualgrad.validation import did_you_mean

Node = Mapping[str, Any]
FUNCTIONS: dict[str, Callable[..., Any]] = {}
#: Function -> what it does, in words; ``{…}`` are its arguments.
WORDS: dict[str, str] = {}


def function(words: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register a function under its own name."""

    def register(one: Callable[..., Any]) -> Callable[..., Any]:
        FUNCTIONS[one.__name__] = one
        WORDS[one.__name__] = words
        return one

    return register


def _bare(node: Node) -> dict[str, Any]:
    return {key: value for key, value in node.items() if key not in ("function", "with", "take", "unit")}


def _between(measurer: Measurer, node: Node, between: Sequence[Node]) -> list[Rows]:
    """Rows of the measures of ``between``, those with a value of the field; raises MissingError if there are none."""
    samples = [measurer.select(inherit(_bare(node), one)).known(field_of(node)) for one in between]
    if not all(map(len, samples)):
        raise MissingError(f"no {field_of(node)}: {measurer.words_of(node)}")
    return samples


def _values(measurer: Measurer, node: Node) -> np.ndarray:
    """The field's values in the rows of a measure; raises MissingError if there are none."""
    values = measurer.select(node).known(field_of(node))[field_of(node)]
    if not len(values):
        raise MissingError(f"no {field_of(node)}: {measurer.words_of(node)}")
    return values


# ------------------------------------------------------------------------------------------------- distributions


def dip_test(values: np.ndarray) -> tuple[float, float]:
    """Return Hartigan's dip and its p value; raises MissingError for fewer than three values."""
    if len(values) < 3:
        raise MissingError("fewer than three values for a dip test")
    return dip_of(values)


@function("Hartigan dip test: statistic and p value")
def dip(measurer: Measurer, node: Node) -> list[float]:
    """Dip and p of one sample."""
    return list(dip_test(_values(measurer, node)))


@function("p value of the Hartigan dip test in each cell of equal {over}")
def dip_p(measurer: Measurer, node: Node, at_least: int = 3) -> Series:
    """P values by cell; cells of fewer than ``at_least`` runs are left out."""
    kept = [one for one in zip(*measurer.cells(node), strict=True) if len(one[1]) >= at_least]
    if not kept:
        raise MissingError(f"no cell of {at_least} runs: {measurer.words_of(node)}")
    return Series([level for level, _ in kept], [dip_test(values)[1] for _, values in kept])


@function("p value of a {kind} test")
def p_value(measurer: Measurer, node: Node, between: Sequence[Node], kind: str) -> float:
    """Two-sided p: student (equal variance), welch, mann-whitney, or paired (t, by seed)."""
    from scipy import stats

    first, second = _between(measurer, node, between)
    if kind == "paired":
        return _summary(_by_seed(first, second, field_of(node)))["p"]
    a, b = first[field_of(node)], second[field_of(node)]
    if min(len(a), len(b)) < 2 or max(np.ptp(a), np.ptp(b)) <= ROUNDING:
        raise MissingError(f"fewer than two different values: {measurer.words_of(node)}")
    if kind == "mann-whitney":
        return mann_whitney(a, b)[0]
    return float(stats.ttest_ind(a, b, equal_var=kind == "student").pvalue)


def _by_seed(first: Rows, second: Rows, name: str) -> np.ndarray:
    """Differences first - second of the seeds that both have."""
    one, other = (dict(zip(rows["seed"], rows[name], strict=True)) for rows in (first, second))
    return np.array([one[seed] - other[seed] for seed in sorted(one.keys() & other.keys())])


def _summary(values: np.ndarray) -> dict[str, float]:
    """Mean, 95% t interval, two-sided p against 0, smallest, how many are positive, and how many there are."""
    bounds, p_value = t_bounds(values)
    if bounds is None:
        raise MissingError("fewer than two seeds in common")
    return {
        "mean": float(values.mean()),
        "low": bounds[0],
        "high": bounds[1],
        "p": p_value,
        "least": float(values.min()),
        "positive": int((values > 0).sum()),
        "pairs": len(values),
    }


@function("difference by seed ({give})")
def paired(measurer: Measurer, node: Node, between: Sequence[Node], give: Sequence[str]) -> list[float]:
    """Mean, low, high (95% t interval), p, least, positive, pairs of the seed-paired difference."""
    first, second = _between(measurer, node, between)
    found = _summary(_by_seed(first, second, field_of(node)))
    return [found[name] for name in give]


@function("difference by seed of two differences ({give})")
def paired_net(measurer: Measurer, node: Node, between: Sequence[Node], give: Sequence[str]) -> list[float]:
    """The same for (a - b) - (c - d)."""
    values = [
        dict(zip(rows["seed"], rows[field_of(node)], strict=True))
        for rows in _between(measurer, node, between)
    ]
    seeds = sorted(set.intersection(*(set(one) for one in values)))
    a, b, c, d = (np.array([one[seed] for seed in seeds]) for one in values)
    found = _summary((a - b) - (c - d))
    return [found[name] for name in give]


@function("Fisher exact p of {which} between two samples")
def fisher(measurer: Measurer, node: Node, between: Sequence[Node], which: Mapping[str, Any]) -> float:
    """Two-sided p of a two-by-two table."""
    from scipy import stats

    samples = _between(measurer, node, between)
    hits = [len(rows.choose(which)) for rows in samples]
    return float(
        stats.fisher_exact([[hit, len(rows) - hit] for hit, rows in zip(hits, samples, strict=True)]).pvalue
    )


@function("whether every value of one sample lies above every value of the other")
def separated(measurer: Measurer, node: Node, between: Sequence[Node]) -> bool:
    """Complete separation of two samples."""
    first, second = (rows[field_of(node)] for rows in _between(measurer, node, between))
    return bool(first.min() > second.max() or second.min() > first.max())


def _seed_means(measurer: Measurer, node: Node) -> np.ndarray:
    rows = measurer.select(node).known(field_of(node))
    _, places = rows.groups(["seed"])
    return np.array([rows[field_of(node)][one].mean() for one in places])


@function("95% t interval of the mean over seeds of the seed means")
def interval_of_seed_means(measurer: Measurer, node: Node) -> list[float]:
    """Low and high of the t interval over seeds, each seed counted once."""
    found = _summary(_seed_means(measurer, node))
    return [found["low"], found["high"]]


@function("{statistic} over seeds of the seed means")
def of_seed_means(measurer: Measurer, node: Node, statistic: str) -> Any:
    """A statistic over seeds, each seed counted once; ``values`` lists the seed means."""
    means = _seed_means(measurer, node)
    return means.tolist() if statistic == "values" else float(STATISTICS[statistic](means))


@function("counts in {bins} bins of width {width} from {start}")
def histogram(measurer: Measurer, node: Node, start: float, width: float, bins: int) -> list[int]:
    """Counts of a field in equal bins."""
    edges = start + width * np.arange(bins + 1)
    return [int(count) for count in np.histogram(_values(measurer, node), bins=edges)[0]]


@function("how many of the comparisons hold")
def tally(measurer: Measurer, node: Node, of: Sequence[Node], give: Sequence[str] = ("true",)) -> list[int]:
    """How many of several yes-or-no measures hold: ``true``, and ``all`` of them."""
    answers = [bool(measurer.measure(inherit(_bare(node), one))[0]) for one in of]
    return [{"true": sum(answers), "all": len(answers)}[word] for word in give]


@function("runs that come within {margin} of the mean of other rows")
def within(measurer: Measurer, node: Node, of: Node, margin: float) -> int:
    """Runs whose value is at most ``margin`` above the mean of other rows."""
    values = _values(measurer, node)
    level = _values(measurer, {"field": field_of(node), **of}).mean()
    return int((values <= level + margin).sum())


# ------------------------------------------------------------------------------------------------- cells


def _cells(measurer: Measurer, node: Node) -> list[np.ndarray]:
    """Values of runs that are equal in all factors but the seed, one array for each such cell."""
    rows = measurer.select(node)
    codes = measurer.tables.cells[rows.index]
    values = rows[field_of(node)]
    return [values[codes == code] for code in np.unique(codes)]


@function(
    "cells of equal factors, of three runs or more, in which runs end both low ({low}) and high ({high})"
)
def both_outcomes(
    measurer: Measurer, node: Node, low: float, high: float, give: Sequence[str], strict: bool = False
) -> list[Any]:
    """Cells that hold a low end error (at most ``low``; with ``strict`` below it) and a high one (at least ``high``).

    ``cells``: how many do; ``all``: how many cells there are; ``share``: of all; ``low``, ``high``, ``runs``: low and
    high runs and all of them in the largest cell that holds both.
    """
    cells = [values[~np.isnan(values)] for values in _cells(measurer, node)]
    cells = [values for values in cells if len(values) >= 3]
    if not cells:
        raise MissingError(f"no cell of three runs: {measurer.words_of(node)}")
    counts = [
        (
            int((values < low).sum() if strict else (values <= low).sum()),
            int((values >= high).sum()),
            len(values),
        )
        for values in cells
    ]
    both = [count for count in counts if count[0] and count[1]]
    largest = max(both, key=lambda count: count[2]) if both else (0, 0, 0)
    answers = {
        "cells": len(both),
        "all": len(cells),
        "share": len(both) / len(cells),
        "low": largest[0],
        "high": largest[1],
        "runs": largest[2],
    }
    return [answers[word] for word in give]


@function("smallest and largest number of runs that are equal in all factors but the seed")
def cell_sizes(measurer: Measurer, node: Node) -> list[int]:
    """Runs per cell: smallest, largest."""
    sizes = [len(cell) for cell in _cells(measurer, node)]
    return [min(sizes), max(sizes)]


@function("runs whose whole trajectory repeats a run of {other}")
def copies(measurer: Measurer, node: Node, other: Sequence[str], keys: Sequence[str]) -> int:
    """Runs whose errors equal, as far as they go, those of a run of other experiments with equal ``keys``."""
    chosen = measurer.select(node).run
    experiments = measurer.resolved(node)["experiments"]
    known = dict(_trajectories(measurer, other, keys))
    same = 0
    for key, errors in _trajectories(measurer, experiments, keys, chosen):
        match = known.get(key, np.empty(0))[: len(errors)]
        same += len(match) == len(errors) and bool(np.array_equal(match, errors))
    return same


def _trajectories(
    measurer: Measurer, experiments: Sequence[str], keys: Sequence[str], chosen: np.ndarray | None = None
) -> list[tuple]:
    """Keys and errors of each run of some experiments, or of the chosen ones among them (numbers of runs)."""
    rows = measurer.tables.rows("trajectories", experiments)
    if chosen is not None:
        rows = rows.keep(np.isin(rows.run, chosen))
    levels, errors = [rows.levels(name) for name in keys], rows["test_error"]
    return [(tuple(level[one[0]] for level in levels), errors[one]) for one in rows.by_run()]


@function("rows that repeat an earlier row: equal {keys} and equal errors")
def repeats(measurer: Measurer, node: Node, keys: Sequence[str]) -> int:
    """Rows of an experiment that are the same training written once more."""
    rows = measurer.select(node)
    columns = [rows.levels(name) for name in ("experiment", *keys)] + [rows["test_error"], rows["best_error"]]
    seen = list(zip(*columns, strict=True))
    return len(seen) - len(set(seen))


# Factors that tell grids of λ apart, beside the experiment and the noise rate.
_GRID = ("width_mult", "lr", "model", "method", "condition", "clean_ratio", "replicate")


@function("grids of λ by the place of their largest variance ({give})")
def variance_grids(measurer: Measurer, node: Node, give: Sequence[str], level: float = 0.05) -> list[int]:
    """Where the variance over seeds is largest, for each set of runs that differ in λ and seed only.

    ``all``: grids of three λ or more; ``last``, ``first``, ``inside``: their largest variance is at the last or first
    λ, or between; ``testable``: a Brown-Forsythe test of so many runs can find that the two largest variances differ
    (p below ``level``); ``alike``: of those, the grids in which it does not; ``dead_edge``: the largest variance is
    at the last λ but not if runs at exactly 0.9 are left out; ``capped``: it is inside, and more than half of the
    runs at the next λ are at exactly 0.9.
    """
    rows = measurer.select({**node, "where": {**node.get("where", {}), "lambda": {"above": 0}}})
    rows = rows.known(field_of(node))
    counts = dict.fromkeys(("all", "last", "first", "inside", "testable", "alike", "dead_edge", "capped"), 0)
    for places in rows.groups(("experiment", "noise_rate", *_GRID))[1]:
        grid = rows.keep(places)
        groups = [grid[field_of(node)][one] for one in grid.groups(("lambda",))[1]]
        variances = np.array([variance(group) for group in groups])
        if len(groups) < 3 or not variances.max():
            continue
        at = int(variances.argmax())
        place = "last" if at == len(groups) - 1 else "inside" if at else "first"
        counts["all"] += 1
        counts[place] += 1
        largest, second = (groups[i] for i in np.argsort(-variances)[:2])
        if smallest_p(len(largest), len(second)) < level:
            counts["testable"] += 1
            counts["alike"] += not brown_forsythe(largest, second) < level
        dead = [np.abs(group - TRAPPED) < 1e-9 for group in groups]
        if place == "last":
            alive = [group[~gone] for group, gone in zip(groups, dead, strict=True)]
            rest = np.array([variance(group) if len(group) > 1 else 0.0 for group in alive])
            counts["dead_edge"] += int(rest.argmax()) != at
        if place == "inside":
            counts["capped"] += 2 * int(dead[at + 1].sum()) > len(dead[at + 1])
    return [int(counts[word]) for word in give]


# ------------------------------------------------------------------------------------------------- trajectories


@function("runs with an error beyond {level} in {consecutive} evaluations in a row")
def sustained(measurer: Measurer, node: Node, level: float, consecutive: int, inclusive: bool = True) -> int:
    """Runs in which the collapse rule fires: at or above the level (not ``inclusive``: above), so often in a row."""
    rows = measurer.select(node)
    errors = rows[field_of(node)]
    hit = errors >= level if inclusive else errors > level
    return sum(bool(stays(hit[one], consecutive)) for one in rows.by_run())


@function("trajectories with {length} or more evaluations in a row at an error of exactly 0.9 ({give})")
def plateaus(
    measurer: Measurer, node: Node, length: int, give: Sequence[str], left: float = 0.85
) -> list[float]:
    """Stays in the trap.

    ``all``: trajectories with such a stay; ``left``: those with a later error below ``left``; ``ended``: those of
    them that also end below it; ``constant``: those left although λ never changes after the stay began; ``lowest``:
    the lowest error after a stay.
    """
    rows = measurer.select(node)
    errors, lams = rows[field_of(node)], rows.levels("lambda")
    counts = dict.fromkeys(("all", "left", "ended", "constant"), 0)
    lowest = math.inf
    for one in rows.by_run():
        error, lam = errors[one], lams[one]
        found = stays(np.abs(error - TRAPPED) < 1e-9, length)
        counts["all"] += bool(found)
        start, end = next((stay for stay in found if (error[stay[1] :] < left).any()), (0, 0))
        if end:
            counts["left"] += 1
            counts["ended"] += bool(error[-1] < left)
            counts["constant"] += bool((lam[start:] == lam[start]).all())
            lowest = min(lowest, float(error[end:].min()))
    if "lowest" in give and math.isinf(lowest):
        raise MissingError("no stay at 0.9 is left")
    return [{**counts, "lowest": lowest}[word] for word in give]


@function("first epoch with an error below {level}, averaged over the runs that have one")
def first_epoch(measurer: Measurer, node: Node, level: float) -> Any:
    """Mean over runs of the first epoch with an error below a level; by ``over``."""
    rows = measurer.select(node)
    hit = rows[field_of(node)] < level
    first = [one[hit[one]][0] for one in rows.by_run() if hit[one].any()]
    if not first:
        raise MissingError(f"no run is ever below {level:g}")
    chosen = rows.keep(np.array(first))
    if "over" not in node:
        return float(chosen["epoch"].mean())
    found, places = chosen.groups([node["over"]])
    return Series(found, [float(chosen["epoch"][one].mean()) for one in places])


@function("smallest λ that a rule of {consecutive} in a row can return on the ladder")
def rule_floor(measurer: Measurer, node: Node, consecutive: int) -> float:
    """The λ of the rung at which the rule can fire first."""
    rungs = np.unique(measurer.select(node).levels("lambda"))
    if len(rungs) < consecutive:
        raise MissingError(f"fewer than {consecutive} rungs")
    return float(rungs[consecutive - 1])


@function("largest |recorded - predicted norm| of the mixed gradient")
def mix_norm(measurer: Measurer, node: Node, normalised: bool) -> float:
    """Check g_mix = (1-λ) g_s + λ g_v, with unit-norm or raw gradients.

    Where the value gradient has just been refreshed, the logged cosine is that of the two gradients mixed.
    """
    rows = measurer.select(node)
    lam = rows["lambda"]
    s = (1 - lam) * (1.0 if normalised else rows["norm_struct"])
    v = lam * (1.0 if normalised else rows["norm_value"])
    norm = np.sqrt(np.maximum(s**2 + v**2 + 2 * s * v * rows["cos_struct_value"], 0.0))
    error = np.abs(norm - rows["norm_mix"])
    if not np.isfinite(error).any():
        raise MissingError("no logged norms")
    return float(np.nanmax(error))


# ------------------------------------------------------------------------------------------------- the release


@function(
    "share of the logged numbers ({columns}) that are single-precision numbers, how many, and of how many"
)
def single_precision(measurer: Measurer, node: Node, columns: Sequence[str]) -> list[float]:
    """Numbers logged from one step each that a 32-bit float holds exactly: of 64-bit ones next to none would be.

    Returns:
        Their share, their number, and the number of all.
    """
    rows = measurer.select({**node, "field": columns[0]})
    values = np.concatenate([rows.known(name)[name] for name in columns])
    if not len(values):
        raise MissingError(f"none of {', '.join(columns)}: {measurer.words_of(node)}")
    single = int((values.astype(np.float32) == values).sum())
    return [single / len(values), single, len(values)]


@function("pairs of runs with equal {keys} and the same result, and all pairs")
def same_results(measurer: Measurer, node: Node, between: Sequence[Node], keys: Sequence[str]) -> list[int]:
    """Pairs of one run of either sample: those with exactly the same value, and all."""
    first, second = (
        dict(zip(zip(*(rows.levels(key) for key in keys), strict=True), rows[field_of(node)], strict=True))
        for rows in _between(measurer, node, between)
    )
    pairs = first.keys() & second.keys()
    if not pairs:
        raise MissingError("no pairs of runs")
    return [sum(first[pair] == second[pair] for pair in pairs), len(pairs)]


@function("parameters of a ResNet-18 with a 3x3 stem and {classes} outputs, in millions")
def resnet18_parameters(measurer: Measurer, node: Node, classes: int) -> float:
    """Count the parameters from the layer shapes (He et al. 2016, 3x3 stem as for small images)."""
    total, inputs = 3 * 64 * 9 + 2 * 64, 64
    for width in (64, 128, 256, 512):
        for source in (inputs, width):
            total += 9 * source * width + 9 * width * width + 4 * width
            if source != width:  # shortcut: a 1x1 convolution and its normalisation
                total += source * width + 2 * width
        inputs = width
    return (total + inputs * classes + classes) / 1e6


@function("{keys} of the run specifications")
def protocol(measurer: Measurer, node: Node, keys: Sequence[str]) -> list[Any]:
    """Values of the run specifications (dotted keys) that all runs named share.

    Raises:
        MissingError: there is no census at hand, or the runs do not share one value.
    """
    runs = _specifications(measurer, node)
    measurer.select({**node, "field": "epochs"})
    answers: list[Any] = []
    for key in keys:
        found = {json.dumps(_dig(run, key)) for run in runs if _dig(run, key) is not None}
        if len(found) != 1:
            raise MissingError(f"runs differ in {key}: {', '.join(sorted(found))}")
        value = json.loads(found.pop())
        answers += value if isinstance(value, list) else [value]
    return answers


# Parts of a run specification that say how it trains, apart from its names and the calendar of its evaluations.
_SETTINGS = ("task", "noise", "value", "method", "renormalize", "optimizer")


@function("settings of the run specifications that differ between the two experiments")
def protocol_changes(measurer: Measurer, node: Node, but: Sequence[str]) -> int:
    """Number of settings that differ between the first runs of two experiments, apart from some (dotted keys)."""
    rows = measurer.select(node)
    wanted = {f"{a}/{b}" for a, b in zip(rows["experiment"], rows["run"], strict=True)}
    firsts: dict[str, dict[str, Any]] = {}
    for run in _specifications(measurer, node):
        if f"{run['experiment']}/{run['run']}" in wanted:
            firsts.setdefault(run["experiment"], dict(_leaves(run)))
    if len(firsts) != 2:
        raise MissingError("no run specifications of both")
    first, second = firsts.values()
    names = {name for name in first.keys() | second.keys() if name.split(".")[0] in _SETTINGS}
    return sum(first.get(name) != second.get(name) for name in names - set(but))


def _leaves(value: Any, path: str = "") -> list[tuple[str, Any]]:
    if not isinstance(value, Mapping):
        return [(path, value)]
    return [leaf for key, one in value.items() for leaf in _leaves(one, f"{path}.{key}".lstrip("."))]


def _specifications(measurer: Measurer, node: Node) -> list[Mapping[str, Any]]:
    if measurer.release is None:
        raise MissingError("no run specifications at hand")
    return measurer.release.specifications(measurer.resolved(node))


def _dig(value: Any, key: str) -> Any:
    for part in key.split("."):
        value = value[int(part)] if isinstance(value, list) else value[part]
    return value


@function("{keys} in the configuration files published with {experiments}")
def recorded_configuration(
    measurer: Measurer, node: Node, experiments: Sequence[str], keys: Sequence[str]
) -> list[Any]:
    """Values that the configuration files published beside the rows share."""
    found = _release(measurer).configurations(experiments)
    answers = []
    for key in keys:
        values = {one["parameters"][key] for one in found}
        if len(values) != 1:
            raise MissingError(f"the files differ in {key}")
        answers.append(values.pop())
    return answers


@function("result folders of the release among those listed")
def folders(measurer: Measurer, node: Node, names: Sequence[str]) -> list[int]:
    """How many of the listed result folders exist (time stamps ignored), and how many are listed."""
    return [_release(measurer).folders_found(names), len(names)]


@function("files of the release that match {patterns}")
def files(measurer: Measurer, node: Node, patterns: Sequence[str]) -> list[int]:
    """Number of files by pattern, in a complete clone of the release."""
    return [_release(measurer).count(pattern) for pattern in patterns]


@function("result files of the release that match {pattern}, and the rows in them")
def archived_rows(measurer: Measurer, node: Node, pattern: str) -> list[int]:
    """Number of result files (JSON lists) by pattern and of the rows that they hold together."""
    return list(_release(measurer).archived_rows(pattern))


@function("folders of the release among {names}")
def layout(measurer: Measurer, node: Node, names: Sequence[str]) -> int:
    """How many of the folders exist in a complete clone of the release."""
    return _release(measurer).layout(names)


@function("notebooks of the release ({names}) whose text matches {text}")
def notebooks(measurer: Measurer, node: Node, names: str, text: str) -> list[int]:
    """Notebooks whose text matches a regular expression, and all of them, in a complete clone of the release."""
    return list(_release(measurer).notebooks(names, text))


def _release(measurer: Measurer) -> Any:
    if measurer.release is None or measurer.tables.edition != "released":
        raise MissingError("this is about the published release, not about training")
    return measurer.release


@function("{give} of {quantity} in the statistic {name}")
def statistic(
    measurer: Measurer,
    node: Node,
    name: str,
    quantity: str,
    level: Mapping[str, Any] | None = None,
    give: Sequence[str] = ("value",),
) -> list[float]:
    """Columns of the rows of a statistic that have these levels (null: none); only rows with a value count.

    Raises:
        MissingError: there is no such row.
        ValueError: there is no such statistic, quantity or level.
    """
    from dualgrad.statistics import build

    known = build.module(name).QUANTITIES
    if quantity not in known:
        raise ValueError(f"the statistic {name} has no quantity '{quantity}'{did_you_mean(quantity, known)}")
    rows = measurer.tables.statistic(name)
    for key in level or {}:
        if key not in rows:
            raise ValueError(f"the statistic {name} has no column '{key}'{did_you_mean(key, rows)}")
    rows = rows[(rows["quantity"] == quantity) & rows["value"].notna()]
    for key, wanted in (level or {}).items():
        column = rows[key]
        if wanted is None:
            kept = column.isna()
        elif isinstance(wanted, str):
            kept = column == wanted
        else:
            kept = (column.astype(float) - wanted).abs() < 1e-9
        rows = rows[kept.to_numpy(dtype=bool)]
    if rows.empty:
        raise MissingError(f"no {quantity} in the statistic {name}")
    return [float(value) for _, row in rows.iterrows() for value in row[list(give)]]


# ------------------------------------------------------------------------------------------------- about the ledger


@function("printed spreads, by whether they divide by n or n - 1 ({give})")
def printed_spreads(measurer: Measurer, node: Node, of: Sequence[Node], give: Sequence[str]) -> list[int]:
    """How the spreads printed in other claims were divided.

    ``of`` lists claims (``claim``, and ``part`` where the spread is one of several numbers). ``population`` and
    ``sample`` match with n and with n - 1, ``sample_only`` with n - 1 alone, ``neither`` with none; ``all`` of them.
    """
    counts = dict.fromkeys(("population", "sample", "sample_only", "neither"), 0)
    for one in of:
        claim = measurer.results[one["claim"]].claim
        measure, printed = claim.measure, claim.printed
        if "parts" in measure:
            part = one.get("part", 0)
            measure, printed = parts_of(measure)[part], printed[part]
        hits = []
        for suffix in ("", "1"):
            value = measurer.measure({**measure, "statistic": measure["statistic"] + suffix})[0]
            hits.append(value is not None and by_rounding([value], [printed], claim.step) == REPRODUCED)
        counts["population"] += hits[0]
        counts["sample"] += hits[1]
        counts["sample_only"] += hits[1] and not hits[0]
        counts["neither"] += not any(hits)
    return [{**counts, "all": len(of)}[word] for word in give]


@function("variance over seeds: the largest along λ over that at the λ of the lowest mean")
def variance_ratio(measurer: Measurer, node: Node) -> float:
    """Largest variance between seeds over the variance where the mean error is lowest."""
    groups = measurer.cells({**node, "over": "lambda"})[1]
    lowest = variance(groups[int(np.argmin([group.mean() for group in groups]))])
    if not lowest:
        raise MissingError(f"no spread where the mean is lowest: {measurer.words_of(node)}")
    return max(map(variance, groups)) / lowest


@function("claims by kind ({give})")
def composition(measurer: Measurer, node: Node, give: Sequence[str]) -> list[int]:
    """How many claims print a number and how many are statements, and how many of each are reproduced."""
    from dualgrad.claims.evaluate import composition_of

    found = composition_of(measurer.results.values())
    return [found[word] for word in give]


@function("verdicts of other claims ({give})")
def verdicts_of(
    measurer: Measurer,
    node: Node,
    document: str | None = None,
    ids: Sequence[str] = (),
    but: Sequence[str] = (),
    give: Sequence[str] = (REPRODUCED, "all"),
) -> list[int]:
    """Verdicts of claims by name, or of a document's but some: how many are of a kind, and how many there are."""
    chosen = [
        result.verdict
        for name, result in measurer.results.items()
        if (name in ids if ids else document in (None, *result.claim.documents) and name not in but)
    ]
    if not chosen:
        raise MissingError(f"no claim of {document or 'any document'} has been measured")
    return [len(chosen) if word == "all" else chosen.count(word) for word in give]
