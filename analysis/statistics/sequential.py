"""Looking more than once up to a planned end: group-sequential bounds by error spending.

A test statistic seen at looks k = 1..K behaves like Brownian motion seen at its information I_k.
The recursion of Armitage, McPherson and Rowe (1969) carries the density of what has not crossed a
bound from look to look.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import brentq
from scipy.stats import norm

from analysis.errors import AnalysisError

NODES = 64  # per standard deviation of the widest step; errors are far below 1e-6
LEAST_DRAWS = 20  # beyond a bound, below which the bound of a single look is as good
MOST_PIECES = 250  # of 16 nodes each
WIDEST = 8.0  # standard deviations beyond which nothing is left
_POINTS, _WEIGHTS = np.polynomial.legendre.leggauss(16)


def obrien_fleming(t: np.ndarray, alpha: float) -> np.ndarray:
    """Two-sided error spent by information t, hardly any of it early (Lan and DeMets 1983), half of
    it per side.
    """
    with np.errstate(divide="ignore"):
        return 4 * norm.sf(norm.isf(alpha / 4) / np.sqrt(t))


def pocock(t: np.ndarray, alpha: float) -> np.ndarray:
    """Two-sided error spent by information t, much of it early: bounds that hardly move (Lan and
    DeMets 1983).
    """
    return alpha * np.log1p(np.expm1(1.0) * t)


def linear(t: np.ndarray, alpha: float) -> np.ndarray:
    """Two-sided error spent in proportion to the information."""
    return alpha * t


SPENDING: dict[str, Callable[[np.ndarray, float], np.ndarray]] = {
    "obrien_fleming": obrien_fleming,
    "pocock": pocock,
    "linear": linear,
}


def spending_bounds(
    information: ArrayLike,
    alpha: float = 0.05,
    spending: str = "obrien_fleming",
    *,
    spend_at: ArrayLike | None = None,
) -> np.ndarray:
    """(K,) two-sided bounds of |z| at looks with these information fractions (Lan and DeMets,
    Biometrika 1983).

    Args:
        information: (K,) rising, of the whole planned information; the last is 1 at the planned
            end. Only the ratios matter for the correlation of the looks.
        alpha: two-sided, over all looks together.
        spending: `obrien_fleming`, `pocock` or `linear`.
        spend_at: (K,) fractions at which the error is spent, where they are not the information's:
            any rising numbers fixed before the data, such as shares of the planned days.

    Raises:
        AnalysisError: fractions that do not rise or an unknown spending function.
    """
    if spending not in SPENDING:
        raise AnalysisError(f"spending '{spending}' is unknown; there are: {', '.join(SPENDING)}")
    if not 0 < alpha < 1:
        raise AnalysisError(f"alpha lies between 0 and 1, not {alpha}")
    t = _rising(information)
    at = np.minimum(t if spend_at is None else _rising(spend_at), 1.0)
    if len(at) != len(t):
        raise AnalysisError(
            f"{len(t)} looks and {len(at)} fractions to spend at: wanted one per look"
        )
    spent = np.diff(SPENDING[spending](at, alpha), prepend=0.0)
    bounds = np.empty(len(t))
    density = _Density()
    for k in range(len(t)):
        density.step(t[k] - (t[k - 1] if k else 0.0), 0.0)
        bounds[k] = density.bound_that_spends(float(spent[k]) / 2, t[k])
        density.keep(bounds[k] * np.sqrt(t[k]))
    return bounds


def bounds_of_correlated_looks(
    correlation: ArrayLike,
    spend_at: ArrayLike,
    alpha: float = 0.05,
    spending: str = "obrien_fleming",
    draws: int = 200_000,
) -> np.ndarray:
    """(K,) two-sided bounds of |z| at looks whose statistics have any correlation; by simulation
    with a fixed seed.

    Totals of users who come in over time and differ lastingly are no Brownian motion of any
    information: their looks correlate otherwise. Where they are one, this gives the bounds of
    `spending_bounds`.

    Args:
        correlation: (K, K) of the statistics of the looks. spend_at: (K,) rising fractions at which
            the error is spent.
        draws: of the statistics; the bounds of looks that spend next to nothing are those of a
            single look.
    """
    matrix, at = np.atleast_2d(np.asarray(correlation, float)), np.minimum(_rising(spend_at), 1.0)
    if matrix.shape != (len(at), len(at)):
        raise AnalysisError(
            f"{len(at)} looks and a correlation of shape {matrix.shape}: wanted one row and column"
            " per look"
        )
    if spending not in SPENDING:
        raise AnalysisError(f"spending '{spending}' is unknown; there are: {', '.join(SPENDING)}")
    # A triangular root and one row of draws per look: a bound does not depend on the looks after
    # it.
    root = np.linalg.cholesky(matrix + 1e-9 * np.eye(len(at)))
    z = np.abs(root @ np.random.default_rng(0).normal(size=(len(at), draws))).T
    spent = np.diff(SPENDING[spending](at, alpha), prepend=0.0)
    bounds = np.empty(len(at))
    for k, error in enumerate(spent):
        count = round(error * draws)
        alone = float(norm.isf(error / 2)) if error > 1e-100 else float("inf")
        enough = LEAST_DRAWS <= count < len(z)
        bounds[k] = (
            min(alone, float(np.partition(z[:, k], len(z) - count)[len(z) - count]))
            if enough
            else alone
        )
        z = z[z[:, k] < bounds[k]]
    return bounds


def crossing_probabilities(
    information: ArrayLike, bounds: ArrayLike, drift: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """(K,) chances of crossing upwards, and downwards, first at each look.

    Args:
        information: (K,) rising. bounds: (K,) of |z|. drift: the mean of z at information 1; at t
            it is drift sqrt(t).
    """
    t, b = _rising(information), _bounds(bounds)
    if len(t) != len(b):
        raise AnalysisError(f"{len(t)} looks and {len(b)} bounds: wanted one per look")
    if not np.isfinite(drift):
        raise AnalysisError(f"the drift is a finite number, not {drift}")
    up, down = np.empty(len(t)), np.empty(len(t))
    density = _Density()
    for k in range(len(t)):
        step = t[k] - (t[k - 1] if k else 0.0)
        density.step(step, drift * step)
        edge = b[k] * np.sqrt(t[k])
        up[k], down[k] = density.above(edge), density.below(-edge)
        density.keep(edge)
    return up, down


class _Density:
    """What has not crossed yet, as weights on nodes of B(t) = z sqrt(t), and the step that is under
    way.
    """

    def __init__(self) -> None:
        self.nodes, self.mass = np.zeros(1), np.ones(1)

    def step(self, variance: float, mean: float) -> None:
        self.centre, self.sd = self.nodes + mean, np.sqrt(variance)

    def above(self, edge: float) -> float:
        return float(self.mass @ norm.sf((edge - self.centre) / self.sd))

    def below(self, edge: float) -> float:
        return float(self.mass @ norm.cdf((edge - self.centre) / self.sd))

    def bound_that_spends(self, error: float, t: float) -> float:
        """The bound of z beyond which this much lies on one side; infinite where there is next to
        nothing to spend.
        """
        if error < 1e-100:
            return float("inf")
        # of an unstopped process; a stopped one has less beyond
        most = float(norm.isf(error)) * np.sqrt(t)
        if self.above(most) >= error:
            return most / np.sqrt(t)
        return float(
            brentq(lambda edge: self.above(edge) - error, -8 * np.sqrt(t), most, xtol=1e-12)
        ) / np.sqrt(t)

    def keep(self, edge: float) -> None:
        """Lets go what lies beyond the bounds, and puts the rest on new nodes (Gauss-Legendre in
        pieces).
        """
        low, high = (
            max(-edge, self.centre.min() - WIDEST * self.sd),
            min(edge, self.centre.max() + WIDEST * self.sd),
        )
        pieces = max(int(np.ceil((high - low) / self.sd * NODES / 16 / 8)), 2)
        if pieces > MOST_PIECES:
            raise AnalysisError(
                "two neighbouring looks differ by next to no information; leave one of them out"
            )
        edges = np.linspace(low, high, pieces + 1)
        half = np.diff(edges) / 2
        nodes = ((edges[:-1] + half)[:, None] + half[:, None] * _POINTS).ravel()
        weights = (half[:, None] * _WEIGHTS).ravel()
        density = norm.pdf((nodes[:, None] - self.centre) / self.sd) @ self.mass / self.sd
        self.nodes, self.mass = nodes, weights * density


def _rising(values: ArrayLike) -> np.ndarray:
    t = np.atleast_1d(np.asarray(values, float))
    if (
        t.ndim != 1
        or not len(t)
        or not (np.isfinite(t).all() and t[0] > 0 and (np.diff(t) > 0).all())
    ):
        raise AnalysisError(
            f"information must be positive and rise from look to look, not {t.tolist()}"
        )
    return t


def _bounds(values: ArrayLike) -> np.ndarray:
    """(K,) bounds of |z|; infinite ones are of looks that cannot stop."""
    b = np.atleast_1d(np.asarray(values, float))
    if b.ndim != 1 or np.isnan(b).any() or (b <= 0).any():
        raise AnalysisError(f"bounds of |z| are numbers above 0, not {b.tolist()}")
    return b


# -- what to say after stopping --------------------------------------------------------------------
@dataclass(frozen=True)
class Stopped:
    """An effect judged after a group-sequential test has ended, at a crossing or at its last look.

    Attributes:
        estimate: median-unbiased. low, high: interval. pvalue: two-sided. naive: what a single look
            would have said.
    """

    estimate: float
    low: float
    high: float
    pvalue: float
    naive: float


def after_stopping(
    z: float,
    look: int,
    information: ArrayLike,
    bounds: ArrayLike,
    standard_error: float,
    *,
    level: float = 0.95,
) -> Stopped:
    """Estimate, interval and p-value in the stage-wise ordering (Tsiatis, Rosner and Mehta,
    Biometrics 1984).

    Args:
        z: statistic at the last look that was taken. look: its number, from 1. standard_error: of
            the effect at it.
        information, bounds: (K,) or more, of the looks up to this one at least.
    """
    t, b = _rising(information), _bounds(bounds)
    if not np.isfinite(z):
        raise AnalysisError(f"the statistic at the last look is a finite number, not {z}")
    if not 0 < standard_error < np.inf:
        raise AnalysisError(f"a standard error is a number above 0, not {standard_error}")
    if not 0 < level < 1:
        raise AnalysisError(f"a confidence level lies between 0 and 1, not {level}")
    if not 1 <= look <= min(len(t), len(b)):
        raise AnalysisError(
            f"look {look} of {len(t)} with {len(b)} bounds: wanted information and a bound for"
            " every look up to it"
        )
    t, b = t[:look], b[:look].copy()
    b[-1] = z

    def beyond(drift: float) -> float:
        """Chance of a result at least as far upwards: an earlier upper crossing, or as high a
        statistic here.
        """
        return float(_upwards(t, b, drift).sum())

    tail = (1 - level) / 2
    scale = standard_error * np.sqrt(t[-1])  # the effect is drift times this
    start = z / np.sqrt(t[-1])
    low, middle, high = (float(_root(beyond, q, start) * scale) for q in (tail, 0.5, 1 - tail))
    at_null = beyond(0.0)
    return Stopped(
        middle, low, high, min(2 * min(at_null, 1 - at_null), 1.0), float(z * standard_error)
    )


def _upwards(t: np.ndarray, bounds: np.ndarray, drift: float) -> np.ndarray:
    """(looks,) chances of upward crossings at the bounds before the last look and at the value
    itself there.
    """
    up = np.empty(len(t))
    density = _Density()
    for k in range(len(t)):
        step = t[k] - (t[k - 1] if k else 0.0)
        density.step(step, drift * step)
        up[k] = density.above(bounds[k] * np.sqrt(t[k]))
        if k < len(t) - 1:
            density.keep(bounds[k] * np.sqrt(t[k]))
    return up


def _root(f: Callable[[float], float], wanted: float, start: float) -> float:
    """Where the rising f reaches what is wanted."""
    width = 4.0
    while f(start - width) > wanted or f(start + width) < wanted:
        width *= 2
        if width > 1e6:
            raise AnalysisError(
                "no interval holds this statistic; is a bound or an information wrong?"
            )
    return float(brentq(lambda x: f(x) - wanted, start - width, start + width, xtol=1e-10))
