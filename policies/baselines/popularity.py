"""The most clicked items of late, the same for everybody but for what one has just seen."""

from dataclasses import dataclass, field
from typing import ClassVar, Literal

import numpy as np

from policies.base import Requests, Slates, bounded
from policies.catalogue import Catalogue
from policies.draws import Draws
from policies.log import Impressions
from policies.ranking import first_allowed


@dataclass
class Popularity:
    """Clicks per item, each halving in weight every `half_life_days`."""

    half_life_days: float = bounded(7.0, gt=0, le=1e12)
    deterministic: ClassVar[bool] = True  # of what `fit` learns
    wave: ClassVar[int] = 16_384
    history_length: int = 0
    history_of: Literal["impressions", "clicks"] = "impressions"
    _counts: np.ndarray = field(default_factory=lambda: np.zeros(0), repr=False)
    _until: float = field(default=0.0, repr=False)
    _ranked: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int32), repr=False)

    def fit(self, log: Impressions, catalogue: Catalogue, rng: np.random.Generator) -> None:
        self._counts = np.zeros(catalogue.size + 1)
        self._until = float(log.time.max()) if len(log) else 0.0
        self._add(log)

    def update(self, log: Impressions, catalogue: Catalogue, rng: np.random.Generator) -> None:
        if not len(log):
            return
        until = max(self._until, float(log.time.max()))
        self._counts = self._counts * self._decay(until - self._until)
        self._until = until
        self._add(log)

    def _decay(self, seconds: np.ndarray | float) -> np.ndarray:
        return np.exp2(-np.asarray(seconds) / (86_400 * self.half_life_days))

    def _add(self, log: Impressions) -> None:
        weight = log.weight[log.clicked] * self._decay(self._until - log.time[log.clicked])
        clicks = np.bincount(log.item[log.clicked], weight, minlength=len(self._counts))
        self._counts = self._counts + clicks
        self._ranked = np.argsort(-self._counts, kind="stable").astype(np.int32)

    @property
    def counts(self) -> np.ndarray:
        """(N + 1,) clicks of each item, as they weigh by now."""
        return self._counts

    def recommend(self, requests: Requests, slate_size: int, draws: Draws) -> Slates:
        ranked = self._ranked[requests.available[self._ranked]]
        slates = first_allowed(ranked, requests, slate_size)
        return Slates(slates, np.ones(slates.shape, np.float32))

    def state(self) -> dict[str, np.ndarray]:
        return {"counts": self._counts, "until": np.array([self._until])}

    def restore(self, state: dict[str, np.ndarray]) -> None:
        self._counts = np.array(state["counts"])
        self._until = float(state["until"][0])
        self._ranked = np.argsort(-self._counts, kind="stable").astype(np.int32)
