"""Controls: what the published census cannot tell apart, answered from experiments that vary one thing alone.

Each control is an experiment of ``config/census/controls.yaml`` and a function here that reads its runs and says what
they come to. What is said is computed; ``docs/controls.md`` is the answer of the edition demo.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import stats

from dualgrad.estimators.bootstrap import LEVEL, exact_bounds
from dualgrad.estimators.scan import Estimate, difference
from dualgrad.outcomes.conditions import Condition, runs_of, summarise
from dualgrad.outcomes.scans import choices
from dualgrad.outcomes.words import advised, with_ends
from dualgrad.pages import render
from dualgrad.project import controls_of

if TYPE_CHECKING:
    from dualgrad.census import Census

Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Answer:
    """What a control comes to.

    Attributes:
        question: the experiment's title.
        background: its notes: what the census leaves open.
        by: factors of the table.
        of: what its numbers are.
        conditions: its lines.
        cost: what it takes at published scale, as planned; empty where it cannot be.
        sentences: the answer, each with its numbers.
    """

    question: str
    background: list[str]
    by: list[str]
    of: str
    conditions: list[Condition]
    cost: str = ""
    sentences: list[str] = field(default_factory=list)


def rerun_share(groups: Sequence[Sequence[float]]) -> tuple[float, float, float]:
    """Return the share of the variance between runs that appears at an identical seed, with its interval.

    One-way random effects over equally many runs of each seed; the interval follows from the F distribution of the
    ratio of mean squares and is exact for normal errors (Searle, Casella and McCulloch, Variance Components, 1992,
    section 3.6).

    Raises:
        ValueError: one seed alone, or groups that are not of one size.
    """
    if len(groups) < 2 or len({len(group) for group in groups}) != 1:
        raise ValueError("expected two seeds or more, with equally many runs of each")
    data = np.asarray(groups, dtype=float)
    seeds, each = data.shape
    between = each * data.mean(axis=1).var(ddof=1)
    within = data.var(axis=1, ddof=1).mean()
    if within == 0:
        return 0.0, 0.0, 0.0 if between else 1.0
    ratio, freedom = between / within, (seeds - 1, seeds * (each - 1))
    ends = [stats.f.ppf((1 + sign * LEVEL) / 2, *freedom) for sign in (1, -1)]
    low, high = (max(0.0, (ratio / end - 1) / each) for end in ends)
    share = max(0.0, (ratio - 1) / each)
    return float(1 / (1 + share)), float(1 / (1 + high)), float(1 / (1 + low))


def _values(rows: Rows, of: str = "test_error", **levels: Any) -> list[float]:
    return [row[of] for row in rows if row[of] is not None and all(row[k] == v for k, v in levels.items())]


def _levels(rows: Rows, name: str) -> list[Any]:
    return sorted({row[name] for row in rows})


def _apart(first: Sequence[float], second: Sequence[float]) -> Estimate:
    """Mean(first) - mean(second) with Welch's interval; two values or more on each side."""
    return difference(np.asarray(first, dtype=float), np.asarray(second, dtype=float), paired=False)


def _verdict(apart: Estimate) -> str:
    assert apart.low is not None and apart.high is not None
    return "rises" if apart.low > 0 else "falls" if apart.high < 0 else "shows no detectable change"


def _along(rows: Rows, lams: list[float], where: str, **levels: Any) -> list[str]:
    """What the error does from the lowest to the highest λ; nothing where an end has fewer than two runs."""
    sides = [_values(rows, **(levels | {"lambda": lam})) for lam in (lams[-1], lams[0])]
    if min(map(len, sides)) < 2:
        return []
    apart = _apart(*sides)
    return [
        f"{where}: from λ = {lams[0]:g} to {lams[-1]:g} the error {_verdict(apart)}: "
        f"{with_ends(apart, '+.3f')}, n = {len(sides[0])} and {len(sides[1])}."
    ]


def _period(rows: Rows) -> list[str]:
    found = []
    lams = _levels(rows, "lambda")
    for rate in _levels(rows, "noise_rate"):
        for period in _levels(rows, "period"):
            found += _along(rows, lams, f"η = {rate:g}, K = {period}", period=period, noise_rate=rate)
    return found


