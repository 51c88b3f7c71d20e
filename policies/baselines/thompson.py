"""Item levels as draws from their posterior: what might be good is tried (Thompson, 1933; Chapelle
and Li, NeurIPS 2011).
"""

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from policies.base import Requests, Slates
from policies.baselines.level import Level, best_first
from policies.draws import Draws
from policies.ranking import first_allowed

DRAWS = 16


@dataclass
class Thompson(Level):
    """`level`, but each page is that of one of 16 draws, which stay until the next update.

    The propensity of an item in a slot is the share of the 16 pages that have it there.
    """

    deterministic: ClassVar[bool] = False
    wave: ClassVar[int] = 2048
    _lists: np.ndarray = field(default_factory=lambda: np.zeros((DRAWS, 0), np.int32), repr=False)

    def _rank(self, rng: np.random.Generator) -> None:
        noise = rng.normal(size=(DRAWS, len(self._chosen)))
        values, sd = self._values, np.zeros(len(self._chosen))
        if self._levels is not None:
            sd = self._levels.item_sd
        self._lists = np.stack([best_first(values + sd * draw) for draw in noise])
        self._ranked = best_first(values)

    def recommend(self, requests: Requests, slate_size: int, draws: Draws) -> Slates:
        pages = self._pages(requests, slate_size)
        pick = (draws.uniform("thompson", 1)[:, 0] * DRAWS).astype(np.int64)
        slates = pages[pick, np.arange(len(requests))]
        return Slates(slates, (pages == slates).mean(axis=0).astype(np.float32))

    def _pages(self, requests: Requests, k: int) -> np.ndarray:
        """(DRAWS, B, K) the page of each draw."""
        lists = (ranked[requests.available[ranked]] for ranked in self._lists)
        return np.stack([first_allowed(ranked, requests, k) for ranked in lists])

    def chance(self, requests: Requests, items: np.ndarray) -> np.ndarray:
        """(B, K) the probability of these items in their slots."""
        share: np.ndarray = (self._pages(requests, items.shape[1]) == items).mean(axis=0)
        return share

    def state(self) -> dict[str, np.ndarray]:
        return {**super().state(), "lists": self._lists}

    def restore(self, state: dict[str, np.ndarray]) -> None:
        super().restore(state)
        self._lists = np.array(state["lists"])
