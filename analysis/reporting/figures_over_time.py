"""The effect over time: looks with their band, days, days since the first impression."""

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

from analysis.metrics import METRICS
from analysis.reporting.figures import hue, save
from analysis.reporting.sentences import percent

METHODS = {
    "obrien_fleming": "repeated interval, O'Brien-Fleming-type spending",
    "pocock": "repeated interval, Pocock-type spending",
    "cs": "confidence sequence",
    "none": "nothing before the end",
}


def over_time(results: dict[str, Any], arms: list[str], folder: Path) -> dict[str, str]:
    """The cumulative lift with the band that holds for all looks, and the effect of each day; name
    -> caption.
    """
    captions: dict[str, str] = {}
    looks = [row for row in results["monitor"] if row["looks"]]
    label, control = METRICS[results["primary"]].label, results["control"]
    if looks:
        figure, axis = plt.subplots(figsize=(5.2, 3.4), layout="constrained")
        for row in looks:
            _band(axis, row, hue(row["arm"], arms))
        deployed = results.get("deployed_days", [])
        for day in deployed:
            axis.axvline(day, color="#999999", lw=0.8, ls="--")
        _axes(axis, f"{label} over {control} so far [%]", len(looks) > 1)
        axis.set_title(_title(min(looks, key=lambda row: row["stopped"] or np.inf)))
        save(figure, folder / "time_cumulative.png")
        captions["time_cumulative"] = (
            f"All days so far, looked at every day; band: {METHODS[looks[0]['method']]}, cut at the"
            " figure's edge; a ring marks the first crossing"
            + (", dashed lines the deployment of retrained models." if deployed else ".")
        )
    time = [row for row in results["over_time"] if len(row["by_day"]["rows"]) > 1]
    for key, name, unit in (
        ("by_day", "time_daily", "day"),
        ("since_exposure", "time_exposure", "day since a user's first impression"),
    ):
        if not time:
            continue
        figure, axis = plt.subplots(figsize=(5.2, 3.4), layout="constrained")
        for i, row in enumerate(time):
            _daily(axis, row[key]["rows"], hue(row["arm"], arms), row["arm"], 0.08 * i)
        _axes(axis, f"{label} over {control} on the day [%]", len(time) > 1)
        axis.set_xlabel(unit)
        plainest = min(time, key=lambda row: np.nan_to_num(row[key]["pvalue"], nan=1.0))
        axis.set_title(_trend(plainest["arm"], plainest[key]))
        save(figure, folder / f"{name}.png")
        captions[name] = (
            "Each day by itself, with 95 % intervals; the title tests a straight line through the"
            " days."
            if key == "by_day"
            else "The same by days since a user came first: a novelty wears off along this axis."
        )
    return captions


def _band(axis: Any, row: dict[str, Any], colour: str) -> None:
    days = [look["day"] for look in row["looks"]]
    lift = 100 * np.array([look["lift"] for look in row["looks"]])
    low, high = (100 * np.array([look[key] for look in row["looks"]]) for key in ("low", "high"))
    axis.plot(days, lift, "o-", color=colour, label=row["arm"])
    known = np.isfinite(low) & np.isfinite(high)
    axis.fill_between(days, low, high, where=known, color=colour, alpha=0.18, lw=0)
    if row["stopped"]:
        at = days.index(row["stopped"])
        axis.plot(days[at], lift[at], "o", ms=13, mfc="none", mec=colour, mew=1.8)
    low, high = np.where(np.isfinite(low), low, lift), np.where(np.isfinite(high), high, lift)
    last = max(high[-1] - low[-1], 2.0)
    bottom, top = axis.get_ylim() if len(axis.lines) > 2 else (np.inf, -np.inf)
    axis.set_ylim(min(bottom, low[-1] - 1.5 * last), max(top, high[-1] + 1.5 * last))


def _title(row: dict[str, Any]) -> str:
    if row["stopped"]:
        return f"{row['arm']}: first crosses on day {row['stopped']} of {row['planned']}"
    return f"{row['arm']}: crosses no bound in {row['looks'][-1]['day']} days"


def _daily(axis: Any, rows: list[dict[str, Any]], colour: str, label: str, shift: float) -> None:
    x = np.array([row["day"] for row in rows]) + shift
    y, low, high = (100 * np.array([row[key] for row in rows]) for key in ("lift", "low", "high"))
    axis.errorbar(x, y, yerr=[y - low, high - y], fmt="o-", color=colour, capsize=3, label=label)


def _trend(arm: str, found: dict[str, Any]) -> str:
    p = found["pvalue"]
    if not np.isfinite(p):
        return f"{arm}: too few days for a trend"
    if p >= 0.05:
        return f"{arm}: no trend shown (p = {p:.2g})"
    return (
        f"{arm}: {'grows' if found['slope'] > 0 else 'fades'} by {percent(abs(found['slope']))} a"
        f" day (p = {p:.2g})"
    )


def _axes(axis: Any, unit: str, legend: bool) -> None:
    axis.axhline(0, color="black", lw=0.9)
    axis.set_xlabel("day")
    axis.set_ylabel(unit)
    axis.xaxis.get_major_locator().set_params(integer=True)
    if legend:
        axis.legend(fontsize=9)