def _rerun(rows: Rows) -> list[str]:
    found = []
    for lam in _levels(rows, "lambda"):
        groups = [_values(rows, seed=seed, **{"lambda": lam}) for seed in _levels(rows, "seed")]
        if len(groups) < 2 or len({len(group) for group in groups}) != 1 or len(groups[0]) < 2:
            continue
        share, low, high = rerun_share(groups)
        widest = max(max(group) - min(group) for group in groups)
        found.append(
            f"λ = {lam:g}: {100 * share:.0f} % [{100 * low:.0f}, {100 * high:.0f}] of the variance between runs "
            f"appears at an identical seed ({len(groups)} seeds, {len(groups[0])} runs each); runs of one seed lie "
            f"up to {100 * widest:.0f} points apart."
        )
    return found


def _quench(rows: Rows) -> list[str]:
    words = {
        "jump46": "λ to 0.46, rate kept",
        "jump46_drop": "λ to 0.46, rate dropped (as T1a)",
        "jump54": "λ to 0.54, rate kept",
        "jump54_drop": "λ to 0.54, rate dropped (as T13)",
        "stay": "neither",
        "stay_drop": "λ kept, rate dropped",
    }
    found = []
    for arm, said in words.items():
        mine = [row for row in rows if row["arm"] == arm and row["status"] != "gate_failed"]
        ends = [row for row in mine if row["event"]]
        bounds = exact_bounds(len(ends), len(mine))
        if bounds is not None:
            found.append(
                f"{said}: {len(ends)} of {len(mine)} networks collapse within 150 epochs "
                f"({100 * len(ends) / len(mine):.0f} % [{100 * bounds[0]:.0f}, {100 * bounds[1]:.0f}])."
            )
    return found


def _trusted(rows: Rows) -> list[str]:
    found = []
    for period in _levels(rows, "period"):
        for lam in _levels(rows, "lambda"):
            oracle = _values(rows, signal="oracle", period=period, **{"lambda": lam})
            for signal in ("trusted10", "trusted05"):
                own = _values(rows, signal=signal, period=period, **{"lambda": lam})
                if min(len(own), len(oracle)) < 2:
                    continue
                apart = with_ends(_apart(own, oracle), "+.3f")
                share = signal.removeprefix("trusted").lstrip("0")
                found.append(
                    f"K = {period}, λ = {lam:g}: with {share} % trusted examples the error differs from the oracle's "
                    f"{np.mean(oracle):.3f} by {apart}, n = {len(own)} and {len(oracle)}."
                )
    return found


def _validation(rows: Rows) -> list[str]:
    return [advised(one) for one in choices(rows, ["lambda", "noise_rate"])]


def _combination(rows: Rows) -> list[str]:
    """What a stale gradient costs each combination, and what a large λ does where there is one."""
    found = []
    for rate in _levels(rows, "noise_rate"):
        for name in dict.fromkeys(row["combination"] for row in rows):
            mine = [row for row in rows if row["combination"] == name and row["noise_rate"] == rate]
            lams = _levels(mine, "lambda")
            stale, sizes = [], []
            for lam in lams:
                sides = [_values(mine, period=period, **{"lambda": lam}) for period in (16, 1)]
                if min(map(len, sides)) > 1:
                    where = f" at λ = {lam:g}" if len(lams) > 1 else ""
                    stale.append(f"{with_ends(_apart(*sides), '+.3f')}{where}")
                    sizes.append(f"n = {len(sides[0])} and {len(sides[1])}")
            if len(set(sizes)) > 1:
                stale = [f"{text} ({n})" for text, n in zip(stale, sizes, strict=True)]
            if stale:
                counted = f"; {sizes[0]}" if len(set(sizes)) == 1 else ""
                found.append(
                    f"η = {rate:g}, {name}: K = 16 changes the error of K = 1 by {', '.join(stale)}{counted}."
                )
            for period in _levels(mine, "period") if len(lams) > 1 else ():
                found += _along(mine, lams, f"η = {rate:g}, {name}, K = {period}", period=period)
    return found


def _labels(rows: Rows) -> list[str]:
    found = []
    for network in dict.fromkeys(row.get("network") for row in rows):
        mine = [row for row in rows if row.get("network") == network]
        where = f"{network}, " if network else ""
        for kind in dict.fromkeys(row["labels"] for row in mine if row["labels"] != "symmetric"):
            for lam in _levels(mine, "lambda"):
                sides = [_values(mine, labels=one, **{"lambda": lam}) for one in (kind, "symmetric")]
                if min(map(len, sides)) > 1:
                    apart = with_ends(_apart(*sides), "+.3f")
                    found.append(
                        f"{where}λ = {lam:g}: with {kind} noise the error differs from symmetric noise's "
                        f"{np.mean(sides[1]):.3f} by {apart}, n = {len(sides[0])} and {len(sides[1])}."
                    )
    return found


