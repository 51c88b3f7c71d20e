"""One arm against the control on one metric, from a table of users: lift, interval and p-value,
through tea-tasting.
"""

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


def compare(table: pd.DataFrame, metric: Metric, control: str, arm: str) -> dict[str, float]:
    """Lift, interval and p-value of one arm against the control on one metric.

    Args:
        table: one row per user: `bucket`, the metric's columns, and with a warm-up the same with
            `_pre` and `came_before`.
    """
    groups = [table[table["bucket"] == name] for name in (control, arm)]
    if not metric.linear:
        one, other = (rows[metric.column].to_numpy(float) for rows in groups)
        return _bootstrapped(one, other, metric)
    columns = metric.columns
    values = [{name: rows[name].to_numpy(float) for name in columns} for rows in groups]
    pre: list[str] = []
    if f"{metric.column}_pre" in table and all(
        np.ptp(rows[f"{metric.column}_pre"]) > 0 for rows in groups
    ):
        values, pre = _with_covariates(groups, values, metric)
    if metric.denominator is None:
        adjusted, plain = tt.Mean(metric.column, *pre), tt.Mean(metric.column)
    else:
        adjusted, plain = tt.RatioOfMeans(*columns, *pre), tt.RatioOfMeans(*columns)
    base, other = (aggregates(part) for part in values)
    raw = _analysed(plain, base, other)
    found = _analysed(adjusted, base, other) or raw
    if raw is None or found is None:
        return _without_lift(groups[0], groups[1], metric)
    width = found.effect_size_ci_upper - found.effect_size_ci_lower
    raw_width = raw.effect_size_ci_upper - raw.effect_size_ci_lower
    spread = (found.rel_effect_size_ci_upper - found.rel_effect_size_ci_lower) / (
        2 * norm.ppf(0.5 + LEVEL / 2)
    )
    return {
        "control_mean": raw.control,
        "treatment_mean": raw.treatment,
        "lift": found.rel_effect_size,
        "low": found.rel_effect_size_ci_lower,
        "high": found.rel_effect_size_ci_upper,
        "pvalue": found.pvalue,
        "detectable": float((norm.ppf(0.5 + LEVEL / 2) + norm.ppf(POWER)) * spread),
        "variance_saved": float(1 - (width / raw_width) ** 2) if raw_width > 0 else 0.0,
    }


def _analysed(metric: Any, base: Aggregates, other: Aggregates) -> Any:
    """What tea-tasting says; None of a metric that does not vary, whose variance comes out a
    rounding above or below 0.
    """
    try:
        with np.errstate(invalid="ignore", divide="ignore"):
            return metric.analyze_aggregates(base, other)
    except (ValueError, OverflowError):
        return None


def _bootstrapped(base: np.ndarray, other: np.ndarray, metric: Metric) -> dict[str, float]:
    """A quantile or any other function of the users' values, by bootstrap over users; no covariates
    there.
    """
    found: Bootstrapped
    if metric.quantile is not None:
        found = quantile_difference(base, other, metric.quantile, resamples=RESAMPLES, level=LEVEL)
    else:
        assert metric.statistic is not None
        found = bootstrap_difference(
            base, other, metric.statistic, resamples=RESAMPLES, level=LEVEL
        )
    spread = (found.lift_high - found.lift_low) / (2 * norm.ppf(0.5 + LEVEL / 2))
    return {
        "control_mean": found.control,
        "treatment_mean": found.treatment,
        "lift": found.lift,
        "low": found.lift_low,
        "high": found.lift_high,
        "pvalue": found.pvalue,
        "variance_saved": 0.0,
        "detectable": float((norm.ppf(0.5 + LEVEL / 2) + norm.ppf(POWER)) * spread),
    }


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


def compare_named(table: pd.DataFrame, metric: Metric, control: str, arm: str) -> dict[str, float]:
    """`compare`, with NaN where there is nothing to compare with: a control whose mean is not above
    0 has no lift over it.
    """
    base, other = (table[table["bucket"] == name] for name in (control, arm))
    bottom = metric.denominator or metric.column
    if (
        len(base) < 2
        or len(other) < 2
        or (metric.denominator is not None and other[bottom].sum() == 0)
    ):
        return dict.fromkeys(NAMES, float("nan"))
    if not metric.linear and base[metric.column].sum() > 0:
        return compare(table, metric, control, arm)
    if base[bottom].sum() <= 0 or base[metric.column].sum() <= 0 or other[metric.column].sum() <= 0:
        return _without_lift(base, other, metric)
    return compare(table, metric, control, arm)


NAMES = (
    "control_mean",
    "treatment_mean",
    "lift",
    "low",
    "high",
    "pvalue",
    "detectable",
    "variance_saved",
)


def _without_lift(base: pd.DataFrame, other: pd.DataFrame, metric: Metric) -> dict[str, float]:
    """Means and p-value where a logarithm of their ratio cannot be: a lift only where the control's
    mean is above 0.
    """
    found = dict.fromkeys(NAMES, float("nan"))
    if not metric.linear or (
        metric.denominator is not None and base[metric.denominator].sum() <= 0
    ):
        return found
    columns = [rows[metric.columns].to_numpy(float) for rows in (base, other)]
    tested = (
        ratio_difference(*columns)
        if metric.denominator is not None
        else mean_difference(columns[0][:, 0], columns[1][:, 0])
    )
    same = bool(np.isclose(tested.control, tested.treatment, rtol=ROUNDING, atol=0.0))
    found |= {
        "control_mean": tested.control,
        "treatment_mean": tested.treatment,
        "pvalue": float("nan") if same else tested.pvalue,
        "variance_saved": 0.0,
    }
    return found | ({"lift": tested.treatment / tested.control - 1} if tested.control > 0 else {})


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
