"""Daily looks, effects over time, days since exposure, segments."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis.metrics import METRICS
from analysis.reporting.sentences import who
from analysis.results.monitoring import (
    Daily,
    look_correlation,
    monitor,
    relative_information,
    since_exposure,
    trend,
)
from analysis.results.segments import by_segment
from tests.analysis.results.test_effects import ab_test


def daily(
    n: int, days: int, lift: float | np.ndarray = 0.0, seed: int = 0, keep: float = 1.0
) -> Daily:
    rng = np.random.default_rng(seed)
    taste = rng.gamma(3.0, 1.0, (n, 1))
    arm = rng.integers(0, 2, n)
    grown = 1 + arm[:, None] * np.broadcast_to(lift, days)
    x = rng.poisson(taste * grown * keep ** np.arange(days)).astype(np.float32)
    return Daily(
        pd.DataFrame({"user": np.arange(n), "bucket": np.where(arm, "b", "a")}), {"clicks": x}
    )


def test_information_of_lasting_users_is_the_ratio_of_variances() -> None:
    """Rates of d days of users with a lasting taste: information is 1 over (between +
    within / d).
    """
    found = daily(40_000, 8)
    values = found.totals["clicks"].cumsum(1)
    for name in "ab":
        rows = (found.table["bucket"] == name).to_numpy()
        values[rows] -= values[rows].mean(0)
    t = relative_information(look_correlation(values, found.table["bucket"].to_numpy()))
    wanted = 1 / (3 + 3 / np.arange(1, 9))  # gamma(3): variance 3 between users, mean 3 within
    assert t == pytest.approx(wanted / wanted[-1], rel=0.03)


@pytest.mark.parametrize("method", ["obrien_fleming", "pocock", "cs", "none"])
def test_a_monitor_finds_a_plain_effect_and_says_when(method: str) -> None:
    found = monitor(daily(3000, 7, 0.15), METRICS["clicks"], "a", "b", method, 7, 0.05)
    assert found.stopped is not None
    assert found.low is not None
    assert found.high is not None
    assert found.low < 0.15 < found.high
    if method == "none":
        assert found.stopped == 7
    for look in found.looks:
        assert look.crossed == (abs(look.z) >= look.bound)
    quiet = monitor(daily(3000, 7, 0.0, seed=2), METRICS["clicks"], "a", "b", method, 7, 0.05)
    assert quiet.stopped is None


def test_a_test_cut_short_spends_only_its_share() -> None:
    whole = monitor(daily(2000, 8), METRICS["clicks"], "a", "b", "obrien_fleming", 8, 0.05)
    half = daily(2000, 8)
    cut = Daily(half.table, {"clicks": half.totals["clicks"][:, :4]})
    part = monitor(cut, METRICS["clicks"], "a", "b", "obrien_fleming", 8, 0.05)
    for one, two in zip(whole.looks[:4], part.looks, strict=True):
        assert one.bound == pytest.approx(two.bound, rel=1e-3)


def test_a_fading_effect_is_seen_and_a_lasting_one_is_not() -> None:
    fading = trend(daily(6000, 8, 0.3 * 0.6 ** np.arange(8)), METRICS["clicks"], "a", "b")
    assert fading.slope < 0
    assert fading.pvalue < 0.001
    errors = [
        trend(daily(800, 6, 0.2, seed=s), METRICS["clicks"], "a", "b").pvalue < 0.05
        for s in range(150)
    ]
    low, high = stats.binom.interval(0.999, 150, 0.05)
    assert low <= sum(errors) <= high


def test_days_since_exposure_begin_with_the_first_impression() -> None:
    table = pd.DataFrame({"user": range(4), "bucket": list("abab")})
    shown = np.array([[1, 1, 1, 1], [0, 1, 1, 1], [0, 0, 1, 0], [0, 0, 0, 0]], float)
    found = since_exposure(Daily(table, {"clicks": shown * [1, 2, 3, 4]}), shown)
    assert found.table["user"].tolist() == [0, 1]
    assert found.totals["clicks"].tolist() == [[1, 2, 3], [2, 3, 4]]


def test_segments_differ_only_where_they_do() -> None:
    rng = np.random.default_rng(0)
    n = 8000
    arm, kind = rng.integers(0, 2, n), rng.integers(0, 2, n)
    table = pd.DataFrame(
        {
            "bucket": np.where(arm, "b", "a"),
            "kind": np.array(["x", "y"])[kind],
            "colour": rng.choice(["red", "blue"], n),
            "clicks": rng.poisson(4 * (1 + 0.2 * arm * kind)).astype(float),
        }
    )
    table["user"] = np.arange(n)
    users = table[["user", "bucket", "kind", "colour"]]
    test = replace(ab_test("b", "a"), users=users)
    found = by_segment(table, test)
    tests = {test.segment: test.pvalue_adjusted for test in found.tests}
    assert tests["kind"] < 0.001
    assert tests["colour"] > 0.05
    by_level = {row.level: row for row in found.rows}
    assert by_level["y"].low < 0.2 < by_level["y"].high
    assert by_level["y"].pvalue_adjusted < 0.001
    assert not found.left_out


def test_segments_say_which_levels_they_leave_out() -> None:
    n = 4000
    arm = np.arange(n) % 2
    kind = np.where(np.arange(n) < 2000, "x", "y").astype(object)
    kind[:60], kind[60:100] = "z", None  # 30 and 20 users of each arm
    kind[100:106] = [f"rare {i}" for i in range(6)]
    table = pd.DataFrame(
        {
            "user": np.arange(n),
            "bucket": np.where(arm, "b", "a"),
            "kind": kind,
            "all alike": "yes",
            "clicks": np.random.default_rng(0).poisson(4.0, n).astype(float),
        }
    )
    users = table[["user", "bucket", "kind", "all alike"]]
    found = by_segment(table, replace(ab_test("b", "a"), users=users))
    assert {row.level for row in found.rows} == {"x", "y"}
    told = {(row.segment, row.level): row.users for row in found.left_out}
    assert told["kind", "z"] == 60
    assert told["kind", "(no value)"] == 40
    assert sum(told.values()) == 106
    _, left_out, silent = who(found)
    assert left_out == (
        "Left out of kind (no value, fewer than 50 users in an arm, or no interval): z (60 users),"
        " (no value) (40 users), rare 0 (1 user), rare 1 (1 user), rare 2 (1 user), 3 more"
        " (3 users)."
    )
    assert silent == "Not two levels with 50 users in each arm: all alike."


def test_an_arm_whose_segments_are_not_judged_is_named() -> None:
    n = 3000
    table = pd.DataFrame(
        {
            "user": np.arange(n),
            "bucket": np.array(["a", "b", "c"])[np.arange(n) % 3],
            "kind": np.where(np.arange(n) < 1500, "x", "y").astype(object),
            "clicks": np.random.default_rng(0).poisson(4.0, n).astype(float),
        }
    )
    table.loc[(table["bucket"] == "c") & (table.index > 60), "kind"] = None
    users = table[["user", "bucket", "kind"]]
    found = by_segment(table, replace(ab_test("b", "c", "a"), users=users))
    of_b, silent = who(found)
    assert of_b.startswith("The effect of b is not shown to differ by kind")
    assert {row.arm for row in found.left_out} == {"c"}
    assert silent == "Not two levels with 50 users in each arm: kind (c)."
