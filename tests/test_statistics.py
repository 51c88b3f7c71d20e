"""Reference values: every public function of `analysis` against an independent library or a published number."""

import math
from dataclasses import fields

import numpy as np
import pytest
import statsmodels.api as sm
import statsmodels.stats.power as smp
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
    confidence_sequence,
    crossing_probabilities,
    cuped,
    holm,
    interaction_test,
    mean_difference,
    minimum_detectable_effect,
    non_inferiority,
    off_policy,
    power_of,
    proportion_difference,
    quantile_difference,
    ratio_difference,
    relative_lift,
    sample_ratio,
    sample_size,
    sequential_sample_ratio,
    spending_bounds,
)

EXACT = {"rel": 1e-6}


@pytest.fixture(scope="module")
def arms() -> tuple[np.ndarray, np.ndarray]:
    """(n, 4) numerator, denominator, and both before the test."""
    rng = np.random.default_rng(3)

    def arm(n: int, lift: float) -> np.ndarray:
        taste = rng.gamma(2.0, 1.0, n)
        shown, before = rng.poisson(20, n) + 1.0, rng.poisson(15, n) + 1.0
        return np.column_stack(
            [rng.poisson(lift * taste * shown / 10), shown, rng.poisson(taste * before / 10), before]
        )

    return arm(300, 1.0), arm(420, 1.2)


def tea(metric: object, arms: tuple[np.ndarray, np.ndarray]) -> object:
    """What tea-tasting says of columns a, b, c, d."""

    def aggregate(x: np.ndarray) -> Aggregates:
        cov = np.cov(x, rowvar=False)
        names = "abcd"
        return Aggregates(
            count_=len(x), mean_=dict(zip(names, x.mean(0).tolist())),
            var_={n: float(cov[i, i]) for i, n in enumerate(names)},
            cov_={(m, n): float(cov[i, j]) for i, m in enumerate(names) for j, n in enumerate(names) if i < j},
        )  # fmt: skip

    return metric.analyze_aggregates(aggregate(arms[0]), aggregate(arms[1]))  # type: ignore[attr-defined]


# -- means ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("equal_var", [False, True])
@pytest.mark.parametrize("alternative", ["two-sided", "greater", "less"])
def test_means_are_students_and_welchs(arms, equal_var: bool, alternative: str) -> None:  # type: ignore[no-untyped-def]
    a, b = arms[0][:, 0], arms[1][:, 0]
    found = mean_difference(a, b, equal_var=equal_var, alternative=alternative)
    wanted = stats.ttest_ind(b, a, equal_var=equal_var, alternative=alternative)
    interval = wanted.confidence_interval(0.95)
    assert found.statistic == pytest.approx(wanted.statistic, **EXACT)
    assert found.df == pytest.approx(wanted.df, **EXACT)
    assert found.pvalue == pytest.approx(wanted.pvalue, **EXACT)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high), **EXACT)


def test_means_with_a_normal_statistic_are_statsmodels_ztest(arms) -> None:  # type: ignore[no-untyped-def]
    a, b = arms[0][:, 0], arms[1][:, 0]
    found = mean_difference(a, b, use_t=False)
    compare = weighted.CompareMeans.from_data(b, a)
    statistic, pvalue = compare.ztest_ind(usevar="unequal")
    assert (found.statistic, found.pvalue) == pytest.approx((statistic, pvalue), **EXACT)
    assert (found.low, found.high) == pytest.approx(compare.zconfint_diff(usevar="unequal"), **EXACT)


def test_sufficient_statistics_say_what_values_say_one_by_one_and_many_at_once(arms) -> None:  # type: ignore[no-untyped-def]
    a, b = arms[0][:, 0], arms[1][:, 0]
    plain = mean_difference(a, b)
    wanted = stats.ttest_ind_from_stats(
        b.mean(), b.std(ddof=1), len(b), a.mean(), a.std(ddof=1), len(a), equal_var=False
    )
    assert mean_difference(Summary.of(a), Summary.of(b)).pvalue == pytest.approx(wanted.pvalue, **EXACT)
    many = Summary(np.array([len(a), len(a)]), np.array([a.mean()] * 2), np.array([a.var(ddof=1)] * 2))
    found = mean_difference(many, b)
    for field in fields(plain):
        assert np.asarray(getattr(found, field.name)) == pytest.approx(getattr(plain, field.name), rel=1e-12)


