"""The number that decides: what is moved, and what is said of it."""

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.data.run import open_run
from analysis.reporting.lights import _decides_light
from analysis.reporting.sentences import undecided
from analysis.reporting.tables import sensitivity_table
from analysis.results.sensitivity import AS_FITTED, MovedLift, Sensitivity
from policies.log import Dataset
from policies.sources.levels import generic_level
from simulator.doubt.moved import RETURNING, STAYING, moved_users, with_hidden_taste
from simulator.experiment.sensitivity import asks
from simulator.experiment.simulate import simulate
from simulator.fitting.posterior import stretched
from simulator.settings import Experiment
from simulator.users.choice_model import ChoiceModel, Parameter

WORDS = "popularity", "itemknn"


def found(*rows: tuple[str, float, float, float]) -> Sensitivity:
    return Sensitivity(300, 2.0, [MovedLift(n, "there", "a", "b", *x) for n, *x in rows])


def test_a_verdict_that_turns_is_red_and_named_first() -> None:
    light = _decides_light(
        found((AS_FITTED, 0.1, 0.05, 0.15), ("x", -0.1, -0.15, -0.05), ("y", 0.2, 0.1, 0.3))
    )
    assert (light.colour, light.alarm) == ("red", "Mostly assumed")
    assert "+10.0 % as assumed" in light.text
    assert "with x there" in light.text
    assert "with y" not in light.text


def test_a_verdict_that_is_left_open_is_amber_and_one_that_stands_green() -> None:
    fitted = (AS_FITTED, 0.1, 0.05, 0.15)
    assert _decides_light(found(fitted, ("x", 0.01, -0.02, 0.04))).colour == "amber"
    assert _decides_light(found(fitted, ("x", 0.2, 0.1, 0.3))).colour == "green"
    # what was not told apart as fitted, and is on both sides of 0 within the range, cannot be told
    either = found((AS_FITTED, 0.01, -0.1, 0.1), ("x", -0.1, -0.2, -0.05), ("y", 0.2, 0.1, 0.3))
    assert _decides_light(either).colour == "red"
    assert [row.number for row in either.turned()] == ["x", "y"]
    (sentence,) = undecided(either)
    assert sentence.startswith("This log cannot tell whether a or b is better: within the range of")
    assert "x and of y" in sentence
    assert undecided(found(fitted, ("x", 0.01, -0.02, 0.04))) == []
    # what is never told apart cannot turn
    open_ = (AS_FITTED, 0.01, -0.1, 0.1)
    assert _decides_light(found(open_, ("x", -0.1, -0.2, -0.05))).colour == "amber"
    nan = float("nan")
    assert _decides_light(found(fitted, ("x", nan, nan, nan))).colour == "amber"


def test_numbers_are_moved_to_the_ends_of_their_range(
    small_world: tuple[Dataset, ChoiceModel],
) -> None:
    data, model = small_world
    moves = list(moved_users(model, data, 6, 0))
    assert moves[0].number == AS_FITTED
    assert moves[0].model is model
    names = [move.number for move in moves]
    # the built-in log's level is known, so that it is not moved
    assert "random level" not in names
    generic = replace(
        data, calibration={}, log=replace(data.log, propensity=np.full(len(data.log), np.nan))
    )
    generic = replace(generic, calibration={"random_click_rate": generic_level(generic)})
    rates = [m.random for m in moved_users(model, generic, 6, 0) if m.number == "random level"]
    logged = data.log.clicked.mean()
    assert rates[0] == pytest.approx(0.22 * logged)
    assert rates[1] is not None
    assert rates[1] > 0.9 * logged
    told = model.with_parameters(satiation=Parameter(0.2, "estimated", "a test", 0.05))
    ends = [m.model["satiation"] for m in moved_users(told, data, 6, 0) if m.number == "satiation"]
    assert ends == pytest.approx([0.2 - 1.96 * 0.05, 0.2 + 1.96 * 0.05])
    for name, parameter in ((STAYING, "leave_satisfaction"), (RETURNING, "return_satisfaction")):
        moved = [m for m in moves if m.number == name]
        assert [m.model[parameter] for m in moved] == [0.0, 2 * model[parameter]]
        assert not any(m.settles for m in moved)


