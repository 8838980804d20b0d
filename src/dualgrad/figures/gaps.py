"""The two-branch and loop gaps, which Figures 2, 4 and 5 print.

Gap at a lambda: mean error of the high branch minus mean error of the low branch (two-branch sweeps: H - L; loops:
up - down).
Source: figure specification, Figure 2 b-c and the notes of Figures 4d and 5c.
"""

from __future__ import annotations

import math

import pandas as pd

from dualgrad.figures import frames as f
from dualgrad.figures.frames import Tables
from dualgrad.statistics.sources import TWO_BRANCH

# Published epochs per lambda -> experiment of the loop.
VISION_LOOPS = {1: "R1a", 5: "R1b"}


def hold(tables: Tables, experiment: str, published: int) -> int:
    """Epochs per lambda of an experiment in this edition."""
    values = tables.runs(experiment)["hold_epochs"].dropna()
    return int(values.iloc[0]) if len(values) else published


def sweep_rows(
    tables: Tables, published_hold: int, seeds: set[float] | None = None
) -> dict[str, pd.DataFrame]:
    """Evaluations of the L and the H sweep at one hold time."""
    found = {}
    for branch, experiment in zip("LH", TWO_BRANCH[published_hold], strict=True):
        name = "ordered" if branch == "L" else "collapse"
        frame = tables.trajectories(experiment, stage="sweep", branch=name)
        found[branch] = frame if seeds is None else frame[frame["seed"].isin(seeds)]
    return found


def matched_seeds(tables: Tables) -> set[float]:
    """Seeds that every sweep has, on both branches and at all hold times."""
    sets = [set(rows["seed"].dropna()) for hold_ in TWO_BRANCH for rows in sweep_rows(tables, hold_).values()]
    filled = [one for one in sets if one]
    return set.intersection(*filled) if filled else set()


def sweep_means(tables: Tables, published_hold: int) -> dict[str, pd.DataFrame]:
    """Mean curves of the two branches. Audited: over the seeds that all sweeps share."""
    seeds = matched_seeds(tables) if tables.audited else None
    rows = sweep_rows(tables, published_hold, seeds)
    return {branch: f.summary(frame, "test_error", branch, x="lam") for branch, frame in rows.items()}


def loop_means(tables: Tables, experiment: str) -> dict[str, pd.DataFrame]:
    """Mean curves of the up and the down sweep of a loop."""
    rows = tables.trajectories(experiment, stage="loop")
    return {
        way: f.summary(rows[rows["direction"] == way], "test_error", way, x="lam") for way in ("up", "down")
    }


def two_branch_gaps(tables: Tables, published_hold: int) -> pd.DataFrame:
    """H - L over the lambda grid."""
    means = sweep_means(tables, published_hold)
    return f.difference(means["H"], means["L"])


def loop_gaps(tables: Tables, experiment: str) -> pd.DataFrame:
    """Up - down at the lambdas that both sweeps visit."""
    means = loop_means(tables, experiment)
    return f.difference(means["up"], means["down"])


def maxima(tables: Tables) -> pd.DataFrame:
    """Largest gap per hold time in percentage points: Figure 2c's points. ``label`` is the lambda of the maximum."""
    parts = []
    for published, experiment in VISION_LOOPS.items():
        where, size = f.largest(loop_gaps(tables, experiment))
        parts.append(_point("Dynamic sweep", hold(tables, experiment, published), where, size))
    for published, (_, high) in TWO_BRANCH.items():
        where, size = f.largest(two_branch_gaps(tables, published))
        parts.append(_point("Two-branch", hold(tables, high, published), where, size))
    return f.panel(*parts)


def _point(series: str, hold_epochs: int, where: float, size: float) -> pd.DataFrame | None:
    if not f.known(where, size):
        return None
    return f.rows("mean", series, x=float(hold_epochs), y=100 * size, label=f"{where:g}")


def range_text(points: pd.DataFrame) -> tuple[float, float]:
    """Smallest and largest of the gaps given (percentage points)."""
    values = points["y"].dropna()
    return (float(values.min()), float(values.max())) if len(values) else (math.nan, math.nan)
