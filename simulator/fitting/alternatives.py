"""Other user models: what appeals to whom by similar users' choices, or by trees on what is known
of users and items.

Alternatives to the factors of `simulator/fitting/factors.py`, for the question whether a verdict
stands when the users are of another make. Each scores every pair of a user and an item; levels and
slopes are then fitted as they are for factors, on scores of rows that the scorer has not seen.
"""

from typing import Protocol

import numpy as np
import scipy.sparse as sp
from scipy.special import logit
from sklearn.ensemble import HistGradientBoostingClassifier

from policies.common.errors import InputError
from policies.log import Dataset
from simulator.fitting.factors import FOLDS, choices

KINDS = ("factors", "shrunk", "neighbours", "trees")
OF_FACTORS = ("factors", "shrunk")  # both with factors as their taste
MATRIX_FILLED = 0.9  # share of all pairs from which on a log is a matrix that can be replayed
MATRIX_SHARE = 0.1  # of its pairs that policies may learn from
SURE = 0.02  # chance that a replayed answer comes out the other way
NEIGHBOURS, SHRINK = 50, 20.0
USERS_AT_ONCE = 50
# users times items: half a gigabyte, some minutes
MOST_PAIRS = {"neighbours": 400_000_000, "trees": 60_000_000}


class PairScorer(Protocol):
    """How well an item suits a user, in units of its own."""

    def table(self, users: np.ndarray) -> np.ndarray:
        """(len(users), N + 1) float32."""
        ...


class Neighbours:
    """Cosine of items by who chose both (shrunk, the best `NEIGHBOURS` of each item), summed over a
    user's choices.

    Args:
        user, item: of the choices.
    """

    def __init__(self, user: np.ndarray, item: np.ndarray, n_users: int, n_items: int):
        chosen = sp.csr_matrix(
            (np.ones(len(user), np.float32), (user, item)), shape=(n_users, n_items + 1)
        )
        chosen.data[:] = 1.0
        scale = sp.diags(1 / np.sqrt(np.asarray(chosen.sum(axis=0)).ravel() + SHRINK))
        near = (scale @ (chosen.T @ chosen) @ scale).tocsr()
        near.setdiag(0)
        self._near = _best_of_each(near, NEIGHBOURS)
        self._chosen = sp.diags(1 / np.sqrt(np.asarray(chosen.sum(axis=1)).ravel() + 1)) @ chosen

    def table(self, users: np.ndarray) -> np.ndarray:
        """(len(users), N + 1) float32."""
        scores: np.ndarray = (self._chosen[users] @ self._near).toarray().astype(np.float32)
        return scores


def _best_of_each(near: sp.csr_matrix, k: int) -> sp.csr_matrix:
    """The k largest entries of each column, which an item gets its score from."""
    columns = near.tocsc()
    kept = np.zeros(columns.nnz, bool)
    for begin, end in zip(columns.indptr[:-1], columns.indptr[1:], strict=True):
        part = columns.data[begin:end]
        best = np.argpartition(-part, k)[:k] if len(part) > k else np.arange(len(part))
        kept[begin + best] = True
    columns.data[~kept] = 0
    columns.eliminate_zeros()
    return columns.tocsr()


