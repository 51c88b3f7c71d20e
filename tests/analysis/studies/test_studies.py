"""Studies of our own judgement."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom, norm

import simulator.experiment.studies as designs
from analysis.data.ab_test import of_run
from analysis.data.run import open_run
from analysis.errors import AnalysisError
from analysis.metrics import METRICS, Metric
from analysis.results.monitoring import look_correlation
from analysis.statistics.comparison import compare
from analysis.statistics.sequential import bounds_of_correlated_looks, spending_bounds
from analysis.statistics.summary import Joint
from analysis.studies import judgement as studies
from analysis.studies.peeking import peek
from analysis.studies.resplit import Outcomes, by_session, joint, verdicts
from simulator import simulate, study
from tests.conftest import SHORT_FLAGS, MakeExperiment


def outcomes(
    n: int = 500, days: int = 5, seed: int = 0, lift: float = 0.0, before: bool = True
) -> Outcomes:
    rng = np.random.default_rng(seed)
    taste = rng.gamma(2.0, 1.0, (n, 1))
    shown = rng.poisson(8, (n, days)) + 1.0
    control = {"clicks": rng.poisson(taste * shown / 8) * 1.0, "impressions": shown}
    treatment = (
        control
        if lift == 0
        else {"clicks": rng.poisson((1 + lift) * taste * shown / 8) * 1.0, "impressions": shown}
    )
    past = {"impressions": rng.poisson(20, n) + 1.0, "clicks": rng.poisson(3 * taste[:, 0]) * 1.0}
    return Outcomes(control, treatment, past if before else {}, np.ones(n))


def salts(n: int, users: int) -> np.ndarray:
    return np.random.default_rng(9).integers(0, 2, (n, users)).astype(np.int8)


# -- one log, many salts ---------------------------------------------------------------------------


def test_statistics_of_many_splits_are_those_of_each() -> None:
    x = np.random.default_rng(0).normal(5, 1, (60, 3))
    rows = salts(4, 60) == 1
    found = joint(rows, x)
    for i, own in enumerate(rows):
        wanted = Joint.of(x[own])
        assert found.n[i] == wanted.n
        assert found.mean[i] == pytest.approx(wanted.mean, rel=1e-10)
        assert found.covariance[i] == pytest.approx(wanted.covariance, rel=1e-8)


@pytest.mark.parametrize("metric", ["clicks", "click_rate"])
def test_a_split_is_judged_as_the_report_judges_it(metric: str) -> None:
    data, assigned = outcomes(lift=0.1), salts(3, 500)
    found = verdicts(data, METRICS[metric], assigned)
    for i, own in enumerate(assigned):
        totals = {
            name: np.where(own == 1, data.treatment[name].sum(1), data.control[name].sum(1))
            for name in ("clicks", "impressions")
        }
        table = pd.DataFrame({"bucket": np.where(own == 1, "b", "a"), **totals, "came_before": 1.0})
        plain = compare(table, METRICS[metric], "a", "b")
        assert found.lift["fixed"][i] == pytest.approx(plain.lift, rel=1e-9)
        assert (found.low["fixed"][i], found.high["fixed"][i]) == pytest.approx(
            (plain.low, plain.high), rel=1e-6
        )
        table = table.assign(**{f"{name}_pre": x for name, x in data.before.items()})
        # ratios: another but as good a choice of covariates there
        adjusted = compare(table, METRICS[metric], "a", "b")
        assert found.lift["cuped"][i] == pytest.approx(
            adjusted.lift, abs=0.006 if metric == "clicks" else 0.02
        )
        assert found.saved[i] == pytest.approx(adjusted.variance_saved, abs=0.1)


def test_aa_rates_are_nominal_and_peeking_is_not() -> None:
    data, assigned = outcomes(800, 6), salts(2000, 800)
    for metric in ("clicks", "click_rate"):
        found = verdicts(data, METRICS[metric], assigned)
        low, high = binom.interval(1 - 0.001 / 8, 2000, 0.05)
        for method in ("fixed", "cuped", "obrien_fleming", "pocock"):
            assert low <= found.rejected[method].sum() <= high, (metric, method)
        assert found.rejected["cs"].sum() <= high
        assert found.rejected["every_day"].sum() > high
        lift = found.lift["cuped"]
        assert abs(lift.mean()) < 4 * lift.std() / np.sqrt(2000)
        assert lift.var() < 0.9 * found.lift["fixed"].var()


def test_sessions_taken_as_independent_reject_too_often() -> None:
    rng = np.random.default_rng(1)
    n = rng.geometric(0.1, 600).astype(float)
    taste = rng.gamma(2.0, 1.0, 600)
    clicks = rng.poisson(taste * n) * 1.0
    squares = clicks * (1 + taste)
    assigned = salts(1000, 600)
    wrong = (by_session(n, clicks, squares, assigned) < 0.05).mean()
    assert wrong > 0.15
    totals = {"clicks": clicks[:, None], "sessions": n[:, None]}
    metric = Metric("x", "", "", "clicks", "sessions")
    right = (
        verdicts(Outcomes(totals, totals, {}, np.ones(600)), metric, assigned)
        .rejected["fixed"]
        .mean()
    )
    assert right < 0.08


def test_peeking_at_made_up_data() -> None:
    rows = {
        (r.kind, r.method, r.correlation, r.effect > 0): r.rejected / r.runs
        for r in peek(4000, 14, 1).rows
    }
    low, high = (x / 4000 for x in binom.interval(0.9999, 4000, 0.05))
    for kind in ("normal", "bernoulli", "returning"):
        for method in ("obrien_fleming", "pocock", "fixed"):
            assert low <= rows[kind, method, "measured", False] <= high, (kind, method)
        assert rows[kind, "cs", "measured", False] <= high
    assert rows["normal", "every_day", "measured", False] == pytest.approx(0.22, abs=0.025)
    assert rows["normal", "fixed", "measured", True] == pytest.approx(0.8, abs=0.025)
    assert rows["normal", "obrien_fleming", "measured", True] > 0.76


def test_bounds_of_brownian_looks_are_the_exact_ones() -> None:
    t = np.array([0.1, 0.3, 0.35, 0.8, 1.0])
    matrix = np.sqrt(np.minimum.outer(t, t) / np.maximum.outer(t, t))
    for spending in ("obrien_fleming", "pocock"):
        found = bounds_of_correlated_looks(matrix, t, 0.05, spending)
        assert found == pytest.approx(spending_bounds(t, 0.05, spending), rel=0.02)
    assert bounds_of_correlated_looks(matrix[:3, :3], t[:3])[1:] == pytest.approx(
        bounds_of_correlated_looks(matrix, t)[1:3], rel=1e-9
    )


def test_correlation_of_looks_is_that_of_their_statistics() -> None:
    rng = np.random.default_rng(2)
    z = []
    for _ in range(800):
        x = (rng.normal(size=(2, 60, 1)) + rng.normal(size=(2, 60, 4))).cumsum(axis=2)
        z.append((x[1].mean(0) - x[0].mean(0)) / np.sqrt(x.var(axis=1, ddof=1).sum(axis=0) / 60))
    last = x - x.mean(axis=1, keepdims=True)
    found = look_correlation(last.reshape(-1, 4), np.repeat([0, 1], 60))
    assert found == pytest.approx(np.corrcoef(np.array(z).T), abs=0.12)


# -- the command -----------------------------------------------------------------------------------

FAST = ["--users", "120", "--days", "2", "--warmup-days", "1", "--set", "threads=1", "--quiet"]


def test_aa_and_power_from_the_command(
    small_log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = [*FAST, "--log", str(small_log), *SHORT_FLAGS]
    assert (
        study.main(
            [
                "aa",
                "--policies",
                "popularity",
                "--runs",
                "300",
                "--out",
                str(tmp_path / "aa"),
                *flags,
            ]
        )
        == 0
    )
    found = json.loads((tmp_path / "aa" / "study.json").read_text())
    assert {row["metric"] for row in found["rows"]} == {*METRICS, "clicks per session"}
    assert found["users"] == 120
    assert (tmp_path / "aa" / "study.png").stat().st_size > 5000
    assert "in the 99.9 % band" in " ".join(capsys.readouterr().out.split())
    words = [
        "power",
        "--policies",
        "itemknn,popularity",
        "--runs",
        "50",
        "--out",
        str(tmp_path / "power"),
        *flags,
    ]
    assert study.main(words) == 0
    found = json.loads((tmp_path / "power" / "study.json").read_text())
    run_there = open_run(tmp_path / "power" / "world")
    arms = {
        arm: of_run(run_there).table().query("bucket == @arm")["clicks"].mean()
        for arm in ("itemknn", "popularity")
    }
    row = next(r for r in found["rows"] if (r["metric"], r["method"]) == ("clicks", "fixed"))
    assert row["true_lift"] == pytest.approx(arms["itemknn"] / arms["popularity"] - 1, rel=1e-6)
    # Going on with a finished study reads its world and says the same.
    before = found["rows"]
    assert study.main(["power", "--resume", str(tmp_path / "power"), "--quiet"]) == 0
    assert json.loads((tmp_path / "power" / "study.json").read_text())["rows"] == before


def test_coverage_uses_fresh_users_and_another_truth(
    small_log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(designs, "TRUTH_TIMES", 4)
    words = [
        "coverage",
        "--policies",
        "itemknn,popularity",
        "--runs",
        "6",
        "--users",
        "60",
        "--days",
        "1",
        "--warmup-days",
        "1",
    ]
    assert (
        study.main(
            [*words, "--log", str(small_log), *SHORT_FLAGS, "--quiet", "--out", str(tmp_path / "c")]
        )
        == 0
    )
    found = json.loads((tmp_path / "c" / "study.json").read_text())
    assert (found["users"], found["truth_users"], found["replicates"]) == (60, 240, 6)
    for row in found["rows"]:
        assert 0 <= row["rate"] <= 1
        wanted = 2 * norm.cdf(1.959964 / np.sqrt((1 + row["rho"]) / 2)) - 1
        assert row["expected_of_these_users"] == pytest.approx(wanted, rel=1e-5)


def test_coverage_of_outcomes_whose_truth_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """400 replicates of 100 users out of a population of 50,000: intervals cover the population's
    effect as they say.
    """
    data = outcomes(50_000, 2, lift=0.08)
    monkeypatch.setattr(studies, "open_run", lambda path: None)
    monkeypatch.setattr(studies, "_frozen", lambda r: None)
    monkeypatch.setattr(
        studies,
        "_metrics",
        lambda r: ([METRICS["clicks"], METRICS["click_rate"]], ["clicks", "impressions"]),
    )
    monkeypatch.setattr(studies, "_two_arms", lambda r: ("a", "b"))
    monkeypatch.setattr(studies, "outcomes_of", lambda r, names, arms: (data, None))
    order = np.random.default_rng(0).permutation(50_000)
    truth = np.zeros(50_000, bool)
    truth[order[:10_000]] = True
    assigned = np.full((400, 50_000), -1, np.int8)
    for r in range(400):
        assigned[r, order[10_000 + 100 * r : 10_100 + 100 * r]] = np.arange(100) % 2
    found = studies.coverage(tmp_path, assigned, truth)
    assert all(row.rate.inside for row in found.rows)
    for row in found.rows:
        assert row.of_these_users.rate >= 0.93
        assert row.of_these_users.rate == pytest.approx(row.expected_of_these_users, abs=0.03)


def test_replicates_speak_of_the_policy(small_log: Path, tmp_path: Path) -> None:
    words = [
        "replicate",
        "--policies",
        "itemknn,popularity",
        "--seeds",
        "2",
        "--rounds",
        "1",
        *FAST,
        "--days",
        "1",
        "--users",
        "80",
        "--log",
        str(small_log),
        *SHORT_FLAGS,
    ]
    assert study.main([*words, "--out", str(tmp_path / "r")]) == 0
    found = json.loads((tmp_path / "r" / "study.json").read_text())
    claim = found["claims"][0]
    true = [row["true_lift"] for row in found["rows"]]
    assert claim["worlds"] == 2
    assert len(set(true)) == 2
    assert claim["truth"]["mean"] == pytest.approx(np.mean(true))
    assert claim["bias"]["mean"] == pytest.approx(
        np.mean([row["lift"] - row["true_lift"] for row in found["rows"]])
    )


def test_bias_has_two_parts_that_add_up(small_log: Path, tmp_path: Path) -> None:
    words = [
        "bias",
        "--policies",
        "itemknn,popularity",
        "--seeds",
        "2",
        "--rounds",
        "2",
        *FAST,
        "--days",
        "1",
        "--users",
        "80",
        "--log",
        str(small_log),
        *SHORT_FLAGS,
    ]
    assert (
        study.main([*words, "--set", "training_delay_hours=1", "--out", str(tmp_path / "b")]) == 0
    )
    claim = json.loads((tmp_path / "b" / "study.json").read_text())["claims"][0]
    assert claim["volume"]["mean"] + claim["sharing"]["mean"] == pytest.approx(
        claim["both"]["mean"]
    )
    assert claim["worlds"] == 2
    rows = json.loads((tmp_path / "b" / "study.json").read_text())["rows"]
    assert claim["chance"]["mean"] == pytest.approx(
        np.mean([row["read_out"] - row["true_lift"] for row in rows])
    )
    assert claim["volume"]["mean"] == pytest.approx(
        np.mean([row["own"] - row["read_out"] for row in rows])
    )
    assert not (tmp_path / "b" / "seed-000-all" / "truth_worlds").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["power", "--policies", "popularity"], "compares two arms"),
        (["aa", "--runs", "1"], "--runs must be at least 2"),
        (["aa", "--policies", "sasrec,popularity"], "an A/A test has one policy"),
        (["aa", "--resume", "nowhere"], "there is no study in it"),
        (["aa", "--users", "none"], "--users wants a whole number"),
    ],
)
def test_a_study_that_cannot_be_is_refused(
    words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = [] if "--resume" in words else ["--out", str(tmp_path / "study")]
    assert study.main([*words, *out, "--quiet"]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_a_log_with_retraining_is_not_split_again(
    experiment: MakeExperiment, tmp_path: Path
) -> None:
    found = simulate(
        experiment(policies=("popularity",), learn_from="own", rounds=2), out=str(tmp_path / "run")
    )
    with pytest.raises(AnalysisError, match="frozen policies alone"):
        studies.false_positives(found.path, salts(2, 5))
