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
from analysis.statistics.summary import DUST, Joint, Summary, unmasked

ALTERNATIVES = ("two-sided", "greater", "less")
LIFTS = ("fieller", "log", "delta")
INTERVALS = ("newcomb", "wald", "agresti-caffo")


@dataclass(frozen=True)
class Difference:
    """Treatment against control. Arrays where the summaries were arrays.

    Attributes:
        difference, standard_error, low, high: treatment minus control, with its interval.
        lift, lift_low, lift_high: treatment over control, minus 1 (.02 is 2 %), NaN where the
            control is not above 0. An end is infinite where the control's mean is not clear of 0.
        statistic, df, pvalue: of the difference against 0; df is infinite for a normal statistic.
        lift_error: standard error of the lift (delta method). lift_pvalue: of the test whose
            inversion is the lift's interval: with `fieller` that of the difference.
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
    lift_error: Any = float("nan")
    lift_pvalue: Any = float("nan")


def mean_difference(
    control: Summary | ArrayLike,
    treatment: Summary | ArrayLike,
    *,
    level: float = 0.95,
    alternative: str = "two-sided",
    equal_var: bool = False,
    use_t: bool = True,
    lift: str = "fieller",
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
    ma, mb = np.asarray(a.mean, float), np.asarray(b.mean, float)
    difference = mb - ma
    same = (error == 0) & (np.abs(difference) <= DUST * np.maximum(np.abs(ma), np.abs(mb)))
    difference = np.where(same, 0.0, difference)  # but for rounding
    with np.errstate(divide="ignore", invalid="ignore"):
        statistic = difference / error
    low, high = _interval(difference, error, df, level, alternative)
    options: dict[str, Any] = {
        "alternative": alternative,
        "equal_var": equal_var,
        "use_t": use_t,
    }
    relative = relative_lift(a, b, method=lift, level=level, **options)
    pvalue = _pvalue(statistic, df, alternative)
    return Difference(
        a.mean,
        b.mean,
        _plain(difference),
        _plain(error),
        low,
        high,
        _plain(statistic),
        _plain(df),
        pvalue,
        *relative,
        *lift_test(a, b, method=lift, **options),
    )


def lift_test(
    control: Summary | ArrayLike,
    treatment: Summary | ArrayLike,
    *,
    method: str = "fieller",
    alternative: str = "two-sided",
    equal_var: bool = False,
    use_t: bool = True,
) -> tuple[Any, Any]:
    """The standard error of the lift (delta method), and the p-value of no lift by the test that
    `method` inverts for its interval: they exclude 0 together.
    """
    _known(method, LIFTS, "lift")
    a, b = Summary.of(control), Summary.of(treatment)
    va, vb, df = _spread(a, b, equal_var, use_t)
    ma, mb = np.asarray(a.mean, float), np.asarray(b.mean, float)
    with np.errstate(divide="ignore", invalid="ignore"):
        usable = ma > 0
        error = np.where(usable, np.sqrt(vb / ma**2 + mb**2 * va / ma**4), np.nan)
        if method == "fieller":
            z = (mb - ma) / np.sqrt(va + vb)
        else:
            if use_t and not equal_var:
                df = _welch(va / ma**2, a.n, vb / mb**2, b.n)
            log = np.log(np.where(usable & (mb > 0), mb / ma, np.nan))
            on_log = log / np.sqrt(va / ma**2 + vb / mb**2)
            z = on_log if method == "log" else (mb / ma - 1) / error
    pvalue = np.where(usable, _pvalue(z, df, alternative), np.nan)
    return _plain(error), _plain(pvalue)


def relative_lift(
    control: Summary | ArrayLike,
    treatment: Summary | ArrayLike,
    *,
    method: str = "fieller",
    level: float = 0.95,
    alternative: str = "two-sided",
    equal_var: bool = False,
    use_t: bool = True,
) -> tuple[Any, Any, Any]:
    """(lift, low, high) of treatment over control, minus 1.

    Args:
        method: `fieller` (Fieller 1954: the ratios that the test of the difference does not
            reject; unbounded where the control's mean is not clear of 0), `log` (delta method on
            the logarithm; what tea-tasting does) or `delta` (on the ratio itself). The last two
            leave out 0 too often in small skewed samples, see docs/calibration.md.
    """
    _known(method, LIFTS, "lift")
    a, b = Summary.of(control), Summary.of(treatment)
    va, vb, df = _spread(a, b, equal_var, use_t)
    ma, mb = np.asarray(a.mean, float), np.asarray(b.mean, float)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        ratio = np.where(ma > 0, mb / ma, np.nan)  # a lift over nothing, or over less, says nothing
        if method != "fieller" and use_t and not equal_var:
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
            low, high = _fieller(ma, va, mb, vb, _quantile(df, level, alternative))
            low, high = np.where(ma > 0, low, np.nan), np.where(ma > 0, high, np.nan)
            low = np.full_like(ratio, -np.inf) if alternative == "less" else low
            high = np.full_like(ratio, np.inf) if alternative == "greater" else high
    return _plain(ratio - 1), _plain(low - 1), _plain(high - 1)


def _fieller(ma: Any, va: Any, mb: Any, vb: Any, t: Any) -> tuple[Any, Any]:
    """The ratios r with (mb - r ma)^2 <= t^2 (vb + r^2 va).

    Where the control's mean is not clear of 0 they are everything, or everything but a gap; then
    the side of the gap on which the estimate lies.
    """
    a, b, c = ma**2 - t**2 * va, ma * mb, mb**2 - t**2 * vb
    root = np.sqrt(np.maximum(b**2 - a * c, 0.0))
    first, second = (b - root) / a, (b + root) / a  # in order where a > 0
    low, high = np.where(a > 0, first, -np.inf), np.where(a > 0, second, np.inf)
    gap = (a < 0) & (b**2 > a * c)
    upper = mb / ma >= np.maximum(first, second)
    low = np.where(gap & upper, np.maximum(first, second), low)
    high = np.where(gap & ~upper, np.minimum(first, second), high)
    return low, high


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
        interval: `newcomb` (hybrid score), `wald` or `agresti-caffo`. The lift's interval is
            Fieller's, of unpooled variances. For small counts see `exact_proportions`.
    """
    _known(alternative, ALTERNATIVES, "alternative")
    if not 0.5 < level < 1:
        raise AnalysisError(f"a confidence level lies between .5 and 1, not {level}")
    _known(interval, INTERVALS, "interval")
    for k, n in ((clicks_control, n_control), (clicks_treatment, n_treatment)):
        if not (np.isfinite(n) and 0 <= k <= n) or n < 2 or k != int(k) or n != int(n):
            raise AnalysisError(
                f"{k} of {n} is not a proportion; wanted whole numbers and at least 2 units"
            )
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
    options: dict[str, Any] = {"alternative": alternative, "use_t": False}
    lift = relative_lift(a, b, level=level, **options)
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
        *lift_test(a, b, **options),
    )


