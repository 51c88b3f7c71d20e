"""BPR-MF: matrix factorisation trained on pairs (Rendle et al., UAI 2009), by the library
`implicit`.
"""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from scipy import sparse

from policies.base import Requests, Slates, bounded
from policies.baselines.click_matrix import added, as_arrays, from_arrays, none_yet
from policies.catalogue import Catalogue
from policies.common.factorisation import BayesianPersonalizedRanking
from policies.draws import Draws
from policies.log import Impressions
from policies.ranking import best_by


@dataclass
class BPRMF:
    """Users and items as vectors; the order of clicks plays no part. Users without a click get the
    popular items.

    An update trains anew on all clicks so far: the library cannot go on from factors for users it
    does not know.
    """

    factors: int = bounded(64, ge=1, le=4096)
    rate: float = bounded(0.02, gt=0, le=10)
    regularisation: float = bounded(0.01, ge=0, le=1000)
    iterations: int = bounded(100, ge=1, le=100_000)
    history_length: int = 0
    history_of: Literal["impressions", "clicks"] = "clicks"
    _clicks: sparse.csr_matrix | None = field(default=None, repr=False)
    _users: np.ndarray = field(default_factory=lambda: np.zeros((0, 1), np.float32), repr=False)
    _items: np.ndarray = field(default_factory=lambda: np.zeros((0, 1), np.float32), repr=False)

    def fit(self, log: Impressions, catalogue: Catalogue, rng: np.random.Generator) -> None:
        self._clicks = none_yet(catalogue.size)
        self.update(log, catalogue, rng)

    def update(self, log: Impressions, catalogue: Catalogue, rng: np.random.Generator) -> None:
        if self._clicks is None:
            raise RuntimeError("fit comes before update")
        self._clicks = added(self._clicks, log)
        # One thread: more of them write over each other, and the same seed no longer gives the same
        # weights.
        model = BayesianPersonalizedRanking(
            factors=self.factors,
            learning_rate=self.rate,
            regularization=self.regularisation,
            iterations=self.iterations,
            num_threads=1,
            random_state=int(rng.integers(2**31)),
            use_gpu=False,
        )
        model.fit(self._clicks, show_progress=False)
        self._users, self._items = np.array(model.user_factors), np.array(model.item_factors)

    def recommend(self, requests: Requests, slate_size: int, draws: Draws) -> Slates:
        if self._clicks is None:
            raise RuntimeError("fit comes before recommend")
        row = np.minimum(requests.users, len(self._users) - 1)
        known = (requests.users < len(self._users)) & (np.diff(self._clicks.indptr)[row] > 0)
        users, counts = self._users[row], np.asarray(self._clicks.sum(axis=0)).ravel()

        def scores_of(rows: slice) -> np.ndarray:
            # einsum, not a product of matrices: a user gets the same bits whoever else is in the
            # batch.
            scores = np.einsum("bd,nd->bn", users[rows], self._items)
            scores[~known[rows]] = counts
            return scores

        slates = best_by(scores_of, requests, slate_size)
        return Slates(slates, np.ones(slates.shape, np.float32))

    def state(self) -> dict[str, np.ndarray]:
        if self._clicks is None:
            return {}
        return {**as_arrays(self._clicks), "users": self._users, "items": self._items}

    def restore(self, state: dict[str, np.ndarray]) -> None:
        self._clicks = from_arrays(state)
        self._users, self._items = np.array(state["users"]), np.array(state["items"])
