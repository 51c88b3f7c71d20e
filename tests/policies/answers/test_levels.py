"""Levels of answers: known parameters are recovered, and round by round is as good as at once."""

import numpy as np
import pytest

from policies.answers.exposures import exposures_of, lately
from policies.answers.levels import Content, Levels
from policies.answers.rows import Rows, rows_of
from policies.base import Requests
from policies.catalogue import Catalogue
from policies.log import Impressions

N_USERS, N_ITEMS, CATEGORIES = 300, 200, 5


def catalogue() -> Catalogue:
    names = np.array([f"c{i % CATEGORIES}" for i in range(N_ITEMS)])
    return Catalogue.of(np.arange(N_ITEMS).astype(str), names, np.full(N_ITEMS, 20.0))


def world(n: int, seed: int, items: int = N_ITEMS) -> tuple[Impressions, dict[str, np.ndarray]]:
    """Uniformly shown rows of the first `items` items, and what made users click."""
    rng = np.random.default_rng(seed)
    truth = np.random.default_rng(1)
    effects = {
        "user": truth.normal(0, 0.8, N_USERS),
        "item": truth.normal(0, 0.6, N_ITEMS + 1),
        "category": truth.normal(0, 0.5, CATEGORIES + 1),
    }
    chosen = truth.poisson(np.exp(truth.normal(1, 1, N_ITEMS + 1))).astype(np.float64)
    effects["chosen"] = chosen
    user, item = rng.integers(0, N_USERS, n), rng.integers(1, items + 1, n)
    logit = -1 + effects["user"][user] + effects["item"][item]
    logit += effects["category"][catalogue().category[item]] + 0.4 * np.log1p(chosen[item])
    clicked = rng.random(n) < 1 / (1 + np.exp(-logit))
    # Far apart, so that nothing tires.
    log = Impressions.of(user=user, item=item, time=np.arange(n) * 1e6, clicked=clicked)
    return log.by_user(), effects


def fitted(log: Impressions, effects: dict[str, np.ndarray]) -> tuple[Levels, Rows]:
    levels = Levels(Content.of(catalogue(), effects["chosen"]))
    rows = rows_of(log, catalogue())
    levels.fit(rows, rows.answers["clicked"])
    return levels, rows


def true_level(effects: dict[str, np.ndarray]) -> np.ndarray:
    at = effects["item"] + effects["category"][catalogue().category]
    return np.asarray(at + 0.4 * np.log1p(effects["chosen"]))[1:]


def test_known_effects_are_recovered() -> None:
    log, effects = world(60_000, 2)
    levels, _ = fitted(log, effects)
    assert np.corrcoef(levels.items[1:], true_level(effects))[0, 1] > 0.98
    assert np.corrcoef(levels.mean["user"], effects["user"])[0, 1] > 0.95
    assert levels.sd["user"] == pytest.approx(effects["user"].std(), rel=0.15)
    assert levels.sd["item"] == pytest.approx(effects["item"].std(), rel=0.15)
    assert levels.slopes[1] == pytest.approx(0.4, abs=0.15)


def test_posterior_intervals_cover_the_levels() -> None:
    log, effects = world(20_000, 3)
    levels, _ = fitted(log, effects)
    off = levels.items[1:] - true_level(effects)
    off -= off.mean()  # the intercept takes what all items share
    inside = np.abs(off) < 1.96 * levels.item_sd[1:]
    assert 0.9 <= inside.mean() <= 0.995


