"""Estimators on made-up data whose answer is known (how often intervals cover it: test_coverage.py)."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.optimize import nnls

from dualgrad.estimators import bootstrap, boundary, families, hierarchy, spread, units
from dualgrad.estimators.dip import dip
from dualgrad.estimators.modes import dip_power, gaussian_bic, modes, shifted_lognormal_bic, silverman
from dualgrad.estimators.ranks import mann_whitney
from dualgrad.estimators.survival import kaplan_meier, stays
from dualgrad.statistics import variance_null
from dualgrad.statistics.chosen_lambda import leave_one_out
from dualgrad.statistics.curves import Curve
from dualgrad.statistics.dependence import kendall
from dualgrad.statistics.layout import Sheet
from dualgrad.statistics.reruns import split_variance
from dualgrad.statistics.variance_null import fit, samples


def covered(bounds: list, truth: float) -> float:
    return float(np.mean([low <= truth <= high for low, high, _ in bounds]))


def test_intervals_of_the_largest_difference_cover_it():
    """Twenty λ that do not differ: choosing the largest mean does not fool the interval."""
    rng = np.random.default_rng(0)
    samples = 0.1 + rng.normal(0, 0.05, (500, 8, 20))
    assert covered([bootstrap.extreme_bounds(one) for one in samples], 0.1) >= 0.95
    naive = [bootstrap.t_bounds(one[:, one.mean(axis=0).argmax()])[0] for one in samples]
    assert covered(naive, 0.1) < 0.8
    samples = samples[:, :5, :10]
    other = rng.normal(0, 0.05, (500, 4, 10))
    least = [bootstrap.extreme_bounds(a, b, largest=False) for a, b in zip(samples, other, strict=True)]
    assert covered(least, 0.1) >= 0.95


def test_equal_data_give_equal_intervals():
    values = np.random.default_rng(1).normal(size=12)
    assert bootstrap.mean_bounds(values) == bootstrap.mean_bounds(values[::-1].copy())
    assert bootstrap.difference_bounds(values, values[:9]) == bootstrap.difference_bounds(
        values[::-1].copy(), values[:9]
    )


def test_small_samples_get_the_textbook_intervals():
    values, other = np.array([0.1, 0.2, 0.4]), np.array([0.5, 0.9, 0.7, 0.8])
    low, high, how = bootstrap.mean_bounds(values)
    expected = stats.t.interval(0.95, 2, values.mean(), stats.sem(values))
    assert (low, high) == pytest.approx(expected) and how == "t"
    welch = stats.ttest_ind(values, other, equal_var=False).confidence_interval()
    low, high, how = bootstrap.difference_bounds(values, other)
    assert (low, high) == pytest.approx((welch.low, welch.high)) and how == "Welch t"
    assert bootstrap.mean_bounds(values[:1]) is None


def test_rank_tests():
    """Exact with ties: all splits counted. Without ties, scipy's exact distribution."""
    a, b = np.array([0.1, 0.3, 0.35, 0.6, 0.9]), np.array([0.2, 0.7, 0.8, 1.0, 1.1])
    assert mann_whitney(a, b) == (pytest.approx(stats.mannwhitneyu(a, b, method="exact").pvalue), "exact")
    tied = np.array([0.9, 0.9, 0.2, 0.1, 0.1]), np.array([0.9, 0.9, 0.9, 0.9, 0.9])
    expected = stats.permutation_test(
        tied,
        lambda x, y: abs(stats.rankdata(np.concatenate([x, y]))[:5].sum() - 27.5),
        n_resamples=np.inf,
        alternative="greater",
    ).pvalue
    assert mann_whitney(*tied) == (pytest.approx(expected), "exact")
    many = np.round(np.random.default_rng(2).normal(size=(2, 20)), 1)
    assert mann_whitney(*many)[1] == "normal approximation"


def test_dip_has_one_answer():
    values = np.random.default_rng(3).normal(size=50)
    assert dip(values) == dip(values[::-1])
    two = np.concatenate([values, values + 8])
    assert dip(two)[1] < 0.01 < dip(values)[1]
    assert dip_power(300, 4.0) > 0.95 > 0.2 > dip_power(10, 4.0)
    with pytest.raises(ValueError, match="three"):
        dip(values[:2])