@pytest.mark.parametrize("use_t", [True, False])
def test_the_relative_interval_is_tea_tastings(arms, use_t: bool) -> None:  # type: ignore[no-untyped-def]
    wanted = tea(tt.Mean("a", use_t=use_t), arms)
    found = mean_difference(arms[0][:, 0], arms[1][:, 0], use_t=use_t)
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
    _, low, high = relative_lift(Summary(100, 10.0, 4.0), Summary(100, 11.0, 5.0), method="delta", use_t=False)
    error = math.sqrt(0.05 / 100 + 1.21 * 0.04 / 100)
    assert (low, high) == pytest.approx((0.1 - 1.959963985 * error, 0.1 + 1.959963985 * error), rel=1e-8)


def test_fieller_is_the_set_of_ratios_that_are_not_rejected() -> None:
    a, b = Summary(40, 5.0, 9.0), Summary(50, 6.0, 16.0)
    _, low, high = relative_lift(a, b, method="fieller", use_t=False)
    for end in (low, high):
        ratio = 1 + end
        z = (b.mean - ratio * a.mean) / math.sqrt(b.variance / b.n + ratio**2 * a.variance / a.n)
        assert abs(z) == pytest.approx(1.959963985, rel=1e-8)
    assert relative_lift(Summary(9, 0.1, 9.0), b, method="fieller")[1:] == (-math.inf, math.inf)


def test_fieller_is_the_delta_method_where_the_control_is_sure() -> None:
    a, b = Summary(10**6, 2.0, 1.0), Summary(10**6, 3.0, 1.0)
    exact = relative_lift(a, b, method="fieller", use_t=False)
    delta = relative_lift(a, b, method="delta", use_t=False)
    assert exact == pytest.approx(delta, rel=1e-5)


# -- proportions and ratios -------------------------------------------------------------------------------------------


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
    found = proportion_difference(120, 1000, 150, 1100)
    low, high = proportion.confint_proportions_2indep(150, 1100, 120, 1000, compare="ratio", method="log")
    assert (1 + found.lift_low, 1 + found.lift_high) == pytest.approx((low, high), **EXACT)


def test_one_sided_proportions() -> None:
    found = proportion_difference(120, 1000, 150, 1100, alternative="greater")
    assert found.pvalue == pytest.approx(
        proportion.proportions_ztest([150, 120], [1100, 1000], alternative="larger")[1], **EXACT
    )
    assert found.high == 1.0


@pytest.mark.parametrize("use_t", [True, False])
def test_ratios_are_tea_tastings(arms, use_t: bool) -> None:  # type: ignore[no-untyped-def]
    wanted = tea(tt.RatioOfMeans("a", "b", use_t=use_t), arms)
    found = ratio_difference(arms[0][:, :2], arms[1][:, :2], use_t=use_t)
    assert (found.control, found.treatment) == pytest.approx((wanted.control, wanted.treatment), **EXACT)
    assert (found.low, found.high) == pytest.approx((wanted.effect_size_ci_lower, wanted.effect_size_ci_upper), **EXACT)
    assert found.pvalue == pytest.approx(wanted.pvalue, **EXACT)
    assert found.lift_high == pytest.approx(wanted.rel_effect_size_ci_upper, **EXACT)


def test_a_ratio_has_the_spread_that_a_bootstrap_over_users_finds(arms) -> None:  # type: ignore[no-untyped-def]
    a, b = arms[0][:, :2], arms[1][:, :2]
    found = ratio_difference(Joint.of(a), Joint.of(b))
    drawn = bootstrap_difference(a, b, lambda x: float(x[:, 0].sum() / x[:, 1].sum()), resamples=2000)
    assert drawn.difference == pytest.approx(found.difference, rel=1e-12)
    assert drawn.standard_error == pytest.approx(found.standard_error, rel=0.06)


