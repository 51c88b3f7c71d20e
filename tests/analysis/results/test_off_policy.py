"""What a policy would have got, from the log of another whose propensities are known."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis import off_policy, ope
from analysis.reporting.sentences import off_policy_sentence
from analysis.reporting.tables import off_policy_table
from analysis.results.counterfactual import OffPolicyEstimates, OffPolicyRow
from analysis.statistics.propensity import Estimate
from simulator import simulate
from tests.conftest import MakeExperiment

EXACT: dict[str, Any] = {"rel": 1e-6}
KEYS = ["time", "user", "session", "page", "slot"]


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
    assert found.dr.value == pytest.approx(0.5 + (w @ (np.array(y) - 0.5)) / w.sum())
    assert found.effective_n == pytest.approx(49 / 21)
    assert found.ips.standard_error == pytest.approx(stats.sem(w * y), **EXACT)
    assert (found.largest_weight, found.matched, found.mean_weight) == pytest.approx(
        (4.0, 0.75, 7 / 4)
    )


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
    """Softmax logging over 8 items in 5 contexts, another softmax as target; 600 logs of 2,000
    rows.
    """
    rng = np.random.default_rng(8)
    logits, wants, click = (
        rng.normal(size=(5, 8)),
        rng.normal(size=(5, 8)),
        rng.uniform(0.05, 0.6, (5, 8)),
    )
    p, q = (np.exp(x) / np.exp(x).sum(1, keepdims=True) for x in (logits, wants))
    truth = (q * click).sum(1).mean()
    model = np.clip(click + rng.normal(0, 0.1, click.shape), 0, 1)  # a wrong model of the reward
    inside = {"ips": 0, "snips": 0, "dr": 0}
    for _ in range(600):
        x = rng.integers(0, 5, 2000)
        a = (rng.random((2000, 1)) > p.cumsum(1)[x]).sum(1).clip(max=7)
        y = (rng.random(2000) < click[x, a]) * 1.0
        found = off_policy(
            y, p[x, a], q[x, a], predicted=model[x, a], predicted_target=(q * model).sum(1)[x]
        )
        for name in inside:
            estimate = getattr(found, name)
            inside[name] += estimate.low <= truth <= estimate.high
    low, high = stats.binom.interval(0.999, 600, 0.95)
    assert all(low <= count <= high for count in inside.values()), inside


def test_contenders_are_estimated_from_an_arm_with_known_propensities(
    experiment: MakeExperiment, tmp_path: Path
) -> None:
    e = experiment(
        policies=("itemknn", "popularity", "uniform"),
        users=240,
        days=3.0,
        off_policy=True,
        truth=True,
    )
    found = simulate(e, out=str(tmp_path / "run"))
    rows = {row["arm"]: row for row in found.results["off_policy"]["rows"]}
    assert set(rows) == {"itemknn", "popularity"}
    plain = simulate(replace(e, off_policy=False), out=str(tmp_path / "plain"))
    pd.testing.assert_frame_equal(
        found.impressions("uniform"), plain.impressions("uniform"), check_exact=True
    )
    pd.testing.assert_frame_equal(
        found.impressions("itemknn"), plain.impressions("itemknn"), check_exact=True
    )
    for row in rows.values():
        assert row["logger"] == "uniform"
        assert 0 < row["effective_n"] < row["rows"]
        assert row["snips"]["low"] < row["snips"]["value"] < row["snips"]["high"]
        assert row["dr"]["low"] < row["dr"]["value"] < row["dr"]["high"]
    shown, truth = (
        pd.concat(
            pd.read_parquet(f)
            for f in (tmp_path / "run" / folder / "bucket=uniform").rglob("*.parquet")
        )
        for folder in ("off_policy", "truth")
    )
    hits = (shown["item"] == shown["would popularity"]).sum()
    assert rows["popularity"]["matched"] == pytest.approx(hits / len(shown))
    shown = shown.merge(truth, on=[*KEYS, "item"])
    same = shown[(shown["item"] == shown["would popularity"]) & (shown["slot"] == 0)]
    assert len(same) > 5
    np.testing.assert_array_equal(same["would click popularity"], same["probability"])
    for arm, row in rows.items():
        assert row["true_here"] == pytest.approx(shown[f"would click {arm}"].mean())
        assert abs(row["snips"]["value"] - row["true_here"]) < 4 * row["snips"]["standard_error"]
    assert "Off-policy cross-check" in (tmp_path / "run" / "report.html").read_text(
        encoding="utf-8"
    )


def test_without_propensities_the_report_says_what_is_missing(
    experiment: MakeExperiment, tmp_path: Path
) -> None:
    found = simulate(
        experiment(policies=("itemknn", "popularity"), off_policy=True), out=str(tmp_path / "run")
    )
    assert found.results["off_policy"]["rows"] == []
    assert "no arm shows at random" in (tmp_path / "run" / "report.md").read_text(encoding="utf-8")


def test_off_policy_from_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    frame = pd.DataFrame(
        {"clicked": [1, 0, 1, 0], "p": [0.5, 0.25, 0.25, 0.5], "target": [1.0, 1.0, 0.0, 0.5]}
    )
    frame.to_csv(tmp_path / "log.csv", index=False)
    table = ["--table", str(tmp_path / "log.csv"), "--columns"]
    assert ope.main([*table, "reward=clicked,logging=p"]) == 2
    assert "has 2.3 effective rows for this target" in capsys.readouterr().err
    pd.concat([frame] * 20).to_csv(tmp_path / "log.csv", index=False)
    assert ope.main([*table, "reward=clicked,logging=p"]) == 0
    assert "IPS            0.50000" in capsys.readouterr().out
    assert ope.main([*table, "reward=clicked"]) == 2
    assert "lacks logging" in capsys.readouterr().err
    frame.assign(p=[0.5, None, 0.2, 0.3]).to_csv(tmp_path / "log.csv", index=False)
    assert ope.main([*table, "reward=clicked,logging=p"]) == 2
    assert "1 of 4 rows have no propensity" in capsys.readouterr().err


def test_what_the_logging_arm_never_shows_is_not_estimated() -> None:
    """Rows that match say nothing of those that cannot: a quarter of the slots stood for all."""
    some = Estimate(0.5, 0.01, 0.48, 0.52)
    given: dict[str, Any] = {
        "logger": "thompson",
        "rows": 18_000,
        "ips": some,
        "snips": some,
        "dm": some,
    }
    given |= {
        "mean_weight_error": 0.05,
        "dr": some,
        "matched": 0.2,
        "tested": 0.4,
        "true": 0.4,
        "true_here": 0.4,
    }
    shown = OffPolicyRow(arm="level", effective_n=6000.0, mean_weight=0.99, **given)
    not_all = OffPolicyRow(arm="popularity", effective_n=1700.0, mean_weight=0.25, **given)
    few = OffPolicyRow(arm="itemknn", effective_n=7.0, mean_weight=0.25, **given)
    estimates = OffPolicyEstimates([shown, not_all, few], None)
    by_chance = OffPolicyRow(arm="level", effective_n=60.0, mean_weight=0.8, **given)
    assert by_chance.supported
    cells = [row[3] for row in off_policy_table(estimates).rows]
    assert cells == [".500 (.480 to .520)", "not shown (75.0 %)", "too few (7)"]
    assert "never fills with the same item" in off_policy_sentence(estimates)
    assert "never fills" not in off_policy_sentence(OffPolicyEstimates([shown], None))
