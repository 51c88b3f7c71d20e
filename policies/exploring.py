"""Exploration: pages of items drawn at random, in place of some of an arm's pages."""

from typing import Any, Literal

import numpy as np

from policies.base import Policy, Requests, Slates, StatesChance
from policies.catalogue import Catalogue
from policies.draws import Draws
from policies.log import Impressions
from policies.ranking import best_by


def uniform_slates(requests: Requests, k: int, draws: Draws) -> np.ndarray:
    """(B, k) int32: each item that a user may be shown with the same probability."""
    pool = np.flatnonzero(requests.available).astype(np.int32)
    # Rejection sampling: a few candidates per slot are nearly always enough, the rest fall back
    # to a full draw.
    picks = pool[(draws.uniform("uniform/candidates", 4 * k + 8) * len(pool)).astype(np.int64)]
    slates, complete = _first_distinct(picks, requests.exclude, k)
    if not complete.all():
        left = ~complete
        anew, n = draws.rows(left), len(requests.available)
        slates[left] = best_by(
            lambda rows: anew.rows(rows).gumbel("uniform/fallback", n),
            requests.rows(left),
            k,
        )
    return slates


def uniform_chance(requests: Requests) -> np.ndarray:
    """(B,) the probability of each item in each slot of such a page."""
    chance: np.ndarray = 1.0 / (requests.available.sum() - _distinct_available(requests))
    return chance


def _distinct_available(requests: Requests) -> np.ndarray:
    """(B,) how many different available items each user may not be shown."""
    if not requests.exclude.shape[1]:
        return np.zeros(len(requests), np.int64)
    ordered = np.sort(requests.exclude, axis=1)
    fresh = np.ones(ordered.shape, bool)
    fresh[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    return (fresh & requests.available[ordered]).sum(axis=1)


def _first_distinct(
    picks: np.ndarray, exclude: np.ndarray, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """The first k different, allowed picks of each row, and whether there were k."""
    good = np.ones(picks.shape, bool)
    for column in range(picks.shape[1]):
        good[:, column] &= ~(picks[:, :column] == picks[:, column, None]).any(axis=1)
        good[:, column] &= ~(exclude == picks[:, column, None]).any(axis=1)
    rank = np.cumsum(good, axis=1)
    complete = rank[:, -1] >= k
    slates = np.zeros((len(picks), k), np.int32)
    rows, columns = np.nonzero(good & (rank <= k))
    slates[rows, rank[rows, columns] - 1] = picks[rows, columns]
    return slates, complete


UPDATES = "arm.updates"  # in the state of an arm, beside its policy's own
SETTINGS = {"epsilon": (0.0, 0.0, 1.0), "updates": (-1, -1, 1_000_000)}  # default, least, most


def without_arm(policy: Policy) -> Policy:
    """The policy itself, of an arm that explores or ceases to learn."""
    return policy._policy if isinstance(policy, Arm) else policy


class Arm:
    """A policy of which some pages explore, or that ceases to learn.

    Args:
        epsilon: probability with which a whole page is drawn at random. The propensities count both
            ways in which an item may have come to its slot; they are unknown where the policy
            itself draws and has no method `chance(requests, items)` that says how likely it shows
            (B, K) items in their slots.
        updates: how often it learns again at most; -1 = always.
    """

    def __init__(self, policy: Policy, epsilon: float = 0.0, updates: int = -1):
        self._policy, self._epsilon, self._most = policy, epsilon, updates
        self._updates = 0

    @property
    def history_length(self) -> int:
        return self._policy.history_length

    @property
    def history_of(self) -> Literal["impressions", "clicks"]:
        return self._policy.history_of

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._policy, name)

    def fit(self, log: Impressions, catalogue: Catalogue, rng: np.random.Generator) -> None:
        self._policy.fit(log, catalogue, rng)
        self._updates = 0

    def update(self, log: Impressions, catalogue: Catalogue, rng: np.random.Generator) -> None:
        if self._most < 0 or self._updates < self._most:
            self._policy.update(log, catalogue, rng)
            self._updates += 1

    def recommend(self, requests: Requests, slate_size: int, draws: Draws) -> Slates:
        slates = self._policy.recommend(requests, slate_size, draws)
        if self._epsilon <= 0:
            return slates
        random = draws.uniform("epsilon", 1)[:, 0] < self._epsilon
        shown = np.array(slates.items)
        anew = draws.rows(random).derived("epsilon")
        shown[random] = uniform_slates(requests.rows(random), slate_size, anew)
        own = self._own_chance(requests, slates, shown)
        if own is None:
            return Slates(shown)
        chance = (1 - self._epsilon) * own + self._epsilon * uniform_chance(requests)[:, None]
        return Slates(shown, chance.astype(np.float32))

    def _own_chance(
        self, requests: Requests, slates: Slates, shown: np.ndarray
    ) -> np.ndarray | None:
        """(B, K) how likely the policy itself shows these items in these slots; None = it does not
        say.
        """
        if isinstance(self._policy, StatesChance):
            return self._policy.chance(requests, shown)
        if slates.propensity is None or not (slates.propensity == 1).all():
            return None  # what it states of its own page says nothing of another one
        return (shown == slates.items).astype(np.float64)

    def state(self) -> dict[str, np.ndarray]:
        return {**self._policy.state(), UPDATES: np.array([self._updates])}

    def restore(self, state: dict[str, np.ndarray]) -> None:
        self._updates = int(state[UPDATES][0])
        self._policy.restore({k: v for k, v in state.items() if k != UPDATES})
