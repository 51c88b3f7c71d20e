"""Neighbours of what the user clicked last: cosine between items over TF-IDF weighted users."""

from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal

import numpy as np
from scipy import sparse

from policies.base import Requests, Slates, bounded
from policies.baselines.click_matrix import added, as_arrays, from_arrays, none_yet
from policies.catalogue import Catalogue
from policies.draws import Draws
from policies.log import Impressions
from policies.ranking import first_allowed, mask_scores, top_k

DENSE = 20_000  # items up to which all have a score


@dataclass
class ItemKNN:
    """Item-item nearest neighbours (Deshpande and Karypis, 2004), re-counted at every update.

    A click counts `decay` times as much as the next one. Popularity, scaled to stay below every
    neighbour's score, breaks ties and serves users without a history.
    """

    neighbours: int = bounded(100, ge=1, le=1_000_000)
    decay: float = bounded(0.9, gt=0, le=1)
    deterministic: ClassVar[bool] = True  # of what `fit` learns
    history_length: int = 30
    history_of: Literal["impressions", "clicks"] = "clicks"
    _clicks: sparse.csr_matrix | None = field(default=None, repr=False)
    _similar: sparse.csr_matrix | None = field(default=None, repr=False)
    _prior: np.ndarray = field(default_factory=lambda: np.zeros(0), repr=False)
    _ranked: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int32), repr=False)

    def fit(self, log: Impressions, catalogue: Catalogue, rng: np.random.Generator) -> None:
        self._clicks = none_yet(catalogue.size)
        self.update(log, catalogue, rng)

    def update(self, log: Impressions, catalogue: Catalogue, rng: np.random.Generator) -> None:
        if self._clicks is None:
            raise RuntimeError("fit comes before update")
        self._clicks = added(self._clicks, log)
        self._compare()

    def _compare(self) -> None:
        if self._clicks is None:
            raise RuntimeError("fit comes before this")
        self._similar = _neighbours(self._clicks, self.neighbours)
        self._rank()

    def _rank(self) -> None:
        """By popularity, for whoever has no neighbours."""
        assert self._clicks is not None
        counts = np.asarray(self._clicks.sum(axis=0)).ravel()
        self._prior = (1e-6 * counts / max(counts.max(), 1.0)).astype(np.float32)
        ranked = np.argsort(-self._prior, kind="stable").astype(np.int32)
        self._ranked = ranked[ranked > 0]

    def recommend(self, requests: Requests, slate_size: int, draws: Draws) -> Slates:
        if self._similar is None:
            raise RuntimeError("fit comes before recommend")
        clicked = (requests.feedback > 0) & (requests.items > 0)
        near = self.near(np.where(clicked, requests.items, 0))
        slates = (
            self._dense(near, requests, slate_size)
            if near.shape[1] <= DENSE
            else self._sparse(near, requests, slate_size)
        )
        return Slates(slates, np.ones(slates.shape, np.float32))

    def near(self, clicks: np.ndarray) -> sparse.csr_matrix:
        """(B, N + 1) float32: how near each item is to clicks (B, L), oldest first, 0 for none."""
        if self._similar is None:
            raise RuntimeError("fit comes before this")
        n, length = clicks.shape
        weight = np.where(
            clicks > 0, np.float32(self.decay) ** np.arange(length - 1, -1, -1), 0
        ).astype(np.float32)
        user = np.repeat(np.arange(n), length)
        recent = sparse.csr_matrix(
            (weight.ravel(), (user, clicks.ravel())), shape=(n, self._similar.shape[0])
        )
        return (recent @ self._similar).tocsr()

    def _dense(self, near: sparse.csr_matrix, requests: Requests, k: int) -> np.ndarray:
        """(B, k): every item of a small catalogue has a score."""
        return top_k(mask_scores(near.toarray() + self._prior, requests), k)

    def _sparse(self, near: sparse.csr_matrix, requests: Requests, k: int) -> np.ndarray:
        """(B, k), the same without an array of users by items: neighbours first, by their scores,
        then what is popular.
        """
        n, width = len(requests), requests.exclude.shape[1]
        near.data = near.data + self._prior[near.indices]
        near.data[~requests.available[near.indices]] = 0
        row, item = best_of_rows(near, k + width)
        kept = ~(requests.exclude[row] == item[:, None]).any(axis=1)
        row, item = row[kept], item[kept]
        rank = np.arange(len(row)) - np.searchsorted(row, row)
        row, item, rank = row[rank < k], item[rank < k], rank[rank < k]
        slates = np.zeros((n, k), np.int32)
        slates[row, rank] = item
        short = np.flatnonzero(slates[:, -1] == 0)
        if len(short):
            others = requests.rows(short)
            there = slates[short]
            others = replace(others, exclude=np.concatenate([others.exclude, there], axis=1))
            ranked = self._ranked[requests.available[self._ranked]]
            popular, have = first_allowed(ranked, others, k), (there > 0).sum(axis=1)
            place = np.arange(k) - have[:, None]
            filled = np.take_along_axis(popular, np.maximum(place, 0), axis=1)
            slates[short] = np.where(place >= 0, filled, there)
        return slates

    def state(self) -> dict[str, np.ndarray]:
        """The clicks, and the neighbours, which took the time."""
        if self._clicks is None or self._similar is None:
            return {}
        near = {f"near.{name}": value for name, value in as_arrays(self._similar).items()}
        return as_arrays(self._clicks) | near

    def restore(self, state: dict[str, np.ndarray]) -> None:
        self._clicks = from_arrays(state)
        near = {name[5:]: value for name, value in state.items() if name.startswith("near.")}
        self._similar = from_arrays(near)
        self._rank()


def _neighbours(clicks: sparse.csr_matrix, most: int) -> sparse.csr_matrix:
    """(N + 1, N + 1) float32: for each item its `most` nearest others, by cosine over TF-IDF
    weighted users.
    """
    from policies.baselines.neighbours import nearest  # numba takes most of a second

    n_items = clicks.shape[1]
    weighted = clicks.astype(np.float64)
    weighted.data = np.log1p(weighted.data)
    active = np.maximum(np.diff(weighted.indptr), 1)
    # users who click everything say little
    weighted = sparse.diags(np.log((n_items + 1) / active)) @ weighted
    length = np.sqrt(np.asarray(weighted.multiply(weighted).sum(axis=0)).ravel())
    return nearest(weighted @ sparse.diags(1 / np.maximum(length, 1e-12)), most)


def best_of_rows(scores: sparse.csr_matrix, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Row and column of the k largest positive entries of each row, best first; ties go to the
    lower column.
    """
    row = np.repeat(np.arange(scores.shape[0]), np.diff(scores.indptr))
    there = scores.data > 0
    row, column, value = row[there], scores.indices[there], scores.data[there]
    order = np.lexsort((column, -value, row))
    row, column = row[order], column[order]
    rank = np.arange(len(row)) - np.searchsorted(row, row)
    return row[rank < k], column[rank < k]
