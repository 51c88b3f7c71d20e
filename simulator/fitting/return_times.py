"""The gaps between visits, by maximum likelihood: two log-normals, a factor per user, satisfaction,
and leaving for good.

A log ends while users are away. Their last gaps are longer than what was seen of them, and leaving
them out would make long gaps too short, short ones too frequent and churn a guess; each enters as
what it is, a gap of at least so long (right-censored), or one that never ends.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from scipy.optimize import minimize
from torch import Tensor

from policies.draws import generator
from simulator.users.choice_model import Parameter

# of a user's factor, in standard deviations
NODES = torch.linspace(-3.5, 3.5, 21, dtype=torch.float64)
LOG_WEIGHTS = torch.log_softmax(-0.5 * NODES**2, dim=0)
MOST_USERS = 3000  # whose gaps the numbers are fitted on
MOST_UNSURE = 1.0  # standard error of a logarithm of hours, above which a number counts as assumed
MOST_UNSURE_SHARE = 0.25
FEWEST = 200  # gaps, or nothing is estimated
SOURCE = (
    "maximum likelihood of a mixture of two log-normals, last gaps censored (hours, in operational"
    " time)"
)
_BOUNDS = [(-5, 5), (-3, 6), (-3, 1.5), (-3, 8), (-3, 1.5), (-5, 1), (-5, 5), (-10, 0)]


@dataclass(frozen=True)
class Gaps:
    """One row per visit.

    Attributes:
        user: (n,) integers. hours: (n,) log operational hours to the next visit, or to the end of
            the log.
        ended: (n,) bool, whether the next visit was seen. share: (n,) clicked in the visit, minus
            the reference.
    """

    user: np.ndarray
    hours: np.ndarray
    ended: np.ndarray
    share: np.ndarray

    @staticmethod
    def of(visits: pd.DataFrame, gap: np.ndarray, left: np.ndarray, reference: float) -> "Gaps":
        """Of a table of visits.

        Args:
            gap: (visits,) operational seconds to the next visit, NaN where none was seen. left: to
                the end of the log.
        """
        ended = np.isfinite(gap)
        seconds = np.maximum(np.where(ended, gap, left), 60.0)
        return Gaps(
            visits["user"].to_numpy(),
            np.log(seconds / 3600),
            ended,
            visits["share"].to_numpy() - reference,
        )

    def rows(self, which: np.ndarray) -> "Gaps":
        return Gaps(self.user[which], self.hours[which], self.ended[which], self.share[which])


class _Likelihood:
    """Of all users' gaps, their factors integrated out on a grid."""

    def __init__(self, gaps: Gaps):
        self.users, row = np.unique(gaps.user, return_inverse=True)
        self.row = torch.from_numpy(row)
        self.y, self.share = (
            torch.from_numpy(gaps.hours.astype(float)),
            torch.from_numpy(gaps.share.astype(float)),
        )
        self.ended = torch.from_numpy(gaps.ended)

    def by_user(self, p: Tensor) -> Tensor:
        """(users, nodes) log-likelihood and prior of each user's gaps at each value of
        its factor.
        """
        short, gone = torch.nn.functional.logsigmoid(p[0]), torch.nn.functional.logsigmoid(p[7])
        long, stays = torch.nn.functional.logsigmoid(-p[0]), torch.nn.functional.logsigmoid(-p[7])
        y = (self.y - p[6] * self.share)[:, None] - torch.exp(p[5]) * NODES
        one, other = (y - p[1]) / torch.exp(p[2]), (y - p[3]) / torch.exp(p[4])
        seen, unseen = self.ended, ~self.ended
        density = torch.logaddexp(
            short - p[2] - 0.5 * one[seen] ** 2, long - p[4] - 0.5 * other[seen] ** 2
        )
        beyond = torch.logaddexp(
            short + torch.special.log_ndtr(-one[unseen]),
            long + torch.special.log_ndtr(-other[unseen]),
        )
        total = torch.zeros((len(self.users), len(NODES)), dtype=torch.float64)
        total = total.index_add(0, self.row[seen], density + stays)
        total = total.index_add(0, self.row[unseen], torch.logaddexp(beyond + stays, gone))
        return total + LOG_WEIGHTS

    def negative(self, p: Tensor) -> Tensor:
        return -torch.logsumexp(self.by_user(p), dim=1).sum()


