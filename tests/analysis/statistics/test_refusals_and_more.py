"""What was once wrong without a word, and the tests that a company statistician missed."""

import math
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import statsmodels.api as sm
import statsmodels.stats.power as smp
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.weightstats import ttost_ind

from analysis import (
    AnalysisError,
    Joint,
    Summary,
    after_stopping,
    benjamini_yekutieli,
    bonferroni,
    bootstrap_difference,
    chance_to_win,
    clustered_difference,
    confidence_sequence,
    crossing_probabilities,
    cuped,
    equivalence,
    exact_proportions,
    hochberg,
    judge,
    mann_whitney,
    mean_difference,
    msprt,
    non_inferiority,
    off_policy,
    posterior,
    power_of,
    proportion_difference,
    quantile_difference,
    ratio_difference,
    sample_ratio,
    sample_size_of_margin,
    sample_size_of_proportions,
    sequential_sample_ratio,
    tukey,
)
from analysis.statistics.resampling import least_users

RNG = np.random.default_rng(0)
A, B = RNG.normal(10, 2, 80), RNG.normal(10.5, 3, 90)
MASKED = np.ma.masked_array(A, mask=np.arange(80) == 3)
THREE = np.column_stack([A, A + 1, A + 2])
TIMES = np.array([0.5, 1.0])


def _all(x: np.ndarray) -> Any:
    return x


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: quantile_difference(A, B, 0.99), "needs 368 in each arm"),
        (lambda: quantile_difference(A, B, level=2.0), "between 0 and 1"),
        (lambda: bootstrap_difference(A, B, np.mean, level=0.0), "between 0 and 1"),
        (lambda: bootstrap_difference(A, B, lambda x: float("nan")), "wanted one finite number"),
        (lambda: bootstrap_difference(A, B, _all), "wanted one finite number"),
        (lambda: bootstrap_difference(A, THREE, np.mean), "the same columns in both arms"),
        (lambda: power_of(1.0, 0.5, alternative="larger"), "alternative 'larger' is unknown"),
        (lambda: power_of(1.0, 0.5, alpha=1.5), "alpha lies between 0 and 1"),
        (lambda: power_of(1.0, -0.5), "negative"),
        (lambda: power_of(np.nan, 0.5), "missing"),
        (lambda: off_policy([1, 0], [0.5, 0.5], [1, 0], level=95), "between 0 and 1"),
        (lambda: off_policy([1, 0], [0.5, 0.5], [1, 0], predicted=[1, np.nan],
                            predicted_target=[1, 1]), "predicted are missing"),
        (lambda: after_stopping(2.0, 2, TIMES, [3.0, 2.0], 1.0, level=1.0), "between 0 and 1"),
        (lambda: after_stopping(2.0, 2, TIMES, [3.0, np.nan], 1.0), "bounds of"),
        (lambda: after_stopping(2.0, 2, TIMES, [3.0, 2.0], -1.0), "above 0"),
        (lambda: after_stopping(np.nan, 2, TIMES, [3.0, 2.0], 1.0), "finite number"),
        (lambda: crossing_probabilities(TIMES, [2.0]), "2 looks and 1 bounds"),
        (lambda: Summary(10, 1.0, -1.0), "a variance of -1"),
        (lambda: Summary(1, 1.0, 1.0), "at least 2"),
        (lambda: Summary(10, np.nan, 1.0), "a mean of nan"),
        (lambda: Summary(10, 1.0, np.inf), "a variance of inf"),
        (lambda: Joint(10, np.zeros(2), -np.eye(2)), "a variance of -1"),
        (lambda: Joint(10, np.zeros(2), np.full((2, 2), 5.0) - 4 * np.eye(2)), "is larger"),
        (lambda: Joint(10, np.zeros(2), np.eye(3)), "wanted \\(..., k\\)"),
        (lambda: Summary.from_sums(10, 100.0, 50.0), "squares are too small"),
        (lambda: mean_difference(MASKED, B), "masked"),
        (lambda: mean_difference(["a", "b"], B), "wanted numbers"),
        (lambda: ratio_difference((A, A), (B, B)), "column_stack"),
        (lambda: ratio_difference(THREE, THREE), "wants \\(n, 2\\) values"),
        (lambda: cuped(THREE, THREE, A, A), "one outcome per unit"),
        (lambda: cuped(pd.Series(A), B, pd.Series(A)[::-1], B), "other labels"),
        (lambda: cuped(A, B, A * 0 + 0.1, B * 0 + 0.1), "does not vary"),
        (lambda: confidence_sequence([1.0], [-1.0], [10]), "negative"),
        (lambda: confidence_sequence([1.0], [np.nan], [10]), "missing"),
        (lambda: confidence_sequence([1.0, 2.0], [1.0, 1.0, 1.0], [10, 20]), "one of each"),
        (lambda: chance_to_win(1.0, -1.0), "negative"),
        (lambda: chance_to_win(np.nan, 1.0), "missing"),
        (lambda: sequential_sample_ratio([[10, 10], [9, 12]]), "fall at look 2"),
        (lambda: sample_ratio([1, 2], {"a": 1, "b": 1}), "name the counts"),
        (lambda: sample_ratio([np.nan, 2]), "counts of 0 and more"),
        (lambda: sample_ratio([5, 5, 5], exact=True), "for two arms"),
        (lambda: equivalence(A, B, -1.0), "a margin is"),
        (lambda: non_inferiority(A, B, 0.02, alpha=2.0), "alpha lies"),
        (lambda: proportion_difference(1.5, 10, 2, 10), "not a proportion"),  # type: ignore[arg-type]
        (lambda: proportion_difference(1, 10, 2, 10, interval="score"), "interval 'score'"),
        (lambda: exact_proportions(11, 10, 2, 10), "not a proportion"),
        (lambda: exact_proportions(1, 10, 2, 10, method="chi"), "method 'chi'"),
        (lambda: mann_whitney(A, B, alternative="larger"), "alternative 'larger'"),
        (lambda: msprt([1.0], [1.0], 0.0), "tau"),
        (lambda: posterior(1.0, 1.0, 0.0), "a prior has"),
        (lambda: tukey({"a": A}), "at least 2 arms"),
        (lambda: sample_size_of_proportions(0.5, 2.0), "makes 0.5 a proportion of 1.5"),
        (lambda: sample_size_of_margin(1.0, 0.1, true_effect=-0.2), "can be shown by no number"),
        (lambda: clustered_difference(A, A[:3], B, B), "one of each per row"),
    ],
)  # fmt: skip
def test_it_is_refused_in_one_line(call: Any, words: str) -> None:
    with pytest.raises(AnalysisError, match=words) as refused:
        call()
    assert "\n" not in str(refused.value)


