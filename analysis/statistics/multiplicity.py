"""Many comparisons, many arms, many segments: corrected p-values, sample ratio, whether an effect
differs.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import gammaln
from scipy.stats import binomtest, chi2, chisquare, false_discovery_control, studentized_range

from analysis.errors import AnalysisError
from analysis.statistics.difference import check_level
from analysis.statistics.summary import Summary, unmasked

# Expected units of an arm, below which two arms get the binomial test: whole numbers let chi-square
# at .05 reject up to .05 + .058 / sd of two equal arms that are right, .062 of 100 units.
FEW = 1000.0


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


def bonferroni(pvalues: ArrayLike) -> np.ndarray:
    """(n,) p-values times their number; Holm's are never larger. NaN stays NaN."""
    return _adjusted(pvalues, lambda p: np.minimum(p * len(p), 1.0))


def hochberg(pvalues: ArrayLike) -> np.ndarray:
    """(n,) p-values that control the chance of any false discovery where the tests are independent
    or positively dependent (Hochberg 1988); NaN stays NaN.
    """

    def step_up(p: np.ndarray) -> np.ndarray:
        order = np.argsort(p)[::-1]  # the largest first, times 1
        lowered = np.minimum.accumulate(p[order] * np.arange(1, len(p) + 1))
        adjusted = np.empty_like(p)
        adjusted[order] = np.minimum(lowered, 1.0)
        return adjusted

    return _adjusted(pvalues, step_up)


def benjamini_yekutieli(pvalues: ArrayLike) -> np.ndarray:
    """(n,) p-values that control the share of false discoveries under any dependence (Benjamini and
    Yekutieli 2001); NaN stays NaN.
    """
    return _adjusted(pvalues, lambda p: false_discovery_control(p, method="by"))


@dataclass(frozen=True)
class Pair:
    """Two arms of several. Attributes: difference, low, high: `arm` minus `against`; pvalue: over
    all pairs together.
    """

    arm: str
    against: str
    difference: float
    low: float
    high: float
    pvalue: float


def tukey(arms: Mapping[str, ArrayLike], *, level: float = 0.95) -> list[Pair]:
    """All pairs of arms at once, with intervals that hold together: the studentised range with
    each pair's own variances (Games and Howell 1976), which do not have to be equal.

    Args:
        arms: name -> (n,) values, one per unit, or a `Summary`.
    """
    check_level(level)
    if len(arms) < 2:
        raise AnalysisError(f"wanted at least 2 arms, not {len(arms)}")
    parts = {name: Summary.of(values) for name, values in arms.items()}
    k, rows = len(parts), []
    for against, arm in combinations(parts, 2):
        a, b = parts[against], parts[arm]
        va, vb = a.variance / a.n, b.variance / b.n
        difference = b.mean - a.mean
        if va + vb == 0:
            rows.append(Pair(arm, against, difference, difference, difference, float("nan")))
            continue
        df = (va + vb) ** 2 / (va**2 / (a.n - 1) + vb**2 / (b.n - 1))
        error = np.sqrt((va + vb) / 2)
        half = float(studentized_range.ppf(level, k, df)) * error
        pvalue = float(studentized_range.sf(abs(difference) / error, k, df))
        rows.append(Pair(arm, against, difference, difference - half, difference + half, pvalue))
    return rows


