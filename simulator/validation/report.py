"""A fidelity report: lights with words, a table, a calibration picture."""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from simulator.validation.fidelity import LEVEL, Fidelity
from simulator.validation.free_running import FreeRunning, relative_to
from simulator.validation.policy_ranking import PolicyRanking

# Bounds of green and amber. What chance alone does to so many rows is taken off first.
RATE, RATE_AMBER = 0.03, 0.10
DECILE, DECILE_AMBER = 0.10, 0.25
ECE, ECE_AMBER = 0.01, 0.03
SPREAD, SPREAD_AMBER = 0.05, 0.10
# rare feedback is judged by its interval, which must not be wider than this
RARE, RARE_WIDTH = 0.01, 0.25
SURE = 2.8  # standard errors that a tenth must be off to count
GIVEN, GIVEN_AMBER = 0.05, 0.10  # relative, of levels that the users were fitted to
TOLD_APART, TOLD_APART_AMBER = 0.65, 0.75  # AUC of the two-sample test
ORDER = ("green", "amber", "red")


def _light(value: float, green: float, amber: float) -> str:
    return "green" if value <= green else "amber" if value <= amber else "red"


def _told(light: str, chance: float, most: float) -> str:
    """Amber instead of green where chance alone does more than the bound of amber: too
    few to tell.
    """
    return "amber" if light == "green" and chance > most else light


def _of_rate(f: Fidelity) -> str:
    inside = f.low <= 0 <= f.high
    if f.held_out < RARE:
        return "red" if not inside else "green" if f.high - f.low <= 2 * RARE_WIDTH else "amber"
    light = _light(abs(f.relative), RATE, RATE_AMBER)
    return "amber" if light == "red" and inside else light


def _of_tenths(f: Fidelity) -> tuple[str, float]:
    """The light of the calibration, and how far off the worst tenth is, of those that chance does
    not explain.
    """
    off = [
        abs(p - y) / max(y, error, 1e-9) for p, y, error in f.deciles if abs(p - y) > SURE * error
    ]
    worst = max(off, default=0.0)
    both = _light(worst, DECILE, DECILE_AMBER), _light(f.ece - f.ece_chance, ECE, ECE_AMBER)
    return max(both, key=ORDER.index), worst


def lights(found: list[Fidelity]) -> list[tuple[str, str, str]]:
    """(part, light, words) for everything that was compared."""
    rows = []
    for f in found:
        bounds = f"{100 * f.low:+.1f} to {100 * f.high:+.1f}"
        span = (
            f"{100 * f.relative:+.1f} % of the held-out rate ({100 * LEVEL:.0f} % over users and"
            f" days {bounds})"
        )
        rows.append(
            (
                f"{f.name} rate",
                _of_rate(f),
                f"simulated {f.simulated:.4f}, held out {f.held_out:.4f}: {span}",
            )
        )
        light, worst = _of_tenths(f)
        tenths = (
            f"worst tenth {100 * worst:.0f} % off its rate"
            if worst
            else "no tenth off its rate by more than chance"
        )
        rows.append(
            (
                f"{f.name} by predicted probability",
                light,
                f"{tenths}; expected calibration error {f.ece:.4f} ({f.ece_chance:.4f} by chance)",
            )
        )
        gain, low, high = f.auc_gain
        light = "green" if low > 0 else "amber" if high > 0 else "red"
        rows.append(
            (
                f"{f.name}: whose and of what",
                light,
                (
                    f"AUC {f.auc['simulator']:.3f}, user + item levels {f.auc['user + item']:.3f}"
                    f" (difference {gain:+.3f}, 95 % {low:+.3f} to {high:+.3f}); ceiling"
                    f" {f.ceiling[0]:.3f}"
                ),
            )
        )
        for whose, distance, chance in (
            ("users", f.ks_users, f.ks_users_chance),
            ("items", f.ks_items, f.ks_items_chance),
        ):
            rows.append(
                (
                    f"{f.name} rates of {whose}",
                    _light(distance - chance, SPREAD, SPREAD_AMBER),
                    (
                        f"Kolmogorov-Smirnov distance {distance:.3f} ({chance:.3f} between two"
                        " simulations)"
                    ),
                )
            )
    return rows


