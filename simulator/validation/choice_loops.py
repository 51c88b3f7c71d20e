"""Choices one after the other as a compiled loop: `simulator.validation.choosing`."""

import math

import numpy as np

from policies.common.compiled import compiled
from policies.loops.draws import number_of, started, uniform
from simulator.users.state import FADES, LAST

FADED = np.float32(FADES)
OF_CHOICE = number_of("choice")


@compiled
def choose(
    users: np.ndarray,
    first: np.ndarray,
    part: np.ndarray,
    levels: np.ndarray,
    user_taste: np.ndarray,
    item_taste: np.ndarray,
    near: np.ndarray,
    closeness: np.float32,
    keys: np.ndarray,
    expected: np.ndarray,
) -> np.ndarray:
    """(rows,) int32 items, none of them twice for a user.

    Args:
        users: (U,) with choices. first: (U + 1,) where the rows of each begin. part: (rows,) of
            the time. levels: (parts, N + 1). item_taste, near: (D, N + 1). keys: (U,) of `Draws`.
            expected: (parts, N + 1) to which each choice adds the chance of each item; (0, 0) = it
            is not asked.
    """
    n = levels.shape[1]
    chosen = np.zeros(len(part), np.int32)
    taste, score = np.zeros(n, np.float32), np.zeros(n, np.float32)
    total = np.zeros(n, np.float64)
    for u in range(len(users)):
        taste[:] = np.float32(0)
        for d in range(len(item_taste)):  # over items within: these loops run side by side
            by = user_taste[users[u], d]
            for i in range(n):
                taste[i] += by * item_taste[d, i]
        start = started(keys[u], OF_CHOICE)
        for row in range(first[u], first[u + 1]):
            count = min(row - first[u], LAST)
            level = levels[part[row]]
            for i in range(n):
                score[i] = taste[i] + level[i]
            for d in range(len(near)):
                middle, weight, whole = np.float32(0), np.float32(1), np.float32(1e-12)
                for m in range(count):
                    middle += weight * near[d, chosen[row - 1 - m]]
                    whole += weight
                    weight *= FADED
                by = closeness * middle / whole
                for i in range(n):
                    score[i] += by * near[d, i]
            for m in range(first[u], row):
                score[chosen[m]] = -np.inf
            most = score[1:].max()
            total[0] = 0.0
            for i in range(1, n):
                total[i] = total[i - 1] + math.exp(score[i] - most)
            if len(expected):
                for i in range(1, n):
                    expected[part[row], i] += math.exp(score[i] - most) / total[n - 1]
            at = uniform(start, row - first[u]) * total[n - 1]
            chosen[row] = min(np.searchsorted(total[1:], at) + 1, n - 1)
    return chosen
