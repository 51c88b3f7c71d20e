"""What is close to the last choices: users who follow it, fits that find how strongly."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import expit, logit

from policies.catalogue import Catalogue
from policies.draws import Draws, generator
from policies.log import Dataset, Impressions
from simulator.built_in.world import BuiltInParameters, true_users
from simulator.chains.crossed_effects import Chains
from simulator.fitting.choices.positive_only import COLUMNS, conditional_logit
from simulator.fitting.closeness import Chosen, chosen_before, closeness, near_vectors
from simulator.fitting.factors import Taste
from simulator.fitting.fit_users import fit
from simulator.population.people import population
from simulator.settings import Experiment
from simulator.users.choice_model import ChoiceModel, Parameter
from simulator.users.state import FADES, LAST

CALIBRATION = {"random_click_rate": (0.1, "a test")}
WORLD = BuiltInParameters(users=200, items=60, categories=5)


def of_choices(user: list[int], item: list[int], time: list[float], size: int = 60) -> Dataset:
    """A log of choices."""
    columns = {"user": user, "item": item, "time": time, "clicked": [True] * len(user)}
    log = Impressions.of(**{name: np.array(column) for name, column in columns.items()})
    users = np.array([str(i) for i in range(max(user) + 1)])
    catalogue = Catalogue.of(np.array([f"i{i}" for i in range(size)]))
    return Dataset(log.sorted(), catalogue, users, "choices", frozenset(), calibration=CALIBRATION)


def close_users(by: float = 2.0) -> ChoiceModel:
    model, _ = true_users(WORLD)
    rng = np.random.default_rng(1)
    near = rng.normal(size=(61, 4)).astype(np.float32)
    near[0] = 0
    last = rng.integers(0, 61, (200, LAST)).astype(np.int32)
    last[:5] = 0
    return replace(
        model.with_parameters(closeness=Parameter(by, "assumed", "a test")),
        item_near=near,
        last_chosen=last,
    )


def test_users_follow_what_is_close_to_their_last_five_choices() -> None:
    model, plain = close_users(), replace(close_users(), item_near=None)
    users, items = np.arange(200), np.tile(np.arange(1, 7, dtype=np.int32), (200, 1))
    draws = Draws(1, users, users * 0, 0)
    state = model.start(200, 0.0)
    with_, without = (
        m.respond(s, users, items, users * 0, users * 0.0, draws)
        for m, s in ((model, state), (plain, plain.start(200, 0.0)))
    )
    assert model.last_chosen is not None
    assert model.item_near is not None
    expected = 2.0 * closeness(model.item_near, model.last_chosen, items)
    np.testing.assert_allclose(with_.appeal - without.appeal, expected, atol=1e-4)
    assert not expected[:5].any()  # who chose nothing follows nothing
    # what was clicked now comes first, the oldest is gone
    for user in range(0, 200, 17):
        clicked = items[user][with_.clicked[user]][::-1].tolist()
        before = model.last_chosen[user].tolist()
        assert state.chosen[user].tolist() == (clicked + before)[:LAST]


def test_the_truth_that_policies_may_ask_for_knows_of_closeness() -> None:
    model = close_users(0.5)
    users = np.arange(200)
    state = model.start(200, 0.0)
    everything = np.tile(np.arange(1, 61, dtype=np.int32), (200, 1))
    model.respond(
        state, users, everything[:, :6], users * 0, users * 0.0, Draws(1, users, users * 0, 0)
    )
    now = np.zeros(200)
    chance = model.click_probability(state, users, now)[:, 1:]
    plain = replace(model, item_near=None).click_probability(state, users, now)[:, 1:]
    assert model.item_near is not None
    moved = logit(chance.astype(float)) - logit(plain.astype(float))
    np.testing.assert_allclose(
        moved, 0.5 * closeness(model.item_near, state.chosen, everything), atol=1e-2
    )


def test_only_users_of_the_log_have_chosen_before() -> None:
    model = close_users()
    experiment = Experiment(users=300, new_users=0.01, days=5, new_items=0, gone_items=0)
    ids, people, _ = population(experiment, model)
    assert people.last_chosen is not None
    assert model.last_chosen is not None
    own = ids < 200
    assert (people.last_chosen[own] == model.last_chosen[ids[own]]).all()
    assert (~own).sum() > 100
    assert not people.last_chosen[~own].any()


def test_a_row_knows_what_was_chosen_before_its_page() -> None:
    data = of_choices([0, 0, 0, 1, 0, 1], [1, 2, 3, 4, 5, 6], [0.0, 5.0, 5.0, 6.0, 9.0, 9.0])
    before = chosen_before(data)
    assert before[:, :3].tolist() == [
        [0, 0, 0],
        [1, 0, 0],
        [1, 0, 0],
        [0, 0, 0],
        [3, 2, 1],
        [4, 0, 0],
    ]
    assert Chosen.of(data).latest_of_all(2)[:, :4].tolist() == [[5, 3, 2, 1], [6, 4, 0, 0]]


def test_closeness_has_a_standard_deviation_of_one() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(200, 8)).astype(np.float32)
    vectors[0] = 0
    before = rng.integers(1, 200, (500, LAST)).astype(np.int32)
    near = near_vectors(Taste(vectors[:3], vectors), before, generator("near"))
    found = closeness(near, before, np.tile(np.arange(1, 200), (500, 1)))
    assert found.std() == pytest.approx(1, abs=0.05)


def test_a_conditional_logit_is_found_again_from_drawn_alternatives() -> None:
    """Uniformly drawn alternatives leave the slopes what they are (McFadden, 1978)."""
    rng = np.random.default_rng(0)
    truth, columns = np.array([0.7, 0.0, -0.4, 1.1]), []
    for _ in range(1500):
        x = rng.normal(size=(300, 4))
        chosen = int(np.argmax(x @ truth + rng.gumbel(size=300)))
        others = rng.permutation(np.delete(np.arange(300), chosen))[:40]
        columns.append(x[np.r_[chosen, others]])
    slopes, covariance = conditional_logit(np.array(columns))
    errors = np.sqrt(np.diag(covariance))
    assert (np.abs(slopes - truth) < 3.5 * errors).all()
    assert (errors < 0.06).all()


def chosen_in_turn(b: float, c: float, users: int = 1500, items: int = 300) -> Dataset:
    """Choices by softmax(popularity + b taste + c closeness to the last ones), 12 a user, each item
    at most once.
    """
    rng = np.random.default_rng(3)
    kinds, kind = 12, rng.integers(0, 12, items + 1)
    vectors = np.eye(kinds)[kind] + rng.normal(size=(items + 1, kinds)) * 0.15
    tastes = rng.normal(size=(users, kinds))
    level = rng.normal(size=items + 1) * 0.8
    user, item, time = [], [], []
    for u in range(users):
        had: list[int] = []
        own = level + b * tastes[u] @ vectors.T
        for t in range(12):
            last = had[-LAST:][::-1]
            weight = FADES ** np.arange(len(last))
            near = weight @ vectors[last] / weight.sum() if had else np.zeros(kinds)
            x = own + c * near @ vectors.T
            x = x + rng.gumbel(size=items + 1)
            x[0], x[had] = -np.inf, -np.inf
            had.append(int(np.argmax(x)))
            user.append(u)
            item.append(had[-1])
            time.append(100.0 * t + u / users)
    return of_choices(user, item, time, items)


@pytest.mark.parametrize(("b", "c"), [(0.0, 0.0), (0.0, 4.0)])
def test_choices_tell_whether_users_follow_what_they_chose(b: float, c: float) -> None:
    data = chosen_in_turn(b, c)
    model = fit(data, 0, 6, lambda text: None).model(0)
    closeness = model.parameters["closeness"]
    assert closeness.status == "estimated"
    assert closeness.error is not None
    if c == 0:
        assert abs(closeness.value) < max(3 * closeness.error, 0.1)
    else:
        assert closeness.value > 0.7
        assert closeness.value > 10 * closeness.error


def test_slopes_of_choices_are_drawn_around_what_was_found() -> None:
    data = chosen_in_turn(0.5, 2.0, 400)
    fitted = fit(data, 0, 6, lambda text: None)
    assert fitted.choices is not None
    found = fitted.choices
    drawn = np.array([found.drawn(0, k) for k in range(1, 400)])
    assert (found.drawn(0, 0) == np.maximum(found.slopes, 0)).all()
    at = COLUMNS.index("closeness")
    assert drawn[:, at].std() == pytest.approx(found.errors()[at], rel=0.15)
    assert found.slopes[at] > 0
    levels = [fitted.model(k)["level_slope"] for k in range(1, 40)]
    assert 0 <= min(levels) < 0.3 * found.steepest < 0.7 * found.steepest < max(levels)
    assert max(levels) <= found.steepest


def test_a_known_rate_of_the_logs_slates_sets_the_levels() -> None:
    """Slates of known levels: what is clicked of them gives back their rate and the slope."""
    data = chosen_in_turn(0.0, 2.0, 400)
    found = fit(data, 0, 6, lambda text: None).choices
    assert found is not None
    slopes = found.drawn(0, 0)

    def of_slates(level: float) -> float:
        x = found.chosen @ (slopes * np.array([0, 0, 1, 1])) + level * found.chosen[:, 0]
        chance = expit(x + found.shift(slopes, level, 0.1))
        return float(len(chance) / (1 / chance).sum())

    truth = 0.2 * found.steepest
    assert of_slates(truth) > of_slates(0.0) + 0.005
    assert found.level_by(slopes, 0.1, of_slates(truth)) == pytest.approx(truth, abs=0.01)
    # a rate that cannot be had: as near as can be
    best = max(np.linspace(0, found.steepest, 100), key=of_slates)
    assert found.level_by(slopes, 0.1, 0.99) == pytest.approx(best, abs=0.05 * found.steepest)


def test_users_with_skips_who_follow_nothing_are_told(
    small_world: tuple[Dataset, ChoiceModel],
) -> None:
    data, _ = small_world
    model = fit(data, 0, 6, lambda text: None, chains=Chains(20, 2)).model(0)
    assert model.item_near is None
    assert model["closeness"] == 0.0
    assert model.parameters["closeness"].status == "assumed"


def test_the_slope_of_closeness_is_found_among_skips() -> None:
    """Rows whose answers follow closeness by a known slope give it back."""
    data = chosen_in_turn(0.0, 4.0, 1500)
    n, rng = len(data.log), np.random.default_rng(5)
    # Each choice beside another item shown at the same time; which of both is clicked is redrawn.
    other = rng.integers(1, 301, n).astype(np.int32)
    twice = data.log.rows(np.repeat(np.arange(n), 2))
    item = twice.item.copy()
    item[1::2] = other
    near = near_vectors(
        Taste(np.zeros((1, 12), np.float32), _kinds(300)), chosen_before(data), generator("near")
    )
    close = closeness(near, np.repeat(chosen_before(data), 2, axis=0), item[:, None])[:, 0]
    clicked = rng.random(2 * n) < expit(-1.0 + 0.8 * close)
    log = replace(twice, item=item, clicked=clicked)
    shown = replace(data, log=log, has=frozenset({"skips"}))
    model = fit(shown, 0, 6, lambda text: None, chains=Chains(20, 2)).model(0)
    assert model.item_near is not None
    assert model["closeness"] > 0.3


def _kinds(items: int) -> np.ndarray:
    rng = np.random.default_rng(3)
    kind = rng.integers(0, 12, items + 1)
    vectors = np.eye(12)[kind] + rng.normal(size=(items + 1, 12)) * 0.15
    vectors[0] = 0
    return vectors.astype(np.float32)
