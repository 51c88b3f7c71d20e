"""Policies that others write: whatever goes wrong in one is one line that names it."""

import sys
import types
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch

from policies import calls
from policies.base import Requests, Slates
from policies.baselines.popularity import Popularity
from policies.calls import PolicyFailure
from policies.common.errors import InputError
from policies.draws import Draws, generator, key_of
from policies.ranking import mask_scores, top_k
from policies.registry import make
from policies.testing import sample_requests, small_log


def fitted(kind: type = Popularity) -> Any:
    policy = kind()
    log, catalogue = small_log()
    calls.train("mine", "fit", policy, log, catalogue, generator("test"))
    return policy


def page(policy: Any) -> Slates:
    requests = sample_requests(policy)
    draws = Draws(key_of("test"), requests.users, requests.sessions, requests.pages)
    return calls.slates("mine", policy, requests, 5, draws)


Answer = Callable[[Any, Requests, int, Slates], Any]


def answering(answer: Answer) -> type:
    """Popularity whose `recommend` gives what `answer` makes of its slates."""

    class Mine(Popularity):
        def recommend(self, requests: Requests, slate_size: int, draws: Draws) -> Any:
            return answer(
                self, requests, slate_size, super().recommend(requests, slate_size, draws)
            )

    return Mine


def _nan_scores(policy: Any, requests: Requests, k: int, slates: Slates) -> Slates:
    scores = np.full((len(requests), len(requests.available)), np.nan, np.float32)
    return Slates(top_k(mask_scores(scores, requests), k))


def _excluded(policy: Any, requests: Requests, k: int, slates: Slates) -> Slates:
    items = slates.items.copy()
    for row, excluded in enumerate(requests.exclude):
        shown = next((i for i in excluded if requests.available[i] and i not in items[row]), None)
        if shown is not None:
            items[row, 0] = shown
    return Slates(items)


def _with(row: int, value: float) -> Answer:
    def answer(policy: Any, requests: Requests, k: int, slates: Slates) -> Slates:
        items = slates.items.copy()
        items[row, 0] = value
        return Slates(items)

    return answer


def _raising(error: BaseException) -> Answer:
    def answer(policy: Any, requests: Requests, k: int, slates: Slates) -> Slates:
        raise error

    return answer


def _writing(name: str) -> Answer:
    def answer(policy: Any, requests: Requests, k: int, slates: Slates) -> Slates:
        getattr(requests, name)[...] = 0
        return slates

    return answer


def _numpys_chance(policy: Any, requests: Requests, k: int, slates: Slates) -> Slates:
    np.random.permutation(3)  # noqa: NPY002
    return slates


def _torchs_chance(policy: Any, requests: Requests, k: int, slates: Slates) -> Slates:
    torch.rand(1)
    return slates


def _torchs_threads(policy: Any, requests: Requests, k: int, slates: Slates) -> Slates:
    torch.set_num_threads(torch.get_num_threads() + 1)
    return slates


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (_nan_scores, "scores are NaN"),
        (lambda p, r, k, s: Slates(np.full(s.items.shape, np.nan)), "hold float64"),
        (lambda p, r, k, s: Slates(s.items, np.full(s.items.shape, np.nan)), "propensities must"),
        (lambda p, r, k, s: None, "recommend gives NoneType"),
        (lambda p, r, k, s: s.items.tolist(), "recommend gives list"),
        (_with(30, 10**6), "item 1000000 is out of range"),
        (_with(30, -1), "item -1 is out of range"),
        (_excluded, "shows an item of requests.exclude"),
        (_raising(RuntimeError("late\nfailure")), "RuntimeError: late failure (test_calls.py:"),
        (_raising(SystemExit(0)), "SystemExit: 0"),
        (_raising(StopIteration()), "StopIteration"),
        (_raising(MemoryError()), "MemoryError"),
        (_raising(RecursionError()), "RecursionError"),
        *((_writing(name), "is read-only; what a policy is given") for name in Requests.__slots__),
        (_numpys_chance, "uses global random numbers"),
        (_torchs_chance, "uses global random numbers"),
        (_torchs_threads, "changes torch's threads"),
    ],
)
def test_a_bad_answer_is_one_line_that_names_arm_and_call(answer: Answer, words: str) -> None:
    policy = fitted(answering(answer))
    with pytest.raises(PolicyFailure) as failed:
        page(policy)
    line = str(failed.value)
    assert words in line
    assert "policy 'mine'" in line
    assert "in recommend" in line
    assert "\n" not in line
    assert "Traceback" in failed.value.trace


