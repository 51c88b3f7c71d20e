"""User and item levels of a yes-or-no answer among what was shown: a logistic regression with two crossed random effects.

The only part of the appeal that a log of shown items identifies by itself. Fitted by Fisher scoring with the spread of
the levels estimated on the way (penalised quasi-likelihood, Breslow and Clayton, 1993, the posterior variances of users
and items taken as independent), so that a user with three rows is shrunk as far as three rows deserve.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import expit, logit

from simulator.users import Number


@dataclass(frozen=True)
class Levels:
    """Logits: `base` + user + item levels + the columns' slopes.

    Attributes:
        user: (U,), item: (N + 1,) float64 levels, 0 on average where nothing is known.
        user_error, item_error: posterior standard deviations of the same shapes.
        slopes: by column.
        user_sd, item_sd: the estimated spread of the levels.
    """

    base: Number
    user: np.ndarray
    item: np.ndarray
    user_error: np.ndarray
    item_error: np.ndarray
    slopes: dict[str, Number]
    user_sd: float
    item_sd: float

    def logits(self, user: np.ndarray, item: np.ndarray, columns: dict[str, np.ndarray] | None = None) -> np.ndarray:
        x = self.base.value + self.user[user] + self.item[item]
        for name, column in (columns or {}).items():
            x = x + self.slopes[name].value * column
        return x


def fit_levels(
    y: np.ndarray, user: np.ndarray, item: np.ndarray, n_users: int, n_items: int,
    columns: dict[str, np.ndarray] | None = None, reach: np.ndarray | None = None, source: str = "",
    iterations: int = 80, tolerance: float = 1e-4,
) -> Levels:  # fmt: skip
    """Fits the levels.

    Args:
        y: (rows,) bool answers. user, item: (rows,) of each.
        columns: name -> (rows,), further covariates with slopes of their own.
        reach: (rows,) probability that the row was looked at; a yes has probability reach * sigmoid(logit).
    """
    columns = columns or {}
    y = y.astype(float)
    rate = float(np.clip(y.mean(), 1e-4, 1 - 1e-4))
    seen = np.ones(len(y)) if reach is None else reach
    design = np.column_stack([np.ones(len(y)), *columns.values()])
    slopes = np.zeros(design.shape[1])
    slopes[0] = logit(min(rate / float(seen.mean()), 0.999))
    groups = {"user": (user, n_users), "item": (item, n_items + 1)}
    level = {name: np.zeros(size) for name, (_, size) in groups.items()}
    variance = dict.fromkeys(groups, 0.25)
    spread = {name: np.full(size, 0.25) for name, (_, size) in groups.items()}
    information = np.eye(design.shape[1])
    for _ in range(iterations):
        before = np.concatenate([slopes, [variance["user"] ** 0.5, variance["item"] ** 0.5]])
        for name, (index, size) in groups.items():
            slope, weight = _score(design @ slopes + level["user"][user] + level["item"][item], y, seen)
            precision = np.bincount(index, weight, minlength=size) + 1 / variance[name]
            pull = np.bincount(index, slope, minlength=size) - level[name] / variance[name]
            level[name] = level[name] + pull / precision
            spread[name] = 1 / precision
            there = np.bincount(index, minlength=size) > 0
            variance[name] = max(float((level[name][there] ** 2 + spread[name][there]).mean()), 1e-4)
        slope, weight = _score(design @ slopes + level["user"][user] + level["item"][item], y, seen)
        information = design.T @ (design * weight[:, None]) + 1e-9 * np.eye(design.shape[1])
        slopes = slopes + np.linalg.solve(information, design.T @ slope)
        after = np.concatenate([slopes, [variance["user"] ** 0.5, variance["item"] ** 0.5]])
        if np.abs(after - before).max() < tolerance:
            break
    errors = np.sqrt(np.diag(np.linalg.inv(information)))
    numbers = {
        name: Number(float(value), "estimated", source, float(error))
        for name, value, error in zip(["", *columns], slopes, errors, strict=True)
    }
    return Levels(
        numbers.pop(""), level["user"], level["item"], np.sqrt(spread["user"]), np.sqrt(spread["item"]), numbers,
        variance["user"] ** 0.5, variance["item"] ** 0.5,
    )  # fmt: skip


def _score(x: np.ndarray, y: np.ndarray, reach: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First derivative of the log-likelihood by the logit, and its expected information."""
    p = expit(x)
    mean = reach * p
    rest = np.maximum(1 - mean, 1e-9)
    return (y - mean) * (1 - p) / rest, reach * p * (1 - p) ** 2 / rest
