"""The upper reference for the expected clicks of one page: it asks for the truth."""

from typing import Literal

import numpy as np

from policies.base import Requests, Slates, Truth
from policies.catalogue import Catalogue
from policies.draws import Draws
from policies.log import Impressions
from policies.ranking import best_by


class Oracle:
    """Greedy on the true click probability.

    Within a page items do not influence each other and later slots are examined less, so the page
    sorted by probability has the most expected clicks of all pages. Nothing is said about sessions
    or returns: a greedy page may tire its users.
    """

    history_length = 0
    history_of: Literal["impressions", "clicks"] = "impressions"

    def __init__(self) -> None:
        self._truth: Truth | None = None

    def see_truth(self, truth: Truth) -> None:
        self._truth = truth

    def fit(self, log: Impressions, catalogue: Catalogue, rng: np.random.Generator) -> None:
        pass

    def update(self, log: Impressions, catalogue: Catalogue, rng: np.random.Generator) -> None:
        pass

    def recommend(self, requests: Requests, slate_size: int, draws: Draws) -> Slates:
        if self._truth is None:
            raise RuntimeError("the oracle serves inside a simulation only: see_truth comes first")
        truth = self._truth

        def scores_of(rows: slice) -> np.ndarray:
            return truth.click_probability(requests.users[rows], requests.now[rows])

        slates = best_by(scores_of, requests, slate_size)
        return Slates(slates, np.ones(slates.shape, np.float32))

    def state(self) -> dict[str, np.ndarray]:
        return {}

    def restore(self, state: dict[str, np.ndarray]) -> None:
        pass
