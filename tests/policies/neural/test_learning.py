"""The transformers learn what there is to learn, and do not learn noise."""

from typing import Any

import numpy as np
import pytest

from policies.base import plain_requests
from policies.baselines.popularity import Popularity
from policies.catalogue import Catalogue
from policies.draws import Draws, generator
from policies.log import Impressions
from policies.neural import sequential
from policies.registry import make

N_USERS, N_ITEMS, LENGTH = 300, 30, 20
MODELS: dict[str, dict[str, Any]] = {
    "sasrec": {"width": 32, "epochs": 12, "layers": 1, "batch_tokens": 512},
    "gru4rec": {"width": 32, "epochs": 12, "batch_tokens": 512},
    "bert4rec": {"width": 32, "epochs": 100, "patience": 100, "rate": 4e-3, "batch_tokens": 512},
    "gptrec": {
        "width": 32,
        "epochs": 12,
        "prompt_epochs": 4,
        "layers": 1,
        "interests": 1,
        "batch_tokens": 512,
    },
}


def markov_log(noise: bool) -> tuple[Impressions, np.ndarray]:
    """Users who walk from item i to 7 i + 3 (mod N) nine times out of ten; and where each would go
    next.
    """
    rng = np.random.default_rng(0)
    walk = np.zeros((N_USERS, LENGTH + 1), np.int64)
    walk[:, 0] = rng.integers(0, N_ITEMS, N_USERS)
    for t in range(1, LENGTH + 1):
        jump = rng.random(N_USERS) < 0.1
        walk[:, t] = np.where(
            jump, rng.integers(0, N_ITEMS, N_USERS), (7 * walk[:, t - 1] + 3) % N_ITEMS
        )
    if noise:
        walk = rng.integers(0, N_ITEMS, walk.shape)
    items = walk[:, :LENGTH] + 1
    time = np.arange(LENGTH) * 60.0 + rng.random(N_USERS)[:, None] * 1e4
    log = Impressions.of(
        user=np.repeat(np.arange(N_USERS), LENGTH),
        item=items.ravel(),
        time=time.ravel(),
        clicked=np.ones(items.size, bool),
    )
    return log.sorted(), items


def hit_rate(policy: Any, items: np.ndarray, answers: np.ndarray, k: int = 3) -> float:
    history = np.zeros((N_USERS, policy.history_length), np.int32)
    kept = min(policy.history_length, LENGTH)
    if kept:
        history[:, -kept:] = items[:, -kept:]
    requests = plain_requests(history, N_ITEMS)
    slates = policy.recommend(requests, k, Draws(0, requests.users, requests.sessions)).items
    return float((slates == answers[:, None]).any(axis=1).mean())


@pytest.mark.parametrize("name", list(MODELS))
@pytest.mark.parametrize("noise", [False, True])
def test_markov_world_is_learned_and_noise_is_not(name: str, noise: bool) -> None:
    log, items = markov_log(noise)
    answers = (7 * (items[:, -1] - 1) + 3) % N_ITEMS + 1
    if noise:
        answers = np.random.default_rng(1).integers(1, N_ITEMS + 1, N_USERS)
    catalogue = Catalogue.of(np.arange(1, N_ITEMS + 1).astype(str))
    policy, popular = make(name, MODELS[name]), Popularity()
    policy.fit(log, catalogue, generator("markov"))
    popular.fit(log, catalogue, generator("markov"))
    got, base = hit_rate(policy, items, answers), hit_rate(popular, items, answers)
    if noise:
        assert abs(got - 3 / N_ITEMS) < 0.06
    else:
        assert got > 0.85 > base + 0.5


@pytest.mark.parametrize("name", list(MODELS))
def test_the_same_seed_gives_the_same_weights(name: str) -> None:
    log, _ = markov_log(False)
    catalogue = Catalogue.of(np.arange(1, N_ITEMS + 1).astype(str))
    states = []
    for _ in range(2):
        policy = make(name, {**MODELS[name], "epochs": 1})
        policy.fit(log, catalogue, generator("same"))
        np.random.default_rng().random(3)
        policy.update(log, catalogue, generator("again"))
        states.append(policy.state())
    assert all(np.array_equal(states[0][key], states[1][key]) for key in states[0])