def _adjusted(pvalues: ArrayLike, adjust: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """`adjust` of the p-values that there are."""
    p = np.atleast_1d(unmasked(pvalues))
    if p.ndim != 1:
        raise AnalysisError(f"wanted (n,) p-values, not an array of shape {p.shape}")
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
        observed, expected: units by arm. statistic, df: chi-square, NaN where the test is exact.
            pvalue: small where the ratio is not as planned; 0 where an arm that was planned has
            nobody though there are enough to expect somebody.
    """

    observed: dict[str, float]
    expected: dict[str, float]
    statistic: float
    df: int
    pvalue: float


def sample_ratio(
    counts: Mapping[str, float] | Sequence[float] | np.ndarray,
    weights: Mapping[str, float] | Sequence[float] | np.ndarray | None = None,
    *,
    exact: bool | None = None,
) -> SampleRatio:
    """Test that the arms have the sizes that their weights say; any number of arms.

    Args:
        counts: units of each arm, by name (a mapping or a pandas Series, whose labels are the
            names) or in order. weights: planned shares, of any sum; equal by default. Arms with a
            weight and without a count have nobody.
        exact: the binomial test of two arms in place of chi-square; by default where an arm expects
            fewer than 1,000 units.
    """
    names, observed, share = _named(counts, weights)
    expected = observed.sum() * share
    if exact and len(names) != 2:
        raise AnalysisError(f"the exact test is for two arms, not {len(names)}")
    if exact and (observed != np.floor(observed)).any():
        raise AnalysisError("the exact test wants whole numbers of units")
    few = len(names) == 2 and expected.min() < FEW and (observed == np.floor(observed)).all()
    if len(names) < 2 or observed.sum() == 0:
        statistic, pvalue = float("nan"), float("nan")
    elif exact or (exact is None and few):
        test = binomtest(int(observed[0]), int(observed.sum()), float(share[0]))
        statistic, pvalue = float("nan"), float(test.pvalue)
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
    x = np.atleast_2d(unmasked(counts))
    if x.ndim != 2 or not np.isfinite(x).all() or (x < 0).any():
        raise AnalysisError("wanted (looks, arms) units so far, all of them 0 or more")
    if (np.diff(x, axis=0) < 0).any():
        look = int(np.argmax((np.diff(x, axis=0) < 0).any(axis=1))) + 2
        raise AnalysisError(
            f"the units so far fall at look {look}; wanted cumulative counts, not those of each day"
        )
    if not 0 < concentration < np.inf:
        raise AnalysisError(f"the concentration is a number above 0, not {concentration}")
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
    """Names, units and shares of the arms; what has labels goes by them, never by place."""
    counts, weights = _by_label(counts), _by_label(weights)
    if isinstance(counts, Mapping):
        if isinstance(weights, Mapping):
            missing = [str(name) for name in counts if name not in weights]
            if missing:
                raise AnalysisError(f"no weight for {', '.join(missing)}")
            counts = {**dict.fromkeys(weights, 0.0), **counts}  # who has nobody has 0
            weights = [weights[name] for name in counts]
        names = [str(name) for name in counts]
        counts = list(counts.values())
    elif isinstance(weights, Mapping):
        raise AnalysisError("weights have names and counts have none; name the counts, too")
    else:
        names = [str(i) for i in range(len(counts))]
    observed = unmasked(counts)
    share = np.ones(len(observed)) if weights is None else unmasked(weights)
    good = observed.ndim == 1 and share.shape == observed.shape and np.isfinite(share).all()
    if not good or not np.isfinite(observed).all() or (share <= 0).any() or (observed < 0).any():
        raise AnalysisError(
            f"{len(observed)} counts and weights {share.tolist()}: wanted one positive weight"
            " per arm, and counts of 0 and more"
        )
    return names, observed, share / share.sum()


def _by_label(values: Any) -> Any:
    """A pandas Series as a mapping; anything else as it is."""
    if isinstance(values, Mapping) or not hasattr(values, "to_dict"):
        return values
    if not values.index.is_unique:
        raise AnalysisError("a label stands twice among the arms")
    return values.to_dict()


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
    effect, error = unmasked(effects), unmasked(standard_errors)
    if effect.shape != error.shape or effect.ndim != 1:
        raise AnalysisError(
            f"{effect.shape} effects and {error.shape} standard errors: wanted one of each"
        )
    if (error < 0).any():
        raise AnalysisError("a standard error is not negative")
    usable = np.isfinite(effect) & np.isfinite(error) & (error > 0)
    if usable.sum() < 2:
        return Interaction(float("nan"), float("nan"), max(int(usable.sum()) - 1, 0), float("nan"))
    weight = 1 / error[usable] ** 2
    pooled = float(np.average(effect[usable], weights=weight))
    q, df = float((weight * (effect[usable] - pooled) ** 2).sum()), int(usable.sum()) - 1
    return Interaction(pooled, q, df, float(chi2.sf(q, df)))
