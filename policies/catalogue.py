"""What can be recommended."""

from dataclasses import dataclass

import numpy as np

from policies.common.errors import InputError


@dataclass(frozen=True, slots=True)
class Catalogue:
    """Items 1..N; row 0 of every array is padding.

    Attributes:
        ids: (N + 1,) the log's own item ids, as strings; "" at 0.
        category: (N + 1,) int16, index into `categories`; 0 is "none".
        categories: names of the categories, `categories[0] == "none"`.
        duration: (N + 1,) float32 seconds; NaN where the log does not say.
        born, withdrawn: (N + 1,) float64 seconds: an item may be shown while born <= time <
            withdrawn.
    """

    ids: np.ndarray
    category: np.ndarray
    categories: tuple[str, ...]
    duration: np.ndarray
    born: np.ndarray
    withdrawn: np.ndarray

    @property
    def size(self) -> int:
        """N, without padding."""
        return len(self.ids) - 1

    @property
    def changes(self) -> bool:
        """Whether items appear or are withdrawn."""
        return bool(np.isfinite(self.born).any() or np.isfinite(self.withdrawn).any())

    def available(self, time: float) -> np.ndarray:
        """(N + 1,) bool: what may be shown at this time."""
        shown = (self.born <= time) & (time < self.withdrawn)
        shown[0] = False
        return shown

    @staticmethod
    def of(
        ids: np.ndarray,
        category: np.ndarray | None = None,
        duration: np.ndarray | None = None,
    ) -> "Catalogue":
        """A catalogue of the items `ids` (N,), always available. `category` (N,) holds names, ""
        for none.
        """
        n = len(ids)
        if n == 0:
            raise InputError("the log names no item; give a log with at least one")
        names = np.asarray(category if category is not None else np.full(n, ""), dtype=str)
        categories = ("none", *(str(name) for name in np.unique(names) if name))
        code = np.zeros(n + 1, np.int16)
        code[1:] = np.where(names == "", 0, np.searchsorted(np.array(categories[1:]), names) + 1)
        seconds = np.full(n + 1, np.nan, np.float32)
        if duration is not None:
            seconds[1:] = duration
        return Catalogue(
            ids=np.concatenate([[""], np.asarray(ids).astype(str)]),
            category=code,
            categories=categories,
            duration=seconds,
            born=np.full(n + 1, -np.inf),
            withdrawn=np.full(n + 1, np.inf),
        )
