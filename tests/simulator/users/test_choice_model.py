"""The user model: nobody's answer depends on who else is asked; the oracle's page is the best one;
gaps are as drawn.
"""

from dataclasses import replace
from itertools import permutations
from typing import Any

import numpy as np
import pytest

from policies.base import plain_requests
from policies.draws import Draws
from policies.ranking import mask_scores, top_k
from simulator.buckets import HELD_OUT, assign, parse_weights
from simulator.built_in.world import BuiltInParameters, true_users
from simulator.users.choice_model import DAY, Parameter

MODEL, CATALOGUE = true_users(BuiltInParameters(users=300, items=60, categories=5))


def answer(users: np.ndarray, items: np.ndarray, pages: int = 2) -> Any:
    state = MODEL.start(300, 0.0)
    for page in range(pages):
        draws = Draws(9, users, np.zeros_like(users), page)
        found = MODEL.respond(
            state, users, items, np.full(len(users), page), np.full(len(users), 60.0 * page), draws
        )
    return found, state


def test_a_users_answers_do_not_depend_on_the_batch() -> None:
    rng = np.random.default_rng(0)
    items = np.argsort(rng.random((300, 60)), axis=1)[:, :6].astype(np.int32) + 1
    users = np.arange(300)
    whole, state = answer(users, items)
    for pick in (np.array([7]), np.array([299, 3, 150]), np.arange(0, 300, 7)):
        part, other = answer(users[pick], items[pick])
        for name in part.__slots__:
            assert np.array_equal(getattr(part, name), getattr(whole, name)[pick]), name
        assert np.array_equal(other.satiation[pick], state.satiation[pick])


def test_satiation_and_repeats_lower_appeal_and_time_heals() -> None:
    users, items = np.arange(300), np.tile(np.arange(1, 7, dtype=np.int32), (300, 1))
    state = MODEL.start(300, 0.0)
    fresh = MODEL.respond(
        state, users, items, np.zeros(300), np.zeros(300), Draws(1, users, users * 0)
    )
    tired = MODEL.respond(
        state, users, items, np.ones(300), np.full(300, 60.0), Draws(1, users, users * 0, 1)
    )
    rested_state = MODEL.start(300, 0.0)
    MODEL.respond(
        rested_state, users, items, np.zeros(300), np.zeros(300), Draws(1, users, users * 0)
    )
    late = MODEL.respond(
        rested_state,
        users,
        items,
        np.zeros(300),
        np.full(300, 30 * DAY),
        Draws(1, users, users * 0, 2),
    )
    assert (tired.appeal <= fresh.appeal + 1e-6).all()
    assert tired.appeal.mean() < late.appeal.mean() < fresh.appeal.mean()


def test_click_probability_is_the_one_that_answers_use() -> None:
    users = np.arange(300)
    items = np.tile(np.arange(1, 7, dtype=np.int32), (300, 1))
    state = MODEL.start(300, 0.0)
    MODEL.respond(state, users, items, np.zeros(300), np.zeros(300), Draws(1, users, users * 0))
    now = np.full(300, 500.0)
    whole = MODEL.click_probability(state, users, now)
    told = MODEL.respond(state, users, items, np.ones(300), now, Draws(1, users, users * 0, 1))
    assert np.allclose(whole[:, 1:7] * MODEL.examination[:6], told.probability, atol=1e-5)


@pytest.mark.parametrize("k", [2, 3])
def test_the_oracles_page_has_the_most_expected_clicks(k: int) -> None:
    model, _ = true_users(BuiltInParameters(users=12, items=6, categories=2))
    users = np.arange(12)
    state = model.start(12, 0.0)
    seen = np.tile(np.array([1, 2, 3], np.int32), (12, 1))
    model.respond(state, users, seen, np.zeros(12), np.zeros(12), Draws(3, users, users * 0))
    p = model.click_probability(state, users, np.full(12, 60.0))
    slates = top_k(mask_scores(p.copy(), plain_requests(np.zeros((12, 0), np.int32), 6)), k)
    examination = model.examination[:k]
    for user in users:
        best = max(
            float(p[user, list(page)] @ examination) for page in permutations(range(1, 7), k)
        )
        assert float(p[user, slates[user]] @ examination) == pytest.approx(best, rel=1e-6)


