"""One boundary for many experiments: a sigmoid in λ whose place differs by experiment, seed and run.

    error = floor + (ceiling - floor) / (1 + exp(-(λ - m - a - b - c - d) / w)) + e

a: the experiment, b: the seed, the same in all experiments, c: the seed within an experiment, d: the single run
(normal, independent), e: what is left where the curve is flat. Errors are taken as normal, with the mean and the
covariance that shifts of these sizes give them through the sigmoid (moments by Gauss-Hermite quadrature, not through
its slope alone: a shift is about as large as the sigmoid is wide).

Each experiment's place m + a, w and the floor by generalised least squares, the spreads of b, c, d and e by
restricted maximum likelihood, in turns; m and the spread of a from the places, each with its standard error
(DerSimonian & Laird 1986). Intervals go by Student's quantile with the seeds' degrees of freedom. Those of a spread
that may be none end where twice the profile log-likelihood has fallen by its square; that of the single run's is
symmetric in its logarithm, with the larger of two standard errors, of the information and of the seeds' own parts in
it, because skewed errors say less than normal ones. The spread of e has none: it hangs on the few runs where the
curve is flat, and what a skewed shift does to these.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import factorial

import numpy as np
from numpy.polynomial.hermite_e import hermeval
from scipy.optimize import brentq, least_squares
from scipy.special import expit, stdtrit
from scipy.stats import chi2

from dualgrad.estimators.bootstrap import LEAST_FOR_SPREAD, LEVEL

SHIFTS = ("seed", "seed_in_experiment", "run")
TURNS, SCORES = 6, 30
_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(21)
_WEIGHTS = _WEIGHTS / _WEIGHTS.sum()
# Weighed Hermite polynomials of order 1, 2, …, normed: (nodes, orders)
_HERMITE = np.stack(
    [_WEIGHTS * hermeval(_NODES, np.eye(9)[k]) / np.sqrt(factorial(k)) for k in range(1, 9)], axis=1
)
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
        ends: 95 % interval of each shift's spread, by name; empty for five seeds or fewer.
        shares: (value, (low, high)) of the share of the shifts' variance that is a seed's in all experiments, where
            the profiles of the spreads end, None where these have none; of that which is a single run's, always None.
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
    shares: dict[str, tuple[float, tuple[float, float] | None]]
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

    Raises:
        LinAlgError: no boundary of this kind could have given the runs, or they leave its shape open.
    """
    _, parts = np.unique(experiment, return_inverse=True)
    _, seeds = np.unique(seed, return_inverse=True)
    count = int(parts.max(initial=0)) + 1
    if count < 2 or seeds.max(initial=0) < 2 or len(np.unique(lam)) < 4 or np.ptp(error) == 0:
        return None
    # Seeds with equally many runs lie in one array: (seeds, runs).
    sizes = np.bincount(seeds)[seeds]
    places = [
        np.flatnonzero(sizes == size)[np.argsort(seeds[sizes == size], kind="stable")].reshape(-1, size)
        for size in np.unique(sizes)
    ]
    middle, log_width, floor = _start(lam, error, ceiling)
    p = np.array([*np.full(count, middle), log_width, floor])
    logs = np.log([*np.full(len(SHIFTS), np.exp(log_width) / 5), max(float(error.std()) / 20, 1e-4)])
    most = np.array([*np.full(count, 0.02), 0.5, 0.05])  # how far the curve moves in one turn
    for turn in range(TURNS + 1):
        squares = np.exp(2 * logs[: len(SHIFTS)])
        mean, terms, gradient = _curve(lam, parts, p, ceiling, float(squares.sum()))
        runs = [
            _Runs((error - mean)[one], gradient[one], _blocks(terms[one], parts[one], squares))
            for one in places
        ]
        logs, state = _spreads(runs, logs)
        if turn < TURNS:
            pull = sum(
                np.einsum("gia,gi->a", lean, one.rest) for one, lean in zip(runs, state.leans, strict=True)
            )
            p = p + np.clip(state.inner @ pull, -most, most)
            p[-1] = np.clip(p[-1], 0.0, ceiling - 1e-3)
    p_values = {}
    for i, name in enumerate(SHIFTS):
        other = _spreads([one.without(i) for one in runs], np.delete(logs, i))[1].likelihood
        p_values[name] = float(chi2.sf(max(2 * (state.likelihood - other), 0.0), 1) / 2)
    covariance = state.inner
    # Ten powers of e, or more than all errors there are: what stands there is the ridge's alone.
    if covariance[-2, -2] > 10**2 or covariance[-1, -1] > 1:
        raise np.linalg.LinAlgError("the runs leave width or floor open")
    whole, error_of_whole, between, p_values["experiment"] = _together(p[:count], covariance[:count, :count])
    rng = np.random.default_rng([3916, len(lam)])
    curve = rng.multivariate_normal(p[-2:], covariance[-2:, -2:], size=resamples)
    draws = {
        "middle": whole + error_of_whole * rng.standard_t(count - 1, resamples),
        "width": np.exp(np.clip(curve[:, 0], -20, 5)),
    }
    draws["floor"] = curve[:, 1]
    n = int(seeds.max()) + 1
    ends, at_ends = {}, [logs]
    if n > LEAST_FOR_SPREAD:
        quantile = float(stdtrit(n - 1, (1 + LEVEL) / 2))
        level = state.likelihood - quantile**2 / 2
        for i, name in enumerate(SHIFTS[:-1]):
            low, high = (_end(runs, logs, level, i, side) for side in (-1, 1))
            ends[name] = (float(_sizes(low)[i]), float(_sizes(high)[i]))
            at_ends += [low, high]
        i = len(SHIFTS) - 1
        if _sizes(logs)[i]:
            reach = quantile * float(_errors(runs, logs, state)[i])
            ends[SHIFTS[i]] = (float(np.exp(logs[i] - reach)), float(np.exp(logs[i] + reach)))
    squares = np.array([_sizes(one)[: len(SHIFTS)] ** 2 for one in at_ends])
    parts_of = squares / np.maximum(squares.sum(axis=1, keepdims=True), 1e-300)
    share = parts_of[:, SHIFTS.index("seed")]
    shares = {
        "seed": (float(share[0]), (float(share.min()), float(share.max())) if ends else None),
        "run": (float(parts_of[0, SHIFTS.index("run")]), None),
    }
    found = _sizes(logs)
    return Hierarchy(
        whole,
        float(np.exp(p[-2])),
        float(p[-1]),
        between,
        dict(zip(SHIFTS, found.tolist(), strict=False)),
        float(found[-1]),
        draws,
        ends,
        shares,
        p_values,
    )


