"""The numbers of `policies.draws`, one at a time, for compiled loops.

Draw `column` of a purpose, for one user on one page, is
`uniform(started(keys[b], number_of(purpose)), column)` and equals
`draws.uniform(purpose, n)[b, column]` bit for bit.
"""

import numpy as np

from policies.common.compiled import compiled
from policies.draws import key_of

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)
_S30, _S27, _S31, _S12 = np.uint64(30), np.uint64(27), np.uint64(31), np.uint64(12)
_TWO_TO_MINUS_52 = 2.0**-52


def number_of(purpose: str) -> np.uint64:
    """What a loop is given in place of the name."""
    return np.uint64(key_of(purpose))


@compiled
def _mixed(x: np.uint64) -> np.uint64:
    x = (x ^ (x >> _S30)) * _MIX_1
    x = (x ^ (x >> _S27)) * _MIX_2
    return x ^ (x >> _S31)


@compiled
def started(key: np.uint64, purpose: np.uint64) -> np.uint64:
    """Where the numbers of a purpose begin, by the key of `Draws.keys`."""
    return _mixed(key ^ purpose)


@compiled
def uniform(start: np.uint64, column: int) -> float:
    """In the open interval (0, 1)."""
    bits = _mixed(start + np.uint64(column + 1) * _GOLDEN)
    return (np.float64(bits >> _S12) + 0.5) * _TWO_TO_MINUS_52