def test_a_breach_for_one_user_in_a_thousand_is_found() -> None:
    def one(p: Any, r: Requests, k: int, s: Slates) -> Slates:
        row = np.flatnonzero(r.exclude[:, 0] > 0)[-1]
        s.items[row, k - 1] = r.exclude[row, 0]
        return s

    policy = fitted(answering(one))
    requests = sample_requests(policy, 1000)
    draws = Draws(key_of("x"), requests.users, requests.sessions)
    with pytest.raises(PolicyFailure, match=r"an item of requests\.exclude"):
        calls.slates("mine", policy, requests, 5, draws)


def test_a_policy_may_use_its_arrays_again() -> None:
    """What it answered before stays what it was, also where it answered with one buffer."""
    buffer = np.zeros((60, 5), np.int32)

    def again(p: Any, r: Requests, k: int, s: Slates) -> Slates:
        buffer[:] = s.items
        return Slates(buffer)

    policy = fitted(answering(again))
    first = page(policy)
    before = first.items.copy()
    buffer[:] = 0
    np.testing.assert_array_equal(first.items, before)


def test_ctrl_c_stays_ctrl_c() -> None:
    policy = fitted(answering(_raising(KeyboardInterrupt())))
    with pytest.raises(KeyboardInterrupt):
        page(policy)


def _writes(name: str) -> Callable[..., None]:
    def fit(self: Any, log: Any, catalogue: Any, rng: Any) -> None:
        target = log if hasattr(log, name) else catalogue
        getattr(target, name)[...] = 1

    return fit


def _writes_by_torch(self: Any, log: Any, catalogue: Any, rng: Any) -> None:
    torch.from_numpy(log.item).fill_(1)


def _raises(self: Any, log: Any, catalogue: Any, rng: Any) -> None:
    raise KeyError("in fit")


@pytest.mark.parametrize(
    ("fit", "words"),
    [
        (_writes("clicked"), "read-only"),
        (_writes("duration"), "read-only"),
        (_writes_by_torch, "it changed log.item in place"),
        (_raises, "failed in fit: KeyError"),
    ],
)
@pytest.mark.parametrize("call", ["fit", "update"])
def test_training_changes_nothing_that_it_gets(
    fit: Callable[..., None], words: str, call: str
) -> None:
    kind = type("Mine", (Popularity,), {call: fit})
    log, catalogue = small_log()
    kept = log.clicked.copy(), catalogue.duration.copy()
    with pytest.raises(
        PolicyFailure, match=words.replace("fit", call) if "failed" in words else words
    ):
        calls.train("mine", call, kind(), log, catalogue, generator("test"))
    assert np.array_equal(kept[0], log.clicked)
    assert np.array_equal(kept[1], catalogue.duration, equal_nan=True)


def test_training_may_use_global_chance_and_leaves_none() -> None:
    """Building a network draws from torch's generator: it finds the same numbers every time."""
    drawn = []

    class Mine(Popularity):
        def fit(self, log: Any, catalogue: Any, rng: Any) -> None:
            drawn.append((torch.rand(2).tolist(), float(np.random.rand())))  # noqa: NPY002

    before = torch.get_rng_state().clone()
    for _ in range(2):
        torch.rand(3)
        fitted(Mine)
    assert drawn[0] == drawn[1]
    torch.set_rng_state(before)