def ratio_difference(
    control: Joint | ArrayLike,
    treatment: Joint | ArrayLike,
    *,
    level: float = 0.95,
    alternative: str = "two-sided",
    equal_var: bool = False,
    use_t: bool = True,
    lift: str = "fieller",
) -> Difference:
    """Difference of two ratios of totals, such as clicks per impression, with the user as the unit
    (delta method).

    Args:
        control, treatment: (n, 2) numerator and denominator of each user, or a `Joint` of those two
            columns.
    """
    a, b = (_pairs(part).ratio() for part in (control, treatment))
    return mean_difference(
        a, b, level=level, alternative=alternative, equal_var=equal_var, use_t=use_t, lift=lift
    )


def clustered_difference(
    control: ArrayLike,
    control_users: ArrayLike,
    treatment: ArrayLike,
    treatment_users: ArrayLike,
    *,
    level: float = 0.95,
    alternative: str = "two-sided",
) -> Difference:
    """Difference of two means over rows (sessions, pages) whose users were randomised.

    Rows of one user go together: the mean over rows is a ratio of totals per user, with the user as
    the unit. That is the cluster-robust error of a regression on the arm (statsmodels'
    `cov_type="cluster"`) but for its factor of small samples.

    Args:
        control, treatment: (rows,) values. control_users, treatment_users: (rows,) whose they are.
    """
    parts = [
        by_cluster(rows, users)
        for rows, users in ((control, control_users), (treatment, treatment_users))
    ]
    return ratio_difference(*parts, level=level, alternative=alternative)


