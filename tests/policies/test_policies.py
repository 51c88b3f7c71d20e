"""The contract of a policy: ours keep it, and each way of breaking it is caught with advice."""

import dataclasses
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from policies import ranking
from policies.base import plain_requests
from policies.baselines.popularity import Popularity
from policies.baselines.uniform import Uniform
from policies.common.errors import InputError
from policies.draws import Draws, generator, key_of
from policies.log import Impressions
from policies.neural.ranking import best_allowed
from policies.ranking import first_allowed, top_k
from policies.registry import base_name, find, make
from policies.testing import PolicyError, check_policy, sample_requests, small_log
from tests.conftest import MakeExperiment

SMALL = {
    "bprmf": {"factors": 8, "iterations": 20},
    "gru4rec": {"epochs": 1, "width": 16},
    "bert4rec": {"epochs": 1, "width": 16},
    "sasrec": {"epochs": 1, "width": 16},
    "gptrec": {"epochs": 1, "prompt_epochs": 1, "width": 16},
}

THIRD_PARTY = """
    from dataclasses import dataclass, field

    import numpy as np

    from policies.base import Slates
    from policies.ranking import mask_scores, top_k


    @dataclass
    class MostWatched:
        history_length: int = 0
        history_of: str = "impressions"
        seconds: np.ndarray = field(init=False, default_factory=lambda: np.zeros(0))

        def fit(self, log, catalogue, rng):
            self.seconds = np.bincount(log.item, log.watched, minlength=catalogue.size + 1)

        def update(self, log, catalogue, rng):
            more = np.bincount(log.item, log.watched, minlength=len(self.seconds))
            self.seconds = self.seconds + more

        def recommend(self, requests, slate_size, draws):
            scores = np.tile(self.seconds.astype(np.float32), (len(requests), 1))
            return Slates(top_k(mask_scores(scores, requests), slate_size))

        def state(self):
            return {"seconds": self.seconds}

        def restore(self, state):
            self.seconds = state["seconds"]
"""


@pytest.mark.parametrize(
    "name", ["uniform", "popularity", "itemknn", "bprmf", "gru4rec", "bert4rec", "sasrec", "gptrec"]
)
def test_ours_keep_the_contract(name: str) -> None:
    check_policy(lambda: make(name, SMALL.get(name)))


def test_a_third_partys_policy_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, experiment: MakeExperiment
) -> None:
    from simulator import simulate

    (tmp_path / "my_module.py").write_text(textwrap.dedent(THIRD_PARTY), encoding="utf-8")
    assert len([line for line in textwrap.dedent(THIRD_PARTY).splitlines() if line.strip()]) <= 25
    monkeypatch.syspath_prepend(str(tmp_path))
    check_policy(find("my_module:MostWatched"))
    result = simulate(
        experiment(policies=("my_module:MostWatched", "popularity"), rounds=2),
        out=str(tmp_path / "run"),
    )
    assert set(result.arms["arm"]) == {"my_module:MostWatched", "popularity"}
    sys.modules.pop("my_module")


