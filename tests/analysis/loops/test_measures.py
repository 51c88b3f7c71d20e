"""Measures of a round, by hand and by definition."""

import numpy as np
import pytest

from analysis.loops.measures import (
    BY_NAME,
    NEW,
    PRIMARY,
    USER,
    WORLD,
    Known,
    Rows,
    Served,
    minority,
    overlap_of,
    user_measures,
    world_measures,
)


def known(n_users: int = 6, n_items: int = 20, categories: int = 4) -> Known:
    """User u likes category 1 + u % 3 (category 0 is nobody's)."""
    category = np.concatenate([[0], 1 + np.arange(n_items) % (categories - 1)])
    likes = 1 + np.arange(n_users) % 3
    chance = np.where(category[None, :] == likes[:, None], 0.6, 0.1)
    chance[:, 0] = 0
    return Known(chance, category, np.concatenate([[0], np.linspace(5, 100, n_items)]))


def served(items: np.ndarray, at: Known, moved: int = 0) -> Served:
    """Pages (U, P, K) of items."""
    users, pages, size = items.shape
    user = np.repeat(np.arange(users), pages * size)
    page = np.repeat(np.arange(users * pages), size)
    item = items.ravel()
    chance = at.chance[user, item]
    drift = np.zeros((len(at.chance), moved))
    return Served(user, page, item, chance > 0.5, chance, drift, drift)


def test_what_users_get_and_how_varied_it_is() -> None:
    at = known()
    mine = np.stack([np.flatnonzero(at.category == 1 + u % 3)[:4] for u in range(6)])
    found = user_measures(served(np.repeat(mine[:, None], 3, axis=1), at), at)
    assert found["utility"] == pytest.approx(np.full(6, 0.6))
    assert found["click_rate"] == pytest.approx(np.ones(6))
    assert found["clicks"].tolist() == [12] * 6
    assert found["pages"].tolist() == [3] * 6
    assert found["entropy"] == pytest.approx(np.zeros(6), abs=1e-12)
    assert found["distance"] == pytest.approx(np.zeros(6))
    assert "drift" not in found
    mixed = np.tile(np.arange(1, 13).reshape(1, 2, 6), (6, 1, 1))
    varied = user_measures(served(mixed, at), at)
    assert varied["entropy"] == pytest.approx(np.full(6, np.log2(3)))
    assert varied["distance"] == pytest.approx(np.full(6, 1 - 3 * 2 / 30))
    assert (varied["calibration"] < found["calibration"]).all()


def test_users_who_stayed_away_have_no_figures_but_no_clicks() -> None:
    at = known()
    items = np.tile(np.arange(1, 7).reshape(1, 1, 6), (2, 1, 1))
    found = user_measures(served(items, at), at)
    assert np.isnan(found["utility"][2:]).all()
    assert np.isnan(found["pages"][2:]).all()
    assert found["clicks"][2:].tolist() == [0] * 4
    assert np.isnan(found["entropy"]).all()  # six impressions say too little


def test_a_round_in_which_nobody_came_has_no_figures() -> None:
    at = known()
    items = np.tile(np.arange(1, 7).reshape(1, 1, 6), (2, 1, 1))
    full, none = served(items, at, 4), served(items[:0], at, 4)
    assert user_measures(none, at).keys() == user_measures(full, at).keys()
    assert np.isnan(user_measures(none, at)["utility"]).all()
    told = world_measures(none, at, np.full(6, np.nan), np.zeros(20), np.ones(20, bool))
    assert told.keys() == {measure.name for measure in WORLD}
    assert np.isnan(list(told.values())).all()


def test_what_was_shown_is_calibrated_where_it_has_the_users_own_shares() -> None:
    at = Known(np.tile([0, 0.5, 0.5, 0.25], (1, 1)), np.array([0, 1, 1, 2]), np.arange(4.0))
    assert at.taste[0] == pytest.approx([0, 0.8, 0.2])
    items = np.array([1, 2] * 4 + [3, 3]).reshape(1, 5, 2).repeat(2, axis=1)
    assert user_measures(served(items, at), at)["calibration"] == pytest.approx([0], abs=1e-9)