# -- CUPED ------------------------------------------------------------------------------------------------------------


def test_cuped_of_a_mean_is_tea_tastings(arms) -> None:  # type: ignore[no-untyped-def]
    wanted = tea(tt.Mean("a", "c"), arms)
    found = cuped(arms[0][:, 0], arms[1][:, 0], arms[0][:, 2], arms[1][:, 2])
    assert found.adjusted.difference == pytest.approx(wanted.effect_size, **EXACT)
    assert found.adjusted.pvalue == pytest.approx(wanted.pvalue, **EXACT)
    assert found.adjusted.lift_low == pytest.approx(wanted.rel_effect_size_ci_lower, **EXACT)
    assert found.raw.pvalue == pytest.approx(tea(tt.Mean("a"), arms).pvalue, **EXACT)


def test_cuped_with_several_covariates_is_least_squares(arms) -> None:  # type: ignore[no-untyped-def]
    (a, b), n = arms, len(arms[0]) + len(arms[1])
    found = cuped(a[:, 0], b[:, 0], a[:, 2:], b[:, 2:], theta="within")
    treated = np.repeat([0.0, 1.0], [len(a), len(b)])
    both = np.concatenate(arms)
    fit = sm.OLS(both[:, 0], sm.add_constant(np.column_stack([treated, both[:, 2:]]))).fit()
    assert found.adjusted.difference == pytest.approx(fit.params[1], **EXACT)
    assert found.theta == pytest.approx(fit.params[2:], **EXACT)
    assert found.adjusted.standard_error == pytest.approx(fit.bse[1], rel=0.05)  # there the residuals are pooled
    assert n == len(both)


def test_cuped_saves_the_squared_correlation() -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(2, 200_000))
    y = 0.8 * x + 0.6 * rng.normal(size=x.shape)
    found = cuped(y[0], y[1], x[0], x[1])
    assert found.variance_saved == pytest.approx(0.64, abs=0.01)
    assert cuped(y[0], y[1], x[0], x[1], theta=0.0).variance_saved == pytest.approx(0.0, abs=1e-12)


def test_cuped_from_sufficient_statistics(arms) -> None:  # type: ignore[no-untyped-def]
    joint = [Joint.of(arm[:, [0, 2]]) for arm in arms]
    plain = cuped(arms[0][:, 0], arms[1][:, 0], arms[0][:, 2], arms[1][:, 2])
    assert cuped(*joint).adjusted.pvalue == pytest.approx(plain.adjusted.pvalue, rel=1e-12)


# -- guardrails -------------------------------------------------------------------------------------------------------


def test_non_inferiority_with_an_absolute_margin_is_a_shifted_t_test(arms) -> None:  # type: ignore[no-untyped-def]
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
    assert not non_inferiority(a, b, at_bound * 0.99, higher_is_better=higher, use_t=False).not_worse


def test_chance_to_win_is_the_normal_tail() -> None:
    assert chance_to_win(0.5, 0.25) == pytest.approx(stats.norm.cdf(2.0), **EXACT)


# -- many -------------------------------------------------------------------------------------------------------------

PVALUES = np.array([0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459, 0.3240, 0.4262, 0.5719, 0.6528,
                    0.7590, 1.0])  # fmt: skip


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
    ("counts", "weights"), [([520, 480], None), ([821_588, 815_482], [0.5, 0.5]), ([310, 290, 180], [0.4, 0.4, 0.2])]
)
def test_sample_ratio_is_chi_square(counts: list[int], weights: list[float] | None) -> None:
    found = sample_ratio(counts, weights)
    share = np.ones(len(counts)) / len(counts) if weights is None else np.array(weights)
    wanted = stats.chisquare(counts, np.sum(counts) * share)
    assert (found.statistic, found.pvalue) == pytest.approx((wanted.statistic, wanted.pvalue), **EXACT)
    by_name = sample_ratio({str(i): c for i, c in enumerate(counts)}, {str(i): 7 * s for i, s in enumerate(share)})
    assert by_name.pvalue == pytest.approx(found.pvalue, rel=1e-9)


