"""Chains that mix, chains that do not, and moves that help."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import expit

from analysis.reporting.lights import _chains_light
from policies.draws import generator
from policies.log import Dataset
from simulator.chains.crossed_effects import (
    Chains,
    CrossedEffectsDraws,
    Rows,
    sample_crossed_effects,
)
from simulator.chains.mixing import Mixing, in_words, mixing
from simulator.fitting.fit_users import fit
from simulator.users.choice_model import ChoiceModel


def drawn(slope: np.ndarray, chains: int = 1) -> CrossedEffectsDraws:
    n, rng = len(slope), np.random.default_rng(0)
    users, items = (rng.normal(size=(n, k)).astype(np.float32) for k in (50, 20))
    return CrossedEffectsDraws(("x",), slope[:, None], users, items, chains=chains)


def test_independent_draws_have_an_r_hat_of_one() -> None:
    found = mixing(drawn(np.random.default_rng(1).normal(size=400)))
    assert found is not None
    assert found.rhat < 1.03
    assert 200 < found.effective < 600
    assert _chains_light(found.__dict__).colour == "green"
    assert "one chain, 400 draws" in in_words(found)


def test_a_chain_that_still_walks_and_chains_that_disagree_are_told() -> None:
    walk = np.cumsum(np.random.default_rng(1).normal(size=400))
    found = mixing(drawn(walk))
    assert found is not None
    assert (found.worst, found.least) == ("slope of x", "slope of x")
    assert found.rhat > 1.5
    assert _chains_light(found.__dict__).colour == "red"
    apart = np.random.default_rng(1).normal(size=400) + np.repeat([0.0, 5.0], 200)
    assert (found := mixing(drawn(apart, chains=2))) is not None
    assert found.rhat > 1.5
    assert mixing(drawn(walk[:10])) is None


def test_amber_says_what_it_is_worth() -> None:
    light = _chains_light(Mixing("a", 1.1, "b", 40.0, 200, 2).__dict__)
    assert light.colour == "amber"
    assert "2 chains" in light.text


def trait_world() -> tuple[Rows, np.ndarray]:
    """Items with few rows whose level follows a trait."""
    rng = generator("traits")
    n, users, items = 6000, 200, 150
    z = rng.normal(size=items + 1)
    level = 0.8 * z + rng.normal(size=items + 1) * 0.4
    user, item = rng.integers(0, users, n), rng.integers(1, items + 1, n)
    y = rng.random(n) < expit(-0.5 + level[item] + rng.normal(size=users)[user] * 0.7)
    return Rows(y, user, item, users, items, {"z": z[item]}, traits={"z": (1, z)}), z


def test_moves_against_levels_leave_the_posterior_what_it_is() -> None:
    """The same means and spreads with the moves and, from a long chain, without them."""
    rows, _ = trait_world()
    with_ = sample_crossed_effects(rows, generator("with"), draws=300, thin=3)
    without = sample_crossed_effects(
        replace(rows, traits={}), generator("without"), draws=300, thin=8
    )
    for name in ("z", ""):
        one, other = (d.fixed[:, d.names.index(name)] for d in (with_, without))
        assert one.mean() == pytest.approx(other.mean(), abs=0.06)
        assert one.std() == pytest.approx(other.std(), rel=0.45)
    for spread in ("user", "item"):
        one, other = (getattr(d, spread).std(axis=1) for d in (with_, without))
        assert one.mean() == pytest.approx(other.mean(), rel=0.08)
    assert with_.mean("z") == pytest.approx(0.8, abs=0.2)
    assert with_.user.std(axis=1).mean() == pytest.approx(0.7, abs=0.12)


def test_several_chains_share_the_draws(small_world: tuple[Dataset, ChoiceModel]) -> None:
    data, _ = small_world
    fitted = fit(data, 0, 6, lambda text: None, chains=Chains(40, 2, number=2))
    sampled = fitted.feedback["click"].sampled
    assert (len(sampled), sampled.chains) == (40, 2)
    assert not np.array_equal(sampled.fixed[:20], sampled.fixed[20:])
    model = fitted.model(0)
    assert model.mixing is not None
    assert model.mixing["chains"] == 2