def free_lights(free: FreeRunning | None) -> list[tuple[str, str, str]]:
    """(part, light, words) of sessions and returns."""
    if free is None:
        return [
            (
                "sessions and returns",
                "amber",
                "not judged: the log has no whole sessions, or too few, so that they are assumed",
            )
        ]
    rows = []
    for part, levels, by_chance in (
        ("levels that were fitted", free.levels, free.chance_fitted),
        ("levels of the held-out days", free.held_out, free.chance),
    ):
        beyond = {level: relative_to(level) - by_chance.get(level[0], 0.0) for level in levels}
        name, log, simulated = worst = max(
            levels, key=lambda level: (beyond[level], relative_to(level))
        )
        relative = f" ({100 * (simulated / log - 1):+.1f} %)" if log else ""
        chance = f"; {100 * by_chance.get(name, 0.0):.1f} % by chance"
        words = f"worst of {len(levels)}: {name} {simulated:.3f}, log {log:.3f}{relative}{chance}"
        rows.append(
            (
                f"sessions and returns: {part}",
                _told(
                    _light(beyond[worst], GIVEN, GIVEN_AMBER), by_chance.get(name, 0.0), GIVEN_AMBER
                ),
                words,
            )
        )
    far = max(
        distance - free.chance.get(name, 0.0) for name, (distance, _) in free.distances.items()
    )
    words = ", ".join(
        f"{name} {distance:.3f} ({free.chance.get(name, 0.0):.3f} by chance)"
        for name, (distance, _) in free.distances.items()
    )
    rows.append(
        (
            "sessions and returns: distributions",
            _told(
                _light(far, SPREAD, SPREAD_AMBER),
                max(free.chance.get(name, 0.0) for name in free.distances),
                SPREAD_AMBER,
            ),
            f"Kolmogorov-Smirnov distances: {words}",
        )
    )
    auc, low, high = free.auc
    words = (
        f"a classifier tells simulated ones from held-out ones with AUC {auc:.3f} (95 % {low:.3f}"
        f" to {high:.3f}; .5 = cannot)"
    )
    rows.append(("user-days", _light(auc, TOLD_APART, TOLD_APART_AMBER), words))
    return rows


def of_random_slates(level: dict[str, Any]) -> str:
    """What is said about the level that no log of a policy tells."""
    return (
        f"Uniformly random slates: {level['from_what_was_shown']:.3f} clicks per impression if what"
        f" was shown is all one knows, {level['calibrated']:.3f} with calibration"
        f" ({level['source']}). Of what was never shown no log tells."
    )


def replay_lights(
    apart: tuple[float, float, float] | None, ranking: PolicyRanking | None
) -> list[tuple[str, str, str]]:
    """(part, light, words) of whole user-days of the held-out slates, and of policies."""
    part, rows = "user-days of the held-out slates", []
    if apart is None:
        rows.append((part, "amber", "not judged: too few users"))
    else:
        auc, low, high = apart
        words = (
            f"a classifier tells answered slates from what happened with AUC {auc:.3f} (95 %"
            f" {low:.3f} to {high:.3f}; .5 = cannot)"
        )
        rows.append((part, _light(auc, TOLD_APART, TOLD_APART_AMBER), words))
    if ranking is None:
        return [*rows, ("ranking of policies", "amber", "not judged: the log has no propensities")]
    if not ranking.rows:
        words = (
            "not judged: by its propensities the log has too few rows of any policy, or a level"
            " that slates cannot have"
        )
        return [*rows, ("ranking of policies", "amber", words)]
    told, wrong = ranking.pairs
    if not told:
        words = f"the log tells no two of {len(ranking.rows)} policies apart"
        return [*rows, ("ranking of policies", "amber", words)]
    inside = sum(low <= simulated <= high for _, _, low, high, _, simulated in ranking.rows)
    words = (
        f"of {told} pairs that the log tells apart {told - wrong} in the same order; {inside} of"
        f" {len(ranking.rows)} simulated click rates inside the 95 % interval of the log's"
    )
    light = "red" if wrong else "green" if 2 * inside >= len(ranking.rows) else "amber"
    return [*rows, ("ranking of policies", light, words)]


