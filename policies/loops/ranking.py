"""`policies.ranking.first_allowed` as a compiled loop."""

import numpy as np

from policies.common.compiled import compiled


@compiled
def first_allowed(
    ranked: np.ndarray, exclude: np.ndarray, n_items: int, slates: np.ndarray
) -> bool:
    """Fills slates (B, K) with the first items of `ranked` that are not in each row of `exclude`
    (B, W). Whether there were enough for everybody.
    """
    last = np.full(n_items + 1, -1, np.int64)  # the row that excluded an item last
    for b in range(len(slates)):
        for w in range(exclude.shape[1]):
            last[exclude[b, w]] = b
        k = 0
        for item in ranked:
            if k == slates.shape[1]:
                break
            if last[item] != b:
                slates[b, k] = item
                k += 1
        if k < slates.shape[1]:
            return False
    return True
