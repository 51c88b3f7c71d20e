"""Reference values: every public function of `analysis` against an independent library or a
published number.
"""

import math
from dataclasses import fields
from typing import Any

import numpy as np
import pytest
import statsmodels.api as sm
import statsmodels.stats.proportion as proportion
import statsmodels.stats.weightstats as weighted
import tea_tasting as tt
from scipy import stats
from statsmodels.stats.multitest import multipletests
from tea_tasting.aggr import Aggregates

import analysis
from analysis import (
    AnalysisError,
    Joint,
    Summary,
    after_stopping,
    benjamini_hochberg,
    bootstrap_difference,
    chance_to_win,
    cuped,
    holm,
    interaction_test,
    mean_difference,
    minimum_detectable_effect,
    non_inferiority,
    off_policy,
    proportion_difference,
    quantile_difference,
    ratio_difference,
    relative_lift,
    sample_ratio,
    sample_size,
    spending_bounds,
)

EXACT: dict[str, Any] = {"rel": 1e-6}


@pytest.fixture(scope="module")
def arms() -> tuple[np.ndarray, np.ndarray]:
    """(n, 4) numerator, denominator, and both before the test."""
    rng = np.random.default_rng(3)

    def arm(n: int, lift: float) -> np.ndarray:
        taste = rng.gamma(2.0, 1.0, n)
        shown, before = rng.poisson(20, n) + 1.0, rng.poisson(15, n) + 1.0
        return np.column_stack(
            [
                rng.poisson(lift * taste * shown / 10),
                shown,
                rng.poisson(taste * before / 10),
                before,
            ]
        )

    return arm(300, 1.0), arm(420, 1.2)


def tea(metric: Any, arms: tuple[np.ndarray, np.ndarray]) -> Any:
    """What tea-tasting says of columns a, b, c, d."""

    def aggregate(x: np.ndarray) -> Aggregates:
        cov = np.cov(x, rowvar=False)
        names = "abcd"
        return Aggregates(
            count_=len(x),
            mean_=dict(zip(names, x.mean(0).tolist())),
            var_={n: float(cov[i, i]) for i, n in enumerate(names)},
            cov_={
                (m, n): float(cov[i, j])
                for i, m in enumerate(names)
                for j, n in enumerate(names)
                if i < j
            },
        )

    return metric.analyze_aggregates(aggregate(arms[0]), aggregate(arms[1]))


# -- means -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("equal_var", [False, True])
@pytest.mark.parametrize("alternative", ["two-sided", "greater", "less"])
def test_means_are_students_and_welchs(arms: Any, equal_var: bool, alternative: str) -> None:
    a, b = arms[0][:, 0], arms[1][:, 0]
    found = mean_difference(a, b, equal_var=equal_var, alternative=alternative)
    wanted = stats.ttest_ind(b, a, equal_var=equal_var, alternative=alternative)
    interval = wanted.confidence_interval(0.95)
    assert found.statistic == pytest.approx(wanted.statistic, **EXACT)
    assert found.df == pytest.approx(wanted.df, **EXACT)
    assert found.pvalue == pytest.approx(wanted.pvalue, **EXACT)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high), **EXACT)


def test_means_with_a_normal_statistic_are_statsmodels_ztest(arms: Any) -> None:
    a, b = arms[0][:, 0], arms[1][:, 0]
    found = mean_difference(a, b, use_t=False)
    compare = weighted.CompareMeans.from_data(b, a)
    statistic, pvalue = compare.ztest_ind(usevar="unequal")
    assert (found.statistic, found.pvalue) == pytest.approx((statistic, pvalue), **EXACT)
    assert (found.low, found.high) == pytest.approx(
        compare.zconfint_diff(usevar="unequal"), **EXACT
    )


