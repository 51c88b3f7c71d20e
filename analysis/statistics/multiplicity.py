"""Many comparisons, many arms, many segments: corrected p-values, sample ratio, whether an effect
differs.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import gammaln
from scipy.stats import chi2, chisquare, false_discovery_control

from analysis.errors import AnalysisError


def holm(pvalues: ArrayLike) -> np.ndarray:
    """(n,) p-values that control the chance of any false discovery (Holm 1979); NaN stays NaN and
    does not count.
    """

    def step_down(p: np.ndarray) -> np.ndarray:
        order = np.argsort(p)
        raised = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
        adjusted = np.empty_like(p)
        adjusted[order] = np.minimum(raised, 1.0)
        return adjusted

    # statsmodels has it, too, and collects the garbage of the whole process at every call: a
    # twentieth of a second and more, where studies and bounds ask thousands of times.
    return _adjusted(pvalues, step_down)


def benjamini_hochberg(pvalues: ArrayLike) -> np.ndarray:
    """(n,) p-values that control the share of false discoveries (Benjamini and Hochberg 1995); NaN
    stays NaN.
    """
    return _adjusted(pvalues, false_discovery_control)


def _adjusted(pvalues: ArrayLike, adjust: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """`adjust` of the p-values that there are."""
    p = np.atleast_1d(np.asarray(pvalues, float))
    if ((p < 0) | (p > 1)).any():
        raise AnalysisError("a p-value lies between 0 and 1")
    adjusted, usable = np.full(p.shape, np.nan), np.isfinite(p)
    if usable.any():
        adjusted[usable] = adjust(p[usable])
    return adjusted


@dataclass(frozen=True)
class SampleRatio:
    """Bucket sizes against their weights.

    Attributes:
        observed, expected: units by arm. statistic, df: chi-square. pvalue: small where the ratio
            is not as planned.
    """

    observed: dict[str, float]
    expected: dict[str, float]
    statistic: float
    df: int
    pvalue: float


def sample_ratio(
    counts: Mapping[str, float] | Sequence[float] | np.ndarray,
    weights: Mapping[str, float] | Sequence[float] | np.ndarray | None = None,
) -> SampleRatio:
    """Chi-square test that the arms have the sizes that their weights say; any number of arms.

    Args:
        counts: units of each arm, by name or in order. weights: planned shares, of any sum; equal
            by default.
    """
    names, observed, share = _named(counts, weights)
    expected = observed.sum() * share
    if len(names) < 2 or observed.sum() == 0:
        statistic, pvalue = float("nan"), float("nan")
    else:
        statistic, pvalue = map(float, chisquare(observed, expected))
    units, wanted = (
        dict(zip(names, values.tolist(), strict=True)) for values in (observed, expected)
    )
    return SampleRatio(units, wanted, statistic, len(names) - 1, pvalue)


def sequential_sample_ratio(
    counts: ArrayLike,
    weights: Sequence[float] | np.ndarray | None = None,
    concentration: float = 10_000.0,
) -> np.ndarray:
    """(looks,) p-values that may be looked at as often as one likes: 1 over the Bayes factor's
    running maximum.

    The alternative is a Dirichlet around the weights. Source: Lindon and Malek, "Anytime-Valid
    Inference for Multinomial Count Data", NeurIPS 2022.

    Args:
        counts: (looks, arms) units so far. concentration: of the Dirichlet; large looks for small
            departures.
    """
    x = np.atleast_2d(np.asarray(counts, float))
    _, _, share = _named(x[-1], weights)
    prior = concentration * share
    n = x.sum(axis=1)
    log_factor = (
        (gammaln(prior + x) - gammaln(prior)).sum(axis=1)
        - (gammaln(concentration + n) - gammaln(concentration))
        - x @ np.log(share)
    )
    return np.exp(-np.maximum.accumulate(np.maximum(log_factor, 0.0)))


def _named(counts: Any, weights: Any) -> tuple[list[str], np.ndarray, np.ndarray]:
    if isinstance(counts, Mapping):
        names = list(counts)
        if isinstance(weights, Mapping):
            missing = [name for name in names if name not in weights]
            if missing:
                raise AnalysisError(f"no weight for {', '.join(missing)}")
            weights = [weights[name] for name in names]
        counts = list(counts.values())
    else:
        names = [str(i) for i in range(len(counts))]
    observed = np.asarray(counts, float)
    share = np.ones(len(observed)) if weights is None else np.asarray(weights, float)
    if len(share) != len(observed) or (share <= 0).any() or (observed < 0).any():
        raise AnalysisError(
            f"{len(observed)} counts and weights {share.tolist()}: wanted one positive weight"
            " per arm"
        )
    return names, observed, share / share.sum()


@dataclass(frozen=True)
class Interaction:
    """Whether an effect differs between segments: Cochran's Q.

    Attributes:
        pooled: inverse-variance mean of the effects. statistic, df, pvalue: chi-square of their
            spread.
    """

    pooled: float
    statistic: float
    df: int
    pvalue: float


def interaction_test(effects: ArrayLike, standard_errors: ArrayLike) -> Interaction:
    """Cochran's Q over segments that share no unit; effects that are NaN do not count.

    Source: Cochran, Biometrics 1954.
    """
    effect, error = np.asarray(effects, float), np.asarray(standard_errors, float)
    usable = np.isfinite(effect) & np.isfinite(error) & (error > 0)
    if usable.sum() < 2:
        return Interaction(float("nan"), float("nan"), max(int(usable.sum()) - 1, 0), float("nan"))
    weight = 1 / error[usable] ** 2
    pooled = float(np.average(effect[usable], weights=weight))
    q, df = float((weight * (effect[usable] - pooled) ** 2).sum()), int(usable.sum()) - 1
    return Interaction(pooled, q, df, float(chi2.sf(q, df)))
