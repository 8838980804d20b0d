"""Every kind of interval covers what it says: made-up samples of 3, 5, 10 and 20 units from known populations."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binom

from dualgrad.estimators import bootstrap, hierarchy, units
from dualgrad.estimators.curves import fit_sigmoid, last_crossing, steepest
from dualgrad.estimators.scan import scan
from dualgrad.estimators.survival import ladder_median
from dualgrad.statistics.boundaries import SIGMOID_RESAMPLES
from dualgrad.statistics.boundary_model import moves
from dualgrad.statistics.curves import Curve
from dualgrad.statistics.hierarchy import quantities
from dualgrad.statistics.hysteresis import area
from dualgrad.statistics.nlp_decomposition import _unpaired
from dualgrad.statistics.reruns import split_variance
from dualgrad.statistics.survival import _poisson

DOCS = Path(__file__).resolve().parents[1] / "docs" / "statistics.md"
SIZES = (3, 5, 10, 20)
TRIALS = 600
#: Where an interval may hold its answer more often, or a trial takes a millisecond.
FEWER, COSTLY = 200, 400

#: A trial draws n units and returns the interval and what it should hold; None: there is no interval.
Trial = Callable[[np.random.Generator, int], tuple[bootstrap.Bounds | None, float]]


def mean(rng: np.random.Generator, n: int):
    return bootstrap.mean_bounds(rng.normal(0.3, 0.1, n)), 0.3


def pairs(rng: np.random.Generator, n: int):
    apart = rng.normal(0.1, 0.05, n)
    return bootstrap.t_bounds(apart, "paired t")[0], 0.1


def welch(rng: np.random.Generator, n: int):
    return bootstrap.welch_bounds(rng.normal(0.3, 0.1, n), rng.normal(0.2, 0.2, n)), 0.1


def student(rng: np.random.Generator, n: int):
    return _unpaired("Student", rng.normal(0.3, 0.1, n), rng.normal(0.2, 0.1, n))[0], 0.1


def difference(rng: np.random.Generator, n: int):
    return bootstrap.difference_bounds(rng.normal(0.3, 0.1, n), rng.normal(0.2, 0.2, n)), 0.1


def spread(rng: np.random.Generator, n: int):
    # of the spread that a population value of n runs estimates: σ √((n - 1)/n)
    return bootstrap.sd_bounds(rng.normal(0.3, 0.1, n)), 0.1 * np.sqrt((n - 1) / n)


def curve_of(rng: np.random.Generator, n: int, means: np.ndarray, sds: np.ndarray | float) -> Curve:
    """A curve over the λ 0, 1, …, whose runs are normal about its means; the same seeds at every λ."""
    table = means + rng.normal(size=(n, len(means))) * sds
    return Curve("A", {}, np.arange(float(len(means))), tuple(table.T), seeds=(np.arange(n),) * len(means))


def variance(rng: np.random.Generator, n: int):
    return curve_of(rng, n, np.zeros(3), 0.1).variance_bounds(1), 0.01 * (n - 1) / n


SPREADS = np.array([1.0, 1.2, 1.5, 2.0, 3.0, 2.0, 1.0])


def peak(rng: np.random.Generator, n: int):
    return curve_of(rng, n, np.zeros(7), SPREADS).peak_bounds(), 9 * (n - 1) / n


def peak_place(rng: np.random.Generator, n: int):
    """The λ with the largest variance of seven."""
    curve = curve_of(rng, n, np.zeros(7), SPREADS)
    peaks = curve.lam[curve.variance_draws.argmax(axis=1)] if n >= bootstrap.SMALL else np.empty(0)
    return bootstrap.percentile(peaks, n=n), 4.0


def steepest_place(rng: np.random.Generator, n: int):
    """The steepest of six steps, which differs little from its neighbours."""
    curve = curve_of(rng, n, np.array([0.10, 0.11, 0.15, 0.25, 0.45, 0.58, 0.62]), 0.15)
    steps = steepest(curve.lam, curve.mean_draws)[0] if n >= bootstrap.SMALL else np.empty(0)
    return bootstrap.percentile(steps, n=n), 3.5


def lowest(rng: np.random.Generator, n: int):
    """The λ with the lowest of five means that the noise often hides."""
    return curve_of(rng, n, np.array([0.18, 0.12, 0.10, 0.12, 0.18]), 0.03).lowest(), 2.0


def lowest_apart(rng: np.random.Generator, n: int):
    groups = [centre + rng.normal(0, 0.03, n) for centre in (0.18, 0.12, 0.10, 0.12, 0.18)]
    return bootstrap.lowest_bounds(np.arange(5.0), groups, paired=False), 2.0


def largest(rng: np.random.Generator, n: int):
    """The largest of ten differences that are all the same."""
    return bootstrap.extreme_bounds(0.1 + rng.normal(0, 0.05, (n, 10))), 0.1


def largest_apart(rng: np.random.Generator, n: int):
    first, second = 0.1 + rng.normal(0, 0.05, (n, 10)), rng.normal(0, 0.05, (n, 10))
    return bootstrap.extreme_bounds(first, second), 0.1


def share_within(rng: np.random.Generator, n: int):
    """Four λ of n seeds that ran twice; half of the variance is the seed's."""
    group = np.repeat(np.arange(4.0), n)
    values = 5 * group[:, None] + rng.normal(size=(4 * n, 1)) + rng.normal(size=(4 * n, 2))
    return split_variance(values, group)[3], 0.5