def test_sample_ratio_on_a_published_example() -> None:
    """Kohavi, Tang and Xu 2020, chapter 21: 821,588 against 815,482 users of a planned half have p = 1.8e-6."""
    assert sample_ratio([821_588, 815_482]).pvalue == pytest.approx(1.8e-6, rel=0.05)


def test_the_sequential_sample_ratio_is_the_bayes_factor_of_a_dirichlet() -> None:
    x, share, c = np.array([60.0, 40.0]), np.array([0.5, 0.5]), 100.0
    wanted = stats.dirichlet_multinomial.pmf(x, c * share, 100) / stats.multinomial.pmf(x, 100, share)
    assert sequential_sample_ratio([x], share, c)[0] == pytest.approx(min(1 / wanted, 1), **EXACT)


def test_the_sequential_sample_ratio_rarely_errs_and_finds_a_broken_split() -> None:
    rng = np.random.default_rng(0)
    looks = rng.multinomial(200, [0.5, 0.25, 0.25], (400, 30)).cumsum(axis=1)
    wrong = [sequential_sample_ratio(run, [0.5, 0.25, 0.25])[-1] < 0.05 for run in looks]
    assert np.mean(wrong) <= 0.05
    broken = rng.multinomial(200, [0.46, 0.27, 0.27], (100, 30)).cumsum(axis=1)
    assert np.mean([sequential_sample_ratio(run, [0.5, 0.25, 0.25])[-1] < 0.05 for run in broken]) > 0.8


def test_interaction_is_cochrans_q() -> None:
    from statsmodels.stats.meta_analysis import combine_effects

    effects, errors = np.array([0.10, 0.04, -0.02]), np.array([0.02, 0.03, 0.025])
    wanted = combine_effects(effects, errors**2, method_re="dl").test_homogeneity()
    found = interaction_test([*effects, np.nan], [*errors, 1.0])
    assert (found.statistic, found.df, found.pvalue) == pytest.approx(
        (wanted.statistic, wanted.df, wanted.pvalue), **EXACT
    )


# -- looking more than once -------------------------------------------------------------------------------------------

# Lan and DeMets bounds, two-sided .05, half per side, equally spaced looks; as in the tables of ldbounds and gsDesign.
PUBLISHED = {
    ("obrien_fleming", 2): [2.9626, 1.9686],
    ("obrien_fleming", 3): [3.7103, 2.5114, 1.9930],
    ("obrien_fleming", 4): [4.3326, 2.9631, 2.3590, 2.0141],
    ("obrien_fleming", 5): [4.8769, 3.3569, 2.6803, 2.2898, 2.0310],
    ("pocock", 2): [2.1570, 2.2010],
    ("pocock", 5): [2.4380, 2.4268, 2.4101, 2.3966, 2.3859],
}


@pytest.mark.parametrize(("spending", "looks"), PUBLISHED)
def test_bounds_are_the_published_ones(spending: str, looks: int) -> None:
    found = spending_bounds(np.arange(1, looks + 1) / looks, 0.05, spending)
    assert found == pytest.approx(PUBLISHED[spending, looks], rel=1e-3, abs=1e-3)


@pytest.mark.parametrize(
    ("looks", "constant", "power"), [(5, 2.413, 0), (5, 2.040, 0.5), (2, 2.178, 0), (2, 1.977, 0.5), (10, 2.555, 0)]
)
def test_classical_bounds_spend_five_per_cent(looks: int, constant: float, power: float) -> None:
    """Constants of Pocock (1977) and O'Brien and Fleming (1979), from Jennison and Turnbull 2000, tables 2.1 and 2.3."""
    t = np.arange(1, looks + 1) / looks
    up, down = crossing_probabilities(t, constant * (1 / t) ** power)
    assert up.sum() + down.sum() == pytest.approx(0.05, abs=1e-4)