def test_sufficient_statistics_say_what_values_say_one_by_one_and_many_at_once(arms: Any) -> None:
    a, b = arms[0][:, 0], arms[1][:, 0]
    plain = mean_difference(a, b)
    wanted = stats.ttest_ind_from_stats(
        b.mean(), b.std(ddof=1), len(b), a.mean(), a.std(ddof=1), len(a), equal_var=False
    )
    assert mean_difference(Summary.of(a), Summary.of(b)).pvalue == pytest.approx(
        wanted.pvalue, **EXACT
    )
    many = Summary(
        np.array([len(a), len(a)]), np.array([a.mean()] * 2), np.array([a.var(ddof=1)] * 2)
    )
    found = mean_difference(many, b)
    for field in fields(plain):
        assert np.asarray(getattr(found, field.name)) == pytest.approx(
            getattr(plain, field.name), rel=1e-12
        )


@pytest.mark.parametrize("use_t", [True, False])
def test_the_relative_interval_is_tea_tastings(arms: Any, use_t: bool) -> None:
    wanted = tea(tt.Mean("a", use_t=use_t), arms)
    found = mean_difference(arms[0][:, 0], arms[1][:, 0], use_t=use_t, lift="log")
    assert found.lift == pytest.approx(wanted.rel_effect_size, **EXACT)
    ends = (wanted.rel_effect_size_ci_lower, wanted.rel_effect_size_ci_upper)
    assert (found.lift_low, found.lift_high) == pytest.approx(ends, **EXACT)
    assert found.pvalue == pytest.approx(wanted.pvalue, **EXACT)


def test_there_is_no_lift_over_a_control_that_is_not_above_0() -> None:
    for control in (0.0, -3.0):
        found = mean_difference(Summary(50, control, 4.0), Summary(50, 1.0, 4.0))
        assert np.isnan([found.lift, found.lift_low, found.lift_high]).all()
        assert found.pvalue < 0.05


def test_the_delta_interval_of_a_lift_by_hand() -> None:
    # Control 10 with variance of the mean .04, treatment 11 with .05: ratio 1.1.
    _, low, high = relative_lift(
        Summary(100, 10.0, 4.0), Summary(100, 11.0, 5.0), method="delta", use_t=False
    )
    error = math.sqrt(0.05 / 100 + 1.21 * 0.04 / 100)
    assert (low, high) == pytest.approx(
        (0.1 - 1.959963985 * error, 0.1 + 1.959963985 * error), rel=1e-8
    )


def test_fieller_is_the_set_of_ratios_that_are_not_rejected() -> None:
    a, b = Summary(40, 5.0, 9.0), Summary(50, 6.0, 16.0)
    _, low, high = relative_lift(a, b, method="fieller", use_t=False)
    for end in (low, high):
        ratio = 1 + end
        z = (b.mean - ratio * a.mean) / math.sqrt(b.variance / b.n + ratio**2 * a.variance / a.n)
        assert abs(z) == pytest.approx(1.959963985, rel=1e-8)
    # A control that is not clear of 0: the side of the gap on which the estimate lies, or all.
    _, low, high = relative_lift(Summary(9, 0.1, 9.0), b, method="fieller")
    assert (low > 0, high) == (True, math.inf)
    nothing = relative_lift(Summary(9, 0.1, 9.0), Summary(9, 0.2, 9.0), method="fieller")
    assert nothing[1:] == (-math.inf, math.inf)


def test_fieller_is_the_delta_method_where_the_control_is_sure() -> None:
    a, b = Summary(10**6, 2.0, 1.0), Summary(10**6, 3.0, 1.0)
    exact = relative_lift(a, b, method="fieller", use_t=False)
    delta = relative_lift(a, b, method="delta", use_t=False)
    assert exact == pytest.approx(delta, rel=1e-5)


# -- proportions and ratios ------------------------------------------------------------------------


@pytest.mark.parametrize("interval", ["newcomb", "wald", "agresti-caffo"])
def test_proportions_are_statsmodels(interval: str) -> None:
    found = proportion_difference(120, 1000, 150, 1100, interval=interval)
    statistic, pvalue = proportion.proportions_ztest([150, 120], [1100, 1000])
    assert (found.statistic, found.pvalue) == pytest.approx((statistic, pvalue), **EXACT)
    ends = proportion.confint_proportions_2indep(150, 1100, 120, 1000, method=interval)
    assert (found.low, found.high) == pytest.approx(ends, **EXACT)
    chi = stats.chi2_contingency([[150, 950], [120, 880]], correction=False)
    assert found.pvalue == pytest.approx(chi.pvalue, **EXACT)


