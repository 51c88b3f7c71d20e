"""Figures by round: small multiples and Lorenz curves."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from analysis.data.run import Run, exposure, rows_of_test
from analysis.reporting.content import Report
from analysis.reporting.figures import SMALL, figure, hue
from analysis.results.feedback_loop import RoundMetrics, lorenz
from analysis.results.results import RoundLift
from policies.common.tables import percent


@dataclass(frozen=True)
class Panel:
    """One small figure: a column of `RoundMetrics`, and a second one drawn dashed."""

    name: str
    unit: str
    title: str
    caption: str
    column: str
    dashed: str | None = None
    error: str | None = None


PANELS = (
    Panel(
        "click_rate",
        "clicks per impression",
        "Click rate",
        "Clicks over impressions, each round served by one model of each arm; bars: 95 % intervals"
        " over users.",
        "click_rate",
        error="click_rate_error",
    ),
    Panel(
        "coverage",
        "share of the catalogue",
        "Coverage",
        "Items shown at least once in the round.",
        "coverage",
    ),
    Panel(
        "gini",
        "Gini of exposure",
        "Concentration",
        "0: all items shown equally often; 1: one item gets everything.",
        "gini",
    ),
    Panel(
        "overlap",
        "share of a page",
        "Overlap between users",
        "How much of a page another user's random page shows too.",
        "overlap",
    ),
    Panel(
        "popularity",
        "percentile",
        "Popularity in the log",
        "Rank by clicks in the log: shown items (solid) and clicked ones (dashed).",
        "popularity_shown",
        dashed="popularity_clicked",
    ),
    Panel(
        "category_entropy",
        "bits per user",
        "Category variety",
        "Entropy of the categories that a user was shown, averaged over users.",
        "category_entropy",
    ),
)


def round_figures(report: Report, folder: Path) -> dict[str, str]:
    """Small multiples by round, a file each so that they reflow on a phone; name -> caption."""
    assert report.simulation is not None
    rounds, test = report.simulation.rounds, report.judgement.test
    loop = [row for row in rounds.loop if row.round >= 0]
    numbers, captions = sorted({row.round for row in loop}), {}
    if rounds.lifts:
        with figure(folder / "round_lift.png", SMALL) as (_, axis):
            _lift_panel(axis, rounds.lifts, test.arms, test.control)
            _finish(axis, numbers, len({row.arm for row in rounds.lifts}) > 1)
        captions["round_lift"] = "Lift of the primary metric in each round, with 95 % intervals."
    for panel in PANELS:
        with figure(folder / f"round_{panel.name}.png", SMALL) as (_, axis):
            _draw(axis, panel, loop, test.arms)
            _finish(axis, numbers, True)
        captions[f"round_{panel.name}"] = panel.caption
    return captions


def _draw(axis: Any, panel: Panel, loop: list[RoundMetrics], arms: list[str]) -> None:
    for arm in arms:
        rows = [row for row in loop if row.arm == arm]
        x, colour = [row.round + 1 for row in rows], hue(arm, arms)
        y = [getattr(row, panel.column) for row in rows]
        axis.plot(x, y, "o-", color=colour, label=arm)
        if panel.error is not None:
            half = [1.96 * getattr(row, panel.error) for row in rows]
            axis.errorbar(x, y, yerr=half, fmt="none", color=colour, capsize=3, alpha=0.6)
        if panel.dashed is not None:
            y = [getattr(row, panel.dashed) for row in rows]
            axis.plot(x, y, "s--", color=colour, mfc="white")
    axis.set_title(_with_trend(panel, loop, arms))
    axis.set_ylabel(panel.unit)


def _finish(axis: Any, numbers: list[int], legend: bool) -> None:
    axis.set_xticks([n + 1 for n in numbers])
    axis.set_xlabel("round")
    if legend:
        axis.legend(fontsize=9, loc="best")


def _lift_panel(axis: Any, lifts: list[RoundLift], arms: list[str], control: str) -> None:
    treated = list(dict.fromkeys(row.arm for row in lifts))
    for i, arm in enumerate(treated):
        rows = [row for row in lifts if row.arm == arm and np.isfinite(row.lift)]
        x = np.array([row.round + 1 for row in rows]) + 0.06 * (i - (len(treated) - 1) / 2)
        y, low, high = 100 * np.array([[r.lift, r.low, r.high] for r in rows]).reshape(-1, 3).T
        spread = [y - low, high - y]
        axis.errorbar(x, y, yerr=spread, fmt="o-", color=hue(arm, arms), capsize=3, label=arm)
    axis.axhline(0, color="black", lw=0.9)
    last = max(lifts, key=lambda row: row.round)
    axis.set_title(f"{last.arm}: lift over {control} {percent(last.lift)} in the last round")
    axis.set_ylabel("lift of the primary metric [%]")


def _with_trend(panel: Panel, loop: list[RoundMetrics], arms: list[str]) -> str:
    """The title and what happened from the first round to the last, for the arm that moved most."""
    moves = {}
    for arm in arms:
        values = [getattr(row, panel.column) for row in loop if row.arm == arm]
        if len(values) > 1 and all(np.isfinite(values)):
            moves[arm] = values[-1] - values[0]
    if not moves:
        return panel.title
    arm = max(moves, key=lambda a: abs(moves[a]))
    return f"{panel.title}: {arm} {moves[arm]:+.2g}"


def lorenz_figure(run: Run, path: Path) -> str:
    """Exposure of the first round against the last; returns the caption."""
    counts = exposure(rows_of_test(run))
    numbers = sorted(n for n in counts["round"].unique() if n >= 0)
    ends = dict.fromkeys(((numbers[0], "--"), (numbers[-1], "-")))
    if numbers[0] == numbers[-1]:
        ends = {(numbers[0], "--"): None}
    arms, top_share = run.arms, {}
    with figure(path, (5.6, 4.6), tight=True) as (_, axis):
        axis.plot([0, 100], [0, 100], color="#999999", lw=0.9)
        for arm in arms:
            for number, style in ends:
                own = counts[(counts["bucket"] == arm) & (counts["round"] == number)]
                shown = own.set_index("item")["shown"].reindex(run.items["item"], fill_value=0)
                x, y = lorenz(shown.to_numpy())
                label = f"{arm}, round {number + 1}"
                axis.plot(100 * x, 100 * y, style, color=hue(arm, arms), label=label)
                top_share[arm] = 1 - float(np.interp(0.9, x, y))
        top = max(top_share, key=lambda a: top_share[a])
        share = f"{100 * top_share[top]:.0f} %"
        axis.set_title(f"{top} gives {share} of its impressions to a tenth of the items")
        axis.set_xlabel("items, least shown first [%]")
        axis.set_ylabel("impressions [%]")
        axis.legend(fontsize=9)
    return (
        "The further a curve hangs below the diagonal, the fewer items get the impressions; dashed"
        " is the first round."
    )
