"""The figures' common looks, and the forest plot. One hue per policy, the same in every figure."""

from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from analysis.metrics import METRICS
from analysis.reporting.sentences import interaction_sentence, percent

matplotlib.use("Agg")
# Okabe and Ito's colours, safe for colour-blind readers; yellow is left out (too pale on white).
HUES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
plt.rcParams.update(
    {
        "font.size": 11,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.titlesize": 11.5,
        "axes.titlelocation": "left",
        "figure.dpi": 110,
        "savefig.dpi": 160,
        "legend.frameon": False,
        "text.parse_math": False,
    }  # arms are called as people call them
)


def hue(arm: str, arms: list[str]) -> str:
    return HUES[arms.index(arm) % len(HUES)]


def save(figure: Figure, path: Path) -> None:
    figure.savefig(path, bbox_inches="tight")
    plt.close(figure)


def forest(results: dict[str, Any], arms: list[str], path: Path) -> str:
    """One row per metric and contender: dot and interval of the lift, truth as a diamond; returns
    the caption.
    """
    rows = results["effects"]["rows"]
    outcomes = [row for row in rows if row["role"] != "guardrail" and np.isfinite(row["lift"])]
    guards = [row for row in rows if row["role"] == "guardrail" and np.isfinite(row["lift"])]
    ordered = outcomes + guards
    contenders = list(dict.fromkeys(row["arm"] for row in rows))
    figure, axis = plt.subplots(figsize=(7.2, 1.5 + 0.42 * len(ordered)), layout="constrained")
    gap = 0.6 if guards and outcomes else 0
    places = [-(i + (gap if i >= len(outcomes) else 0)) for i in range(len(ordered))]
    drawn_truth = False
    for y, row in zip(places, ordered, strict=True):
        colour = hue(row["arm"], arms)
        axis.plot(
            [100 * row["low"], 100 * row["high"]],
            [y, y],
            color=colour,
            lw=2.2,
            solid_capstyle="butt",
        )
        axis.plot(100 * row["lift"], y, "o", color=colour, ms=7)
        if row["true_lift"] is not None and np.isfinite(row["true_lift"]):
            axis.plot(
                100 * row["true_lift"],
                y,
                "D",
                mfc="white",
                mec="black",
                ms=7,
                mew=1.4,
                label=None if drawn_truth else "true effect",
            )
            drawn_truth = True
        if row["margin"] is not None:
            axis.plot(
                [-100 * row["margin"]] * 2, [y - 0.35, y + 0.35], color="#777777", lw=1.2, ls=":"
            )
    axis.axvline(0, color="black", lw=0.9)
    several = len(contenders) > 1
    labels = [
        METRICS[row["metric"]].label + (f" ({row['arm']})" if several else "") for row in ordered
    ]
    labels = [
        f"{label} ★" if row["role"] == "primary" else label
        for label, row in zip(labels, ordered, strict=True)
    ]
    axis.set_yticks(places, labels)
    axis.set_ylim(min(places, default=0) - 0.7, 0.7)
    axis.set_xlabel(f"lift over {rows[0]['control'] if rows else 'the control'} [%]")
    axis.set_title(_forest_title(rows))
    if guards:
        axis.axhline(-(len(outcomes) - 0.5 + gap / 2), color="#cccccc", lw=0.8)
    if drawn_truth:
        figure.legend(loc="outside lower right", fontsize=10)
    save(figure, path)
    text = "Dots are estimates, bars 95 % intervals, ★ the primary metric"
    text += ", diamonds the true effect" if drawn_truth else ""
    return text + (
        ", dotted lines the margin of the guardrails below the grey line." if guards else "."
    )


def _forest_title(rows: list[dict[str, Any]]) -> str:
    primary = [row for row in rows if row["role"] == "primary" and np.isfinite(row["lift"])]
    if not primary:
        return "Nothing to compare"
    best = max(primary, key=lambda row: row["lift"])
    return (
        f"{best['arm']}: {percent(best['lift'])} {METRICS[best['metric']].label} against"
        f" {best['control']}"
    )


def segments(results: dict[str, Any], arms: list[str], path: Path) -> str | None:
    """A small forest of the segments in which the effect differs; returns the caption, None where
    it differs nowhere.
    """
    tests = [test for test in results["segments"]["tests"] if test["pvalue_adjusted"] < 0.05]
    rows = [
        row
        for test in tests
        for row in results["segments"]["rows"]
        if (row["arm"], row["segment"]) == (test["arm"], test["segment"])
    ]
    if not rows:
        return None
    figure, axis = plt.subplots(figsize=(7.2, 1.4 + 0.4 * len(rows)), layout="constrained")
    for y, row in zip(range(0, -len(rows), -1), rows, strict=True):
        colour = hue(row["arm"], arms)
        axis.plot(
            [100 * row["low"], 100 * row["high"]],
            [y, y],
            color=colour,
            lw=2.2,
            solid_capstyle="butt",
        )
        axis.plot(100 * row["lift"], y, "o", color=colour, ms=7)
    several = len({row["arm"] for row in rows}) > 1
    names = [
        f"{r['segment']}: {r['level']} (n = {r['users']})" + (f", {r['arm']}" if several else "")
        for r in rows
    ]
    axis.set_yticks(range(0, -len(rows), -1), names)
    axis.axvline(0, color="black", lw=0.9)
    axis.set_xlabel(f"{METRICS[results['primary']].label} over {results['control']} [%]")
    axis.set_title(interaction_sentence(tests[0]))
    save(figure, path)
    return (
        "Dots are estimates, bars 95 % intervals that are not corrected; the title tests whether"
        " the levels differ (Cochran's Q, Holm)."
    )
