"""Estimators on made-up data whose answer is known, and the coverage of intervals by simulation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from dualgrad.estimators import bootstrap
from dualgrad.estimators.dip import dip
from dualgrad.estimators.modes import dip_power, gaussian_bic, modes, shifted_lognormal_bic, silverman
from dualgrad.estimators.ranks import mann_whitney
from dualgrad.estimators.survival import kaplan_meier, stays
from dualgrad.statistics.chosen_lambda import leave_one_out
from dualgrad.statistics.reruns import split_variance
from dualgrad.statistics.variance_null import fit

TRIALS = 2000


def covered(bounds: list, truth: float) -> float:
    return float(np.mean([low <= truth <= high for low, high, _ in bounds]))


@pytest.mark.parametrize("n", [3, 5, 10, 20])
def test_intervals_cover_what_they_say(n):
    """Means, differences and spreads of normal samples: 95 % within three points."""
    rng = np.random.default_rng(n)
    first, second = rng.normal(0.3, 0.1, (TRIALS, n)), rng.normal(0.2, 0.2, (TRIALS, n))
    assert covered([bootstrap.mean_bounds(one) for one in first], 0.3) == pytest.approx(0.95, abs=0.03)
    pairs = zip(first, second, strict=True)
    assert covered([bootstrap.difference_bounds(*pair) for pair in pairs], 0.1) == pytest.approx(
        0.95, abs=0.03
    )
    spreads = [bootstrap.sd_bounds(one) for one in first]
    if n <= 5:
        assert spreads == [None] * TRIALS
    else:
        # The interval is that of the spread which a population value of n runs estimates: σ √((n - 1)/n).
        assert covered(spreads, 0.1 * np.sqrt((n - 1) / n)) == pytest.approx(0.95, abs=0.03)


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
    low, high, _ = bootstrap.rank_correlation_bounds(0.93654, 45)
    assert low < 0.93654 < high


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
    assert inside / 300 == pytest.approx(0.95, abs=0.04)


def test_variances_of_shifted_curves_follow_the_slope():
    """Seeds whose curves are shifted by δ: the model finds the spread of δ and leaves nothing."""
    rng = np.random.default_rng(6)
    lam = np.linspace(0.2, 0.6, 41)
    shift = rng.normal(0, 0.01, 500)
    errors = 0.1 + 0.7 / (1 + np.exp(-(lam - 0.4 - shift[:, None]) / 0.04))
    a, b = fit(np.gradient(errors.mean(axis=0), lam) ** 2, errors.var(axis=0))
    assert np.sqrt(b) == pytest.approx(0.01, rel=0.1) and a < 1e-4


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
