"""The matrix of users and items that counts clicks; what policies without order of time
learn from.
"""

import numpy as np
from scipy import sparse

from policies.log import Impressions


def none_yet(n_items: int) -> sparse.csr_matrix:
    """(0, N + 1), before the first user."""
    return sparse.csr_matrix((0, n_items + 1), dtype=np.float32)


def added(clicks: sparse.csr_matrix, log: Impressions) -> sparse.csr_matrix:
    """(U', N + 1) float32: the clicks of a log, by their weight, on top of those so far; rows are
    user ids.
    """
    # the three columns alone: all others of a large log would come into memory, too
    user, item, weight = (x[log.clicked] for x in (log.user, log.item, log.weight))
    rows = max(clicks.shape[0], int(user.max()) + 1 if len(user) else 0)
    shape = (rows, clicks.shape[1])
    old = clicks.tocoo()
    earlier = sparse.csr_matrix((old.data, (old.row, old.col)), shape=shape, dtype=np.float32)
    return earlier + sparse.csr_matrix((weight, (user, item)), shape=shape, dtype=np.float32)


def as_arrays(clicks: sparse.csr_matrix) -> dict[str, np.ndarray]:
    """For a policy's state; `from_arrays` gives the matrix back."""
    coo = clicks.tocoo()
    return {
        "row": coo.row.astype(np.int32),
        "column": coo.col.astype(np.int32),
        "value": coo.data,
        "shape": np.array(coo.shape),
    }


def from_arrays(state: dict[str, np.ndarray]) -> sparse.csr_matrix:
    shape = tuple(int(n) for n in state["shape"])
    return sparse.csr_matrix((state["value"], (state["row"], state["column"])), shape=shape)
