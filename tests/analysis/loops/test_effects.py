"""Effects between ways to learn: differences of users and of worlds, over seeds."""

from typing import Any

import numpy as np
import pytest
from scipy import stats

from analysis.loops.effects import (
    CONTRASTS,
    REGIMES,
    LoopEffect,
    Measured,
    effects,
    is_primary,
    mean_of_users,
    mean_of_worlds,
)
from analysis.loops.measures import PRIMARY
from analysis.loops.words import LiveTest, live_sentence, live_tests, summary

ROUNDS, USERS = 3, 200


def study(seed: int, loop: float, seeds: int = 5, of_seed: float = 0.0) -> Measured:
    """Two policies, of which the first one's own feedback changes its measures by `loop`; users and
    chance are shared by all ways to learn, and the effect itself varies over seeds.
    """
    rng = np.random.default_rng(seed)
    users: dict[tuple[str, str, str], list[np.ndarray]] = {}
    worlds: dict[tuple[str, str, str], Any] = {}
    for policy in ("sasrec", "popularity"):
        base = [rng.normal(0.4, 0.1, (ROUNDS, USERS)) for _ in range(seeds)]
        wide = rng.normal(0.5, 0.05, (seeds, ROUNDS))
        varied = rng.normal(0, of_seed, seeds) if of_seed else np.zeros(seeds)
        for regime in REGIMES:
            more = loop if (policy, regime) == ("sasrec", "own") else 0.0
            moved = [more + v * (regime == "own") for v in varied]
            for name in ("utility", "clicks"):
                noise = [rng.normal(0, 0.02, (ROUNDS, USERS)) for _ in range(seeds)]
                users[policy, regime, name] = [
                    x + e + m for x, e, m in zip(base, noise, moved, strict=True)
                ]
            for name in ("gini", "overlap"):
                chance = rng.normal(0, 0.005, (seeds, ROUNDS))
                worlds[policy, regime, name] = wide + chance + np.array(moved)[:, None]
    return Measured(("sasrec", "popularity"), seeds, ROUNDS, users, worlds)


def test_a_loop_is_found_and_none_where_there_is_none() -> None:
    assert all(x.adjusted is None for x in effects(study(1, 0.05), 0))
    found = effects(study(1, 0.05), ROUNDS - 1)
    by = {(x.policy, x.contrast, x.measure): x for x in found}
    assert len(by) == 2 * len(CONTRASTS) * 4
    for measure in ("utility", "gini", "overlap"):
        x = by["sasrec", "the loop", measure]
        assert x.low < 0.05 < x.high
        assert x.adjusted is not None
        assert x.adjusted < 0.01
        other = by["popularity", "the loop", measure]
        assert other.low < 0 < other.high
    assert [x.adjusted is not None for x in found] == [is_primary(x) for x in found]
    assert by["sasrec", "the loop", "utility"].users == 5 * USERS
    assert by["sasrec", "more data", "utility"].adjusted is None
    text = summary(found)
    assert "sasrec serves users better, concentrates exposure on fewer items" in text
    assert "Of popularity no such effect is shown" in text
    assert "With one seed" not in text
    assert "No effect of it" in summary(effects(study(2, 0.0), ROUNDS - 1))
    assert "With one seed nothing is known" in summary(effects(study(2, 0.1, seeds=1), ROUNDS - 1))


@pytest.mark.parametrize("of_seed", [0.0, 0.002, 0.02])
def test_intervals_over_users_and_seeds_cover(of_seed: float) -> None:
    """Whatever share of the variance seeds have: at least as often as they say, and not always."""
    rng, held, n = np.random.default_rng(3), 0, 800
    for _ in range(n):
        seeds = [rng.normal(rng.normal(0.1, of_seed), 0.05, 60) for _ in range(5)]
        low, high = mean_of_users(seeds).interval
        held += low <= 0.1 <= high
    assert held >= stats.binom.ppf(0.001, n, 0.95)
    assert of_seed < 0.02 or held <= stats.binom.ppf(0.999, n, 0.95)


def test_means_are_those_of_scipy() -> None:
    x = np.array([0.2, 0.4, 0.3, 0.35])
    mean = mean_of_worlds(np.append(x, np.nan))
    assert mean.pvalue == pytest.approx(stats.ttest_1samp(x, 0).pvalue)
    assert mean.interval == pytest.approx(stats.ttest_1samp(x, 0).confidence_interval())
    alone = mean_of_users([x])
    assert alone.interval == pytest.approx(stats.ttest_1samp(x, 0).confidence_interval())
    assert not np.isfinite(mean_of_worlds(np.array([0.3])).interval[0])
    assert not np.isfinite(mean_of_worlds(np.array([np.nan])).value)
    # Seeds that vary as much as their users make them vary: no less than users say.
    same = mean_of_users([x, x, x])
    assert same.error == pytest.approx(stats.sem(x) / 3**0.5)


def test_pairing_saves_variance_and_says_how_much() -> None:
    found = effects(study(4, 0.0), 0)
    saved = next(x.saved for x in found if x.measure == "utility" and x.contrast == "the loop")
    assert saved == pytest.approx((0.1**2 + 0.02**2) / 0.02**2, rel=0.15)
    assert next(x.saved for x in found if x.measure == "gini") is None


def test_no_error_is_no_pvalue_and_no_warning() -> None:
    """A policy that cannot change: its worlds are the same to the bit."""
    measured = study(5, 0.0)
    for name in ("gini", "overlap"):
        for regime in REGIMES:
            measured.worlds["popularity", regime, name][:] = 0.5
    found = effects(measured, 1)
    x = next(
        x for x in found if (x.policy, x.measure, x.contrast) == ("popularity", "gini", "the loop")
    )
    assert (x.value, x.low, x.high) == (0, 0, 0)
    assert np.isnan(x.pvalue)


def test_a_short_test_that_tells_the_wrong_sign_is_named() -> None:
    measured = study(6, 0.0)
    for seed in range(measured.seeds):
        clicks = measured.users["sasrec", "own", "clicks"][seed]
        clicks[0] += 0.05
        clicks[1:] -= 0.05
    (test,) = live_tests(measured)
    assert test.turned
    assert test.long[0] < 0
    assert "would have told the wrong sign: sasrec against popularity" in live_sentence([test])
    nothing = (0.01, -0.02, 0.04)
    gone = LiveTest("sasrec", "popularity", (0.05, 0.02, 0.08), nothing, nothing)
    assert gone.faded
    assert not gone.turned
    told = live_sentence([gone, test])
    assert "wrong sign: sasrec against popularity" in told
    assert "not shown over all rounds: sasrec against popularity +5.00 % at first" in told
    late = LiveTest("a", "b", (0.05, 0.02, 0.08), nothing, (-0.03, -0.05, -0.01))
    assert late.turned
    assert "wrong sign: a against b +5.00 % at first" in live_sentence([late])
    assert not LiveTest("a", "b", nothing, nothing, nothing).faded
    assert "No test of the first round tells a sign" in live_sentence(live_tests(study(7, 0.0)))
    assert "says nothing of chance" in live_sentence(live_tests(study(7, 0.0, seeds=1)))


def test_policies_with_the_same_words_share_them() -> None:
    found = [
        LoopEffect(*(policy, "the loop", measure, 3, -0.1, -0.2, -0.05, 0.01, 0.01, 5, 9, None))
        for policy in ("sasrec", "gptrec", "level")
        for measure in PRIMARY
    ]
    assert summary(found).endswith(
        "By it sasrec serves users worse, spreads exposure over more items and makes users' pages"
        " less alike, and so do gptrec and level."
    )
