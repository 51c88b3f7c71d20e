"""The figures' common looks, and the forest plots. One hue per policy, the same in every figure.

Figures are made and saved without pyplot: neither the backend nor the settings of whoever imports
this are touched.
"""

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from analysis.reporting.sentences import advantage_sentence, interaction_sentence
from analysis.results.effects import Effect
from analysis.results.results import Judgement
from policies.common.tables import percent

# Okabe and Ito's colours, safe for colour-blind readers; yellow is left out (too pale on white).
HUES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
STYLE: Any = {
    "font.size": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 11.5,
    "axes.titlelocation": "left",
    "figure.dpi": 110,
    "savefig.dpi": 160,
    "svg.hashsalt": "gptrec",  # the same picture, the same bytes
    "legend.frameon": False,
    "text.parse_math": False,  # arms are called as people call them
}
WIDE, SMALL = 7.2, (5.2, 3.4)  # inches
GREY, PALE = "#777777", "#cccccc"


def hue(arm: str, arms: Sequence[str]) -> str:
    return HUES[list(arms).index(arm) % len(HUES)]


class Picture(Figure):
    """A figure that a notebook shows, whatever backend there is."""

    def _repr_png_(self) -> bytes:
        written = BytesIO()
        with matplotlib.rc_context(dict(STYLE)):
            self.savefig(written, bbox_inches="tight")
        return written.getvalue()


@contextmanager
def figure(
    path: Path | Callable[[Picture], None], size: tuple[float, float], tight: bool = False
) -> Iterator[tuple[Figure, Any]]:
    """A figure and its axes in our looks, saved as PNG and, beside it, as SVG when the
    context ends.

    Args:
        path: of the PNG, or what takes the figure instead.
        size: width and height in inches. tight: no automatic layout.
    """
    with matplotlib.rc_context(dict(STYLE)):
        made = Picture(figsize=size, layout=None if tight else "constrained")
        yield made, made.subplots()
        if callable(path):
            path(made)
            return
        save(made, path)


def save(made: Figure, path: Path) -> None:
    """As PNG, and as SVG for pages, which is sharp however far it is zoomed; within `STYLE`."""
    with warnings.catch_warnings():  # a name in letters that the font lacks is drawn as boxes
        warnings.filterwarnings("ignore", "Glyph .* missing from|constrained_layout not applied")
        made.savefig(path, bbox_inches="tight")
        made.savefig(path.with_suffix(".svg"), bbox_inches="tight", metadata={"Date": None})


def draw_interval(axis: Any, y: float, row: Any, colour: str) -> None:
    """Dot and interval of a lift, in per cent."""
    ends = [100 * row.low, 100 * row.high]
    axis.plot(ends, [y, y], color=colour, lw=2.2, solid_capstyle="butt")
    axis.plot(100 * row.lift, y, "o", color=colour, ms=7)


def advantage_bars(rows: list[dict[str, Any]], path: Path) -> str:
    """What the best slates get by what is known; returns the caption."""

    def hue_of(row: dict[str, Any]) -> str:
        return HUES[0] if row is not rows[0] and row.get("rested", True) else PALE

    names = [row["known"] for row in rows]
    rates = [row["click_rate"] for row in rows]
    with figure(path, (WIDE, 0.9 + 0.42 * len(rows))) as (_, axis):
        places = -np.arange(len(rows))
        axis.barh(places, rates, color=[hue_of(row) for row in rows], height=0.62)
        for place, rate in zip(places, rates, strict=True):
            axis.text(rate, place, f" {rate:.3f}", va="center")
        axis.set_yticks(places, names)
        axis.set_xlim(0, 1.15 * max(rates))
        axis.set_xlabel("clicks per impression")
    return "What the best slates get, by what is known of items and users. " + advantage_sentence(
        rows
    )


