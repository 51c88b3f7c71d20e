"""The report of a study of loops: `loop.html`, `study.md`, `study.json`, pictures."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from analysis.loops import pictures
from analysis.loops.effects import CONTRASTS, REGIMES, LoopEffect, Measured, effects, is_primary
from analysis.loops.measures import BY_NAME, PRIMARY
from analysis.loops.words import LiveTest, live_sentence, live_tests, paragraph, summary
from analysis.reporting.page import Figure
from analysis.reporting.templates import template
from analysis.reporting.write import as_figure
from policies.common.files import save_json, save_text
from policies.common.tables import Table, interval, number, pvalue, signed, signed_number

TITLE = "What retraining on one's own feedback does"
WAYS = {
    "frozen": "the policy never retrains",
    "own": "it learns from its own feedback",
    "open": "from the rows of the same users in the frozen world: more data, no loop",
    "outside": "likewise where slates are uniformly random",
    "thinned": "those of open, about as many clicks of a user as outside has",
    "all": "an equal share from each policy's own world",
}


@dataclass(frozen=True)
class Loops:
    """A study, measured.

    Attributes:
        exposure: (policy, regime) -> (rounds, N) impressions, of all seeds; also of `uniform` and
            `oracle`, as (name, ""). moved: policy -> (G, C) logits that own feedback moved taste
            groups by the end; {} where taste stays. start: (G, C) shares before. references: name
            -> (seeds, rounds) true utility. learned: (policy, regime) -> (seeds, rounds - 1) rows
            and clicks that were learned from. about: settings to be named.
    """

    measured: Measured
    exposure: dict[tuple[str, str], np.ndarray]
    moved: dict[str, np.ndarray]
    start: np.ndarray
    references: dict[str, np.ndarray]
    learned: dict[tuple[str, str], np.ndarray]
    about: dict[str, str]

    study = "loop"


def sentences(loops: Loops) -> list[str]:
    """What it says, in words."""
    found, last = effects(loops.measured, loops.measured.rounds - 1), loops.measured.rounds
    told = [summary(found)]
    told += [paragraph(policy, found, last) for policy in loops.measured.policies]
    told.append(live_sentence(live_tests(loops.measured)))
    return told


def tables(loops: Loops) -> list[tuple[str, Table]]:
    """With their titles; the first one is for the terminal, too."""
    found = effects(loops.measured, loops.measured.rounds - 1)
    others = [x for x in found if not is_primary(x)]
    named = [
        ("The loop: own less open, last round; p by Holm", _effect_table(loop_of(found), True)),
        ("Every other effect in the last round (exploratory)", _effect_table(others, False)),
        ("Utility in the last round", _utility(loops)),
        ("What was learned from, mean over rounds (the first with the warm-up)", _learned(loops)),
        ("Policies against each other, clicks per user", _live(live_tests(loops.measured))),
    ]
    return [(title, table) for title, table in named if table.rows]


def loop_of(found: list[LoopEffect]) -> list[LoopEffect]:
    return [x for x in found if is_primary(x)]


def _effect_table(found: list[LoopEffect], primary: bool) -> Table:
    head = ["policy", "effect", "measure", "difference", "95 % interval"]
    head += ["p, Holm" if primary else "p", "variance saved by pairing"]
    body = [
        [
            *(x.policy, x.contrast, BY_NAME[x.measure].label, signed_number(x.value)),
            f"{number(x.low)} to {number(x.high)}",
            pvalue(x.adjusted if primary else x.pvalue),
            "–" if x.saved is None else f"{x.saved:.1f} times",
        ]
        for x in found
    ]
    return Table(head, body, text=3)


def _utility(loops: Loops) -> Table:
    """True utility of each way to learn, and its share of the way from random to best slates."""
    measured, last = loops.measured, loops.measured.rounds - 1
    low, high = (loops.references[name][:, last].mean() for name in ("uniform", "oracle"))
    body = []
    for policy in measured.policies:
        for regime in REGIMES:
            if not measured.has(policy, regime, "utility"):
                continue
            mean = measured.mean(policy, regime, "utility", last)
            ends = f"{number(mean.interval[0])} to {number(mean.interval[1])}"
            share = f"{100 * (mean.value - low) / (high - low):.0f} %" if high > low else "–"
            body.append([policy, regime, number(mean.value), ends, share])
    head = ("policy", "learns from", "true chance of a click", "95 % interval", "of the way")
    return Table(head, body, text=2)


def _learned(loops: Loops) -> Table:
    body = [
        [policy, regime, number(float(round(rows))), number(float(round(clicks)))]
        for (policy, regime), told in loops.learned.items()
        for rows, clicks in [told.mean(axis=(0, 1))]
    ]
    return Table(("policy", "learns from", "impressions", "clicks"), body, text=2)


def _live(tests: list[LiveTest]) -> Table:
    body = [
        [
            f"{x.one} against {x.other}",
            *(
                f"{signed(value)} ({interval(low, high)})"
                for value, low, high in (x.first, x.last, x.long)
            ),
            "turns" if x.turned else "not shown over all" if x.faded else "",
        ]
        for x in tests
    ]
    return Table(("policies", "first round", "last round", "all rounds", "sign"), body)


def write(loops: Loops, command: str, out: Path) -> None:
    """All files, into an existing folder."""
    measured, folder = loops.measured, out / "figures"
    folder.mkdir(exist_ok=True)
    last = measured.rounds - 1
    save_json(out / "study.json", as_json(loops))
    captions = {
        f"round_{name}": pictures.by_round(measured, name, folder / f"round_{name}.png")
        for name in pictures.DRAWN
        if measured.has(measured.policies[0], "own", name)
    }
    found, tests = effects(measured, last), live_tests(measured)
    captions["forest"] = pictures.forest(found, folder / "forest.png")
    captions["lorenz"] = pictures.lorenz_curves(
        loops.exposure, measured.policies, folder / "lorenz.png"
    )
    captions["live"] = pictures.short_tests(tests, folder / "live.png")
    if loops.moved:
        captions["tastes"] = pictures.tastes(
            loops.start, loops.moved, measured.policies, folder / "tastes.png"
        )
    captions = {name: caption for name, caption in captions.items() if caption}
    text = [f"# {TITLE}", *sentences(loops), _settings(loops)]
    for title, table in tables(loops):
        text += [f"## {title}", table.markdown()]
    text += [f"![{caption}](figures/{name}.png)" for name, caption in captions.items()]
    text.append(f"```\n{command}\n```")
    save_text(out / "study.md", "\n\n".join(text) + "\n")
    figures = {
        name: as_figure(folder / f"{name}.png", caption) for name, caption in captions.items()
    }
    save_text(out / "loop.html", page(loops, figures, command))


def show(loops: Loops) -> None:
    """The primary effects on the screen."""
    title, table = tables(loops)[0]
    Console().print(f"\n{title}", highlight=False)
    table.print(rule=True)
    for sentence in sentences(loops):
        Console().print(sentence, style="bold", highlight=False)


def _settings(loops: Loops) -> str:
    told = ", ".join(f"{key} {value}" for key, value in loops.about.items())
    ways = "; ".join(f"{name}: {text}" for name, text in WAYS.items())
    names = ", ".join(BY_NAME[name].label for name in PRIMARY)
    return (
        f"{loops.measured.seeds} seeds, {loops.measured.rounds} rounds, {told}. Ways to learn:"
        f" {ways}."
        " In each round all of them (but thinned) learn from as many pages of the same users;"
        " the policy itself"
        " serves the users whose measures are shown. Intervals are over users within seeds and over"
        " seeds; of a world's measures over seeds alone. Primary, named beforehand and corrected"
        f" together: {names}, own less open in the last round; everything else is exploratory."
    )


def page(loops: Loops, figures: dict[str, Figure], command: str) -> str:
    """One file, no network, readable without a script."""
    told = sentences(loops)
    return template("loop.html.jinja", Path(__file__).parent).render(
        title=TITLE,
        summary=told[0],
        paragraphs=told[1:],
        settings=_settings(loops),
        figures=figures,
        tables=[(title, table.html()) for title, table in tables(loops)],
        measures=[(x.label, x.unit) for x in BY_NAME.values()],
        command=command,
    )


def as_json(loops: Loops) -> dict[str, Any]:
    measured = loops.measured
    return {
        "study": "loop",
        "about": loops.about,
        "seeds": measured.seeds,
        "rounds": measured.rounds,
        "contrasts": {name: list(pair) for name, pair in CONTRASTS.items()},
        "effects": [asdict(x) for r in range(measured.rounds) for x in effects(measured, r)],
        "means": [
            {
                "policy": policy,
                "regime": regime,
                "measure": measure,
                "round": round_,
                "mean": mean.value,
                "low": mean.interval[0],
                "high": mean.interval[1],
            }
            for policy in measured.policies
            for regime in REGIMES
            for measure in BY_NAME
            if measured.has(policy, regime, measure)
            for round_ in range(measured.rounds)
            for mean in [measured.mean(policy, regime, measure, round_)]
        ],
        "live": [asdict(x) | {"turned": x.turned, "faded": x.faded} for x in live_tests(measured)],
        "references": {name: x.tolist() for name, x in loops.references.items()},
        "sentences": sentences(loops),
    }