def test_sums_say_what_values_say_and_do_not_cancel() -> None:
    for shift in (0.0, 1e3, 1e6):
        x = np.round(RNG.gamma(2.0, 2.0, 500), 3) + shift
        found = Summary.from_sums(len(x), math.fsum(x), math.fsum(x * x))
        assert found.variance == pytest.approx(x.var(ddof=1), rel=1e-3 if shift == 1e6 else 1e-6)
    both = np.column_stack([x, RNG.poisson(4, 500)])
    products = both.T @ both
    joint = Joint.from_sums(500, both.sum(axis=0), products)
    assert joint.covariance == pytest.approx(np.cov(both, rowvar=False), rel=2e-2)
    # of nothing but rounding is left nothing
    assert Summary.from_sums(1000, 1e9, 1e15).variance == 0.0


def test_rounding_dust_is_no_effect() -> None:
    found = mean_difference([0.1] * 1000, [0.1] * 999)
    assert found.difference == 0.0
    assert not found.pvalue < 0.05
    dust = mean_difference([0.3] * 50, [0.1 + 0.2] * 60)
    assert not dust.pvalue < 0.05


def test_p_value_and_interval_of_the_lift_are_one_test() -> None:
    rng = np.random.default_rng(3)
    for method in ("fieller", "log", "delta"):
        for n in (8, 30, 200):
            a, b = rng.lognormal(0, 1.5, (2000, n)), rng.lognormal(0.3, 1.5, (2000, n))
            one, two = (Summary(n, x.mean(1), x.var(1, ddof=1)) for x in (a, b))
            found = mean_difference(one, two, lift=method)
            outside = (found.lift_low > 0) | (found.lift_high < 0)
            assert np.array_equal(outside, found.lift_pvalue < 0.05)
            if method == "fieller":
                assert np.array_equal(found.lift_pvalue, found.pvalue)