@pytest.mark.parametrize("large", [False, True])
def test_sampled_softmax_learns_too(large: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if large:  # as a catalogue of which only the items of a batch are moved
        monkeypatch.setattr(sequential, "SPARSE", 0)
    log, items = markov_log(False)
    policy = make("sasrec", {**MODELS["sasrec"], "sampled": 10, "epochs": 16})
    policy.fit(log, Catalogue.of(np.arange(1, N_ITEMS + 1).astype(str)), generator("markov"))
    assert hit_rate(policy, items, (7 * (items[:, -1] - 1) + 3) % N_ITEMS + 1) > 0.7


def test_the_published_loss_learns_too() -> None:
    log, items = markov_log(False)
    policy = make(
        "sasrec",
        {
            **MODELS["sasrec"],
            "loss": "bce",
            "start": False,
            "epochs": 60,
            "patience": 60,
            "rate": 4e-3,
        },
    )
    policy.fit(log, Catalogue.of(np.arange(1, N_ITEMS + 1).astype(str)), generator("markov"))
    assert hit_rate(policy, items, (7 * (items[:, -1] - 1) + 3) % N_ITEMS + 1) > 0.8


def two_kinds() -> tuple[Impressions, np.ndarray, np.ndarray]:
    """Users of two kinds who go to opposite items from wherever they are; (users, clicks) and where
    each goes next.
    """
    rng = np.random.default_rng(0)
    kind = np.arange(N_USERS) % 2
    walk = np.zeros((N_USERS, LENGTH + 1), np.int64)
    walk[:, 0] = rng.integers(0, N_ITEMS, N_USERS)
    for t in range(1, LENGTH + 1):
        jump = rng.random(N_USERS) < 0.1
        step = np.where(kind == 0, 7 * walk[:, t - 1] + 3, 7 * walk[:, t - 1] + 18) % N_ITEMS
        walk[:, t] = np.where(jump, rng.integers(0, N_ITEMS, N_USERS), step)
    answers = (
        np.where(kind == 0, 7 * walk[:, LENGTH - 1] + 3, 7 * walk[:, LENGTH - 1] + 18) % N_ITEMS + 1
    )
    items = walk[:, :LENGTH] + 1
    log = Impressions.of(
        user=np.repeat(np.arange(N_USERS), LENGTH),
        item=items.ravel(),
        clicked=np.ones(items.size, bool),
        time=(np.arange(LENGTH) * 60.0 + rng.random(N_USERS)[:, None] * 1e4).ravel(),
    )
    return log.sorted(), items, answers


def first_place(name: str, length: int, settings: dict, users: np.ndarray | None = None) -> float:
    log, items, answers = two_kinds()
    catalogue = Catalogue.of(np.arange(1, N_ITEMS + 1).astype(str))
    policy: Any = make(
        name,
        {**MODELS[name], "layers": 2, "epochs": 40, "patience": 40, "length": length, **settings},
    )
    policy.fit(log, catalogue, generator("two kinds"))
    known = np.arange(N_USERS) if users is None else users
    return float(
        (policy.top(known, items[:, -length:].astype(np.int32), 1)[:, 0] == answers).mean()
    )


def test_the_user_module_knows_what_one_click_cannot_tell() -> None:
    plain = {"prompt_share": 0.0, "dialogues": False, "prompt_epochs": 1}
    assert first_place("gptrec", 1, {**plain, "epochs": 60, "patience": 60}) > 0.8
    assert first_place("sasrec", 1, {}) < 0.6  # the last click fits both kinds
    short = {**plain, "epochs": 15, "patience": 15}
    strangers = np.arange(N_USERS) + 10_000
    without = first_place("gptrec", 1, {**short, "user_module": False}, strangers)
    assert first_place("gptrec", 1, short, strangers) > without - 0.08


def test_with_a_long_history_the_user_module_ties() -> None:
    plain = {"prompt_share": 0.0, "dialogues": False, "prompt_epochs": 1}
    gptrec, sasrec = first_place("gptrec", 50, plain), first_place("sasrec", 50, {})
    assert min(gptrec, sasrec) > 0.8
    assert abs(gptrec - sasrec) < 0.1
