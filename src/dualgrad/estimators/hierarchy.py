"""One boundary for many experiments: a sigmoid in λ whose place differs by experiment, seed and run.

    error = floor + (ceiling - floor) / (1 + exp(-(λ - m - a - b - c - d) / w)) + e

a: the experiment, b: the seed, the same in all experiments, c: the seed within an experiment, d: the single run
(normal, independent), e: what is left where the curve is flat. The model is of first order in the shifts (Beal &
Sheiner 1982): errors are normal about the average curve, with the covariance that shifts of these sizes give them
through its slope. The average over b, c and d is a sigmoid again, to good accuracy, and flatter: of width
sqrt(w² + 3 s² / π²), as the variance s² of the shifts adds to that of the logistic distribution, π² w² / 3.

Each experiment's place m + a, w and the floor by generalised least squares, the spreads of b, c, d and e by maximum
likelihood with profile intervals, in turns; m and the spread of a from the places, each with its standard error
(DerSimonian & Laird 1986).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import least_squares
from scipy.special import expit
from scipy.stats import chi2

SHIFTS = ("seed", "seed_in_experiment", "run")
TURNS, SCORES = 6, 30
_LEAST = float(np.log(1e-5))  # a spread that counts as none


@dataclass(frozen=True)
class Hierarchy:
    """A fit.

    Attributes:
        middle, width, floor: of the sigmoid.
        experiment: standard deviation of the experiments' shifts.
        spreads: standard deviation of the other shifts.
        rest: standard deviation of what is left.
        draws: width and floor from their asymptotic normal, middle from Student's t over experiments; (draws,) each.
        ends: profile likelihood's 95 % interval of each shift's and the rest's spread, by name.
        shares: (value, low, high) of the share of the shifts' variance that is a seed's in all experiments, and of
            that which is a single run's; ends where the profiles of the spreads end.
        p_values: that a shift is none, by name (experiment: Cochran's Q; others: likelihood ratio, half of χ²).
    """

    middle: float
    width: float
    floor: float
    experiment: float
    spreads: dict[str, float]
    rest: float
    draws: dict[str, np.ndarray]
    ends: dict[str, tuple[float, float]]
    shares: dict[str, tuple[float, float, float]]
    p_values: dict[str, float]


def fit(
    lam: np.ndarray,
    error: np.ndarray,
    experiment: np.ndarray,
    seed: np.ndarray,
    ceiling: float,
    resamples: int = 2000,
) -> Hierarchy | None:
    """Fit the hierarchy.

    Args:
        lam: λ of each run.
        error: its final error.
        experiment: number of its experiment.
        seed: its seed.
        ceiling: error beyond the boundary.
        resamples: draws of the parameters, for intervals.

    Returns:
        None where the runs do not determine it: fewer than two experiments, three seeds, four λ.
    """
    _, parts = np.unique(experiment, return_inverse=True)
    _, seeds = np.unique(seed, return_inverse=True)
    count = int(parts.max(initial=0)) + 1
    if count < 2 or seeds.max(initial=0) < 2 or len(np.unique(lam)) < 4 or np.ptp(error) == 0:
        return None
    order = np.argsort(seeds, kind="stable")
    lam, error, parts, seeds = lam[order], error[order], parts[order], seeds[order]
    places = np.split(np.arange(len(lam)), np.cumsum(np.bincount(seeds))[:-1])
    middle, log_width, floor = _start(lam, error, ceiling)
    p = np.array([*np.full(count, middle), log_width, floor])
    logs = np.log([*np.full(len(SHIFTS), np.exp(log_width) / 5), max(float(error.std()) / 20, 1e-4)])
    most = np.array([*np.full(count, 0.02), 0.5, 0.05])  # how far the curve moves in one turn
    for turn in range(TURNS + 1):
        shifts = float(np.exp(2 * logs[: len(SHIFTS)]).sum())
        mean, slope, gradient = _curve(lam, parts, p, ceiling, shifts)
        blocks = [_blocks(slope[one], parts[one]) for one in places]
        rest = [(error - mean)[one] for one in places]
        logs, inverses, likelihood = _spreads(rest, blocks, logs)
        columns = [gradient[one] for one in places]
        weight = sum(g.T @ v @ g for g, v in zip(columns, inverses, strict=True))
        covariance = np.linalg.inv(weight + 1e-9 * np.eye(len(p)))
        if turn < TURNS:
            pull = sum(g.T @ (v @ r) for g, v, r in zip(columns, inverses, rest, strict=True))
            p = p + np.clip(covariance @ pull, -most, most)
            p[-1] = np.clip(p[-1], 0.0, ceiling - 1e-3)
    p_values = {}
    for i, name in enumerate(SHIFTS):
        less = [np.delete(block, i, axis=0) for block in blocks]
        other = _spreads(rest, less, np.delete(logs, i))[2]
        p_values[name] = float(chi2.sf(max(2 * (likelihood - other), 0.0), 1) / 2)
    whole, error_of_whole, between, p_values["experiment"] = _together(p[:count], covariance[:count, :count])
    rng = np.random.default_rng([3916, len(lam)])
    curve = rng.multivariate_normal(p[-2:], covariance[-2:, -2:], size=resamples)
    draws = {
        "middle": whole + error_of_whole * rng.standard_t(count - 1, resamples),
        "width": np.exp(np.clip(curve[:, 0], -20, 5)),
    }
    draws["floor"] = curve[:, 1]
    spreads = {name: float(np.exp(one)) for name, one in zip(SHIFTS, logs, strict=False)}
    ends, at_ends = {}, [logs]
    for i, name in enumerate((*SHIFTS, "rest")):
        low, high = (_end(rest, blocks, logs, likelihood, i, side) for side in (-1, 1))
        ends[name] = (float(np.exp(low[i])) if low[i] > _LEAST else 0.0, float(np.exp(high[i])))
        at_ends += [low, high] if name in SHIFTS else []
    squares = np.exp(2 * np.array(at_ends))[:, : len(SHIFTS)]
    parts_of = squares / squares.sum(axis=1, keepdims=True)
    shares = {
        name: (float(one[0]), float(one.min()), float(one.max()))
        for name in ("seed", "run")
        for one in [parts_of[:, SHIFTS.index(name)]]
    }
    return Hierarchy(
        whole,
        float(np.exp(p[-2])),
        float(p[-1]),
        between,
        spreads,
        float(np.exp(logs[-1])),
        draws,
        ends,
        shares,
        p_values,
    )


def _end(
    rest: list[np.ndarray],
    blocks: list[np.ndarray],
    logs: np.ndarray,
    likelihood: float,
    place: int,
    side: int,
) -> np.ndarray:
    """Return the ln spreads where the profile likelihood of one of them has fallen by half of χ²'s 95 % quantile."""
    fall = float(chi2.ppf(0.95, 1)) / 2
    free = [i for i in range(len(logs)) if i != place]
    kept = logs.copy()

    def at(value: float) -> tuple[np.ndarray, float]:
        base = [np.exp(2 * value) * block[place] for block in blocks]
        found = _spreads(rest, [block[free] for block in blocks], kept[free], base)
        result = np.empty(len(logs))
        result[place], result[free] = value, found[0]
        return result, found[2]

    near, far = float(logs[place]), float(logs[place]) + side * 0.1
    if side < 0 and at(_LEAST)[1] > likelihood - fall:
        return at(_LEAST)[0]
    if side > 0:
        near = max(near, float(logs.max()) - 12)  # from nothing upwards, at a size that can matter
        far = near + 0.5
    while at(far)[1] > likelihood - fall and abs(far) < 12:
        near, far = far, far + side * max(0.1, abs(far - near))
    for _ in range(8):
        middle = (near + far) / 2
        near, far = (middle, far) if at(middle)[1] > likelihood - fall else (near, middle)
    return at((near + far) / 2)[0]


def _together(places: np.ndarray, covariance: np.ndarray) -> tuple[float, float, float, float]:
    """Return (mean place, its standard error, spread between experiments, p value that there is none).

    Places go together because their experiments have seeds in common: Q and the mean take their whole covariance.
    """
    ones, freedom = np.ones(len(places)), len(places) - 1
    weight = np.linalg.inv(covariance)
    total = float(ones @ weight @ ones)
    away = places - float(ones @ weight @ places) / total
    q = float(away @ weight @ away)
    scale = float(np.trace(weight) - ones @ weight @ weight @ ones / total)
    variance = max(q - freedom, 0.0) / scale
    weight = np.linalg.inv(covariance + variance * np.eye(len(places)))
    total = float(ones @ weight @ ones)
    mean = float(ones @ weight @ places) / total
    # As large as the places themselves say, where that is more (Hartung & Knapp 2001).
    larger = max(1.0, float((places - mean) @ weight @ (places - mean)) / freedom)
    return mean, float(np.sqrt(larger / total)), float(np.sqrt(variance)), float(chi2.sf(q, freedom))


def _curve(
    lam: np.ndarray, parts: np.ndarray, p: np.ndarray, ceiling: float, shifts: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return mean error, its slope in λ, and its gradient in (places …, ln width, floor), at each run.

    ``shifts``: variance of the shifts that the mean is taken over.
    """
    square = np.exp(2 * p[-2])
    width = np.sqrt(square + 3 * shifts / np.pi**2)
    z = (lam - p[parts]) / width
    share = expit(z)
    slope = (ceiling - p[-1]) * share * (1 - share) / width
    gradient = np.zeros((len(lam), len(p)))
    gradient[np.arange(len(lam)), parts] = -slope
    gradient[:, -2] = -slope * z * square / width
    gradient[:, -1] = 1 - share
    return p[-1] + (ceiling - p[-1]) * share, slope, gradient


def _blocks(slope: np.ndarray, parts: np.ndarray) -> np.ndarray:
    """Return what each squared spread is multiplied with in the covariance of one seed's runs, (4, runs, runs)."""
    product = slope[:, None] * slope[None]
    one = np.eye(len(slope))
    return np.stack([product, product * (parts[:, None] == parts[None]), product * one, one])


def _spreads(
    rest: list[np.ndarray],
    blocks: list[np.ndarray],
    logs: np.ndarray,
    base: list[np.ndarray] | None = None,
) -> tuple[np.ndarray, list[np.ndarray], float]:
    """Return (ln spreads, inverse covariances, log-likelihood) at the maximum, by Fisher scoring.

    ``base``: what the covariances hold beside the spreads.
    """
    given = base or [np.zeros(())] * len(rest)

    def at(logs: np.ndarray) -> tuple[list[np.ndarray], float]:
        inverses, value = [], 0.0
        for away, block, fixed in zip(rest, blocks, given, strict=True):
            covariance = np.tensordot(np.exp(2 * logs), block, axes=1) + fixed
            inverse = np.linalg.inv(covariance)
            value -= (np.linalg.slogdet(covariance)[1] + away @ inverse @ away) / 2
            inverses.append(inverse)
        return inverses, float(value)

    logs = np.maximum(logs, _LEAST)
    inverses, likelihood = at(logs)
    for _ in range(SCORES):
        score, information = np.zeros(len(logs)), np.zeros((len(logs), len(logs)))
        for away, block, inverse in zip(rest, blocks, inverses, strict=True):
            scaled = 2 * np.exp(2 * logs)[:, None, None] * block
            weighted, products = inverse @ away, inverse @ scaled
            score += (
                np.einsum("i,kij,j->k", weighted, scaled, weighted) - np.trace(products, axis1=1, axis2=2)
            ) / 2
            information += np.einsum("aij,bji->ab", products, products) / 2
        move = np.clip(np.linalg.solve(information + 1e-3 * np.eye(len(logs)), score), -1.5, 1.5)
        better = False
        for scale in (1.0, 0.3, 0.1):
            tried = np.maximum(logs + scale * move, _LEAST)
            new, value = at(tried)
            if value >= likelihood:
                better = value > likelihood + 1e-4
                logs, inverses, likelihood = tried, new, value
                break
        if not better:
            break
    return logs, inverses, likelihood


def _start(lam: np.ndarray, error: np.ndarray, ceiling: float) -> tuple[float, float, float]:
    """Return (middle, ln width, floor) by least squares without shifts."""
    span = float(np.ptp(lam))

    def model(p: np.ndarray) -> np.ndarray:
        away: np.ndarray = p[2] + (ceiling - p[2]) * expit((lam - p[0]) / np.exp(p[1])) - error
        return away

    low, high = [lam.min() - span, np.log(span) - 6, 0.0], [lam.max() + span, np.log(span) + 1, ceiling]
    floor = float(np.clip(np.quantile(error, 0.1), 1e-3, ceiling - 1e-3))
    tries = [
        least_squares(model, [lam.min() + place * span, np.log(span / 8), floor], bounds=(low, high))
        for place in (0.4, 0.7, 1.0)
    ]
    middle, log_width, lowest = min(tries, key=lambda one: float(one.cost)).x
    return float(middle), float(log_width), float(lowest)
