"""One arm against the control on one metric, from a table of users: lift, interval and p-value,
through tea-tasting.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import tea_tasting as tt
from scipy.stats import norm
from tea_tasting.aggr import Aggregates

from analysis.metrics import Metric
from analysis.statistics.difference import mean_difference, ratio_difference
from analysis.statistics.resampling import Bootstrapped, bootstrap_difference, quantile_difference

LEVEL = 0.95
POWER = 0.80
RESAMPLES = 1000
NAN = float("nan")
QUANTILE = float(norm.ppf(0.5 + LEVEL / 2))
ROUNDING = 1e-12  # relative: means that differ by less are the same


def covariate(y: np.ndarray, pre: np.ndarray, came: np.ndarray, group: np.ndarray) -> np.ndarray:
    """(n,) one covariate from two: the warm-up value, the mean for users without one, and an
    indicator of those.

    The weights are those of a pooled least-squares fit within the groups, so that CUPED with the
    single column is CUPED with both (Deng et al., WSDM 2013).
    """
    filled = np.where(came > 0, pre, pre[came > 0].mean() if (came > 0).any() else 0.0)
    columns = np.column_stack([filled, 1.0 - came])
    centred = columns.astype(float).copy()
    target = y.astype(float).copy()
    for value in np.unique(group):
        rows = group == value
        centred[rows] -= centred[rows].mean(axis=0)
        target[rows] -= target[rows].mean()
    weights = np.linalg.lstsq(centred, target, rcond=None)[0]
    return columns @ weights


@dataclass(frozen=True)
class Comparison:
    """One arm against the control on one metric. Lifts are relative: .02 is 2 %.

    Attributes:
        control_mean, treatment_mean: in the metric's unit, not adjusted.
        lift, low, high: estimate and 95 % interval (delta method, CUPED where there is a warm-up).
        error, log_error: standard error of the lift, and of the logarithm of treatment over
            control: the width of the 95 % interval over twice the normal quantile.
        pvalue: two-sided. detectable: the lift that the test would have found with probability .80.
        variance_saved: share of the variance that CUPED took away.
    """

    control_mean: float = NAN
    treatment_mean: float = NAN
    lift: float = NAN
    low: float = NAN
    high: float = NAN
    error: float = NAN
    log_error: float = NAN
    pvalue: float = NAN
    detectable: float = NAN
    variance_saved: float = NAN

    @staticmethod
    def of(
        means: tuple[float, float], lift: tuple[float, float, float], pvalue: float, saved: float
    ) -> "Comparison":
        """With the errors that follow from the interval.

        Args:
            means: of control and treatment. lift: estimate, low, high.
        """
        estimate, low, high = lift
        error = (high - low) / (2 * QUANTILE)
        with np.errstate(invalid="ignore", divide="ignore"):
            log_error = float((np.log1p(high) - np.log1p(low)) / (2 * QUANTILE))
        detectable = float((QUANTILE + norm.ppf(POWER)) * error)
        return Comparison(*means, estimate, low, high, error, log_error, pvalue, detectable, saved)


def compare(table: pd.DataFrame, metric: Metric, control: str, arm: str) -> Comparison:
    """One arm against the control; NaN where there is nothing to compare with.

    A lift is only where the control's mean is above 0.

    Args:
        table: one row per user: `bucket`, the metric's columns, and with a warm-up the same with
            `_pre` and `came_before`.
    """
    base, other = (table[table["bucket"] == name] for name in (control, arm))
    bottom = metric.denominator or metric.column
    if len(base) < 2 or len(other) < 2:
        return Comparison()
    if metric.denominator is not None and other[bottom].sum() == 0:
        return Comparison()
    if not metric.linear and base[metric.column].sum() > 0:
        return _bootstrapped(base, other, metric)
    tops = (base[metric.column].sum(), other[metric.column].sum())
    if base[bottom].sum() <= 0 or min(tops) <= 0:
        return _without_lift(base, other, metric)
    return _compared(base, other, metric)


def _compared(base: pd.DataFrame, other: pd.DataFrame, metric: Metric) -> Comparison:
    """By tea-tasting, with CUPED where there is something known of the time before."""
    groups, columns = [base, other], metric.columns
    values = [{name: rows[name].to_numpy(float) for name in columns} for rows in groups]
    before = f"{metric.column}_pre"
    pre: list[str] = []
    if before in base and all(np.ptp(rows[before]) > 0 for rows in groups):
        values, pre = _with_covariates(groups, values, metric)
    kind = tt.Mean if metric.denominator is None else tt.RatioOfMeans
    parts = [aggregates(part) for part in values]
    raw = _analysed(kind(*columns), *parts)
    adjusted = _analysed(kind(*columns, *pre), *parts) or raw
    if raw is None or adjusted is None:
        return _without_lift(base, other, metric)
    width = adjusted.effect_size_ci_upper - adjusted.effect_size_ci_lower
    raw_width = raw.effect_size_ci_upper - raw.effect_size_ci_lower
    lift = adjusted.rel_effect_size
    interval = adjusted.rel_effect_size_ci_lower, adjusted.rel_effect_size_ci_upper
    saved = float(1 - (width / raw_width) ** 2) if raw_width > 0 else 0.0
    return Comparison.of((raw.control, raw.treatment), (lift, *interval), adjusted.pvalue, saved)


def _analysed(metric: Any, base: Aggregates, other: Aggregates) -> Any:
    """What tea-tasting says; None of a metric that does not vary, whose variance comes out a
    rounding above or below 0.
    """
    try:
        with np.errstate(invalid="ignore", divide="ignore"):
            return metric.analyze_aggregates(base, other)
    except (ValueError, OverflowError):
        return None


def _bootstrapped(base: pd.DataFrame, other: pd.DataFrame, metric: Metric) -> Comparison:
    """A quantile or any other function of the users' values, by bootstrap over users; no
    covariates there.
    """
    one, two = (rows[metric.column].to_numpy(float) for rows in (base, other))
    drawn: Bootstrapped
    if metric.quantile is not None:
        drawn = quantile_difference(one, two, metric.quantile, resamples=RESAMPLES, level=LEVEL)
    else:
        assert metric.statistic is not None
        drawn = bootstrap_difference(one, two, metric.statistic, resamples=RESAMPLES, level=LEVEL)
    lift = (drawn.lift, drawn.lift_low, drawn.lift_high)
    return Comparison.of((drawn.control, drawn.treatment), lift, drawn.pvalue, 0.0)


def _with_covariates(
    groups: list[pd.DataFrame], values: list[dict[str, np.ndarray]], metric: Metric
) -> tuple[list[dict[str, np.ndarray]], list[str]]:
    """The columns and the names of the warm-up's: of a mean one, of a ratio its two totals."""
    if metric.denominator is not None:
        pre = [f"{metric.column}_pre", f"{metric.denominator}_pre"]
        columns = [{name: rows[name].to_numpy(float) for name in pre} for rows in groups]
        return [{**a, **b} for a, b in zip(values, columns, strict=True)], pre
    both = pd.concat(groups)
    group = np.repeat([0, 1], [len(rows) for rows in groups])
    y, before, came = (
        both[name].to_numpy(float)
        for name in (metric.column, f"{metric.column}_pre", "came_before")
    )
    combined = covariate(y, before, came, group)
    if np.ptp(combined) == 0:
        return values, []
    return [{**part, "_before": combined[group == g]} for g, part in enumerate(values)], ["_before"]