def test_unequal_looks_against_a_multivariate_normal() -> None:
    t = np.array([0.3, 0.45, 1.0])
    bounds = spending_bounds(t, 0.05, "pocock")
    stays = stats.multivariate_normal(cov=np.sqrt(np.minimum.outer(t, t) / np.maximum.outer(t, t))).cdf(
        bounds, lower_limit=-bounds
    )
    assert 1 - stays == pytest.approx(0.05, abs=1e-5)
    up, _ = crossing_probabilities(t, bounds, drift=2.8)
    moved = stats.multivariate_normal(
        mean=2.8 * np.sqrt(t), cov=np.sqrt(np.minimum.outer(t, t) / np.maximum.outer(t, t))
    )
    assert up.sum() == pytest.approx(1 - moved.cdf(bounds, lower_limit=-bounds), abs=1e-4)


def test_error_may_be_spent_by_other_fractions_than_the_information() -> None:
    t, at = np.array([0.2, 0.7, 1.0]), np.array([1, 2, 3]) / 3
    up, down = crossing_probabilities(t, spending_bounds(t, 0.05, "linear", spend_at=at))
    assert (up + down) == pytest.approx(np.full(3, 0.05 / 3), rel=1e-6)


def test_one_look_is_no_sequential_test() -> None:
    assert spending_bounds([1.0])[0] == pytest.approx(1.959963985, rel=1e-8)
    found = after_stopping(1.5, 1, [1.0], [1.96], 0.2)
    wanted = (0.3, 0.3 - 1.959963985 * 0.2, 0.3 + 1.959963985 * 0.2, 2 * stats.norm.sf(1.5))
    assert (found.estimate, found.low, found.high, found.pvalue) == pytest.approx(wanted, rel=1e-6)


def test_the_interval_after_stopping_covers_and_its_middle_is_unbiased() -> None:
    rng = np.random.default_rng(4)
    t, drift = np.arange(1, 6) / 5, 2.5
    bounds = spending_bounds(t)
    paths = rng.normal(drift / 5, np.sqrt(0.2), (300, 5)).cumsum(axis=1) / np.sqrt(t)
    crossed = np.abs(paths) >= bounds
    looks = np.where(crossed.any(1), crossed.argmax(1), 4)
    found = [after_stopping(z[k], k + 1, t, bounds, 1 / np.sqrt(t[k])) for z, k in zip(paths, looks)]
    inside = sum(f.low <= drift <= f.high for f in found)
    above = sum(f.estimate > drift for f in found)
    for count, rate in ((inside, 0.95), (above, 0.5)):
        low, high = stats.binom.interval(0.999, len(found), rate)
        assert low <= count <= high
    naive = np.mean([f.naive for f in found])
    assert abs(np.median([f.estimate for f in found]) - drift) < naive - drift  # stopping early flatters the naive one


def test_the_confidence_sequence_is_the_papers_formula() -> None:
    n, alpha = 400.0, 0.05
    rho2 = (-2 * math.log(alpha) + math.log(-2 * math.log(alpha) + 1)) / 1000
    half = 1.5 * math.sqrt(2 * (n * rho2 + 1) / (n**2 * rho2) * math.log(math.sqrt(n * rho2 + 1) / alpha))
    found = confidence_sequence(0.3, 1.5 / math.sqrt(n), n, optimal_n=1000)
    assert (found.low, found.high) == pytest.approx((0.3 - half, 0.3 + half), rel=1e-12)
    edge = confidence_sequence(half, 1.5 / math.sqrt(n), n, optimal_n=1000)
    assert edge.pvalue == pytest.approx(alpha, rel=1e-9)


