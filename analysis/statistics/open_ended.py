"""Looking as often as one likes, with no planned end: confidence sequences and the mixture SPRT."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import log_ndtr

from analysis.errors import AnalysisError
from analysis.statistics.difference import ALTERNATIVES, check_errors


@dataclass(frozen=True)
class ConfidenceSequence:
    """Intervals that hold at all looks at once. Arrays of the shape that was given.

    Attributes:
        pvalue: that may be looked at as often as one likes; of this look alone (take the smallest
            so far).
    """

    low: Any
    high: Any
    pvalue: Any


def confidence_sequence(
    estimate: ArrayLike,
    standard_error: ArrayLike,
    n: ArrayLike,
    *,
    alpha: float = 0.05,
    optimal_n: float | None = None,
    alternative: str = "two-sided",
) -> ConfidenceSequence:
    """Asymptotic confidence sequence (Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas, arXiv
    2103.06476, theorem 2.2; one-sided by the half-normal mixture of its appendix).

    Args:
        estimate, standard_error: at each look.
        n: units, or information in units of your choice, at each look.
        alpha: over all looks for ever. optimal_n: where the interval shall be narrowest; by default
            at the largest n.
        alternative: `two-sided`, `greater` (a lower bound alone) or `less`.

    Raises:
        AnalysisError: standard errors that are missing or negative, lengths that do not fit.
    """
    _check(alpha, alternative)
    x, error, units = _looks(estimate, standard_error, n)
    best = float(np.max(units)) if optimal_n is None else float(optimal_n)
    if not (0 < best < np.inf and (units > 0).all() and np.isfinite(units).all()):
        raise AnalysisError("a confidence sequence wants a positive number of units at every look")
    spent = alpha if alternative == "two-sided" else min(2 * alpha, 1 - 1e-9)
    rho2 = (-2 * np.log(spent) + np.log(-2 * np.log(spent) + 1)) / best
    known = units * rho2  # what is known, in units of the mixture
    with np.errstate(divide="ignore", invalid="ignore"):
        z = np.where(error > 0, x / error, np.where(x == 0, 0.0, np.sign(x) * np.inf))
    if alternative == "two-sided":
        grown = known + 1
        half = error * np.sqrt(2 * grown / known * np.log(np.sqrt(grown) / alpha))
        pvalue = np.minimum(np.sqrt(grown) * np.exp(-(z**2) * known / (2 * grown)), 1.0)
        return _sequence(x - half, x + half, pvalue)
    bound = error * _one_sided_bound(known, alpha)
    if alternative == "greater":
        return _sequence(x - bound, np.full_like(x, np.inf), _one_sided(z, known))
    return _sequence(np.full_like(x, -np.inf), x + bound, _one_sided(-z, known))


def msprt(
    estimate: ArrayLike, standard_error: ArrayLike, tau: float, *, alpha: float = 0.05
) -> ConfidenceSequence:
    """The mixture sequential probability ratio test (Robbins 1970; Johari, Koomen, Pekelis and
    Walsh, KDD 2017): effects are taken to be normal around 0 with the spread `tau`.

    Args:
        estimate, standard_error: at each look. tau: of effects, in the unit of the estimate; the
            test is fastest for effects of about that size, and valid for any tau that was chosen
            before the data.
    """
    _check(alpha, "two-sided")
    if not 0 < tau < np.inf:
        raise AnalysisError(f"tau is the spread of effects, a number above 0, not {tau}")
    x, error, _ = _looks(estimate, standard_error, np.ones(np.shape(estimate)))
    if (error == 0).any():
        raise AnalysisError("a standard error of 0 says that nothing varies; there is no test")
    variance, both = error**2, error**2 + tau**2
    log_ratio = 0.5 * np.log(variance / both) + tau**2 * x**2 / (2 * variance * both)
    edge = 2 * variance * both / tau**2 * (-np.log(alpha) + 0.5 * np.log(both / variance))
    half = np.sqrt(edge)
    return _sequence(x - half, x + half, np.exp(-np.maximum(log_ratio, 0.0)))


def _one_sided(z: np.ndarray, known: np.ndarray) -> np.ndarray:
    """p-values: 1 over the likelihood ratio, mixed over positive effects by a half-normal."""
    grown = known + 1
    reached = z * np.sqrt(known / grown)
    log_mixture = np.log(2.0) - 0.5 * np.log(grown) + reached**2 / 2 + log_ndtr(reached)
    log_mixture = np.where(reached == -np.inf, -np.inf, log_mixture)
    return np.exp(-np.maximum(log_mixture, 0.0))


def _one_sided_bound(known: np.ndarray, alpha: float) -> np.ndarray:
    """The z whose p-value is alpha, by halving: the mixture grows with z."""
    low = np.zeros_like(known)
    high = np.sqrt(2 * (known + 1) / known * np.log(1 + np.sqrt(known + 1) / (2 * alpha))) + 1.0
    for _ in range(80):
        middle = (low + high) / 2
        above = _one_sided(middle, known) > alpha
        low, high = np.where(above, middle, low), np.where(above, high, middle)
    return high


def _looks(
    estimate: ArrayLike, standard_error: ArrayLike, n: ArrayLike
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    x, units = np.asarray(estimate, float), np.asarray(n, float)
    error = check_errors(standard_error, x)
    shapes = {part.shape for part in (x, error, units) if part.ndim}
    if len(shapes) > 1:
        raise AnalysisError(
            f"estimates {x.shape}, standard errors {error.shape} and units {units.shape}: wanted"
            " one of each per look"
        )
    one, two, three = np.broadcast_arrays(x, error, units)
    return one.copy(), two.copy(), three.copy()


def _check(alpha: float, alternative: str) -> None:
    if not 0 < alpha < 1:
        raise AnalysisError(f"alpha lies between 0 and 1, not {alpha}")
    if alternative not in ALTERNATIVES:
        raise AnalysisError(
            f"alternative '{alternative}' is unknown; there are: {', '.join(ALTERNATIVES)}"
        )


def _sequence(low: np.ndarray, high: np.ndarray, pvalue: np.ndarray) -> ConfidenceSequence:
    return ConfidenceSequence(
        *(float(part) if np.ndim(part) == 0 else part for part in (low, high, pvalue))
    )
