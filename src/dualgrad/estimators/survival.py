"""Times until an event, some of them censored: the Kaplan-Meier curve and what is read off it; stretches of hits."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from scipy import stats

from dualgrad.estimators import bootstrap


@dataclass(frozen=True)
class Survival:
    """A Kaplan-Meier curve: at each time, the share not yet hit, and its 95 % interval (log-log).

    Attributes:
        time: times at which something happened, (times,) ascending.
        share: S after each time, (times,).
        low, high: interval of S; S itself where S is 0 or 1, (times,).
    """

    time: np.ndarray
    share: np.ndarray
    low: np.ndarray
    high: np.ndarray


def kaplan_meier(time: np.ndarray, event: np.ndarray) -> Survival:
    """Return the survival curve of runs.

    Args:
        time: time of the event, or of the end of observation, (runs,).
        event: whether the event happened there, (runs,); the others are censored.

    Raises:
        ValueError: no runs.
    """
    if len(time) == 0:
        raise ValueError("no runs: there is no survival curve")
    data = stats.CensoredData(uncensored=time[event], right=time[~event])
    with warnings.catch_warnings(), np.errstate(divide="ignore", invalid="ignore"):
        warnings.simplefilter("ignore")  # log-log of 0 and 1 where all or none have the event
        curve = stats.ecdf(data).sf
        bounds = curve.confidence_interval(method="log-log")
    share = curve.probabilities
    inside = (share > 0) & (share < 1)  # the interval is not defined elsewhere: there is no spread
    low, high = (np.where(inside, side.probabilities, share) for side in (bounds.low, bounds.high))
    return Survival(curve.quantiles, share, low, high)


def settled(time: np.ndarray, event: np.ndarray) -> np.ndarray:
    """Return which runs had the event or were observed for as long as any was, (runs,).

    Of the others, which ended before (they diverged), nobody knows whether they would have had it: a plain share
    leaves them out, a Kaplan-Meier curve counts them for as long as they were seen.
    """
    return event | (time == time.max()) if len(time) else event


def ladder_median(
    rung: np.ndarray, event: np.ndarray, ladder: np.ndarray
) -> tuple[float, bootstrap.Bounds | None, tuple[float, bootstrap.Bounds | None]]:
    """Return the median λ of an event on a ladder and the share beyond the ladder, each with its interval.

    Args:
        rung: 1-based rung of the event, or of the end of observation.
        event: whether the event happened there.
        ladder: λ of the rungs.

    Returns:
        (median, bounds, (survival, bounds)); the median is NaN where S never falls to one half; ends of intervals
        beyond the ladder are infinite (open).
    """
    how = "Kaplan-Meier"
    curve = kaplan_meier(np.asarray(rung, dtype=float), event)
    beyond = float(curve.share[-1])
    end = np.array([curve.low[-1], curve.high[-1]])
    median = _half(curve.time, curve.share)
    ends = [_half(curve.time, side) for side in (curve.low, curve.high)]

    def place(position: float) -> float:
        return float(ladder[int(position) - 1]) if np.isfinite(position) else np.inf

    bounds: bootstrap.Bounds | None = None
    if np.isfinite(median):
        low, high = sorted(place(position) for position in ends)
        if ladder[-1] < ladder[0] and np.isinf(high):  # descending: beyond the ladder is below it
            low, high = -np.inf, low
        bounds = (low, high, how)
    share: bootstrap.Bounds | None = (
        None if np.isnan(end).any() else (float(end.min()), float(end.max()), how)
    )
    if beyond in (0.0, 1.0) or share is None:
        # log-log intervals do not exist there; exact ones do, of the runs that are known up to the end.
        known = int(settled(np.asarray(rung, dtype=float), event).sum())
        share = bootstrap.exact_bounds(int(round(beyond * known)), known)
    return (place(median) if np.isfinite(median) else np.nan), bounds, (beyond, share)


def _half(time: np.ndarray, share: np.ndarray) -> float:
    """First time at which a survival curve is down to one half; inf where it never is."""
    down = time[share <= 0.5 + 1e-9]
    return float(down[0]) if len(down) else np.inf


def stays(hits: np.ndarray, length: int) -> list[tuple[int, int]]:
    """Return the stretches (start, end) of hits that are at least so long; ``end`` is the first place after."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], hits, [False]]).astype(int)))
    return [(int(a), int(b)) for a, b in edges.reshape(-1, 2) if b - a >= length]
