"""Taste that moves with clicks: found in a log where it does, not where it stands still, and
simulated as it was found.
"""

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import expit

from policies.draws import Draws, generator
from policies.log import Dataset, Impressions
from simulator.fitting.drift import as_parameters, drift_of
from simulator.fitting.fit_users import fit
from simulator.users.choice_model import DAY, ChoiceModel, Parameter
from tests.conftest import SHORT

ASSUMED = {"drift_half_life_d": Parameter(7.0, "assumed", "x")}


def moving(
    data: Dataset, size: float, seed: int, users: int = 800, days: int = 12
) -> tuple[Dataset, np.ndarray]:
    """One category to a user, five rows a day, a taste that the logits do not know, and drift; and
    the (rows,) logits.
    """
    rng = generator("moving", seed)
    taste, moved = 0.5 * rng.normal(size=users), np.zeros(users)
    clicks = []
    for _ in range(days):
        p = expit(-0.5 + taste + size * moved)
        clicked = rng.random((users, 5)) < p[:, None]
        moved = 2 ** (-1 / 7) * (moved + clicked.sum(axis=1) - 5 * p)
        clicks.append(clicked)
    clicked = np.array(clicks)
    day, user, _ = (a.ravel() for a in np.indices(clicked.shape))
    item = np.full(len(day), int(np.flatnonzero(data.catalogue.category > 0)[0]))
    log = Impressions.of(user=user, item=item, time=day * DAY, clicked=clicked.ravel())
    return replace(data, log=log), np.full(len(day), -0.48)


@pytest.mark.parametrize("size", [0.0, 0.1, 0.15])
def test_drift_is_told_from_a_taste_that_stays(
    small_world: tuple[Dataset, ChoiceModel], size: float
) -> None:
    z, values = [], []
    for seed in range(10):
        data, logits = moving(small_world[0], size, seed)
        found = as_parameters(drift_of(data, logits, np.ones(len(logits))))["drift"]
        values.append(found.value)
        if found.status == "estimated":
            assert found.error is not None
            z.append((found.value - size) / found.error)
    if size == 0:
        assert np.count_nonzero(values) <= 3
    else:
        assert len(z) >= 6
        assert abs(np.mean(z)) < 1.5
        assert np.mean(values) == pytest.approx(size, rel=0.3)


def test_a_log_of_few_days_tells_nothing_of_drift(small_world: tuple[Dataset, ChoiceModel]) -> None:
    data = small_world[0]
    day = data.log.rows(data.log.time < data.log.time.min() + DAY / 2)
    assert drift_of(replace(data, log=day), np.zeros(len(day)), np.ones(len(day))) is None
    assert as_parameters(None) == {}
    holes = replace(data, has=data.has - {"sessions"})
    assert drift_of(holes, np.zeros(len(data.log)), np.ones(len(data.log))) is None


def test_the_fit_says_that_the_worlds_taste_stays(small_world: tuple[Dataset, ChoiceModel]) -> None:
    parameters = fit(small_world[0], 0, 6, lambda text: None, chains=SHORT).plain.parameters
    assert parameters["drift"].value == 0
    assert "cannot be told from 0" in parameters["drift"].source
    assert parameters["drift_half_life_d"].status == "assumed"


def test_unexpected_clicks_move_taste_and_are_forgotten(
    small_world: tuple[Dataset, ChoiceModel],
) -> None:
    still = small_world[1]
    model = still.with_parameters(drift=Parameter(0.2, "estimated", "x"), **ASSUMED)
    users, items = np.arange(200), np.tile(np.arange(1, 7), (200, 1))
    plain, moved = still.start(200, 0.0), model.start(200, 0.0)
    draws = Draws(3, users, users * 0, users * 0)
    answers = [
        m.respond(s, users, items, users * 0, users * 0.0, draws)
        for m, s in ((still, plain), (model, moved))
    ]
    np.testing.assert_array_equal(answers[0].clicked, answers[1].clicked)  # nothing has moved yet
    assert plain.drifted.size == 0
    wanted = np.zeros_like(moved.drifted)
    np.add.at(
        wanted, (users[:, None], model.category[items]), answers[1].clicked - answers[1].probability
    )
    np.testing.assert_allclose(moved.drifted, wanted, atol=1e-5)
    assert abs(moved.drifted.mean()) < 0.05  # what is expected moves nothing
    later = np.full(200, 7 * DAY)
    everything = [
        np.log(p[:, 1:] / (1 - p[:, 1:]))
        for p in (m.click_probability(s, users, later) for m, s in ((still, plain), (model, moved)))
    ]
    np.testing.assert_allclose(
        everything[1] - everything[0], 0.2 * 0.5 * wanted[:, model.category[1:]], atol=1e-3
    )
    next_page = model.respond(moved, users, items, users * 0, later, draws)
    same = still.respond(plain, users, items, users * 0, later, draws)
    np.testing.assert_allclose(
        next_page.appeal - same.appeal,
        0.1 * np.take_along_axis(wanted, model.category[items].astype(int), axis=1),
        atol=1e-4,
    )