def test_the_error_of_the_lift_is_the_spread_of_lifts() -> None:
    rng = np.random.default_rng(5)
    a, b = rng.gamma(4, 1, (4000, 300)), rng.gamma(4, 1.1, (4000, 300))
    one, two = (Summary(300, x.mean(1), x.var(1, ddof=1)) for x in (a, b))
    found = mean_difference(one, two)
    assert np.std(found.lift) == pytest.approx(float(np.mean(found.lift_error)), rel=0.05)


def test_quantiles_of_equal_arms_are_rejected_no_more_than_said() -> None:
    rng = np.random.default_rng(7)
    for q, n in ((0.5, 50), (0.9, 60), (0.99, 400)):
        assert n >= least_users(q)
        p = [
            quantile_difference(
                rng.lognormal(0, 1.5, n), rng.lognormal(0, 1.5, n), q, resamples=500
            ).pvalue
            for _ in range(400)
        ]
        assert np.mean(np.array(p) < 0.05) < 0.05 + 3 * np.sqrt(0.05 * 0.95 / 400)


def test_an_arm_that_nobody_reached_is_not_perfect() -> None:
    assert sample_ratio({"a": 500, "b": 0}).pvalue < 1e-10
    assert sample_ratio({"a": 500, "b": 500}, {"a": 1, "b": 1, "c": 1}).pvalue < 1e-10
    counts, weights = pd.Series({"b": 100, "a": 900}), pd.Series({"a": 0.9, "b": 0.1})
    assert sample_ratio(counts, weights).pvalue == pytest.approx(1.0)
    few = sample_ratio({"a": 3, "b": 0})
    assert few.pvalue == pytest.approx(stats.binomtest(3, 3, 0.5).pvalue)


def test_ranks_are_scipys_and_their_interval_covers() -> None:
    found = mann_whitney(A, B)
    assert found.pvalue == pytest.approx(stats.mannwhitneyu(B, A).pvalue)
    pairs = np.mean((B[:, None] > A) + 0.5 * (B[:, None] == A))
    assert found.probability == pytest.approx(pairs)
    truth = stats.norm.cdf(0.5 / np.sqrt(2))
    rng = np.random.default_rng(1)
    held = 0
    for _ in range(400):
        part = mann_whitney(rng.normal(size=60), rng.normal(0.5, 1, 60))
        held += part.low <= truth <= part.high
    assert held / 400 > 0.95 - 3 * np.sqrt(0.05 * 0.95 / 400)


def test_exact_tests_are_scipys() -> None:
    table = [[7, 2], [23, 28]]
    assert exact_proportions(2, 30, 7, 30, method="fisher").pvalue == pytest.approx(
        stats.fisher_exact(table).pvalue
    )
    assert exact_proportions(2, 30, 7, 30).pvalue == pytest.approx(
        stats.barnard_exact(table).pvalue
    )


@pytest.mark.parametrize(
    ("adjust", "method"),
    [(bonferroni, "bonferroni"), (hochberg, "simes-hochberg"), (benjamini_yekutieli, "fdr_by")],
)
def test_corrections_are_statsmodels(adjust: Any, method: str) -> None:
    p = np.random.default_rng(2).random(9) ** 3
    assert adjust(p) == pytest.approx(multipletests(p, method=method)[1])
    assert np.isnan(adjust([np.nan, 0.5])[0])


