"""Levels are recovered, draws are as spread as the truth and cover it, and taste does not know what
it was not shown.
"""

from dataclasses import replace

import numpy as np
import pytest
import statsmodels.api as sm
from scipy.special import expit
from scipy.stats import spearmanr

from policies.draws import Draws, generator
from policies.log import Dataset
from simulator.chains.crossed_effects import (
    Curve,
    Rows,
    fit_crossed_effects,
    sample_crossed_effects,
)
from simulator.fitting.factors import (
    choices,
    cross_fits,
    fit_taste,
    full_taste,
    profile,
    reliabilities,
)
from simulator.fitting.fit_users import fit
from simulator.fitting.posterior import Traits
from simulator.fitting.satiation import repeats, satiation
from simulator.users.choice_model import ChoiceModel
from simulator.users.state import RECENT
from tests.conftest import SHORT

U, N, ROWS = 2000, 300, 60_000


def levels_world(seed: int) -> tuple[np.ndarray, ...]:
    rng = generator("levels", seed)
    user_level, item_level = rng.normal(0, 0.5, U), rng.normal(0, 0.8, N + 1)
    user, item = rng.integers(0, U, ROWS), rng.integers(1, N + 1, ROWS)
    examination = rng.choice([1.0, 0.8, 0.6], ROWS)
    p = expit(-0.3 + user_level[user] + item_level[item])
    return user_level, item_level, user, item, examination, p, rng.random(ROWS) < examination * p


def test_levels_and_spreads_are_recovered() -> None:
    user_level, item_level, user, item, examination, p, y = levels_world(0)
    found = fit_crossed_effects(Rows(y, user, item, U, N, examination=examination))
    # Penalised quasi-likelihood pulls everything a little towards 0.
    assert found.fixed[""] == pytest.approx(-0.3, abs=0.08)
    assert found.user_sd == pytest.approx(0.5, abs=0.08)
    assert found.item_sd == pytest.approx(0.8, abs=0.1)
    assert np.corrcoef(found.item[1:], item_level[1:])[0, 1] > 0.95
    assert np.corrcoef(found.user, user_level)[0, 1] > 0.7
    predicted = examination * expit(found.logits(user, item))
    assert predicted.mean() == pytest.approx(y.mean(), rel=0.01)
    assert np.abs(predicted - examination * p).mean() < 0.07


def test_a_user_without_rows_is_an_average_one() -> None:
    _, _, user, item, _, _, y = levels_world(1)
    found = fit_crossed_effects(Rows(y, user, item, U + 5, N))
    assert (found.user[U:] == 0).all()
    assert (found.user[np.unique(user)] != 0).all()


def test_columns_of_rows_and_of_items_get_their_slopes() -> None:
    rng = generator("levels", "slopes")
    _, item_level, user, item, examination, _, _ = levels_world(3)
    of_item, of_row = rng.normal(size=N + 1), rng.normal(size=ROWS)
    y = rng.random(ROWS) < examination * expit(
        -0.5 + 0.5 * item_level[item] + 0.7 * of_item[item] - 0.4 * of_row
    )
    rows = Rows(y, user, item, U, N, {"of_item": of_item[item], "of_row": of_row}, examination)
    found = fit_crossed_effects(rows)
    # among 300 items whose levels differ by .4
    assert found.fixed["of_item"] == pytest.approx(0.7, abs=0.1)
    assert found.fixed["of_row"] == pytest.approx(-0.4, abs=0.04)
    drawn = sample_crossed_effects(rows, generator("draws"), draws=30)
    assert drawn.mean("of_row") == pytest.approx(-0.4, abs=0.04)
    assert 0.005 < drawn.error("of_row") < 0.03


