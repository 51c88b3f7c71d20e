"""Which items are chosen near each other: neighbours for itemknn, a start for the embeddings of the
transformers.
"""

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import ArpackNoConvergence, svds
from sklearn.utils.extmath import randomized_svd

from policies.neural.sequences import Sequences

EXACT = 50_000  # items up to which the decomposition is exact
RESTARTS = 20  # of Lanczos; logs of real users take three to six


def decayed_counts(sequences: Sequences, n_items: int, window: int = 5) -> sparse.csr_matrix:
    """(N + 1, N + 1) symmetric: sum of 1 / distance over pairs of clicks of one user at most
    `window` apart.
    """
    user = np.repeat(np.arange(len(sequences.users)), sequences.lengths)
    size = n_items + 1
    total = sparse.csr_matrix((size, size), dtype=np.float64)
    for distance in range(1, window + 1):
        same = user[distance:] == user[:-distance]
        left, right = sequences.items[:-distance][same], sequences.items[distance:][same]
        weight = np.full(len(left), 1.0 / distance)
        total = total + sparse.csr_matrix((weight, (left, right)), shape=(size, size))
    total = total + total.T
    total.setdiag(0)
    total.eliminate_zeros()
    return total.tocsr()


def ppmi_vectors(
    sequences: Sequences, n_items: int, width: int, rng: np.random.Generator
) -> np.ndarray:
    """(N + 1, width) float32: truncated SVD of the positive pointwise mutual information (Levy and
    Goldberg, 2014).

    Rows have unit length; items without a neighbour get a random direction of length one tenth.
    """
    noise = rng.normal(size=(n_items + 1, width)) * 0.1 / np.sqrt(width)
    counts = decayed_counts(sequences, n_items).tocoo()
    rank = min(width, n_items - 1)
    if counts.nnz <= rank or rank < 1:
        return noise.astype(np.float32)
    margin = np.asarray(counts.sum(axis=1)).ravel()
    pmi = np.log(counts.data * counts.data.sum() / (margin[counts.row] * margin[counts.col]))
    positive = pmi > 0
    matrix = sparse.csr_matrix(
        (pmi[positive], (counts.row[positive], counts.col[positive])), shape=counts.shape
    )
    if matrix.nnz <= rank:
        return noise.astype(np.float32)
    left, values = _largest(matrix, rank, rng)
    order = np.argsort(-values)
    vectors = left[:, order] * np.sqrt(np.maximum(values[order], 0))
    # svds leaves the signs open
    vectors *= np.sign(vectors[np.abs(vectors).argmax(0), np.arange(rank)])
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = np.where(length > 1e-9, vectors / np.maximum(length, 1e-9), 0)
    noise[:, :rank] += unit
    return noise.astype(np.float32)


def _largest(
    matrix: sparse.csr_matrix, rank: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Left singular vectors (N + 1, rank) and values (rank,) of the largest ones.

    Large catalogues, and those whose users share no items, so that many values are equal and
    Lanczos does not tell them apart, are decomposed at random (Halko, Martinsson and Tropp, 2011):
    a start for embeddings needs no more.
    """
    v0 = rng.normal(size=matrix.shape[0])
    if matrix.shape[0] <= EXACT + 1:
        try:
            left, values, _ = svds(matrix, k=rank, v0=v0, maxiter=RESTARTS)
            return left, values
        except ArpackNoConvergence:
            pass
    left, values, _ = randomized_svd(matrix, rank, n_iter=4, random_state=int(rng.integers(2**31)))
    return left, values