def test_one_skewed_mode_is_told_from_two():
    rng = np.random.default_rng(4)
    skewed = 0.1 + np.exp(rng.normal(-2, 0.6, 300))
    split = np.concatenate([rng.normal(0.2, 0.03, 150), rng.normal(0.6, 0.03, 150)])
    assert shifted_lognormal_bic(skewed) < gaussian_bic(skewed)
    assert silverman(split, 100) == 0.0 < 0.05 < silverman(rng.normal(size=200), 100)
    assert modes(split, 0.05) == 2 and modes(split, 1.0) == 1


def test_survival():
    curve = kaplan_meier(np.array([1.0, 2, 2, 3]), np.array([True, True, False, True]))
    assert curve.share == pytest.approx([0.75, 0.5, 0.0])
    assert stays(np.array([1, 1, 0, 1, 1, 1], dtype=bool), 3) == [(3, 6)]
    with pytest.raises(ValueError, match="no runs"):
        kaplan_meier(np.empty(0), np.empty(0, dtype=bool))


@pytest.mark.parametrize("truth", [0.9, 0.5, 0.1])
def test_reruns_find_the_share_of_the_variance_within_seeds(truth):
    rng = np.random.default_rng(5)
    shares, inside = [], 0
    for _ in range(300):
        seeds = rng.normal(0, np.sqrt(1 - truth), 24)
        group = np.repeat(np.arange(8), 3)
        values = 5.0 * group[:, None] + seeds[:, None] + rng.normal(0, np.sqrt(truth), (24, 2))
        _, _, share, (low, high, _) = split_variance(values, group.astype(float))
        shares.append(share)
        inside += low <= truth <= high
    assert np.median(shares) == pytest.approx(truth, abs=0.08)
    assert inside / 300 >= 0.93  # degrees of freedom read off three seeds each are few rather than many


def test_variances_of_shifted_curves_follow_the_slope():
    """Seeds whose curves are shifted by δ: the model finds the spread of δ and leaves nothing."""
    rng = np.random.default_rng(6)
    lam = np.linspace(0.2, 0.6, 41)
    shift = rng.normal(0, 0.01, 500)
    errors = 0.1 + 0.7 / (1 + np.exp(-(lam - 0.4 - shift[:, None]) / 0.04))
    a, b = fit(np.gradient(errors.mean(axis=0), lam) ** 2, errors.var(axis=0))
    assert np.sqrt(b) == pytest.approx(0.01, rel=0.1) and a < 1e-4


def test_the_variances_model_is_fitted_as_scipy_fits_it():
    rng = np.random.default_rng(8)
    square, variance = rng.exponential(1, (200, 6)), rng.exponential(1, (200, 6))
    found = np.stack(fit(square, variance), axis=1)
    known = [nnls(np.column_stack([np.ones(6), s]), v)[0] for s, v in zip(square, variance, strict=True)]
    assert found == pytest.approx(np.array(known), abs=1e-9)
    assert (found == 0).any(axis=0).all(), "both edges occur"


def test_what_the_variances_model_gives_by_itself():
    """Runs drawn one by one give the same r: with ten, whose model is exact, .83 leaves nothing to explain."""
    rng = np.random.default_rng(9)
    lam, n = np.array([0.35, 0.40, 0.43, 0.45, 0.47, 0.50, 0.55]), 10
    means = 0.16 + 0.6 / (1 + np.exp(-(lam - 0.49) / 0.03))
    modelled = 0.0002 * np.gradient(means, lam) ** 2
    errors = rng.normal(means, np.sqrt(modelled * n / (n - 1)), (4000, n, len(lam)))
    known = [np.corrcoef(np.gradient(one.mean(axis=0), lam) ** 2, one.var(axis=0))[0, 1] for one in errors]
    found = samples(lam, means, modelled, np.full(len(lam), n))["model_correlation"]
    for tail in (0.025, 0.25, 0.5):
        assert np.quantile(found, tail) == pytest.approx(np.quantile(known, tail), abs=0.05)
    assert np.quantile(found, 0.025) < 0.83 < np.quantile(found, 0.975)


