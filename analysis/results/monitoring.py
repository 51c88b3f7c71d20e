"""The primary metric looked at day by day: a sequential test, the daily effect, and whether it
fades or grows.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import norm

from analysis.data.ab_test import MONITORS
from analysis.errors import AnalysisError
from analysis.metrics import Metric
from analysis.statistics.comparison import LEVEL, compare_named
from analysis.statistics.sequential import (
    after_stopping,
    bounds_of_correlated_looks,
    confidence_sequence,
)

LEAST_STEP = 1e-3  # of information from look to look
LEAST_COUNT = 20  # of the numerator in an arm, below which a look says nothing yet


@dataclass(frozen=True)
class Daily:
    """The users' totals of each day.

    Attributes:
        table: one row per user: `bucket` and, with a time before the test, the covariates; see
            `inference.compare`.
        totals: name -> (users, days).
    """

    table: pd.DataFrame
    totals: dict[str, np.ndarray]

    @property
    def days(self) -> int:
        return next(iter(self.totals.values())).shape[1]

    def until(self, day: int) -> pd.DataFrame:
        """The table with the totals of the first `day` days."""
        return self.table.assign(
            **{name: x[:, :day].sum(axis=1, dtype=float) for name, x in self.totals.items()}
        )

    def on(self, day: int) -> pd.DataFrame:
        """The table with the totals of one day."""
        return self.table.assign(
            **{name: x[:, day].astype(float) for name, x in self.totals.items()}
        )

    def arms(self, *names: str) -> "Daily":
        rows = self.table["bucket"].isin(names).to_numpy()
        return Daily(self.table[rows], {name: x[rows] for name, x in self.totals.items()})


def monitor(
    daily: Daily, metric: Metric, control: str, arm: str, method: str, planned: int, alpha: float
) -> dict[str, Any]:
    """One look per day at the cumulative lift.

    The looks' correlation is measured, that of the users' cumulative values: users who come in over
    days, or tire, make the share of days a wrong guess of it. The error is spent by the share of
    the planned days.

    Args:
        method: `obrien_fleming`, `pocock`, `cs` or `none` (a look at the end alone). planned: days.
            alpha: two-sided.

    Returns:
        `looks`: day, lift, low, high (repeated interval), z, bound, crossed; `stopped` the day of
            the first crossing or None;
        `lift`, `low`, `high`, `pvalue`: adjusted for the looks, at the crossing or the end.
    """
    if method not in MONITORS:
        raise AnalysisError(f"--monitor '{method}' is unknown; there are: {', '.join(MONITORS)}")
    own = daily.arms(control, arm)
    looks = [_look(own, metric, control, arm, day) for day in range(1, own.days + 1)]
    usable = [look for look in looks if look is not None]
    if not usable:
        return {"method": method, "looks": [], "stopped": None}
    days = np.array([look["day"] for look in usable])
    all_looks = look_correlation(cumulative_values(own, metric), own.table["bucket"].to_numpy())
    correlation = all_looks[np.ix_(days - 1, days - 1)]
    information = relative_information(correlation)
    log, error = (np.array([look[key] for look in usable]) for key in ("log", "error"))
    z = log / error
    bounds = look_bounds(method, correlation, days / planned, alpha)
    crossed = np.abs(z) >= bounds
    rows = [
        {
            "day": int(day),
            "lift": float(np.expm1(x)),
            "low": float(np.expm1(x - b * e)),
            "high": float(np.expm1(x + b * e)),
            "z": float(x / e),
            "bound": float(b),
            "crossed": bool(c),
        }
        for day, x, e, b, c in zip(days, log, error, bounds, crossed, strict=True)
    ]
    first = int(crossed.argmax()) if crossed.any() else None
    # under way: an interval for all looks
    if first is None and method != "none" and days[-1] < planned:
        return {
            "method": method,
            "looks": rows,
            "stopped": None,
            "planned": planned,
            "pvalue": None,
            "information": [float(x) for x in information],
            **{key: rows[-1][key] for key in ("lift", "low", "high")},
        }
    last = len(rows) - 1 if first is None else first
    found = {
        "method": method,
        "looks": rows,
        "stopped": None if first is None else rows[first]["day"],
        "planned": planned,
        "information": [float(x) for x in information],
    }
    return found | _adjusted(
        method, float(z[last]), last, information, bounds, float(error[last]), rows[last]
    )


def _adjusted(
    method: str,
    z: float,
    look: int,
    information: np.ndarray,
    bounds: np.ndarray,
    error: float,
    row: dict[str, Any],
) -> dict[str, Any]:
    """The effect at the end of the looking, adjusted for it."""
    if method == "cs":  # its interval holds at any time; its middle is the estimate
        return {"lift": row["lift"], "low": row["low"], "high": row["high"], "pvalue": None}
    if method == "none" or not np.isfinite(bounds[: look + 1]).any():
        half = norm.ppf(0.5 + LEVEL / 2) * error
        x = z * error
        low, high = np.expm1(x - half), np.expm1(x + half)
        return {
            "lift": row["lift"],
            "low": float(low),
            "high": float(high),
            "pvalue": float(2 * norm.sf(abs(z))),
        }
    kept = _apart(information[: look + 1])
    found = after_stopping(z, len(kept), information[kept], bounds[kept], error, level=LEVEL)
    lift, low, high = (float(np.expm1(x)) for x in (found.estimate, found.low, found.high))
    return {"lift": lift, "low": low, "high": high, "pvalue": found.pvalue}


def _apart(information: np.ndarray) -> np.ndarray:
    """Which looks to keep so that each adds something to the one before; the last one stays. Days
    without rows add nothing.
    """
    kept = [len(information) - 1]
    for k in range(len(information) - 2, -1, -1):
        if information[k] < (1 - LEAST_STEP) * information[kept[-1]]:
            kept.append(k)
    return np.array(kept[::-1])


def _look(
    daily: Daily, metric: Metric, control: str, arm: str, day: int
) -> dict[str, float] | None:
    """The logarithm of treatment over control so far, and its standard error; None where there is
    too little.
    """
    table = daily.until(day)
    counts = table.groupby("bucket")[metric.column].sum()
    if counts.get(control, 0) < LEAST_COUNT or counts.get(arm, 0) < LEAST_COUNT:
        return None
    found = compare_named(table, metric, control, arm)
    if not np.isfinite(found["pvalue"]) or found["lift"] <= -1 or found["high"] <= found["low"]:
        return None
    width = np.log1p(found["high"]) - np.log1p(found["low"])
    return {
        "day": day,
        "log": float(np.log1p(found["lift"])),
        "error": float(width / (2 * norm.ppf(0.5 + LEVEL / 2))),
    }


def cumulative_values(daily: Daily, metric: Metric) -> np.ndarray:
    """(users, days) each user's part in the arm's estimate of the first days: centred, ratios
    linearised.
    """
    top = daily.totals[metric.column].cumsum(axis=1, dtype=float)
    group = daily.table["bucket"].to_numpy()
    bottom = (
        daily.totals[metric.denominator].cumsum(axis=1, dtype=float)
        if metric.denominator is not None
        else None
    )
    values = np.empty_like(top)
    for name in np.unique(group):
        rows = group == name
        if bottom is None:
            values[rows] = top[rows] - top[rows].mean(axis=0)
        else:
            mean = np.maximum(bottom[rows].mean(axis=0), 1e-12)
            values[rows] = (top[rows] - top[rows].mean(axis=0) / mean * bottom[rows]) / mean
    before = [name for name in (f"{c}_pre" for c in metric.columns) if name in daily.table]
    if before:
        x = daily.table[[*before, "came_before"]].to_numpy(float)
        for name in np.unique(group):
            x[group == name] -= x[group == name].mean(axis=0)
        values -= x @ np.linalg.lstsq(x, values, rcond=None)[0]
    return values


def look_correlation(values: np.ndarray, group: np.ndarray) -> np.ndarray:
    """(looks, looks) correlation of the arms' difference at the looks, measured on the users.

    Args:
        values: (users, looks) each user's part in the estimate, centred within the arm. group:
            (users,) arm.
    """
    covariance = np.zeros((values.shape[1],) * 2)
    for name in np.unique(group):  # variances of means: those of the smaller arm weigh more
        part = values[group == name]
        covariance += part.T @ part / float(len(part)) ** 2
    spread = np.sqrt(np.maximum(np.diag(covariance), 1e-300))
    found = covariance / np.outer(spread, spread)
    np.fill_diagonal(found, 1.0)
    return found


def relative_information(correlation: np.ndarray) -> np.ndarray:
    """(looks,) information of each look over that of the last: neighbours correlate by the square
    root of their ratio.
    """
    steps = np.clip(np.diag(correlation, 1) ** 2, 1e-4, 1 - 1e-6)
    return np.concatenate([np.cumprod(steps[::-1])[::-1], [1.0]])


def look_bounds(
    method: str, correlation: np.ndarray, share: np.ndarray, alpha: float
) -> np.ndarray:
    """(looks,) bound of |z|.

    Args:
        method: one of `MONITORS`. correlation: of the looks. share: (looks,) of the planned days
            that have passed.
    """
    if method == "cs":
        n = relative_information(correlation) * share[-1]
        return np.atleast_1d(
            confidence_sequence(
                np.zeros(len(n)), np.ones(len(n)), n, alpha=alpha, optimal_n=1.0
            ).high
        )
    if method == "none":
        return np.where(share >= 1 - 1e-9, norm.isf(alpha / 2), np.inf)
    return bounds_of_correlated_looks(correlation, share, alpha, method)


# -- the effect over time --------------------------------------------------------------------------
def effects(daily: Daily, metric: Metric, control: str, arm: str) -> dict[str, Any]:
    """The effect of each day, and whether it changes: a weighted slope of the logarithm over days.

    Returns:
        `rows`: day, lift, low, high. `slope`, `low`, `high`: change of the lift per day; `pvalue`
            of no change.
    """
    own = daily.arms(control, arm)
    rows: list[dict[str, Any]] = []
    for day in range(own.days):
        found = compare_named(own.on(day), metric, control, arm)
        if np.isfinite(found["lift"]):
            rows.append({"day": day + 1, **{key: found[key] for key in ("lift", "low", "high")}})
    return {
        "rows": rows,
        **_slope(own, metric, control, arm, [int(row["day"]) - 1 for row in rows]),
    }


def _slope(
    daily: Daily, metric: Metric, control: str, arm: str, days: list[int]
) -> dict[str, float]:
    """Least-squares slope of log(treatment over control) over these days; its error from users,
    whose days go together.
    """
    nothing = dict.fromkeys(("slope", "slope_low", "slope_high", "pvalue"), float("nan"))
    if len(days) < 3:
        return nothing
    weights = np.array(days, float) - np.mean(days)
    weights /= (weights**2).sum()
    estimate, variance = 0.0, 0.0
    for name, sign in ((control, -1.0), (arm, 1.0)):
        rows = (daily.table["bucket"] == name).to_numpy()
        top = daily.totals[metric.column][rows][:, days].astype(float)
        bottom = (
            daily.totals[metric.denominator][rows][:, days]
            if metric.denominator is not None
            else np.ones_like(top)
        )
        if (top.mean(axis=0) <= 0).any() or (bottom.mean(axis=0) <= 0).any():
            return nothing
        estimate += sign * float(weights @ np.log(top.mean(axis=0) / bottom.mean(axis=0)))
        own = (
            (top / top.mean(axis=0) - bottom / bottom.mean(axis=0))
            if metric.denominator is not None
            else top / top.mean(axis=0)
        )
        variance += float(np.var(own @ weights, ddof=1)) / rows.sum()
    error = np.sqrt(variance)
    half = norm.ppf(0.5 + LEVEL / 2) * error
    return {
        "slope": estimate,
        "slope_low": estimate - half,
        "slope_high": estimate + half,
        "pvalue": float(2 * norm.sf(abs(estimate) / error)) if error > 0 else float("nan"),
    }


def since_exposure(daily: Daily, shown: np.ndarray) -> Daily:
    """The same with day 0 the first day on which a user was shown anything.

    Only users who were watched for all of the days that are kept are in it: as many days as half of
    them have.

    Args:
        shown: (users, days) impressions.
    """
    came = shown.sum(axis=1) > 0
    first = (shown > 0).argmax(axis=1)
    watched = shown.shape[1] - first
    days = max(int(np.quantile(watched[came], 0.5)), 1) if came.any() else 1
    kept = came & (watched >= days)
    at = first[kept][:, None] + np.arange(days)
    totals = {name: np.take_along_axis(x[kept], at, axis=1) for name, x in daily.totals.items()}
    return Daily(daily.table[kept], totals)