def aggregates(columns: dict[str, np.ndarray]) -> Aggregates:
    """What tea-tasting needs of one group: count, means, variances and covariances of
    its columns.
    """
    names = sorted(columns)
    table = np.stack([columns[name] for name in names])
    spread = np.atleast_2d(np.cov(table))
    return Aggregates(
        count_=table.shape[1],
        mean_={name: float(value) for name, value in zip(names, table.mean(axis=1), strict=True)},
        var_={name: float(spread[i, i]) for i, name in enumerate(names)},
        cov_={
            (a, b): float(spread[i, j])
            for i, a in enumerate(names)
            for j, b in enumerate(names)
            if a < b
        },
    )


def _without_lift(base: pd.DataFrame, other: pd.DataFrame, metric: Metric) -> Comparison:
    """Means and p-value where a logarithm of their ratio cannot be."""
    if not metric.linear:
        return Comparison()
    columns = [rows[metric.columns].to_numpy(float) for rows in (base, other)]
    if metric.denominator is None:
        tested = mean_difference(columns[0][:, 0], columns[1][:, 0])
    elif base[metric.denominator].sum() <= 0:
        return Comparison()
    else:
        tested = ratio_difference(*columns)
    same = bool(np.isclose(tested.control, tested.treatment, rtol=ROUNDING, atol=0.0))
    lift = tested.treatment / tested.control - 1 if tested.control > 0 else NAN
    return Comparison(
        control_mean=tested.control,
        treatment_mean=tested.treatment,
        lift=lift,
        pvalue=NAN if same else tested.pvalue,
        variance_saved=0.0,
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
