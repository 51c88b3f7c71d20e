"""How close items are to what a user chose last: what moves a feed along, and what models of
sequences live on.

By the vectors of the items' taste (`simulator/fitting/factors.py`), of low rank: a simulator must
not be a contender in disguise.
"""

from dataclasses import dataclass

import numpy as np

from policies.log import Dataset, Impressions
from simulator.fitting.factors import Taste, choices, directions
from simulator.users.state import LAST

PAIRS = 20_000


@dataclass(frozen=True)
class Chosen:
    """Choices by user and time; those before the log come first.

    Attributes:
        user, item: (n,) int64. time: (n,) s, -inf before the log.
    """

    user: np.ndarray
    item: np.ndarray
    time: np.ndarray

    @staticmethod
    def of(data: Dataset, late: Impressions | None = None) -> "Chosen":
        """Of the log and before it, and of the rows of `late` after it."""
        user, item, row = choices(data)
        time = np.where(row < 0, -np.inf, data.log.time[np.maximum(row, 0)])
        if late is not None:
            user = np.concatenate([user, late.user[late.clicked]])
            item = np.concatenate([item, late.item[late.clicked]])
            time = np.concatenate([time, late.time[late.clicked]])
        order = np.lexsort((time, user))  # which keeps the order among equals
        return Chosen(user[order].astype(np.int64), item[order].astype(np.int64), time[order])

    @property
    def last(self) -> np.ndarray:
        """(n,) bool: the last choice of its user."""
        return np.append(self.user[1:] != self.user[:-1], True)[: len(self.user)]

    def before(self, user: np.ndarray, time: np.ndarray) -> np.ndarray:
        """(rows,) how many choices stand before all that the user chose at `time` or later; rows
        of one page know nothing of each other.
        """
        times = np.unique(np.concatenate([self.time, time]))
        at, rows = np.searchsorted(times, self.time), np.searchsorted(times, time)
        return np.searchsorted(
            self.user * len(times) + at, user.astype(np.int64) * len(times) + rows, side="left"
        )

    def latest(self, user: np.ndarray, end: np.ndarray) -> np.ndarray:
        """(rows, LAST) int32 what the users chose last of the first `end` choices, the latest
        first, 0 where there is less.
        """
        items = np.zeros((len(user), LAST), np.int32)
        if not len(self.user):
            return items
        for m in range(LAST):
            place = np.maximum(end - 1 - m, 0)
            own = (end - 1 - m >= 0) & (self.user[place] == user)
            items[:, m] = np.where(own, self.item[place], 0)
        return items

    def latest_of_all(self, n_users: int) -> np.ndarray:
        """(U, LAST) at the end of the log."""
        everyone = np.arange(n_users)
        return self.latest(everyone, np.searchsorted(self.user, everyone, side="right"))


def chosen_before(data: Dataset) -> np.ndarray:
    """(rows, LAST) what the user of each row of the log chose before its page."""
    chosen = Chosen.of(data)
    return chosen.latest(data.log.user, chosen.before(data.log.user, data.log.time))


def near_vectors(taste: Taste, before: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(N + 1, D) float32 vectors of the items, whose closeness to what was chosen last has a
    standard deviation of 1 over random items.

    Args:
        before: (n, LAST) what was chosen last, of some users at some times.
    """
    vectors = directions(taste)
    before = before[before[:, 0] > 0]
    if not vectors.any() or not len(before):
        return np.zeros_like(vectors)
    some = before[rng.integers(0, len(before), PAIRS)]
    items = rng.integers(1, len(vectors), PAIRS)
    sd = float(closeness(vectors, some, items[:, None]).std())
    near: np.ndarray = vectors / np.float32(sd**0.5) if sd > 1e-12 else np.zeros_like(vectors)
    return near


def closeness(near: np.ndarray, before: np.ndarray, items: np.ndarray) -> np.ndarray:
    """(n, K) of items (n, K) to what was chosen before (n, LAST): the mean inner product."""
    count = np.maximum((before > 0).sum(axis=1), 1)
    middle = near[before].sum(axis=1) / count[:, None]
    close: np.ndarray = np.einsum("nd,nkd->nk", middle, near[items])
    return close
