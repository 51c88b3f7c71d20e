"""Pictures of a study of loops."""

from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from analysis.loops.effects import REGIMES, LoopEffect, Measured, is_primary
from analysis.loops.measures import BY_NAME
from analysis.loops.words import LiveTest
from analysis.reporting.figures import GREY, HUES, PALE, STYLE, WIDE, figure, save
from analysis.results.feedback_loop import lorenz

HUE = dict(zip(REGIMES, (GREY, HUES[1], HUES[0], HUES[2], HUES[4], HUES[3]), strict=True))
DRAWN = ("utility", "gini", "overlap", "entropy", "popularity_shown", "caused", "new_reached")


def by_round(measured: Measured, measure: str, path: Path) -> str:
    """Small multiples: a policy each, a line per way to learn with its interval over seeds."""
    policies, rounds = measured.policies, np.arange(1, measured.rounds + 1)
    with matplotlib.rc_context(dict(STYLE)):
        made = Figure(figsize=(max(2.6 * len(policies) + 1.4, 4.2), 2.9), layout="constrained")
        axes: Any = made.subplots(1, len(policies), sharey=True, squeeze=False)[0]
        for axis, policy in zip(axes, policies, strict=True):
            for regime in REGIMES:
                if not measured.has(policy, regime, measure):
                    continue
                means = [measured.mean(policy, regime, measure, r) for r in range(measured.rounds)]
                line = [mean.value for mean in means]
                low, high = np.array([mean.interval for mean in means]).T
                width = 2.4 if regime in ("own", "open") else 1.4
                axis.plot(rounds, line, color=HUE[regime], lw=width, label=regime)
                if measured.seeds > 2:
                    axis.fill_between(rounds, low, high, color=HUE[regime], alpha=0.12, lw=0)
            axis.set_title(policy)
            axis.set_xlabel("round")
            axis.xaxis.get_major_locator().set_params(integer=True)
        axes[0].set_ylabel(BY_NAME[measure].label)
        made.legend(*axes[0].get_legend_handles_labels(), loc="outside right upper", fontsize=10)
        save(made, path)
    return (
        f"{BY_NAME[measure].label.capitalize()} ({BY_NAME[measure].unit}) by round. The loop is"
        " what lies between own and open."
    )


def forest(effects: list[LoopEffect], path: Path) -> str:
    """The primary effects of the loop, each over the size of its interval's half."""
    rows = [x for x in effects if is_primary(x) and np.isfinite(x.low)]
    if not rows:
        return ""
    with figure(path, (WIDE, 1.0 + 0.42 * len(rows))) as (_, axis):
        for y, x in enumerate(rows):
            half = (x.high - x.low) / 2 or 1.0
            colour = HUES[1] if x.adjusted is not None and x.adjusted < 0.05 else GREY
            axis.plot([x.low / half, x.high / half], [-y, -y], color=colour, lw=2.2)
            axis.plot(x.value / half, -y, "o", color=colour, ms=7)
        axis.axvline(0, color="black", lw=0.9)
        names = [f"{x.policy}: {BY_NAME[x.measure].label}" for x in rows]
        axis.set_yticks([-y for y in range(len(rows))], names)
        axis.set_xlabel("effect of the loop in halves of its 95 % interval")
    return (
        "Effects of the loop (own less open) in the last round; coloured where they are shown after"
        " correction. Scaled so that all intervals are as wide: the table has the figures."
    )


def lorenz_curves(
    exposure: dict[tuple[str, str], np.ndarray], policies: tuple[str, ...], path: Path
) -> str:
    """Exposure in the first and the last round, with the loop and without.

    Args:
        exposure: (policy, regime) -> (rounds, N) impressions, of all seeds.
    """
    with matplotlib.rc_context(dict(STYLE)):
        made = Figure(figsize=(max(2.6 * len(policies) + 1.4, 4.2), 2.9), layout="constrained")
        axes: Any = made.subplots(1, len(policies), sharey=True, squeeze=False)[0]
        for axis, policy in zip(axes, policies, strict=True):
            first, last = exposure[policy, "own"][0], exposure[policy, "own"][-1]
            without = exposure[policy, "open"][-1]
            axis.plot(*lorenz(first), color=HUE["own"], lw=1.2, ls=":", label="first round")
            axis.plot(*lorenz(last), color=HUE["own"], lw=2.2, label="last, own")
            axis.plot(*lorenz(without), color=HUE["open"], lw=2.2, label="last, open")
            axis.plot([0, 1], [0, 1], color=PALE, lw=0.8)
            axis.set_title(policy)
            axis.set_xlabel("items, least shown first")
        axes[0].set_ylabel("share of impressions")
        made.legend(*axes[0].get_legend_handles_labels(), loc="outside right upper", fontsize=10)
        save(made, path)
    return "Lorenz curves of exposure: the lower, the fewer items take all."


def tastes(
    start: np.ndarray, moved: dict[str, np.ndarray], policies: tuple[str, ...], path: Path
) -> str:
    """A map of taste groups: where they begin and where each policy's loop has taken them.

    Args:
        start: (G, C) shares of each group, NaN of one that has nobody. moved: policy -> (G, C)
            logits at the end.
    """
    there = np.isfinite(start).all(axis=1)
    start, moved = start[there], {policy: x[there] for policy, x in moved.items()}
    if len(start) < 3:
        return ""
    centre = np.log(start + 1e-6)
    centre = centre - centre.mean(axis=0)
    _, _, axes_ = np.linalg.svd(centre, full_matrices=False)
    flat = axes_[:2].T
    at = centre @ flat
    with figure(path, (WIDE, 4.2)) as (_, axis):
        axis.plot(*at.T, "o", color=PALE, ms=9)
        for k, policy in enumerate(policies):
            to = at + (moved[policy] - moved[policy].mean(axis=1, keepdims=True)) @ flat
            for a, b in zip(at, to, strict=True):
                axis.annotate(
                    "", b, a, arrowprops={"arrowstyle": "->", "color": HUES[k % len(HUES)]}
                )
            axis.plot([], [], color=HUES[k % len(HUES)], label=policy)
        axis.legend()
        axis.set_xlabel("log shares of taste, first principal axis")
        axis.set_ylabel("second")
    return (
        "Taste groups (users by the category that they like most beyond others) before the test,"
        " and where their true taste stands at its end, own feedback."
    )


def short_tests(tests: list[LiveTest], path: Path) -> str:
    """What a test of the first round says beside the last round and all of them."""
    if not tests:
        return ""
    with figure(path, (WIDE, 1.2 + 0.75 * len(tests))) as (made, axis):
        for k, (name, colour) in enumerate((("first", GREY), ("last", HUES[1]), ("long", HUES[0]))):
            for y, test in enumerate(tests):
                value, low, high = getattr(test, name)
                place = -y - 0.2 * (k - 1)
                if np.isfinite(low):
                    axis.plot([100 * low, 100 * high], [place, place], color=colour, lw=2.2)
                label = {"first": "first round", "last": "last round", "long": "all rounds"}[name]
                axis.plot(100 * value, place, "o", color=colour, ms=6, label=None if y else label)
        axis.axvline(0, color="black", lw=0.9)
        names = [f"{x.one} against {x.other}" for x in tests]
        axis.set_yticks([-y for y in range(len(tests))], names)
        axis.set_xlabel("lift of clicks per user [%]")
        made.legend(loc="outside lower right", fontsize=10, ncols=3)
    return "Lift of clicks per user between policies that learn from themselves; 95 % over seeds."
