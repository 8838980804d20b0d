"""Outcomes of an experiment by its factors: number of runs, mean, standard deviation and interval of the mean."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dualgrad.estimators.bootstrap import t_bounds
from dualgrad.validation import InputError, did_you_mean

if TYPE_CHECKING:
    import pandas as pd

    from dualgrad.census import Census

# Factors that repeat a condition rather than make one.
REPEATS = ("seed", "replicate")


@dataclass(frozen=True)
class Condition:
    """Runs with equal levels of the factors that were asked for.

    Attributes:
        levels: factor -> level.
        n: number of runs with a value.
        mean: their mean; None where there is none.
        sd: their standard deviation with n - 1; None below two.
        low, high: ends of Student's interval of the mean, at ``dualgrad.estimators.bootstrap.LEVEL``; None below two.
    """

    levels: dict[str, Any]
    n: int
    mean: float | None
    sd: float | None
    low: float | None
    high: float | None


def runs_of(census: Census, name: str, edition_dir: Path) -> list[dict[str, Any]]:
    """Return the runs of an experiment that have been made: factors and outcomes, from its table or its records.

    Raises:
        InputError: there is no such experiment, or nothing of it has been made.
        TableError, RecordError: what there is cannot be read.
    """
    from dualgrad.tables.build import experiment_tables
    from dualgrad.tables.read import part_path, read_tables, to_frame

    experiment = census.experiment(name)
    edition = census.edition["name"]
    part = part_path(edition_dir / "tables" / "parts", name, "runs")
    records = [edition_dir / "runs" / f"{target}.json" for target in experiment["runs"]]
    made = [path for path in records if path.is_file()]
    if part.is_file() and not any(path.stat().st_mtime_ns > part.stat().st_mtime_ns for path in made):
        frame = read_tables(edition_dir, [name], "runs")
    elif made:
        there = [census.runs[f"{name}/{path.stem}"] for path in made]
        frame = to_frame(experiment_tables(there, edition_dir / "runs" / name, edition).arrow("runs"))
    else:
        target = (part.parent / "runs.parquet").absolute()
        if target.is_relative_to(root := census.root.absolute()):  # as the workflow calls it
            target = target.relative_to(root)
        problem = f"nothing of it has been made; make it: snakemake {target} --cores all"
        raise InputError("", name, problem)
    return with_factors(frame)


def with_factors(runs: pd.DataFrame) -> list[dict[str, Any]]:
    """Return rows of the table ``runs``, each with its factors by name; None where a cell is empty."""
    rows = runs.astype(object).where(runs.notna(), None).to_dict("records")
    return [{**row, **json.loads(row["factors"] or "{}")} for row in rows]


def factors_of(census: Census, name: str) -> list[str]:
    """Return the factors with several levels that make conditions, in the census's order."""
    runs = [census.runs[target]["factors"] for target in census.experiment(name)["runs"]]
    return varying(runs, (factor for run in runs for factor in run))


def varying(runs: Sequence[Mapping[str, Any]], factors: Iterable[str]) -> list[str]:
    """Return those factors, each once, that have several levels in some runs and make conditions."""
    names = (name for name in dict.fromkeys(factors) if name not in REPEATS)
    return [name for name in names if len({repr(run.get(name)) for run in runs}) > 1]


def summarise(
    rows: Sequence[Mapping[str, Any]], by: Sequence[str], of: str = "test_error"
) -> list[Condition]:
    """Return a condition for each combination of levels that occurs, ordered by level.

    Raises:
        InputError: no run has such a factor or such an outcome.
    """
    known = {key for row in rows for key in row}
    for name in (*by, of):
        if name not in known:
            where = "--of" if name == of else "--by"
            raise InputError("", f"{where} {name}", f"no run here has this column{did_you_mean(name, known)}")
    groups: dict[tuple, list[float]] = {}
    for row in rows:
        value = row[of]
        if value is not None and not isinstance(value, (int, float, bool)):
            raise InputError("", f"--of {of}", f"expected a column of numbers; {row['run']} has '{value}'")
        own = groups.setdefault(tuple(row.get(name) for name in by), [])
        if value is not None:
            own.append(float(value))

    ordered = sorted(groups, key=place)
    return [_condition(dict(zip(by, levels, strict=True)), groups[levels]) for levels in ordered]


def place(levels: tuple[Any, ...]) -> list[tuple[Any, ...]]:
    """Return what levels are sorted by: numbers, words, none."""
    return [(level is None, isinstance(level, str), level or 0) for level in levels]


def _condition(levels: dict[str, Any], values: list[float]) -> Condition:
    if not values:
        return Condition(levels, 0, None, None, None, None)
    bounds, _ = t_bounds(values)
    sd = float(np.std(values, ddof=1)) if len(values) > 1 else None
    low, high = (bounds[0], bounds[1]) if bounds else (None, None)
    return Condition(levels, len(values), float(np.mean(values)), sd, low, high)
