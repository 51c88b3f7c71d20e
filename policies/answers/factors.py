"""Taste that only answers tell: a vector for each user and item, learned round by round.

    logit = everything else + user' item

A normal prior on both; the spread of the users' is what the rows tell of it: variational Bayes (Lim
and Teh, KDD Cup 2007), with variances along the axes alone, each half a ridge regression by the
bound of Jaakkola and Jordan (2000). Where people have no such taste the spread goes to 0 and
nothing is added. What was learned is the prior of the rows that come next.
"""

from dataclasses import dataclass, field

import numpy as np

from policies.answers.rows import Rows

WIDTH = 8
FIRST_SD = 0.3  # of a user's vector
LEAST_SD = 0.01
START = 0.3  # of items' vectors, where each rotation is as good as another
SWEEPS = 12


@dataclass
class Factors:
    """See the module.

    Attributes:
        users, items: (U, K), (N + 1, K) means. user_precision, item_precision: of the same shapes.
        sd: of a user's vector before any row of it.
        met: whether any rows were learned from.
    """

    users: np.ndarray
    items: np.ndarray
    user_precision: np.ndarray
    item_precision: np.ndarray
    sd: float = FIRST_SD
    met: bool = field(default=False)

    @staticmethod
    def begin(n_items: int, rng: np.random.Generator) -> "Factors":
        """Of nobody yet."""
        items = START * rng.normal(size=(n_items + 1, WIDTH))
        items[0] = 0.0
        nobody = np.zeros((0, WIDTH))
        return Factors(nobody, items, nobody.copy(), np.ones_like(items))

    def update(self, rows: Rows, answer: np.ndarray, offset: np.ndarray) -> None:
        """Learns from rows.

        Args:
            answer: (n,) 0 or 1. offset: (n,) logits of everything else.
        """
        from policies.answers.loops import half_step  # numba takes most of a second

        if not len(rows):
            return
        self._grow(int(rows.user.max()) + 1)
        there = np.unique(rows.user)
        by_user, by_item = (
            _grouped(rows.user, len(self.users)),
            _grouped(rows.item, len(self.items)),
        )
        users, items = self.users.copy(), self.items.copy()
        # Before any row the items' vectors stand for directions alone: their prior is around 0.
        prior = self.items if self.met else np.zeros_like(self.items)
        of_users, of_items = self.user_precision.copy(), self.item_precision.copy()
        user_told, item_told = of_users, of_items
        for sweep in range(SWEEPS):
            known = 1 / item_told if self.met or sweep > 1 else np.zeros_like(item_told)
            user_told = half_step(
                *by_user,
                rows.item,
                items,
                known,
                offset,
                answer,
                rows.weight,
                users,
                self.users,
                of_users,
            )
            if not self.met:
                spread = float(np.mean(users[there] ** 2 + 1 / user_told[there])) ** 0.5
                self.sd = max(spread, LEAST_SD)
                of_users[:] = self.sd**-2
            item_told = half_step(
                *by_item,
                rows.user,
                users,
                1 / user_told,
                offset,
                answer,
                rows.weight,
                items,
                prior,
                of_items,
            )
        self.users, self.user_precision = users, user_told
        self.items, self.item_precision = items, item_told
        self.met = True

    def _grow(self, n: int) -> None:
        more = n - len(self.users)
        if more > 0:
            self.users = np.concatenate([self.users, np.zeros((more, WIDTH))])
            fresh = np.full((more, WIDTH), self.sd**-2)
            self.user_precision = np.concatenate([self.user_precision, fresh])

    def of_users(self, users: np.ndarray) -> np.ndarray:
        """(B, K) vectors of these users, 0 of those that nobody knows."""
        out = np.zeros((len(users), WIDTH))
        if self.met:
            known = users < len(self.users)
            out[known] = self.users[users[known]]
        return out

    def logit(self, rows: Rows) -> np.ndarray:
        """(n,) of these rows."""
        total: np.ndarray = (self.of_users(rows.user) * self.items[rows.item]).sum(axis=1)
        return total

    def state(self) -> dict[str, np.ndarray]:
        return {
            "users": self.users,
            "items": self.items,
            "user_precision": self.user_precision,
            "item_precision": self.item_precision,
            "about": np.array([self.sd, float(self.met)]),
        }

    @staticmethod
    def from_state(state: dict[str, np.ndarray]) -> "Factors":
        arrays = {
            name: np.array(state[name])
            for name in ("users", "items", "user_precision", "item_precision")
        }
        return Factors(**arrays, sd=float(state["about"][0]), met=bool(state["about"][1]))


def _grouped(entity: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows in the order of their entity, and (n + 1,) where each one's begin."""
    order = np.argsort(entity, kind="stable")
    return order, np.searchsorted(entity[order], np.arange(n + 1))
