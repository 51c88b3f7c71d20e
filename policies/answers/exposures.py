"""How much of an item and of its category a user was shown of late: what tires people.

Each item shown before counts 2 ** (-age / half-life). The same numbers are made of a log, to learn
from, and of the histories of requests, to serve.
"""

from dataclasses import dataclass

import numpy as np

from policies.base import Requests
from policies.catalogue import Catalogue
from policies.log import Impressions

CATEGORY_HALF_LIVES = 3600.0 * np.array([1.0, 6.0])  # s: within a visit, and within a day
ITEM_HALF_LIFE = 3600.0 * 6.0  # s
EXPOSURES = len(CATEGORY_HALF_LIVES) + 1
WINDOW = 148  # items shown before that count, unless a policy reads other histories


def exposures_of(log: Impressions, catalogue: Catalogue, window: int = WINDOW) -> np.ndarray:
    """(n, EXPOSURES) float32 decayed counts of each row of a log by user: the item's category by
    each half-life, then the item itself, before the page that the row stands on.

    Args:
        window: items shown before that count, as many as a history holds at serving.
    """
    from policies.answers.loops import exposures  # numba takes most of a second

    return exposures(
        log.user.astype(np.int64),
        log.time.astype(np.float64),
        log.item.astype(np.int64),
        catalogue.category[log.item].astype(np.int64),
        len(catalogue.categories),
        CATEGORY_HALF_LIVES,
        ITEM_HALF_LIFE,
        window,
    )


@dataclass(frozen=True, slots=True)
class Lately:
    """What B users were shown of late.

    Attributes:
        categories: (B, F, C) float32 decayed counts by half-life.
        items: (B, L) int32 shown before, 0 for none. counts: (B, L) float32, what each counts.
    """

    categories: np.ndarray
    items: np.ndarray
    counts: np.ndarray

    def rows(self, which: slice) -> "Lately":
        """Of some of the users."""
        return Lately(self.categories[which], self.items[which], self.counts[which])

    def placed(self, at: np.ndarray, size: int) -> "Lately":
        """The users at these places of `size`, nothing at the others."""
        parts = []
        for part in (self.categories, self.items, self.counts):
            wider = np.zeros((size, *part.shape[1:]), part.dtype)
            wider[at] = part
            parts.append(wider)
        return Lately(*parts)


def lately(requests: Requests, category: np.ndarray, n_categories: int) -> Lately:
    """The exposures of these requests, whose histories are impressions."""
    items = requests.items
    ages, b = requests.ages.astype(np.float64), len(requests)
    there = items > 0
    cell = np.arange(b)[:, None] * n_categories + category[items]
    by_category = np.zeros((b, len(CATEGORY_HALF_LIVES), n_categories), np.float32)
    for f, half in enumerate(CATEGORY_HALF_LIVES):
        weight = np.where(there, np.exp2(-ages / half), 0.0)
        counts = np.bincount(cell.ravel(), weight.ravel(), minlength=b * n_categories)
        by_category[:, f] = counts.reshape(b, n_categories)
    counts = np.where(there, np.exp2(-ages / ITEM_HALF_LIFE), 0.0).astype(np.float32)
    return Lately(by_category, items, counts)
