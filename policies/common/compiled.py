"""Loops that numba compiles, once on a machine: what it made is kept beside the code, or where
`NUMBA_CACHE_DIR` says.

Modules that use it are imported where the loops are needed, since numba takes most of a second.
"""

from collections.abc import Callable
from typing import TypeVar, cast

from numba import njit

F = TypeVar("F", bound=Callable[..., object])


def compiled(loop: F) -> F:
    """The same function, compiled at its first call. Sums keep their order: no fast math. Other
    threads may run beside it.
    """
    try:
        return cast(F, njit(cache=True, error_model="numpy", nogil=True)(loop))
    except RuntimeError:  # no folder can be written to: then it is compiled in every process
        return cast(F, njit(error_model="numpy", nogil=True)(loop))
