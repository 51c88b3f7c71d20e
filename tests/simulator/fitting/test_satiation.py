"""What a user had on its mind: who was read to the end of a page, the half-life, and a policy's
habits.
"""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import statsmodels.api as sm
from scipy.special import expit, logit

from policies.draws import generator
from policies.log import Dataset, Impressions
from simulator.built_in.world import BuiltInParameters, built_in_log
from simulator.fitting.assumed import unidentified_parameters
from simulator.fitting.fit_users import fit
from simulator.fitting.satiation import examined, fit_satiation, repeats, satiation, shown_of
from simulator.fitting.sessions import watching, widening
from simulator.users.choice_model import ChoiceModel, Parameter
from simulator.users.state import RECENT
from simulator.validation.held_out import day_to_day
from tests.conftest import SHORT


def test_how_far_a_page_was_read_given_its_clicks() -> None:
    """Against many pages that were read and clicked by chance."""
    rng = generator("pages")
    n, examination, rate = 200_000, np.array([1.0, 0.7, 0.5, 0.2]), 0.3
    depth = (rng.random((n, 1)) < examination).sum(axis=1)
    clicked = (rng.random((n, 4)) < rate) & (np.arange(4) < depth[:, None])
    page = np.repeat(np.arange(n), 4)
    slot = np.tile(np.arange(4), n)
    shuffled = rng.permutation(4 * n)
    log = Impressions.of(
        item=np.ones(4 * n, int), user=page, time=page * 1.0, slot=slot, clicked=clicked.ravel()
    ).rows(shuffled)
    found = examined(log, examination, np.full(len(log), rate))
    read = (slot < depth[page])[shuffled]
    codes = (clicked @ (1 << np.arange(4)))[page][shuffled] * 4 + log.slot
    for code in np.unique(codes):
        here = codes == code
        assert len(np.unique(found[here].round(9))) == 1  # only slots and clicks matter
        error = np.sqrt(max(read[here].mean() * (1 - read[here].mean()), 1e-6) / here.sum())
        assert found[here][0] == pytest.approx(read[here].mean(), abs=5 * error + 1e-6)


def test_satiation_is_told_from_what_a_policy_shows_because_it_is_liked(
    small_world: tuple[Dataset, ChoiceModel],
) -> None:
    data, true = small_world
    log, examination = data.log, true.examination
    score = true.appeal(log.user, log.item[:, None])[:, 0].astype(float)
    found = fit_satiation(data, score, examination, True, score)
    columns, habits = found.columns, found.habits
    assert found.parameters["satiation_half_life_h"].value == pytest.approx(
        true["satiation_half_life_h"], rel=0.5
    )
    assert habits is not None
    assert habits.sum(axis=1).max() <= 1 + 1e-6
    np.testing.assert_allclose(
        columns["exposed"], habits[log.user, data.catalogue.category[log.item]], rtol=1e-5
    )
    assert set(columns) == {"repeat_fatigue", "exposed", "satiation", "exposed_pair"}
    assert found.curve is not None
    # between two half-lives as at one of them
    for hours in (2.0, found.parameters["satiation_half_life_h"].value, 4.0):
        exact = -satiation(
            log, data.catalogue.category, examined(log, examination, expit(score)), hours
        )
        np.testing.assert_allclose(
            found.curve.column(np.log(hours)), exact, atol=0.02 * np.abs(exact).max()
        )
    assert found.offset.max() <= 0 < -found.offset.min()
    np.testing.assert_array_equal(columns["repeat_fatigue"], -repeats(log, RECENT))
    fitted = fit(data, 0, 6, lambda text: None, chains=SHORT)
    assert fitted.estimates()["satiation"] == pytest.approx(true["satiation"], rel=0.25)
    # it is drawn with the rest
    assert len({fitted.model(k)["satiation_half_life_h"] for k in range(len(fitted))}) > 3
    model = fitted.model(0)
    assert model.user_category is not None
    assert model.appeal(np.array([3]), np.array([[5]]))[0, 0] == pytest.approx(
        model.tastes()[3, 4] + model.item_level[5] + model.user_level[3] + model["shift"], abs=1e-4
    )


def test_shares_of_categories_leave_out_items_without_one(
    small_world: tuple[Dataset, ChoiceModel],
) -> None:
    data = small_world[0]
    none = replace(data.catalogue, category=np.zeros_like(data.catalogue.category))
    table, column = shown_of(replace(data, catalogue=none))
    assert not table.any()
    assert not column.any()


def test_satiation_weighs_rows_by_how_likely_they_were_seen(
    small_world: tuple[Dataset, ChoiceModel],
) -> None:
    log, category = small_world[0].log, small_world[0].catalogue.category
    full, half = (satiation(log, category, np.full(len(log), w), 3.0) for w in (1.0, 0.5))
    np.testing.assert_allclose(full, 2 * half)