class _Facts:
    """What is known of users and items from some rows of a log and all choices before it.

    Args:
        rows: of the log.
    """

    def __init__(self, data: Dataset, rows: np.ndarray):
        log, past = data.log.rows(rows), data.history
        self.category = data.catalogue.category.astype(np.int64)
        n_users, n_items, n = data.n_users, data.catalogue.size + 1, int(self.category.max()) + 1
        rate = log.clicked.mean() if len(log) else 0.5

        def rates(index: np.ndarray, size: int) -> np.ndarray:
            clicks = np.bincount(index, log.clicked, minlength=size)
            return (clicks + 5 * rate) / (np.bincount(index, minlength=size) + 5)

        user = np.concatenate([past.user, log.user[log.clicked]]).astype(np.int64)
        item = np.concatenate([past.item, log.item[log.clicked]])
        length = np.log(np.where(data.catalogue.duration > 0, data.catalogue.duration, np.nan))
        self.length = np.where(
            np.isfinite(length), length, np.nanmedian(length) if np.isfinite(length).any() else 0.0
        )
        own = np.bincount(user * n + self.category[item], minlength=n_users * n).reshape(n_users, n)
        total = own.sum(axis=1, keepdims=True)
        share = np.bincount(self.category[item], minlength=n) / max(len(item), 1)
        self.affinity = np.log((own + 5 * share + 1e-3) / (total + 5)) - np.log(share + 1e-3)
        chosen = np.bincount(user, minlength=n_users)
        self.of_user = np.column_stack(
            [
                rates(log.user, n_users),
                np.log1p(chosen),
                np.bincount(user, self.length[item], n_users) / np.maximum(chosen, 1),
            ]
        )
        self.of_item = np.column_stack(
            [
                rates(log.item, n_items),
                np.log1p(np.bincount(log.item, minlength=n_items)),
                np.log1p(np.bincount(item, minlength=n_items)),
                self.length,
            ]
        )

    def features(self, user: np.ndarray, item: np.ndarray) -> np.ndarray:
        """(pairs, features) float32."""
        of_user, of_item = self.of_user[user], self.of_item[item]
        gap = np.abs(of_user[:, 2] - of_item[:, 3])[:, None]
        affinity = self.affinity[user, self.category[item]][:, None]
        return np.concatenate([of_user, of_item, gap, affinity], axis=1).astype(np.float32)


class Trees:
    """Gradient-boosted trees of clicks among what was shown, on facts about users, items and both
    together.

    Args:
        learned: rows of the log that the trees are grown on, with the facts of the other rows: a
            user's click rate that counted the row itself would give the answer away.
    """

    def __init__(self, data: Dataset, rng: np.random.Generator, learned: np.ndarray | None = None):
        rows = np.arange(len(data.log)) if learned is None else learned
        half = rng.random(len(rows)) < 0.5
        parts = [(rows[half], rows[~half]), (rows[~half], rows[half])]
        x = [
            _Facts(data, known).features(data.log.user[grown], data.log.item[grown])
            for grown, known in parts
        ]
        y = np.concatenate([data.log.clicked[grown] for grown, _ in parts])
        self._model = HistGradientBoostingClassifier(
            max_iter=100, learning_rate=0.1, max_leaf_nodes=15, random_state=0
        )
        self._model.fit(np.concatenate(x), y)
        self._facts = _Facts(data, rows)
        self._items = np.arange(data.catalogue.size + 1)

    def score(self, user: np.ndarray, item: np.ndarray) -> np.ndarray:
        """(pairs,) logits."""
        logits: np.ndarray = self._model.decision_function(self._facts.features(user, item))
        return logits

    def table(self, users: np.ndarray) -> np.ndarray:
        """(len(users), N + 1) float32."""
        n, parts = len(self._items), []
        for begin in range(0, len(users), USERS_AT_ONCE):
            some = users[begin : begin + USERS_AT_ONCE]
            pairs = self.score(np.repeat(some, n), np.tile(self._items, len(some)))
            parts.append(pairs.reshape(len(some), n).astype(np.float32))
        return np.concatenate(parts)


def make_scorer(
    data: Dataset, kind: str, rng: np.random.Generator, rows: np.ndarray | None = None
) -> PairScorer:
    """A scorer of this kind by these rows of the log (None: all) and what was chosen before it."""
    if kind == "trees":
        return Trees(data, rng, rows)
    user, item, row = choices(data)
    kept = np.ones(len(user), bool) if rows is None else (row < 0) | np.isin(row, rows)
    return Neighbours(user[kept], item[kept], data.n_users, data.catalogue.size)