# -- planning ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ratio", [1.0, 0.5])
@pytest.mark.parametrize("use_t", [True, False])
def test_sample_sizes_are_statsmodels(ratio: float, use_t: bool) -> None:
    solve = smp.tt_ind_solve_power if use_t else smp.zt_ind_solve_power
    wanted = float(np.squeeze(solve(effect_size=0.2, alpha=0.05, power=0.8, ratio=ratio)))
    found = sample_size(4.0, 0.4, ratio=ratio, use_t=use_t)
    assert found.n_control == pytest.approx(wanted, **EXACT)
    assert found.n_treatment == pytest.approx(ratio * wanted, **EXACT)


def test_a_textbook_sample_size() -> None:
    """Cohen 1988, table 2.4.1: 64 per arm find half a standard deviation with .80 at .05, two-sided."""
    assert math.ceil(sample_size(1.0, 0.5, use_t=True).n_control) == 64
    assert sample_size(1.0, 0.5, use_t=True).users == 128
    assert sample_size(25.0, 0.05, mean=10.0).n_control == pytest.approx(sample_size(25.0, 0.5).n_control, **EXACT)


def test_the_detectable_effect_turns_the_sample_size_round() -> None:
    plan = sample_size(9.0, 0.25, ratio=0.5, variance_saved=0.3, looks=5)
    found = minimum_detectable_effect(9.0, plan.n_control, plan.n_treatment, variance_saved=0.3, looks=5)
    assert found == pytest.approx(0.25, rel=1e-6)
    wanted = smp.zt_ind_solve_power(nobs1=500, alpha=0.05, power=0.8)
    assert minimum_detectable_effect(1.0, 500) == pytest.approx(wanted, **EXACT)


def test_power_is_statsmodels() -> None:
    error = math.sqrt(2 / 300)
    wanted = smp.NormalIndPower().power(0.2, 300, 0.05)
    assert power_of(0.2, error) == pytest.approx(wanted, **EXACT)
    one_sided = smp.NormalIndPower().power(0.2, 300, 0.05, alternative="larger")
    assert power_of(0.2, error, alternative="greater") == pytest.approx(one_sided, **EXACT)


@pytest.mark.parametrize(("looks", "most"), [(2, 1.110), (5, 1.229)])
def test_looks_of_pocock_spending_cost_users(looks: int, most: float) -> None:
    """About as much as Pocock's constant bounds (`most`: Jennison and Turnbull 2000, table 2.2)."""
    power = 0.8
    t = np.arange(1, looks + 1) / looks
    bounds = spending_bounds(t, spending="pocock")
    plan = sample_size(1.0, 0.1, power=power, looks=looks, spending="pocock")
    drift = 0.1 / math.sqrt(1 / plan.n_control + 1 / plan.n_treatment)
    paths = np.random.default_rng(0).normal(drift / looks, math.sqrt(1 / looks), (100_000, looks)).cumsum(1) / np.sqrt(
        t
    )
    assert (np.abs(paths) >= bounds).any(1).mean() == pytest.approx(power, abs=0.005)
    assert plan.inflation == pytest.approx(most, abs=0.02)
    assert sample_size(1.0, 0.1, looks=looks).inflation < 1.04  # O'Brien-Fleming's cost next to nothing


# -- quantiles --------------------------------------------------------------------------------------------------------


def test_a_bootstrap_with_given_rows_by_hand(arms) -> None:  # type: ignore[no-untyped-def]
    a, b = arms[0][:50, 0], arms[1][:60, 0]
    rng = np.random.default_rng(5)
    rows = rng.integers(0, 50, (200, 50)), rng.integers(0, 60, (200, 60))
    found = bootstrap_difference(a, b, np.median, indices=rows)  # type: ignore[arg-type]
    spread = np.median(b[rows[1]], axis=1) - np.median(a[rows[0]], axis=1)
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(spread, [0.025, 0.975])), **EXACT)
    assert found.standard_error == pytest.approx(spread.std(ddof=1), **EXACT)
    same = quantile_difference(a, b, 0.5, indices=rows)
    assert (same.difference, same.low, same.high) == pytest.approx((found.difference, found.low, found.high), **EXACT)


