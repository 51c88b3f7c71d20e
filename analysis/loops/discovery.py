"""What becomes of items that appear during the test: are they found, and how long does it take?

An item deserves, of the impressions of a round, its part of the merit of all items that are there:
exposure in proportion to merit (Singh and Joachims, KDD 2018). Merit is the mean true chance of a
click; no live test knows it.
"""

import numpy as np


def discovery(
    exposure: np.ndarray, merit: np.ndarray, born: np.ndarray, round_seconds: float
) -> dict[str, np.ndarray]:
    """Name -> (R,), of the items that appeared during the test and were there for a whole round;
    nan where there are none yet.

    new_reached: the share of them that had the exposure that they deserve in some round so far.
    new_wait: rounds until then, from their first whole one (0 = in that one), of those that still
    wait the rounds so far; the mean. new_unseen: of those whose merit is above the median of all
    items, the share never shown so far.

    Args:
        exposure: (R, N) impressions of each round. merit: (N,). born: (N,) s since the test began,
            -inf of items from before.
    """
    rounds = np.arange(len(exposure))
    first = np.where(born > 0, np.ceil(np.maximum(born, 0) / round_seconds), 0)
    there = first <= rounds[:, None]  # (R, N) for the whole round
    shown = (exposure * there).sum(axis=1, keepdims=True)
    total = (merit * there).sum(axis=1, keepdims=True)
    deserved = merit * shown / np.maximum(total, 1e-12)
    reached = np.maximum.accumulate(there & (exposure >= deserved) & (shown > 0), axis=0)
    seen = np.cumsum(exposure, axis=0) > 0
    new = (born > 0) & there
    good = new & (merit > np.median(merit))
    waited = np.cumsum(there & ~reached, axis=0)
    return {
        "new_reached": _share(reached, new),
        "new_wait": _share(waited, new),
        "new_unseen": _share(~seen, good),
    }


def _share(values: np.ndarray, which: np.ndarray) -> np.ndarray:
    """(R,) means of the items of each round."""
    n = which.sum(axis=1)
    mean: np.ndarray = np.where(n > 0, (values * which).sum(axis=1) / np.maximum(n, 1), np.nan)
    return mean