def test_the_interval_of_a_risk_ratio_is_statsmodels() -> None:
    parts = (Summary(n, k / n, k / n * (1 - k / n)) for k, n in ((120, 1000), (150, 1100)))
    _, lift_low, lift_high = relative_lift(*parts, method="log", use_t=False)
    low, high = proportion.confint_proportions_2indep(
        150, 1100, 120, 1000, compare="ratio", method="log"
    )
    assert (1 + lift_low, 1 + lift_high) == pytest.approx((low, high), **EXACT)


def test_one_sided_proportions() -> None:
    found = proportion_difference(120, 1000, 150, 1100, alternative="greater")
    assert found.pvalue == pytest.approx(
        proportion.proportions_ztest([150, 120], [1100, 1000], alternative="larger")[1], **EXACT
    )
    assert found.high == 1.0


@pytest.mark.parametrize("use_t", [True, False])
def test_ratios_are_tea_tastings(arms: Any, use_t: bool) -> None:
    wanted = tea(tt.RatioOfMeans("a", "b", use_t=use_t), arms)
    found = ratio_difference(arms[0][:, :2], arms[1][:, :2], use_t=use_t, lift="log")
    assert (found.control, found.treatment) == pytest.approx(
        (wanted.control, wanted.treatment), **EXACT
    )
    assert (found.low, found.high) == pytest.approx(
        (wanted.effect_size_ci_lower, wanted.effect_size_ci_upper), **EXACT
    )
    assert found.pvalue == pytest.approx(wanted.pvalue, **EXACT)
    assert found.lift_high == pytest.approx(wanted.rel_effect_size_ci_upper, **EXACT)


def test_a_ratio_has_the_spread_that_a_bootstrap_over_users_finds(arms: Any) -> None:
    a, b = arms[0][:, :2], arms[1][:, :2]
    found = ratio_difference(Joint.of(a), Joint.of(b))
    drawn = bootstrap_difference(
        a, b, lambda x: float(x[:, 0].sum() / x[:, 1].sum()), resamples=2000
    )
    assert drawn.difference == pytest.approx(found.difference, rel=1e-12)
    assert drawn.standard_error == pytest.approx(found.standard_error, rel=0.06)


# -- CUPED -----------------------------------------------------------------------------------------


def test_cuped_of_a_mean_is_tea_tastings(arms: Any) -> None:
    wanted = tea(tt.Mean("a", "c"), arms)
    found = cuped(arms[0][:, 0], arms[1][:, 0], arms[0][:, 2], arms[1][:, 2], lift="log")
    assert found.adjusted.difference == pytest.approx(wanted.effect_size, **EXACT)
    assert found.adjusted.pvalue == pytest.approx(wanted.pvalue, **EXACT)
    assert found.adjusted.lift_low == pytest.approx(wanted.rel_effect_size_ci_lower, **EXACT)
    assert found.raw.pvalue == pytest.approx(tea(tt.Mean("a"), arms).pvalue, **EXACT)


def test_cuped_with_several_covariates_is_least_squares(arms: Any) -> None:
    (a, b), n = arms, len(arms[0]) + len(arms[1])
    found = cuped(a[:, 0], b[:, 0], a[:, 2:], b[:, 2:], theta="within")
    treated = np.repeat([0.0, 1.0], [len(a), len(b)])
    both = np.concatenate(arms)
    fit = sm.OLS(both[:, 0], sm.add_constant(np.column_stack([treated, both[:, 2:]]))).fit()
    assert found.adjusted.difference == pytest.approx(fit.params[1], **EXACT)
    assert found.theta == pytest.approx(fit.params[2:], **EXACT)
    # there the residuals are pooled
    assert found.adjusted.standard_error == pytest.approx(fit.bse[1], rel=0.05)
    assert n == len(both)


