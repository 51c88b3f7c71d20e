"""Medians, tail quantiles and any other function of the users' values: intervals by bootstrap over
users.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import norm, t

from analysis.errors import AnalysisError
from analysis.statistics.difference import check_level
from analysis.statistics.summary import _column, unmasked
from policies.common.errors import shown

NO_LIFT = (float("nan"), float("nan"), float("nan"))
Statistic = Callable[[np.ndarray], float]
Indices = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Bootstrapped:
    """Treatment against control; the interval leaves out 0 where the p-value is below 1 - level.

    Attributes:
        control, treatment: the statistic. difference, low, high: treatment minus control.
        lift, lift_low, lift_high: over the control, minus 1. standard_error: of the difference.
        resamples: how many; the p-value cannot be below 2 / (resamples + 1).
    """

    control: float
    treatment: float
    difference: float
    standard_error: float
    low: float
    high: float
    pvalue: float
    lift: float
    lift_low: float
    lift_high: float
    resamples: int


def bootstrap_difference(
    control: ArrayLike,
    treatment: ArrayLike,
    statistic: Statistic,
    *,
    resamples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
    indices: Indices | None = None,
    expanded: bool = True,
) -> Bootstrapped:
    """Difference of any statistic of the users' values by bootstrap over users (Efron 1979).

    Args:
        expanded: a symmetric interval, a little wider for few users (`_symmetric`); without it the
            plain percentiles, which leave out 0 too often where values are skewed.
        control, treatment: (n,) values or (n, k) rows, one per user. statistic: of such an array,
            one number.
        indices: two arrays (resamples, n) of rows to take instead of drawn ones.
    """
    check_level(level)
    a, b = unmasked(control), unmasked(treatment)
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise AnalysisError("values are missing or infinite; drop or fill them before the test")
    if a.ndim not in (1, 2) or a.shape[1:] != b.shape[1:]:
        raise AnalysisError(
            f"values of shape {a.shape} and {b.shape}: wanted (n,) or the same columns in both arms"
        )
    if indices is None and resamples < 2:
        raise AnalysisError(f"wanted at least 2 resamples, not {resamples}")
    if len(a) < 2 or len(b) < 2:
        raise AnalysisError(f"wanted at least 2 users in each arm, not {len(a)} and {len(b)}")
    pairs: Iterable[Indices]
    if indices is None:
        rng = np.random.default_rng(seed)
        pairs = (
            (rng.integers(0, len(a), len(a)), rng.integers(0, len(b), len(b)))
            for _ in range(resamples)
        )
    else:
        pairs = zip(*indices, strict=True)
    drawn = np.array([(_one(statistic, a[i]), _one(statistic, b[j])) for i, j in pairs])
    at = _one(statistic, a), _one(statistic, b)
    if not expanded:
        return _by_percentiles(*at, drawn[:, 0], drawn[:, 1], level, interpolated=True)
    return _symmetric(*at, drawn[:, 0], drawn[:, 1], level, (len(a), len(b)))


def _one(statistic: Statistic, values: np.ndarray) -> float:
    """The statistic as one finite number."""
    found = np.asarray(statistic(values), float)
    if found.shape != () or not np.isfinite(found):
        raise AnalysisError(
            f"the statistic of a sample of {len(values)} users is {shown(found, 40)}; wanted one"
            " finite number for every resample"
        )
    return float(found)


def least_users(q: float, level: float = 0.95) -> int:
    """Users per arm from which the order statistics of a sample hold a two-sided interval of a
    quantile: below, even the smallest and the largest value do not span it.
    """
    tail = (1 - level) / 2
    return max(int(np.ceil(np.log(tail) / np.log(max(q, 1 - q)))), 2)


def quantile_difference(
    control: ArrayLike,
    treatment: ArrayLike,
    q: float = 0.5,
    *,
    resamples: int = 2000,
    seed: int = 0,
    level: float = 0.95,
    indices: Indices | None = None,
) -> Bootstrapped:
    """Difference of two quantiles, by bootstrap over users.

    Without `indices` the rank that a resample's quantile has among the sorted values is drawn
    itself, binomially: the same distribution at a thousandth of the work (Schultzberg and
    Ankargren, arXiv 2202.10992).

    Args:
        q: .5 is the median. Quantiles are interpolated as numpy does.

    Raises:
        AnalysisError: fewer users than the quantile needs (`least_users`): an interval would claim
            what no value of the sample tells.
    """
    if not 0 < q < 1:
        raise AnalysisError(f"a quantile lies between 0 and 1, not {q}")
    check_level(level)
    a, b = np.sort(_column(control)), np.sort(_column(treatment))
    least = least_users(q, level)
    if min(len(a), len(b)) < least:
        raise AnalysisError(
            f"{len(a)} and {len(b)} users say too little of the quantile {q:g}: an interval of"
            f" level {level:g} needs {least} in each arm"
        )
    if resamples < 2:
        raise AnalysisError(f"wanted at least 2 resamples, not {resamples}")
    if indices is not None:
        drawn = [
            np.quantile(_column(x)[i], q, axis=1)
            for x, i in zip((control, treatment), indices, strict=True)
        ]
    else:
        rng = np.random.default_rng(seed)
        drawn = [
            x[np.clip(rng.binomial(len(x) + 1, q, resamples) - 1, 0, len(x) - 1)] for x in (a, b)
        ]
    return _by_percentiles(
        float(np.quantile(a, q)), float(np.quantile(b, q)), drawn[0], drawn[1], level
    )


def _by_percentiles(
    a: float,
    b: float,
    drawn_a: np.ndarray,
    drawn_b: np.ndarray,
    level: float,
    interpolated: bool = False,
) -> Bootstrapped:
    """The interval ends at resamples, so that it leaves out 0 where the p-value says so and nowhere
    else.

    Args:
        interpolated: Efron's plain percentiles instead, which lie a little further in.
    """
    spread, n, tail = drawn_b - drawn_a, len(drawn_a), (1 - level) / 2
    place = int(np.floor((n + 1) * tail + 1e-9))
    if place < 1 and not interpolated:
        raise _too_few(n, 2 * tail)

    def ends(values: np.ndarray) -> tuple[float, float]:
        if interpolated:
            low, high = np.quantile(values, [tail, 1 - tail])
        else:
            low, high = np.partition(values, [place - 1, n - place])[[place - 1, n - place]]
        return float(low), float(high)

    beyond = min((spread <= 0).sum(), (spread >= 0).sum())
    pvalue = float(min(2 * (beyond + 1) / (n + 1), 1.0))
    lift = NO_LIFT
    if a != 0 and (drawn_a != 0).all():
        lift = (b / a - 1, *ends(drawn_b / drawn_a - 1))
    return _found(a, b, spread, ends(spread), pvalue, lift)


def _symmetric(
    a: float,
    b: float,
    drawn_a: np.ndarray,
    drawn_b: np.ndarray,
    level: float,
    sizes: tuple[int, int],
) -> Bootstrapped:
    """Estimate plus and minus what resamples depart from it (Hall, The Annals of Statistics 1988).

    Percentiles lie too far in on the short side of a skewed distribution, and leave out the truth
    there. Resamples of n vary too little by n / (n - 1), and their tails are those of a normal:
    what is asked of them is a little more (Hesterberg, The American Statistician 2015).
    """
    n, df = len(drawn_a), float(sum(sizes) - 2)
    wider = float(np.sqrt(min(sizes) / (min(sizes) - 1)))
    outside = 2 * float(norm.sf(wider * t.isf((1 - level) / 2, df)))
    place = int(np.ceil((n + 1) * (1 - outside) - 1e-9))
    if place > n:
        raise _too_few(n, outside)

    def around(estimate: float, values: np.ndarray) -> tuple[float, float]:
        half = float(np.partition(np.abs(values - estimate), place - 1)[place - 1])
        return estimate - half, estimate + half

    spread, difference = drawn_b - drawn_a, b - a
    beyond = (np.abs(spread - difference) >= abs(difference)).sum()
    share = min((beyond + 1) / (n + 1), 1.0)
    pvalue = float(2 * t.sf(norm.isf(share / 2) / wider, df))
    lift = NO_LIFT
    if a != 0 and (drawn_a != 0).all():
        lift = (b / a - 1, *around(b / a - 1, drawn_b / drawn_a - 1))
    return _found(a, b, spread, around(difference, spread), pvalue, lift)


def _too_few(resamples: int, outside: float) -> AnalysisError:
    return AnalysisError(
        f"{resamples} resamples say too little of so wide an interval; wanted at least"
        f" {int(np.ceil(2 / outside))}"
    )


def _found(
    a: float,
    b: float,
    spread: np.ndarray,
    ends: tuple[float, float],
    pvalue: float,
    lift: tuple[float, float, float],
) -> Bootstrapped:
    n = len(spread)
    error = float(spread.std(ddof=1)) if n > 1 else float("nan")
    return Bootstrapped(a, b, b - a, error, *ends, pvalue, *lift, n)
