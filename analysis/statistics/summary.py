"""Sufficient statistics: what a test needs of a sample, for one sample or for an array of them at
once.
"""

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from analysis.errors import AnalysisError

DUST = 1e-12  # relative: values that differ by less are the same but for rounding
EPSILON = float(np.finfo(float).eps)


@dataclass(frozen=True)
class Summary:
    """One column of one arm, one value per randomised unit. Fields may be arrays of one shape: many
    tests at once.

    Attributes:
        n: units. mean: of the units. variance: of the units, with n - 1 (not that of the mean).

    Raises:
        AnalysisError: fewer than 2 units, a negative variance, what is missing or infinite.
    """

    n: Any
    mean: Any
    variance: Any

    def __post_init__(self) -> None:
        n, mean, variance = (np.asarray(x, float) for x in (self.n, self.mean, self.variance))
        _check_units(n)
        if not np.isfinite(mean).all():
            raise AnalysisError(f"a mean of {_first(mean, ~np.isfinite(mean))} says nothing")
        bad = ~(variance >= 0) | ~np.isfinite(variance)
        if bad.any():
            raise AnalysisError(
                f"a variance of {_first(variance, bad)}; wanted finite numbers of 0 and more, with"
                " n - 1"
            )

    @classmethod
    def of(cls, values: "Summary | ArrayLike") -> "Summary":
        """The summary of plain values; a summary is handed back.

        Raises:
            AnalysisError: fewer than 2 values, or one that is not a finite number.
        """
        if isinstance(values, Summary):
            return values
        x = _column(values)
        centre = float(x[0])
        apart = x - centre
        if np.abs(apart).max() <= DUST * np.abs(x).max():
            return cls(len(x), centre, 0.0)
        return cls(len(x), float(x.mean()), float(x.var(ddof=1)))

    @classmethod
    def from_sums(cls, n: Any, total: Any, sum_of_squares: Any) -> "Summary":
        """From counts and sums, as a database gives them.

        The difference of the sums is taken exactly; where nothing but their own rounding is left of
        it, the variance is 0.

        Args:
            n: units. total: sum of the values. sum_of_squares: of the values, not centred.

        Raises:
            AnalysisError: sums that no values have.
        """
        n, total, squares = np.broadcast_arrays(
            *(np.asarray(x, float) for x in (n, total, sum_of_squares))
        )
        _check_units(n)
        variance = _moments(n, total, total, squares, squares)
        return cls(_plain(n), _plain(total / n), _plain(variance))

    @property
    def variance_of_mean(self) -> Any:
        return np.asarray(self.variance, float) / self.n


@dataclass(frozen=True)
class Joint:
    """Several columns of one arm. Fields may have leading dimensions of one shape: many tests at
    once.

    Attributes:
        n: units. mean: (..., k) of each column. covariance: (..., k, k), with n - 1.

    Raises:
        AnalysisError: fewer than 2 units, shapes that do not fit, variances that cannot be.
    """

    n: Any
    mean: np.ndarray
    covariance: np.ndarray

    def __post_init__(self) -> None:
        n, mean, covariance = (np.asarray(x, float) for x in (self.n, self.mean, self.covariance))
        _check_units(n)
        k = mean.shape[-1] if mean.ndim else 0
        if not k or covariance.shape[-2:] != (k, k):
            raise AnalysisError(
                f"means of shape {mean.shape} and covariances of shape {covariance.shape}: wanted"
                " (..., k) and (..., k, k)"
            )
        if not (np.isfinite(mean).all() and np.isfinite(covariance).all()):
            raise AnalysisError("means or covariances are missing or infinite")
        spread = np.einsum("...ii->...i", covariance)
        bad = spread < -DUST * (1 + mean**2)  # rounding may leave a little below 0
        if bad.any():
            raise AnalysisError(f"a variance of {_first(spread, bad)}; wanted 0 and more")
        sd = np.sqrt(np.maximum(spread, 0.0))
        most = sd[..., :, None] * sd[..., None, :]
        if (np.abs(covariance) > most * (1 + 1e-6) + DUST * (1 + (mean**2).max())).any():
            raise AnalysisError("a covariance is larger than its two variances allow")

    @classmethod
    def of(cls, values: "Joint | ArrayLike") -> "Joint":
        """Of (n, k) values, a row per unit; (n,) is one column."""
        if isinstance(values, Joint):
            return values
        x = unmasked(values)
        x = x[:, None] if x.ndim == 1 else x
        if x.ndim != 2:
            raise AnalysisError(f"wanted (units, columns), not an array of shape {x.shape}")
        parts = [Summary.of(column) for column in x.T]
        covariance = np.atleast_2d(np.cov(x, rowvar=False))
        still = np.array([part.variance == 0 for part in parts])
        covariance[still, :] = covariance[:, still] = 0.0
        return cls(len(x), np.array([part.mean for part in parts]), covariance)

    @classmethod
    def from_sums(cls, n: int, totals: ArrayLike, products: ArrayLike) -> "Joint":
        """From counts and sums, as a database gives them; see `Summary.from_sums`.

        Args:
            n: units. totals: (k,) sums. products: (k, k) sums of products of two columns.
        """
        t, p = np.asarray(totals, float), np.asarray(products, float)
        if t.ndim != 1 or p.shape != (len(t), len(t)) or not np.allclose(p, p.T, rtol=1e-9):
            raise AnalysisError(
                f"sums of shape {t.shape} and products of shape {p.shape}: wanted (k,) and a"
                " symmetric (k, k)"
            )
        size = np.asarray(n, float)
        _check_units(size)
        squares = np.diag(p)
        covariance = np.array(
            [
                [
                    float(_moments(size, t[i], t[j], p[i, j], np.sqrt(squares[i] * squares[j])))
                    for j in range(len(t))
                ]
                for i in range(len(t))
            ]
        )
        return cls(n, t / size, (covariance + covariance.T) / 2)

    def ratio(self) -> Summary:
        """Mean of column 0 over mean of column 1 with its delta-method variance, as if of n
        independent values.

        Source: Deng, Knoblich and Lu, "Applying the Delta Method in Metric Analytics", KDD 2018.

        Raises:
            AnalysisError: not two columns, or a denominator that sums to 0.
        """
        if self.mean.shape[-1] != 2:
            raise AnalysisError(
                f"a ratio wants two columns, numerator and denominator of each unit, not"
                f" {self.mean.shape[-1]}"
            )
        top, bottom = self.mean[..., 0], self.mean[..., 1]
        if (np.asarray(bottom) == 0).any():
            raise AnalysisError(
                "a ratio whose denominator sums to 0 cannot be judged; leave this metric out"
            )
        ratio = top / bottom
        vt, c, vb = (self.covariance[..., i, j] for i, j in ((0, 0), (0, 1), (1, 1)))
        # what is left of equal terms is rounding, and may lie below 0
        terms = vt + 2 * np.abs(ratio * c) + ratio**2 * vb
        spread = vt - 2 * ratio * c + ratio**2 * vb
        spread = np.where(spread <= 16 * EPSILON * terms, 0.0, spread)
        return Summary(self.n, ratio, spread / bottom**2)

    def linear(self, weights: np.ndarray) -> Summary:
        """The weighted sum of the columns; weights (k,) or (..., k)."""
        w = np.broadcast_to(weights, self.mean.shape)
        # Of values that are all alike rounding would leave a variance a little below 0.
        variance = np.maximum(np.einsum("...i,...ij,...j->...", w, self.covariance, w), 0.0)
        return Summary(self.n, (self.mean * w).sum(-1), variance)