def test_cuped_saves_the_squared_correlation() -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(2, 200_000))
    y = 0.8 * x + 0.6 * rng.normal(size=x.shape)
    found = cuped(y[0], y[1], x[0], x[1])
    assert found.variance_saved == pytest.approx(0.64, abs=0.01)
    assert cuped(y[0], y[1], x[0], x[1], theta=0.0).variance_saved == pytest.approx(0.0, abs=1e-12)


def test_cuped_from_sufficient_statistics(arms: Any) -> None:
    joint = [Joint.of(arm[:, [0, 2]]) for arm in arms]
    plain = cuped(arms[0][:, 0], arms[1][:, 0], arms[0][:, 2], arms[1][:, 2])
    assert cuped(*joint).adjusted.pvalue == pytest.approx(plain.adjusted.pvalue, rel=1e-12)  # type: ignore[arg-type]


# -- guardrails ------------------------------------------------------------------------------------


def test_non_inferiority_with_an_absolute_margin_is_a_shifted_t_test(arms: Any) -> None:
    a, b = arms[0][:, 0], arms[1][:, 0]
    found = non_inferiority(a, b, 0.3, relative=False, equal_var=True)
    wanted = weighted.ttest_ind(b, a, alternative="larger", usevar="pooled", value=-0.3)
    assert found.pvalue == pytest.approx(wanted[1], **EXACT)
    assert found.bound == pytest.approx(mean_difference(a, b, equal_var=True).low, **EXACT)
    worse = non_inferiority(a, b, 0.3, relative=False, higher_is_better=False)
    assert worse.pvalue == pytest.approx(
        weighted.ttest_ind(b, a, alternative="smaller", usevar="unequal", value=0.3)[1], **EXACT
    )


@pytest.mark.parametrize("higher", [True, False])
def test_a_relative_margin_is_fiellers_bound(higher: bool) -> None:
    sign = 1 if higher else -1
    a, b = Summary(4000, 10.0, 30.0), Summary(4000, 10.0 - sign * 0.02, 30.0)
    at_bound = abs(non_inferiority(a, b, 0.0, higher_is_better=higher, use_t=False).bound)
    edge = non_inferiority(a, b, at_bound, higher_is_better=higher, use_t=False)
    assert edge.pvalue == pytest.approx(0.025, rel=1e-6)
    assert non_inferiority(a, b, at_bound * 1.01, higher_is_better=higher, use_t=False).not_worse
    assert not non_inferiority(
        a, b, at_bound * 0.99, higher_is_better=higher, use_t=False
    ).not_worse


def test_chance_to_win_is_the_normal_tail() -> None:
    assert chance_to_win(0.5, 0.25) == pytest.approx(stats.norm.cdf(2.0), **EXACT)


# -- many ------------------------------------------------------------------------------------------

PVALUES = np.array(
    [
        0.0001,
        0.0004,
        0.0019,
        0.0095,
        0.0201,
        0.0278,
        0.0298,
        0.0344,
        0.0459,
        0.3240,
        0.4262,
        0.5719,
        0.6528,
        0.7590,
        1.0,
    ]
)


def test_benjamini_hochberg_on_their_own_example() -> None:
    """Benjamini and Hochberg 1995, section 3.1: the four smallest of 15 are rejected at .05."""
    found = benjamini_hochberg(PVALUES)
    assert (found <= 0.05).sum() == 4
    assert found == pytest.approx(stats.false_discovery_control(PVALUES), **EXACT)


def test_holm_on_the_same_example() -> None:
    found = holm(PVALUES)
    assert (found <= 0.05).sum() == 3
    assert found == pytest.approx(multipletests(PVALUES, method="holm")[1], **EXACT)
    assert holm([0.01, np.nan, 0.04]) == pytest.approx([0.02, np.nan, 0.04], nan_ok=True)


