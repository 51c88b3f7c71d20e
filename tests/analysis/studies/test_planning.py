"""How many users a test needs, from numbers, tables and runs; and tests that stop early."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import statsmodels.stats.power as smp

import simulator.experiment.simulate as running
from analysis import minimum_detectable_effect, power, power_of, sample_size, spending_bounds
from analysis.data.ab_test import ABTest, of_run
from analysis.data.run import open_run
from analysis.results.monitoring import all_crossed
from analysis.studies import planning
from analysis.studies.planning import Demand
from policies.common.errors import InputError
from simulator import Experiment, simulate
from simulator.buckets import assign
from simulator.experiment.studies import salted
from tests.conftest import MakeExperiment

EXACT: dict[str, Any] = {"rel": 1e-6}
FAST = ["--users", "120", "--days", "2", "--warmup-days", "1", "--set", "threads=1", "--quiet"]


# -- planning --------------------------------------------------------------------------------------


@pytest.mark.parametrize("ratio", [1.0, 0.5])
@pytest.mark.parametrize("use_t", [True, False])
def test_sample_sizes_are_statsmodels(ratio: float, use_t: bool) -> None:
    solve = smp.tt_ind_solve_power if use_t else smp.zt_ind_solve_power
    wanted = float(np.squeeze(solve(effect_size=0.2, alpha=0.05, power=0.8, ratio=ratio)))
    found = sample_size(4.0, 0.4, ratio=ratio, use_t=use_t)
    assert found.n_control == pytest.approx(wanted, **EXACT)
    assert found.n_treatment == pytest.approx(ratio * wanted, **EXACT)


def test_a_textbook_sample_size() -> None:
    """Cohen 1988, table 2.4.1: 64 per arm find half a standard deviation with .80 at .05,
    two-sided.
    """
    assert math.ceil(sample_size(1.0, 0.5, use_t=True).n_control) == 64
    assert sample_size(1.0, 0.5, use_t=True).users == 128
    assert sample_size(25.0, 0.05, mean=10.0).n_control == pytest.approx(
        sample_size(25.0, 0.5).n_control, **EXACT
    )


def test_the_detectable_effect_turns_the_sample_size_round() -> None:
    plan = sample_size(9.0, 0.25, ratio=0.5, variance_saved=0.3, looks=5)
    found = minimum_detectable_effect(
        9.0, plan.n_control, plan.n_treatment, variance_saved=0.3, looks=5
    )
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
    paths = np.random.default_rng(0).normal(
        drift / looks, math.sqrt(1 / looks), (100_000, looks)
    ).cumsum(1) / np.sqrt(t)
    assert (np.abs(paths) >= bounds).any(1).mean() == pytest.approx(power, abs=0.005)
    assert plan.inflation == pytest.approx(most, abs=0.02)
    # O'Brien-Fleming's cost next to nothing
    assert sample_size(1.0, 0.1, looks=looks).inflation < 1.04


# -- planning --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def three_days(experiment: MakeExperiment, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """itemknn against popularity, 240 users."""
    e = experiment(policies=("itemknn", "popularity"), users=240, days=3.0, truth=False)
    return simulate(e, out=str(tmp_path_factory.mktemp("three") / "run"))


def test_a_plan_from_a_run_agrees_with_its_report(
    three_days: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = three_days
    effect = found.effects.set_index("metric").loc["clicks"]
    spread = next(s for s in planning.of_a_run(found.path) if s.metric == "clicks")
    row = planning.budget(
        [spread],
        float(spread.days[-1]),
        None,
        2,
        Demand(0.05, 0.8, "obrien_fleming"),
    )
    best = next(r for r in row if r.cuped and r.looks == 1)
    assert best.effect == pytest.approx(
        effect["detectable"], rel=0.25
    )  # there both arms' spread, here the control's
    assert (
        power.main(["--run", str(found.path), "--mde", "2%,5%", "--out", str(tmp_path / "plan")])
        == 0
    )
    assert "users per arm" in capsys.readouterr().out
    rows = json.loads((tmp_path / "plan" / "power.json").read_text())["rows"]
    by = {(r["metric"], r["effect"], r["cuped"], r["looks"] > 1): r["users_per_arm"] for r in rows}
    assert by["clicks", 0.02, True, False] <= by["clicks", 0.02, False, False]
    assert by["clicks", 0.02, False, True] >= by["clicks", 0.02, False, False]
    assert (tmp_path / "plan" / "power.png").exists()


def test_a_plan_from_a_table_and_from_two_numbers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    before = rng.gamma(2, 3, 5000)
    frame = pd.DataFrame({"clicks": before + rng.normal(10, 2, 5000), "past": before})
    frame.to_csv(tmp_path / "users.csv", index=False)
    (spread,) = planning.of_a_table(tmp_path / "users.csv", {"value": "clicks", "before": "past"})
    assert spread.plain[0] == pytest.approx(
        frame["clicks"].var() / frame["clicks"].mean() ** 2, rel=1e-9
    )
    r2 = frame["clicks"].corr(frame["past"]) ** 2
    assert spread.adjusted[0] == pytest.approx(spread.plain[0] * (1 - r2), rel=1e-9)
    assert power.main(["--mean", "10", "--variance", "25", "--mde", "2%"]) == 0
    shown = capsys.readouterr().out
    assert f"{int(np.ceil(sample_size(25, 0.2).n_control)):,}".replace(",", "\u2009") in shown


def test_days_are_carried_on_as_users_and_chance() -> None:
    days = np.arange(1, 11)
    spread = planning.Spread("clicks", "clicks", days, 0.3 + 0.9 / days, 0.1 + 0.9 / days, 1000)
    assert spread.at(5, False) == (pytest.approx(0.48), False)
    value, guess = spread.at(30, True)
    assert value == pytest.approx(0.13)
    assert guess


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--mean", "1"], "--variance"),
        (["--mean", "1", "--variance", "2", "--mde", "0"], "above 0"),
        (["--mean", "1", "--variance", "2", "--budget", "soon"], "wanted days"),
        (["--mean", "1", "--variance", "2", "--budget", "14d"], "wants --users"),
        (["--table", "no.csv"], "there is no file"),
        (["--run", "no"], "is not a run"),
        (["--mean", "1", "--variance", "2", "--mde", "5"], "is an effect of 500 %"),
        (["--mean", "1", "--variance", "2", "--mde", "5%", "--budget", "14d"], "give one of them"),
        (["--mean", "1", "--variance", "2", "--users", "50"], "--users goes with --budget"),
        (["--mean", "1", "--variance", "2", "--days", "3", "--budget", "14d"], "leave out --days"),
        (["--mean", "1", "--variance", "2", "--columns", "value=x"], "--columns goes with --table"),
        (["--run", "no", "--variance", "2"], "--variance goes with --mean"),
    ],
)
def test_a_plan_that_cannot_be_is_refused(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert power.main(words) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


# -- stopping early --------------------------------------------------------------------------------


def test_a_test_ends_at_the_crossing_and_so_do_its_truth_worlds(
    experiment: MakeExperiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []

    def crossed(test: ABTest) -> bool:
        seen.append(test.days)
        return test.days == 2

    monkeypatch.setattr(running, "all_crossed", crossed)
    e = experiment(
        policies=("itemknn", "popularity"),
        days=4.0,
        stop_early=True,
        learn_from="none",
        rounds=1,
        truth=True,
    )
    found = simulate(e, out=str(tmp_path / "run"))
    assert seen == [1, 2]
    assert found.results["manifest"]["stopped_day"] == 2
    assert len(found.results["monitor"][0]["looks"]) <= 2
    for arm in ("itemknn", "popularity"):
        rows = found.impressions(arm)
        begun = rows[(rows["page"] == 0) & (rows["slot"] == 0)]["time"]
        assert begun.max() < 2 * 86_400
        files = (found.path / "truth_worlds" / arm / "impressions").rglob("*.parquet")
        truth = pd.concat(pd.read_parquet(file) for file in files)
        assert truth[(truth["page"] == 0) & (truth["slot"] == 0)]["time"].max() < 2 * 86_400


def test_looking_without_a_crossing_changes_nothing(
    three_days: Any, experiment: MakeExperiment, tmp_path: Path
) -> None:
    plain, e = (
        three_days,
        experiment(
            policies=("itemknn", "popularity"), users=240, days=3.0, truth=False, stop_early=True
        ),
    )
    looked = simulate(e, out=str(tmp_path / "looked"))
    assert looked.results["manifest"].get("stopped_day") is None
    for arm in ("itemknn", "popularity"):
        pd.testing.assert_frame_equal(
            plain.impressions(arm), looked.impressions(arm), check_exact=True
        )


def test_the_monitor_that_stops_is_the_reports(three_days: Any) -> None:
    found = three_days
    looks = found.results["monitor"][0]["looks"]
    for day in range(1, 4):
        said = any(look["crossed"] for look in looks if look["day"] <= day)
        assert all_crossed(of_run(open_run(found.path), days=day)) == said


def test_impossible_stops_are_refused() -> None:
    with pytest.raises(InputError, match="--stop-early wants looks"):
        Experiment(stop_early=True, monitor="none")
    with pytest.raises(InputError, match="split between two"):
        Experiment(stop_early=True, design="twin")
    with pytest.raises(InputError, match="monitor"):
        Experiment(monitor="daily")  # type: ignore[arg-type]


def test_salts_are_the_buckets_own() -> None:
    users = np.arange(50)
    assert (salted(users, 2)[1] == assign(users, np.array([0.5, 0.5]), "study 1")).all()


def test_frozen_arms_leave_nothing_but_chance(experiment: MakeExperiment, tmp_path: Path) -> None:
    """With nothing learned a bucket's users do in the split what they do in the global world of
    their arm.
    """
    e = experiment(
        policies=("itemknn", "popularity"),
        learn_from="none",
        rounds=1,
        users=240,
        days=3.0,
        truth=True,
    )
    found = simulate(e, out=str(tmp_path / "run")).results
    estimate = next(row for row in found["effects"]["rows"] if row["role"] == "primary")
    assert found["read_out"]["itemknn"] == pytest.approx(estimate["lift"], rel=1e-9)
    assert estimate["lift"] != pytest.approx(estimate["true_lift"], rel=1e-3)
