"""Neighbours of what the user clicked last: cosine between items over TF-IDF weighted users."""

from dataclasses import dataclass, field
from typing import ClassVar, Literal

import numpy as np
from scipy import sparse

from policies.base import Requests, Slates, bounded
from policies.baselines.click_matrix import added, as_arrays, from_arrays, none_yet
from policies.catalogue import Catalogue
from policies.draws import Draws
from policies.log import Impressions
from policies.ranking import mask_scores, top_k


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
        counts = np.asarray(self._clicks.sum(axis=0)).ravel()
        self._prior = (1e-6 * counts / max(counts.max(), 1.0)).astype(np.float32)

    def recommend(self, requests: Requests, slate_size: int, draws: Draws) -> Slates:
        if self._similar is None:
            raise RuntimeError("fit comes before recommend")
        n, length = requests.items.shape
        clicked = (requests.feedback > 0) & (requests.items > 0)
        weight = np.where(
            clicked, np.float32(self.decay) ** np.arange(length - 1, -1, -1), 0
        ).astype(np.float32)
        user = np.repeat(np.arange(n), length)
        recent = sparse.csr_matrix(
            (weight.ravel(), (user, requests.items.ravel())), shape=(n, len(requests.available))
        )
        scores = (recent @ self._similar).toarray() + self._prior
        slates = top_k(mask_scores(scores, requests), slate_size)
        return Slates(slates, np.ones(slates.shape, np.float32))

    def state(self) -> dict[str, np.ndarray]:
        if self._clicks is None:
            return {}
        return as_arrays(self._clicks)

    def restore(self, state: dict[str, np.ndarray]) -> None:
        self._clicks = from_arrays(state)
        self._compare()


def _neighbours(clicks: sparse.csr_matrix, most: int) -> sparse.csr_matrix:
    """(N + 1, N + 1) float32: for each item its `most` nearest others, by cosine over TF-IDF
    weighted users.
    """
    n_items = clicks.shape[1]
    weighted = clicks.astype(np.float64)
    weighted.data = np.log1p(weighted.data)
    active = np.maximum(np.diff(weighted.indptr), 1)
    # users who click everything say little
    weighted = sparse.diags(np.log((n_items + 1) / active)) @ weighted
    length = np.sqrt(np.asarray(weighted.multiply(weighted).sum(axis=0)).ravel())
    unit = (weighted @ sparse.diags(1 / np.maximum(length, 1e-12))).tocsc()
    parts = []
    for begin in range(0, n_items, 1024):
        block = (unit[:, begin : begin + 1024].T @ unit).toarray()
        rows = np.arange(len(block))
        block[rows, rows + begin] = 0
        keep = min(most, n_items - 1)
        cut = np.partition(block, n_items - keep, axis=1)[:, n_items - keep][:, None]
        parts.append(
            sparse.csr_matrix(np.where((block >= cut) & (block > 0), block, 0).astype(np.float32))
        )
    return sparse.vstack(parts).tocsr()
