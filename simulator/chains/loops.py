"""What the sampler of crossed effects does row by row beside logarithms, as compiled loops.

Letters: R rows, G users or items; `group` (R,) says whose each row is.
"""

import numpy as np

from policies.common.compiled import compiled


@compiled
def moved(x: np.ndarray, group: np.ndarray, move: np.ndarray) -> np.ndarray:
    """(R,) float32 logits x (R,), each moved by that of its group (G,)."""
    out = np.empty(len(x), np.float32)
    for r in range(len(x)):
        out[r] = x[r] + move[group[r]]
    return out


@compiled
def gains(new: np.ndarray, old: np.ndarray, group: np.ndarray, size: int) -> np.ndarray:
    """(G,) by how much the log-likelihoods `new` (R,) exceed `old` (R,). `new` becomes the
    difference.
    """
    out = np.zeros(size)
    for r in range(len(new)):
        new[r] -= old[r]
        out[group[r]] += new[r]
    return out


@compiled
def accept(
    x: np.ndarray,
    fit: np.ndarray,
    group: np.ndarray,
    move: np.ndarray,
    gained: np.ndarray,
    taken: np.ndarray,
) -> None:
    """Moves logits x and log-likelihoods `fit` of the groups that are `taken` (G,): times 0 or 1,
    since to choose row by row takes twice as long.
    """
    share = taken.astype(np.float32)
    step = np.where(taken, move, 0.0)
    for r in range(len(x)):
        g = group[r]
        x[r] += step[g]
        fit[r] += gained[r] * share[g]


@compiled
def between(low: np.ndarray, high: np.ndarray, share: float) -> np.ndarray:
    """(R,) float64 from `low` (R,), by that share of the way to `high`."""
    out = np.empty(len(low))
    for r in range(len(low)):
        out[r] = low[r] + share * np.float64(high[r] - low[r])
    return out
