"""Figures by round: small multiples and Lorenz curves."""

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

from analysis.data.run import Run, exposure, rows_of_test
from analysis.reporting.figures import hue, save
from analysis.reporting.sentences import percent
from analysis.results.feedback_loop import lorenz

PANELS = (
    (
        "click_rate",
        "clicks per impression",
        "Click rate",
        "Clicks over impressions, each round served by one model of each arm.",
    ),
    ("coverage", "share of the catalogue", "Coverage", "Items shown at least once in the round."),
    (
        "gini",
        "Gini of exposure",
        "Concentration",
        "0: all items shown equally often; 1: one item gets everything.",
    ),
    (
        "overlap",
        "share of a page",
        "Overlap between users",
        "How much of a page another user's random page shows too.",
    ),
    (
        "popularity",
        "percentile",
        "Popularity in the log",
        "Rank by clicks in the log: shown items (solid) and clicked ones (dashed).",
    ),
    (
        "category_entropy",
        "bits per user",
        "Category variety",
        "Entropy of the categories that a user was shown, averaged over users.",
    ),
)


def rounds(results: dict[str, Any], arms: list[str], folder: Path) -> dict[str, str]:
    """Small multiples by round, a file each so that they reflow on a phone; returns name ->
    caption.
    """
    loop, lifts = results["rounds"]["loop"], results["rounds"]["lifts"]
    numbers = sorted({row["round"] for row in loop if row["round"] >= 0})
    captions = {}
    if lifts:
        figure, axis = plt.subplots(figsize=(5.2, 3.4), layout="constrained")
        _lift_panel(axis, lifts, arms, results["manifest"]["control"])
        captions["round_lift"] = "Lift of the primary metric in each round, with 95 % intervals."
        _finish_panel(axis, numbers, len({row["arm"] for row in lifts}) > 1)
        save(figure, folder / "round_lift.png")
    for name, unit, title, caption in PANELS:
        figure, axis = plt.subplots(figsize=(5.2, 3.4), layout="constrained")
        for arm in arms:
            rows = [row for row in loop if row["arm"] == arm and row["round"] >= 0]
            x = [row["round"] + 1 for row in rows]
            key = "popularity_shown" if name == "popularity" else name
            axis.plot(x, [row[key] for row in rows], "o-", color=hue(arm, arms), label=arm)
            if name == "popularity":
                axis.plot(
                    x,
                    [row["popularity_clicked"] for row in rows],
                    "s--",
                    color=hue(arm, arms),
                    mfc="white",
                )
        axis.set_title(_with_trend(title, name, loop, arms))
        axis.set_ylabel(unit)
        _finish_panel(axis, numbers, True)
        captions[f"round_{name}"] = caption
        save(figure, folder / f"round_{name}.png")
    return captions


def _finish_panel(axis: Any, numbers: list[int], legend: bool) -> None:
    axis.set_xticks([n + 1 for n in numbers])
    axis.set_xlabel("round")
    if legend:
        axis.legend(fontsize=9, loc="best")


def _lift_panel(axis: Any, lifts: list[dict[str, Any]], arms: list[str], control: str) -> None:
    treated = list(dict.fromkeys(row["arm"] for row in lifts))
    for i, arm in enumerate(treated):
        rows = [row for row in lifts if row["arm"] == arm and np.isfinite(row["lift"])]
        x = np.array([row["round"] + 1 for row in rows]) + 0.06 * (i - (len(treated) - 1) / 2)
        y = 100 * np.array([row["lift"] for row in rows])
        spread = [
            y - 100 * np.array([row["low"] for row in rows]),
            100 * np.array([row["high"] for row in rows]) - y,
        ]
        axis.errorbar(x, y, yerr=spread, fmt="o-", color=hue(arm, arms), capsize=3, label=arm)
    axis.axhline(0, color="black", lw=0.9)
    last = max(lifts, key=lambda row: row["round"])
    axis.set_title(f"{last['arm']}: lift over {control} {percent(last['lift'])} in the last round")
    axis.set_ylabel("lift of the primary metric [%]")


def _with_trend(title: str, name: str, loop: list[dict[str, Any]], arms: list[str]) -> str:
    """The title and what happened from the first round to the last, for the arm that moved most."""
    key = "popularity_shown" if name == "popularity" else name
    moves = {}
    for arm in arms:
        values = [row[key] for row in loop if row["arm"] == arm and row["round"] >= 0]
        if len(values) > 1 and all(np.isfinite(values)):
            moves[arm] = values[-1] - values[0]
    if not moves:
        return title
    arm = max(moves, key=lambda a: abs(moves[a]))
    return f"{title}: {arm} {moves[arm]:+.2g}"


def lorenz_curves(run: Run, path: Path) -> str:
    """Exposure of the first round against the last; returns the caption."""
    counts = exposure(rows_of_test(run))
    rounds_there = sorted(n for n in counts["round"].unique() if n >= 0)
    arms = run.arms
    figure, axis = plt.subplots(figsize=(5.6, 4.6))
    axis.plot([0, 100], [0, 100], color="#999999", lw=0.9)
    spread = {}
    for arm in arms:
        for number, style in ((rounds_there[0], "--"), (rounds_there[-1], "-")):
            own = counts[(counts["bucket"] == arm) & (counts["round"] == number)].set_index("item")[
                "shown"
            ]
            x, y = lorenz(own.reindex(run.items["item"], fill_value=0).to_numpy())
            axis.plot(
                100 * x, 100 * y, style, color=hue(arm, arms), label=f"{arm}, round {number + 1}"
            )
            spread[arm] = 1 - float(np.interp(0.9, x, y))
            if rounds_there[0] == rounds_there[-1]:
                break
    top = max(spread, key=lambda a: spread[a])
    axis.set_title(
        f"{top} gives {100 * spread[top]:.0f} % of its impressions to a tenth of the items"
    )
    axis.set_xlabel("items, least shown first [%]")
    axis.set_ylabel("impressions [%]")
    axis.legend(fontsize=9)
    save(figure, path)
    return (
        "The further a curve hangs below the diagonal, the fewer items get the impressions; dashed"
        " is the first round."
    )
