"""Ranking the next item after each user's history, which is excluded: what offline protocols and
tests of simulated users share.
"""

import numpy as np

from policies.base import Policy, plain_requests
from policies.calls import slates
from policies.draws import Draws
from policies.neural.sequences import Sequences, last_items
from policies.neural.sequential import Sequential, padded


def best(policy: Policy, n_items: int, users: np.ndarray, history: Sequences, k: int) -> np.ndarray:
    """(V, k) best items for users after their history, which is excluded; 0 where fewer than k
    items are left.
    """
    row = np.repeat(np.arange(len(users)), history.lengths)
    seen = np.unique(row * np.int64(n_items + 1) + history.items) // (n_items + 1)
    left = np.minimum(n_items - np.bincount(seen, minlength=len(users)), k)
    if (left == k).all():
        return _best(policy, n_items, users, history, k)
    slates = np.zeros((len(users), k), np.int32)
    for n in np.unique(left[left > 0]):
        rows = np.flatnonzero(left == n)
        slates[rows, :n] = _best(
            policy, n_items, users[rows], Sequences(users[rows], *picked(history, rows)), int(n)
        )
    return slates


def _best(
    policy: Policy, n_items: int, users: np.ndarray, history: Sequences, k: int
) -> np.ndarray:
    if isinstance(policy, Sequential):
        return policy.top(users, last_items(history, users, policy.length), k, history)
    best = []
    contexts = last_items(history, users, max(policy.history_length, 1))
    for begin in range(0, len(users), 256):
        rows = np.arange(begin, min(begin + 256, len(users)))
        requests = plain_requests(contexts[rows], n_items, users[rows], padded(history, rows))
        draws = Draws(0, requests.users, requests.sessions)
        best.append(slates(type(policy).__name__, policy, requests, k, draws).items)
    return np.concatenate(best)


def picked(sequences: Sequences, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Items, starts and weights of these sequences."""
    sizes = sequences.lengths[rows]
    starts = np.concatenate([[0], np.cumsum(sizes)])
    index = np.repeat(sequences.starts[rows] - starts[:-1], sizes) + np.arange(starts[-1])
    return sequences.items[index], starts, sequences.weights[index]


def gains(ranks: np.ndarray, cut: int) -> np.ndarray:
    """NDCG at this cut of each rank (0 = miss); one relevant item, so that the ideal is 1."""
    inside = (ranks > 0) & (ranks <= cut)
    return inside / np.log2(np.maximum(ranks, 1).astype(np.float64) + 1)