def fit_return_times(
    gaps: Gaps, n_users: int, seed: int = 0
) -> tuple[dict[str, Parameter], np.ndarray]:
    """The numbers, and a draw of each user's log factor from what its gaps leave open.

    Returns:
        Numbers by name, none where the log has too few gaps; (n_users,) float32.
    """
    rng = generator("returning", seed)
    activity = np.zeros(n_users, np.float32)
    if gaps.ended.sum() < FEWEST:
        return {}, activity
    everyone = np.unique(gaps.user)
    some = (
        everyone if len(everyone) <= MOST_USERS else rng.choice(everyone, MOST_USERS, replace=False)
    )
    likelihood = _Likelihood(gaps.rows(np.isin(gaps.user, some)))
    y = gaps.hours[gaps.ended]
    start = np.array(
        [-1.0, np.quantile(y, 0.15), -0.7, np.quantile(y, 0.75), -0.7, -1.2, 0.0, -5.0]
    )

    def objective(p: np.ndarray) -> tuple[float, np.ndarray]:
        x = torch.from_numpy(p).requires_grad_(True)
        value = likelihood.negative(x)
        value.backward()
        assert x.grad is not None
        return float(value.detach()), x.grad.numpy()

    p = minimize(
        objective, start, jac=True, method="L-BFGS-B", bounds=_BOUNDS, options={"maxiter": 200}
    ).x
    # the likelihood has no top there: its curvature says nothing
    at_end = np.array(
        [min(x - low, high - x) < 1e-6 for x, (low, high) in zip(p, _BOUNDS, strict=True)]
    )
    if p[1] > p[3]:
        p[[0, 1, 2, 3, 4]] = -p[0], p[3], p[4], p[1], p[2]
        at_end[[1, 2, 3, 4]] = at_end[[3, 4, 1, 2]]
    optimum = torch.from_numpy(p)
    if not np.isfinite(p).all():
        return {}, activity
    curvature = torch.autograd.functional.hessian(likelihood.negative, optimum).numpy()
    if not np.isfinite(curvature).all():  # nothing of this form: all gaps alike, say
        return {}, activity
    errors = np.sqrt(np.maximum(np.diag(np.linalg.pinv(curvature)), 0))
    errors[at_end | (errors == 0)] = np.inf
    activity[everyone] = _factors(_Likelihood(gaps), optimum, rng)
    return _numbers(p, errors), activity


def _numbers(p: np.ndarray, errors: np.ndarray) -> dict[str, Parameter]:
    """Back from logits and logarithms, errors by the delta method."""
    short, gone = 1 / (1 + np.exp(-p[[0, 7]]))
    values = {
        "gap_short_share": (short, errors[0] * short * (1 - short)),
        "gap_short_mean": (p[1], errors[1]),
        "gap_short_sd": (np.exp(p[2]), errors[2] * np.exp(p[2])),
        "gap_long_mean": (p[3], errors[3]),
        "gap_long_sd": (np.exp(p[4]), errors[4] * np.exp(p[4])),
        "activity_sd": (np.exp(p[5]), errors[5] * np.exp(p[5])),
        "return_satisfaction": (p[6], errors[6]),
        "churn": (gone, errors[7] * gone * (1 - gone)),
    }
    return {
        name: _parameter(name, float(value), float(error))
        for name, (value, error) in values.items()
    }


def _parameter(name: str, value: float, error: float) -> Parameter:
    """Estimated, or where the log hardly tells it (one log-normal would do, say) assumed to be as
    likely as can be.
    """
    most = (
        value
        if name.endswith("_sd")
        else MOST_UNSURE_SHARE
        if name in ("gap_short_share", "churn")
        else MOST_UNSURE
    )
    if error <= most:
        return Parameter(value, "estimated", SOURCE, error)
    return Parameter(
        value,
        "assumed",
        f"likeliest, but the log hardly tells it ({_how_far(error)}); {SOURCE}",
        most,
    )


def _how_far(error: float) -> str:
    return f"s.e. {error:.2g}" if np.isfinite(error) else "at the end of what is looked at"


def _factors(likelihood: _Likelihood, p: Tensor, rng: np.random.Generator) -> np.ndarray:
    """(users,) a draw of each factor from its posterior, on the grid and evenly within a cell."""
    with torch.no_grad():
        chance = torch.softmax(likelihood.by_user(p), dim=1).numpy()
    u = rng.random((len(chance), 2))
    cell = (chance.cumsum(axis=1) < u[:, :1]).sum(axis=1).clip(max=len(NODES) - 1)
    nodes = NODES.numpy()
    factors: np.ndarray = np.exp(float(p[5])) * (
        nodes[cell] + (u[:, 1] - 0.5) * (nodes[1] - nodes[0])
    )
    return factors
