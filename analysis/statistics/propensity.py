"""What a policy would have got, from rows that another policy served with known probabilities."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import norm

from analysis.errors import AnalysisError
from analysis.statistics.difference import check_level
from analysis.statistics.summary import unmasked


@dataclass(frozen=True)
class Estimate:
    """A mean reward per row with its standard error and interval."""

    value: float
    standard_error: float
    low: float
    high: float


@dataclass(frozen=True)
class OffPolicy:
    """Mean reward per row under the target policy.

    Attributes:
        ips: inverse propensity score. snips: self-normalised. dm: direct method, dr: doubly robust,
            which is `dm` and the self-normalised correction of what the model gets wrong; None
            without a model of the reward. The interval of `dm` is that of the model's mean over
            rows: what the model gets wrong is not in it.
        effective_n: (sum of weights)^2 / sum of squared weights (Kish). largest_weight: of a row.
        matched: share of rows that the target could have shown.
        mean_weight: about 1 where the log shows all that the target would show; far below, it does
            not. mean_weight_error: its standard error.
    """

    ips: Estimate
    snips: Estimate
    dm: Estimate | None
    dr: Estimate | None
    effective_n: float
    largest_weight: float
    matched: float
    mean_weight: float
    mean_weight_error: float


def off_policy(
    reward: ArrayLike,
    logging: ArrayLike,
    target: ArrayLike,
    *,
    predicted: ArrayLike | None = None,
    predicted_target: ArrayLike | None = None,
    cluster: ArrayLike | None = None,
    level: float = 0.95,
) -> OffPolicy:
    """IPS, SNIPS, direct and doubly robust estimates of a target policy's mean reward per row.

    Sources: Horvitz and Thompson 1952; Swaminathan and Joachims, NeurIPS 2015 (SNIPS); Dudik,
    Langford and Li, ICML 2011 (DR), with the weights of the correction normalised (Thomas and
    Brunskill, ICML 2016).

    Args:
        reward: (n,) of the shown item. logging: (n,) probability with which it was shown. target:
            (n,) with which the target policy would have shown it in the same place.
        predicted: (n,) a model's reward of the shown item. predicted_target: (n,) the model's mean
            reward over what the target would show there. The model must not have been fitted to
            these rows.
        cluster: (n,) user of each row; rows of one user are not independent. Each row its own by
            default.

    Raises:
        AnalysisError: unknown or impossible probabilities, or lengths that do not fit.
    """
    check_level(level)
    y, p, q = (unmasked(part) for part in (reward, logging, target))
    _check_rows(y, p, q, predicted, predicted_target, cluster)
    groups = (
        None
        if cluster is None
        else np.unique(np.asarray(cluster).astype(str), return_inverse=True)[1]
    )
    w = q / p
    total = w.sum()
    ips = _mean(w * y, groups, level)
    normed, influence = _normed(y, w)
    snips = _around(normed, influence, groups, level)
    dm = dr = None
    if predicted is not None and predicted_target is not None:
        shown, would = np.asarray(predicted, float), np.asarray(predicted_target, float)
        dm, (more, of_more) = _mean(would, groups, level), _normed(y - shown, w)
        dr = _around(dm.value + more, would - dm.value + of_more, groups, level)
    return OffPolicy(
        ips,
        snips,
        dm,
        dr,
        float(total**2 / (w @ w)) if total > 0 else 0.0,
        float(w.max()),
        float((q > 0).mean()),
        float(w.mean()),
        _mean(w, groups, level).standard_error,
    )


def _check_rows(
    y: np.ndarray,
    p: np.ndarray,
    q: np.ndarray,
    predicted: ArrayLike | None,
    predicted_target: ArrayLike | None,
    cluster: ArrayLike | None,
) -> None:
    """Raises AnalysisError at what is not one usable value per row."""
    if not (y.shape == p.shape == q.shape and y.ndim == 1 and len(y) > 1):
        raise AnalysisError(
            f"reward {y.shape}, logging {p.shape} and target {q.shape}: wanted one of each per row"
        )
    if not np.isfinite(y).all():
        raise AnalysisError("rewards are missing or infinite; drop or fill those rows")
    for name, part in (
        ("predicted", predicted),
        ("predicted_target", predicted_target),
        ("cluster", cluster),
    ):
        if part is not None and np.shape(part) != y.shape:
            raise AnalysisError(
                f"{np.shape(part)} values of {name} for {len(y)} rows: wanted one per row"
            )
    for name, part in (("predicted", predicted), ("predicted_target", predicted_target)):
        if part is not None and not np.isfinite(unmasked(part)).all():
            raise AnalysisError(f"values of {name} are missing or infinite")
    unknown = ~(np.isfinite(p) & (p > 0) & (p <= 1))
    if unknown.any():
        raise AnalysisError(
            f"{int(unknown.sum())} of {len(p)} rows have no propensity above 0 and up to 1;"
            " off-policy estimates need the probability with which each row was shown: log it"
        )
    if not ((q >= 0) & (q <= 1)).all():
        raise AnalysisError("target probabilities lie between 0 and 1")
    if (predicted is None) != (predicted_target is None):
        raise AnalysisError(
            "predicted and predicted_target go together: of the shown item, and of what the target"
            " shows"
        )


def _normed(values: np.ndarray, weights: np.ndarray) -> tuple[float, np.ndarray]:
    """The mean by these weights, and the influence of each row on it."""
    total = float(weights.sum())
    if total <= 0:
        return float("nan"), np.full(len(values), np.nan)
    mean = float(weights @ values / total)
    return mean, weights * (values - mean) / (total / len(values))


def _mean(terms: np.ndarray, groups: np.ndarray | None, level: float) -> Estimate:
    return _around(float(terms.mean()), terms - terms.mean(), groups, level)


def _around(
    value: float, influence: np.ndarray, groups: np.ndarray | None, level: float
) -> Estimate:
    """A mean whose rows have this influence; rows of one group are summed before their spread is
    taken.
    """
    sums = influence if groups is None else np.bincount(groups, weights=influence)
    n = len(sums)
    error = (
        float(np.sqrt((sums**2).sum() * n / (n - 1)) / len(influence)) if n > 1 else float("nan")
    )
    half = float(norm.ppf(0.5 + level / 2)) * error
    return Estimate(value, error, value - half, value + half)
