"""Tests that need no normal distribution: ranks, and exact tests of proportions."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import barnard_exact, fisher_exact, mannwhitneyu, norm

from analysis.errors import AnalysisError
from analysis.statistics.difference import ALTERNATIVES, check_level
from analysis.statistics.summary import _column


@dataclass(frozen=True)
class RankTest:
    """Mann-Whitney.

    Attributes:
        probability: that a treatment user has more than a control user, ties counting half; .5 is
            no difference. low, high: its interval.
        pvalue: of the same distribution in both arms. It says nothing of means: a skewed metric may
            win by ranks and lose by its mean.
    """

    probability: float
    low: float
    high: float
    pvalue: float


def mann_whitney(
    control: ArrayLike,
    treatment: ArrayLike,
    *,
    level: float = 0.95,
    alternative: str = "two-sided",
) -> RankTest:
    """Mann-Whitney's U (scipy, ties corrected), with the interval of the probability of being
    larger (Brunner and Munzel 2000, by placements).
    """
    _known(alternative)
    check_level(level)
    a, b = _column(control), _column(treatment)
    if np.ptp(np.concatenate([a, b])) == 0:
        return RankTest(0.5, 0.5, 0.5, float("nan"))
    found = mannwhitneyu(b, a, alternative=alternative)
    probability = float(found.statistic) / (len(a) * len(b))
    # placements: the share of the other arm that each user is above
    above_a = _share_below(a, b)
    above_b = 1 - _share_below(b, a)
    error = np.sqrt(above_a.var(ddof=1) / len(b) + above_b.var(ddof=1) / len(a))
    q = norm.ppf(0.5 + level / 2 if alternative == "two-sided" else level)
    low = 0.0 if alternative == "less" else max(probability - q * error, 0.0)
    high = 1.0 if alternative == "greater" else min(probability + q * error, 1.0)
    return RankTest(probability, float(low), float(high), float(found.pvalue))


def _share_below(values: np.ndarray, of: np.ndarray) -> np.ndarray:
    """(len(of),) share of `values` below each, ties counting half."""
    ordered = np.sort(values)
    left = np.searchsorted(ordered, of, side="left")
    return np.asarray((left + np.searchsorted(ordered, of, side="right")) / 2 / len(values))


@dataclass(frozen=True)
class ExactTest:
    """Two proportions. difference: treatment minus control. pvalue: exact."""

    control: float
    treatment: float
    difference: float
    pvalue: float


def exact_proportions(
    clicks_control: int,
    n_control: int,
    clicks_treatment: int,
    n_treatment: int,
    *,
    method: str = "barnard",
    alternative: str = "two-sided",
) -> ExactTest:
    """Exact test of two proportions of independent units (scipy).

    Args:
        method: `barnard` (unconditional, the more powerful one; slow beyond some thousand units) or
            `fisher` (conditional on all counts).
    """
    _known(alternative)
    if method not in ("barnard", "fisher"):
        raise AnalysisError(f"method '{method}' is unknown; there are: barnard, fisher")
    for k, n in ((clicks_control, n_control), (clicks_treatment, n_treatment)):
        if not (np.isfinite(n) and 0 <= k <= n and n >= 1 and k == int(k) and n == int(n)):
            raise AnalysisError(f"{k} of {n} is not a proportion; wanted whole numbers")
    table = np.array(
        [
            [clicks_treatment, clicks_control],
            [n_treatment - clicks_treatment, n_control - clicks_control],
        ],
        dtype=int,
    )
    if method == "fisher":
        pvalue = float(fisher_exact(table, alternative=alternative).pvalue)
    else:
        pvalue = float(barnard_exact(table, alternative=alternative).pvalue)
    one, two = clicks_control / n_control, clicks_treatment / n_treatment
    return ExactTest(one, two, two - one, min(pvalue, 1.0))


def _known(alternative: str) -> None:
    if alternative not in ALTERNATIVES:
        raise AnalysisError(
            f"alternative '{alternative}' is unknown; there are: {', '.join(ALTERNATIVES)}"
        )
