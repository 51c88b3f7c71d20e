"""Who is in which bucket: a salted hash of the user id, nothing else."""

from dataclasses import dataclass

import numpy as np

from policies.common.errors import InputError
from policies.draws import Draws, key_of

HELD_OUT = -1


def parse_weights(text: str | None, arms: int) -> np.ndarray:
    """(arms,) shares that sum to at most 1, from "0.1,0.1" or "50,50" (per cent); equal shares of
    all by default.
    """
    if text is None:
        return np.full(arms, 1.0 / arms)
    try:
        weights = np.array([float(part) for part in text.split(",")])
    except ValueError:
        raise InputError(
            f"--weights '{text}': wanted numbers with commas between them, such as 0.5,0.5"
        ) from None
    if len(weights) != arms:
        raise InputError(
            f"--weights '{text}' has {len(weights)} numbers for {arms} policies; give one each"
        )
    if weights.sum() > 1 + 1e-9:
        weights = weights / 100
    if not (np.isfinite(weights).all() and (weights > 0).all() and weights.sum() <= 1 + 1e-9):
        raise InputError(
            f"--weights '{text}': wanted positive shares that sum to at most 1 (or 100 for per"
            " cent)"
        )
    return weights


def assign(users: np.ndarray, weights: np.ndarray, salt: str) -> np.ndarray:
    """(U,) int16 bucket of each user id, HELD_OUT beyond the weights.

    Buckets take the hash from 0 upwards in order, so one more bucket takes its users from the
    held-out rest alone.
    """
    place = Draws(key_of("bucket", salt), users, np.zeros_like(users)).uniform("place", 1)[:, 0]
    edges = np.cumsum(weights)
    bucket = np.searchsorted(edges, place, side="right")
    bucket[(bucket == len(weights)) & (edges[-1] >= 1 - 1e-9)] = len(weights) - 1
    return np.where(bucket < len(weights), bucket, HELD_OUT).astype(np.int16)


@dataclass(frozen=True)
class Assignment:
    """How the users of an experiment are split between its arms.

    Attributes:
        arms: in order. weights: (arms,) shares that sum to at most 1. salt: of the hash.
    """

    arms: tuple[str, ...]
    weights: np.ndarray
    salt: str

    def of_users(self, users: np.ndarray) -> np.ndarray:
        """(U,) int16 place of each user's arm in `arms`, or HELD_OUT."""
        return assign(users, self.weights, self.salt)

    @property
    def shares(self) -> dict[str, float]:
        return dict(zip(self.arms, self.weights.tolist(), strict=True))
