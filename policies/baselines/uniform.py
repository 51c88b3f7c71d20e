"""Items drawn at random, every allowed item with the same probability."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from policies.base import Requests, Slates
from policies.catalogue import Catalogue
from policies.draws import Draws
from policies.log import Impressions
from policies.ranking import best_by


@dataclass
class Uniform:
    """A reference, not a contender: what no recommender at all would do."""

    wave: ClassVar[int] = 16_384
    history_length: int = 0
    history_of: Literal["impressions", "clicks"] = "impressions"

    def fit(self, log: Impressions, catalogue: Catalogue, rng: np.random.Generator) -> None:
        pass

    def update(self, log: Impressions, catalogue: Catalogue, rng: np.random.Generator) -> None:
        pass

    def recommend(self, requests: Requests, slate_size: int, draws: Draws) -> Slates:
        pool = np.flatnonzero(requests.available).astype(np.int32)
        n_excluded = _distinct_available(requests)
        # Rejection sampling: a few candidates per slot are nearly always enough, the rest fall back
        # to a full draw.
        picks = pool[
            (draws.uniform("uniform/candidates", 4 * slate_size + 8) * len(pool)).astype(np.int64)
        ]
        slates, complete = _first_distinct(picks, requests.exclude, slate_size)
        if not complete.all():
            left = ~complete
            anew, n = draws.rows(left), len(requests.available)
            slates[left] = best_by(
                lambda rows: anew.rows(rows).gumbel("uniform/fallback", n),
                requests.rows(left),
                slate_size,
            )
        propensity = 1.0 / (len(pool) - n_excluded)
        return Slates(slates, np.repeat(propensity[:, None], slate_size, 1).astype(np.float32))

    def state(self) -> dict[str, np.ndarray]:
        return {}

    def restore(self, state: dict[str, np.ndarray]) -> None:
        pass


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
