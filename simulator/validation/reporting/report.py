"""A fidelity report: lights with words, a table, a calibration picture."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure

from analysis.statistics.propensity import Estimate
from policies.common.files import save_text
from policies.common.tables import Table
from simulator.validation.fidelity import LEVEL, Fidelity
from simulator.validation.free_running import FreeRunning, relative_to
from simulator.validation.policy_ranking import PolicyRanking
from simulator.validation.validation import Validation

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


def _of_discrimination(f: Fidelity) -> str:
    """Green where the users tell answers apart better than chance and than levels do, by intervals;
    red where they do worse than either.
    """
    _, low, high = f.auc_gain
    least, most = f.auc_interval
    if low > 0 and least > 0.5:
        return "green"
    return "amber" if high > 0 and most > 0.5 else "red"


class Light(NamedTuple):
    """What to trust of a part: green, amber or red, and what was found."""

    part: str
    colour: str
    words: str


def lights(fidelities: list[Fidelity]) -> list[Light]:
    """For everything that was compared."""
    return [light for fidelity in fidelities for light in _of_feedback(fidelity)]


def _of_feedback(f: Fidelity) -> list[Light]:
    bounds = f"{100 * f.low:+.1f} to {100 * f.high:+.1f}"
    span = f"{100 * f.relative:+.1f} % of the held-out rate"
    span += f" ({100 * LEVEL:.0f} % over users and days {bounds})"
    rate = f"simulated {f.simulated:.4f}, held out {f.held_out:.4f}: {span}"
    colour, worst = _of_tenths(f)
    tenths = "no tenth off its rate by more than chance"
    if worst:
        tenths = f"worst tenth {100 * worst:.0f} % off its rate"
    tenths += f"; expected calibration error {f.ece:.4f} ({f.ece_chance:.4f} by chance)"
    gain, low, high = f.auc_gain
    least, most = f.auc_interval
    auc = f"AUC {f.auc['simulator']:.3f} (95 % {least:.3f} to {most:.3f}), user + item levels"
    auc += f" {f.auc['user + item']:.3f}"
    auc += f" (difference {gain:+.3f}, 95 % {low:+.3f} to {high:+.3f}); ceiling {f.ceiling[0]:.3f}"
    rows = [
        Light(f"{f.name} rate", _of_rate(f), rate),
        Light(f"{f.name} by predicted probability", colour, tenths),
        Light(
            f"{f.name}: whose and of what",
            _of_discrimination(f),
            auc,
        ),
    ]
    spreads = {"users": (f.ks_users, f.ks_users_chance), "items": (f.ks_items, f.ks_items_chance)}
    for whose, (distance, chance) in spreads.items():
        words = f"Kolmogorov-Smirnov distance {distance:.3f} ({chance:.3f} between two simulations)"
        colour = _light(distance - chance, SPREAD, SPREAD_AMBER)
        rows.append(Light(f"{f.name} rates of {whose}", colour, words))
    return rows


def free_lights(free: FreeRunning | None) -> list[Light]:
    """Of sessions and returns."""
    part = "sessions and returns"
    if free is None:
        words = "not judged: the log has no whole sessions, or too few, so that they are assumed"
        return [Light(part, "amber", words)]
    auc, low, high = free.auc
    decided = f"a classifier tells simulated ones from held-out ones with AUC {auc:.3f}"
    decided += f" (95 % {low:.3f} to {high:.3f}; .5 = cannot)"
    return [
        _of_levels(f"{part}: levels that were fitted", free.levels, free.chance_fitted),
        _of_levels(f"{part}: levels of the held-out days", free.held_out, free.chance),
        _of_distances(f"{part}: distributions", free),
        Light("user-days", _light(auc, TOLD_APART, TOLD_APART_AMBER), decided),
    ]


def _of_levels(
    part: str, levels: list[tuple[str, float, float]], by_chance: dict[str, float]
) -> Light:
    """The level that is furthest off, what chance does taken off."""
    beyond = {level: relative_to(level) - by_chance.get(level[0], 0.0) for level in levels}
    worst = max(levels, key=lambda level: (beyond[level], relative_to(level)))
    name, log, simulated = worst
    chance = by_chance.get(name, 0.0)
    words = f"worst of {len(levels)}: {name} {simulated:.3f}, log {log:.3f}"
    words += f" ({100 * (simulated / log - 1):+.1f} %)" if log else ""
    words += f"; {100 * chance:.1f} % by chance"
    colour = _told(_light(beyond[worst], GIVEN, GIVEN_AMBER), chance, GIVEN_AMBER)
    return Light(part, colour, words)


def _of_distances(part: str, free: FreeRunning) -> Light:
    by_chance = {name: free.chance.get(name, 0.0) for name in free.distances}
    far = max(distance - by_chance[name] for name, (distance, _) in free.distances.items())
    words = ", ".join(
        f"{name} {distance:.3f} ({by_chance[name]:.3f} by chance)"
        for name, (distance, _) in free.distances.items()
    )
    most = max(by_chance.values())
    colour = _told(_light(far, SPREAD, SPREAD_AMBER), most, SPREAD_AMBER)
    return Light(part, colour, f"Kolmogorov-Smirnov distances: {words}")


def of_random_slates(level: dict[str, Any]) -> str:
    """What is said about the level that no log of a policy tells."""
    return (
        f"Uniformly random slates: {level['from_what_was_shown']:.3f} clicks per impression if what"
        f" was shown is all one knows, {level['calibrated']:.3f} with calibration"
        f" ({level['source']}). Of what was never shown no log tells."
    )


def held_out_lights(
    apart: tuple[float, float, float] | None, ranking: PolicyRanking | None
) -> list[Light]:
    """Of whole user-days of the held-out slates, and of policies."""
    part = "user-days of the held-out slates"
    if apart is None:
        return [Light(part, "amber", "not judged: too few users"), _of_ranking(ranking)]
    auc, low, high = apart
    words = f"a classifier tells answered slates from what happened with AUC {auc:.3f}"
    words += f" (95 % {low:.3f} to {high:.3f}; .5 = cannot)"
    light = Light(part, _light(auc, TOLD_APART, TOLD_APART_AMBER), words)
    return [light, _of_ranking(ranking)]


def _of_ranking(ranking: PolicyRanking | None) -> Light:
    part = "ranking of policies"
    if ranking is None:
        return Light(part, "amber", "not judged: the log has no propensities")
    if not ranking.rows:
        words = "not judged: by its propensities the log has too few rows of any policy, or a level"
        return Light(part, "amber", f"{words} that slates cannot have")
    decided, wrong = ranking.pairs
    if not decided:
        words = f"the log tells no two of {len(ranking.rows)} policies apart"
        return Light(part, "amber", words)
    inside = sum(row.snips.low <= row.users <= row.snips.high for row in ranking.rows)
    words = (
        f"of {decided} pairs that the log tells apart {decided - wrong} in the same order; {inside}"
    )
    words += f" of {len(ranking.rows)} simulated click rates inside the 95 % interval of the log's"
    words += "; lean on the users corrected by the log"
    colour = "red" if wrong else "green" if 2 * inside >= len(ranking.rows) else "amber"
    return Light(part, colour, words)


def light_table(rows: list[Light]) -> Table:
    head = ("part", "light", "what was found")
    return Table(head, [[row.part, row.colour, row.words] for row in rows], text=3)


def ranking_table(ranking: PolicyRanking) -> Table:
    """Policies by the log's propensities and by the users."""
    head = ("policy", "clicks per impression by the log (SNIPS, 95 %)", "effective rows")
    body = [
        [
            row.name,
            _rate(row.snips),
            f"{row.effective_n:.0f}",
            f"{row.users:.4f}",
            _rate(row.corrected),
        ]
        for row in ranking.rows
    ]
    return Table((*head, "simulated", "simulated, corrected by the log (95 %)"), body)


