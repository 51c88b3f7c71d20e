"""The primary metric looked at day by day: a sequential test, the daily effect, and whether it
fades or grows.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import norm

from analysis.data.ab_test import MONITORS, ABTest
from analysis.errors import AnalysisError
from analysis.metrics import Metric
from analysis.statistics.comparison import DETECTABLE, LEVEL, QUANTILE, compare
from analysis.statistics.open_ended import confidence_sequence
from analysis.statistics.sequential import after_stopping, bounds_of_correlated_looks

LEAST_STEP = 1e-3  # of information from look to look
LEAST_LOOKS = 3
SLOWEST = -0.1  # of the logarithm of the error over that of days; slower hardly pays
LEAST_COUNT = 20  # of the numerator in an arm, below which a look says nothing yet


@dataclass(frozen=True)
class Daily:
    """The users' totals of each day.

    Attributes:
        table: one row per user: `bucket` and, with a time before the test, the covariates; see
            `comparison.compare`.
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


@dataclass(frozen=True)
class Look:
    """The cumulative lift at the end of a day, with its repeated interval; z against its bound."""

    day: int
    lift: float
    low: float
    high: float
    z: float
    bound: float
    crossed: bool


@dataclass(frozen=True)
class Monitored:
    """A contender looked at every day.

    Attributes:
        looks: those that had enough to look at. stopped: the day of the first crossing, or None.
            planned: days.
        lift, low, high, pvalue: adjusted for the looks, at the crossing or the end; under way the
            interval holds for all looks.
        information: (looks,) relative to that of the last.
    """

    arm: str
    method: str
    looks: list[Look] = field(default_factory=list)
    stopped: int | None = None
    planned: int | None = None
    lift: float | None = None
    low: float | None = None
    high: float | None = None
    pvalue: float | None = None
    information: list[float] = field(default_factory=list)


def days_for(looks: Monitored, effect: float) -> int | None:
    """Days after which a lift of `effect` would be seen with probability .80 at a single look, by
    the pace at which the error has fallen so far; None where that says nothing.

    The error is taken to fall as a power of the days, fitted to the later half of the looks. Users
    who have all come already leave it where it is, and no longer test helps.
    """
    kept = [look for look in looks.looks if look.z != 0 and look.lift > -1]
    kept = kept[len(kept) // 2 :]
    if len(kept) < LEAST_LOOKS:
        return None
    days = np.array([look.day for look in kept], float)
    errors = np.array([np.log1p(look.lift) / look.z for look in kept])
    slope, level = np.polyfit(np.log(days), np.log(errors), 1)
    if slope > SLOWEST:
        return None
    wanted = (np.log(effect / DETECTABLE) - level) / slope
    return int(np.ceil(np.exp(min(wanted, 20.0))))


def monitored(test: ABTest, daily: Daily) -> list[Monitored]:
    """Every contender looked at every day, each with its share of the error."""
    alpha = (1 - LEVEL) / max(len(test.treated), 1)
    return [
        monitor(daily, test.primary, test.control, arm, test.monitor, test.planned, alpha)
        for arm in test.treated
    ]


def all_crossed(test: ABTest) -> bool:
    """Whether every contender has crossed its bound by the last day of the test so far."""
    table = test.table()
    totals = test.daily(test.primary.columns, table)
    return all(watched.stopped is not None for watched in monitored(test, Daily(table, totals)))


def monitor(
    daily: Daily, metric: Metric, control: str, arm: str, method: str, planned: int, alpha: float
) -> Monitored:
    """One look per day at the cumulative lift.

    The looks' correlation is measured, that of the users' cumulative values: users who come in over
    days, or tire, make the share of days a wrong guess of it. The error is spent by the share of
    the planned days.

    Args:
        method: `obrien_fleming`, `pocock`, `cs` or `none` (a look at the end alone). planned: days.
        alpha: two-sided.
    """
    if method not in MONITORS:
        raise AnalysisError(f"--monitor '{method}' is unknown; there are: {', '.join(MONITORS)}")
    own = daily.arms(control, arm)
    looks = [_look(own, metric, control, arm, day) for day in range(1, own.days + 1)]
    usable = [look for look in looks if look is not None]
    if not usable:
        return Monitored(arm, method)
    days, log, error = (np.array(column) for column in zip(*usable, strict=True))
    values = cumulative_values(own, metric)
    correlation = look_correlation(values, own.table["bucket"].to_numpy())
    correlation = correlation[np.ix_(days - 1, days - 1)]
    information = relative_information(correlation)
    z = log / error
    bounds = look_bounds(method, correlation, days / planned, alpha)
    crossed = np.abs(z) >= bounds
    rows = [
        Look(
            int(day),
            float(np.expm1(x)),
            float(np.expm1(x - b * effect)),
            float(np.expm1(x + b * effect)),
            float(x / effect),
            float(b),
            bool(c),
        )
        for day, x, effect, b, c in zip(days, log, error, bounds, crossed, strict=True)
    ]
    first = int(crossed.argmax()) if crossed.any() else None
    about: dict[str, Any] = {"planned": planned, "information": [float(x) for x in information]}
    if first is None and method != "none" and days[-1] < planned:  # under way
        last = rows[-1]
        return Monitored(
            arm, method, rows, None, lift=last.lift, low=last.low, high=last.high, **about
        )
    end = len(rows) - 1 if first is None else first
    adjusted = _adjusted(
        method, float(z[end]), end, information, bounds, float(error[end]), rows[end]
    )
    stopped = None if first is None else rows[first].day
    lift, low, high, pvalue = adjusted
    return Monitored(
        arm, method, rows, stopped, lift=lift, low=low, high=high, pvalue=pvalue, **about
    )


def _adjusted(
    method: str,
    z: float,
    look: int,
    information: np.ndarray,
    bounds: np.ndarray,
    error: float,
    row: Look,
) -> tuple[float, float, float, float | None]:
    """Lift, low, high and p-value at the end of the looking, adjusted for it."""
    if method == "cs":  # its interval holds at any time; its middle is the estimate
        return row.lift, row.low, row.high, None
    if method == "none" or not np.isfinite(bounds[: look + 1]).any():
        half, x = QUANTILE * error, z * error
        low, high = np.expm1(x - half), np.expm1(x + half)
        return row.lift, float(low), float(high), float(2 * norm.sf(abs(z)))
    kept = _apart(information[: look + 1])
    stopped = after_stopping(z, len(kept), information[kept], bounds[kept], error, level=LEVEL)
    ends = (float(np.expm1(x)) for x in (stopped.estimate, stopped.low, stopped.high))
    return (*ends, stopped.pvalue)  # type: ignore[return-value]


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
) -> tuple[int, float, float] | None:
    """The day, the logarithm of treatment over control so far, and its standard error; None where
    there is too little.
    """
    table = daily.until(day)
    counts = table.groupby("bucket")[metric.column].sum()
    if counts.get(control, 0) < LEAST_COUNT or counts.get(arm, 0) < LEAST_COUNT:
        return None
    comparison = compare(table, metric, control, arm)
    error = comparison.log_error
    if not np.isfinite(comparison.pvalue) or comparison.lift <= -1 or not 0 < error < np.inf:
        return None
    return day, float(np.log1p(comparison.lift)), comparison.log_error


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
    correlation = covariance / np.outer(spread, spread)
    np.fill_diagonal(correlation, 1.0)
    return correlation


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
@dataclass(frozen=True)
class DayEffect:
    """The effect of one day by itself."""

    day: int
    lift: float
    low: float
    high: float