def share_within_apart(rng: np.random.Generator, n: int):
    """Eight λ whose runs spread as those of M1 do from λ = .45 on: two of them carry most of it."""
    spread = np.array([0.007, 0.02, 0.09, 0.12, 0.05, 0.16, 0.09, 0.04])
    group = np.repeat(np.arange(8.0), n)
    values = rng.normal(size=(8 * n, 1)) + rng.normal(size=(8 * n, 2))
    return split_variance(values * np.repeat(spread, n)[:, None], group)[3], 0.5


def share(rng: np.random.Generator, n: int):
    return bootstrap.exact_bounds(int(rng.binomial(n, 0.3)), n), 0.3


def rate(rng: np.random.Generator, n: int):
    """Events of n runs, each watched for 20 epochs, at one in ten epochs."""
    return _poisson(int(rng.poisson(2 * n)), 20.0 * n), 0.1


LADDER = np.linspace(0.3, 0.6, 16)


def ladder(rng: np.random.Generator, n: int):
    """Runs on 16 rungs with a hazard of .08 a rung: (median, bounds, (share, bounds))."""
    place = rng.geometric(0.08, n)
    return ladder_median(np.minimum(place, 16), place <= 16, LADDER)


def beyond(rng: np.random.Generator, n: int):
    return ladder(rng, n)[2][1], 0.92**16


def median_rung(rng: np.random.Generator, n: int):
    # S(8) = .51, S(9) = .47
    return ladder(rng, n)[1] if n > bootstrap.LEAST_FOR_SPREAD else None, LADDER[8]


def correlation_of_seeds(rng: np.random.Generator, n: int):
    """n seeds at five cosines each: Pearson's r over runs, one seed left out at a time."""
    x, seed = np.tile(np.linspace(-1, 1, 5), n), np.repeat(np.arange(n), 5)
    y = 0.5 * x + rng.normal(0, 0.3, 5 * n)
    left = np.array([np.corrcoef(x[seed != one], y[seed != one])[0, 1] for one in range(n)])
    found = units.of_correlation(float(np.corrcoef(x, y)[0, 1]), left)
    return (found.low, found.high, found.how), float(np.sqrt(0.125 / (0.125 + 0.09)))


def crossing(rng: np.random.Generator, n: int):
    """Where the mean of curves crosses .2 whose seeds differ in place."""
    lam = np.arange(0.38, 0.54, 0.04)
    noise = rng.normal(0, 0.005, (n, len(lam)))
    errors = 0.1 + 2.0 * (lam - 0.40 - rng.normal(0, 0.01, (n, 1))) + noise
    left = (errors.sum(axis=0) - errors) / (n - 1)
    return units.bounds_of(
        float(last_crossing(lam, errors.mean(axis=0)[None], 0.2)[0]), last_crossing(lam, left, 0.2)
    ), 0.45


def crossing_apart(rng: np.random.Generator, n: int):
    """The same of four independent samples, one at each λ."""
    lam = np.arange(0.38, 0.54, 0.04)
    errors = 0.1 + 2.0 * (lam - 0.40) + rng.normal(0, 0.02, (n, len(lam)))
    means, left = errors.mean(axis=0), []
    for k in range(len(lam)):
        rows = np.tile(means, (n, 1))
        rows[:, k] = (errors[:, k].sum() - errors[:, k]) / (n - 1)
        left.append(last_crossing(lam, rows, 0.2))
    return units.bounds_of_samples(float(last_crossing(lam, means[None], 0.2)[0]), left), 0.45


def absolute_area(rng: np.random.Generator, n: int):
    lam, gap = np.linspace(0.2, 0.6, 9), 0.2 * np.sin(np.linspace(0, 5, 9))
    gaps = gap + rng.normal(0, 0.05, (n, 1)) + rng.normal(0, 0.05, (n, 9))
    left = area((gaps.sum(axis=0) - gaps) / (n - 1), lam, True)
    value = float(area(gaps.mean(axis=0)[None], lam, True)[0])
    return units.bounds_of(value, left), float(area(gap[None], lam, True)[0])