def test_a_bootstrap_of_means_is_scipys_with_the_same_rows() -> None:
    rng = np.random.default_rng(6)
    x = rng.exponential(size=80)
    zero = np.zeros(2)
    rows = np.random.default_rng(9).integers(0, 80, (500, 80))
    found = bootstrap_difference(zero, x, np.mean, indices=(np.zeros((500, 2), int), rows))  # type: ignore[arg-type]
    wanted = stats.bootstrap((x,), np.mean, n_resamples=500, method="percentile", random_state=np.random.default_rng(9))
    assert (found.low, found.high) == pytest.approx(tuple(wanted.confidence_interval), **EXACT)


def test_ranks_drawn_binomially_spread_as_the_bootstrap_does() -> None:
    rng = np.random.default_rng(7)
    a, b = rng.lognormal(size=800), rng.lognormal(0.1, 1.0, size=900)
    for q in (0.5, 0.9):
        fast = quantile_difference(a, b, q, resamples=8000)
        rows = rng.integers(0, 800, (4000, 800)), rng.integers(0, 900, (4000, 900))
        slow = quantile_difference(a, b, q, indices=rows)
        assert fast.standard_error == pytest.approx(slow.standard_error, rel=0.06)


# -- off-policy -------------------------------------------------------------------------------------------------------


def test_off_policy_by_hand() -> None:
    """Four rows, logging probabilities .5 and .25."""
    y, p, q = [1.0, 0.0, 1.0, 0.0], [0.5, 0.25, 0.25, 0.5], [1.0, 1.0, 0.0, 0.5]
    found = off_policy(y, p, q, predicted=[0.5] * 4, predicted_target=[0.6, 0.6, 0.4, 0.4])
    w = np.array([2.0, 4.0, 0.0, 1.0])
    assert found.ips.value == pytest.approx(2 / 4)
    assert found.snips.value == pytest.approx(2 / 7)
    assert found.dm is not None
    assert found.dm.value == pytest.approx(0.5)
    assert found.dr is not None
    assert found.dr.value == pytest.approx(0.5 + (w @ (np.array(y) - 0.5)) / 4)
    assert found.effective_n == pytest.approx(49 / 21)
    assert found.ips.standard_error == pytest.approx(stats.sem(w * y), **EXACT)
    assert (found.largest_weight, found.matched, found.mean_weight) == pytest.approx((4.0, 0.75, 7 / 4))


def test_the_same_policy_is_the_mean_of_the_log() -> None:
    y, p = np.array([1.0, 0.0, 0.0, 1.0, 1.0]), np.full(5, 0.2)
    found = off_policy(y, p, p)
    assert found.ips.value == found.snips.value == pytest.approx(0.6)
    assert found.effective_n == pytest.approx(5)


def test_rows_of_one_user_count_as_one() -> None:
    rng = np.random.default_rng(0)
    y, p, q = rng.random(300), rng.uniform(0.2, 1, 300), rng.random(300)
    once, thrice = (
        off_policy(y, p, q),
        off_policy(*(np.tile(x, 3) for x in (y, p, q)), cluster=np.tile(np.arange(300), 3)),
    )
    assert thrice.snips.standard_error == pytest.approx(once.snips.standard_error, rel=1e-9)


def test_off_policy_intervals_cover_the_truth() -> None:
    """Softmax logging over 8 items in 5 contexts, another softmax as target; 600 logs of 2,000 rows."""
    rng = np.random.default_rng(8)
    logits, wants, click = rng.normal(size=(5, 8)), rng.normal(size=(5, 8)), rng.uniform(0.05, 0.6, (5, 8))
    p, q = (np.exp(x) / np.exp(x).sum(1, keepdims=True) for x in (logits, wants))
    truth = (q * click).sum(1).mean()
    model = np.clip(click + rng.normal(0, 0.1, click.shape), 0, 1)  # a wrong model of the reward
    inside = {"ips": 0, "snips": 0, "dr": 0}
    for _ in range(600):
        x = rng.integers(0, 5, 2000)
        a = (rng.random((2000, 1)) > p.cumsum(1)[x]).sum(1).clip(max=7)
        y = (rng.random(2000) < click[x, a]) * 1.0
        found = off_policy(y, p[x, a], q[x, a], predicted=model[x, a], predicted_target=(q * model).sum(1)[x])
        for name in inside:
            estimate = getattr(found, name)
            inside[name] += estimate.low <= truth <= estimate.high
    low, high = stats.binom.interval(0.999, 600, 0.95)
    assert all(low <= count <= high for count in inside.values()), inside