@dataclass(frozen=True)
class DayLevel:
    """The metric of both arms on one day, whether there is a lift or not."""

    day: int
    control: float
    treatment: float


@dataclass(frozen=True)
class Trend:
    """The effect day by day, and the change of the lift per day: a weighted slope of its logarithm;
    p-value of no change.
    """

    rows: list[DayEffect]
    levels: list[DayLevel]
    slope: float = float("nan")
    slope_low: float = float("nan")
    slope_high: float = float("nan")
    pvalue: float = float("nan")


@dataclass(frozen=True)
class OverTime:
    """By days of the test, and by days since a user's first impression."""

    arm: str
    by_day: Trend
    since_exposure: Trend


def over_time(test: ABTest, daily: Daily, shown: np.ndarray) -> list[OverTime]:
    """The daily effects of every contender.

    Args:
        shown: (users, days) impressions.
    """
    exposed = since_exposure(daily, shown)
    return [
        OverTime(arm, *(trend(part, test.primary, test.control, arm) for part in (daily, exposed)))
        for arm in test.treated
    ]


def trend(daily: Daily, metric: Metric, control: str, arm: str) -> Trend:
    """The effect of each day, and whether it changes."""
    own = daily.arms(control, arm)
    rows, levels = [], []
    for day in range(own.days):
        found = compare(own.on(day), metric, control, arm)
        levels.append(DayLevel(day + 1, found.control_mean, found.treatment_mean))
        if np.isfinite(found.lift):
            rows.append(DayEffect(day + 1, found.lift, found.low, found.high))
    return Trend(rows, levels, *_slope(own, metric, control, arm, [row.day - 1 for row in rows]))


def _slope(
    daily: Daily, metric: Metric, control: str, arm: str, days: list[int]
) -> tuple[float, ...]:
    """Least-squares slope of log(treatment over control) over these days, its interval and p-value;
    () where there is none. Its error is from users, whose days go together.
    """
    if len(days) < 3:
        return ()
    weights = np.array(days, float) - np.mean(days)
    weights /= (weights**2).sum()
    estimate, variance = 0.0, 0.0
    for name, sign in ((control, -1.0), (arm, 1.0)):
        rows = (daily.table["bucket"] == name).to_numpy()
        top = daily.totals[metric.column][rows][:, days].astype(float)
        bottom = np.ones_like(top)
        if metric.denominator is not None:
            bottom = daily.totals[metric.denominator][rows][:, days]
        if (top.mean(axis=0) <= 0).any() or (bottom.mean(axis=0) <= 0).any():
            return ()
        estimate += sign * float(weights @ np.log(top.mean(axis=0) / bottom.mean(axis=0)))
        own = top / top.mean(axis=0)
        if metric.denominator is not None:
            own = own - bottom / bottom.mean(axis=0)
        variance += float(np.var(own @ weights, ddof=1)) / rows.sum()
    error = np.sqrt(variance)
    pvalue = float(2 * norm.sf(abs(estimate) / error)) if error > 0 else float("nan")
    return estimate, estimate - QUANTILE * error, estimate + QUANTILE * error, pvalue


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