def test_an_item_without_rows_is_its_content() -> None:
    log, effects = world(40_000, 4, items=N_ITEMS // 2)
    levels, _ = fitted(log, effects)
    unseen = slice(N_ITEMS // 2 + 1, None)
    np.testing.assert_allclose(levels.items[unseen], levels.of_content[unseen], atol=1e-9)
    known = true_level(effects)[N_ITEMS // 2 :]
    assert np.corrcoef(levels.items[unseen], known)[0, 1] > 0.5
    assert (levels.item_sd[unseen] > levels.item_sd[1 : N_ITEMS // 2].max()).all()
    nothing = Levels(Content.of(catalogue(), effects["chosen"]).nothing())
    rows = rows_of(log, catalogue())
    nothing.fit(rows, rows.answers["clicked"])
    assert np.ptp(nothing.items[unseen]) == 0


def test_two_rounds_are_as_good_as_one() -> None:
    log, effects = world(40_000, 5)
    once, rows = fitted(log, effects)
    first = rows.time < np.median(rows.time)
    twice = Levels(once.content)
    twice.fit(rows.kept(first), rows.answers["clicked"][first])
    late = rows.kept(~first)
    twice.update(late, late.answers["clicked"], np.zeros(len(late)))
    np.testing.assert_allclose(
        twice.items - twice.items.mean(), once.items - once.items.mean(), atol=0.15
    )
    ratio = twice.precision["item"][1:] / once.precision["item"][1:]
    assert 0.8 < ratio.min() < ratio.max() < 1.25


def test_another_logs_level_moves_no_item() -> None:
    """A round in which everything is clicked less says nothing of which items are good."""
    log, effects = world(30_000, 6)
    levels, _ = fitted(log, effects)
    before = levels.items.copy()
    rng = np.random.default_rng(7)
    few, _ = world(30_000, 8, items=50)  # of 50 items alone
    low = Impressions.of(
        user=few.user,
        item=few.item,
        time=few.time + 1e12,
        clicked=few.clicked & (rng.random(len(few)) < 0.4),
    )
    rows = rows_of(low.by_user(), catalogue())
    levels.update(rows, rows.answers["clicked"], np.zeros(len(rows)))
    shown, others = levels.items[1:51] - before[1:51], levels.items[51:] - before[51:]
    assert abs(shown.mean() - others.mean()) < 0.15


def test_what_was_only_chosen_is_no_showing() -> None:
    log, effects = world(20_000, 9)
    clicks = Impressions.of(
        user=log.user[:5000],
        item=log.item[:5000],
        time=log.time[:5000] - 1e13,
        shown=np.zeros(5000, bool),
        clicked=np.ones(5000, bool),
    )
    both = Impressions.concat([clicks, log]).by_user()
    alone, _ = fitted(log, effects)
    mixed, rows = fitted(both, effects)
    assert len(rows) == len(log)
    np.testing.assert_allclose(mixed.items, alone.items, atol=1e-8)


def test_state_and_back() -> None:
    log, effects = world(5000, 10)
    levels, rows = fitted(log, effects)
    again = Levels.from_state(Content.from_state(levels.content.state()), levels.state())
    np.testing.assert_array_equal(again.logit(rows), levels.logit(rows))
    for one in (again, levels):
        one.update(rows, rows.answers["clicked"], np.zeros(len(rows)))
    np.testing.assert_array_equal(again.items, levels.items)


def test_exposures_to_learn_from_are_those_to_serve_by() -> None:
    rng = np.random.default_rng(11)
    n, pages, k = 3, 60, 6
    user, page = np.repeat(np.arange(n), pages * k), np.tile(np.repeat(np.arange(pages), k), n)
    time = page * 400.0 + rng.random(n)[user] * 100
    log = Impressions.of(
        user=user,
        item=rng.integers(1, N_ITEMS + 1, len(user)),
        time=time,
        page=page,
        slot=np.tile(np.arange(k), n * pages),
        clicked=rng.random(len(user)) < 0.5,
    ).by_user()
    learned = exposures_of(log, catalogue())
    for u in range(n):
        mine = np.flatnonzero(log.user == u)
        last = mine[-k:]
        now = log.time[last[0]]
        past = log.rows(mine[:-k])
        window = 148
        held = past.rows(slice(len(past) - window, None))
        blank = np.zeros((1, window))
        requests = Requests(
            np.array([u], np.int32),
            np.zeros(1, np.int32),
            np.zeros(1, np.int16),
            np.array([now]),
            held.item[None],
            held.clicked[None].astype(np.float32),
            blank.astype(np.int8),
            (now - held.time)[None].astype(np.float32),
            blank.astype(np.int16),
            np.zeros((1, 0), np.int32),
            np.arange(N_ITEMS + 1) > 0,
        )
        category = catalogue().category.astype(np.int64)
        served = lately(requests, category, len(catalogue().categories))
        for row in last:
            item = log.item[row]
            repeats = served.counts[0][served.items[0] == item].sum()
            expected = [*served.categories[0][:, category[item]], repeats]
            np.testing.assert_allclose(learned[row], expected, rtol=2e-3, atol=2e-3)


def test_exposures_by_hand() -> None:
    log = Impressions.of(
        user=np.array([0, 0, 0, 1]),
        item=np.array([1, 6, 1, 1]),
        time=np.array([0.0, 3600.0, 7200.0, 7200.0]),
        clicked=np.ones(4, bool),
    ).by_user()
    seen = exposures_of(log, catalogue())  # items 1 and 6 share a category
    np.testing.assert_allclose(
        seen[2], [0.5 + 0.25, 2 ** (-1 / 6) + 2 ** (-1 / 3), 2 ** (-1 / 3)], rtol=1e-6
    )
    assert (seen[[0, 3]] == 0).all()


def test_items_and_their_category_are_told_apart() -> None:
    """What items of a category have in common is the category's, and so is its variance: steps of
    one block after the other leave it with the items.
    """
    log, effects = world(60_000, 12)
    levels, _ = fitted(log, effects)
    own = levels.mean["item"][1:]
    category = catalogue().category[1:]
    common = np.array([own[category == c].mean() for c in range(1, CATEGORIES + 1)])
    assert np.abs(common).max() < 0.05
    true = effects["category"][1:]
    told = levels.mean["category"][1:]
    assert np.corrcoef(told, true)[0, 1] > 0.9
    assert levels.sd["category"] == pytest.approx(true.std(), rel=0.5)
