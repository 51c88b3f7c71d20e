"""Two stages in place of scoring every item: an index recalls candidates, and these are scored.

The index is faiss's inverted file (Johnson, Douze and Jegou, IEEE Transactions on Big Data 2021):
items in cells around centroids by k-means, and of these the cells nearest to a state are looked at.
It is built by one thread from a seed of its own, and each state is searched for itself, so slates
depend neither on the machine's cores nor on who else is served.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from policies.common.errors import InputError
from policies.neural.ranking import best_allowed, best_among

PER_CELL = 256  # items, about
LEARNED_FROM = 64  # vectors per centroid


def _faiss() -> Any:
    try:
        import faiss
    except ImportError:
        raise InputError(
            "candidates=N needs faiss: pip install '.[recall]', or leave it at 0"
        ) from None
    faiss.omp_set_num_threads(1)
    # Products of matrices would give a state other bits in another batch.
    faiss.cvar.distance_compute_blas_threshold = 2**31 - 1
    return faiss


class Index:
    """The items of a network, to be recalled by inner product.

    Args:
        vectors: (N + 1, D) as they are scored; row 0 is no item.
        share: of the cells that are looked at.
    """

    def __init__(self, vectors: Tensor, share: float):
        faiss = _faiss()
        items = np.ascontiguousarray(vectors[1:].numpy(), np.float32)
        cells = max(len(items) // PER_CELL, 1)
        self._cells = faiss.IndexFlatIP(items.shape[1])
        self._index = faiss.IndexIVFFlat(
            self._cells, items.shape[1], cells, faiss.METRIC_INNER_PRODUCT
        )
        self._index.cp.seed = 1
        self._index.cp.max_points_per_centroid = LEARNED_FROM
        self._index.train(items)
        self._index.add(items)
        self._index.nprobe = max(round(share * cells), 1)

    def near(self, states: Tensor, n: int) -> np.ndarray:
        """(B, n) int64 items with the largest products that were found, 0 where there are fewer."""
        found: np.ndarray = self._index.search(states.numpy(), n)[1]
        return found + 1


def best_of(
    items: np.ndarray,
    states: Tensor,
    vectors: Tensor,
    exclude: np.ndarray,
    available: np.ndarray,
    k: int,
) -> np.ndarray:
    """(B, k) int32 as `best_allowed`, of the candidates `items` (B, C); where fewer than k of them
    may be shown, of all items.
    """
    scores = torch.einsum("bd,bcd->bc", states, vectors[torch.from_numpy(items)])
    slates, there = best_among(items, scores, exclude, available, k)
    for row in np.flatnonzero(
        there < k
    ):  # one by one, so that a state gets the same bits in any batch
        every = states[row : row + 1] @ vectors.T
        slates[row : row + 1] = best_allowed(every, exclude[row : row + 1], available, k)
    return slates
