"""What may be wrong with a slate, as a compiled loop over all of them."""

import numpy as np

from policies.common.compiled import compiled

NONE, RANGE, UNAVAILABLE, TWICE, EXCLUDED = 0, 1, 2, 3, 4


@compiled
def first_fault(
    items: np.ndarray, exclude: np.ndarray, available: np.ndarray
) -> tuple[int, int, int]:
    """The first item of slates (B, K) that may not be there.

    Args:
        items: int64. exclude: (B, W) not to be shown. available: (N + 1,) bool.

    Returns:
        the kind of the fault, its row and its slot; NONE and zeros where all is well.
    """
    shown = np.full(len(available), -1, np.int64)  # the row that showed an item last
    barred = np.full(len(available), -1, np.int64)
    for b in range(items.shape[0]):
        for w in range(exclude.shape[1]):
            if 0 <= exclude[b, w] < len(available):
                barred[exclude[b, w]] = b
        for k in range(items.shape[1]):
            item = items[b, k]
            if item < 1 or item >= len(available):
                return RANGE, b, k
            if not available[item]:
                return UNAVAILABLE, b, k
            if shown[item] == b:
                return TWICE, b, k
            if barred[item] == b:
                return EXCLUDED, b, k
            shown[item] = b
    return NONE, 0, 0