# -- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: mean_difference([1.0], [1.0, 2.0]), "at least 2"),
        (lambda: mean_difference([1.0, np.nan], [1.0, 2.0]), "1 of 2 values are missing"),
        (lambda: mean_difference([1.0, 2.0], [1.0, 2.0], alternative="bigger"), "alternative 'bigger'"),
        (lambda: ratio_difference([[1, 0], [2, 0]], [[1, 1], [2, 1]]), "denominator sums to 0"),
        (lambda: cuped([1.0, 2.0], [1.0, 3.0], [1.0, 1.0], [1.0, 1.0]), "does not vary"),
        (lambda: holm([0.5, 1.5]), "between 0 and 1"),
        (lambda: sample_ratio([10, 20], [0.5, 0.0]), "one positive weight"),
        (lambda: spending_bounds([0.5, 0.4]), "rise"),
        (lambda: spending_bounds([0.5, 1.0], spending="wang"), "unknown"),
        (lambda: sample_size(1.0, 0.0), "effect of 0"),
        (lambda: minimum_detectable_effect(1.0, 0), "users in both arms"),
        (lambda: off_policy([1.0, 0.0], [0.5, np.nan], [1.0, 1.0]), "1 of 2 rows have no propensity"),
        (lambda: off_policy([1.0, 0.0], [0.5, 0.5], [1.0, 1.0], predicted=[0.1, 0.1]), "go together"),
        (lambda: quantile_difference([1.0, 2.0], [1.0, 2.0], 1.5), "quantile"),
        (lambda: non_inferiority([1.0, 2.0], [1.0, 2.0], -0.1), "margin"),
        (lambda: non_inferiority([-1.0, -2.0], [-1.0, -2.0], 0.1), "not above 0"),
        (lambda: bootstrap_difference([1.0, np.nan], [1.0, 2.0], np.mean), "missing"),  # type: ignore[arg-type]
        (lambda: bootstrap_difference([1.0, 2.0], [1.0, 2.0], np.mean, resamples=0), "resamples"),  # type: ignore[arg-type]
        (lambda: off_policy([1.0, np.nan], [0.5, 0.5], [1.0, 1.0]), "rewards are missing"),
        (lambda: off_policy([1.0, 0.0], [0.5, 0.5], [1.0, 1.0], cluster=[1]), "1 values of cluster"),
        (lambda: sample_size(1.0, 0.1, alternative="foo"), "alternative cannot be foo"),
        (lambda: sample_size(1.0, 0.1, looks=2.5), "looks cannot be 2.5"),  # type: ignore[arg-type]
        (lambda: sample_size(1.0, 0.1, looks=3, alternative="greater"), "two-sided"),
        (lambda: after_stopping(2.0, 2, [0.5, 1.0], [3.0], 0.1), "a bound for every look"),
        (lambda: spending_bounds([0.5, 0.5000001, 0.5000002, 1.0]), "next to no information"),
    ],
)
def test_what_cannot_be_judged_is_refused_in_one_line(call, words: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(AnalysisError, match=words) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_every_public_name_is_there_and_documented() -> None:
    for name in analysis.__all__:
        assert getattr(analysis, name).__doc__, name


def test_a_variance_is_never_below_zero() -> None:
    """Covariances from sums of squares leave a rounding error where all values are alike."""
    assert Joint(10, np.zeros(1), np.array([[-1e-18]])).linear(np.ones(1)).variance == 0
