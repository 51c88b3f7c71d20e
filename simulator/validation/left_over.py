"""Taste that the users have not: does what they get wrong of held-out answers follow the taste that
earlier choices tell?
"""

from dataclasses import dataclass

import numpy as np

from policies.draws import generator
from policies.log import Dataset, Impressions
from simulator.fitting.factors import choices, full_taste, profile, unit_of


@dataclass(frozen=True)
class LeftOver:
    """What came out.

    Attributes:
        slope: logits by which people follow the taste more than the users do, for each standard
            deviation of it over random pairs, and its standard error over users.
    """

    slope: float
    error: float


def left_over(
    data: Dataset, late: Impressions, predicted: np.ndarray, seed: int
) -> LeftOver | None:
    """By one step of a logistic regression of the held-out clicks on the taste, what the users say
    being given (a score test; Rao, 1948). None where the log tells no taste.

    Args:
        data: the early log, whose choices tell the taste. predicted: (rows,) click probability.
    """
    user, item, _ = choices(data)
    taste = profile(full_taste(data, seed), user, item)
    unit = unit_of(taste, generator("unit of taste", seed))
    if not unit:
        return None
    x = unit * taste.score(late.user, late.item)
    chosen_any = np.bincount(user, minlength=data.n_users)[late.user] > 0
    x = np.where(chosen_any, x - x[chosen_any].mean() if chosen_any.any() else 0.0, 0.0)
    residual = x * (late.clicked - predicted)
    information = float((x**2 * predicted * (1 - predicted)).sum())
    if information <= 0:
        return None
    slope = float(residual.sum()) / information
    by_user = np.bincount(late.user, residual - slope * x**2 * predicted * (1 - predicted))
    return LeftOver(slope, float(np.sqrt((by_user**2).sum()) / information))