def test_tukey_is_scipys_games_howell() -> None:
    arms = {"a": A, "b": B, "c": RNG.normal(11, 1, 70)}
    found = tukey(arms)
    wanted = stats.tukey_hsd(*arms.values(), equal_var=False)
    assert [row.pvalue for row in found] == pytest.approx(
        [wanted.pvalue[0, 1], wanted.pvalue[0, 2], wanted.pvalue[1, 2]], rel=1e-6
    )


def test_equivalence_is_statsmodels() -> None:
    found = equivalence(A, B, 1.5, relative=False)
    assert found.pvalue == pytest.approx(ttost_ind(B, A, -1.5, 1.5, usevar="unequal")[0])
    assert bool(found.equivalent) == (found.pvalue < 0.05)
    assert (found.low > -1.5 and found.high < 1.5) == bool(found.equivalent)


def test_clusters_are_a_regression_with_clustered_errors() -> None:
    rng = np.random.default_rng(4)
    sizes = rng.integers(1, 9, 400)
    users = np.repeat(np.arange(400), sizes)
    treated = users % 2
    y = rng.normal(size=400)[users] + rng.normal(size=len(users)) + 0.3 * treated + 5
    found = clustered_difference(
        y[treated == 0], users[treated == 0], y[treated == 1], users[treated == 1]
    )
    fitted = sm.OLS(y, sm.add_constant(treated)).fit(
        cov_type="cluster", cov_kwds={"groups": users, "use_correction": False}
    )
    assert found.difference == pytest.approx(fitted.params[1])
    assert found.standard_error == pytest.approx(fitted.bse[1], rel=0.01)


def test_planners_keep_their_power() -> None:
    plan = sample_size_of_proportions(0.1, 0.2)
    wanted = smp.NormalIndPower().solve_power(
        0.02 / np.sqrt((0.1 * 0.9 + 0.12 * 0.88) / 2), alpha=0.05, power=0.8
    )
    assert plan.n_control == pytest.approx(wanted, rel=1e-4)
    margin = sample_size_of_margin(4.0, 0.02, mean=10.0)
    rng, n = np.random.default_rng(6), int(margin.n_control)
    means = rng.normal(10.0, 2 / np.sqrt(n), (2, 4000))
    tested = non_inferiority(
        Summary(n, means[0], np.full(4000, 4.0)), Summary(n, means[1], np.full(4000, 4.0)), 0.02
    )
    assert np.mean(tested.not_worse) == pytest.approx(0.8, abs=0.03)


def test_looks_without_end_reject_as_rarely_as_they_say() -> None:
    rng = np.random.default_rng(8)
    n = np.arange(50, 2001, 50.0)
    x = rng.normal(size=(1500, 2000)).cumsum(axis=1)[:, n.astype(int) - 1] / n
    error = np.broadcast_to(1 / np.sqrt(n), x.shape)
    most = 0.05 + 3 * np.sqrt(0.05 * 0.95 / 1500)
    for alternative in ("two-sided", "greater", "less"):
        found = confidence_sequence(
            x, error, np.broadcast_to(n, x.shape), alternative=alternative, optimal_n=1000.0
        )
        out = (found.low > 0) | (found.high < 0)
        assert np.mean(out.any(axis=1)) < most
        assert np.array_equal(out, found.pvalue < 0.05)
    mixture = msprt(x, error, 0.1)
    out = (mixture.low > 0) | (mixture.high < 0)
    assert np.mean(out.any(axis=1)) < most
    assert np.array_equal(out, mixture.pvalue < 0.05)
    one_sided = confidence_sequence(0.2, 0.05, 400, alternative="greater")
    assert one_sided.low > confidence_sequence(0.2, 0.05, 400).low


def test_a_posterior_is_the_one_of_many_effects() -> None:
    """Effects drawn from the prior, estimates from them: what is said holds on average."""
    rng = np.random.default_rng(9)
    effect = rng.normal(0.0, 0.02, 400_000)
    seen = effect + rng.normal(0.0, 0.03, len(effect))
    near = np.abs(seen - 0.03) < 0.002
    found = posterior(0.03, 0.03, 0.02)
    assert found.mean == pytest.approx(effect[near].mean(), abs=1e-3)
    assert found.chance == pytest.approx((effect[near] > 0).mean(), abs=0.01)
    assert found.risk == pytest.approx(np.maximum(-effect[near], 0).mean(), abs=3e-4)
    assert found.risk_of_not == pytest.approx(np.maximum(effect[near], 0).mean(), abs=3e-4)


