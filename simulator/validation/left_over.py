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
    data: Dataset, late: Impressions, predicted: np.ndarray, looked: np.ndarray, seed: int
) -> LeftOver | None:
    """By one step of a logistic regression of the held-out clicks on the taste, what the users say
    and a level of the late days being given (a score test; Rao, 1948). None where the log tells no
    taste.

    Args:
        data: the early log, whose choices tell the taste. predicted: (rows,) click probability, and
            looked: (rows,) that of being looked at.
    """
    user, item, _ = choices(data)
    taste = profile(full_taste(data, seed), user, item)
    unit = unit_of(taste, generator("unit of taste", seed))
    known = np.bincount(user, minlength=data.n_users)[late.user] > 0
    if not unit or not known.any():
        return None
    late, p, looked = late.rows(known), predicted[known], looked[known]
    p = np.clip(p, 1e-9, 1 - 1e-9)
    slope_of_p = p * (1 - np.minimum(p / np.maximum(looked, 1e-9), 1.0))  # by the logit
    weight = slope_of_p**2 / (p * (1 - p))
    if weight.sum() <= 0:
        return None
    x = unit * taste.score(late.user, late.item)
    x = x - np.average(x, weights=weight)  # a busier day is no taste
    information = float((weight * x**2).sum())
    residual = x * (late.clicked - p) * slope_of_p / (p * (1 - p))
    slope = float(residual.sum()) / information if information > 0 else 0.0
    by_user = np.bincount(late.user, residual - slope * weight * x**2)
    return LeftOver(slope, float(np.sqrt((by_user**2).sum()) / max(information, 1e-12)))