@dataclass(frozen=True)
class _Runs:
    """Seeds with equally many runs.

    Attributes:
        rest: errors less the mean curve, (seeds, runs).
        gradient: of the mean curve, (seeds, runs, parameters).
        blocks: what each squared spread is multiplied with in the covariance, (spreads, seeds, runs, runs).
        base: what the covariance holds beside the spreads.
    """

    rest: np.ndarray
    gradient: np.ndarray
    blocks: np.ndarray
    base: np.ndarray | float = 0.0

    def without(self, place: int, square: float = 0.0) -> _Runs:
        """The same with one spread given."""
        return replace(
            self, blocks=np.delete(self.blocks, place, axis=0), base=self.base + square * self.blocks[place]
        )


def _sizes(logs: np.ndarray) -> np.ndarray:
    """Spreads; 0 where they count as none."""
    return np.where(logs < _LEAST + 1, 0.0, np.exp(logs))


def _end(runs: list[_Runs], logs: np.ndarray, level: float, place: int, side: int) -> np.ndarray:
    """Return the ln spreads where the profile likelihood of one of them has fallen to a level."""
    free = [i for i in range(len(logs)) if i != place]

    def at(value: float) -> tuple[np.ndarray, float]:
        found = _spreads([one.without(place, np.exp(2 * value)) for one in runs], logs[free])
        result = np.empty(len(logs))
        result[place], result[free] = value, found[0]
        return result, found[1].likelihood

    near, far = float(logs[place]), float(logs[place]) + side * 0.1
    if side < 0 and at(_LEAST)[1] > level:
        return at(_LEAST)[0]
    if side > 0:
        near = max(near, float(logs.max()) - 12)  # from nothing upwards, at a size that can matter
        far = near + 0.5
    while at(far)[1] > level and abs(far) < 12:
        near, far = far, far + side * max(0.1, abs(far - near))
    if abs(far) >= 12:
        return at(far)[0]
    return at(brentq(lambda value: at(value)[1] - level, near, far, xtol=0.005))[0]


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
    """Return mean error, its Hermite coefficients, and its gradient in (places …, ln width, floor), at each run.

    ``shifts``: variance of the shifts that all are taken over, by Gauss-Hermite quadrature.
    """
    width, height = np.exp(p[-2]), ceiling - p[-1]
    spread = np.sqrt(max(shifts, 1e-10))
    z = (lam[:, None] - p[parts][:, None] - spread * _NODES) / width
    share = expit(z)
    steep = share * (1 - share)
    mean = share @ _WEIGHTS
    gradient = np.zeros((len(lam), len(p)))
    gradient[np.arange(len(lam)), parts] = -height * (steep @ _WEIGHTS) / width
    gradient[:, -2] = -height * ((steep * z) @ _WEIGHTS)
    gradient[:, -1] = 1 - mean
    return p[-1] + height * mean, height / spread * (share @ _HERMITE), gradient


