"""Sufficient statistics: what a test needs of a sample, for one sample or for an array of them at
once.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from analysis.errors import AnalysisError


@dataclass(frozen=True)
class Summary:
    """One column of one arm, one value per randomised unit. Fields may be arrays of one shape: many
    tests at once.

    Attributes:
        n: units. mean: of the units. variance: of the units, with n - 1 (not that of the mean).
    """

    n: Any
    mean: Any
    variance: Any

    @classmethod
    def of(cls, values: "Summary | ArrayLike") -> "Summary":
        """The summary of plain values; a summary is handed back.

        Raises:
            AnalysisError: fewer than 2 values, or one that is not a finite number.
        """
        if isinstance(values, Summary):
            return values
        x = _column(values)
        return cls(len(x), float(x.mean()), float(x.var(ddof=1)))

    @property
    def variance_of_mean(self) -> Any:
        return np.asarray(self.variance, float) / self.n


@dataclass(frozen=True)
class Joint:
    """Several columns of one arm. Fields may have leading dimensions of one shape: many tests at
    once.

    Attributes:
        n: units. mean: (..., k) of each column. covariance: (..., k, k), with n - 1.
    """

    n: Any
    mean: np.ndarray
    covariance: np.ndarray

    @classmethod
    def of(cls, values: "Joint | ArrayLike") -> "Joint":
        """Of (n, k) values, a row per unit; (n,) is one column."""
        if isinstance(values, Joint):
            return values
        x = np.asarray(values, float)
        x = x[:, None] if x.ndim == 1 else x
        columns = [_column(column) for column in x.T]
        return cls(
            len(x),
            np.array([column.mean() for column in columns]),
            np.atleast_2d(np.cov(x, rowvar=False)),
        )

    def ratio(self) -> Summary:
        """Mean of column 0 over mean of column 1 with its delta-method variance, as if of n
        independent values.

        Source: Deng, Knoblich and Lu, "Applying the Delta Method in Metric Analytics", KDD 2018.
        """
        top, bottom = self.mean[..., 0], self.mean[..., 1]
        if np.ndim(bottom) == 0 and bottom == 0:
            raise AnalysisError(
                "a ratio whose denominator sums to 0 cannot be judged; leave this metric out"
            )
        ratio = top / bottom
        vt, c, vb = (self.covariance[..., i, j] for i, j in ((0, 0), (0, 1), (1, 1)))
        return Summary(self.n, ratio, (vt - 2 * ratio * c + ratio**2 * vb) / bottom**2)

    def linear(self, weights: np.ndarray) -> Summary:
        """The weighted sum of the columns; weights (k,) or (..., k)."""
        w = np.broadcast_to(weights, self.mean.shape)
        # Of values that are all alike rounding would leave a variance a little below 0.
        variance = np.maximum(np.einsum("...i,...ij,...j->...", w, self.covariance, w), 0.0)
        return Summary(self.n, (self.mean * w).sum(-1), variance)


def _column(values: ArrayLike) -> np.ndarray:
    x = np.asarray(values, float)
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