#: Kind of interval -> trials, and the sizes at which there is none.
NEAR: dict[str, dict[Trial, tuple[int, ...]]] = {
    "t": {mean: ()},
    "paired t": {pairs: ()},
    "Welch t": {welch: (), difference: ()},
    "Student t": {student: ()},
    "bootstrap": {mean: (), difference: ()},  # from eight runs on
    "jackknife of log sd": {spread: (3, 5), variance: (3, 5)},
    "jackknife t": {crossing: (), crossing_apart: (), absolute_area: (), correlation_of_seeds: ()},
}
#: Kinds that hold their answer at least as often: of counts and steps, of spreads that are unequal over λ, or of
#: whatever was chosen by looking.
AT_LEAST: dict[str, dict[Trial, tuple[int, ...]]] = {
    "Clopper-Pearson": {share: ()},
    "exact Poisson": {rate: ()},
    "intraclass F": {share_within: (), share_within_apart: ()},
    "Kaplan-Meier": {beyond: (), median_rung: (3, 5)},
    "paired t, Bonferroni": {largest: (), lowest: ()},
    "Welch t, Bonferroni": {largest_apart: (), lowest_apart: ()},
    "jackknife of log sd, Bonferroni": {peak: (3, 5)},
    "bootstrap": {peak_place: (3, 5), steepest_place: (3, 5)},  # of steps on a grid
}
#: Tried below in another way: the resampled scan of whole seeds, and the hierarchical model. So are sigmoids. The
#: range of a model is no interval of an estimate (test_estimators).
APART = {"paired bootstrap", "profile likelihood", "asymptotic normal", "range of the model"}


def trials(kinds: dict[str, dict[Trial, tuple[int, ...]]]) -> list:
    found: dict[Trial, tuple[int, ...]] = {}
    for one in kinds.values():
        found |= one
    return [pytest.param(trial, none, id=trial.__name__) for trial, none in found.items()]


def held(trial: Trial, n: int, times: int = TRIALS) -> float | None:
    """Share of intervals that hold their answer; None where there is no interval."""
    rng = np.random.default_rng(n)
    hits, count = 0, 0
    for _ in range(times):
        bounds, truth = trial(rng, n)
        if bounds is not None:
            count += 1
            hits += bounds[0] - 1e-9 <= truth <= bounds[1] + 1e-9
    assert count in (0, times) or count > 0.9 * times
    return hits / count if count else None


@pytest.mark.parametrize(("trial", "none"), trials(NEAR))
def test_intervals_cover_what_they_say(trial: Trial, none: tuple[int, ...]) -> None:
    for n in SIZES:
        found = held(trial, n, COSTLY if trial in (student, correlation_of_seeds) else TRIALS)
        if n in none:
            assert found is None
        else:
            assert found == pytest.approx(0.95, abs=0.03), n


@pytest.mark.parametrize(("trial", "none"), trials(AT_LEAST))
def test_these_cover_at_least_that(trial: Trial, none: tuple[int, ...]) -> None:
    for n in SIZES:
        found = held(trial, n, FEWER)
        if n in none:
            assert found is None
        else:
            assert found is not None and found >= 0.935, n


@pytest.mark.parametrize("n", [10, 20])
def test_resampled_seeds_cover_a_scan(n: int) -> None:
    """Paired bootstrap, from eight seeds on: where the rise beyond the optimum is half over."""
    levels, rng, hits = np.arange(0.1, 0.65, 0.1), np.random.default_rng(n), 0
    curve = np.array([0.3, 0.1, 0.15, 0.3, 0.5, 0.55])
    truth = 0.4 + 0.1 * (0.325 - 0.3) / 0.2
    for _ in range(200):
        table = curve + rng.normal(0, 0.03, (n, 1)) + rng.normal(0, 0.03, (n, 6))
        found = scan(levels, list(table.T), paired=True).middle
        assert found is not None and found.low is not None and found.high is not None
        hits += found.low <= truth <= found.high
    assert hits / 200 == pytest.approx(0.95, abs=0.03)


def least(times: int) -> int:
    """How many of so many trials an interval must hold that covers three points less than it says."""
    return int(binom.ppf(0.05, times, 0.95 - 0.03))