def test_equal_errors_have_no_variance_to_explain():
    """Seven times .1 have a variance of 2e-34 by rounding, three times .1 none: that is no curve of variances."""
    groups = tuple(np.full(n, 0.1) for n in (7, 3, 4, 10))
    assert np.ptp([one.var() for one in groups]) > 0
    sheet = Sheet("demo", variance_null.KEYS, variance_null.QUANTITIES)
    variance_null._add(sheet, Curve("M2", {}, np.array([0.1, 0.2, 0.3, 0.4]), groups))
    frame = sheet.frame()
    assert frame["value"].isna().all() and set(frame["note"]) == {"the variance is the same at every λ"}


def test_choosing_on_the_test_set_is_optimistic():
    """λ that do not differ: the chosen one looks better than it is, the left-out seed says so."""
    rng = np.random.default_rng(7)
    apart = []
    for _ in range(400):
        errors = rng.normal(0.3, 0.05, (5, 8))
        chosen, honest, places = leave_one_out(errors)
        assert len(places) == 5
        apart.append((errors[:, chosen].mean(), honest.mean()))
    chosen, honest = np.mean(apart, axis=0)
    assert honest == pytest.approx(0.3, abs=0.005) and chosen < 0.28


# ------------------------------------------------------------------------------------------- over units


def test_estimates_over_units_are_the_textbook_s():
    rng = np.random.default_rng(1)
    values, other = rng.normal(0.3, 1, 12), rng.normal(0, 2, 7)
    found = units.of_values(values, 0.1)
    expected = stats.ttest_1samp(values, 0.1)
    assert found.p_value == pytest.approx(expected.pvalue)
    assert (found.low, found.high) == pytest.approx(tuple(expected.confidence_interval()))
    two = stats.ttest_ind(values, other, equal_var=False)
    assert units.of_two(values, other).p_value == pytest.approx(two.pvalue)
    # The jackknife of a mean is Student's interval.
    jackknife = units.jackknife([values], lambda samples: float(samples[0].mean()), 0.1)
    assert (jackknife.low, jackknife.high, jackknife.p_value) == pytest.approx(
        (found.low, found.high, found.p_value)
    )
    assert found.without == pytest.approx(
        (np.delete(values, values.argmax()).mean(), np.delete(values, values.argmin()).mean())
    )
    assert math.isnan(units.of_left_out(0.5, np.array([0.4, np.nan, 0.6])).low)  # hangs on one unit
    assert math.isnan(units.of_left_out(0.5, np.empty(0)).low)  # a single unit: none can be left out


def test_what_is_detectable_is_found_four_times_in_five():
    from statsmodels.stats.power import TTestPower

    values = np.random.default_rng(2).normal(0, 3, 9)
    away = units.of_values(values).detectable
    effect = away / values.std(ddof=1)
    assert TTestPower().power(effect, 9, 0.05) == pytest.approx(0.8, abs=1e-3)
    share = units.of_share(3, 20, 0.5, -1).detectable
    hits = np.arange(21)
    shown = [bootstrap.exact_bounds(k, 20)[1] < 0.5 for k in hits]
    assert stats.binom.pmf(hits, 20, share)[shown].sum() == pytest.approx(0.8, abs=0.02)
    assert math.isnan(units.of_share(0, 3, 0.5, -1).detectable)  # three units never show it


