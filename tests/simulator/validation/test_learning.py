"""Models that learn from users: the truth is green, and users who are wrong in one thing are red in
the part that it concerns.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from policies.draws import Draws, key_of
from policies.log import Dataset, Impressions
from simulator.built_in.world import BuiltInParameters, built_in_log
from simulator.chains.crossed_effects import Chains
from simulator.fitting.choices.held_choices import SPACES, HeldChoices, Space, reliability
from simulator.fitting.fit_users import fit
from simulator.users.choice_model import ChoiceModel
from simulator.validation.answering import Pages, answer, answered_log, minds, ready
from simulator.validation.asked import Asked
from simulator.validation.choosing import chosen_again, split_last
from simulator.validation.foretold import foretold
from simulator.validation.learning import REAL, SIMULATED, Learning, Pair, Taught
from simulator.validation.left_over import left_over
from simulator.validation.reporting.lights import _of_choices, _of_learning, _of_left_over, lights
from simulator.validation.reporting.report import learning_table, summary
from simulator.validation.validation import _feedback, _learning, split
from tests.simulator.fitting.test_closeness import chosen_in_turn, of_choices

WORLD = BuiltInParameters(users=800, items=200, categories=10, log_days=8.0)
LEARNERS = ("popularity", "itemknn")
ASKED = Asked(2, 6, learners=LEARNERS)


@dataclass(frozen=True)
class Known:
    """Users who are known: no fit stands between them and the lights."""

    one: ChoiceModel

    def answers(self, data: Dataset, late: Impressions, k: int) -> Any:
        model = ready(self.one, data.has)
        _, p = answer(model, minds(model, data, late), late, key_of("asked"))
        return {"click": p}, {"click": p}, {"click": 0.0}

    def looked(self, data: Dataset, log: Impressions, k: int) -> np.ndarray:
        return np.ones(len(log))


@pytest.fixture(scope="module")
def world() -> tuple[Dataset, Impressions, ChoiceModel]:
    data, model = built_in_log(3, WORLD)
    return *split(data, 2), model


def judged(world: tuple[Dataset, Impressions, ChoiceModel], model: ChoiceModel) -> dict[str, str]:
    """Part -> colour, of clicks and of models that learn."""
    early, late, _ = world
    # what the log's policy knew of its users is not the users' own
    users: Any = Known(model)
    found = _feedback(
        early, users, early, late, users.answers(early, late, 6), ASKED, lambda text: None
    )
    again = _learning(
        early, late, ASKED, lambda text: None, lambda s: answered_log(model, early, late, s)
    )
    missed = left_over(
        early, late, users.answers(early, late, 6)[0]["click"], np.ones(len(late)), 0
    )
    print([(x.part, x.colour, x.words) for x in _of_left_over(missed) + _of_learning(again)])
    return {
        x.part: x.colour for x in [*lights(found), *_of_left_over(missed), *_of_learning(again)]
    }


ORDER, SIZE = "models that learn: their order", "models that learn: how much"
WHOSE, TASTE = "click: whose and of what", "click: taste that is left over"


def test_the_worlds_own_users_are_green(
    world: tuple[Dataset, Impressions, ChoiceModel],
) -> None:
    found = judged(world, world[2])
    assert set(found.values()) == {"green"}
    assert {ORDER, SIZE, WHOSE, TASTE, "click rate"} <= found.keys()


def with_rate_of(model: ChoiceModel, true: ChoiceModel, world: Any) -> ChoiceModel:
    """The same users with the click rate of the true ones, on the log's slates."""
    early, late, _ = world
    shift = model.parameters["shift"]
    by = 0.0
    want = Known(true).answers(early, late, 6)[0]["click"].mean()
    for _ in range(6):
        moved = model.with_parameters(shift=replace(shift, value=shift.value + by))
        rate = Known(moved).answers(early, late, 6)[0]["click"].mean()
        by += np.log(want / (1 - want)) - np.log(rate / (1 - rate))
    return model.with_parameters(shift=replace(shift, value=shift.value + by))


def test_users_whose_taste_was_shuffled_are_red_where_taste_is_asked(
    world: tuple[Dataset, Impressions, ChoiceModel],
) -> None:
    true = world[2]
    other = np.random.default_rng(0).permutation(true.n_users)
    shuffled = with_rate_of(replace(true, user_taste=true.user_taste[other]), true, world)
    found = judged(world, shuffled)
    assert found[WHOSE] == "red"
    assert found[TASTE] == "red"
    assert found["click rate"] != "red"  # they click as often


def test_users_with_a_level_alone_are_red_where_taste_is_asked(
    world: tuple[Dataset, Impressions, ChoiceModel],
) -> None:
    true = world[2]
    alike = with_rate_of(replace(true, user_taste=np.zeros_like(true.user_taste)), true, world)
    found = judged(world, alike)
    assert found[TASTE] == "red"
    assert found[WHOSE] != "green"
    assert found["click rate"] != "red"


def test_users_of_another_log_are_red_all_over(
    world: tuple[Dataset, Impressions, ChoiceModel],
) -> None:
    _, other = built_in_log(4, WORLD)
    found = judged(world, replace(other, category=world[2].category))
    assert found[WHOSE] == "red"
    assert found["click by predicted probability"] == "red"
    assert found["click rates of items"] == "red"


