"""Random numbers as a function of (seed, purpose, user, session, page) and of nothing else.

A draw does not depend on who else is in the batch, on how often somebody drew before, or on the
order of calls. That is what makes the log independent of the batch size, of the other buckets and
of the population. The numbers are SplitMix64 (Steele, Lea and Flood, OOPSLA 2014) used as a hash:
each key goes through the finaliser once.
"""

import hashlib
from functools import lru_cache

import numpy as np
from scipy.special import ndtri

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
MIX_2 = np.uint64(0x94D049BB133111EB)
S30, S27, S31, S12 = np.uint64(30), np.uint64(27), np.uint64(31), np.uint64(12)
TWO_TO_MINUS_52 = 2.0**-52


def _mix(x: np.ndarray) -> np.ndarray:
    """SplitMix64's finaliser, in place on a uint64 array."""
    x ^= x >> S30
    x *= MIX_1
    x ^= x >> S27
    x *= MIX_2
    x ^= x >> S31
    return x


def key_of(*parts: object) -> int:
    """A 64-bit key from anything that prints the same in every process (no `hash()`, which is
    salted).
    """
    return _key_of_text("\x1f".join(map(str, parts)))


@lru_cache(maxsize=4096)
def _key_of_text(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def generator(*parts: object) -> np.random.Generator:
    """A generator for training, keyed by what the training is: (seed, settings, round)."""
    return np.random.default_rng(key_of(*parts))


class Draws:
    """Random numbers of these users on this page.

    Args:
        key: 64-bit key of the run, from `key_of`.
        users, sessions, pages: (B,) integers that say whose numbers these are.
    """

    __slots__ = ("_keys",)

    def __init__(
        self, key: int, users: np.ndarray, sessions: np.ndarray, pages: np.ndarray | int = 0
    ):
        keys = np.asarray(users).astype(np.uint64)
        keys *= GOLDEN
        keys ^= np.uint64(key)
        _mix(keys)
        keys += (np.asarray(sessions).astype(np.uint64) << np.uint64(20)) + np.asarray(
            pages
        ).astype(np.uint64)
        keys *= GOLDEN
        self._keys = _mix(keys)

    def __len__(self) -> int:
        return len(self._keys)

    @property
    def keys(self) -> np.ndarray:
        """(B,) uint64, for `policies.loops.draws`. Not to be changed."""
        return self._keys

    def rows(self, which: np.ndarray | slice) -> "Draws":
        """The same numbers for some of the users."""
        part = object.__new__(Draws)
        part._keys = self._keys[which]
        return part

    def bits(self, purpose: str, n: int) -> np.ndarray:
        """(B, n) uint64, all bits uniform."""
        start = _mix(self._keys ^ np.uint64(key_of(purpose)))
        steps = np.arange(1, n + 1, dtype=np.uint64) * GOLDEN
        return _mix(start[:, None] + steps)

    def uniform(self, purpose: str, n: int) -> np.ndarray:
        """(B, n) float64 in the open interval (0, 1)."""
        x = (self.bits(purpose, n) >> S12).astype(np.float64)
        x += 0.5
        x *= TWO_TO_MINUS_52
        return x

    def normal(self, purpose: str, n: int) -> np.ndarray:
        """(B, n) standard normal."""
        return ndtri(self.uniform(purpose, n))

    def derived(self, purpose: str) -> "Draws":
        """Independent draws for the same users, for a purpose that needs several of everything."""
        other = object.__new__(Draws)
        other._keys = _mix(self._keys ^ np.uint64(key_of("derived", purpose)))
        return other

    def gumbel(self, purpose: str, n: int) -> np.ndarray:
        """(B, n) standard Gumbel: the arg-max of `log weights + gumbel` is a draw by
        the weights.
        """
        x = self.uniform(purpose, n)
        np.log(x, out=x)
        np.negative(x, out=x)
        np.log(x, out=x)
        return np.negative(x, out=x)
