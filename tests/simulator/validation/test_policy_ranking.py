"""Policies by the log's propensities and by the users: the same order where the users are right,
another where they lie.
"""

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import expit

from policies.draws import generator
from policies.log import Dataset, Impressions
from policies.sources.levels import MIDDLE_OF_RATIOS, generic_level
from simulator.fitting.fit_users import fit
from simulator.fitting.posterior import Posterior
from simulator.users.choice_model import ChoiceModel
from simulator.validation.policy_ranking import policy_ranking, targets
from simulator.validation.reporting.lights import held_out_lights
from simulator.validation.reporting.report import ranking_table
from simulator.validation.validation import split
from tests.conftest import SHORT


@pytest.fixture(scope="module")
def uniform(small_world: tuple[Dataset, ChoiceModel]) -> Dataset:
    """Uniformly random rows, one to a page, that say so."""
    data, true = small_world
    rng = generator("uniform log")
    n, size = 60_000, data.catalogue.size
    user, item = rng.integers(0, data.n_users, n), rng.integers(1, size + 1, n)
    clicked = rng.random(n) < expit(true.appeal(user, item[:, None])[:, 0])
    log = Impressions.of(
        user=user,
        item=item,
        time=np.sort(rng.random(n) * -8 * 86_400),
        clicked=clicked,
        propensity=np.full(n, 1 / size),
    )
    made = replace(data, log=log.sorted(), history=Impressions.empty(), has=frozenset({"skips"}))
    return replace(made, calibration={"random_click_rate": generic_level(made)})


@pytest.fixture(scope="module")
def fitted(uniform: Dataset) -> Posterior:
    return fit(split(uniform, 3)[0], 0, 1, lambda text: None, chains=SHORT)


def test_the_level_of_random_slates_comes_from_propensities_where_there_are_any(
    uniform: Dataset,
) -> None:
    level, source = uniform.calibration["random_click_rate"]
    assert level == pytest.approx(uniform.log.clicked.mean())
    assert "inverse propensity" in source
    # Rows of popular items, shown more often: each counts by one over its probability.
    rng = generator("thinned")
    p = np.where(uniform.log.item % 2, 0.9, 0.1)
    kept = rng.random(len(p)) < p
    part = uniform.log.rows(kept)
    thinned = replace(
        uniform, log=replace(part, propensity=(p[kept] / uniform.catalogue.size).astype(np.float32))
    )
    assert generic_level(thinned)[0] == pytest.approx(level, rel=0.03)
    unknown = replace(
        uniform, log=replace(uniform.log, propensity=np.full_like(uniform.log.propensity, np.nan))
    )
    assert generic_level(unknown)[0] == pytest.approx(MIDDLE_OF_RATIOS * level)


def test_the_users_rank_policies_as_the_log_does_and_liars_do_not(
    uniform: Dataset, fitted: Posterior
) -> None:
    early, late = split(uniform, 3)
    honest = policy_ranking(fitted, early, late, 1, 0)
    assert honest is not None
    rare = replace(early, calibration={"random_click_rate": (1.0, "given")})
    none = policy_ranking(fitted, rare, late, 1, 0)
    assert none is not None
    assert "a level that slates cannot have" in held_out_lights(None, none)[1].words
    assert not ranking_table(none).rows
    told, wrong = honest.pairs
    assert told >= 2
    assert wrong == 0
    for row in honest.rows:
        assert row.snips.low - 0.03 < row.users < row.snips.high + 0.03
    assert held_out_lights((0.5, 0.49, 0.51), honest)[1].colour == "green"
    assert any(row[0] == "uniform" for row in ranking_table(honest).rows)
    click = fitted.feedback["click"]
    turned = replace(click, sampled=replace(click.sampled, item=-3 * click.sampled.item))
    liar = policy_ranking(
        replace(fitted, feedback={**fitted.feedback, "click": turned}), early, late, 1, 0
    )
    assert liar is not None
    assert liar.pairs[1] > 0
    for row, own in zip(liar.rows, honest.rows, strict=True):  # the log mends what they lie about
        half = (row.corrected.high - row.corrected.low) / 2
        assert abs(row.corrected.value - row.snips.value) < 2 * half
        assert abs(row.corrected.value - own.corrected.value) < 2 * half
    assert max(abs(row.users - row.snips.value) for row in liar.rows) > 0.02
    assert held_out_lights((0.5, 0.49, 0.51), liar)[1].colour == "red"


def test_without_propensities_nothing_is_ranked(
    small_world: tuple[Dataset, ChoiceModel], fitted: Posterior
) -> None:
    early, late = split(small_world[0], 2)
    assert policy_ranking(fitted, early, late, 1, 0) is None
    days, ranking = held_out_lights((0.8, 0.7, 0.9), None)
    assert (days.part, days.colour) == ("user-days of the held-out slates", "red")
    assert (ranking.part, ranking.colour) == ("ranking of policies", "none")
    assert ranking.words == "the log has no propensities"
    assert "propensity" in ranking.advice


def test_a_target_draws_items_as_often_as_it_says(small_world: tuple[Dataset, ChoiceModel]) -> None:
    data = small_world[0]
    rng = generator("target")
    user = np.repeat(np.array([3, 11]), 40_000)
    items = np.arange(data.catalogue.size + 1)
    for target in targets(data).values():
        item = target.draw(user, rng)
        for u in (3, 11):
            said = target.probability(np.full(len(items), u), items)
            assert said.sum() == pytest.approx(1.0)
            seen = np.bincount(item[user == u], minlength=len(items)) / 40_000
            assert np.abs(seen - said).max() < 5 * np.sqrt(said.max() / 40_000)
