"""Fidelity: levels are recovered, the figures are what they say, and a simulator that lies gets a red light."""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.special import expit
from sklearn.metrics import roc_auc_score

import simulator.validate as validate
from policies.draws import generator
from policies.errors import InputError
from policies.log import Dataset
from simulator.fidelity import Answers, _weighted_auc, expected_calibration_error, judge
from simulator.levels import fit_levels
from simulator.users import DAY, ChoiceModel
from simulator.validation_report import lights

U, N, ROWS = 2000, 300, 60_000


def world(seed: int) -> tuple[np.ndarray, ...]:
    rng = generator("levels", seed)
    user_level, item_level = rng.normal(0, 0.5, U), rng.normal(0, 0.8, N + 1)
    user, item = rng.integers(0, U, ROWS), rng.integers(1, N + 1, ROWS)
    column, reach = rng.normal(size=ROWS), rng.choice([1.0, 0.8, 0.6], ROWS)
    p = expit(-0.3 + user_level[user] + item_level[item] - 0.2 * column)
    return user_level, item_level, user, item, column, reach, p, rng.random(ROWS) < reach * p


def test_levels_slopes_and_spreads_are_recovered() -> None:
    user_level, item_level, user, item, column, reach, p, y = world(0)
    found = fit_levels(y, user, item, U, N, {"column": column}, reach)
    # Penalised quasi-likelihood pulls everything a little towards 0.
    assert found.base.value == pytest.approx(-0.3, abs=0.08)
    assert found.slopes["column"].value == pytest.approx(-0.2, abs=0.03)
    assert found.user_sd == pytest.approx(0.5, abs=0.08)
    assert found.item_sd == pytest.approx(0.8, abs=0.1)
    assert np.corrcoef(found.item[1:], item_level[1:])[0, 1] > 0.95
    assert np.corrcoef(found.user, user_level)[0, 1] > 0.7
    predicted = reach * expit(found.logits(user, item, {"column": column}))
    assert predicted.mean() == pytest.approx(y.mean(), rel=0.01)
    assert np.abs(predicted - reach * p).mean() < 0.07


def test_a_user_without_rows_is_an_average_one() -> None:
    _, _, user, item, _, _, _, y = world(1)
    found = fit_levels(y, user, item, U + 5, N)
    assert (found.user[U:] == 0).all()
    assert found.user_error[U:].min() > found.user_error[:U].max()


def test_figures_are_those_of_scikit_learn() -> None:
    rng = generator("auc")
    y, p = rng.random(500) < 0.3, rng.random(500)
    weight = rng.integers(0, 4, 500)
    ours = _weighted_auc(y, weight, np.argsort(p, kind="stable"))
    assert ours == pytest.approx(roc_auc_score(y, p, sample_weight=weight))
    assert expected_calibration_error(y, np.full(500, 0.3), bins=1) == pytest.approx(abs(y.mean() - 0.3))


def answers(bias: float) -> Answers:
    _, _, user, item, _, _, p, _ = world(2)
    rng = generator("answers")
    happened = rng.random(ROWS) < p
    shuffled = {"user + item": np.full(ROWS, p.mean())}
    return Answers("click", user, item, happened, expit(np.log(p / (1 - p)) + bias), shuffled)


def test_the_truth_is_green_and_a_lie_is_red() -> None:
    honest, liar = (lights([judge(answers(bias), generator("judge"))]) for bias in (0.0, 0.5))
    assert [light for _, light, _ in honest] == ["green"] * 5
    by_part = {part: light for part, light, _ in liar}
    assert by_part["click rate"] == "red"
    assert by_part["click by predicted probability"] == "red"
    assert by_part["click: who clicks what"] == "green"  # it still knows who clicks what


def test_the_cut_is_at_midnight_and_nothing_after_it_is_fitted(small_world: tuple[Dataset, ChoiceModel]) -> None:
    data, _ = small_world
    early, late = validate.split(data, 2)
    assert len(early.log) + len(late) == len(data.log)
    assert early.log.time.max() == 0 < late.time.min()
    end = float(data.log.time.max() - late.time.max())  # where time 0 now stands
    cut = -data.hour_zero * 3600 - DAY
    assert data.log.time[data.log.time < cut].max() == pytest.approx(end)
    assert early.hour_zero == pytest.approx((data.hour_zero + end / 3600) % 24)
    with pytest.raises(InputError, match="wanted at least 100 of each"):
        validate.split(data, 400)


def test_the_command_writes_a_report_and_refuses_what_it_cannot_judge(
    small_log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert validate.main(["--log", str(small_log), "--held-out-days", "2", "--out", "f", "--quiet"]) == 0
    assert "what to trust" in capsys.readouterr().out
    found = json.loads(Path("f/fidelity.json").read_text())
    assert [part["name"] for part in found["feedback"]] == ["click", "long view", "like"]
    assert found["feedback"][0]["rows"] > 1000
    level = found["random_slates"]
    assert 0 < level["from_what_was_shown"] < 1
    assert f"{level['calibrated']:.3f} with calibration" in Path("f/fidelity.md").read_text()
    assert "| click rate |" in Path("f/fidelity.md").read_text()
    assert Path("f/calibration.png").stat().st_size > 5000
    assert validate.main(["--log", str(small_log), "--out", "f", "--quiet"]) == 2
    assert "exists already" in capsys.readouterr().err
    rows = "\n".join(f"{i % 40},{i % 90},{i * 3000}" for i in range(900))
    Path("order.csv").write_text("user,item,time\n" + rows)
    words = ["--log", "order.csv", "--columns", "user=user,item=item,time=time"]
    assert validate.main([*words, "--out", "g", "--quiet"]) == 2
    assert "has no skips" in capsys.readouterr().err
    assert not Path("g").exists()
