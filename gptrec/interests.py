"""Several interests, one after the other: say the best item of this one, and see what comes to mind
next.
"""

import numpy as np
import torch
from torch import Tensor

from gptrec.model import SAID
from policies.neural.ranking import best_allowed
from policies.neural.sessions import Wave


def quotas(slate_size: int, interests: int, later: int) -> list[int]:
    """Items per interest, m : n : n ...; the first one gets what the later ones leave, at least
    one.
    """
    rest = [later] * min(interests - 1, (slate_size - 1) // max(later, 1))
    return [slate_size - sum(rest), *rest]


def recall(
    wave: Wave,
    vectors: Tensor,
    exclude: np.ndarray,
    available: np.ndarray,
    sizes: list[int],
    ordered: bool = True,
    segment: int = SAID,
) -> np.ndarray:
    """(rows of the wave, sum of sizes) int32: the recalls of all interests, merged without repeats.

    Args:
        vectors: (N + 1, D) as they are scored.
        exclude: (rows, W) items that a user may not be shown.
        sizes: items per interest, from `quotas`.
        ordered: False = the best of each first, the others in no certain order.
        segment: of what is said ahead, one that the network was trained on.
    """
    rows = len(wave.last)
    slates = np.zeros((rows, sum(sizes)), np.int32)
    for here in wave.chunks():
        state = wave.last[here]
        taken = exclude[here]
        done = 0
        for depth, size in enumerate(sizes):
            scores = wave.net.scale(state) @ vectors.T
            best = best_allowed(scores, taken, available, size, ordered)
            slates[here, done : done + size] = best
            done += size
            if depth + 1 < len(sizes):
                taken = np.concatenate([taken, best], axis=1)
                said = torch.from_numpy(best[:, 0].astype(np.int64))
                state = wave.peek(here, said, segment, depth)
    wave.forget(len(sizes) - 1)
    return slates