# -- answers to a log ------------------------------------------------------------------------------


def test_pages_are_answered_in_the_order_in_which_each_user_saw_them(
    world: tuple[Dataset, Impressions, ChoiceModel],
) -> None:
    early, _, model = world
    log = early.log.rows(np.random.default_rng(1).permutation(len(early.log)))
    pages = Pages.of(log)
    assert pages.size.sum() == len(log)
    for user in (0, 7, 300):
        mine = np.flatnonzero(pages.user == user)
        by_turn = mine[np.argsort(pages.turn[mine])]
        assert pages.turn[by_turn].tolist() == list(range(len(mine)))
        assert (np.diff(pages.time[by_turn]) >= 0).all()
    some = np.flatnonzero(pages.user == 7)[0]
    rows = pages.order[pages.first[some] : pages.first[some] + pages.size[some]]
    assert log.slot[rows].tolist() == list(range(len(rows)))
    # in whatever order rows stand, the answers are the same
    shuffled, _ = answer(model, minds(model, early, log), log, 5)
    plain, chance = answer(model, minds(model, early, early.log), early.log, 5)
    key = ["user", "session", "page", "slot"]
    order = [np.lexsort([getattr(x, name) for name in key]) for x in (shuffled, plain)]
    np.testing.assert_array_equal(shuffled.clicked[order[0]], plain.clicked[order[1]])
    assert abs(plain.clicked.mean() - chance.mean()) < 0.005
    assert (plain.item == early.log.item).all()


def test_answers_are_those_of_respond(world: tuple[Dataset, Impressions, ChoiceModel]) -> None:
    early, _, model = world
    one = early.log.rows(early.log.user == 11)
    found, _ = answer(model, minds(model, early, one), one, 5)
    state, pages = minds(model, early, one), Pages.of(one)
    user = np.array([11])
    for page in np.argsort(pages.turn):
        rows = pages.order[pages.first[page] : pages.first[page] + pages.size[page]]
        given = model.respond(
            state,
            user,
            one.item[rows][None],
            pages.page[page : page + 1],
            pages.time[page : page + 1],
            Draws(5, user, pages.session[page : page + 1], pages.page[page : page + 1]),
        )
        assert given.clicked[0].tolist() == found.clicked[rows].tolist()


# -- figures ---------------------------------------------------------------------------------------


def taught(name: str, real: float, simulated: float, error: float = 0.001) -> Taught:
    ndcg = {f"{REAL} > {REAL}": (real, error), f"{SIMULATED} > {SIMULATED}": (simulated, error)}
    crossed = {f"{a} > {b}": (0.0, error) for a, b in ((REAL, SIMULATED), (SIMULATED, REAL))}
    return Taught(name, ndcg | crossed, 1000)


def of(*models: Taught, error: float = 0.001) -> Learning:
    pairs = [
        Pair(
            a.policy,
            b.policy,
            (a.within(REAL)[0] - b.within(REAL)[0], error),
            (a.within(SIMULATED)[0] - b.within(SIMULATED)[0], error),
        )
        for i, a in enumerate(models)
        for b in models[i + 1 :]
    ]
    return Learning(list(models), pairs, {REAL: 1000, SIMULATED: 1000}, 1)


def test_lights_of_learning() -> None:
    def colours(*models: Taught) -> list[str]:
        return [x.colour for x in _of_learning(of(*models))]

    assert colours(taught("a", 0.04, 0.041), taught("b", 0.06, 0.058)) == ["green", "green"]
    assert colours(taught("a", 0.04, 0.06), taught("b", 0.06, 0.04)) == ["red", "amber"]
    assert colours(taught("a", 0.04, 0.015), taught("b", 0.06, 0.016)) == ["amber", "red"]
    same = colours(taught("a", 0.04, 0.04), taught("b", 0.0401, 0.04))
    assert same == ["amber", "green"]  # the real log tells no two apart
    # what chance could do is not red
    unsure = of(taught("a", 0.04, 0.015, 0.02), taught("b", 0.06, 0.06, 0.02))
    assert _of_learning(unsure)[1].colour == "amber"
    wide = of(taught("a", 0.04, 0.041, 0.03), taught("b", 0.06, 0.058))
    assert _of_learning(wide)[1].colour == "amber"
    nothing = of(taught("a", 0.004, 0.0, 0.003), taught("b", 0.06, 0.058))
    assert _of_learning(nothing)[1].colour == "amber"  # three hits of a thousand are no more
    # simulated answers tell apart what real ones do not
    assert colours(taught("a", 0.04, 0.03), taught("b", 0.0401, 0.05))[0] == "amber"
    assert _of_learning(of(taught("a", 0.04, 0.04)))[0].colour == "none"
    reason = _of_learning(of(taught("itemknn", 0.04, 0.01), taught("popularity", 0.01, 0.01)))[1]
    assert "users follow their taste less than people do" in reason.words
    assert _of_learning("nobody was asked")[0].colour == "none"
    table = learning_table(of(taught("a", 0.04, 0.05)))
    assert table.rows[0][:2] == ["a", "0.0400 ± 0.0020"]
    assert summary(_of_learning(of(taught("a", 0.04, 0.06), taught("b", 0.06, 0.04))))[-1] == (
        "Do not trust: models that learn: their order."
    )


