"""Offline figures of a policy on the log that it learns from."""

import numpy as np
import pytest

from policies.draws import generator
from policies.neural.next_items import best
from policies.neural.sequences import Sequences, split_by_time
from policies.registry import make
from policies.testing import small_log
from simulator.experiment.offline import offline_figures

SMALL = {"width": 16, "layers": 1, "heads": 2, "length": 12, "epochs": 1}


def test_a_policy_is_asked_for_clicks_that_it_has_not_seen() -> None:
    log, catalogue = small_log()
    policy = make("popularity")
    policy.fit(log, catalogue, generator("fit"))
    told = offline_figures("popularity", policy, {}, log, catalogue, 1)
    early, late = split_by_time(log, 0.1)
    before, after = Sequences.of(early), Sequences.of(late)
    users = np.intersect1d(before.users, after.users)
    fresh = make("popularity")
    fresh.fit(early, catalogue, generator("fit"))
    slates = best(fresh, catalogue.size, before.users, before, 10)
    gains = []
    for user in users:
        target = after.items[after.starts[np.searchsorted(after.users, user)]]
        found = np.flatnonzero(slates[np.searchsorted(before.users, user)] == target)
        gains.append(1 / np.log2(found[0] + 2) if len(found) else 0.0)
    assert told is not None
    assert told["users"] == len(users)
    assert told["ndcg10"] == pytest.approx(np.mean(gains))
    assert told["auc"] is None


def test_networks_are_asked_as_they_are_and_answers_as_they_were_foretold() -> None:
    log, catalogue = small_log()
    for settings, answers in ((SMALL, False), ({**SMALL, "answers": True}, True)):
        policy = make("sasrec", settings)
        policy.fit(log, catalogue, generator("fit"))
        before = {name: value.copy() for name, value in policy.state().items()}
        told = offline_figures("sasrec", policy, settings, log, catalogue, 1)
        assert told is not None
        assert (told["auc"] is not None) == answers
        if answers:
            assert told["auc"] > 0.75  # of users whose half of the items it was shown
        for name, value in policy.state().items():
            np.testing.assert_array_equal(value, before[name])


def test_an_arm_that_explores_has_the_figures_of_its_policy() -> None:
    log, catalogue = small_log()
    figures = []
    for settings in ({}, {"epsilon": 0.5}):
        policy = make("level", settings)
        policy.fit(log, catalogue, generator("fit"))
        figures.append(offline_figures("level", policy, settings, log, catalogue, 1))
    assert figures[0] == figures[1]
    assert figures[0] is not None
    assert figures[0]["auc"] is not None
