"""The statistics against independent libraries, the loop's measures by hand."""

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from scipy import stats

from analysis.data.ab_test import ABTest
from analysis.data.rows import Rows
from analysis.metrics import METRICS
from analysis.reporting.sentences import simulation_remarks
from analysis.results.effects import judge
from analysis.results.feedback_loop import entropy_within, gini, lorenz, overlap, ratio_error
from analysis.statistics.comparison import compare


def users_table(n: int = 400, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    taste = rng.gamma(2.0, 1.0, n)
    frame = pd.DataFrame({"user": np.arange(n), "bucket": np.where(rng.random(n) < 0.5, "a", "b")})
    for suffix in ("", "_pre"):
        shown = rng.poisson(20, n) + 1.0
        frame[f"impressions{suffix}"] = shown
        frame[f"clicks{suffix}"] = rng.poisson(taste * shown / 10) * 1.0
        for name in ("pages", "watch_seconds", "long_views", "likes", "sessions", "days_active"):
            frame[f"{name}{suffix}"] = rng.poisson(5 * taste) + 1.0
    frame["came_before"] = 1.0
    return frame


def test_a_plain_mean_is_welchs_test() -> None:
    table = users_table().drop(columns=["clicks_pre"])
    found = compare(table, METRICS["clicks"], "a", "b")
    a, b = (table.loc[table["bucket"] == g, "clicks"] for g in "ab")
    assert found.pvalue == pytest.approx(stats.ttest_ind(b, a, equal_var=False).pvalue, rel=1e-6)
    assert found.lift == pytest.approx(b.mean() / a.mean() - 1, rel=1e-9)


def test_a_ratio_is_the_delta_method() -> None:
    table = users_table().drop(columns=["clicks_pre", "impressions_pre"])
    found = compare(table, METRICS["click_rate"], "a", "b")
    rates, variances = [], []
    for g in "ab":
        rows = table[table["bucket"] == g]
        rate = rows["clicks"].sum() / rows["impressions"].sum()
        residual = (rows["clicks"] - rate * rows["impressions"]) / rows["impressions"].mean()
        rates.append(rate)
        variances.append(residual.var(ddof=1) / len(rows))
    z = (rates[1] - rates[0]) / np.sqrt(sum(variances))
    # a t distribution there
    assert found.pvalue == pytest.approx(2 * stats.norm.sf(abs(z)), rel=0.01)


def test_cuped_is_regression_adjustment() -> None:
    table = users_table(4000)
    found = compare(table, METRICS["clicks"], "a", "b")
    treated = (table["bucket"] == "b").astype(float)
    design = sm.add_constant(np.column_stack([treated, table["clicks_pre"]]))
    fitted = sm.OLS(table["clicks"], design).fit()
    assert found.pvalue == pytest.approx(fitted.pvalues.iloc[1], abs=0.01)
    share = np.corrcoef(table["clicks"], table["clicks_pre"])[0, 1] ** 2
    assert found.variance_saved == pytest.approx(share, abs=0.02)


def test_users_without_a_warmup_get_an_indicator_and_the_mean() -> None:
    """The same as regression on the arm, the value before (its mean for those without) and whether
    there is one.
    """
    rng = np.random.default_rng(0)
    n = 4000
    came = (rng.random(n) < 0.6) * 1.0
    pre = rng.normal(5, 1, n) * came
    group = rng.integers(0, 2, n)
    table = pd.DataFrame(
        {
            "bucket": np.where(group == 1, "b", "a"),
            "clicks": 2 * pre + 30 * (1 - came) + 0.1 * group + rng.normal(size=n),
            "clicks_pre": pre,
            "came_before": came,
        }
    )
    found = compare(table, METRICS["clicks"], "a", "b")
    filled = np.where(came > 0, pre, pre[came > 0].mean())
    design = np.column_stack([np.ones(n), group, filled, 1 - came])
    fitted = sm.OLS(table["clicks"], design).fit()
    assert found.difference == pytest.approx(fitted.params.iloc[1], rel=5e-3)
    assert found.pvalue == pytest.approx(fitted.pvalues.iloc[1], rel=0.05)


def test_holm_for_the_primary_benjamini_hochberg_for_the_rest() -> None:
    table = pd.concat([users_table(300, s).assign(bucket=f"arm{s}") for s in range(4)])
    effects = judge(table, "arm0", ["arm0", "arm1", "arm2", "arm3"], "clicks", 0.02, {})
    primary = [e for e in effects if e.metric == "clicks"]
    raw = np.array([e.pvalue for e in primary])
    order = np.argsort(raw)
    holm = np.minimum(np.maximum.accumulate(raw[order] * [3, 2, 1]), 1)
    assert np.allclose(np.array([e.pvalue_adjusted for e in primary])[order], holm)
    rest = [e for e in effects if e.metric != "clicks"]
    adjusted = stats.false_discovery_control([e.pvalue for e in rest])
    assert np.allclose([e.pvalue_adjusted for e in rest], adjusted)
    assert all((e.low > -0.02) == e.not_worse for e in effects if e.role == "guardrail")


def test_gini_and_lorenz_by_hand() -> None:
    assert gini(np.array([5, 5, 5, 5])) == pytest.approx(0)
    assert gini(np.array([0, 0, 0, 8])) == pytest.approx(0.75)
    x = np.array([1, 2, 3, 10])
    pairs = np.abs(x[:, None] - x).sum() / (2 * len(x) ** 2 * x.mean())
    assert gini(x) == pytest.approx(pairs)
    assert lorenz(np.array([1, 3]))[1].tolist() == [0, 0.25, 1]


def test_overlap_and_entropy_by_hand() -> None:
    # Two users, one page of two items each, one item in common: half of a page.
    pairs = pd.DataFrame(
        {"user": [1, 1, 2, 2], "item": [1, 2, 2, 3], "shown": [1.0, 1.0, 1.0, 1.0]}
    )
    assert overlap(pairs, pd.Series({1: 1, 2: 1})) == pytest.approx(0.5)
    many = pd.DataFrame({"user": [1, 1], "item": [1, 2], "shown": [8.0, 8.0]})
    assert entropy_within(many, pd.Series({1: "x", 2: "y"})) == pytest.approx(1.0)
    assert entropy_within(many, pd.Series({1: "x", 2: "x"})) == pytest.approx(0.0)


def ab_test(*contenders: str) -> ABTest:
    """A test of nobody between these arms."""
    rows = Rows("nowhere", frozenset())
    return ABTest(
        arms=list(contenders),
        control=contenders[-1],
        contenders=list(contenders),
        weights={},
        primary=METRICS["clicks"],
        margin=0.02,
        rows=rows,
        before=None,
        users=pd.DataFrame({"user": [], "bucket": []}),
        days=1,
        planned=1,
    )


def test_what_is_assumed_and_why_nothing_is_compared_is_said() -> None:
    numbers = {
        name: {"status": "estimated"} for name in ("long_view", "like", "hate", "watch_long")
    }
    both = ab_test("sasrec", "popularity")
    assert simulation_remarks({"numbers": numbers}, both) == []
    numbers["hate"] = {"status": "assumed"}
    (assumed,) = simulation_remarks({"numbers": numbers}, both)
    assert "negative feedback" in assumed
    assert "likes" not in assumed
    (alone,) = simulation_remarks({}, ab_test("popularity"))
    assert alone.startswith("nothing is compared: popularity alone")


@pytest.mark.filterwarnings("error")
def test_a_rate_that_is_the_same_for_everybody_is_no_error() -> None:
    """Its variance is a rounding above or below 0; the means are said, and nothing is made of a
    difference.
    """
    for seed in range(60):
        rng = np.random.default_rng(seed)
        table = pd.DataFrame({"bucket": np.where(np.arange(40) % 2, "a", "b"), "came_before": 1.0})
        for suffix in ("", "_pre"):
            table[f"impressions{suffix}"] = 6.0 * rng.integers(1, 9, 40)
            table[f"clicks{suffix}"] = table[f"impressions{suffix}"] / 3
        found = compare(table, METRICS["click_rate"], "b", "a")
        assert found.control_mean == pytest.approx(1 / 3)
        assert found.lift == pytest.approx(0.0, abs=1e-9)
        assert not found.pvalue < 0.001


def test_the_error_of_a_click_rate_is_that_of_users_not_of_impressions() -> None:
    rng = np.random.default_rng(1)
    shown = pd.Series(rng.poisson(20, 800) + 1)
    clicks = pd.Series(rng.binomial(shown, rng.beta(2, 5, 800)))  # users differ
    # statsmodels: a rate of rows by least squares, errors clustered by user
    user, clicked = np.repeat(np.arange(800), shown), []
    for n, k in zip(shown, clicks):
        clicked += [1.0] * k + [0.0] * (n - k)
    fitted = sm.OLS(np.array(clicked), np.ones(len(clicked))).fit(
        cov_type="cluster", cov_kwds={"groups": user, "use_correction": False}
    )
    assert ratio_error(clicks, shown) == pytest.approx(float(fitted.bse[0]), rel=2e-3)
    by_row = (np.mean(clicked) * (1 - np.mean(clicked)) / len(clicked)) ** 0.5
    assert ratio_error(clicks, shown) > 1.5 * by_row
    assert np.isnan(ratio_error(clicks[:1], shown[:1]))