def test_draws_are_as_spread_as_the_levels_and_cover_them() -> None:
    user_level, item_level, user, item, examination, p, y = levels_world(4)
    rows = Rows(y, user, item, U, N, examination=examination)
    drawn = sample_crossed_effects(rows, generator("draws"), draws=60, thin=4)
    assert drawn.user.std() == pytest.approx(0.5, abs=0.06)
    assert fit_crossed_effects(rows).user.std() < 0.42  # the mode is not
    for level, truth in ((drawn.user, user_level), (drawn.item[:, 1:], item_level[1:])):
        centred = level - level.mean(axis=1, keepdims=True)
        low, high = np.quantile(centred, [0.05, 0.95], axis=0)
        middle = truth - truth.mean()
        # 90 %, from 60 draws that hang together
        assert 0.82 < ((low <= middle) & (middle <= high)).mean() < 0.96
    predicted = [
        f[0] + u[user] + i[item]
        for f, u, i in zip(drawn.fixed, drawn.user, drawn.item, strict=True)
    ]
    mean = examination * expit(np.array(predicted)).mean(axis=0)
    assert mean.mean() == pytest.approx(y.mean(), rel=0.01)
    assert np.abs(mean - examination * p).mean() < 0.07


def test_the_same_seed_gives_the_same_draws() -> None:
    _, _, user, item, _, _, y = levels_world(5)
    rows = Rows(y[:5000], user[:5000], item[:5000], U, N)
    one, other = (sample_crossed_effects(rows, generator("same"), draws=3) for _ in range(2))
    assert np.array_equal(one.user, other.user)
    assert np.array_equal(one.fixed, other.fixed)


def test_few_rows_and_answers_that_are_all_alike_do_no_harm() -> None:
    for y in (np.ones(6, bool), np.zeros(6, bool), np.arange(6) < 3):
        rows = Rows(y, np.arange(6) % 2, 1 + np.arange(6) % 3, 2, 3, {"x": np.arange(6.0)})
        drawn = sample_crossed_effects(rows, generator("few"), draws=5)
        assert np.isfinite(drawn.user).all()
        assert np.isfinite(drawn.fixed).all()


# -- taste -----------------------------------------------------------------------------------------


def test_taste_is_found_and_its_reliability_says_so(
    small_world: tuple[Dataset, ChoiceModel],
) -> None:
    data, true = small_world
    factors, (user, item, _) = full_taste(data, 0), choices(data)
    centred = lambda x: x - x.mean(0) - x.mean(1, keepdims=True) + x.mean()  # noqa: E731
    truth = centred(true.tastes())
    # Users who choose at random have no taste that another log would find again.
    rng = generator("shuffled")
    shuffled = replace(data, log=replace(data.log, user=rng.permutation(data.log.user)))
    known = reliabilities(data, generator("reliability"))
    by_chance = reliabilities(shuffled, generator("reliability"))
    for taste, share, chance in zip(
        (factors, profile(factors, user, item)), known, by_chance, strict=True
    ):
        r = spearmanr(centred(taste.user @ taste.item[1:].T).ravel(), truth.ravel())[0]
        assert r > 0.6
        # What another log would find again is the truth's; halves of the choices find less of it
        # than all of them.
        assert 0.4 < share < r**2 + 0.1
        assert chance < 0.2


def test_a_cross_fitted_taste_does_not_know_its_own_row(
    small_world: tuple[Dataset, ChoiceModel],
) -> None:
    """Clicks by chance: a taste that was fitted on them tells them apart, one that was not does
    not.
    """
    data, _ = small_world
    rng = generator("chance")
    few = rng.permutation(len(data.log))[:3000]
    log = data.log.rows(np.sort(few))
    chance = replace(data, log=replace(log, clicked=rng.random(len(log)) < 0.4))
    clicked = chance.log.clicked
    factors, (user, item, _) = full_taste(chance, 0), choices(chance)
    fits = cross_fits(chance, generator("folds"))
    apart = lambda x: (x[clicked].mean() - x[~clicked].mean()) / x.std()  # noqa: E731
    for whole, parts in (
        (factors, fits.tastes),
        (profile(factors, user, item), fits.profiles()),
    ):
        assert apart(whole.score(chance.log.user, chance.log.item)) > 0.5
        assert abs(apart(fits.scores(chance, parts))) < 0.15