@pytest.mark.parametrize("n", [5, 10])
def test_sigmoids_cover_their_place(n: int) -> None:
    """The midpoint of one curve and how it moves over three levels, with seeds in common."""
    rng, times, hits = np.random.default_rng(n), 40, Counter[str]()
    lam, levels = np.array([0.40, 0.44, 0.47, 0.50, 0.53, 0.56, 0.60]), np.array([0.5, 1.0, 2.0])
    for _ in range(times):
        places = 0.5 + 0.02 * np.log2(levels)[:, None, None] + rng.normal(0, 0.006, (n, 1))
        errors = 0.1 + 0.8 / (1 + np.exp(-(lam - places - rng.normal(0, 0.006, (3, n, 7))) / 0.025))
        few = n < bootstrap.SMALL
        whole = errors[1].mean(axis=0)
        other = (
            (n * whole - errors[1]) / (n - 1)
            if few
            else bootstrap.means(errors[1], bootstrap.weights(rng, n, SIGMOID_RESAMPLES))
        )
        found = fit_sigmoid(lam, np.vstack([whole, other]), np.full(7, n)).midpoint
        middle = units.bounds_of(found[0], found[1:]) if few else bootstrap.percentile(found[1:], n=n)
        fits = [moves(list(errors), [lam] * 3, levels, 0.9)]
        fits += [
            moves(list(errors[:, row]), [lam] * 3, levels, 0.9, fits[0]) for row in ~np.eye(n, dtype=bool)
        ]
        shift = units.bounds_of(fits[0].shift, np.array([one.shift for one in fits[1:]]))
        assert middle is not None and shift is not None
        hits["middle"] += middle[0] <= 0.5 <= middle[1]
        hits["shift"] += shift[0] <= 0.02 <= shift[1]
    assert min(hits["middle"], hits["shift"]) >= least(times), hits


def census(rng: np.random.Generator, n: int, seed: float, run: float) -> hierarchy.Hierarchy:
    """A fit of four made-up experiments with n seeds each, whose shifts have these standard deviations."""
    lam = np.array([0.35, 0.45, 0.5, 0.52, 0.55, 0.6])
    parts, seeds, grid = (one.ravel() for one in np.meshgrid(np.arange(4), np.arange(n), lam, indexing="ij"))
    place = 0.5 + rng.normal(0, 0.004, 4)[parts] + seed * rng.normal(size=n)[seeds]
    place = place + rng.normal(0, run, len(grid))
    error = 0.1 + 0.8 / (1 + np.exp(-(grid - place) / 0.03)) + rng.normal(0, 0.003, len(grid))
    found = hierarchy.fit(grid, error, parts, seeds, 0.9)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("n", "times", "seed", "run"), [(10, 40, 0.01, 0.01), (20, 20, 0.0, 0.019)], ids=["half", "none"]
)
def test_the_hierarchy_covers_what_it_estimates(n: int, times: int, seed: float, run: float) -> None:
    """A seed has half of the shifts' variance, or none of it: spreads at their bound are held at least as often."""
    rng, hits = np.random.default_rng(n), Counter[str]()
    share = seed**2 / (seed**2 + run**2)
    truth = {"middle": 0.5, "width": 0.03, "floor": 0.1, "seed_sd": seed, "run_sd": run}
    truth |= {"seed_share": share, "seed_in_experiment_sd": 0.0}
    for _ in range(times):
        bounds = {name: one for name, _, one, _ in quantities(census(rng, n, seed, run)) if one is not None}
        assert bounds.keys() == truth.keys()
        hits.update(name for name, one in bounds.items() if one[0] <= truth[name] <= one[1])
    assert {name: hits[name] for name in truth if hits[name] < least(times)} == {}


@pytest.mark.parametrize("n", [3, 5])
def test_spreads_of_few_seeds_have_no_interval(n: int) -> None:
    found = census(np.random.default_rng(n), n, 0.01, 0.01)
    assert not found.ends and {ends for _, ends in found.shares.values()} == {None}


def test_every_kind_of_interval_is_tried() -> None:
    text = DOCS.read_text(encoding="utf-8").partition("## Intervals")[2].partition("## Comparing")[0]
    rows = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
    named = {label for row in rows for label in re.findall(r"`([^`]+)`", row)}
    assert named == NEAR.keys() | AT_LEAST.keys() | APART


@pytest.mark.parametrize("n", SIZES)
def test_labels_are_those_of_the_size(n: int) -> None:
    """A trial above means the kind that it stands under: Student's and tests below eight runs, resamples beyond."""
    rng, many = np.random.default_rng(0), n >= bootstrap.SMALL
    for trial, (few, enough) in {
        mean: ("t", "bootstrap"),
        difference: ("Welch t", "bootstrap"),
        lowest: ("paired t, Bonferroni", "bootstrap"),
    }.items():
        bounds, _ = trial(rng, n)
        assert bounds is not None and bounds[2] == (enough if many else few)
