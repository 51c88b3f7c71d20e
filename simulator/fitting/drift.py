"""Drift: how far a click that chance decided moves a user's taste towards the item's category, told
by days that are near.

What is left of a user's answers in a category on one day goes together with what is left on
another: because the fit does not know the whole taste, as much on days far apart as on days that
are near; and because taste moves, more on days that are near. The second part is drift. It is early
against late taste, for all pairs of days.
"""

import numpy as np
from scipy.special import expit

from policies.log import Dataset
from simulator.users.choice_model import DAY, Parameter

HALF_LIFE_D = 7.0
MOST_LAG = 28  # days
# standard errors from 0: weariness that was fitted a little wrong leans the estimate by nearly one
SURE = 3.3
LEAST_PAIRS = 2_000
ASSUMED = {
    "drift": (0.0, "taste stays as it is; told by a log of whole sessions alone"),
    "drift_half_life_d": (HALF_LIFE_D, "half of a drift is gone after a week"),
}


def drift_of(data: Dataset, logits: np.ndarray, seen: np.ndarray) -> tuple[float, float] | None:
    """Logits that a category gains by a click that was not expected, and the standard error.

    A product of residuals of two days has the mean tau^2 w w' + drift v w' 2^(-lag / half-life),
    with w the slopes of the day's clicks in the logit and v their variance on the earlier day.
    Errors allow for users as clusters.

    Args:
        logits: (rows,) of a click. seen: (rows,) probability of a look.

    Returns:
        None where days are few, or where the log has not all that users saw: a click would stand
            for many.
    """
    if "sessions" not in data.has:
        return None
    p = expit(logits)
    expected = seen * p
    day = np.floor((data.log.time - data.log.time.min()) / DAY).astype(np.int64)
    days, kinds = int(day.max()) + 1, int(data.catalogue.category.max()) + 1
    kind = data.catalogue.category[data.log.item].astype(np.int64)
    some = kind > 0
    cell, row = np.unique(
        ((data.log.user * np.int64(kinds) + kind) * days + day)[some], return_inverse=True
    )
    sums = [
        np.bincount(row, x[some])
        for x in (data.log.clicked - expected, expected * (1 - p), expected * (1 - expected))
    ]
    return _over_pairs(cell, days, kinds, *sums)


def as_parameters(estimate: tuple[float, float] | None) -> dict[str, Parameter]:
    """The estimate where it can be told from 0; 0 else."""
    if estimate is None:
        return {}
    value, error = estimate
    why = (
        f"residuals of one user and category on days near and far, half-life of {HALF_LIFE_D:g}"
        " days and clicks as its cause assumed"
    )
    if abs(value) < SURE * error:
        return {
            "drift": Parameter(
                0.0, "assumed", f"none: {why}; {value:.4f} cannot be told from 0 (s.e. {error:.4f})"
            )
        }
    return {"drift": Parameter(value, "estimated", why, error)}


def _over_pairs(
    cell: np.ndarray,
    days: int,
    kinds: int,
    residual: np.ndarray,
    slope: np.ndarray,
    variance: np.ndarray,
) -> tuple[float, float] | None:
    """The drift and its standard error, from sums by user, category and day, (cells,) each and
    `cell` rising.
    """
    scale = 1 / np.sqrt(np.maximum(variance, 1e-9))
    user = np.unique(cell // days // kinds, return_inverse=True)[1]
    n_users = int(user.max(initial=-1)) + 1
    past = np.zeros(len(cell))  # variance of what earlier days have moved, per squared drift
    moved = slope / np.maximum(variance, 1e-9)
    inner, outer = np.zeros((n_users, 2, 2)), np.zeros((n_users, 2))  # x'x and x'y of each user
    pairs = 0
    pull = np.zeros(len(cell))
    for lag in range(1, min(MOST_LAG, days - 1) + 1):
        first = np.flatnonzero(cell % days + lag < days)
        place = np.searchsorted(cell, cell[first] + lag)
        there = (place < len(cell)) & (cell[np.minimum(place, len(cell) - 1)] == cell[first] + lag)
        a, b = first[there], place[there]
        pairs += len(a)
        np.add.at(past, b, variance[a] * 4.0 ** (-lag / HALF_LIFE_D))
        weight = scale[a] * scale[b]
        y = residual[a] * residual[b] * weight
        x = (
            slope[a] * slope[b] * weight,
            variance[a] * 2.0 ** (-lag / HALF_LIFE_D) * slope[b] * weight,
        )
        np.add.at(pull, a, x[1] ** 2)
        for i in range(2):
            outer[:, i] += np.bincount(user[a], x[i] * y, minlength=n_users)
            for j in range(2):
                inner[:, i, j] += np.bincount(user[a], x[i] * x[j], minlength=n_users)
    total = inner.sum(axis=0)
    if pairs < LEAST_PAIRS or np.linalg.cond(total) > 1e12:
        return None
    inverse = np.linalg.inv(total)
    beta = inverse @ outer.sum(axis=0)
    scores = outer - inner @ beta
    spread = inverse @ (scores.T @ scores) @ inverse
    # What had moved already goes together, too: the slope is drift + drift^2 * before.
    before = float(pull @ (past * moved) / pull.sum())
    value = 2 * beta[1] / (1 + np.sqrt(max(1 + 4 * before * beta[1], 0.0)))
    return float(value), float(np.sqrt(spread[1, 1]) / max(1 + 2 * before * value, 0.1))