def forest(judgement: Judgement, path: Path) -> str:
    """One row per metric and contender: dot and interval of the lift, truth as a diamond; returns
    the caption.
    """
    arms, control = judgement.test.arms, judgement.test.control
    known = [effect for effect in judgement.effects if effect.known]
    outcomes = [effect for effect in known if effect.role != "guardrail"]
    guards = [effect for effect in known if effect.role == "guardrail"]
    ordered = outcomes + guards
    gap = 0.6 if guards and outcomes else 0
    places = [-(i + (gap if i >= len(outcomes) else 0)) for i in range(len(ordered))]
    with figure(path, (WIDE, 1.5 + 0.42 * len(ordered))) as (made, axis):
        for y, effect in zip(places, ordered, strict=True):
            draw_interval(axis, y, effect, hue(effect.arm, arms))
            if effect.margin is not None:
                at = [-100 * effect.margin] * 2
                axis.plot(at, [y - 0.35, y + 0.35], color=GREY, lw=1.2, ls=":")
        has_truth = _draw_truth(axis, places, ordered)
        axis.axvline(0, color="black", lw=0.9)
        axis.set_yticks(places, _row_names(ordered))
        axis.set_ylim(min(places, default=0) - 0.7, 0.7)
        axis.set_xlabel(f"lift over {control} [%]")
        axis.set_title(_forest_title(judgement))
        if guards:
            axis.axhline(-(len(outcomes) - 0.5 + gap / 2), color=PALE, lw=0.8)
        if has_truth:
            made.legend(loc="outside lower right", fontsize=10)
    text = "Dots are estimates, bars 95 % intervals, ★ the primary metric"
    text += ", diamonds the true effect" if has_truth else ""
    if not guards:
        return text + "."
    return text + ", dotted lines the margin of the guardrails below the grey line."


def _draw_truth(axis: Any, places: list[float], effects: list[Effect]) -> bool:
    """A diamond at every true effect; whether there is one."""
    drawn = False
    for y, effect in zip(places, effects, strict=True):
        if effect.true_lift is None or not np.isfinite(effect.true_lift):
            continue
        label = None if drawn else "true effect"
        looks: dict[str, Any] = {"mfc": "white", "mec": "black", "ms": 7, "mew": 1.4}
        axis.plot(100 * effect.true_lift, y, "D", label=label, **looks)
        drawn = True
    return drawn


def _row_names(effects: list[Effect]) -> list[str]:
    several = len({effect.arm for effect in effects}) > 1
    names = [effect.label + (f" ({effect.arm})" if several else "") for effect in effects]
    return [
        f"{name} ★" if effect.role == "primary" else name
        for name, effect in zip(names, effects, strict=True)
    ]


def _forest_title(judgement: Judgement) -> str:
    primary = [effect for effect in judgement.primary if effect.known]
    if not primary:
        return "Nothing to compare"
    best = max(primary, key=lambda effect: effect.lift)
    return f"{best.arm}: {percent(best.lift)} {best.label} against {best.control}"


def segment_forest(judgement: Judgement, path: Path) -> str | None:
    """A small forest of the segments in which the effect differs; returns the caption, None where
    it differs nowhere.
    """
    test, segments = judgement.test, judgement.segments
    differing = [tested for tested in segments.tests if tested.pvalue_adjusted < 0.05]
    pairs = [(tested.arm, tested.segment) for tested in differing]
    rows = [r for pair in pairs for r in segments.rows if (r.arm, r.segment) == pair]
    if not rows:
        return None
    places = range(0, -len(rows), -1)
    several = len({row.arm for row in rows}) > 1
    names = [
        f"{r.segment}: {r.level} (n = {r.users})" + (f", {r.arm}" if several else "") for r in rows
    ]
    with figure(path, (WIDE, 1.4 + 0.4 * len(rows))) as (_, axis):
        for y, row in zip(places, rows, strict=True):
            draw_interval(axis, y, row, hue(row.arm, test.arms))
        axis.set_yticks(places, names)
        axis.axvline(0, color="black", lw=0.9)
        axis.set_xlabel(f"{test.primary.label} over {test.control} [%]")
        axis.set_title(interaction_sentence(differing[0]))
    return (
        "Dots are estimates, bars 95 % intervals that are not corrected; the title tests whether"
        " the levels differ (Cochran's Q, Holm)."
    )
