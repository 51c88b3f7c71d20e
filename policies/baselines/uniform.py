"""Items drawn at random, every allowed item with the same probability."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from policies.base import Requests, Slates
from policies.catalogue import Catalogue
from policies.draws import Draws
from policies.exploring import uniform_chance, uniform_slates
from policies.log import Impressions


@dataclass
class Uniform:
    """A reference, not a contender: what no recommender at all would do."""

    wave: ClassVar[int] = 16_384
    history_length: int = 0
    history_of: Literal["impressions", "clicks"] = "impressions"

    def fit(self, log: Impressions, catalogue: Catalogue, rng: np.random.Generator) -> None:
        pass

    def update(self, log: Impressions, catalogue: Catalogue, rng: np.random.Generator) -> None:
        pass

    def recommend(self, requests: Requests, slate_size: int, draws: Draws) -> Slates:
        slates = uniform_slates(requests, slate_size, draws)
        chance = np.repeat(uniform_chance(requests)[:, None], slate_size, 1)
        return Slates(slates, chance.astype(np.float32))

    def chance(self, requests: Requests, items: np.ndarray) -> np.ndarray:
        """(B, K) the probability of these items in their slots."""
        return np.repeat(uniform_chance(requests)[:, None], items.shape[1], 1)

    def state(self) -> dict[str, np.ndarray]:
        return {}

    def restore(self, state: dict[str, np.ndarray]) -> None:
        pass
