"""CUPED: what was known before the test takes variance off what is measured in it."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from analysis.errors import AnalysisError
from analysis.statistics.difference import Difference, mean_difference
from analysis.statistics.summary import DUST, Joint, Summary, unmasked


@dataclass(frozen=True)
class Cuped:
    """The adjusted comparison.

    Attributes:
        adjusted, raw: with and without the covariates.
        theta: (k,) weights of the covariates.
        variance_saved: share of the variance of the difference that the covariates took away.
    """

    adjusted: Difference
    raw: Difference
    theta: np.ndarray
    variance_saved: Any


def cuped(
    control: Joint | ArrayLike,
    treatment: Joint | ArrayLike,
    control_before: ArrayLike | None = None,
    treatment_before: ArrayLike | None = None,
    *,
    theta: str | ArrayLike = "total",
    level: float = 0.95,
    alternative: str = "two-sided",
    equal_var: bool = False,
    use_t: bool = True,
    lift: str = "fieller",
) -> Cuped:
    """Difference of means after regression on covariates that the treatment cannot have changed.

    Source: Deng, Xu, Kohavi and Walker, WSDM 2013.

    Args:
        control, treatment: (n,) outcomes; or a `Joint` whose first column is the outcome and the
            others the covariates.
        control_before, treatment_before: (n,) or (n, k) covariates of the same units, in the same
            order.
        theta: `total` (regression over all units, as tea-tasting), `within` (pooled within the
            arms, as analysis of covariance), or (k,) weights that are given.

    Raises:
        AnalysisError: lengths that do not fit, or a covariate that does not vary.
    """
    a, b = (_joint(y, x) for y, x in ((control, control_before), (treatment, treatment_before)))
    if a.mean.shape[-1] != b.mean.shape[-1] or a.mean.shape[-1] < 2:
        raise AnalysisError(
            "CUPED wants the same covariates in both arms, at least one; without any use"
            " mean_difference"
        )
    na, nb = (np.asarray(part.n, float)[..., None] for part in (a, b))
    if isinstance(theta, str):
        if theta not in ("total", "within"):
            raise AnalysisError(f"theta '{theta}' is unknown; there are: total, within, or numbers")
        scatter = _scatter(a, b, across=theta == "total")
        size = np.sqrt(na * a.mean[..., 1:] ** 2 + nb * b.mean[..., 1:] ** 2)
        weights = _solve(scatter[..., 1:, 1:], scatter[..., 1:, 0], size)
    else:
        weights = np.atleast_1d(np.asarray(theta, float))
    centre = (na * a.mean[..., 1:] + nb * b.mean[..., 1:]) / (na + nb)
    options: dict[str, Any] = {
        "level": level,
        "alternative": alternative,
        "equal_var": equal_var,
        "use_t": use_t,
        "lift": lift,
    }
    adjusted, raw = (
        mean_difference(_adjust(a, w, centre), _adjust(b, w, centre), **options)
        for w in (weights, np.zeros_like(weights))
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        saved = np.where(
            raw.standard_error > 0, 1 - (adjusted.standard_error / raw.standard_error) ** 2, 0.0
        )
    return Cuped(adjusted, raw, weights, float(saved) if saved.ndim == 0 else saved)


def _scatter(a: Joint, b: Joint, across: bool) -> np.ndarray:
    """(..., k, k) sums of squares and products about the means of the arms, or with `across` about
    those of all units.
    """
    na, nb = (np.asarray(part.n, float)[..., None, None] for part in (a, b))
    within = (na - 1) * a.covariance + (nb - 1) * b.covariance
    if not across:
        return np.asarray(within)
    apart = b.mean - a.mean
    return np.asarray(within + apart[..., :, None] * apart[..., None, :] * (na * nb / (na + nb)))


def _joint(y: Joint | ArrayLike, before: ArrayLike | None) -> Joint:
    if isinstance(y, Joint):
        return y
    if before is None:
        raise AnalysisError("CUPED wants the covariates of both arms, or a Joint that holds them")
    _same_labels(y, before)
    values, x = unmasked(y), unmasked(before)
    x = x[:, None] if x.ndim == 1 else x
    if values.ndim != 1:
        raise AnalysisError(
            f"CUPED wants one outcome per unit, not an array of shape {values.shape}; of a ratio"
            " give a Joint of its linearised values"
        )
    if x.ndim != 2 or len(values) != len(x):
        raise AnalysisError(
            f"{len(values)} outcomes and {len(x)} rows of covariates: wanted one of each per unit"
        )
    return Joint.of(np.column_stack([values, x]))


def _same_labels(y: object, x: object) -> None:
    """pandas goes by label and numpy by place: refuses what would pair other units."""
    one, two = getattr(y, "index", None), getattr(x, "index", None)
    if one is None or two is None or callable(one) or callable(two) or len(one) != len(two):
        return
    if list(one) != list(two):
        raise AnalysisError(
            "outcomes and covariates have other labels, or the same in another order; align them"
            " first (x.loc[y.index]), or give plain arrays"
        )


def _solve(scatter: np.ndarray, with_outcome: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Least squares on standardised covariates, so that collinear ones share their weight instead
    of failing.

    Args:
        size: (..., k) of each covariate over all units, to know rounding by.
    """
    scale = np.sqrt(np.maximum(np.einsum("...ii->...i", scatter), 0.0))
    still = scale <= DUST * size  # but for rounding
    if still.reshape(-1, still.shape[-1]).all(axis=0).any():
        raise AnalysisError("a covariate does not vary; leave it out")
    # in some of the tests of a batch only: it has no weight there
    scale = np.where(still, np.inf, scale)
    inverse = np.linalg.pinv(scatter / (scale[..., :, None] * scale[..., None, :]), hermitian=True)
    return np.einsum("...ij,...j->...i", inverse, with_outcome / scale) / scale


def _adjust(part: Joint, theta: np.ndarray, centre: np.ndarray) -> Summary:
    """Mean and variance of outcome - theta (covariate - centre)."""
    residual = part.linear(np.concatenate([np.ones_like(theta[..., :1]), -theta], axis=-1))
    return Summary(residual.n, residual.mean + (theta * centre).sum(-1), residual.variance)
