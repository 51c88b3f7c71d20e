"""Fidelity: levels are recovered, the figures are what they say, and a simulator that lies gets a
red light.
"""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit
from sklearn.metrics import roc_auc_score

import simulator.validate as validate
from policies.common.errors import InputError
from policies.draws import generator
from policies.log import Dataset
from policies.sources.levels import MIDDLE_OF_RATIOS, generic_level
from simulator import validating
from simulator.experiment.data import page_length, size_note
from simulator.settings import Experiment
from simulator.users.choice_model import ChoiceModel
from simulator.validation.asked import Asked
from simulator.validation.fidelity import Answers, _weighted_auc, expected_calibration_error, judge
from simulator.validation.reporting.lights import lights
from simulator.validation.validation import split
from tests.conftest import SHORT_FLAGS
from tests.simulator.chains.test_crossed_effects import levels_world

ROWS = 60_000


def test_figures_are_those_of_scikit_learn() -> None:
    rng = generator("auc")
    y, weight = rng.random(500) < 0.3, rng.integers(0, 4, 500)
    for p in (rng.random(500), rng.integers(0, 5, 500) / 5, np.full(500, 0.5)):
        ours = _weighted_auc(y, weight, np.unique(p, return_inverse=True)[1])
        assert ours == pytest.approx(roc_auc_score(y, p, sample_weight=weight))
    assert expected_calibration_error(y, np.full(500, 0.3), bins=1) == pytest.approx(
        abs(y.mean() - 0.3)
    )


def answers(bias: float, rows: int = ROWS, shift: float = 0.0, seed: int = 0) -> Answers:
    """Answers of which the prediction is the truth, but for a bias in logits; the shift makes them
    rarer.
    """
    _, _, user, item, _, p, _ = (
        part[:rows] if len(part) == ROWS else part for part in levels_world(2)
    )
    p = expit(np.log(p / (1 - p)) + shift)
    happened = generator("answers", seed).random(rows) < p
    same = {"user + item": np.full(rows, p.mean())}
    told = expit(np.log(p / (1 - p)) + bias)
    return Answers("click", user, item, happened, told, told, same)


def test_the_truth_is_green_and_a_lie_is_red() -> None:
    honest, liar = (lights([judge(answers(bias), generator("judge"))]) for bias in (0.0, 0.5))
    assert [light.colour for light in honest] == ["green"] * 5
    by_part = {light.part: light.colour for light in liar}
    assert by_part["click rate"] == "red"
    assert by_part["click by predicted probability"] == "red"
    assert by_part["click: whose and of what"] == "green"  # it still knows who clicks what


@pytest.mark.parametrize(("rows", "shift"), [(3000, 0.0), (20_000, -3.6), (60_000, -4.5)])
def test_few_or_rare_answers_do_not_turn_the_truth_red(rows: int, shift: float) -> None:
    found = [
        judge(answers(0.0, rows, shift, seed), generator("judge", seed), least=5)
        for seed in range(10)
    ]
    colours = [x.colour for f in found for x in lights([f]) if "whose" not in x.part]
    assert colours.count("red") <= 3  # of 40, each red by chance about once in a hundred
    assert colours.count("green") >= 0.7 * len(colours)


def test_what_days_differ_by_widens_the_interval_of_a_rate() -> None:
    honest = answers(0.0)
    plain, wide = (judge(a, generator("judge")) for a in (honest, replace(honest, unsure=0.1)))
    assert plain.relative == wide.relative
    assert wide.low < plain.low - 0.1
    assert wide.high > plain.high + 0.1


def test_a_rare_answer_that_nobody_can_judge_is_not_green() -> None:
    wide = judge(answers(-0.3, 3000, -4.5), generator("judge"))
    assert lights([wide])[0].colour in ("amber", "red")


@pytest.mark.parametrize("end", [0.0, 15.0])
def test_the_cut_is_at_midnight_and_nothing_after_it_is_fitted(
    end: float, small_world: tuple[Dataset, ChoiceModel]
) -> None:
    # the log ends at midnight, or at three in the afternoon
    data = replace(small_world[0], hour_zero=end)
    early, late = split(data, 2)
    assert len(early.log) + len(late) == len(data.log)
    assert early.log.time.max() == 0 < late.time.min()
    wanted = (24 if end == 0 else end) + 24  # hours that two calendar days have
    moved = float(data.log.time.max() - late.time.max())
    held = data.log.time > moved
    assert held.sum() == len(late)
    assert data.log.time[held].min() / -3600 <= wanted < data.log.time[~held].max() / -3600
    assert early.hour_zero == pytest.approx((end + moved / 3600) % 24)
    with pytest.raises(InputError, match="wanted at least 100 of each"):
        split(data, 400)


