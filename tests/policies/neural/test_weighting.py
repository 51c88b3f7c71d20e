"""Clicks that count by the inverse of their propensity."""

from dataclasses import replace

import numpy as np
import pytest

from policies.catalogue import Catalogue
from policies.common.errors import InputError
from policies.draws import generator
from policies.log import Impressions
from policies.registry import make
from policies.testing import small_log

SMALL = {"width": 16, "layers": 1, "heads": 2, "length": 12, "epochs": 1}


def test_clicks_count_by_the_inverse_of_their_propensity_up_to_a_cap() -> None:
    log, _ = small_log()
    rng = np.random.default_rng(0)
    propensity = rng.choice([1.0, 0.5, 0.01, np.nan], len(log)).astype(np.float32)
    log = replace(log, propensity=propensity)
    policy = make("sasrec", {**SMALL, "propensity_cap": 10})
    weighted = policy._weighted(log)  # type: ignore[attr-defined]
    clicked = log.clicked
    known = clicked & np.isfinite(propensity)
    assert weighted.weight[known].mean() == pytest.approx(1, rel=1e-5)
    np.testing.assert_array_equal(weighted.weight[~clicked], log.weight[~clicked])
    by = {
        p: np.unique(weighted.weight[clicked & (propensity == np.float32(p))])
        for p in (1, 0.5, 0.01)
    }
    assert by[0.5] / by[1] == pytest.approx(2)
    assert by[0.01] / by[1] == pytest.approx(10)
    unknown = weighted.weight[clicked & np.isnan(propensity)]
    assert np.unique(unknown) == pytest.approx(1)
    plain = make("sasrec", SMALL)._weighted(log)  # type: ignore[attr-defined]
    assert plain is log


@pytest.mark.parametrize("name", ["sasrec", "gptrec"])
def test_networks_learn_otherwise_by_it_and_answers_do_not(name: str) -> None:
    """A model of answers learns from skips, too, and would be taught wrong rates."""
    log, catalogue = small_log()
    late = replace(log, propensity=np.where(log.item % 2, 1.0, 0.02).astype(np.float32))
    states = []
    for cap in (0.0, 50.0):
        policy = make(name, {**SMALL, "answers": True, "propensity_cap": cap})
        policy.fit(log, catalogue, generator("fit"))
        policy.update(late, catalogue, generator("update"))
        states.append(policy.state())
    network = [key for key in states[0] if key.startswith("net.")]
    assert any(not np.array_equal(states[0][key], states[1][key]) for key in network)
    levels = [key for key in states[0] if key.startswith("answers.clicked.mean")]
    assert levels
    for key in levels:
        np.testing.assert_array_equal(states[0][key], states[1][key])


def test_a_cap_without_propensities_says_that_it_changes_nothing() -> None:
    log, catalogue = small_log()
    for settings, propensity, told in (
        ({}, np.nan, False),
        ({"propensity_cap": 10}, np.nan, True),
        ({"propensity_cap": 10}, 1.0, True),
        ({"propensity_cap": 10}, np.where(log.item % 2, 0.05, 0.02), True),  # both beyond the cap
        ({"propensity_cap": 10}, np.where(log.item % 2, 1.0, 0.02), False),
    ):
        policy = make("sasrec", {**SMALL, **settings})
        given = np.broadcast_to(np.float32(propensity), len(log))
        policy.fit(replace(log, propensity=given), catalogue, generator("fit"))
        says = policy.says_  # type: ignore[attr-defined]
        assert ("propensity_cap changes nothing" in says) == told


def test_what_has_no_effect_is_refused() -> None:
    with pytest.raises(
        InputError, match=r"popularity_correction=0\.5 has no effect without loss=so"
    ):
        make("sasrec", {"loss": "bce", "popularity_correction": 0.5})


def in_pages() -> tuple[Impressions, Catalogue]:
    """The small log with six items to a page."""
    log, catalogue = small_log()
    first = np.arange(len(log)) // 6 * 6
    return replace(log, user=log.user[first], time=log.time[first]), catalogue


def test_updates_may_choose_within_pages_alone() -> None:
    log, catalogue = in_pages()
    states = []
    for update_loss in ("next", "page", "page-only"):
        policy = make("gptrec", {**SMALL, "update_loss": update_loss})
        policy.fit(log, catalogue, generator("fit"))
        policy.update(log, catalogue, generator("update"))
        state = policy.state()
        states.append(np.concatenate([state[k].ravel() for k in state if k.startswith("net.")]))
    assert not np.array_equal(states[0], states[1])
    assert not np.array_equal(states[1], states[2])
    for settings in ({"dialogues": False}, {"loss": "bce", "answers": False}):
        with pytest.raises(InputError, match="update_loss=page needs dialogues=true"):
            make("gptrec", {**SMALL, "update_loss": "page", **settings})
    with pytest.raises(InputError, match="did you mean 'page'"):
        make("gptrec", {**SMALL, "update_loss": "pages"})


def test_without_skips_an_update_learns_what_is_clicked_next_and_says_so() -> None:
    log, catalogue = in_pages()
    clicks = log.rows(log.clicked)
    weights = []
    for update_loss in ("next", "page-only"):
        policy = make("gptrec", {**SMALL, "update_loss": update_loss})
        policy.fit(log, catalogue, generator("fit"))
        policy.update(log, catalogue, generator("update"))
        assert "no choice to learn" not in policy.says_  # type: ignore[attr-defined]
        policy.update(clicks, catalogue, generator("update"))
        told = "no choice to learn" in policy.says_  # type: ignore[attr-defined]
        assert told == (update_loss == "page-only")
        policy = make("gptrec", {**SMALL, "update_loss": update_loss})
        policy.fit(log, catalogue, generator("fit"))
        policy.update(clicks, catalogue, generator("update"))
        weights.append(policy.state()["net.items.weight"])
    np.testing.assert_array_equal(weights[0], weights[1])