def test_an_honest_torch_policy_sees_no_warning() -> None:
    class Mine(Popularity):
        def fit(self, log: Any, catalogue: Any, rng: Any) -> None:
            torch.from_numpy(log.time).mean()
            super().fit(log, catalogue, rng)

        def recommend(self, requests: Requests, slate_size: int, draws: Draws) -> Slates:
            torch.from_numpy(requests.items).sum()
            return super().recommend(requests, slate_size, draws)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert page(fitted(Mine)).items.shape == (60, 5)


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (None, "gives NoneType"),
        ([1, 2], "gives list"),
        ({"a": np.array([{"x": 1}], dtype=object)}, "not of object"),
        ({"__metadata__": np.zeros(2)}, "wanted a plain name"),
        ({3: np.zeros(2)}, "wanted a plain name"),
        ({"a": 3}, "not int"),
    ],
)
def test_a_state_is_a_dictionary_of_arrays(state: Any, words: str) -> None:
    kind = type("Mine", (Popularity,), {"state": lambda self: state})
    with pytest.raises(PolicyFailure, match=words):
        calls.state_of("mine", kind())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("history_length", 10**9),
        ("wave", 0),
        ("wave", 2.5),
        ("history_length", -1),
        ("history_length", "50"),
        ("history_of", "likes"),
    ],
)
def test_what_the_engine_reads_of_a_policy_has_bounds(name: str, value: Any) -> None:
    kind = type("Mine", (Popularity,), {name: value})
    policy = kind()
    setattr(policy, name, value)
    with pytest.raises(PolicyFailure, match=name):
        calls.made("mine", lambda: policy)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("raise ValueError('no\\nway')", "ValueError: no way"),
        ("import sys; sys.exit(3)", "SystemExit: 3"),
        ("def x(:", "SyntaxError"),
    ],
)
def test_a_module_that_fails_is_one_line(
    body: str, words: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "of_a_stranger.py").write_text(body)
    monkeypatch.syspath_prepend(tmp_path)
    sys.modules.pop("of_a_stranger", None)
    with pytest.raises(InputError, match=words) as refused:
        make("of_a_stranger:Mine")
    assert "\n" not in str(refused.value)


def test_a_constructor_that_fails_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    class NeedsMore(Popularity):
        def __init__(self, more: Any):
            pass

    class Boom(Popularity):
        def __init__(self) -> None:
            raise RuntimeError("boom")

    module = types.ModuleType("of_a_stranger")
    module.NeedsMore, module.Boom = NeedsMore, Boom  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "of_a_stranger", module)
    for name, words in (("NeedsMore", "TypeError"), ("Boom", "RuntimeError: boom")):
        with pytest.raises(PolicyFailure, match=words):
            make(f"of_a_stranger:{name}")


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [
        ("sasrec", "rate", "inf"),
        ("sasrec", "temperature", "0"),
        ("sasrec", "width", "0"),
        ("sasrec", "dropout", "2"),
        ("sasrec", "layers", "1e9"),
        ("sasrec", "rate", "nan"),
        ("gptrec", "interests", "0"),
        ("gptrec", "prompt_share", "-1"),
        ("bprmf", "factors", "0"),
        ("itemknn", "decay", "1.5"),
        ("popularity", "half_life_days", "0"),
        ("bert4rec", "hidden", "1"),
        ("sasrec", "width", "3.5"),
    ],
)
def test_settings_that_cannot_work_are_refused_with_their_bounds(
    name: str, key: str, value: str
) -> None:
    with pytest.raises(InputError, match=rf"'{name}.{key}' (must be|wants)"):
        make(name, {key: value})


@pytest.mark.parametrize("kind", [np.longdouble, complex, object])
def test_a_state_of_numbers_that_files_do_not_know_is_refused(kind: type) -> None:
    policy = fitted()
    policy.state = lambda: {"long": np.zeros(3, kind)}
    with pytest.raises(PolicyFailure, match=r"state\(\)\['long'\] must be a numpy array"):
        calls.state_of("mine", policy)
