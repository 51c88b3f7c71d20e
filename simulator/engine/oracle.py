"""The upper reference for the expected clicks of one page: it knows the users."""

from typing import TYPE_CHECKING, Literal

import numpy as np

from policies.base import Requests, Slates
from policies.catalogue import Catalogue
from policies.draws import Draws
from policies.log import Impressions
from policies.ranking import mask_scores, top_k

if TYPE_CHECKING:
    from simulator.engine.world import World


class Oracle:
    """Greedy on the true click probability.

    Within a page items do not influence each other and later slots are examined less, so the page
    sorted by probability has the most expected clicks of all pages. Nothing is said about sessions
    or returns: a greedy page may tire its users.
    """

    history_length = 0
    history_of: Literal["impressions", "clicks"] = "impressions"

    def __init__(self) -> None:
        self.world: World | None = None

    def fit(self, log: Impressions, catalogue: Catalogue, rng: np.random.Generator) -> None:
        pass

    def update(self, log: Impressions, catalogue: Catalogue, rng: np.random.Generator) -> None:
        pass

    def recommend(self, requests: Requests, slate_size: int, draws: Draws) -> Slates:
        if self.world is None:
            raise RuntimeError("the oracle serves inside a world only")
        users = self.world.place_of(requests.users)
        scores = self.world.model.click_probability(self.world.state, users, requests.now)
        slates = top_k(mask_scores(scores, requests), slate_size)
        return Slates(slates, np.ones(slates.shape, np.float32))

    def state(self) -> dict[str, np.ndarray]:
        return {}

    def restore(self, state: dict[str, np.ndarray]) -> None:
        pass
