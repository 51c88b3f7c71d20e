"""Doubt that holds what was assumed: the random level, and taste that no log tells."""

from dataclasses import replace

import numpy as np
import pytest

from policies.catalogue import Catalogue
from policies.draws import generator
from policies.log import Dataset, Impressions
from policies.sources.levels import RANDOM_OVER_LOGGED, generic_level, given_levels
from simulator.doubt.worlds import MOST_HIDDEN, plausible, random_levels
from simulator.fitting.examination import used_up
from simulator.fitting.fit_users import fit, fit_users
from simulator.fitting.posterior import RESIDUAL_WIDTH, Posterior
from simulator.users.choice_model import ChoiceModel
from tests.conftest import SHORT

World = tuple[Dataset, ChoiceModel]


@pytest.fixture(scope="module")
def plain(small_world: World) -> Dataset:
    """The small world's log, whose level nobody knows, and in which hardly a pair comes twice."""
    data = small_world[0]
    log = data.log
    pair = log.user.astype(np.int64) * (data.catalogue.size + 1) + log.item
    once = np.zeros(len(log), bool)
    once[np.unique(pair, return_index=True)[1]] = True
    made = replace(data, log=log.rows(once), has=frozenset({"skips"}), calibration={})
    return replace(made, calibration={"random_click_rate": generic_level(made)})


@pytest.fixture(scope="module")
def fitted(plain: Dataset) -> Posterior:
    return fit(plain, 0, 6, lambda text: None, chains=SHORT)


def test_the_random_level_is_drawn_where_nobody_says_it(plain: Dataset) -> None:
    levels = random_levels(plain, 40, 0)
    assert levels is not None
    ratio = np.sort(levels / plain.log.clicked.mean())
    assert ratio[0] < min(RANDOM_OVER_LOGGED)
    assert ratio[-1] == pytest.approx(1.0)
    assert 0.4 < np.median(ratio) < 0.6
    # KuaiRand, which is not among the six, lies well inside
    assert ratio[2] < 0.176 / 0.451 < ratio[-3]
    np.testing.assert_array_equal(levels, random_levels(plain, 40, 0))
    given = replace(plain, calibration=given_levels({"random_click_rate": 0.2}))
    assert random_levels(given, 4, 0) is None
    told = np.full(len(plain.log), 1 / plain.catalogue.size, np.float32)
    by_log = replace(plain, log=replace(plain.log, propensity=told))
    by_log = replace(by_log, calibration={"random_click_rate": generic_level(by_log)})
    drawn = random_levels(by_log, 40, 0)
    assert drawn is not None
    assert drawn.mean() == pytest.approx(by_log.log.clicked.mean(), rel=1e-3)
    rate = by_log.log.clicked - by_log.log.clicked.mean()
    error = np.sqrt((np.bincount(by_log.log.user, rate) ** 2).sum()) / len(rate)
    assert drawn.std() == pytest.approx(error, rel=0.05)
    # a part of its users has another rate, and the level is no better known
    part = replace(plain, log=plain.log.rows(plain.log.user < 100))
    assert random_levels(part, 4, 0) is not None


def test_worlds_differ_in_level_and_in_hidden_taste(plain: Dataset, fitted: Posterior) -> None:
    names = [f"world-{k}" for k in range(4)]
    models = list(plausible(fitted, plain, names, 6, 0))
    rates = [float(m.parameters["shift"].source.split(" at ")[1].split()[0]) for m in models]
    levels = random_levels(plain, 4, 0)
    assert levels is not None
    np.testing.assert_allclose(rates, levels, rtol=1e-4)
    spread = []
    for model in models:
        users, items = (x[:, -RESIDUAL_WIDTH:] for x in (model.user_taste, model.item_taste[1:]))
        spread.append(float((users @ items.T).std()))
    without = fitted.residual_sd
    assert max(spread) == pytest.approx(np.hypot(without, 0.875 * MOST_HIDDEN), rel=0.1)
    assert min(spread) < np.hypot(1.1 * without, 0.2 * MOST_HIDDEN)
    again = next(plausible(fitted, plain, names, 6, 0))
    np.testing.assert_array_equal(again.user_taste, models[0].user_taste)


