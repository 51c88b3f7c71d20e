"""The lights of a validation: what to trust of the users, with what was found."""

from dataclasses import dataclass, replace

import numpy as np

from policies.common.tables import percent, signed
from simulator.validation.fidelity import LEVEL, Fidelity
from simulator.validation.foretold import Foretold
from simulator.validation.free_running import FreeRunning, relative_to
from simulator.validation.learning import REAL, SIMULATED, Learning, Pair, Taught
from simulator.validation.left_over import LeftOver
from simulator.validation.policy_ranking import PolicyRanking
from simulator.validation.reporting.advice import NEXT
from simulator.validation.second_log import SAME, SecondFound
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


@dataclass(frozen=True)
class Light:
    """What to trust of a part.

    Attributes:
        part: its name. colour: green, amber or red; none = it cannot be had. words: what was
            found, or why it cannot be had. kind: of `advice`. next: what to do.
    """

    part: str
    colour: str
    words: str
    kind: str
    next: str = ""

    @property
    def advice(self) -> str:
        """What to do, in a sentence."""
        return self.next or NEXT[self.kind].get(self.colour, "nothing to do")


NOTHING = "none"


def all_lights(v: Validation) -> list[Light]:
    """Of everything, what cannot be had included."""
    if v.second is not None:
        return _unless_counted(_of_second(v.second), v.counted)
    if v.foretold is not None:
        why = "the log has no skips: nobody knows what was seen and refused"
        parts = {
            "click rates": "rate",
            "sessions and returns": "held",
            "ranking of policies": "ranking",
        }
        absent = [Light(part, NOTHING, why, kind, NO_SKIPS) for part, kind in parts.items()]
        return [_of_choices(v.foretold), *_of_learning(v.taught), *absent]
    return [
        *_unless_counted(lights(v.feedback), v.counted),
        *_of_left_over(v.missed),
        *held_out_lights(v.user_days, v.ranking),
        *free_lights(v.free),
        *_of_learning(v.taught),
    ]


def _unless_counted(rows: list[Light], counted: frozenset[str]) -> list[Light]:
    """Without what a few answers to a row cannot tell of it."""
    return [
        replace(
            x, colour=NOTHING, words=COUNTED, next=STATE if x.part.startswith("click") else REST
        )
        if x.kind in ("tenths", "whose") and any(x.part.startswith(name) for name in counted)
        else x
        for x in rows
    ]


COUNTED = "the users state no probability of it, and a few answers to a row say little of it"
REST = "nothing to do: of clicks alone a probability can be stated"
STATE = "state the probability of a click (Feedback.of(..., probability=...))"
NO_SKIPS = "log what is shown, not only what is chosen, if this matters to you"


def lights(fidelities: list[Fidelity]) -> list[Light]:
    """For every feedback that was compared."""
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
        Light(f"{f.name} rate", _of_rate(f), rate, "rate"),
        Light(f"{f.name} by predicted probability", colour, tenths, "tenths"),
        Light(
            f"{f.name}: whose and of what",
            _of_discrimination(f),
            auc,
            "whose",
        ),
    ]
    spreads = {"users": (f.ks_users, f.ks_users_chance), "items": (f.ks_items, f.ks_items_chance)}
    for whose, (distance, chance) in spreads.items():
        words = f"Kolmogorov-Smirnov distance {distance:.3f} ({chance:.3f} between two simulations)"
        colour = _light(distance - chance, SPREAD, SPREAD_AMBER)
        rows.append(Light(f"{f.name} rates of {whose}", colour, words, whose))
    return rows


def free_lights(free: FreeRunning | None) -> list[Light]:
    """Of sessions and returns."""
    part = "sessions and returns"
    if free is None:
        words = "the log has no whole sessions, or too few, so that they are assumed"
        return [Light(part, NOTHING, words, "held")]
    auc, low, high = free.auc
    decided = f"a classifier tells simulated ones from held-out ones with AUC {auc:.3f}"
    decided += f" (95 % {low:.3f} to {high:.3f}; .5 = cannot)"
    return [
        _of_levels("fitted", f"{part}: levels that were fitted", free.levels, free.chance_fitted),
        _of_levels("held", f"{part}: levels of the held-out days", free.held_out, free.chance),
        _of_distances(f"{part}: distributions", free),
        Light("user-days", _light(auc, TOLD_APART, TOLD_APART_AMBER), decided, "days"),
    ]