def test_drift_is_a_distance_and_what_was_caused_is_that_from_the_frozen_world() -> None:
    at = known()
    plain = served(np.tile(np.arange(1, 7).reshape(1, 1, 6), (6, 1, 1)), at)
    moved, frozen = np.zeros((6, 4)), np.zeros((6, 4))
    moved[:, 1], moved[:, 2], frozen[:, 2] = 3, 4, 4
    found = user_measures(
        Served(plain.user, plain.page, plain.item, plain.clicked, plain.chance, moved, frozen), at
    )
    assert found["drift"] == pytest.approx(np.full(6, 5))
    assert found["caused"] == pytest.approx(np.full(6, 3))


def test_worlds_that_show_all_the_same_and_all_something_else() -> None:
    at = known(6, 24)
    alike = served(np.tile(np.arange(1, 5).reshape(1, 1, 4), (6, 2, 1)), at)
    apart = served(np.arange(1, 25).reshape(6, 1, 4), at)
    nothing, every = np.zeros(24), np.ones(24, bool)
    one = world_measures(alike, at, np.arange(6.0), nothing, every)
    two = world_measures(apart, at, np.arange(6.0), nothing, every)
    assert one["overlap"] == pytest.approx(1)
    assert one["overlap_alike"] == pytest.approx(1)
    assert two["overlap"] == 0
    assert one["coverage"] == pytest.approx(4 / 24)
    assert two["coverage"] == 1
    assert one["gini"] == pytest.approx(1 - 4 / 24)
    assert two["gini"] == pytest.approx(0)
    assert two["unseen_good"] == 0
    assert one["popularity_shown"] == pytest.approx(at.popularity[1:5].mean())
    later = world_measures(alike, at, np.arange(6.0), np.ones(24), every)
    assert later["unseen_good"] == 0 <= one["unseen_good"]
    assert one.keys() == {measure.name for measure in WORLD}
    assert np.isnan(one["merit"])  # all items are as good as each other
    few = np.arange(24) < 12  # the others are not there yet
    assert world_measures(alike, at, np.arange(6.0), nothing, few)["coverage"] == pytest.approx(
        1 / 3
    )


def test_exposure_follows_merit() -> None:
    chance = np.tile(np.linspace(0, 0.5, 13), (4, 1))
    at = Known(chance, np.minimum(np.arange(13), 1), np.arange(13.0))
    items = np.concatenate([np.full(n, n) for n in range(1, 13)])[-12 * 6 :].reshape(4, 3, 6)
    nothing, every = np.zeros(12), np.ones(12, bool)
    told = world_measures(served(items, at), at, np.arange(4.0), nothing, every)
    assert told["merit"] > 0.9
    upside_down = Known(chance[:, [0, *range(12, 0, -1)]], at.category, at.popularity)
    told = world_measures(served(items, upside_down), upside_down, np.arange(4.0), nothing, every)
    assert told["merit"] < -0.9
    assert told["unseen_good"] == (1.0 if 1 not in items else 0.0)


def test_overlap_is_that_of_random_pages_of_two_users() -> None:
    rng = np.random.default_rng(0)
    items = rng.permuted(np.tile(np.arange(1, 16), (8, 3, 1)), axis=2)[:, :, :5]
    rows = Rows(np.repeat(np.arange(8), 15), np.repeat(np.arange(24), 5), items.ravel())
    pages = items.reshape(24, 5)
    user = np.repeat(np.arange(8), 3)
    shares = [
        len(np.intersect1d(pages[i], pages[j])) / 5
        for i in range(24)
        for j in range(24)
        if user[i] != user[j]
    ]
    assert overlap_of(rows) == (24, pytest.approx(np.mean(shares)))


def test_minorities_are_the_third_in_the_smallest_groups() -> None:
    group = np.repeat([0, 1, 2, 3], [60, 20, 12, 8])
    utility = np.where(group == 0, 0.5, 0.3)
    assert minority(utility, group) == pytest.approx(-0.2)
    assert np.isnan(minority(utility, np.zeros(100, int)))


def test_groups_follow_taste_and_categories_without_items_are_nobodys() -> None:
    at = known(9, 30)
    assert at.group.tolist() == [1, 2, 3] * 3


def test_names_are_used_once() -> None:
    assert len(BY_NAME) == len(USER) + len(WORLD) + len(NEW)
    assert set(PRIMARY) <= BY_NAME.keys()