def test_learning_is_the_same_whoever_does_it(
    world: tuple[Dataset, Impressions, ChoiceModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    early, late, model = world

    def once() -> Learning | str:
        return _learning(
            early, late, ASKED, lambda text: None, lambda s: answered_log(model, early, late, s)
        )

    here = once()
    monkeypatch.setenv("GPTREC_WORKERS", "2")
    assert once() == here
    assert isinstance(here, Learning)
    # a test cannot know what it is asked: the same users, other answers
    assert here.taught[1].ndcg["real > real"] != here.taught[1].ndcg["simulated > simulated"]


# -- logs without skips ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def choices() -> Dataset:
    return chosen_in_turn(0.5, 2.5, 700)


def test_users_choose_again_as_often_and_nothing_twice(choices: Dataset) -> None:
    early, late = split_last(choices)
    assert len(late) == 700
    fitted = fit(early, 0, 6, lambda text: None)
    assert fitted.choices is not None
    again = chosen_again(fitted.model(0), fitted.choices, early, late, 0)
    both = Impressions.concat([early.log, late]).by_user()
    np.testing.assert_array_equal(again.user, both.user)
    np.testing.assert_array_equal(again.time, both.time)
    pairs = again.user * 1000 + again.item
    assert len(np.unique(pairs)) == len(pairs)
    assert again.item.min() >= 1
    counts = [np.bincount(x.item, minlength=301)[1:] for x in (again, both)]
    assert np.corrcoef(counts[0], counts[1])[0, 1] > 0.9
    assert (again.item != both.item).mean() > 0.8
    other = chosen_again(fitted.model(0), fitted.choices, early, late, 1)
    assert (other.item != again.item).mean() > 0.5
    known = foretold(fitted.choices, early, late, 0)
    assert _of_choices(known).colour == "green"
    assert known.auc[0] > known.popularity[0] + 0.05
    nothing = replace(fitted.choices, slopes=-fitted.choices.slopes)
    assert _of_choices(foretold(nothing, early, late, 0)).colour == "red"


def test_the_space_is_chosen_by_held_out_choices(choices: Dataset) -> None:
    held = HeldChoices.of(choices, 0)
    assert held.columns(Space()).shape == (700, 501, 4)
    assert len(held.chosen.user) - len(held.held) == held._kept.sum()
    space = held.space()
    assert any(space.coarse == s.coarse for s in SPACES)
    assert 0 <= space.share <= 1
    rest = replace(choices, log=choices.log.rows(slice(0, 40)))
    assert HeldChoices.of(rest, 0).space() is SPACES[0]  # too few to tell
    found = reliability(choices, Space(), 0)
    rng = np.random.default_rng(0)
    noise = replace(
        choices,
        log=replace(choices.log, item=rng.integers(1, 301, len(choices.log)).astype(np.int32)),
    )
    assert found > 0.25 > 0.1 > reliability(noise, Space(), 0)


def test_repeats_are_no_proof_of_taste() -> None:
    """Choices at random, many of them again: nothing is told, and nothing is green."""
    rng = np.random.default_rng(2)
    user, item = np.repeat(np.arange(600), 12), rng.integers(1, 41, 7200)
    noise = of_choices(user.tolist(), item.tolist(), np.arange(7200.0).tolist(), 41)
    early, late = split_last(noise)
    fitted = fit(early, 0, 6, lambda text: None)
    assert fitted.choices is not None
    assert _of_choices(foretold(fitted.choices, early, late, 0)).colour != "green"
    again = chosen_again(fitted.model(0), fitted.choices, early, late, 0)
    assert len(np.unique(again.user * 1000 + again.item)) == len(again)
    whole = fit(noise, 0, 6, lambda text: None).choices
    assert whole is not None
    assert (np.abs(whole.slopes[2:]) < 4 * whole.errors()[2:] + 0.05).all()


def test_a_busier_day_is_no_taste(world: tuple[Dataset, Impressions, ChoiceModel]) -> None:
    early, late, model = world
    p = Known(model).answers(early, late, 6)[0]["click"]
    busier = 1 / (1 + np.exp(-(np.log(p / (1 - p)) + 0.4)))
    clicked = np.random.default_rng(0).random(len(late)) < busier
    found = left_over(early, replace(late, clicked=clicked), p, np.ones(len(late)), 0)
    assert found is not None
    assert abs(found.slope) < 3 * found.error + 0.02


def test_a_log_of_choices_gets_a_validation(choices: Dataset) -> None:
    from simulator.validation.validation import validate

    asked = Asked(1, 6, chains=Chains(20, 2), learners=LEARNERS)
    found = validate(choices, asked, lambda text: None)
    assert isinstance(found.taught, Learning)
    assert found.taught.targets[REAL] == 700
    assert found.foretold is not None
    assert found.feedback == []