def test_taste_has_no_level_in_it(small_world: tuple[Dataset, ChoiceModel]) -> None:
    data, _ = small_world
    taste = full_taste(data, 0)
    assert np.abs((taste.user @ taste.item[1:].T).mean(axis=0)).max() < 1e-4
    strangers = fit_taste(data.log.user, data.log.item, data.n_users + 3, data.catalogue.size, 0)
    assert strangers.user.shape[0] == data.n_users + 3


# -- together --------------------------------------------------------------------------------------


def test_every_draw_of_the_users_answers_the_log_at_its_rate(
    small_world: tuple[Dataset, ChoiceModel],
) -> None:
    data, true = small_world
    fitted = fit(data, 0, 6, lambda text: None, chains=SHORT)
    rates = []
    for k in (0, len(fitted) // 2, len(fitted) - 1):
        model = fitted.model(k)
        x = model.appeal(data.log.user, data.log.item[:, None])[:, 0]
        weight = model.examination[data.log.slot]
        tired = model["satiation"] * satiation(
            data.log, model.category, weight, model["satiation_half_life_h"]
        )
        x = x - tired - model["repeat_fatigue"] * repeats(data.log, RECENT)
        rates.append((model.examination[data.log.slot] * expit(x)).mean())
        assert {n.status for n in model.parameters.values()} == {"estimated", "assumed"}
    # The taste has seen these clicks, which lifts them a little.
    assert np.mean(rates) == pytest.approx(data.log.clicked.mean(), rel=0.06)
    assert np.ptp(rates) < 0.03
    one, other = fitted.model(0), fitted.model(1)
    assert not np.array_equal(one.user_level, other.user_level)
    assert one.user_level.std() == pytest.approx(true.user_level.std(), rel=0.5)
    assert Traits.of(data).user == {}  # nothing is known from before this log


def test_likes_that_need_no_click_are_simulated_without_one(
    small_world: tuple[Dataset, ChoiceModel],
) -> None:
    data, _ = small_world
    rng = generator("likes")
    stray = ~data.log.clicked & (rng.random(len(data.log)) < 0.05)
    model = fit(
        replace(data, log=replace(data.log, liked=data.log.liked | stray)),
        0,
        6,
        lambda text: None,
        chains=SHORT,
    ).model(0)
    users = np.arange(data.n_users)
    items = (
        np.argsort(rng.random((data.n_users, data.catalogue.size)), axis=1)[:, :6].astype(np.int32)
        + 1
    )
    zero = np.zeros(len(users))
    said = model.respond(
        model.start(len(users), 0.0), users, items, zero, zero, Draws(1, users, users * 0)
    )
    # Of what was not clicked as many are liked as in the log, whether they were looked at or not.
    log = data.log
    wanted = stray.sum() / (~log.clicked).sum()
    slots = log.slot.max() + 1
    found = (said.liked & ~said.clicked)[:, :slots].sum() / (~said.clicked)[:, :slots].sum()
    assert found == pytest.approx(wanted, rel=0.15)
    assert not (said.long_view & ~said.clicked).any()
    plain = fit(data, 0, 6, lambda text: None, chains=SHORT).model(
        0
    )  # in this log every like comes with a click
    assert "like_without_click" not in plain.parameters


def test_a_number_that_bends_a_column_is_drawn_from_its_posterior() -> None:
    """Against the posterior on a grid, of a column exp(-t / h) with a slope."""
    rng = generator("curve")
    n = 6000
    t, noise = rng.exponential(2.0, n), rng.normal(size=n)
    y = rng.random(n) < expit(-0.5 + 0.3 * noise + 2.0 * np.exp(-t / 1.5))
    at = np.log(1.5) + np.arange(-8, 9) * 0.15
    curve = Curve("decay", at, np.array([np.exp(-t / np.exp(a)) for a in at], np.float32), at[8])
    np.testing.assert_allclose(curve.column(at[3]), curve.columns[3], rtol=1e-6)
    np.testing.assert_allclose(
        curve.column((at[3] + at[4]) / 2), curve.columns[3:5].mean(axis=0), rtol=1e-5
    )
    user, item = rng.integers(0, 300, n), rng.integers(1, 41, n)
    x = {"noise": noise, "decay": curve.column(at[8])}
    drawn = sample_crossed_effects(
        Rows(y, user, item, 300, 40, x, None, curve), rng, draws=400, thin=3
    )
    assert drawn.curved.shape == (400,)

    def log_likelihood(a: float) -> float:
        design = np.column_stack([np.ones(n), noise, np.exp(-t / np.exp(a))])
        return float(sm.GLM(y.astype(float), design, family=sm.families.Binomial()).fit().llf)

    grid = np.linspace(at[0], at[-1], 60)
    weight = np.array([log_likelihood(a) for a in grid])
    weight = np.exp(weight - weight.max())
    middle = float(grid @ weight / weight.sum())
    spread = float(np.sqrt((grid - middle) ** 2 @ weight / weight.sum()))
    assert drawn.curved.mean() == pytest.approx(middle, abs=0.6 * spread)
    assert drawn.curved.std() == pytest.approx(spread, rel=0.4)
    assert drawn.mean("decay") == pytest.approx(2.0, abs=4 * drawn.error("decay"))


def test_a_column_that_grows_as_it_bends_keeps_its_slope_in_bounds() -> None:
    """The far end of the curve is many times the size of the start; the slope times the size is as
    sure everywhere.
    """
    rng = generator("growing")
    n = 4000
    t = rng.exponential(1.0, n)
    at = np.linspace(0.0, 2.0, 9)
    columns = np.array([np.exp(a) * (t - 0.2 * a * np.sin(t)) for a in at], np.float32)
    y = rng.random(n) < expit(-0.5 + 0.5 * t)
    user, item = rng.integers(0, 200, n), rng.integers(1, 41, n)
    curve = Curve("grows", at, columns, 1.0)
    drawn = sample_crossed_effects(
        Rows(y, user, item, 200, 40, {"grows": curve.column(1.0)}, None, curve), rng, 600, 2
    )
    assert drawn.sizes is not None
    sized = drawn.fixed[:, 1] * drawn.sizes
    low, high = np.quantile(drawn.curved, [0.3, 0.7])
    assert high - low > 0.1  # it walks
    ends = [sized[part].std() for part in (drawn.curved < low, drawn.curved > high)]
    assert 0.6 < ends[0] / ends[1] < 1.6
    assert np.abs(sized - sized.mean()).max() < 6 * sized.std()
    assert drawn.mean_of_start("grows") == pytest.approx(sized.mean())
    assert drawn.mean_of_start("") == pytest.approx(drawn.mean(""))


@pytest.mark.parametrize("kind", ["by item", "by user", "one skip", "own item"])
def test_answers_that_are_decided_for_sure_have_levels_within_bounds(kind: str) -> None:
    """Scoring runs away where the answers can be told without an error."""
    rng = generator("decided", kind)
    user, item = rng.integers(0, 150, 6000), rng.integers(1, 31, 6000)
    item = user + 1 if kind == "own item" else item
    y = {
        "by item": item % 2 == 0,
        "by user": user % 2 == 0,
        "one skip": np.arange(6000) > 0,
        "own item": rng.random(6000) < 0.3,
    }[kind]
    rows = Rows(y, user, item, 150, 150, {"count": np.log1p(np.bincount(item)[item])})
    found = fit_crossed_effects(rows)
    p = expit(found.logits(user, item, rows.x))
    assert np.isfinite(p).all()
    assert p.mean() == pytest.approx(y.mean(), abs=0.03)
    drawn = sample_crossed_effects(rows, rng, draws=5, thin=1)
    assert np.isfinite(drawn.user).all()
    assert np.isfinite(drawn.fixed).all()
