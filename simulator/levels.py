"""User and item levels of a yes-or-no answer among what was shown: a logistic regression with two crossed random effects.

The only part of the appeal that a log of shown items identifies by itself. Fitted by Fisher scoring with the spread of
the levels estimated on the way (penalised quasi-likelihood, Breslow and Clayton, 1993, the posterior variances of users
and items taken as independent), so that a user with three rows is shrunk as far as three rows deserve.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import expit, logit


@dataclass(frozen=True)
class Levels:
    """Logits: `base` + user + item levels.

    Attributes:
        user: (U,), item: (N + 1,) float64 levels, 0 where nothing is known.
        user_sd, item_sd: the estimated spread of the levels.
    """

    base: float
    user: np.ndarray
    item: np.ndarray
    user_sd: float
    item_sd: float

    def logits(self, user: np.ndarray, item: np.ndarray) -> np.ndarray:
        x: np.ndarray = self.base + self.user[user] + self.item[item]
        return x


def fit_levels(
    y: np.ndarray, user: np.ndarray, item: np.ndarray, n_users: int, n_items: int,
    reach: np.ndarray | None = None, iterations: int = 80, tolerance: float = 1e-4,
) -> Levels:  # fmt: skip
    """Fits the levels.

    Args:
        y: (rows,) bool answers. user, item: (rows,) of each.
        reach: (rows,) probability that the row was looked at; a yes has probability reach * sigmoid(logit).
    """
    y = y.astype(float)
    rate = float(np.clip(y.mean(), 1e-4, 1 - 1e-4))
    seen = np.ones(len(y)) if reach is None else reach
    base = float(logit(min(rate / float(seen.mean()), 0.999)))
    groups = {"user": (user, n_users), "item": (item, n_items + 1)}
    level = {name: np.zeros(size) for name, (_, size) in groups.items()}
    variance = dict.fromkeys(groups, 0.25)
    for _ in range(iterations):
        before = np.array([base, *variance.values()])
        for name, (index, size) in groups.items():
            slope, weight = _score(base + level["user"][user] + level["item"][item], y, seen)
            precision = np.bincount(index, weight, minlength=size) + 1 / variance[name]
            pull = np.bincount(index, slope, minlength=size) - level[name] / variance[name]
            level[name] = level[name] + pull / precision
            there = np.bincount(index, minlength=size) > 0
            variance[name] = max(float((level[name][there] ** 2 + 1 / precision[there]).mean()), 1e-4)
        slope, weight = _score(base + level["user"][user] + level["item"][item], y, seen)
        base += float(slope.sum() / max(weight.sum(), 1e-9))
        if np.abs(np.array([base, *variance.values()]) - before).max() < tolerance:
            break
    return Levels(base, level["user"], level["item"], variance["user"] ** 0.5, variance["item"] ** 0.5)


def _score(x: np.ndarray, y: np.ndarray, reach: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First derivative of the log-likelihood by the logit, and its expected information."""
    p = expit(x)
    mean = reach * p
    rest = np.maximum(1 - mean, 1e-9)
    return (y - mean) * (1 - p) / rest, reach * p * (1 - p) ** 2 / rest
