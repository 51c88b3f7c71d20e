"""Slates ordered by answers, by any sequence policy."""

from dataclasses import replace

import numpy as np
import pytest

from policies.base import Policy, Requests
from policies.common.errors import InputError
from policies.draws import Draws, generator
from policies.log import Impressions
from policies.registry import make
from policies.testing import check_policy, sample_requests, small_log

SMALL = {"width": 16, "layers": 1, "heads": 2, "length": 12, "epochs": 1}
NAMES = ["sasrec", "gptrec", "gru4rec", "bert4rec"]


def settings(name: str, **more: object) -> dict[str, object]:
    prompts = {"prompt_epochs": 1, "window": 30} if name == "gptrec" else {"window": 30}
    return {**SMALL, **prompts, "answers": True, **more}


def fitted(name: str, log: Impressions | None = None, **more: object) -> Policy:
    world, catalogue = small_log()
    policy = make(name, settings(name, **more))
    policy.fit(world if log is None else log, catalogue, generator("fit"))
    return policy


def served(policy: Policy, requests: Requests) -> np.ndarray:
    draws = Draws(1, requests.users, requests.sessions, requests.pages)
    return policy.recommend(requests, 6, draws).items


def blank(policy: Policy) -> Requests:
    """A first page of each user of the world, without a history."""
    requests = sample_requests(policy)
    none = np.zeros_like(requests.items)
    return replace(
        requests,
        users=np.arange(60, dtype=np.int32),
        items=none,
        feedback=none.astype(np.float32),
        exclude=requests.exclude[:, :0],
        available=np.arange(41) > 0,
    )


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("recalled", [0, 12])
def test_contract(name: str, recalled: int) -> None:
    check_policy(lambda: make(name, settings(name, recalled=recalled)))


@pytest.mark.parametrize("name", NAMES)
def test_users_get_what_they_click_when_shown(name: str) -> None:
    """Half of the users of the world click even items, half odd ones; nobody has a history here."""
    policy = fitted(name, recalled=0)
    right = served(policy, blank(policy)) % 2 == np.arange(60)[:, None] % 2
    assert right.mean() > 0.9


@pytest.mark.parametrize("name", NAMES)
def test_as_many_candidates_as_items_are_all_items(name: str) -> None:
    every, some = fitted(name, recalled=0), fitted(name, recalled=39)
    requests = blank(every)
    requests = replace(requests, available=np.arange(41) > 1)  # so that 39 are all
    np.testing.assert_array_equal(served(every, requests), served(some, requests))


@pytest.mark.parametrize("name", NAMES)
def test_a_log_of_choices_teaches_no_answers_until_rows_are_shown(name: str) -> None:
    world, catalogue = small_log()
    chosen = world.rows(world.clicked)
    chosen = replace(chosen, shown=np.zeros(len(chosen), bool))
    policy = fitted(name, chosen)
    alone = {**settings(name), "answers": False}
    if name != "gptrec":
        del alone["window"]  # of impressions, which it does not read
    plain = make(name, alone)
    plain.fit(chosen, catalogue, generator("fit"))
    assert not any(key.startswith("answers.") for key in policy.state())
    requests = blank(policy)
    without = blank(plain)
    np.testing.assert_array_equal(served(policy, requests), served(plain, without))
    policy.update(world, catalogue, generator("update"))
    right = served(policy, requests) % 2 == np.arange(60)[:, None] % 2
    assert right.mean() > 0.7


@pytest.mark.parametrize("name", ["sasrec", "gptrec"])
def test_states_to_learn_from_are_those_to_serve_by(name: str) -> None:
    policy = fitted(name)
    world, _ = small_log()
    log = world.rows(world.user < 8).by_user()
    # What was remembered is before the log: of users without a memory the context is its own.
    policy._memory = policy._memory[:0]  # type: ignore[attr-defined]
    if name == "gptrec":
        policy._talk = type(policy._talk).empty(policy.length)  # type: ignore[attr-defined]
    talks = policy._told(log)  # type: ignore[attr-defined]
    pages = np.flatnonzero(
        (talks.page_before <= policy.length) & (talks.page_before > 0)  # type: ignore[attr-defined]
    )
    learned = policy._states(talks, pages)  # type: ignore[attr-defined]
    times = log.time[np.flatnonzero(np.diff(log.time, prepend=-np.inf) != 0)]
    assert len(times) == len(talks.page_row)
    length = policy.history_length
    for place, number in list(enumerate(pages))[::7]:
        user, now = talks.users[talks.page_row[number]], times[number]
        past = log.rows((log.user == user) & (log.time < now))
        items = np.zeros((1, length), np.int32)
        feedback, ages = np.zeros((1, length), np.float32), np.zeros((1, length), np.float32)
        n = min(len(past), policy.window)  # type: ignore[attr-defined]
        items[0, length - n :] = past.item[len(past) - n :]
        feedback[0, length - n :] = past.clicked[len(past) - n :]
        ages[0, length - n :] = now - past.time[len(past) - n :]
        if (past.clicked.sum() + 2 * (~past.clicked).sum()) > policy.length:  # type: ignore[attr-defined]
            continue  # older entries may have left the window
        requests = replace(
            blank(policy).rows(slice(0, 1)),
            users=np.array([user], np.int32),
            items=items,
            feedback=feedback,
            ages=ages,
            said=np.zeros((1, length), np.int8),
            turns=np.full((1, length), -1, np.int16),
        )
        wave, at = policy._advance(requests, 6, policy._store)  # type: ignore[attr-defined]
        np.testing.assert_allclose(wave.last[at[0]].detach().numpy(), learned[place], atol=2e-5)


@pytest.mark.parametrize("name", NAMES)
def test_a_page_larger_than_what_is_recalled(name: str) -> None:
    policy = fitted(name, recalled=3)
    requests = blank(policy)
    assert served(policy, requests).shape == (60, 6)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"recalled": 50}, "recalled=50 has no effect without answers=true"),
        ({"objective": "like"}, "objective=like has no effect"),
        ({"window": 30}, "window=30 has no effect"),
        ({"answers": True, "objective": "likes"}, "did you mean 'like'"),
    ],
)
def test_a_setting_is_not_ignored(given: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        make("sasrec", given)


def test_an_objective_of_which_the_log_tells_nothing_is_said() -> None:
    policy = fitted("sasrec", objective="like")
    assert "too few answers of the kind 'like'" in policy.says_  # type: ignore[attr-defined]
    assert not fitted("sasrec").says_  # type: ignore[attr-defined]
