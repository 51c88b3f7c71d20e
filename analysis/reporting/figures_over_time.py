"""The effect over time: looks with their band, days, days since the first impression."""

from pathlib import Path
from typing import Any

import numpy as np

from analysis.reporting.content import Report
from analysis.reporting.figures import SMALL, figure, hue
from analysis.results.monitoring import DayEffect, Monitored, Trend
from policies.common.tables import percent

METHODS = {
    "obrien_fleming": "repeated interval, O'Brien-Fleming-type spending",
    "pocock": "repeated interval, Pocock-type spending",
    "cs": "confidence sequence",
    "none": "nothing before the end",
}
BY_DAY = (
    "Each day by itself, with 95 % intervals; the title tests a straight line through the days."
)
BY_EXPOSURE = "The same by days since a user came first: a novelty wears off along this axis."


def over_time_figures(report: Report, folder: Path) -> dict[str, str]:
    """The cumulative lift with the band that holds for all looks, and the effect of each day; name
    -> caption.
    """
    judgement, test = report.judgement, report.judgement.test
    captions = _levels(report, folder)
    looks = [row for row in judgement.monitor if row.looks]
    over_control = f"{test.primary.label} over {test.control}"
    if looks:
        days = _deployed(report)
        with figure(folder / "time_cumulative.png", SMALL) as (_, axis):
            for row in looks:
                _band(axis, row, hue(row.arm, test.arms))
            _dashed(axis, days)
            _axes(axis, f"{over_control} so far [%]", len(looks) > 1)
            axis.set_title(_title(min(looks, key=lambda row: row.stopped or np.inf)))
        caption = (
            f"All days so far, looked at every day; band: {METHODS[looks[0].method]}, cut at the"
            " figure's edge; a ring marks the first crossing"
        )
        caption += ", dashed lines the deployment of retrained models." if days else "."
        captions["time_cumulative"] = caption
    time = [row for row in judgement.over_time if len(row.by_day.rows) > 1]
    if not time:
        return captions
    for key, name, unit, caption in (
        ("by_day", "time_daily", "day", BY_DAY),
        ("since_exposure", "time_exposure", "day since a user's first impression", BY_EXPOSURE),
    ):
        trends = {row.arm: getattr(row, key) for row in time}
        with figure(folder / f"{name}.png", SMALL) as (_, axis):
            for i, (arm, trend) in enumerate(trends.items()):
                _daily(axis, trend.rows, hue(arm, test.arms), arm, 0.08 * i)
            _axes(axis, f"{over_control} on the day [%]", len(trends) > 1)
            axis.set_xlabel(unit)
            plainest = min(trends, key=lambda arm: np.nan_to_num(trends[arm].pvalue, nan=1.0))
            axis.set_title(_trend_title(plainest, trends[plainest]))
        captions[name] = caption
    return captions


def _deployed(report: Report) -> list[float]:
    """Days on which retrained models were deployed; a live log does not tell."""
    return [] if report.simulation is None else list(report.simulation.deployed_days)


def _dashed(axis: Any, days: list[float]) -> None:
    for day in days:
        axis.axvline(day, color="#999999", lw=0.8, ls="--")


def _levels(report: Report, folder: Path) -> dict[str, str]:
    """The primary metric itself, arm by arm and day by day: what a dashboard would show."""
    test = report.judgement.test
    time = [row for row in report.judgement.over_time if len(row.by_day.levels) > 1]
    if not time:
        return {}
    first, days = time[0].by_day.levels, _deployed(report)
    lines = {test.control: [(level.day, level.control) for level in first]}
    lines |= {row.arm: [(x.day, x.treatment) for x in row.by_day.levels] for row in time}
    values = np.array([value for points in lines.values() for _, value in points])
    if not np.isfinite(values).any():
        return {}
    with figure(folder / "time_levels.png", SMALL) as (_, axis):
        for arm, points in lines.items():
            axis.plot(*zip(*points), "o-", ms=4, color=hue(arm, test.arms), label=arm)
        _dashed(axis, [day + 0.5 for day in days])  # between two days
        if np.nanmin(values) >= 0:
            axis.set_ylim(bottom=0)
        axis.set_xlabel("day")
        axis.set_ylabel(f"{test.primary.label} on the day")
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.legend(fontsize=9)
        axis.set_title("Each arm by itself")
    per_user = test.primary.linear and test.primary.denominator is None
    what = f"The mean of {test.primary.label} over all users" if per_user else "The metric"
    deployed = "; dashed lines: retrained models are deployed" if days else ""
    return {"time_levels": f"{what} of each arm, day by day{deployed}."}


def _band(axis: Any, row: Monitored, colour: str) -> None:
    days = [look.day for look in row.looks]
    figures = np.array([[look.lift, look.low, look.high] for look in row.looks])
    lift, low, high = 100 * figures.T
    axis.plot(days, lift, "o-", color=colour, label=row.arm)
    known = np.isfinite(low) & np.isfinite(high)
    axis.fill_between(days, low, high, where=known, color=colour, alpha=0.18, lw=0)
    if row.stopped:
        at = days.index(row.stopped)
        axis.plot(days[at], lift[at], "o", ms=13, mfc="none", mec=colour, mew=1.8)
    low, high = np.where(np.isfinite(low), low, lift), np.where(np.isfinite(high), high, lift)
    last = max(high[-1] - low[-1], 2.0)
    bottom, top = axis.get_ylim() if len(axis.lines) > 2 else (np.inf, -np.inf)
    axis.set_ylim(min(bottom, low[-1] - 1.5 * last), max(top, high[-1] + 1.5 * last))


def _title(row: Monitored) -> str:
    if row.stopped:
        return f"{row.arm}: first crosses on day {row.stopped} of {row.planned}"
    return f"{row.arm}: crosses no bound in {row.looks[-1].day} days"


def _daily(axis: Any, rows: list[DayEffect], colour: str, label: str, shift: float) -> None:
    x = np.array([row.day for row in rows]) + shift
    y, low, high = 100 * np.array([[r.lift, r.low, r.high] for r in rows]).reshape(-1, 3).T
    axis.errorbar(x, y, yerr=[y - low, high - y], fmt="o-", color=colour, capsize=3, label=label)


def _trend_title(arm: str, trend: Trend) -> str:
    p = trend.pvalue
    if not np.isfinite(p):
        return f"{arm}: too few days for a trend"
    if p >= 0.05:
        return f"{arm}: no trend shown (p = {p:.2g})"
    word = "grows" if trend.slope > 0 else "fades"
    return f"{arm}: {word} by {percent(abs(trend.slope))} a day (p = {p:.2g})"


def _axes(axis: Any, unit: str, legend: bool) -> None:
    axis.axhline(0, color="black", lw=0.9)
    axis.set_xlabel("day")
    axis.set_ylabel(unit)
    axis.xaxis.get_major_locator().set_params(integer=True)
    if legend:
        axis.legend(fontsize=9)
