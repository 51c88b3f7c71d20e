"""The numbers of `policies.draws`, one at a time, for compiled loops.

Draw `column` of a purpose, for one user on one page, is
`uniform(started(keys[b], number_of(purpose)), column)` and equals
`draws.uniform(purpose, n)[b, column]` bit for bit.
"""

import numpy as np

from policies.common.compiled import compiled
from policies.draws import GOLDEN, MIX_1, MIX_2, S12, S27, S30, S31, TWO_TO_MINUS_52, key_of


def number_of(purpose: str) -> np.uint64:
    """What a loop is given in place of the name."""
    return np.uint64(key_of(purpose))


@compiled
def _mixed(x: np.uint64) -> np.uint64:
    x = (x ^ (x >> S30)) * MIX_1
    x = (x ^ (x >> S27)) * MIX_2
    return x ^ (x >> S31)


@compiled
def started(key: np.uint64, purpose: np.uint64) -> np.uint64:
    """Where the numbers of a purpose begin, by the key of `Draws.keys`."""
    return _mixed(key ^ purpose)


@compiled
def uniform(start: np.uint64, column: int) -> float:
    """In the open interval (0, 1)."""
    bits = _mixed(start + np.uint64(column + 1) * GOLDEN)
    return (np.float64(bits >> S12) + 0.5) * TWO_TO_MINUS_52