def by_cluster(values: ArrayLike, users: ArrayLike) -> np.ndarray:
    """(users, 2) sum and number of each user's rows."""
    x, who = unmasked(values), np.asarray(users)
    if x.ndim != 1 or who.shape != x.shape:
        raise AnalysisError(f"{x.shape} values of {who.shape} users: wanted one of each per row")
    if not np.isfinite(x).all():
        raise AnalysisError("values are missing or infinite; drop or fill them before the test")
    ids = who if who.dtype.kind in "iu" else who.astype(str)
    _, code = np.unique(ids, return_inverse=True)
    return np.column_stack([np.bincount(code, weights=x), np.bincount(code)])


def _pairs(part: Joint | ArrayLike) -> Joint:
    """Numerators beside denominators, a row per unit: not a list of each."""
    if not isinstance(part, Joint):
        shape = np.shape(np.asarray(part, dtype=object)) if isinstance(part, list | tuple) else ()
        shape = shape or np.shape(part)
        if len(shape) != 2 or shape[1] != 2:
            raise AnalysisError(
                f"a ratio wants (n, 2) values, numerator and denominator of each unit, not shape"
                f" {shape}; np.column_stack([numerators, denominators]) makes them"
            )
    return Joint.of(part)


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
    _check_margin(margin)
    _check_alpha(alpha)
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


@dataclass(frozen=True)
class Equivalence:
    """Whether two means differ by less than a margin (two one-sided tests).

    Attributes:
        estimate, low, high: the difference (or lift) and its interval of level 1 - 2 alpha.
        pvalue: of "differs by the margin or more": the larger one of the two.
        equivalent: pvalue below alpha.
    """

    estimate: Any
    low: Any
    high: Any
    margin: float
    pvalue: Any
    equivalent: Any


def equivalence(
    control: Summary | ArrayLike,
    treatment: Summary | ArrayLike,
    margin: float,
    *,
    relative: bool = True,
    alpha: float = 0.05,
    equal_var: bool = False,
    use_t: bool = True,
) -> Equivalence:
    """Two one-sided tests (TOST; Schuirmann 1987) that the treatment lies within `margin` of the
    control.

    Args:
        margin: .02 is 2 % of the control's mean, or with `relative=False` .02 units.
    """
    _check_margin(margin)
    _check_alpha(alpha)
    options: dict[str, Any] = {"equal_var": equal_var, "use_t": use_t}
    sides = [
        non_inferiority(
            control,
            treatment,
            margin,
            relative=relative,
            higher_is_better=higher,
            alpha=alpha,
            **options,
        )
        for higher in (True, False)
    ]
    pvalue = np.maximum(sides[0].pvalue, sides[1].pvalue)
    return Equivalence(
        sides[0].estimate,
        sides[0].bound,
        sides[1].bound,
        margin,
        _plain(pvalue),
        pvalue < alpha,
    )


def chance_to_win(difference: ArrayLike, standard_error: ArrayLike) -> Any:
    """Probability that the true difference is above 0 under a flat prior: no more than the z
    statistic said again. `posterior` has a prior that is one.
    """
    error = check_errors(standard_error, np.asarray(difference, float))
    with np.errstate(divide="ignore", invalid="ignore"):
        return _plain(stats.norm.cdf(np.asarray(difference, float) / error))


def check_errors(standard_error: ArrayLike, estimate: np.ndarray) -> np.ndarray:
    """Standard errors as floats.

    Raises:
        AnalysisError: one that is missing, infinite or negative, or an estimate that is missing.
    """
    error = np.asarray(standard_error, float)
    if not (np.isfinite(error).all() and (error >= 0).all()):
        raise AnalysisError(
            "standard errors are missing, infinite or negative; wanted numbers of 0 and more"
        )
    if not np.isfinite(estimate).all():
        raise AnalysisError("estimates are missing or infinite")
    return error


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


def _check_margin(margin: float) -> None:
    if not 0 <= margin < np.inf:
        raise AnalysisError(f"a margin is a number of 0 and more, not {margin}")


def _check_alpha(alpha: float) -> None:
    if not 0 < alpha < 1:
        raise AnalysisError(f"alpha lies between 0 and 1, not {alpha}")


def check_level(level: float) -> None:
    if not 0 < level < 1:
        raise AnalysisError(f"a confidence level lies between 0 and 1, not {level}")


def _quantile(df: Any, level: float, alternative: str) -> Any:
    _known(alternative, ALTERNATIVES, "alternative")
    check_level(level)
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