def _of_levels(
    kind: str, part: str, levels: list[tuple[str, float, float]], by_chance: dict[str, float]
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
    return Light(part, colour, words, kind)


def _of_distances(part: str, free: FreeRunning) -> Light:
    by_chance = {name: free.chance.get(name, 0.0) for name in free.distances}
    far = max(distance - by_chance[name] for name, (distance, _) in free.distances.items())
    words = ", ".join(
        f"{name} {distance:.3f} ({by_chance[name]:.3f} by chance)"
        for name, (distance, _) in free.distances.items()
    )
    most = max(by_chance.values())
    colour = _told(_light(far, SPREAD, SPREAD_AMBER), most, SPREAD_AMBER)
    return Light(part, colour, f"Kolmogorov-Smirnov distances: {words}", "distances")


def held_out_lights(
    apart: tuple[float, float, float] | None, ranking: PolicyRanking | None
) -> list[Light]:
    """Of whole user-days of the held-out slates, and of policies."""
    part = "user-days of the held-out slates"
    if apart is None:
        nothing = Light(part, NOTHING, "too few users, or somebody else's", "replayed")
        return [nothing, _of_ranking(ranking)]
    auc, low, high = apart
    words = f"a classifier tells answered slates from what happened with AUC {auc:.3f}"
    words += f" (95 % {low:.3f} to {high:.3f}; .5 = cannot)"
    light = Light(part, _light(auc, TOLD_APART, TOLD_APART_AMBER), words, "replayed")
    return [light, _of_ranking(ranking)]


def _of_ranking(ranking: PolicyRanking | None) -> Light:
    part = "ranking of policies"
    if ranking is None:
        return Light(part, NOTHING, "the log has no propensities", "ranking")
    if not ranking.rows:
        words = "by its propensities the log has too few rows of any policy, or a level"
        return Light(part, NOTHING, f"{words} that slates cannot have", "ranking")
    decided, wrong = ranking.pairs
    if not decided:
        words = f"the log tells no two of {len(ranking.rows)} policies apart"
        return Light(part, "amber", words, "ranking")
    inside = sum(row.snips.low <= row.users <= row.snips.high for row in ranking.rows)
    words = (
        f"of {decided} pairs that the log tells apart {decided - wrong} in the same order; {inside}"
    )
    words += f" of {len(ranking.rows)} simulated click rates inside the 95 % interval of the log's"
    words += "; lean on the users corrected by the log"
    colour = "red" if wrong else "green" if 2 * inside >= len(ranking.rows) else "amber"
    return Light(part, colour, words, "ranking")


# -- models that learn -----------------------------------------------------------------------------
SURE_OF_PAIRS = 1.96  # standard errors
NEAR, WITHIN = 1.25, 2.0  # ratio of NDCG@10, simulated over real, either way


MORE = "a longer log, or one of more users, can be asked"


def _of_learning(found: Learning | str) -> list[Light]:
    """Whether models learn the same from simulated answers as from real ones."""
    part = "models that learn: their order"
    if isinstance(found, str):
        return [Light(part, NOTHING, found, "order", MORE if "users have" in found else "")]
    return [_of_order(part, found), _of_size(found)]


def _of_order(part: str, found: Learning) -> Light:
    told = [pair for pair in found.pairs if Pair.told(pair.real)]
    wrong = [p for p in told if Pair.told(p.simulated) == -Pair.told(p.real)]
    unsure = [p for p in told if not Pair.told(p.simulated)]
    made_up = [p for p in found.pairs if p not in told and Pair.told(p.simulated) and _apart(p)]
    if len(found.taught) < 2:
        return Light(part, NOTHING, "one model has no order", "order", "name two --learners")
    orders = [" > ".join(found.order(world)) for world in (REAL, SIMULATED)]
    words = f"by NDCG@10 from real answers {orders[0]}, from simulated ones {orders[1]};"
    if not told and not made_up:
        return Light(part, "amber", f"{words} the real ones tell no two apart", "order")
    words += f" of {len(told)} pairs that real answers tell apart {len(told) - len(wrong)}"
    words += " are not reversed" if wrong or unsure else " are in the same order"
    if unsure:
        words += f", {len(unsure)} cannot be told from simulated ones"
    if made_up:
        words += "; simulated ones tell apart what real ones do not: "
        words += ", ".join(f"{p.first} and {p.second}" for p in made_up)
    colour = "red" if wrong else "amber" if unsure or made_up else "green"
    return Light(part, colour, words, "order")


def _apart(pair: Pair) -> bool:
    """Whether real and simulated differences differ by more than chance."""
    error = float(np.hypot(pair.real[1], pair.simulated[1]))
    return abs(pair.real[0] - pair.simulated[0]) > SURE_OF_PAIRS * error


def _of_size(found: Learning) -> Light:
    """By the model that is furthest off, what chance allows."""
    part = "models that learn: how much"

    def off(t: Taught) -> tuple[int, float]:
        return ORDER.index(_size_colour(t)), abs(_logarithm(t.ratio))

    worst = max(found.taught, key=off)
    words = ", ".join(
        f"{t.policy} {t.within(SIMULATED)[0]:.4f} (real {t.within(REAL)[0]:.4f}, ratio"
        f" {t.ratio:.2f})"
        for t in found.taught
    )
    colour = _size_colour(worst)
    words = f"NDCG@10 from simulated answers: {words}"
    if colour == "red":
        words += f"; {_reason(worst)}"
    return Light(part, colour, words, "size")


def _logarithm(ratio: float) -> float:
    return float(np.log(ratio)) if ratio > 0 else -np.inf


def _size_colour(t: Taught) -> str:
    off = abs(_logarithm(t.ratio)) if np.isfinite(t.ratio) else np.inf
    low, high = t.ratio_interval
    if off <= np.log(NEAR):
        return "green" if low >= 1 / WITHIN and high <= WITHIN else "amber"
    inside = low <= NEAR and high >= 1 / NEAR
    return "amber" if off <= np.log(WITHIN) or inside or not np.isfinite(t.ratio) else "red"


def _reason(t: Taught) -> str:
    much = t.ratio > 1
    if t.policy == "popularity":
        how = "more" if much else "less"
        return f"users agree on what is popular {how} than people do"
    how = "more" if much else "less"
    return f"{t.policy} finds {how} to learn: users follow their taste {how} than people do"


def _of_choices(found: Foretold) -> Light:
    auc, low, high = found.auc
    gain, least, most = found.gain
    words = f"AUC {auc:.3f} (95 % {low:.3f} to {high:.3f}) of {found.choices} last choices against"
    words += f" random items, popularity alone {found.popularity[0]:.3f} (difference {gain:+.3f},"
    words += f" 95 % {least:+.3f} to {most:+.3f})"
    colour = "green" if least > 0 and low > 0.5 else "amber" if most > 0 else "red"
    return Light("choices held out", colour, words, "choices")


LEFT, LEFT_AMBER = 0.05, 0.15  # logits per standard deviation of the taste


def _of_left_over(found: LeftOver | None) -> list[Light]:
    """Whether the users follow the taste that earlier choices tell as much as people do."""
    if found is None:
        return []
    beyond = max(abs(found.slope) - 1.96 * found.error, 0.0)
    colour = _told(_light(beyond, LEFT, LEFT_AMBER), 1.96 * found.error, LEFT_AMBER)
    how = "more" if found.slope > 0 else "less"
    words = f"people follow the taste that their earlier choices tell {abs(found.slope):.3f} logits"
    words += f" (s.e. {found.error:.3f}) {how} than the users, for each standard deviation of it"
    return [Light("click: taste that is left over", colour, words, "taste")]


# -- a second log ----------------------------------------------------------------------------------


def _of_second(found: SecondFound) -> list[Light]:
    """Whether it is a test at all, its level, and every feedback."""
    apart = [d for d in found.differences if d.matters]
    maybe = [d for d in found.differences if d.may_matter]
    words = "; ".join(f"{d.what}: {d.words}" for d in apart or maybe)
    who = "users and days are" if found.known >= SAME else "days are"
    words = words or f"{who} alike; where pages were shown nobody says (--context)"
    if not apart and not maybe and any(d.what == "context" for d in found.differences):
        words = f"place, {who} alike"
    if found.known < SAME:
        words += f"; {100 * (1 - found.known):.0f} % of the rows are by users whom the log does not"
        words += " have, so that who answers what is not asked"
    colour = "amber" if apart or maybe else "green"
    first = Light(
        "the logs can be compared",
        colour,
        f"no verdict: {words}" if apart else words,
        "comparable",
        "" if apart or not maybe else MAYBE,
    )
    rest = [_of_level(found), *(x for f in found.feedback for x in _of_second_feedback(f))]
    if found.known < SAME:
        rest = [
            replace(x, colour=NOTHING, words=OTHERS, next=SAME_USERS)
            if x.kind in ("whose", "users")
            else x
            for x in rest
        ]
    if apart:
        why = "no verdict, the logs differ in more than the policy; "
        rest = [replace(x, colour=NOTHING, words=why + x.words, next=NO_VERDICT) for x in rest]
    return [first, *rest]


MAYBE = "say whether that column is where pages were shown; the lights below take it for none"
OTHERS = "the users of the second log are not those of the first"
SAME_USERS = "give a second log of the same users"
NO_VERDICT = "first see to it that the logs can be compared"


def _of_second_feedback(f: Fidelity) -> list[Light]:
    rows = _of_feedback(f)
    return rows[1:] if f.name == "click" else rows  # whose rate has a light of its own


def _of_level(found: SecondFound) -> Light:
    happened, as_run, own = found.rates
    implied, level = found.random
    relative = as_run / happened - 1
    click = next((f for f in found.feedback if f.name == "click"), None)
    chance = (click.high - click.low) / 2 if click is not None else 0.0
    colour = _light(max(abs(relative) - chance, 0.0), RATE, RATE_AMBER)
    words = f"as a run has it {as_run:.4f}, happened {happened:.4f}: {signed(relative)}"
    words += f" ({percent(chance)} by chance); at the level of the fitted log's own slates"
    words += f" {own:.4f}"
    if np.isfinite(implied):
        words += f"; random slates would be clicked {implied:.3f} of the time if the users met this"
        words += f" log, {level:.3f} is assumed or given"
    advice = NEXT["known_level" if found.level_known else "level"][colour]
    word = "understate" if relative < 0 else "overstate"
    advice = advice.format(random=implied, word=word)
    return Light("click rate of the second log", colour, words, "level", advice)