def _moments(n: Any, a: Any, b: Any, product: Any, scale: Any) -> np.ndarray:
    """(sum of products - a b / n) / (n - 1), exactly but for the last rounding.

    Args:
        scale: the size of what is subtracted from each other, to know rounding by.
    """

    def one(size: float, x: float, y: float, xy: float, least: float) -> float:
        exact = (Fraction(xy) - Fraction(x) * Fraction(y) / Fraction(size)) / (Fraction(size) - 1)
        # each sum of n terms is off by up to about sqrt(n) roundings
        dust = 4 * EPSILON * np.sqrt(size) * abs(least) / (size - 1)
        if abs(exact) <= dust:
            return 0.0
        if exact < 0 and x == y and xy == least:
            raise AnalysisError(
                f"n = {size:g}, sum {x:g} and sum of squares {xy:g} are of no values: the squares"
                " are too small"
            )
        return float(exact)

    values = [np.asarray(x, float) for x in (n, a, b, product, scale)]
    if not all(np.isfinite(x).all() for x in values):
        raise AnalysisError("sums are missing or infinite")
    return np.asarray(np.vectorize(one, otypes=[float])(*values))


def _check_units(n: np.ndarray) -> None:
    bad = ~(np.isfinite(n) & (n >= 2))
    if bad.any():
        raise AnalysisError(f"{_first(n, bad)} units in an arm; wanted at least 2")


def _first(values: np.ndarray, which: np.ndarray) -> str:
    return f"{np.atleast_1d(values)[np.atleast_1d(which)][0]:g}"


def _plain(x: np.ndarray) -> Any:
    return float(x) if np.ndim(x) == 0 else np.asarray(x)


def unmasked(values: ArrayLike) -> np.ndarray:
    """As floats.

    Raises:
        AnalysisError: masked values, whose mask would be lost, or what are no numbers.
    """
    if isinstance(values, np.ma.MaskedArray) and np.ma.getmaskarray(values).any():
        raise AnalysisError("some values are masked; drop or fill them before the test")
    try:
        return np.asarray(values, float)
    except (TypeError, ValueError):
        raise AnalysisError(
            f"wanted numbers, one per unit, not {type(values).__name__!s} of other things"
        ) from None


def _column(values: ArrayLike) -> np.ndarray:
    x = unmasked(values)
    if x.ndim != 1 or len(x) < 2:
        raise AnalysisError(
            f"wanted at least 2 values in one dimension, not an array of shape {x.shape}"
        )
    if not np.isfinite(x).all():
        bad = int((~np.isfinite(x)).sum())
        raise AnalysisError(
            f"{bad} of {len(x)} values are missing or infinite; drop or fill them before the test"
        )
    return x
