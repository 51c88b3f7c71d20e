"""Control against treatment: means, proportions and ratios, absolute and relative, and whether one
is not worse.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats
from statsmodels.stats.proportion import confint_proportions_2indep, proportions_ztest

from analysis.errors import AnalysisError
from analysis.statistics.summary import Joint, Summary

ALTERNATIVES = ("two-sided", "greater", "less")
LIFTS = ("log", "delta", "fieller")


@dataclass(frozen=True)
class Difference:
    """Treatment against control. Arrays where the summaries were arrays.

    Attributes:
        difference, standard_error, low, high: treatment minus control, with its interval.
        lift, lift_low, lift_high: treatment over control, minus 1 (.02 is 2 %), NaN where the
            control is not above 0.
        statistic, df, pvalue: of the difference against 0; df is infinite for a normal statistic.
    """

    control: Any
    treatment: Any
    difference: Any
    standard_error: Any
    low: Any
    high: Any
    statistic: Any
    df: Any
    pvalue: Any
    lift: Any
    lift_low: Any
    lift_high: Any


def mean_difference(
    control: Summary | ArrayLike,
    treatment: Summary | ArrayLike,
    *,
    level: float = 0.95,
    alternative: str = "two-sided",
    equal_var: bool = False,
    use_t: bool = True,
    lift: str = "log",
) -> Difference:
    """Difference of two means and the relative lift.

    Args:
        control, treatment: (n,) values, one per randomised unit, or a `Summary`.
        level: of the intervals. alternative: `two-sided`, `greater` (treatment above control) or
            `less`.
        equal_var: pooled variance (Student) instead of Welch. use_t: Student's t instead of the
            normal.
        lift: how the relative interval is made, see `relative_lift`.

    Raises:
        AnalysisError: fewer than 2 values, missing values, or an unknown option.
    """
    a, b = Summary.of(control), Summary.of(treatment)
    va, vb, df = _spread(a, b, equal_var, use_t)
    error = np.sqrt(np.maximum(va + vb, 0.0))  # rounding, where nothing varies
    difference = np.asarray(b.mean, float) - a.mean
    with np.errstate(divide="ignore", invalid="ignore"):
        statistic = difference / error
    low, high = _interval(difference, error, df, level, alternative)
    relative = relative_lift(
        a, b, method=lift, level=level, alternative=alternative, equal_var=equal_var, use_t=use_t
    )
    return Difference(
        a.mean,
        b.mean,
        _plain(difference),
        _plain(error),
        low,
        high,
        _plain(statistic),
        _plain(df),
        _pvalue(statistic, df, alternative),
        *relative,
    )


def relative_lift(
    control: Summary | ArrayLike,
    treatment: Summary | ArrayLike,
    *,
    method: str = "log",
    level: float = 0.95,
    alternative: str = "two-sided",
    equal_var: bool = False,
    use_t: bool = True,
) -> tuple[Any, Any, Any]:
    """(lift, low, high) of treatment over control, minus 1.

    Args:
        method: `log` (delta method on the logarithm; what tea-tasting does), `delta` (on the ratio
            itself) or `fieller` (Fieller 1954; exact for normal means, and unbounded where the
            control's mean is not clear of 0).
    """
    _known(method, LIFTS, "lift")
    a, b = Summary.of(control), Summary.of(treatment)
    va, vb, df = _spread(a, b, equal_var, use_t)
    ma, mb = np.asarray(a.mean, float), np.asarray(b.mean, float)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        ratio = np.where(ma > 0, mb / ma, np.nan)  # a lift over nothing, or over less, says nothing
        if use_t and not equal_var:
            df = _welch(va / ma**2, a.n, vb / mb**2, b.n)
        if method == "log":
            low, high = _interval(0.0, np.sqrt(va / ma**2 + vb / mb**2), df, level, alternative)
            ends = np.where(ratio > 0, ratio, np.nan)  # there is no logarithm of 0
            low, high = ends * np.exp(low), ends * np.exp(high)
        elif method == "delta":
            low, high = _interval(
                ratio, np.sqrt(vb / ma**2 + mb**2 * va / ma**4), df, level, alternative
            )
        else:
            t = _quantile(df, level, alternative)
            g = t**2 * va / ma**2
            half = t / np.abs(ma) * np.sqrt(np.maximum(vb * (1 - g) + ratio**2 * va, 0)) / (1 - g)
            low, high = ratio / (1 - g) - half, ratio / (1 - g) + half
            low, high = np.where(g >= 1, -np.inf, low), np.where(g >= 1, np.inf, high)
            low = np.full_like(ratio, -np.inf) if alternative == "less" else low
            high = np.full_like(ratio, np.inf) if alternative == "greater" else high
    return _plain(ratio - 1), _plain(low - 1), _plain(high - 1)


def proportion_difference(
    clicks_control: int,
    n_control: int,
    clicks_treatment: int,
    n_treatment: int,
    *,
    level: float = 0.95,
    alternative: str = "two-sided",
    interval: str = "newcomb",
) -> Difference:
    """Difference of two proportions of independent units: pooled z test, and an interval of
    statsmodels.

    Units are users: clicks over impressions are a ratio of two means per user (`ratio_difference`),
    no proportion.

    Args:
        interval: `newcomb` (hybrid score), `wald` or `agresti-caffo`. The lift's interval is on the
            logarithm.
    """
    _known(alternative, ALTERNATIVES, "alternative")
    if not 0.5 < level < 1:
        raise AnalysisError(f"a confidence level lies between .5 and 1, not {level}")
    for k, n in ((clicks_control, n_control), (clicks_treatment, n_treatment)):
        if not 0 <= k <= n or n < 1:
            raise AnalysisError(f"{k} of {n} is not a proportion")
    word = {"two-sided": "two-sided", "greater": "larger", "less": "smaller"}[alternative]
    counts, sizes = np.array([clicks_treatment, clicks_control]), np.array([n_treatment, n_control])
    p = counts / sizes
    with np.errstate(divide="ignore", invalid="ignore"):
        statistic, pvalue = proportions_ztest(counts, sizes, alternative=word)
    width = level if alternative == "two-sided" else 2 * level - 1
    low, high = confint_proportions_2indep(
        *counts[:1], n_treatment, clicks_control, n_control, method=interval, alpha=1 - width
    )
    low, high = (
        (-1.0 if alternative == "less" else low),
        (1.0 if alternative == "greater" else high),
    )
    a, b = (Summary(n, x, x * (1 - x)) for x, n in ((p[1], n_control), (p[0], n_treatment)))
    lift = relative_lift(a, b, level=level, alternative=alternative, use_t=False)
    pooled = counts.sum() / sizes.sum()
    error = np.sqrt(pooled * (1 - pooled) * (1 / sizes).sum())
    return Difference(
        float(p[1]),
        float(p[0]),
        float(p[0] - p[1]),
        float(error),
        float(low),
        float(high),
        float(statistic),
        float("inf"),
        float(pvalue),
        *lift,
    )


def ratio_difference(
    control: Joint | ArrayLike,
    treatment: Joint | ArrayLike,
    *,
    level: float = 0.95,
    alternative: str = "two-sided",
    equal_var: bool = False,
    use_t: bool = True,
    lift: str = "log",
) -> Difference:
    """Difference of two ratios of totals, such as clicks per impression, with the user as the unit
    (delta method).

    Args:
        control, treatment: (n, 2) numerator and denominator of each user, or a `Joint` of those two
            columns.
    """
    a, b = (Joint.of(part).ratio() for part in (control, treatment))
    return mean_difference(
        a, b, level=level, alternative=alternative, equal_var=equal_var, use_t=use_t, lift=lift
    )


@dataclass(frozen=True)
class NonInferiority:
    """Whether the treatment is not worse than the control by more than a margin.

    Attributes:
        estimate, bound: the difference (or lift), and the bound of its one-sided interval on the
            bad side.
        margin: as given, positive. pvalue: of "worse by the margin or more". not_worse: pvalue
            below alpha.
    """

    estimate: Any
    bound: Any
    margin: float
    pvalue: Any
    not_worse: Any


def non_inferiority(
    control: Summary | ArrayLike,
    treatment: Summary | ArrayLike,
    margin: float,
    *,
    relative: bool = True,
    higher_is_better: bool = True,
    alpha: float = 0.025,
    equal_var: bool = False,
    use_t: bool = True,
) -> NonInferiority:
    """Tests "worse than the control by `margin` or more" one-sidedly.

    Args:
        margin: .02 is 2 % of the control's mean, or with `relative=False` .02 units.
        alpha: one-sided level; .025 agrees with a two-sided 95 % interval.

    With `relative` the tested contrast is treatment - (1 - margin) control, whose inversion is
    Fieller's interval.
    """
    if not margin >= 0:
        raise AnalysisError(f"a non-inferiority margin is not negative, not {margin}")
    a, b = Summary.of(control), Summary.of(treatment)
    if relative and not (np.asarray(a.mean) > 0).all():
        raise AnalysisError(
            "a margin relative to a control whose mean is not above 0 says nothing; give an"
            " absolute one (relative=False)"
        )
    sign = 1.0 if higher_is_better else -1.0
    scale = 1 - sign * margin if relative else 1.0
    shift = 0.0 if relative else sign * margin
    scaled = Summary(
        a.n, scale * np.asarray(a.mean, float), scale**2 * np.asarray(a.variance, float)
    )
    moved = Summary(b.n, np.asarray(b.mean, float) + shift, b.variance)
    word = "greater" if higher_is_better else "less"
    test = mean_difference(scaled, moved, alternative=word, equal_var=equal_var, use_t=use_t)
    one_sided: dict[str, Any] = {
        "level": 1 - alpha,
        "alternative": word,
        "equal_var": equal_var,
        "use_t": use_t,
    }
    if relative:
        estimate, low, high = relative_lift(a, b, method="fieller", **one_sided)
    else:
        plain = mean_difference(a, b, **one_sided)
        estimate, low, high = plain.difference, plain.low, plain.high
    return NonInferiority(
        estimate, low if higher_is_better else high, margin, test.pvalue, test.pvalue < alpha
    )


def chance_to_win(difference: ArrayLike, standard_error: ArrayLike) -> Any:
    """Probability that the true difference is above 0 under a flat prior: no more than the z
    statistic said again.
    """
    return _plain(stats.norm.cdf(np.asarray(difference, float) / standard_error))


# -- parts -----------------------------------------------------------------------------------------
def _spread(a: Summary, b: Summary, equal_var: bool, use_t: bool) -> tuple[Any, Any, Any]:
    """Variances of the two means, and the degrees of freedom of their difference."""
    va, vb = np.asarray(a.variance, float), np.asarray(b.variance, float)
    na, nb = np.asarray(a.n, float), np.asarray(b.n, float)
    if equal_var:
        pooled = ((na - 1) * va + (nb - 1) * vb) / (na + nb - 2)
        return pooled / na, pooled / nb, na + nb - 2 if use_t else np.full(np.shape(na), np.inf)
    va, vb = va / na, vb / nb
    with np.errstate(divide="ignore", invalid="ignore"):
        return va, vb, _welch(va, na, vb, nb) if use_t else np.full(np.shape(va + vb), np.inf)


def _welch(va: Any, na: Any, vb: Any, nb: Any) -> Any:
    """Welch-Satterthwaite degrees of freedom of two variances of means."""
    return (va + vb) ** 2 / (va**2 / (np.asarray(na) - 1) + vb**2 / (np.asarray(nb) - 1))


def _quantile(df: Any, level: float, alternative: str) -> Any:
    _known(alternative, ALTERNATIVES, "alternative")
    if not 0 < level < 1:
        raise AnalysisError(f"a confidence level lies between 0 and 1, not {level}")
    q = 0.5 + level / 2 if alternative == "two-sided" else level
    finite = np.isfinite(df)
    return np.where(finite, stats.t.ppf(q, np.where(finite, df, 1.0)), stats.norm.ppf(q))


def _interval(centre: Any, error: Any, df: Any, level: float, alternative: str) -> tuple[Any, Any]:
    half = _quantile(df, level, alternative) * error
    low = np.full_like(half, -np.inf) if alternative == "less" else centre - half
    high = np.full_like(half, np.inf) if alternative == "greater" else centre + half
    return _plain(low), _plain(high)


def _pvalue(statistic: Any, df: Any, alternative: str) -> Any:
    finite = np.isfinite(df)
    safe = np.where(finite, df, 1.0)

    def above(z: Any) -> Any:
        return np.where(finite, stats.t.sf(z, safe), stats.norm.sf(z))

    if alternative == "two-sided":
        return _plain(2 * above(np.abs(statistic)))
    return _plain(above(statistic if alternative == "greater" else -np.asarray(statistic)))


def _plain(x: Any) -> Any:
    """A float where there is one number, else the array."""
    return float(x) if np.ndim(x) == 0 else np.asarray(x)


def _known(word: str, words: tuple[str, ...], what: str) -> None:
    if word not in words:
        raise AnalysisError(f"{what} '{word}' is unknown; there are: {', '.join(words)}")