def test_errors_that_allow_for_clusters_are_those_of_statsmodels() -> None:
    rng = generator("clusters")
    cluster = np.repeat(np.arange(300), 20)
    x = {"a": rng.normal(size=300)[cluster], "b": rng.normal(size=6000)}
    y = rng.random(6000) < expit(0.5 * x["a"] + rng.normal(size=300)[cluster])
    fitted = sm.GLM(
        y.astype(float),
        sm.add_constant(np.column_stack([*x.values()])),
        family=sm.families.Binomial(),
    )
    plain = fitted.fit()
    robust = fitted.fit(cov_type="cluster", cov_kwds={"groups": cluster, "use_correction": False})
    p = np.asarray(plain.fittedvalues)
    found = widening(x, y - p, p * (1 - p), cluster)
    assert found["a"] == pytest.approx(robust.bse[1] / plain.bse[1], rel=0.02)
    assert found["a"] > 1.5
    assert found["b"] == pytest.approx(1.0, abs=0.15)


def test_the_oracle_sees_the_habits_and_every_draw_has_all_answers(
    small_world: tuple[Dataset, ChoiceModel],
) -> None:
    data, _ = small_world
    found = fit(data, 0, 6, lambda text: None, chains=SHORT)
    model = found.model(0)
    assert model.user_category is not None
    users = np.arange(data.n_users)
    state = model.start(len(users), 0.0)
    everything = model.click_probability(state, users, np.zeros(len(users)))
    items = np.broadcast_to(
        np.arange(1, data.catalogue.size + 1), (len(users), data.catalogue.size)
    )
    np.testing.assert_allclose(everything[:, 1:], expit(model.appeal(users, items)), atol=1e-5)
    # Rare clicks have more draws than the long views among them.
    click = found.feedback["click"]
    thrice: dict[str, Any] = {
        name: np.repeat(getattr(click.sampled, name), 3, axis=0)
        for name in ("fixed", "user", "item", "curved")
    }
    more = replace(click.sampled, **thrice)
    rare = replace(found, feedback={**found.feedback, "click": replace(click, sampled=more)})
    last = rare.model(len(rare) - 1)
    assert last["long_view"] == found.model(len(found) - 1)["long_view"]
    assert len(rare.variants(last, "long_view", len(rare) - 1)) == 1


def test_hates_of_what_was_not_opened_are_fitted(small_world: tuple[Dataset, ChoiceModel]) -> None:
    data, _ = small_world
    hidden = ~data.log.clicked & (generator("hidden").random(len(data.log)) < 0.03)
    model = fit(
        replace(data, log=replace(data.log, hated=hidden)), 0, 6, lambda text: None, chains=SHORT
    ).model(0)
    assert model.parameters["hate_without_click"].status == "estimated"
    assert model["hate_without_click"] > model["hate"] + 2


def test_too_little_says_nothing_instead_of_failing(
    small_world: tuple[Dataset, ChoiceModel],
) -> None:
    assert widening({}, np.zeros(3), np.ones(3), np.arange(3)) == {}
    log = small_world[0].log.rows(np.flatnonzero(~small_world[0].log.clicked)[:1000])
    few = replace(log, watched=(np.arange(1000) < 40).astype(np.float32))
    assert watching(few, small_world[0].catalogue.duration, frozenset({"watch"})) == {}
    rng = generator("sliver")
    day = np.append(rng.integers(0, 6, 6000), np.full(9, 7))
    user = np.append(rng.integers(0, 500, 6000), np.zeros(9, int))
    happened = np.append(rng.random(6000) < 0.2, np.arange(9) < 6)
    assert 0 <= day_to_day(happened, user, day) < 0.5


@pytest.mark.parametrize("spread", [0.0, 0.1])
def test_what_days_differ_by_is_found(spread: float) -> None:
    rng = generator("days", spread)
    found = []
    for _ in range(20):
        day, user = rng.integers(0, 14, 30_000), rng.integers(0, 3000, 30_000)
        rate = (
            expit(logit(0.1) + 0.5 * rng.normal(size=3000)[user])
            * np.exp(spread * rng.normal(size=14))[day]
        )
        found.append(day_to_day(rng.random(30_000) < rate, user, day))
    assert np.mean(found) == pytest.approx(spread, abs=0.025)


@pytest.mark.parametrize("seed", [0, 1])
def test_satiation_is_none_where_there_is_none(seed: int) -> None:
    """What is kept above 0 draw by draw would be above 0 on average in every log."""
    small = BuiltInParameters(users=240, items=120, categories=8, log_days=6.0, satiation=0.0)
    data, true = built_in_log(20_000 + seed, small)
    score = true.appeal(data.log.user, data.log.item[:, None])[:, 0].astype(float)
    found = fit_satiation(data, score, true.examination, True, score)
    assert found.curve is None
    assert "satiation" not in found.columns
    number = unidentified_parameters(found.unidentified)["satiation"]
    assert (number.value, number.status) == (0.0, "assumed")
    assert "is not a cost that differs from 0" in number.source


def test_repeats_that_cost_nothing_leave_the_levels_alone() -> None:
    few, none, more = (
        Parameter(v, "estimated", "", e) for v, e in ((0.2, 0.3), (0.01, 0.05), (-0.25, 0.1))
    )
    assert unidentified_parameters({"repeat_fatigue": few})["repeat_fatigue"].value == 0.5
    assert unidentified_parameters({"repeat_fatigue": none})["repeat_fatigue"].value == 0.0
    assert unidentified_parameters({"repeat_fatigue": more})["repeat_fatigue"].value == 0.0