def check_size(data: Dataset, kind: str) -> None:
    """Raises InputError where a table of all pairs would be too large."""
    if kind != "factors" and "skips" not in data.has:
        raise InputError(
            f"--user-model {kind} learns from what was skipped, and the log '{data.name}' has no"
            " skips; use factors"
        )
    if kind == "matrix" and (filled := observed_share(data)) < MATRIX_FILLED:
        raise InputError(
            f"--user-model matrix replays a log that holds at least {100 * MATRIX_FILLED:g} % of"
            f" all pairs of users and items; '{data.name}' holds {100 * filled:.2g} %: use factors"
        )
    pairs = data.n_users * data.catalogue.size
    if pairs > MOST_PAIRS.get(kind, pairs):
        raise InputError(
            f"--user-model {kind} holds every pair of {data.n_users} users and"
            f" {data.catalogue.size} items, {pairs / 1e6:.0f} million; wanted at most"
            f" {MOST_PAIRS[kind] / 1e6:.0f}: use factors, or let fewer users take part"
        )


def observed_share(data: Dataset) -> float:
    """Share of all pairs of a user and an item that the log holds."""
    if "skips" not in data.has:
        return 0.0
    pairs = data.log.user.astype(np.int64) * (data.catalogue.size + 1) + data.log.item
    return len(np.unique(pairs)) / (data.n_users * data.catalogue.size)


def matrix_table(data: Dataset) -> np.ndarray:
    """(U, N + 1) float16 logit of a click: the log's answer to each pair; by user and item rates
    where it has none.
    """
    log, shape = data.log, (data.n_users, data.catalogue.size + 1)
    shown, clicked = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    np.add.at(shown, (log.user, log.item), 1)
    np.add.at(clicked, (log.user, log.item), log.clicked)
    rate = np.clip(clicked.sum() / shown.sum(), SURE, 1 - SURE)
    sides = [
        logit(
            (clicked.sum(axis=a, keepdims=True) + 5 * rate) / (shown.sum(axis=a, keepdims=True) + 5)
        )
        for a in (0, 1)
    ]
    answer = logit(np.clip(clicked / np.maximum(shown, 1), SURE, 1 - SURE))
    table: np.ndarray = np.where(shown > 0, answer, sides[0] + sides[1] - logit(rate)).astype(
        np.float16
    )
    table[:, 0] = 0
    return table


def scores_of(
    scorer: PairScorer, user: np.ndarray, item: np.ndarray, block: int = 1000
) -> np.ndarray:
    """(pairs,) of these pairs, users in blocks."""
    if isinstance(scorer, Trees):
        return scorer.score(user, item)
    scores = np.zeros(len(user))
    everyone, place = np.unique(user, return_inverse=True)
    for begin in range(0, len(everyone), block):
        table = scorer.table(everyone[begin : begin + block])
        here = (place >= begin) & (place < begin + block)
        scores[here] = table[place[here] - begin, item[here]]
    return scores


def cross_scored(data: Dataset, kind: str, rng: np.random.Generator) -> np.ndarray:
    """(rows,) score of each row by a scorer that has not seen it, nor the other rows of
    its fold.
    """
    fold = rng.integers(0, FOLDS, len(data.log))
    scores = np.zeros(len(data.log))
    for k in range(FOLDS):
        scorer = make_scorer(data, kind, rng, np.flatnonzero(fold != k))
        here = fold == k
        scores[here] = scores_of(scorer, data.log.user[here], data.log.item[here])
    return scores


def full_table(scorer: PairScorer, n_users: int, block: int = 1000) -> np.ndarray:
    """(U, N + 1) float16 of all pairs; column 0 is 0."""
    parts = [
        scorer.table(np.arange(begin, min(begin + block, n_users))).astype(np.float16)
        for begin in range(0, n_users, block)
    ]
    table: np.ndarray = np.concatenate(parts)
    table[:, 0] = 0
    return table