def _blocks(terms: np.ndarray, parts: np.ndarray, squares: np.ndarray) -> np.ndarray:
    """Return what each squared spread is multiplied with in the covariance of a seed's runs.

    Two runs that have the share c of their shifts' variance in common covary by the sum over k of c^k times the
    product of their k-th Hermite coefficients.

    Args:
        terms: Hermite coefficients over the shifts' standard deviation, (seeds, runs, orders).
        parts: number of each run's experiment, (seeds, runs).
        squares: the shifts' variances.

    Returns:
        (4, seeds, runs, runs).
    """
    one, same = np.eye(parts.shape[1]), parts[:, :, None] == parts[:, None, :]
    common = (squares[0] + squares[1] * same) / squares.sum()
    common = common + (1 - common) * one
    product = sum(common**k * terms[:, :, None, k] * terms[:, None, :, k] for k in range(terms.shape[2]))
    return np.stack([product, product * same, product * one, np.broadcast_to(one, product.shape)])


@dataclass(frozen=True)
class _State:
    """What spreads come to.

    Attributes:
        inverses: of the covariances.
        leans: these times the curve's gradient.
        inner: covariance of the curve's parameters.
        likelihood: the restricted log-likelihood.
    """

    inverses: list[np.ndarray]
    leans: list[np.ndarray]
    inner: np.ndarray
    likelihood: float


def _state(runs: list[_Runs], logs: np.ndarray) -> _State:
    inverses, leans, value = [], [], 0.0
    weight = 1e-9 * np.eye(runs[0].gradient.shape[2])
    for one in runs:
        covariance = np.tensordot(np.exp(2 * logs), one.blocks, axes=1) + one.base
        inverse = np.linalg.inv(covariance)
        lean = inverse @ one.gradient
        weight += np.tensordot(one.gradient, lean, axes=([0, 1], [0, 1]))
        value -= np.linalg.slogdet(covariance)[1].sum() + (_times(inverse, one.rest) * one.rest).sum()
        inverses.append(inverse)
        leans.append(lean)
    return _State(inverses, leans, np.linalg.inv(weight), float(value - np.linalg.slogdet(weight)[1]) / 2)


def _scores(runs: list[_Runs], logs: np.ndarray, state: _State) -> tuple[np.ndarray, np.ndarray]:
    """Each seed's part of the likelihood's slope in the ln spreads, (spreads, seeds), and the information."""
    scores, information = [], np.zeros((len(logs), len(logs)))
    for one, inverse, lean in zip(runs, state.inverses, state.leans, strict=True):
        scaled = 2 * np.exp(2 * logs)[:, None, None, None] * one.blocks
        weighted = _times(inverse, one.rest)
        products = inverse @ scaled
        seen = (_times(scaled, weighted) * weighted).sum(axis=2)
        taken = ((lean @ state.inner) * (scaled @ lean)).sum(axis=(2, 3))
        scores.append((seen - np.trace(products, axis1=2, axis2=3) + taken) / 2)
        flat = products.reshape(len(logs), -1)
        information += flat @ products.swapaxes(2, 3).reshape(len(logs), -1).T / 2
    return np.concatenate(scores, axis=1), information + 1e-3 * np.eye(len(logs))


def _spreads(runs: list[_Runs], logs: np.ndarray) -> tuple[np.ndarray, _State]:
    """Return the ln spreads of the largest restricted likelihood, by Fisher scoring, and what they come to."""
    logs = np.maximum(logs, _LEAST)
    state = _state(runs, logs)
    for _ in range(SCORES):
        scores, information = _scores(runs, logs, state)
        move = np.clip(np.linalg.solve(information, scores.sum(axis=1)), -1.5, 1.5)
        better = False
        for scale in (1.0, 0.3, 0.1):
            tried = np.maximum(logs + scale * move, _LEAST)
            new = _state(runs, tried)
            if new.likelihood >= state.likelihood:
                better = new.likelihood > state.likelihood + 1e-4
                logs, state = tried, new
                break
        if not better:
            break
    return logs, state


def _errors(runs: list[_Runs], logs: np.ndarray, state: _State) -> np.ndarray:
    """Standard errors of the ln spreads, by what each seed would change (infinitesimal jackknife) or by information.

    The larger of the two.
    """
    scores, information = _scores(runs, logs, state)
    n = scores.shape[1]
    changes = np.linalg.solve(information, scores)
    errors: np.ndarray = np.sqrt(
        np.maximum(n / (n - 1) * (changes**2).sum(axis=1), np.diag(np.linalg.inv(information)))
    )
    return errors


def _times(matrices: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """Matrices (…, runs, runs) times vectors (…, runs)."""
    product: np.ndarray = (matrices @ vectors[..., None])[..., 0]
    return product


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
