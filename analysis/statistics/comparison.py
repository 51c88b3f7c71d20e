"""One arm against the control on one metric, from a table of users: lift, interval and p-value of
one test.

Means and ratios of means by Welch's t of the (CUPED-adjusted) difference and its inversion for the
lift (Fieller), so that p-value and interval never disagree.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import norm

from analysis.metrics import Metric
from analysis.statistics.adjustment import Cuped, cuped
from analysis.statistics.difference import Difference, mean_difference
from analysis.statistics.resampling import (
    Bootstrapped,
    bootstrap_difference,
    least_users,
    quantile_difference,
)
from analysis.statistics.summary import DUST, Joint

LEVEL = 0.95
POWER = 0.80
RESAMPLES = 1000
NAN = float("nan")
QUANTILE = float(norm.ppf(0.5 + LEVEL / 2))
DETECTABLE = float(QUANTILE + norm.ppf(POWER))  # an effect over its standard error


@dataclass(frozen=True)
class Comparison:
    """One arm against the control on one metric. Lifts are relative: .02 is 2 %.

    Attributes:
        control_mean, treatment_mean: in the metric's unit, not adjusted.
        lift, low, high: estimate and 95 % interval (Fieller; CUPED where there is a warm-up). NaN
            where the control's mean is 0 or below; an end is infinite where it is not clear of 0.
        difference, difference_low, difference_high: in the metric's unit, adjusted.
        error, log_error: standard error of the lift, and of the logarithm of treatment over control
            (delta method).
        pvalue: two-sided, of the difference. detectable: the lift that the test would have found
            with probability .80. detectable_difference: the same in the metric's unit.
        variance_saved: share of the variance that CUPED took away.
    """

    control_mean: float = NAN
    treatment_mean: float = NAN
    lift: float = NAN
    low: float = NAN
    high: float = NAN
    difference: float = NAN
    difference_low: float = NAN
    difference_high: float = NAN
    error: float = NAN
    log_error: float = NAN
    pvalue: float = NAN
    detectable: float = NAN
    detectable_difference: float = NAN
    variance_saved: float = NAN


def compare(table: pd.DataFrame, metric: Metric, control: str, arm: str) -> Comparison:
    """One arm against the control; NaN where there is nothing to compare with.

    A lift is only where the control's mean is above 0; the difference is always there.

    Args:
        table: one row per user: `bucket`, the metric's columns, and with a warm-up the same with
            `_pre` and `came_before`.
    """
    base, other = (table[table["bucket"] == name] for name in (control, arm))
    if len(base) < 2 or len(other) < 2:
        return Comparison()
    if not metric.linear:
        return _bootstrapped(base, other, metric)
    if (
        metric.denominator is not None
        and min(base[metric.denominator].sum(), other[metric.denominator].sum()) <= 0
    ):
        return Comparison()
    means = value_of(base, metric), value_of(other, metric)
    if np.isclose(*means, rtol=DUST, atol=0.0) and not any(
        np.ptp(rows[name]) for rows in (base, other) for name in metric.columns
    ):  # nothing varies, so nothing is compared
        lift = 0.0 if means[0] > 0 else NAN
        return Comparison(*means, lift, lift, lift, 0.0, 0.0, 0.0)
    found = _tested([base, other], metric)
    return _of(means, found.adjusted, float(found.variance_saved))


def _of(means: tuple[float, float], found: Difference, saved: float) -> Comparison:
    """With the errors that follow."""
    # the lift that is adjusted is that of the difference over the control as it is adjusted
    ratio = found.treatment / found.control if found.control > 0 else NAN
    with np.errstate(invalid="ignore", divide="ignore"):
        log_error = float(np.divide(found.lift_error, ratio)) if ratio > 0 else NAN
    return Comparison(
        *means,
        lift=found.lift,
        low=found.lift_low,
        high=found.lift_high,
        difference=found.difference,
        difference_low=found.low,
        difference_high=found.high,
        error=found.lift_error,
        log_error=log_error,
        pvalue=found.pvalue,
        detectable=DETECTABLE * found.lift_error,
        detectable_difference=DETECTABLE * found.standard_error,
        variance_saved=saved,
    )


def _tested(groups: list[pd.DataFrame], metric: Metric) -> Cuped:
    """The comparison with CUPED, or without where nothing is known of the time before."""
    values = [_values(rows, metric.column, metric.denominator) for rows in groups]
    before = _covariates(groups, metric)
    if before and all(y.any() for y in values):  # an arm without anything has lost all of it
        one, two = (Joint.of(np.column_stack([y, *x])) for y, x in zip(values, before, strict=True))
        return cuped(one, two)
    bare = mean_difference(*values)
    return Cuped(bare, bare, np.zeros(0), 0.0)


def _covariates(groups: list[pd.DataFrame], metric: Metric) -> list[list[np.ndarray]]:
    """Per arm the columns of what was before; [] where nothing is known or nothing varies.

    Of a mean the value before and whether the user came before, whose value is 0 where he did not
    (Deng, Xu, Kohavi and Walker, WSDM 2013); of a ratio its linearised value.
    """
    names = [f"{name}_pre" for name in metric.columns]
    if not set(names) <= set(groups[0].columns):
        return []
    if metric.denominator is None:
        made = [[rows[name].to_numpy(float) for name in (*names, "came_before")] for rows in groups]
    elif all(rows[names[1]].sum() > 0 for rows in groups):
        made = [[_values(rows, *names)] for rows in groups]
    else:
        return []
    varies = [
        np.ptp(np.concatenate(column)) > DUST * np.abs(np.concatenate(column)).max()
        for column in zip(*made, strict=True)
    ]
    kept = [[x for x, good in zip(part, varies, strict=True) if good] for part in made]
    return kept if any(varies) else []


def _values(rows: pd.DataFrame, column: str, denominator: str | None) -> np.ndarray:
    """(n,) the users' values, whose mean is the metric's and whose spread is that of the metric.

    Of a ratio: R + (top - R bottom) / mean bottom (Budylin, Drutsa, Katsev and Tsoy, WSDM 2018),
    the delta method as a mean.
    """
    top = rows[column].to_numpy(float)
    if denominator is None:
        return top
    bottom = rows[denominator].to_numpy(float)
    ratio = top.sum() / bottom.sum()
    return np.asarray(ratio + (top - ratio * bottom) / bottom.mean())


def _bootstrapped(base: pd.DataFrame, other: pd.DataFrame, metric: Metric) -> Comparison:
    """A quantile or any other function of the users' values, by bootstrap over users; no
    covariates there. NaN where the arms are too small for the quantile.
    """
    one, two = (rows[metric.column].to_numpy(float) for rows in (base, other))
    drawn: Bootstrapped
    if metric.quantile is not None:
        if min(len(one), len(two)) < least_users(metric.quantile, LEVEL):
            return Comparison(value_of(base, metric), value_of(other, metric))
        drawn = quantile_difference(one, two, metric.quantile, level=LEVEL)
    else:
        assert metric.statistic is not None
        drawn = bootstrap_difference(one, two, metric.statistic, resamples=RESAMPLES, level=LEVEL)
    error = (drawn.lift_high - drawn.lift_low) / (2 * QUANTILE)
    return Comparison(
        drawn.control,
        drawn.treatment,
        drawn.lift,
        drawn.lift_low,
        drawn.lift_high,
        drawn.difference,
        drawn.low,
        drawn.high,
        error,
        NAN,
        drawn.pvalue,
        DETECTABLE * error,
        DETECTABLE * drawn.standard_error,
        0.0,
    )


def value_of(rows: pd.DataFrame, metric: Metric) -> float:
    """The metric over these users: a mean, a ratio of totals, or a function of their values."""
    if metric.quantile is not None:
        return float(rows[metric.column].quantile(metric.quantile))
    if metric.statistic is not None:
        return float(metric.statistic(rows[metric.column].to_numpy(float)))
    if metric.denominator is None:
        return float(rows[metric.column].mean())
    total = float(rows[metric.denominator].sum())
    return float(rows[metric.column].sum()) / total if total else float("nan")
