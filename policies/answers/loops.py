"""Compiled loops of the models of answers."""

import numpy as np

from policies.common.compiled import compiled


@compiled
def exposures(
    user: np.ndarray,
    time: np.ndarray,
    item: np.ndarray,
    category: np.ndarray,
    n_categories: int,
    category_halves: np.ndarray,
    item_half: float,
    window: int,
) -> np.ndarray:
    """`policies.answers.exposures.exposures_of` of rows by user and time."""
    n, f = len(user), len(category_halves)
    out = np.zeros((n, f + 1), np.float32)
    counts = np.zeros((f, n_categories))
    begin = left = 0  # of the user; of the rows that still count
    for i in range(n):
        if i == 0 or user[i] != user[i - 1]:
            begin = left = i
            counts[:] = 0.0
        if i > begin and time[i] == time[i - 1]:  # the same page: as its first row
            for j in range(f):
                out[i, j] = counts[j, category[i]]
        else:
            if i > begin:
                # Rows of the page before enter; what left the window goes.
                page = i - 1
                while page > begin and time[page - 1] == time[i - 1]:
                    page -= 1
                for j in range(f):
                    counts[j] *= 2.0 ** (-(time[i] - time[i - 1]) / category_halves[j])
                    for row in range(page, i):
                        age = time[i] - time[row]
                        counts[j, category[row]] += 2.0 ** (-age / category_halves[j])
                while i - left > window:
                    age = time[i] - time[left]
                    for j in range(f):
                        rest = counts[j, category[left]] - 2.0 ** (-age / category_halves[j])
                        counts[j, category[left]] = max(rest, 0.0)
                    left += 1
            for j in range(f):
                out[i, j] = counts[j, category[i]]
        row = i - 1
        while row >= left:
            if item[row] == item[i] and time[row] < time[i]:
                out[i, f] += 2.0 ** (-(time[i] - time[row]) / item_half)
            row -= 1
    return out


@compiled
def half_step(
    order: np.ndarray,
    starts: np.ndarray,
    other: np.ndarray,
    theirs: np.ndarray,
    their_variance: np.ndarray,
    offset: np.ndarray,
    answer: np.ndarray,
    weight: np.ndarray,
    mine: np.ndarray,
    prior: np.ndarray,
    precision: np.ndarray,
) -> np.ndarray:
    """One step of the vectors of one side, those of the other held; changes `mine`. Returns the
    precisions (J, K) that their rows and the prior give.

    Args:
        order: (n,) rows by entity. starts: (J + 1,) where each one's begin in it.
        other: (n,) the other side's entity of each row.
        theirs, their_variance: (J', K). offset: (n,) logits of everything else.
        answer, weight: (n,).
        mine, prior, precision: (J, K).
    """
    k = mine.shape[1]
    told = precision.copy()
    h, g = np.zeros((k, k)), np.zeros(k)
    for e in range(len(starts) - 1):
        if starts[e] == starts[e + 1]:
            continue
        h[:] = 0.0
        for a in range(k):
            h[a, a] = precision[e, a]
            g[a] = -precision[e, a] * (mine[e, a] - prior[e, a])
        for place in range(starts[e], starts[e + 1]):
            row = order[place]
            o = other[row]
            logit = offset[row]
            for a in range(k):
                logit += mine[e, a] * theirs[o, a]
            size = max(abs(logit), 1e-3)
            w = weight[row] * np.tanh(size / 2) / (2 * size)
            left = weight[row] * (answer[row] - 1 / (1 + np.exp(-logit)))
            for a in range(k):
                g[a] += left * theirs[o, a] - w * their_variance[o, a] * mine[e, a]
                h[a, a] += w * their_variance[o, a]
                for b in range(a + 1):
                    h[a, b] += w * theirs[o, a] * theirs[o, b]
        for a in range(k):
            for b in range(a):
                h[b, a] = h[a, b]
            told[e, a] = h[a, a]
        mine[e] += np.linalg.solve(h, g)
    return told


@compiled
def counts_of(items: np.ndarray, shown: np.ndarray, counts: np.ndarray, n: int) -> np.ndarray:
    """(B, M) float32: what each item of `items` (B, M) counts among those `shown` (B, L).

    Args:
        n: ids are 0 to n - 1; 0 counts nothing.
    """
    out = np.zeros(items.shape, np.float32)
    held = np.zeros(n, np.float32)
    for b in range(len(items)):
        for j in range(shown.shape[1]):
            held[shown[b, j]] += counts[b, j]
        held[0] = 0.0
        for m in range(items.shape[1]):
            out[b, m] = held[items[b, m]]
        for j in range(shown.shape[1]):
            held[shown[b, j]] = 0.0
    return out
