"""Taste: who would choose what beyond levels, from what was chosen. Weighted matrix factorisation
of low rank.

Hu, Koren and Volinsky (ICDM 2008), by the library `implicit`. It is never a transformer: a
simulator must not be a contender in disguise. A taste that was fitted on a choice knows that
choice; whatever is learned about how taste works is therefore learned from rows that the taste has
not seen (`cross_fits`).
"""

from dataclasses import dataclass
from functools import partial

import numpy as np
import scipy.sparse as sp
from threadpoolctl import threadpool_limits

from policies.common.factorisation import AlternatingLeastSquares
from policies.common.threads import side_by_side
from policies.log import Dataset
from simulator.fitting.examination import pair_codes

FOLDS = 4


@dataclass(frozen=True)
class TasteSettings:
    """How the factors are fitted.

    Attributes:
        width: D. penalty: ridge on every user's and item's vector, so that those with few choices
            stay near 0.
        confidence: weight of a choice above that of a pair that was not chosen.
        sweeps: of alternating least squares.
    """

    width: int = 16
    penalty: float = 20.0
    confidence: float = 10.0
    sweeps: int = 10


@dataclass(frozen=True)
class Taste:
    """(U, D) and (N + 1, D) float32; row 0 of the items is 0."""

    user: np.ndarray
    item: np.ndarray

    def scaled(self, by: float) -> "Taste":
        """With all scores times this."""
        return Taste(self.user * np.float32(by), self.item)

    def score(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        """Of the pairs (users, items), any shape."""
        scores: np.ndarray = np.einsum("...d,...d->...", self.user[users], self.item[items])
        return scores


def choices(data: Dataset) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Users and items of what was chosen, before the log and in it, and the row of the log (-1:
    before it).
    """
    row = np.flatnonzero(data.log.clicked)
    past = data.history.clicked
    user = np.concatenate([data.history.user[past], data.log.user[row]])
    item = np.concatenate([data.history.item[past], data.log.item[row]])
    return user, item, np.concatenate([np.full(int(past.sum()), -1), row])


def fit_taste(
    user: np.ndarray,
    item: np.ndarray,
    n_users: int,
    n_items: int,
    seed: int,
    s: TasteSettings | None = None,
) -> Taste:
    """Factors of the choices (user, item); repeats count once."""
    s = s if s is not None else TasteSettings()
    if not len(user):
        return Taste(
            np.zeros((n_users, s.width), np.float32), np.zeros((n_items + 1, s.width), np.float32)
        )
    chosen = sp.csr_matrix(
        (np.ones(len(user), np.float32), (user, item)), shape=(n_users, n_items + 1)
    )
    chosen.data[:] = 1.0
    with threadpool_limits(1, "blas"):  # sums depend on how many there are
        model = AlternatingLeastSquares(
            factors=s.width,
            regularization=s.penalty,
            alpha=s.confidence,
            iterations=s.sweeps,
            num_threads=1,
            random_state=seed,
            use_gpu=False,
        )
        model.fit(chosen, show_progress=False)
    of_users, of_items = np.array(model.user_factors), np.array(model.item_factors)
    # What all items have in common is a level of the user, and no taste.
    of_items[1:] -= of_items[1:].mean(axis=0)
    of_items[0] = 0
    return Taste(_own(of_users, of_items[1:], of_users[np.unique(user)].mean(axis=0)), of_items)


def _own(users: np.ndarray, items: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """(U, D) without what each user shares with the mean profile of all: that is the level of the
    items.

    As much is taken off as the user has of it. The whole of it would leave those who chose little,
    whose vectors are near 0, with a dislike of what is popular.
    """
    spread = items.T @ items
    size = float(mean @ spread @ mean)
    return users - np.outer(users @ spread @ mean / size, mean) if size > 0 else users


def full_taste(data: Dataset, seed: int, s: TasteSettings | None = None) -> Taste:
    """The taste by all choices."""
    user, item, _ = choices(data)
    return fit_taste(user, item, data.n_users, data.catalogue.size, seed, s)


def directions(taste: Taste) -> np.ndarray:
    """(N + 1, D) directions of the items' vectors, shrunk where their length is small: few choices
    tell little of where an item belongs.
    """
    vectors = taste.item.astype(np.float64)
    length = np.linalg.norm(vectors, axis=1)
    there = length[1:] > 0
    if not there.any():
        return np.zeros_like(taste.item)
    vectors /= (length + np.median(length[1:][there]))[:, None]
    vectors[1:] -= vectors[1:].mean(axis=0)  # what all have in common is no direction
    return vectors.astype(np.float32)


def profile(taste: Taste, user: np.ndarray, item: np.ndarray) -> Taste:
    """Users as the mean direction of what they chose (user, item): a taste that knows no strength,
    which factors of few choices take for weakness.
    """
    near, n_users = directions(taste), len(taste.user)
    chosen = sp.csr_matrix(
        (np.ones(len(user), np.float32), (user, item)), shape=(n_users, len(near))
    )
    count = np.bincount(user, minlength=n_users)
    users = chosen @ near / np.maximum(count, 1)[:, None]
    if not count.any():
        return Taste(users.astype(np.float32), near)
    return Taste(_own(users, near[1:], users[count > 0].mean(axis=0)).astype(np.float32), near)


@dataclass(frozen=True)
class CrossFits:
    """Fits of taste that have not seen some rows of the log.

    Attributes:
        user, item: of the choices. fold: (rows,) of each row. kept: masks of the choices that the
            fit of each fold saw. tastes: these fits.
    """

    user: np.ndarray
    item: np.ndarray
    fold: np.ndarray
    kept: list[np.ndarray]
    tastes: list[Taste]

    def profiles(self) -> list[Taste]:
        """Profiles by the choices that the fits saw."""
        return [
            profile(taste, self.user[kept], self.item[kept])
            for taste, kept in zip(self.tastes, self.kept, strict=True)
        ]

    def scores(self, data: Dataset, fits: list[Taste]) -> np.ndarray:
        """(rows,) score of each row by the fit of its fold."""
        scores = np.zeros(len(data.log))
        for k, taste in enumerate(fits):
            here = self.fold == k
            scores[here] = taste.score(data.log.user[here], data.log.item[here])
        return scores


def cross_fits(
    data: Dataset, rng: np.random.Generator, s: TasteSettings | None = None, pairs: bool = False
) -> CrossFits:
    """A fit for each fold of the log's rows that has not seen them.

    Args:
        pairs: all rows of a user and an item are in one fold: no answer to the pair was seen.
    """
    if pairs:
        pair = pair_codes(data.log, data.catalogue.size)
        fold = rng.integers(0, FOLDS, int(pair.max(initial=-1)) + 1)[pair]
    else:
        fold = rng.integers(0, FOLDS, len(data.log))
    user, item, row = choices(data)
    kept = [(row < 0) | (fold[row] != k) for k in range(FOLDS)]
    return CrossFits(user, item, fold, kept, _fitted_on(data, user, item, kept, rng, s))


def _fitted_on(
    data: Dataset,
    user: np.ndarray,
    item: np.ndarray,
    parts: list[np.ndarray],
    rng: np.random.Generator,
    s: TasteSettings | None,
) -> list[Taste]:
    """A fit for each part of the choices, a mask each."""
    sizes = data.n_users, data.catalogue.size
    seeds = [int(rng.integers(2**31)) for _ in parts]
    # Here for all threads: each would give back what it found when it began.
    with threadpool_limits(1, "blas"):
        return side_by_side(
            [
                partial(fit_taste, user[kept], item[kept], *sizes, seed, s)
                for kept, seed in zip(parts, seeds, strict=True)
            ]
        )


def unit_of(taste: Taste, rng: np.random.Generator) -> float:
    """What scores are multiplied by to have a standard deviation of 1 over random pairs; 0 where
    they do not differ.
    """
    user = rng.integers(0, len(taste.user), 20_000)
    item = rng.integers(1, len(taste.item), 20_000)
    sd = float(taste.score(user, item).std())
    return 1 / sd if sd > 1e-12 else 0.0


def reliabilities(
    data: Dataset, rng: np.random.Generator, s: TasteSettings | None = None
) -> tuple[float, float]:
    """Share of the variance of the fitted taste, and of the profile, over random pairs, that
    another log of the same users would find again.

    By halves: the correlation of two fits on disjoint choices, user and item means taken off,
    stepped up to the whole (Spearman, 1910; Brown, 1910).
    """
    user, item, _ = choices(data)
    # a repeat in both halves would tell them alike
    user, item = np.unique(np.column_stack([user, item]), axis=0).T
    half = rng.random(len(user)) < 0.5
    some = rng.permutation(np.unique(user))[:500]
    items = rng.permutation(np.unique(item))[:5000]
    tables: list[list[np.ndarray]] = [[], []]
    for part, taste in zip((half, ~half), _fitted_on(data, user, item, [half, ~half], rng, s)):
        for i, fitted in enumerate((taste, profile(taste, user[part], item[part]))):
            table = fitted.user[some] @ fitted.item[items].T
            table += table.mean() - table.mean(0) - table.mean(1, keepdims=True)
            tables[i].append(table.ravel())
    factors, profiles = (stepped_up(*pair) for pair in tables)
    return factors, profiles


def likeness(vectors: np.ndarray) -> np.ndarray:
    """(n,) inner products of the first few vectors with all others."""
    first = min(len(vectors), 500)
    products: np.ndarray = (vectors[:first] @ vectors.T)[~np.eye(len(vectors), dtype=bool)[:first]]
    return products


def stepped_up(one: np.ndarray, other: np.ndarray) -> float:
    """Reliability of the whole by two halves."""
    if one.std() < 1e-9 or other.std() < 1e-9:
        return 0.0
    r = float(np.clip(np.corrcoef(one, other)[0, 1], 0.0, 1.0))
    return 2 * r / (1 + r)