def ranking_table(ranking: PolicyRanking | None) -> list[str]:
    """Policies by the log's propensities and by the users, as lines of Markdown."""
    if ranking is None or not ranking.rows:
        return []
    return [
        "",
        "| policy | clicks per impression by the log (SNIPS, 95 %) | effective rows | simulated |",
        "|---|---|---|---|",
        *(
            f"| {name} | {value:.4f} ({low:.4f} to {high:.4f}) | {n:.0f} | {simulated:.4f} |"
            for name, value, low, high, n, simulated in ranking.rows
        ),
    ]


def free_table(free: FreeRunning | None) -> list[str]:
    """What free running gives beside the log, as lines of Markdown."""
    if free is None:
        return []
    rows = zip(free.levels, free.held_out, strict=True)
    return [
        "",
        "| free running | log, fitted days | simulated | log, held-out days | simulated |",
        "|---|---|---|---|---|",
        *(
            f"| {name} | {a:.3f} | {b:.3f} | {c:.3f} | {d:.3f} |"
            for (name, a, b), (_, c, d) in rows
        ),
    ]


def write(
    found: list[Fidelity],
    rows: list[tuple[str, str, str]],
    free: list[str],
    ranking: list[str],
    about: dict[str, Any],
    out: Path,
) -> None:
    """fidelity.md and calibration.png.

    Args:
        rows: of lights. free, ranking: tables as lines of Markdown.
    """
    lines = [
        f"# Fidelity of the users fitted on {about['log']}",
        "",
        (
            f"Fitted on what came before the last {about['held_out_days']:g} calendar days; the"
            " users then answer the very slates that the log shows on those days; what is"
            f" simulated freely has slates of {about['slate_size']}. Green: within the bounds that"
            " docs/users.md states; amber: use with care; red: do not trust this part."
        ),
        "",
        "| part | light | what was found |",
        "|---|---|---|",
        *(f"| {part} | {light} | {words} |" for part, light, words in rows),
        "",
        "| feedback | held-out rows | log-loss: simulator | user + item | constant | ceiling |",
        "|---|---|---|---|---|---|",
        *(
            f"| {f.name} | {f.rows} | {f.log_loss['simulator']:.4f} |"
            f" {f.log_loss['user + item']:.4f} | {f.log_loss['constant']:.4f} |"
            f" {f.ceiling[1]:.4f} |"
            for f in found
        ),
        "",
        (
            "The ceiling is what a predictor would get that knows every probability, if the users"
            " were those simulated."
        ),
        *ranking,
        *free,
        "",
        of_random_slates(about["random_slates"]),
        "",
        "![calibration](calibration.png)",
        "",
    ]
    (out / "fidelity.md").write_text("\n".join(lines), encoding="utf-8")
    picture(found).savefig(out / "calibration.png", dpi=120)


def picture(found: list[Fidelity]) -> Figure:
    """Held-out rate against prediction, by tenths of the prediction."""
    figure = Figure(figsize=(3.6 * len(found), 3.6), layout="constrained")
    for axes, f in zip(np.atleast_1d(figure.subplots(1, len(found))), found, strict=True):
        predicted, rate, error = np.array(f.deciles).T
        top = 1.08 * max(predicted.max(), rate.max())
        axes.plot([0, top], [0, top], color="0.7", lw=1)
        axes.errorbar(predicted, rate, yerr=1.96 * error, fmt="o", ms=4, lw=1, color="tab:blue")
        axes.set(xlim=(0, top), ylim=(0, top), xlabel="simulated", ylabel="held out", title=f.name)
    return figure