class Broken(Uniform):
    """Breaks the contract in one way, named by `how`."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how
        self.calls = 0

    def recommend(self, requests: Any, slate_size: Any, draws: Any) -> Any:
        self.calls += 1
        good = super().recommend(requests, slate_size, draws)
        items, propensity = (
            good.items.copy(),
            (None if good.propensity is None else good.propensity.copy()),
        )
        if self.how == "repeats":
            items[2, 1] = items[2, 0]
        elif self.how == "out of range":
            items[0, 0] = len(requests.available)
        elif self.how == "unavailable":
            items[0, 0] = 3
        elif self.how == "excluded":
            items[1, 0] = next(int(i) for i in requests.exclude[1] if i and requests.available[i])
            items[1, 1:] = [i for i in good.items[1, 1:] if i != items[1, 0]][: slate_size - 1]
        elif self.how == "batch-dependent":
            items = np.roll(items, len(requests) % slate_size, axis=1)
        elif self.how == "own randomness":
            items = np.roll(items, self.calls % slate_size, axis=1)
        elif self.how == "mutates":
            requests.items[:] = 1
            requests.exclude[:] = 0
        elif self.how == "false propensities":
            assert propensity is not None
            propensity = (propensity * 0.5).astype(np.float32)
        elif self.how == "shape":
            items = items[:, :-1]
        elif self.how == "scores":
            items = items.astype(np.float32)
        return dataclasses.replace(good, items=items, propensity=propensity)


@pytest.mark.parametrize(
    ("how", "advice"),
    [
        ("repeats", "without replacement"),
        ("out of range", "ids are 1..40"),
        ("unavailable", "requests.available"),
        ("excluded", "requests.exclude"),
        ("batch-dependent", "own row alone"),
        ("own randomness", "take random numbers from"),
        ("mutates", "work on a copy"),
        ("false propensities", "marginal probability"),
        ("shape", "one row per request"),
        ("scores", "return item ids"),
    ],
)
def test_each_mistake_is_caught_with_advice(how: str, advice: str) -> None:
    with pytest.raises(PolicyError, match=advice):
        check_policy(lambda: Broken(how))


class Forgetful(Popularity):
    def state(self) -> dict[str, np.ndarray]:
        return {"counts": np.zeros_like(self._counts), "until": np.zeros(1)}


def test_a_policy_that_forgets_its_state_is_caught() -> None:
    with pytest.raises(PolicyError, match="put everything that matters into state"):
        check_policy(Forgetful)


def test_uniform_is_uniform_over_what_is_allowed() -> None:
    one = sample_requests(Uniform()).rows(np.ones(20_000, np.int64))
    n = len(one)
    slates = Uniform().recommend(one, 5, Draws(7, np.zeros(n, int), np.arange(n)))
    allowed = np.flatnonzero(one.available & ~np.isin(np.arange(41), one.exclude[0]))
    counts = np.bincount(slates.items[:, 3], minlength=41)
    assert counts[allowed].sum() == n
    assert chisquare(counts[allowed]).pvalue > 0.001
    assert slates.propensity is not None
    assert np.allclose(slates.propensity, 1 / len(allowed))


def test_popularity_ranks_by_decayed_clicks() -> None:
    log, catalogue = small_log()
    recent = Impressions.of(
        item=np.full(50, 9), user=np.zeros(50), time=np.zeros(50), clicked=np.ones(50, bool)
    )
    policy = Popularity(half_life_days=1.0)
    policy.fit(log, catalogue, generator(0))
    policy.update(recent, catalogue, generator(0))
    request = plain_requests(np.zeros((1, 0), np.int32), 40)
    assert policy.recommend(request, 3, Draws(0, request.users, request.sessions)).items[0, 0] == 9
    days = -log.time[log.clicked] / 86_400
    expected = np.bincount(log.item[log.clicked], 0.5**days, minlength=41)
    expected[9] += 50
    assert np.allclose(policy.state()["counts"], expected, rtol=1e-6)


def test_top_k_breaks_ties_by_the_lower_id() -> None:
    scores = np.array([[-np.inf, 1.0, 2.0, 2.0, -1.0, 2.0, 0.0, -0.0]], np.float32)
    assert top_k(scores, 4).tolist() == [[2, 3, 5, 1]]
    assert top_k(scores, 6).tolist() == [[2, 3, 5, 1, 6, 7]]
    rng = np.random.default_rng(0)
    many = rng.integers(-3, 3, (50, 200)).astype(np.float32)
    expected = np.lexsort((np.broadcast_to(np.arange(200), many.shape), -many), axis=1)[:, :20]
    assert np.array_equal(top_k(many, 20), expected)


def test_first_allowed_equals_the_plain_loop() -> None:
    requests = sample_requests(Uniform())
    ranked = (
        np.random.default_rng(0).permutation(np.flatnonzero(requests.available)).astype(np.int32)
    )
    got = first_allowed(ranked, requests, 5)
    for row, excluded in zip(got, requests.exclude, strict=True):
        assert row.tolist() == [i for i in ranked if i not in set(excluded)][:5]


def test_names_suggestions_and_arms() -> None:
    assert base_name("sasrec.2") == "sasrec"
    assert base_name("my.module:Policy") == "my.module:Policy"
    with pytest.raises(InputError, match="did you mean 'sasrec'"):
        find("sasrek")
    with pytest.raises(InputError, match="did you mean 'width'"):
        make("sasrec", {"widht": 3})
    with pytest.raises(InputError, match=r"^policy 'sasrec': loss 'hinge': wanted one of"):
        make("sasrec", {"loss": "hinge"})
    with pytest.raises(InputError, match="wants int"):
        make("sasrec", {"width": "wide"})
    with pytest.raises(InputError, match="lacks fit"):
        find("policies.draws:Draws")


def test_bprmf_gives_strangers_the_popular_items() -> None:
    log, catalogue = small_log()
    policy = make("bprmf", SMALL["bprmf"])
    policy.fit(log, catalogue, generator("x"))
    request = plain_requests(np.zeros((1, 1), np.int32), 40, np.array([10_000]))
    counts = np.bincount(log.item[log.clicked], minlength=41)
    slate = policy.recommend(request, 5, Draws(0, request.users, request.sessions)).items[0]
    assert sorted(counts[slate]) == sorted(counts)[-5:]


@pytest.mark.parametrize("name", ["sasrec", "gptrec", "gru4rec", "bert4rec"])
def test_no_epochs_and_few_items_are_fine(name: str) -> None:
    log, catalogue = small_log(n_items=7)
    policy = make(name, {**SMALL[name], "update_epochs": 0})
    policy.fit(log, catalogue, generator("x"))
    before = policy.state()
    policy.update(log, catalogue, generator("y"))
    after = policy.state()
    assert all(np.array_equal(before[key], after[key]) for key in before if key.startswith("net."))


def test_the_best_of_wide_rows_are_those_of_a_full_sort() -> None:
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(64, 12_101)).astype(np.float32)
    exclude = np.argsort(-scores, axis=1)[:, 1:40:2].astype(np.int32)
    available = np.ones(12_101, bool)
    available[[0, 500, 12_100]] = False
    allowed = scores.copy()
    allowed[:, ~available] = -np.inf
    np.put_along_axis(allowed, exclude, -np.inf, axis=1)
    got = best_allowed(torch.from_numpy(scores.copy()), exclude, available, 20)
    assert np.array_equal(got, np.argsort(-allowed, axis=1)[:, :20])


@pytest.mark.parametrize("name", ["bprmf", "uniform"])
def test_slates_are_the_same_however_many_scores_are_held(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = make(name, {})
    log, catalogue = small_log()
    policy.fit(log, catalogue, generator("blocks"))
    requests = sample_requests(policy)
    if name == "uniform":  # so many are excluded that candidates do not suffice
        exclude = np.tile(np.r_[1, 2, 4:7, 8:37].astype(np.int32), (len(requests), 1))
        requests = dataclasses.replace(requests, exclude=exclude)
    draws = Draws(key_of("blocks"), requests.users, requests.sessions)
    k = 4 if name == "uniform" else 5
    whole = policy.recommend(requests, k, draws).items
    monkeypatch.setattr(ranking, "CELLS", 100)  # two rows at a time
    np.testing.assert_array_equal(policy.recommend(requests, k, draws).items, whole)


def test_ids_that_are_no_items_are_refused_and_not_written_past_an_array() -> None:
    requests = sample_requests(Popularity())
    n = len(requests.available) - 1
    ranked = np.flatnonzero(requests.available).astype(np.int32)
    for wrong in (n + 1, -1, 10**9):
        with pytest.raises(ValueError, match=f"ids must be 1..{n}"):
            first_allowed(np.r_[wrong, ranked].astype(np.int32), requests, 5)
        beyond = np.full((len(requests), 2), wrong, np.int32)
        with pytest.raises(ValueError, match=f"ids must be 1..{n}"):
            first_allowed(ranked, dataclasses.replace(requests, exclude=beyond), 5)
    with pytest.raises(ValueError, match="fewer than 5 items"):
        first_allowed(ranked[:4], requests, 5)