def test_operational_time_runs_there_and_back() -> None:
    t = np.linspace(-5 * DAY, 5 * DAY, 1001)
    busy = MODEL.busy_time(t)
    assert (np.diff(busy) > 0).all()
    assert np.allclose(MODEL.clock_time(busy), t, atol=1e-3)
    assert np.allclose(MODEL.busy_time(t + DAY) - busy, DAY)


def test_gaps_are_the_mixture_and_the_satisfied_come_sooner() -> None:
    users = np.zeros(40_000, int)
    draws = Draws(1, np.arange(40_000), np.arange(40_000))
    gap = np.log(MODEL.gap(users, np.full(40_000, 0.45), draws) / 3600) - MODEL.activity[0]
    mean = 0.35 * np.log(1.5) + 0.65 * np.log(20)
    assert gap.mean() == pytest.approx(mean, abs=0.03)
    happy = MODEL.gap(users, np.full(40_000, 0.9), draws)
    assert (happy < MODEL.gap(users, np.full(40_000, 0.45), draws)).all()


def test_buckets_follow_the_weights_and_take_from_the_rest_alone() -> None:
    users = np.arange(50_000)
    two = assign(users, np.array([0.2, 0.3]), "s")
    three = assign(users, np.array([0.2, 0.3, 0.4]), "s")
    assert np.array_equal(two[two != HELD_OUT], three[two != HELD_OUT])
    assert np.bincount(three + 1) / len(users) == pytest.approx([0.1, 0.2, 0.3, 0.4], abs=0.01)
    assert (assign(users, np.array([0.5, 0.5]), "s") != HELD_OUT).all()
    assert abs(np.corrcoef(two, assign(users, np.array([0.2, 0.3]), "t"))[0, 1]) < 0.02
    assert parse_weights("50,50", 2).tolist() == [0.5, 0.5]


@pytest.mark.parametrize("rule", ["unexpected", "reinforced", "exposure"])
def test_taste_moves_by_the_rule_that_is_named(rule: Any) -> None:
    strength = Parameter(0.2, "assumed", "test")
    model = replace(MODEL.with_parameters(drift=strength), dynamics=rule)
    users = np.arange(300)
    items = np.argsort(np.random.default_rng(1).random((300, 60)), axis=1)[:, :6] + 1
    state = model.start(300, 0.0)
    fresh = model.respond(
        state, users, items, np.zeros(300), np.zeros(300), Draws(1, users, users * 0)
    )
    clicked, looked = np.zeros((2, 300, int(model.category.max()) + 1))
    chance = np.zeros_like(clicked)
    until = Draws(1, users, users * 0).uniform("examine", 1)
    seen = until < model.examination[:6]
    for what, by in ((clicked, fresh.clicked), (looked, seen), (chance, fresh.probability)):
        np.add.at(what, (users[:, None], model.category[items]), by)
    rho = model["satisfaction_reference"]
    wanted = {
        "unexpected": clicked - chance,
        "reinforced": clicked - rho * looked,
        "exposure": looked,
    }[rule]
    np.testing.assert_allclose(state.drifted, wanted, atol=1e-5)
    # what the truth says of the next page, the page does
    whole = model.click_probability(state, users, np.full(300, 60.0))
    told = model.respond(
        state, users, items, np.ones(300), np.full(300, 60.0), Draws(1, users, users * 0, 1)
    )
    asked = np.take_along_axis(whole, items, axis=1) * model.examination[:6]
    np.testing.assert_allclose(asked, told.probability, atol=1e-5)
