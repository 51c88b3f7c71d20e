"""Offline figures of a policy on the log that it learns from."""

import json
from pathlib import Path

import numpy as np
import pytest

from policies.base import Requests, Slates
from policies.catalogue import Catalogue
from policies.draws import Draws, generator
from policies.log import Impressions
from policies.neural.next_items import best
from policies.neural.sequences import Sequences, split_by_time
from policies.registry import make
from policies.testing import small_log
from simulator.experiment.offline import offline_figures
from simulator.experiment.simulate import simulate
from tests.conftest import MakeExperiment

SMALL = {"width": 16, "layers": 1, "heads": 2, "length": 12, "epochs": 1}


def test_a_policy_is_asked_for_clicks_that_it_has_not_seen() -> None:
    log, catalogue = small_log()
    policy = make("popularity")
    policy.fit(log, catalogue, generator("fit"))
    told = offline_figures("popularity", policy, {}, log, catalogue, 6, 1)
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
        told = offline_figures("sasrec", policy, settings, log, catalogue, 6, 1)
        assert told is not None
        assert (told["auc"] is not None) == answers
        if answers:
            assert told["auc"] > 0.75  # of users whose half of the items it was shown
        for name, value in policy.state().items():
            np.testing.assert_array_equal(value, before[name])


def test_how_much_of_the_best_slates_is_recalled() -> None:
    """What is recalled is what is clicked next; of all items nothing has to be recalled."""
    log, catalogue = small_log()
    shares = []
    for recalled in (3, 12, 0):
        settings = {**SMALL, "answers": True, "recalled": recalled}
        policy = make("sasrec", settings)
        policy.fit(log, catalogue, generator("fit"))
        told = offline_figures("sasrec", policy, settings, log, catalogue, 3, 1)
        assert told is not None
        shares.append(told["recalled"])
    assert 0 <= shares[0] < shares[1] <= 1
    assert shares[2] is None


def test_an_arm_that_explores_has_the_figures_of_its_policy() -> None:
    log, catalogue = small_log()
    figures = []
    for settings in ({}, {"epsilon": 0.5}):
        policy = make("level", settings)
        policy.fit(log, catalogue, generator("fit"))
        figures.append(offline_figures("level", policy, settings, log, catalogue, 6, 1))
    assert figures[0] == figures[1]
    assert figures[0] is not None
    assert figures[0]["auc"] is not None


class Half:
    """Trains on no less than the whole log, which offline evaluation does not give it."""

    history_length, history_of = 0, "clicks"

    def __init__(self) -> None:
        self.inner = make("popularity")

    def fit(self, log: Impressions, catalogue: Catalogue, rng: np.random.Generator) -> None:
        if log.time.max() < -7_200:  # two hours before the test
            raise ValueError("too little")
        self.inner.fit(log, catalogue, rng)

    def update(self, log: Impressions, catalogue: Catalogue, rng: np.random.Generator) -> None:
        self.inner.update(log, catalogue, rng)

    def recommend(self, requests: Requests, slate_size: int, draws: Draws) -> Slates:
        return self.inner.recommend(requests, slate_size, draws)

    def state(self) -> dict[str, np.ndarray]:
        return self.inner.state()

    def restore(self, state: dict[str, np.ndarray]) -> None:
        self.inner.restore(state)


class Telling(Half):
    """Has a word to say of every update."""

    says_ = ""

    def fit(self, log: Impressions, catalogue: Catalogue, rng: np.random.Generator) -> None:
        self.inner.fit(log, catalogue, rng)

    def update(self, log: Impressions, catalogue: Catalogue, rng: np.random.Generator) -> None:
        super().update(log, catalogue, rng)
        self.says_ = "too few pages to learn from."


def test_what_an_update_says_stands_once_in_the_notes(
    experiment: MakeExperiment, tmp_path: Path
) -> None:
    e = experiment(policies=(f"{__name__}:Telling", "popularity"), users=40, rounds=3)
    simulate(e, out=str(tmp_path / "run"), workers=1)
    notes = json.loads((tmp_path / "run/manifest.json").read_text())["notes"]
    told = f"{__name__}:Telling: too few pages to learn from."
    assert [note for note in notes if "too few pages" in note] == [told]


def test_what_a_test_does_not_ask_of_a_policy_ends_no_test(
    experiment: MakeExperiment, tmp_path: Path
) -> None:
    e = experiment(policies=(f"{__name__}:Half", "popularity"), users=40, warmup_days=0)
    result = simulate(e, out=str(tmp_path / "run"), workers=1)
    manifest = json.loads((result.path / "manifest.json").read_text())
    notes = [note for note in manifest["notes"] if "No offline figures" in note]
    assert len(notes) == 1
    assert "too little" in notes[0]
    rows = {row["arm"]: row for row in result.results["offline"]["rows"]}
    assert list(rows) == ["popularity"]