def test_the_strength_of_taste_is_moved_by_its_errors(
    small_world: tuple[Dataset, ChoiceModel],
) -> None:
    data, plain = small_world
    model = with_hidden_taste(plain, 0.3, 0).with_parameters(
        profile_scale=Parameter(0.5, "estimated", "a test", 0.05),
        closeness=Parameter(0.4, "estimated", "a test", 0.02),
    )
    moves = [m for m in moved_users(model, data, 6, 0) if m.number == "strength of taste"]
    assert [m.end.split(",")[0] for m in moves] == ["weaker", "stronger"]
    for move, by in zip(moves, (1 - 1.96 * 0.1, 1 + 1.96 * 0.1), strict=True):
        fitted, spare = move.model.user_taste[:, :-8], move.model.user_taste[:, -8:]
        np.testing.assert_allclose(fitted, by * model.user_taste[:, :-8], rtol=1e-5)
        np.testing.assert_array_equal(spare, model.user_taste[:, -8:])
        assert move.model["closeness"] == pytest.approx(0.4 * (1 + (by - 1) / 2))
    # what was assumed has no errors, and is not moved by them
    assert not [m for m in moved_users(plain, data, 6, 0) if m.number == "strength of taste"]


def test_hidden_taste_adds_a_taste_and_leaves_what_was_told(
    small_world: tuple[Dataset, ChoiceModel],
) -> None:
    _, model = small_world
    more = with_hidden_taste(model, 1.0, 0)
    hidden = more.user_taste[:, -8:] @ more.item_taste[1:, -8:].T
    assert hidden.std() == pytest.approx(1.0, rel=0.1)
    # what was told is steeper, as an unseen normal of one logit asks for (Zeger et al. 1988)
    told = more.user_taste[:, :-8] @ more.item_taste[1:, :-8].T
    np.testing.assert_allclose(told, stretched(1.0) * model.tastes(), rtol=1e-3, atol=1e-4)


@pytest.fixture(scope="module")
def run(small_log: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Experiment, Path]:
    """A run of choices alone, large enough to be asked."""
    folder = tmp_path_factory.mktemp("sensitivity")
    rows = pd.read_parquet(small_log)
    chosen = rows.loc[rows["click"] == 1, ["user", "item", "time", "category"]]
    chosen.to_csv(folder / "chosen.csv", index=False)
    experiment = Experiment(
        log=str(folder / "chosen.csv"),
        policies=WORDS,
        users=300,
        days=0.25,
        rounds=1,
        warmup_days=0.25,
        truth=False,
        slate_size=4,
        repeat_after=20,
    )
    simulate(experiment, out=str(folder / "run"), workers=1)
    return experiment, folder / "run"


def test_a_run_says_which_number_it_hangs_on(run: tuple[Experiment, Path]) -> None:
    stored = open_run(run[1]).manifest["sensitivity"]
    sensitivity = Sensitivity.of(stored)
    assert sensitivity is not None
    assert sensitivity.days == 0.25
    names = {row.number for row in sensitivity.rows}
    assert {AS_FITTED, "random level", "levels by popularity", "examination"} <= names
    assert all(row.low <= row.lift <= row.high for row in sensitivity.rows)
    slopes = [r.lift for r in sensitivity.rows if r.number == "levels by popularity"]
    # popularity, which is judged here, wins the more the more levels follow it
    assert slopes[0] < sensitivity.as_fitted("popularity").lift < slopes[1]
    page = (run[1] / "report.html").read_text(encoding="utf-8")
    assert "The number that decides" in page
    assert "levels by popularity" in sensitivity_table(sensitivity).markdown()
    assert not list(run[1].rglob("*.rows"))


def test_processes_change_no_number(run: tuple[Experiment, Path], tmp_path: Path) -> None:
    experiment, path = run
    simulate(experiment, out=str(tmp_path / "two"), workers=2)
    one, two = (open_run(folder).manifest["sensitivity"] for folder in (path, tmp_path / "two"))
    assert one == two


def test_few_users_and_whoever_does_not_want_it_are_not_asked(small_log: Path) -> None:
    plain = Experiment(policies=WORDS, users=300)
    assert asks(plain)
    assert not asks(replace(plain, users=299))
    assert not asks(replace(plain, sensitivity=False))
    assert not asks(replace(plain, policies=("popularity", "uniform")))


def test_what_is_stored_comes_back() -> None:
    whole = found((AS_FITTED, 0.1, 0.0, 0.2))
    assert Sensitivity.of(asdict(whole)) == whole
    assert Sensitivity.of(None) is None
    assert Sensitivity.of({"users": 300, "days": 2.0, "rows": []}) is None