def users_of(n: int = 4000) -> pd.DataFrame:
    rng = np.random.default_rng(10)
    taste = rng.gamma(2.0, 1.0, n)
    arm = rng.integers(0, 3, n)
    shown = rng.poisson(20, n) + 1
    return pd.DataFrame(
        {
            "bucket": np.array(["control", "one", "two"])[arm],
            "country": np.array(["de", "fr"])[rng.integers(0, 2, n)],
            "shown": shown,
            "clicks": rng.poisson(taste * shown / 10 * (1 + 0.2 * (arm == 2))),
            "clicks_before": rng.poisson(taste * 2),
        }
    )


def test_judge_takes_polars() -> None:
    polars = pytest.importorskip("polars", reason="polars is not installed")
    frame = users_of(400)
    table = judge(frame, ["clicks"])
    pd.testing.assert_frame_equal(judge(polars.from_pandas(frame), ["clicks"]), table)


def test_a_level_of_few_users_says_how_few_and_no_more() -> None:
    frame = users_of()
    frame.loc[:89, "country"] = "at"
    table = judge(frame, ["clicks"], segments=["country"])
    few = table[table["level"] == "at"]
    sizes = frame[:90]["bucket"].value_counts()
    assert few["n_treatment"].tolist() == [sizes["one"], sizes["two"]]
    assert few["n_control"].tolist() == [sizes["control"]] * 2
    assert few[["lift", "low", "high", "pvalue", "pvalue_adjusted"]].isna().all(axis=None)
    others = judge(frame[frame["country"] != "at"], ["clicks"], segments=["country"])
    there = table[table["level"].isin(["de", "fr"])].reset_index(drop=True)
    pd.testing.assert_frame_equal(there, others[others["level"] != ""].reset_index(drop=True))


def test_judge_is_the_same_for_every_kind_of_frame_and_as_the_tests_say() -> None:
    frame = users_of()
    asked: dict[str, Any] = {
        "metrics": {"clicks": "clicks", "rate": ("clicks", "shown")},
        "before": {"clicks": "clicks_before"},
        "segments": ["country"],
    }
    table = judge(frame, **asked)
    pd.testing.assert_frame_equal(judge(pa.Table.from_pandas(frame), **asked), table)
    everybody = table[table["segment"] == ""].set_index(["arm", "metric"])
    a, b = (frame[frame["bucket"] == name] for name in ("control", "two"))
    wanted = cuped(a["clicks"], b["clicks"], a["clicks_before"], b["clicks_before"])
    assert everybody.loc[("two", "clicks"), "pvalue"] == pytest.approx(wanted.adjusted.pvalue)
    assert everybody.loc[("two", "clicks"), "low"] == pytest.approx(wanted.adjusted.lift_low)
    rates = ratio_difference(a[["clicks", "shown"]], b[["clicks", "shown"]])
    assert everybody.loc[("two", "rate"), "pvalue"] == pytest.approx(rates.pvalue)
    assert everybody.loc[("two", "clicks"), "pvalue_adjusted"] >= wanted.adjusted.pvalue
    assert set(table["level"]) == {"", "de", "fr"}
    for change, words in (
        ({"metrics": ["clicksss"], "before": None}, "there is no column 'clicksss'"),
        ({"control": "three"}, "wanted at least two, and the control 'three' among them"),
        ({"before": {"likes": "x"}}, "which is no metric"),
    ):
        with pytest.raises(AnalysisError, match=words):
            judge(frame, **{**asked, **change})
    with pytest.raises(AnalysisError, match="missing values"):
        judge(frame.assign(clicks=frame["clicks"].where(frame.index > 3)), ["clicks"])
    with pytest.raises(AnalysisError, match="wanted a frame"):
        judge([1, 2], ["clicks"])
