"""Who is new: users who come for the first time, items that appear and are withdrawn, by the days
on which each was seen.

A log's users are a mixture. Some were there before it, and come on any of its days; others come on
a certain day for the first time. Each has a probability of coming on a day, from a beta
distribution, so that rare visitors are not mistaken for new ones. The share of newcomers is found
by maximum likelihood.
"""

import itertools

import numpy as np
from scipy.optimize import minimize
from scipy.special import betaln, expit

from policies.log import Dataset
from simulator.users.choice_model import DAY, Parameter

LEAST_DAYS, LEAST_SEEN = 4, 50
NAMES = ("new_users", "new_items", "gone_items")
_BOUNDS = ((-9.0, 5.0), (-5.0, 5.0), (-5.0, 8.0))


def share_new(
    first: np.ndarray, n: np.ndarray, days: int, known: np.ndarray | None = None
) -> tuple[float, float]:
    """Share of units that came on a day after the first for the first time ever, and its standard
    error.

    Args:
        first: (units,) integer day on which each was seen first, from 0. n: (units,) on how many
            days it was seen.
        days: of the log. known: (units,) bool, there before the log for sure.
    """
    known = np.zeros(len(first), bool) if known is None else known
    (first, n, sure), units = np.unique(np.stack([first, n, known]), axis=1, return_counts=True)
    late = (first > 0) & (sure == 0)

    def log_likelihood(p: np.ndarray) -> float:
        share, a, b = expit(p[0]), np.exp(p[1]), np.exp(p[2])
        missed = np.exp(betaln(a, b + days) - betaln(a, b))  # of those there before, who never came
        there = betaln(a + n, b + days - n) - betaln(a, b) - np.log1p(-missed)
        new = betaln(a + n - 1, b + days - first - n) - betaln(a, b) - np.log(days - 1)
        return float(
            units
            @ np.logaddexp(np.log1p(-share) + there, np.where(late, np.log(share) + new, -np.inf))
        )

    starts = [np.array([s, np.log(0.5), np.log(1.0)]) for s in (-3.0, 0.0)]
    optima = [
        minimize(lambda p: -log_likelihood(p), s, method="L-BFGS-B", bounds=_BOUNDS) for s in starts
    ]
    p = min(optima, key=lambda f: float(f.fun)).x
    share = float(expit(p[0]))
    error = np.sqrt(max(np.linalg.pinv(-_curvature(log_likelihood, p))[0, 0], 0.0))
    return share, float(error * share * (1 - share))


def _curvature(f, p: np.ndarray, step: float = 1e-3) -> np.ndarray:  # type: ignore[no-untyped-def]
    """Second derivatives by central differences."""
    e = step * np.eye(len(p))
    return np.array(
        [[f(p + a + b) - f(p + a - b) - f(p - a + b) + f(p - a - b) for a in e] for b in e]
    ) / (4 * step**2)


def arrivals(data: Dataset) -> dict[str, Parameter]:
    """New users, new items and withdrawn items per day, as shares of the users and of the items
    that the log has.
    """
    log = data.log.sorted()
    length = float(np.ptp(log.time)) / DAY if len(log) else 0.0
    if length < LEAST_DAYS:
        why = f"nobody: the log has less than {LEAST_DAYS} days"
        return {name: Parameter(0.0, "assumed", why) for name in NAMES}
    days = int(length)  # whole ones: half a day looks like few users
    since = log.time - log.time[0]
    since /= DAY
    edges = np.searchsorted(since, np.arange(days + 1))
    users, items = (_seen(unit, edges) for unit in (log.user, log.item))
    born = _parameter(*items, np.isin(items[2], data.history.item), days, "items")
    gone = Parameter(
        born.value, "assumed", "as many as appear; a policy may cease to show what is still there"
    )
    return {
        "new_users": _parameter(*users, np.isin(users[2], data.history.user), days, "users"),
        "new_items": born,
        "gone_items": gone,
    }


def _seen(unit: np.ndarray, edges: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """First day of each unit that was seen, on how many days it was seen, and which it is.

    Args:
        edges: (days + 1,) the rows between which the days lie.
    """
    first, n = np.full(unit.max() + 1, -1), np.zeros(unit.max() + 1, np.int64)
    for day, (begin, end) in enumerate(itertools.pairwise(edges)):
        there = np.zeros(len(n), bool)
        there[unit[begin:end]] = True
        n += there
        first[there & (first < 0)] = day
    which = np.flatnonzero(n)
    return first[which], n[which], which


def _parameter(
    first: np.ndarray, n: np.ndarray, which: np.ndarray, known: np.ndarray, days: int, what: str
) -> Parameter:
    if len(which) < LEAST_SEEN:
        return Parameter(0.0, "assumed", f"none: fewer than {LEAST_SEEN} {what}")
    share, error = (x / (days - 1) for x in share_new(first, n, days, known))
    why = f"share of the {what} per day, by the days on which each was seen"
    if share < 1.96 * error or share * days < 0.01:
        return Parameter(
            0.0, "assumed", f"none: {why}, {share:.4f}, cannot be told from 0 (s.e. {error:.4f})"
        )
    return Parameter(share, "estimated", why, error)