def test_a_boundary_that_moves_is_found():
    rng = np.random.default_rng(3)
    lam, x = np.arange(0.36, 0.62, 0.02), np.array([-1.0, 0.0, 1.0])
    level, grid = np.repeat([0, 1, 2], 5 * len(lam)), np.tile(np.repeat(lam, 5), 3)
    middle, width = 0.48 + 0.03 * x[level], 0.025 * np.exp(-0.2 * x[level])
    mean = 0.1 + 0.8 / (1 + np.exp(-(grid - middle) / width))
    error = mean + rng.normal(0, 0.01, len(mean))
    found = boundary.fit(grid, level, x, error, 0.9)
    assert (found.middle, found.shift) == pytest.approx((0.48, 0.03), abs=1e-3)
    assert (found.width, found.widening) == pytest.approx((0.025, -0.2), abs=0.02)
    assert found.floors == pytest.approx((0.1, 0.1, 0.1), abs=0.01)
    cell = np.unique(np.stack([grid, level]), axis=1, return_inverse=True)[1].ravel()
    ratio, p_value = boundary.lack_of_fit(found.squares, found.parameters, cell, error)
    assert ratio < 2 and p_value > 0.01
    _, squares, parameters = boundary.line(grid, x[level], error)
    assert boundary.lack_of_fit(squares, parameters, cell, error)[0] > 50
    near = boundary.fit(grid, level, x, error, 0.9, found)
    assert near.shift == pytest.approx(found.shift, abs=1e-6)


def test_a_level_without_runs_has_no_boundary():
    lam, level = np.tile(np.arange(0.36, 0.62, 0.02), 2), np.repeat([0, 1], 13)
    assert boundary.fit(lam, level, np.array([-1.0, 0.0, 1.0]), lam, 0.9) is None


@pytest.mark.parametrize(("seed_sd", "run_sd"), [(0.0, 0.015), (0.012, 0.006)])
def test_the_hierarchy_tells_seeds_from_runs(seed_sd, run_sd):
    rng = np.random.default_rng(4)
    lam = np.arange(0.40, 0.60, 0.02)
    parts, seeds, grid = (one.ravel() for one in np.meshgrid(np.arange(6), np.arange(15), lam, indexing="ij"))
    place = 0.5 + rng.normal(0, 0.004, 6)[parts] + rng.normal(0, seed_sd or 1e-12, 15)[seeds]
    place = place + rng.normal(0, run_sd, len(grid))
    error = 0.1 + 0.8 / (1 + np.exp(-(grid - place) / 0.03)) + rng.normal(0, 0.003, len(grid))
    found = hierarchy.fit(grid, error, parts, seeds, 0.9)
    assert found.middle == pytest.approx(0.5, abs=0.012) and found.width == pytest.approx(0.03, abs=0.005)
    assert found.spreads["run"] == pytest.approx(run_sd, rel=0.3)
    truth = seed_sd**2 / (seed_sd**2 + run_sd**2)
    share, (low, high) = found.shares["seed"]
    assert low - 0.02 <= truth <= high + 0.02 and low <= share <= high
    assert (found.p_values["seed"] < 0.001) == (seed_sd > 0)
    assert found.experiment == pytest.approx(0.004, abs=0.004)


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize("levels", [(0.5, 0.52, 0.54, 0.56), (0.1, 0.5, 0.55, 0.6)])
def test_the_hierarchy_says_when_runs_leave_its_shape_open(levels):
    rng = np.random.default_rng(4)
    parts, seeds, lam = (
        one.ravel() for one in np.meshgrid(np.arange(4), np.arange(5), levels, indexing="ij")
    )
    place = 0.3 + rng.normal(0, 0.03, len(lam))  # all runs beyond it, or the others far below
    error = 0.1 + 0.8 / (1 + np.exp(-(lam - place) / 0.03)) + rng.normal(0, 0.003, len(lam))
    with pytest.raises(np.linalg.LinAlgError, match="open"):
        hierarchy.fit(lam, error, parts, seeds, 0.9)


def test_places_that_share_seeds_are_no_better_known_together():
    """Four experiments with the same seeds: what the seeds shift, their mean shifts too."""
    shared = 1e-4 * np.ones((4, 4)) + 1e-6 * np.eye(4)
    mean, error, between, p_value = hierarchy._together(np.full(4, 0.5), shared)
    assert (mean, between, p_value) == pytest.approx((0.5, 0.0, 1.0))
    assert error == pytest.approx(np.sqrt(1e-4 + 1e-6 / 4))
    apart = np.array([0.47, 0.49, 0.51, 0.53])
    _, error, between, _ = hierarchy._together(apart, shared)
    assert between == pytest.approx(apart.std(ddof=1), rel=0.01) and error > apart.std(ddof=1) / 2