def test_what_was_hidden_does_not_flatten_what_was_told(fitted: Posterior) -> None:
    few, much = fitted.model(0), fitted.model(0, hidden=1.0)
    stretch = much.item_level[1:].std() / few.item_level[1:].std()
    assert 1.05 < stretch < 1.3  # as an unseen normal of one logit asks for (Zeger et al. 1988)
    np.testing.assert_allclose(much.user_level, stretch * few.user_level, rtol=1e-3, atol=1e-6)


def test_few_clicks_give_no_slope_of_thousands() -> None:
    """46 clicks in 10,000 rows that follow nothing."""
    rng = generator("few clicks")
    n, users, items = 10_000, 500, 300
    log = Impressions.of(
        user=rng.integers(0, users, n),
        item=rng.integers(1, items + 1, n),
        time=rng.uniform(-10 * 86_400, 0, n),
        session=np.arange(n),
        clicked=np.arange(n) < 46,
    ).sorted()
    data = _with_categories(log, users, items, rng)
    model = fit_users(data, 0, 6, chains=SHORT)
    user, item = rng.integers(0, users, 5000), rng.integers(1, items + 1, 5000)
    assert np.abs(model.tastes()[user, item - 1]).max() < 8
    fitted = fit(data, 0, 6, lambda text: None, chains=SHORT)
    click = fitted.feedback["click"].sampled
    assert "taste" not in click.names or abs(click.mean("taste")) < 3


def test_used_up_categories_tell_neither_weariness_nor_drift() -> None:
    """A matrix: everybody is shown every item once, the good ones first."""
    rng = generator("used up")
    users, items = 150, 60
    level = rng.normal(size=items)
    order = np.argsort(-level + rng.gumbel(size=(users, items)), axis=1)
    user, at = np.repeat(np.arange(users), items), np.tile(np.arange(items), users)
    item = order.ravel()
    log = Impressions.of(
        user=user,
        item=item + 1,
        time=-86_400.0 * 10 + 86_400.0 * (at // 6) + 60.0 * (at % 6),
        session=at // 6,
        page=at % 6,
        clicked=rng.random(len(user)) < 1 / (1 + np.exp(-level[item])),
    ).sorted()
    data = replace(_with_categories(log, users, items, rng), has=frozenset({"skips", "sessions"}))
    assert used_up(data)
    model = fit_users(data, 0, 6, chains=SHORT)
    for name in ("drift", "satiation"):
        assert model.parameters[name].status == "assumed", name


def test_a_log_with_repeats_is_not_used_up(small_world: World) -> None:
    assert not used_up(small_world[0])


def _with_categories(log: Impressions, users: int, items: int, rng: np.random.Generator) -> Dataset:
    names = np.arange(1, items + 1).astype(str)
    catalogue = Catalogue.of(names, rng.integers(0, 5, items).astype(str))
    made = Dataset(log, catalogue, np.arange(users).astype(str), "made", frozenset({"skips"}))
    return replace(made, calibration={"random_click_rate": generic_level(made)})


def test_shrunk_users_take_unseen_items_for_those_of_their_category(plain: Dataset) -> None:
    """Every item of a seventh of the catalogue keeps five rows."""
    log, rare = plain.log, np.arange(1, plain.catalogue.size + 1, 7)
    order = np.argsort(generator("few rows").random(len(log)))
    frame = log.rows(order)
    nth = np.zeros(len(log), np.int64)
    for item in rare:
        rows = np.flatnonzero(frame.item == item)
        nth[rows] = np.arange(len(rows))
    data = replace(plain, log=frame.rows(nth < 5).sorted())
    plainly = fit(data, 0, 6, lambda text: None, chains=SHORT).model(0)
    shrunk = fit(data, 0, 6, lambda text: None, "shrunk", SHORT).model(0)
    others = np.setdiff1d(np.arange(1, plain.catalogue.size + 1), rare)
    np.testing.assert_array_equal(shrunk.item_level[others], plainly.item_level[others])
    assert plainly.item_level[rare].std() > 0.1
    for item in rare:
        like = others[plain.catalogue.category[others] == plain.catalogue.category[item]]
        mean = plainly.item_level[like].mean()
        assert shrunk.item_level[item] == pytest.approx(mean, abs=1e-4)