ANSWERS: dict[str, tuple[list[str], Callable[[Rows], list[str]]]] = {
    "Control-period": (["noise_rate", "period", "lambda"], _period),
    "Control-rerun": (["lambda", "seed"], _rerun),
    "Control-quench": (["arm"], _quench),
    "Control-trusted": (["period", "signal", "lambda"], _trusted),
    "Control-validation": (["noise_rate", "lambda"], _validation),
    "Control-combination": (["noise_rate", "combination", "period", "lambda"], _combination),
    "Control-labels": (["labels", "lambda"], _labels),
    "Control-human": (["network", "labels", "lambda"], _labels),
}


# Controls that are answered beside the runs of others, and the factor levels that those have without saying so.
BESIDE = {"Control-human": {"Control-labels": {"network": "ResNet18"}}}


def answer(census: Census, edition_dir: Path) -> dict[str, Answer]:
    """Answer all controls from the runs of an edition.

    Raises:
        InputError: a control has not been made.
        TableError, RecordError: what there is cannot be read.
    """
    found = {}
    planned = costs(census.root, ANSWERS)
    possible = controls_of(census)
    for name, (by, say) in ANSWERS.items():
        experiment = census.experiment(name)
        asked: dict[str, dict[str, str]] = {name: {}, **BESIDE.get(name, {})} if name in possible else {}
        rows = [{**row, **known} for one, known in asked.items() for row in runs_of(census, one, edition_dir)]
        found[name] = Answer(
            question=experiment["title"],
            background=list(experiment["notes"]),
            by=by,
            of="test_error",
            conditions=summarise(rows, by) if rows else [],
            cost=planned[name],
            sentences=say(rows) if rows else [f"Not asked of the edition {census.edition['name']}."],
        )
    return found


def costs(root: Path, names: Iterable[str]) -> dict[str, str]:
    """Return what controls take at published scale, by ``dualgrad plan`` without records."""
    from dualgrad.planning.plan import make_plan
    from dualgrad.planning.recorded import Recorded
    from dualgrad.project import load_project

    hours: dict[str, list[float]] = {name: [] for name in names}
    for precision in ("published", "float64"):
        census = load_project(root, {"edition": "paper", "precision": precision}).census
        for name, taken in hours.items():
            plan = make_plan(census, census.experiment(name)["runs"], "cuda", Recorded())
            taken.append(plan.total()[1] / 3600)
    return {
        name: f"{published:,.0f} hours of an A100 at the published precision, {double:,.0f} in float64"
        for name, (published, double) in hours.items()
    }


def plain(answers: Mapping[str, Answer], edition: str) -> dict[str, Any]:
    """Return the answers as JSON types."""
    return {"edition": edition, "controls": {name: asdict(one) for name, one in answers.items()}}


def markdown(data: Mapping[str, Any]) -> str:
    """Return the page of what :func:`plain` returned."""
    values = {"level": LEVEL, "shown": _shown, "interval": _interval, **data}
    periods = _periods(data["controls"].get("Control-period"))
    return render(Path(__file__).parent / "controls.md", periods=periods, **values).rstrip("\n") + "\n"


def _periods(one: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """The period's control in short, by noise rate: a row for each K, a column for each λ."""
    if one is None:
        return []
    cells = {
        tuple(condition["levels"][word] for word in ("noise_rate", "period", "lambda")): condition
        for condition in one["conditions"]
    }
    rates, periods, lams = (sorted({key[place] for key in cells}) for place in range(3))
    found = []
    for rate in rates:
        grid = {period: [cells.get((rate, period, lam)) for lam in lams] for period in periods}
        rows = {
            period: ["–" if cell is None else f"{_shown(cell['mean'])} [{_interval(cell)}]" for cell in row]
            for period, row in grid.items()
        }
        n = sorted({cell["n"] for row in grid.values() for cell in row if cell is not None})
        found.append({"rate": rate, "n": n, "lams": lams, "rows": rows})
    return found


def _interval(condition: Mapping[str, Any], between: str = ", ") -> str:
    ends = [condition["low"], condition["high"]]
    return "–" if None in ends else f"{ends[0]:.3f}{between}{ends[1]:.3f}"


def _shown(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