def test_concordance_and_families():
    ranks = np.arange(8.0)[:, None]
    assert kendall(np.hstack([ranks, ranks**2, np.exp(ranks)]))[0] == pytest.approx(1)
    table = np.random.default_rng(5).normal(size=(12, 6))
    w, p_value = kendall(table)
    friedman = stats.friedmanchisquare(*table)
    assert (w * 6 * 11, p_value) == pytest.approx((friedman.statistic, friedman.pvalue))
    assert kendall(np.full((4, 3), 0.9)) is None
    p_values = pd.Series([0.01, np.nan, 0.04, 0.03])
    assert families.holm(p_values).tolist()[0] == pytest.approx(0.03)
    assert families.holm(p_values)[[2, 3]].tolist() == pytest.approx([0.06, 0.06])
    assert families.benjamini_hochberg(p_values)[[0, 2, 3]].tolist() == pytest.approx([0.03, 0.04, 0.04])
    assert math.isnan(families.holm(p_values)[1])


def test_corrected_p_values_are_those_of_statsmodels():
    """To the last bit: what is published rests on them. Ties, ones, none and a single one too."""
    from statsmodels.stats.multitest import multipletests

    rng = np.random.default_rng(8)
    drawn = [rng.uniform(0, 1, n) ** 4 for n in (1, 2, 7, 60)]
    for values in (*drawn, np.array([0.2, 0.01, 0.2, 1.0, 0.6, 0.01]), np.zeros(3)):
        missing = np.insert(values, len(values) // 2, np.nan)
        kept = ~np.isnan(missing)
        for correct, method in ((families.holm, "holm"), (families.benjamini_hochberg, "fdr_bh")):
            expected = multipletests(values, method=method)[1]
            assert correct(pd.Series(missing))[kept].to_numpy().tobytes() == expected.tobytes()
    for nothing in (pd.Series([], dtype=float), pd.Series([None, None], dtype=object)):
        assert families.holm(nothing).isna().all() and families.benjamini_hochberg(nothing).isna().all()


def test_samples_that_are_too_few_to_spread_differently():
    """Of any samples of so many elements none has a smaller p value; three beside three never get to 0.05."""
    rng = np.random.default_rng(3)
    for sizes, least in (((3, 3), 0.116117), ((3, 5), 0.024008), ((5, 5), 0.003950)):
        drawn = [
            spread.brown_forsythe(*(rng.standard_cauchy(n) ** 3 * 10.0 ** rng.integers(-9, 9) for n in sizes))
            for _ in range(300)
        ]
        assert spread.smallest_p(*sizes) == pytest.approx(least, abs=1e-5)
        assert min(drawn) > least - 1e-5
    assert spread.smallest_p(4, 4) < 1e-9
    assert math.isnan(spread.smallest_p(2, 30))
    assert math.isnan(spread.brown_forsythe(np.array([0.0, 1.0]), np.arange(9.0)))
    assert math.isnan(spread.brown_forsythe(np.zeros(5), np.array([1.0, 1.0, -1.0, -1.0])))


def test_spreads_of_pairs():
    """By hand from Morgan's form: t = (F - 1) √(n - 2) / (2 √(F (1 - r²))), F the ratio of the variances."""
    first = np.array([3.0, 1.0, 4.0, 1.5, 5.0, 9.0])
    second = np.array([2.0, 1.8, 2.9, 1.1, 3.0, 4.0])
    f, r = first.var() / second.var(), np.corrcoef(first, second)[0, 1]
    t = (f - 1) * math.sqrt(4) / (2 * math.sqrt(f * (1 - r**2)))
    assert spread.pitman_morgan(first, second) == pytest.approx(2 * stats.t.sf(t, 4))
    assert math.isnan(spread.pitman_morgan(first, first)) and math.isnan(
        spread.pitman_morgan(first[:2], second[:2])
    )