def test_a_level_made_from_the_log_is_made_from_its_early_part(
    small_world: tuple[Dataset, ChoiceModel],
) -> None:
    data = small_world[0]
    made = replace(data, calibration={"random_click_rate": generic_level(data)})
    early, _ = split(made, 2)
    assert early.calibration["random_click_rate"][0] == pytest.approx(
        MIDDLE_OF_RATIOS * early.log.clicked.mean()
    )
    assert split(data, 2)[0].calibration == data.calibration  # a published level stays


def test_the_command_writes_a_report_and_refuses_what_it_cannot_judge(
    small_log: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert (
        validate.main(
            [
                *["--log", str(small_log), *SHORT_FLAGS, "--held-out-days", "2"],
                *["--learners", "popularity,itemknn", "--out", "f", "--quiet"],
            ]
        )
        == 0
    )
    assert "\nTrust: " in capsys.readouterr().out
    found = json.loads(Path("f/fidelity.json").read_text())
    assert [part["name"] for part in found["feedback"]] == ["click", "long view", "like"]
    click = found["feedback"][0]
    # nobody knows more than the probability
    assert click["auc"]["simulator"] < click["ceiling"][0] < 1
    assert found["policy_ranking"] is None
    assert 0.35 < found["user_days"][0] < 0.65
    assert "| user-days of the held-out slates | " in Path("f/fidelity.md").read_text()
    assert found["feedback"][0]["rows"] > 1000
    level = found["random_slates"]
    assert 0 < level["from_what_was_shown"] < 1
    assert f"{level['calibrated']:.3f} with calibration" in Path("f/fidelity.md").read_text()
    assert "| click rate |" in Path("f/fidelity.md").read_text()
    assert Path("f/calibration.png").stat().st_size > 5000
    page = Path("f/fidelity.html").read_text()
    assert "http" not in page  # one file, no network
    assert page.count('<span class="dot') >= 15
    assert "log the probability with which each row is shown" in page  # what to do next
    assert "python -m simulator.validate" in page
    assert {t["policy"] for t in found["learning"]["taught"]} == {"popularity", "itemknn"}
    free = found["free_running"]
    assert 0.4 < free["auc"][0] < 0.8
    assert "| sessions per user and day |" in Path("f/fidelity.md").read_text()
    assert validate.main(["--log", str(small_log), *SHORT_FLAGS, "--out", "f", "--quiet"]) == 2
    assert "exists already" in capsys.readouterr().err
    for flags, words in (
        (["--user-model", "matrix"], "validate factors"),
        (["--learners", "oracle"], "asks for the truth"),
        (["--learners", "sasrek"], "did you mean 'sasrec'"),
        (["--context", "tab"], "--context wants --test-log"),
        (["--seeds", "0"], "--seeds must be at least 1"),
    ):
        assert validate.main(["--log", str(small_log), *flags, "--out", "g", "--quiet"]) == 2
        assert words in capsys.readouterr().err
        assert not Path("g").exists()


def test_validation_has_slates_of_the_logs_page_length(
    small_log: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    frame = pd.read_parquet(small_log)
    frame[frame["slot"] < 4].to_parquet(tmp_path / "four.parquet")
    frame.drop(columns="session").groupby("user").head(1).to_parquet(tmp_path / "few.parquet")

    def stopped(data: Dataset, asked: Asked, *rest: object) -> None:
        raise InputError(f"slates of {asked.slate_size}")

    monkeypatch.setattr(validating, "validate", stopped)
    for name, more, wanted in (
        # one row a user shows no sessions
        ("four", [], 4),
        ("four", ["--slate-size", "5"], 5),
        ("few", [], 6),
    ):
        words = [
            "--log",
            str(tmp_path / f"{name}.parquet"),
            *more,
            "--out",
            str(tmp_path / "f"),
            "--quiet",
        ]
        assert validate.main(words) == 2
        assert f"slates of {wanted}" in capsys.readouterr().err


def test_a_run_says_where_its_slates_differ_from_the_logs_pages(
    small_world: tuple[Dataset, ChoiceModel],
) -> None:
    data = small_world[0]
    assert page_length(data) == 6
    assert size_note(Experiment(), data) == ()
    assert (
        "hold 6 items, the slates here 3: people see 0.5 times as much"
        in size_note(Experiment(slate_size=3), data)[0]
    )
    assert page_length(replace(data, has=data.has - {"sessions"})) is None
