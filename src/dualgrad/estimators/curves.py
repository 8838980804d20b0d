"""What is read off curves against λ: crossings, steepest steps, fitted sigmoids.

All functions take means as (replicates, λ) and handle all replicates at once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import expit


def last_crossing(lam: np.ndarray, values: np.ndarray, level: float | np.ndarray | None) -> np.ndarray:
    """Return where curves cross a level upwards for the last time, by linear interpolation.

    ``lam[i-1] + (level - y[i-1]) / (y[i] - y[i-1]) · (lam[i] - lam[i-1])`` for the largest i with
    ``y[i-1] < level <= y[i]``.

    Args:
        lam: λ levels, ascending.
        values: (replicates, λ).
        level: one level, or one per replicate; None: twice each replicate's own minimum.

    Returns:
        λ per replicate; +inf where the curve ends below the level (not reached within the grid), -inf where it never
        is below it.
    """
    values = np.atleast_2d(values)
    level = 2 * values.min(axis=1) if level is None else np.asarray(level, dtype=float)
    levels = np.broadcast_to(level, values.shape[:1])
    crosses = (values[:, :-1] < levels[:, None]) & (levels[:, None] <= values[:, 1:])
    at = values.shape[1] - 2 - np.argmax(crosses[:, ::-1], axis=1)
    rows = np.arange(len(values))
    before, after = values[rows, at], values[rows, at + 1]
    with np.errstate(divide="ignore", invalid="ignore"):
        crossing = lam[at] + (levels - before) / (after - before) * (lam[at + 1] - lam[at])
    never = np.where(values[:, -1] < levels, np.inf, -np.inf)
    return np.where(crosses.any(axis=1), crossing, never)


def steepest_step(lam: np.ndarray, values: np.ndarray, sign: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Return (place, slope) of each curve's steepest step, (replicates,) each; the first of several.

    Args:
        lam: (λ,) ascending.
        values: (λ,), or (replicates, λ).
        sign: 1 looks for rising steps, -1 for falling ones, 0 for either.
    """
    slopes = np.diff(np.atleast_2d(values), axis=1) / np.diff(lam)
    at = np.argmax(sign * slopes if sign else np.abs(slopes), axis=1)
    return at, slopes[np.arange(len(slopes)), at]


def steepest(lam: np.ndarray, values: np.ndarray, sign: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Return middle and slope of the steepest step (rising for sign 1, falling for -1), (replicates,) each.

    Args:
        lam: (λ,) ascending.
        values: (λ,), or (replicates, λ).
        sign: which way to look.
    """
    at, slope = steepest_step(lam, values, sign)
    return (lam[at] + lam[at + 1]) / 2, slope


@dataclass(frozen=True)
class Sigmoid:
    """Fitted sigmoids, one per replicate: start + (end - start) / (1 + exp(-(λ - midpoint) / width))."""

    midpoint: np.ndarray
    width: np.ndarray
    start: np.ndarray
    end: np.ndarray


def fit_sigmoid(lam: np.ndarray, values: np.ndarray, sizes: np.ndarray) -> Sigmoid:
    """Fit sigmoids to curves by least squares over runs (weights: runs per λ), all replicates at once.

    Midpoint and width are searched (a grid over the λ range, refined three times around each replicate's best); for
    given ones the two plateaus are linear (variable projection). Plateaus lie in [0, 1], the midpoint within the
    grid, the width between a tenth of the smallest λ step and the whole range.

    Returns:
        One fit per replicate; NaN where no sigmoid with plateaus in [0, 1] exists.
    """
    values = np.atleast_2d(values)
    share = sizes / sizes.sum()
    span, step = lam[-1] - lam[0], np.diff(lam).min()
    low, high = np.log(0.1 * step), np.log(span)
    grid_m, grid_w = np.meshgrid(np.linspace(lam[0], lam[-1], 41), np.linspace(low, high, 13))
    middle, width = grid_m.ravel()[None], grid_w.ravel()[None]
    size_m, size_w = span / 40, (high - low) / 12
    for round_ in range(4):
        best = _best(lam, values, share, middle, width)
        if round_ == 3:
            break
        offsets_m, offsets_w = np.meshgrid(np.linspace(-1, 1, 7), np.linspace(-1, 1, 5))
        middle = np.clip(best[0][:, None] + size_m * offsets_m.ravel(), lam[0], lam[-1])
        width = np.clip(best[1][:, None] + size_w * offsets_w.ravel(), low, high)
        size_m, size_w = size_m / 3, size_w / 2
    midpoint, log_width, start, end = best
    none = np.isnan(start)
    return Sigmoid(np.where(none, np.nan, midpoint), np.where(none, np.nan, np.exp(log_width)), start, end)


def _best(
    lam: np.ndarray, values: np.ndarray, share: np.ndarray, middle: np.ndarray, width: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return (midpoint, log width, start, end) of each replicate's best candidate.

    ``middle`` and ``width`` (logarithm) are (1 or replicates, candidates).
    """
    shape = expit((lam - middle[..., None]) / np.exp(width)[..., None])  # (1 or replicates, candidates, λ)
    centre = shape @ share
    apart = shape - centre[..., None]
    spread = np.maximum((apart**2) @ share, 1e-300)
    level = values @ share
    off = (values - level[:, None]) * share
    product = off @ apart[0].T if len(middle) == 1 else np.einsum("rk,rck->rc", off, apart)
    height = product / spread
    start = level[:, None] - height * centre
    end = start + height
    gain = (
        product * height
    )  # what the fit explains; the rest of the sum of squares is the same for all candidates
    feasible = (start >= 0) & (start <= 1) & (end >= 0) & (end <= 1)
    gain = np.where(feasible, gain, -np.inf)
    at = np.argmax(gain, axis=1)
    rows = np.arange(len(values))
    possible = np.isfinite(gain[rows, at])

    def pick(array: np.ndarray) -> np.ndarray:
        wide = np.broadcast_to(array, gain.shape)
        return np.where(possible, wide[rows, at], np.nan)

    # An impossible replicate keeps its place in later rounds and is NaN in the end.
    return (
        np.where(possible, pick(middle), lam[0]),
        np.where(possible, pick(width), 0.0),
        pick(start),
        pick(end),
    )


def per_doubling(factors: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """Return the slope of each replicate's values on log2(factor); draws is (replicates, factors)."""
    x = np.log2(factors)
    x = x - x.mean()
    with np.errstate(invalid="ignore"):  # a replicate with an infinite value has no slope
        slopes: np.ndarray = draws @ x / (x @ x)
    return slopes
