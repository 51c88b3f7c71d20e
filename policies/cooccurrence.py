"""Which items are chosen near each other: neighbours for itemknn, a start for the embeddings of the transformers."""

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import svds

from policies.sequences import Sequences


def decayed_counts(sequences: Sequences, n_items: int, window: int = 5) -> sparse.csr_matrix:
    """(N + 1, N + 1) symmetric: sum of 1 / distance over pairs of clicks of one user at most `window` apart."""
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


def ppmi_vectors(sequences: Sequences, n_items: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """(N + 1, width) float32: truncated SVD of the positive pointwise mutual information (Levy and Goldberg, 2014).

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
    matrix = sparse.csr_matrix((pmi[positive], (counts.row[positive], counts.col[positive])), shape=counts.shape)
    if matrix.nnz <= rank:
        return noise.astype(np.float32)
    left, values, _ = svds(matrix, k=rank, v0=rng.normal(size=n_items + 1))
    order = np.argsort(-values)
    vectors = left[:, order] * np.sqrt(np.maximum(values[order], 0))
    vectors *= np.sign(vectors[np.abs(vectors).argmax(0), np.arange(rank)])  # svds leaves the signs open
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = np.where(length > 1e-9, vectors / np.maximum(length, 1e-9), 0)
    noise[:, :rank] += unit
    return noise.astype(np.float32)
