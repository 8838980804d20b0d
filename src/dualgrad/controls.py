"""Controls: what the published census cannot tell apart, answered from experiments that vary one thing alone.

Each control is an experiment of ``config/census/controls.yaml`` and a function here that reads its runs and says what
they come to. What is said is computed; ``docs/controls.md`` is the answer of the edition demo.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import stats

from dualgrad.estimators.bootstrap import LEVEL, exact_bounds
from dualgrad.outcomes import Condition, runs_of, summarise
from dualgrad.pages import in_markdown

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
        sentences: the answer, each with its numbers.
    """

    question: str
    background: list[str]
    by: list[str]
    of: str
    conditions: list[Condition]
    sentences: list[str] = field(default_factory=list)


def difference(first: Sequence[float], second: Sequence[float]) -> tuple[float, float, float]:
    """Return mean(first) - mean(second) with Welch's interval; without width where neither side varies."""
    a, b = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    apart = float(a.mean() - b.mean())
    parts = [one.var(ddof=1) / len(one) for one in (a, b)]
    error = math.sqrt(sum(parts))
    if error == 0:
        return apart, apart, apart
    freedom = sum(parts) ** 2 / sum(
        part**2 / (len(one) - 1) for part, one in zip(parts, (a, b), strict=True) if part
    )
    half = float(stats.t.ppf((1 + LEVEL) / 2, freedom)) * error
    return apart, apart - half, apart + half


def rerun_share(groups: Sequence[Sequence[float]]) -> tuple[float, float, float]:
    """Return the share of the variance between runs that appears at an identical seed, with its exact interval.

    One-way random effects over equally many runs of each seed; the interval follows from the F distribution of the
    ratio of mean squares (Searle, Casella and McCulloch, Variance Components, 1992, section 3.6).

    Raises:
        ValueError: the groups are not of one size.
    """
    if len({len(group) for group in groups}) != 1:
        raise ValueError("expected equally many runs of each seed")
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


def _ends(apart: float, low: float, high: float) -> str:
    return f"{apart:+.3f} [{low:+.3f}, {high:+.3f}]"


def _period(rows: Rows) -> list[str]:
    found = []
    lams = _levels(rows, "lambda")
    for rate in _levels(rows, "noise_rate"):
        for period in _levels(rows, "period"):
            sides = [
                _values(rows, period=period, noise_rate=rate, **{"lambda": lam})
                for lam in (lams[-1], lams[0])
            ]
            if min(map(len, sides)) < 2:
                continue
            apart, low, high = difference(*sides)
            verdict = "rises" if low > 0 else "falls" if high < 0 else "is not told apart"
            found.append(
                f"η = {rate:g}, K = {period}: from λ = {lams[0]:g} to {lams[-1]:g} the error {verdict}: "
                f"{_ends(apart, low, high)}, n = {len(sides[0])} and {len(sides[1])}."
            )
    return found


def _rerun(rows: Rows) -> list[str]:
    found = []
    for lam in _levels(rows, "lambda"):
        groups = [_values(rows, seed=seed, **{"lambda": lam}) for seed in _levels(rows, "seed")]
        if len({len(group) for group in groups}) != 1 or len(groups[0]) < 2:
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
                apart = difference(own, oracle)
                share = signal.removeprefix("trusted").lstrip("0")
                found.append(
                    f"K = {period}, λ = {lam:g}: with {share} % trusted examples the error differs from the oracle's "
                    f"{np.mean(oracle):.3f} by {_ends(*apart)}, n = {len(own)} and {len(oracle)}."
                )
    return found


ANSWERS: dict[str, tuple[list[str], Callable[[Rows], list[str]]]] = {
    "Control-period": (["noise_rate", "period", "lambda"], _period),
    "Control-rerun": (["lambda", "seed"], _rerun),
    "Control-quench": (["arm"], _quench),
    "Control-trusted": (["period", "signal", "lambda"], _trusted),
}


def answer(census: Census, edition_dir: Path) -> dict[str, Answer]:
    """Answer all controls from the runs of an edition.

    Raises:
        InputError: a control has not been made.
        TableError, RecordError: what there is cannot be read.
    """
    found = {}
    for name, (by, say) in ANSWERS.items():
        experiment = census.experiment(name)
        rows = runs_of(census, name, edition_dir)
        found[name] = Answer(
            experiment["title"], list(experiment["notes"]), by, "test_error", summarise(rows, by), say(rows)
        )
    return found


def plain(answers: Mapping[str, Answer], edition: str) -> dict[str, Any]:
    """Return the answers as JSON types."""
    return {"edition": edition, "controls": {name: asdict(one) for name, one in answers.items()}}


def markdown(data: Mapping[str, Any]) -> str:
    """Return the page of what :func:`plain` returned."""
    lines = [
        "# Controls",
        "",
        "What the published census cannot tell apart, because it never varies the one without the other: a question "
        "each, the experiment that varies one thing alone, and what comes of it in the edition "
        f"`{data['edition']}`. A miniature shows what can happen, not what happened; the same experiments run at "
        "full scale with `--config edition=paper`. None of them is counted among the 3,916 runs. Made by `snakemake "
        "controls`; intervals are Student's for a mean, Welch's for a difference, Clopper-Pearson's for a share, "
        f"exact (F distribution) for a share of variance, at {100 * LEVEL:g} %.",
        "",
    ]
    for name, one in data["controls"].items():
        lines += [f"## {one['question']}", "", f"Experiment `{name}`.", ""]
        lines += [" ".join(note.split()) for note in one["background"]] + [""]
        lines += [f"- {sentence}" for sentence in one["sentences"]] + [""]
        head = [*(word.replace("_", " ") for word in one["by"]), "n", "mean test error", "sd", "interval"]
        lines += [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
        for condition in one["conditions"]:
            cells = [f"{condition['levels'][word]}" for word in one["by"]]
            cells += [f"{condition['n']}", *(_shown(condition[key]) for key in ("mean", "sd"))]
            ends = [condition["low"], condition["high"]]
            cells.append("–" if None in ends else f"{ends[0]:.3f} to {ends[1]:.3f}")
            lines.append(f"| {' | '.join(cells)} |")
        lines.append("")
    return in_markdown("\n".join(lines))


def _shown(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
