"""Appeal from a log that holds only what was chosen: choices against items drawn at random, one for
each.
"""

from dataclasses import dataclass

import numpy as np

from policies.log import Dataset
from simulator.fitting.factors import Taste
from simulator.fitting.sessions import logistic


@dataclass(frozen=True)
class PositiveOnlyAppeal:
    """Logits of being chosen rather than a random item, around 0 for a random pair.

    Attributes:
        item_level: (N + 1,) float64. taste: its slope is `slope`.
    """

    item_level: np.ndarray
    taste: Taste
    slope: float

    def score(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        """Of the pairs (users, items), any shape."""
        logits: np.ndarray = self.item_level[items] + self.slope * self.taste.score(users, items)
        return logits


def fit_positive_only(
    data: Dataset, taste: Taste, crossed: np.ndarray, rng: np.random.Generator
) -> PositiveOnlyAppeal:
    """Slopes of popularity and taste, by logistic regression.

    Args:
        crossed: (rows,) taste of the log's rows by fits that have not seen them.
    """
    log, n_items = data.log, data.catalogue.size
    chosen = np.flatnonzero(log.clicked)
    count = np.bincount(log.item[chosen], minlength=n_items + 1)
    other = rng.integers(1, n_items + 1, len(chosen))
    user = rng.permutation(log.user[chosen])
    # A choice does not count towards its own item's popularity.
    popularity = np.concatenate([np.log1p(count[log.item[chosen]] - 1), np.log1p(count[other])])
    fitted = logistic(
        np.arange(2 * len(chosen)) < len(chosen),
        {
            "popularity": popularity,
            "taste": np.concatenate([crossed[chosen], taste.score(user, other)]),
        },
        "",
    )
    slopes = {
        name: max(fitted[name].value, 0.0) if name in fitted else 0.0
        for name in ("popularity", "taste")
    }
    level = slopes["popularity"] * np.log1p(count.astype(float))
    level -= level[1:].mean()
    level[0] = 0.0
    return PositiveOnlyAppeal(level, taste, slopes["taste"])
