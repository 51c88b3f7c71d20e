"""`policies.ranking.first_allowed` as a compiled loop."""

import numpy as np

from policies.common.compiled import compiled

FILLED, FEW, BEYOND = 0, 1, 2


@compiled
def first_allowed(ranked: np.ndarray, exclude: np.ndarray, n_items: int, slates: np.ndarray) -> int:
    """Fills slates (B, K) with the first items of `ranked` that are not in each row of `exclude`
    (B, W). FILLED, FEW where a row has no K of them, BEYOND at an id that is no item: a compiled
    loop would write past its arrays.
    """
    last = np.full(n_items + 1, -1, np.int64)  # the row that excluded an item last
    for b in range(len(slates)):
        for w in range(exclude.shape[1]):
            if exclude[b, w] < 0 or exclude[b, w] > n_items:
                return BEYOND
            last[exclude[b, w]] = b
        k = 0
        for item in ranked:
            if k == slates.shape[1]:
                break
            if item < 1 or item > n_items:
                return BEYOND
            if last[item] != b:
                slates[b, k] = item
                k += 1
        if k < slates.shape[1]:
            return FEW
    return FILLED