@pytest.mark.parametrize(
    ("counts", "weights"),
    [([5200, 4800], None), ([821_588, 815_482], [0.5, 0.5]), ([310, 290, 180], [0.4, 0.4, 0.2])],
)
def test_sample_ratio_is_chi_square(counts: list[int], weights: list[float] | None) -> None:
    found = sample_ratio(counts, weights)
    share = np.ones(len(counts)) / len(counts) if weights is None else np.array(weights)
    wanted = stats.chisquare(counts, np.sum(counts) * share)
    assert (found.statistic, found.pvalue) == pytest.approx(
        (wanted.statistic, wanted.pvalue), **EXACT
    )
    by_name = sample_ratio(
        {str(i): c for i, c in enumerate(counts)}, {str(i): 7 * s for i, s in enumerate(share)}
    )
    assert by_name.pvalue == pytest.approx(found.pvalue, rel=1e-9)


def test_sample_ratio_of_two_small_arms_is_exact() -> None:
    assert sample_ratio([520, 480]).pvalue == pytest.approx(
        stats.binomtest(520, 1000, 0.5).pvalue, **EXACT
    )
    sizes = np.arange(101)  # every split of 100 users, and how likely it is
    rejected = np.array([sample_ratio([a, 100 - a]).pvalue < 0.05 for a in range(101)])
    assert stats.binom.pmf(sizes, 100, 0.5)[rejected].sum() <= 0.05


def test_sample_ratio_on_a_published_example() -> None:
    """Kohavi, Tang and Xu 2020, chapter 21: 821,588 against 815,482 users of a planned half have p
    = 1.8e-6.
    """
    assert sample_ratio([821_588, 815_482]).pvalue == pytest.approx(1.8e-6, rel=0.05)


def test_interaction_is_cochrans_q() -> None:
    from statsmodels.stats.meta_analysis import combine_effects

    effects, errors = np.array([0.10, 0.04, -0.02]), np.array([0.02, 0.03, 0.025])
    wanted = combine_effects(effects, errors**2, method_re="dl").test_homogeneity()
    found = interaction_test([*effects, np.nan], [*errors, 1.0])
    assert (found.statistic, found.df, found.pvalue) == pytest.approx(
        (wanted.statistic, wanted.df, wanted.pvalue), **EXACT
    )


# -- quantiles -------------------------------------------------------------------------------------


def test_a_bootstrap_with_given_rows_by_hand(arms: Any) -> None:
    a, b = arms[0][:50, 0], arms[1][:60, 0]
    rng = np.random.default_rng(5)
    rows = rng.integers(0, 50, (200, 50)), rng.integers(0, 60, (200, 60))
    found = bootstrap_difference(a, b, np.median, indices=rows, expanded=False)
    spread = np.median(b[rows[1]], axis=1) - np.median(a[rows[0]], axis=1)
    assert (found.low, found.high) == pytest.approx(
        tuple(np.quantile(spread, [0.025, 0.975])), **EXACT
    )
    assert found.standard_error == pytest.approx(spread.std(ddof=1), **EXACT)
    same = quantile_difference(a, b, 0.5, indices=rows)
    inside = np.sort(spread)[[4, -5]]  # the fifth from each end: 201 times .025
    assert (same.difference, same.low, same.high) == pytest.approx(
        (found.difference, *inside), **EXACT
    )
    around = bootstrap_difference(a, b, np.median, indices=rows)
    assert around.high - around.difference == pytest.approx(around.difference - around.low)


def test_a_bootstrap_of_means_is_scipys_with_the_same_rows() -> None:
    rng = np.random.default_rng(6)
    x = rng.exponential(size=80)
    zero = np.zeros(2)
    rows = np.random.default_rng(9).integers(0, 80, (500, 80))
    pairs = np.zeros((500, 2), int), rows
    found = bootstrap_difference(zero, x, np.mean, indices=pairs, expanded=False)
    wanted = stats.bootstrap(
        (x,), np.mean, n_resamples=500, method="percentile", random_state=np.random.default_rng(9)
    )
    assert (found.low, found.high) == pytest.approx(tuple(wanted.confidence_interval), **EXACT)