def _rate(estimate: Estimate) -> str:
    return f"{estimate.value:.4f} ({estimate.low:.4f} to {estimate.high:.4f})"


def free_table(free: FreeRunning) -> Table:
    """What free running gives beside the log."""
    head = ("free running", "log, fitted days", "simulated", "log, held-out days", "simulated")
    pairs = zip(free.levels, free.held_out, strict=True)
    body = [[name, *(f"{x:.3f}" for x in (a, b, c, d))] for (name, a, b), (_, c, d) in pairs]
    return Table(head, body)


def loss_table(fidelities: list[Fidelity]) -> Table:
    """Log-loss per row in nats."""
    head = (
        "feedback",
        "held-out rows",
        "log-loss: simulator",
        "user + item",
        "constant",
        "ceiling",
    )
    body = []
    for f in fidelities:
        losses = [f.log_loss[name] for name in ("simulator", "user + item", "constant")]
        body.append([f.name, str(f.rows), *(f"{x:.4f}" for x in (*losses, f.ceiling[1]))])
    return Table(head, body)


def write(validation: Validation, rows: list[Light], about: dict[str, Any], out: Path) -> None:
    """fidelity.md and calibration.png.

    Args:
        rows: of lights. about: the settings.
    """
    parts = [
        f"# Fidelity of the users fitted on {about['log']}",
        f"Fitted on what came before the last {about['held_out_days']:g} calendar days; the users"
        " then answer the very slates that the log shows on those days; what is simulated freely"
        f" has slates of {about['slate_size']}. Green: within the bounds that docs/users.md states;"
        " amber: use with care; red: do not trust this part.",
        light_table(rows).markdown(),
        loss_table(validation.feedback).markdown(),
        "The ceiling is what a predictor would get that knows every probability, if the users were"
        " those simulated.",
    ]
    if validation.ranking is not None and validation.ranking.rows:
        parts.append(ranking_table(validation.ranking).markdown())
    if validation.free is not None:
        parts.append(free_table(validation.free).markdown())
    parts += [of_random_slates(validation.random_slates), "![calibration](calibration.png)"]
    save_text(out / "fidelity.md", "\n\n".join(parts) + "\n")
    picture(validation.feedback).savefig(out / "calibration.png", dpi=120)


def picture(fidelities: list[Fidelity]) -> Figure:
    """Held-out rate against prediction, by tenths of the prediction."""
    figure = Figure(figsize=(3.6 * len(fidelities), 3.6), layout="constrained")
    for axes, f in zip(np.atleast_1d(figure.subplots(1, len(fidelities))), fidelities, strict=True):
        predicted, rate, error = np.array(f.deciles).T
        top = 1.08 * max(predicted.max(), rate.max())
        axes.plot([0, top], [0, top], color="0.7", lw=1)
        axes.errorbar(predicted, rate, yerr=1.96 * error, fmt="o", ms=4, lw=1, color="tab:blue")
        axes.set(xlim=(0, top), ylim=(0, top), xlabel="simulated", ylabel="held out", title=f.name)
    return figure
