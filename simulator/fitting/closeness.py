"""How close items are to what a user chose last: what moves a feed along, and what models of
sequences live on.

By the vectors of the items' taste (`simulator/fitting/factors.py`), of low rank: a simulator must
not be a contender in disguise.
"""

from dataclasses import dataclass

import numpy as np

from policies.log import Dataset, Impressions
from simulator.fitting.factors import Taste, choices, directions
from simulator.users.state import FADES, LAST

PAIRS = 20_000
MISSED_WIDTH = 8  # dimensions of the closeness that the log leaves open
LEAST_RELIABLE = 0.05


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
        time = np.full(len(row), -np.inf)
        time[row >= 0] = data.log.time[row[row >= 0]]
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
    return _in_own_units(directions(taste), before, rng)


def _in_own_units(vectors: np.ndarray, before: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    before = before[before[:, 0] > 0]
    if not vectors.any() or not len(before):
        return np.zeros_like(vectors)
    some = before[rng.integers(0, len(before), PAIRS)]
    items = rng.integers(1, len(vectors), PAIRS)
    sd = float(closeness(vectors, some, items[:, None]).std())
    near: np.ndarray = vectors / np.float32(sd**0.5) if sd > 1e-12 else np.zeros_like(vectors)
    return near


def together(
    one: np.ndarray, other: np.ndarray, share: float, before: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """(N + 1, D + E) vectors whose closeness is the weighted mean of two, in units of its own
    spread.

    Args:
        share: of the second. before: as for `near_vectors`.
    """
    roots = np.float32((1 - share) ** 0.5), np.float32(share**0.5)
    both = np.concatenate([roots[0] * one, roots[1] * other], axis=1)
    return _in_own_units(both, before, rng)


def with_missed(
    near: np.ndarray, before: np.ndarray, reliability: float, rng: np.random.Generator
) -> np.ndarray:
    """(N + 1, D + MISSED_WIDTH) vectors with what another log would tell otherwise drawn anew: as
    large, over random items, as the reliability of the fitted closeness says.

    Args:
        before: as for `near_vectors`.
    """
    missed = max(1 / max(reliability, LEAST_RELIABLE) - 1, 0.0) ** 0.5
    drawn = rng.normal(size=(len(near), MISSED_WIDTH)).astype(np.float32)
    drawn[0] = 0
    before = before[before[:, 0] > 0]
    if not missed or not near.any() or not len(before):
        return near
    some = before[rng.integers(0, len(before), PAIRS)]
    items = rng.integers(1, len(near), PAIRS)
    sd = float(closeness(drawn, some, items[:, None]).std())
    more = drawn * np.float32((missed / sd) ** 0.5)
    return np.concatenate([near, more], axis=1)


def closeness(near: np.ndarray, before: np.ndarray, items: np.ndarray) -> np.ndarray:
    """(n, K) of items (n, K) to what was chosen before (n, LAST), the latest first: the mean inner
    product, each choice weighing `FADES` times the one after it.
    """
    weight = (before > 0) * FADES ** np.arange(before.shape[1])
    total = np.maximum(weight.sum(axis=1, keepdims=True), 1e-12)
    middle = np.einsum("nm,nmd->nd", (weight / total).astype(np.float32), near[before])
    close: np.ndarray = np.einsum("nd,nkd->nk", middle, near[items])
    return close
