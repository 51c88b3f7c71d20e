"""The nearest items of every item, as a compiled loop that never holds all pairs."""

import numpy as np
from scipy import sparse

from policies.common.compiled import compiled

BLOCK = 4096  # items whose neighbours are looked for at once


def nearest(unit: sparse.spmatrix, most: int) -> sparse.csr_matrix:
    """(N + 1, N + 1) float32: the `most` largest positive entries of each row of unit' unit beside
    the diagonal, and those that are as large as the last of them.

    Args:
        unit: (users, N + 1) float64 columns.
    """
    by_user, by_item, n_items = unit.tocsr(), unit.tocsc(), unit.shape[1]
    keep, parts = min(most, n_items - 1), []
    for begin in range(0, n_items, BLOCK):
        parts.append(
            _nearest(
                begin,
                min(begin + BLOCK, n_items),
                by_item.indptr,
                by_item.indices,
                by_item.data,
                by_user.indptr,
                by_user.indices,
                by_user.data,
                n_items,
                keep,
            )
        )
    sizes, items, values = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    starts = np.concatenate([[0], np.cumsum(sizes)])
    found = sparse.csr_matrix((values, items, starts), shape=(n_items, n_items))
    found.sort_indices()
    return found


@compiled
def _nearest(
    begin: int,
    end: int,
    item_starts: np.ndarray,
    users: np.ndarray,
    of_item: np.ndarray,
    user_starts: np.ndarray,
    items: np.ndarray,
    of_user: np.ndarray,
    n_items: int,
    keep: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of the items from `begin` to `end`: how many neighbours each has, which, and how near.

    `item_starts`, `users`, `of_item` are the columns of the matrix, `user_starts`, `items`,
    `of_user` its rows.
    """
    sums = np.zeros(n_items)
    there = np.zeros(n_items, np.bool_)
    touched = np.empty(n_items, np.int32)
    positive = np.empty(n_items)
    sizes = np.zeros(end - begin, np.int64)
    to_items, to_values = np.empty(1024, np.int32), np.empty(1024, np.float32)
    written = 0
    for item in range(begin, end):
        n = 0
        for at in range(item_starts[item], item_starts[item + 1]):
            user = users[at]
            for place in range(user_starts[user], user_starts[user + 1]):
                other = items[place]
                if not there[other]:
                    there[other] = True
                    touched[n] = other
                    n += 1
                sums[other] += of_item[at] * of_user[place]
        m = 0
        for i in range(n):
            other = touched[i]
            if other != item and sums[other] > 0:
                positive[m] = sums[other]
                m += 1
        least = 0.0 if m <= keep else np.partition(positive[:m], m - keep)[m - keep]
        if written + m > len(to_items):
            size = 2 * (written + m)
            more_items, more_values = np.empty(size, np.int32), np.empty(size, np.float32)
            more_items[:written], more_values[:written] = to_items[:written], to_values[:written]
            to_items, to_values = more_items, more_values
        for i in range(n):
            other = touched[i]
            if other != item and sums[other] > 0 and sums[other] >= least:
                to_items[written], to_values[written] = other, sums[other]
                written += 1
                sizes[item - begin] += 1
            sums[other], there[other] = 0.0, False
    return sizes, to_items[:written].copy(), to_values[:written].copy()