def test_ranks_drawn_binomially_spread_as_the_bootstrap_does() -> None:
    rng = np.random.default_rng(7)
    a, b = rng.lognormal(size=800), rng.lognormal(0.1, 1.0, size=900)
    for q in (0.5, 0.9):
        fast = quantile_difference(a, b, q, resamples=8000)
        rows = rng.integers(0, 800, (4000, 800)), rng.integers(0, 900, (4000, 900))
        slow = quantile_difference(a, b, q, indices=rows)
        assert fast.standard_error == pytest.approx(slow.standard_error, rel=0.06)


# -- refusals --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: mean_difference([1.0], [1.0, 2.0]), "at least 2"),
        (lambda: mean_difference([1.0, np.nan], [1.0, 2.0]), "1 of 2 values are missing"),
        (
            lambda: mean_difference([1.0, 2.0], [1.0, 2.0], alternative="bigger"),
            "alternative 'bigger'",
        ),
        (lambda: ratio_difference([[1, 0], [2, 0]], [[1, 1], [2, 1]]), "denominator sums to 0"),
        (lambda: cuped([1.0, 2.0], [1.0, 3.0], [1.0, 1.0], [1.0, 1.0]), "does not vary"),
        (lambda: holm([0.5, 1.5]), "between 0 and 1"),
        (lambda: sample_ratio([10, 20], [0.5, 0.0]), "one positive weight"),
        (lambda: spending_bounds([0.5, 0.4]), "rise"),
        (lambda: spending_bounds([0.5, 1.0], spending="wang"), "unknown"),
        (lambda: sample_size(1.0, 0.0), "effect of 0"),
        (lambda: minimum_detectable_effect(1.0, 0), "users in both arms"),
        (
            lambda: off_policy([1.0, 0.0], [0.5, np.nan], [1.0, 1.0]),
            "1 of 2 rows have no propensity",
        ),
        (
            lambda: off_policy([1.0, 0.0], [0.5, 0.5], [1.0, 1.0], predicted=[0.1, 0.1]),
            "go together",
        ),
        (lambda: quantile_difference([1.0, 2.0], [1.0, 2.0], 1.5), "quantile"),
        (lambda: non_inferiority([1.0, 2.0], [1.0, 2.0], -0.1), "margin"),
        (lambda: non_inferiority([-1.0, -2.0], [-1.0, -2.0], 0.1), "not above 0"),
        (lambda: bootstrap_difference([1.0, np.nan], [1.0, 2.0], np.mean), "missing"),
        (lambda: bootstrap_difference([1.0, 2.0], [1.0, 2.0], np.mean, resamples=0), "resamples"),
        (lambda: off_policy([1.0, np.nan], [0.5, 0.5], [1.0, 1.0]), "rewards are missing"),
        (
            lambda: off_policy([1.0, 0.0], [0.5, 0.5], [1.0, 1.0], cluster=[1]),
            "values of cluster",
        ),
        (lambda: sample_size(1.0, 0.1, alternative="foo"), "alternative cannot be foo"),
        (lambda: sample_size(1.0, 0.1, looks=2.5), "looks cannot be 2.5"),  # type: ignore[arg-type]
        (lambda: sample_size(1.0, 0.1, looks=3, alternative="greater"), "two-sided"),
        (lambda: after_stopping(2.0, 2, [0.5, 1.0], [3.0], 0.1), "a bound for every look"),
        (lambda: spending_bounds([0.5, 0.5000001, 0.5000002, 1.0]), "next to no information"),
    ],
)
def test_what_cannot_be_judged_is_refused_in_one_line(call: Any, words: str) -> None:
    with pytest.raises(AnalysisError, match=words) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_every_public_name_is_there_and_documented() -> None:
    for name in analysis.__all__:
        assert getattr(analysis, name).__doc__, name


def test_a_variance_is_never_below_zero() -> None:
    """Covariances from sums of squares leave a rounding error where all values are alike."""
    assert Joint(10, np.zeros(1), np.array([[-1e-18]])).linear(np.ones(1)).variance == 0
