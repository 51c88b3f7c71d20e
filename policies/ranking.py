"""From scores to slates, for policies that score the whole catalogue."""

from collections.abc import Callable

import numpy as np

from policies.base import Requests


def mask_scores(scores: np.ndarray, requests: Requests) -> np.ndarray:
    """Sets to -inf, in place, what may not be shown: unavailable items and those in
    `requests.exclude`.

    Args:
        scores: (B, N + 1) float.
    """
    scores[:, ~requests.available] = -np.inf
    if requests.exclude.shape[1]:
        np.put_along_axis(scores, requests.exclude, -np.inf, axis=1)
    return scores


def top_k(scores: np.ndarray, k: int) -> np.ndarray:
    """(B, k) int32: the best items, best first; ties go to the lower item id.

    Args:
        scores: (B, N + 1) float32, finite or -inf.

    Raises:
        ValueError: a score is NaN: it would win or lose for no reason.
    """
    if np.isnan(scores.max(initial=-np.inf)):
        raise ValueError(
            "scores are NaN; a policy that has nothing to say of an item scores it low"
        )
    # + 0 turns -0.0 into 0.0, which ties with it
    scores = scores.astype(np.float32, copy=False) + np.float32(0)
    bits = scores.view(np.int32).astype(np.int64)
    # Floats in the order of integers: flip the magnitude of the negative ones. Then the id breaks
    # ties.
    ordered = np.where(bits < 0, np.int64(-(2**31)) - bits, bits) << 32
    ordered -= np.arange(scores.shape[1], dtype=np.int64)
    best = np.argpartition(-ordered, k - 1, axis=1)[:, :k] if k < scores.shape[1] else None
    if best is None:
        best = np.broadcast_to(np.arange(scores.shape[1]), scores.shape)
    order = np.argsort(-np.take_along_axis(ordered, best, 1), axis=1)
    return np.take_along_axis(best, order, 1)[:, :k].astype(np.int32)


CELLS = 1 << 24  # scores that are held at once


def best_by(scores_of: Callable[[slice], np.ndarray], requests: Requests, k: int) -> np.ndarray:
    """(B, k) int32: the best items that may be shown, some users after the others: a wave by the
    items of a large catalogue would not fit into memory.

    Args:
        scores_of: (n, N + 1) float of these rows of the requests, each row for itself.
    """
    slates = np.zeros((len(requests), k), np.int32)
    step = max(CELLS // len(requests.available), 1)
    for begin in range(0, len(requests), step):
        rows = slice(begin, begin + step)
        slates[rows] = top_k(mask_scores(scores_of(rows), requests.rows(rows)), k)
    return slates


def first_allowed(ranked: np.ndarray, requests: Requests, k: int) -> np.ndarray:
    """(B, k) int32: the first k items of one ranking, shared by all users, that each user may be
    shown.

    Args:
        ranked: (N,) int32, best first, available items only.

    Raises:
        ValueError: a user may be shown fewer than k of them, or an id is no item.
    """
    from policies.loops import ranking  # where somebody is served: numba takes its time

    slates = np.zeros((len(requests), k), np.int32)
    n_items = len(requests.available) - 1
    told = ranking.first_allowed(ranked, requests.exclude, n_items, slates)
    if told == ranking.BEYOND:
        raise ValueError(f"ids must be 1..{n_items}, of what is ranked and of what is excluded")
    if told == ranking.FEW:
        raise ValueError(f"fewer than {k} items may be shown to a user")
    return slates
