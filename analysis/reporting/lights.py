"""The lights: how far the figures of an experiment can be believed, each with its reason."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from analysis.data.flaws import Flaw
from analysis.reporting.sentences import counted, said
from analysis.results.results import LEAST_ROWS, BeforeTest, Judgement, Simulation
from analysis.results.sensitivity import AS_FITTED, Sensitivity
from policies.common.tables import interval, percent, signed

ALARM = 0.001  # of p-values of the sample ratio and of the time before the test


@dataclass(frozen=True)
class Light:
    """How a part of the experiment stands: green, amber or red, and why.

    Attributes:
        first: what a red one says first, in words of its own.
        doubts: whether a red one makes the figures worthless; a guardrail that is broken does not.
    """

    name: str
    colour: str
    text: str
    doubts: bool = True
    first: str = ""

    @property
    def alarm(self) -> str:
        """What a red light says first."""
        if self.first:
            return self.first
        return "Do not trust the figures below" if self.doubts else "A guardrail is broken"


def lights_of(
    judgement: Judgement, simulation: Simulation | None, log: dict[str, Any] | None = None
) -> list[Light]:
    """Enough to judge, sample ratio, A/A before the test, guardrails, fidelity of the users: as
    many as can be told.

    Args:
        log: `users` and `clicks` of the log that simulated users were fitted on.
    """
    lights = [*_size_lights(judgement, log), *_ratio_lights(judgement)]
    lights += [Light("Users in several arms", "red", text) for text in judgement.test.alarms]
    lights += [light for flaw in judgement.test.flaws if (light := _flaw_light(flaw)) is not None]
    if judgement.before_test:
        lights.append(_before_light(judgement.before_test))
    uneven = [r for r in judgement.sample_ratio_by_segment if r.pvalue_adjusted < ALARM]
    if uneven:
        where = ", ".join(f"{row.segment} = {row.level}" for row in uneven[:3])
        lights.append(Light("Sample ratio by segment", "red", f"bucket sizes are off in {where}"))
    lights += _guardrail_lights(judgement)
    if simulation is not None and simulation.hardly_known:
        lights.append(_known_light(simulation.hardly_known, judgement.test.contenders))
    if simulation is not None and simulation.sensitivity is not None:
        lights.append(_decides_light(simulation.sensitivity))
    if simulation is not None and (walked := simulation.users.get("mixing")):
        lights.append(_chains_light(walked))
    users = simulation.users if simulation is not None else {}
    if "user_model" in users:
        return [*lights, _strangers_light(users)]
    numbers = users.get("numbers", {})
    return [*lights, _fidelity_light(numbers)] if numbers else lights


LEAST_USERS = 50  # per arm: the smallest at which the A/A table of docs/calibration.md was made
LEAST_EVENTS = 20  # of the primary metric per arm
LEAST_CLICKS = 100  # of the log that users are fitted to: fewer hardly tell a level


def _size_lights(judgement: Judgement, log: dict[str, Any] | None) -> list[Light]:
    """Whether there are enough users and clicks for the figures to mean what they say."""
    if not judgement.effects:
        return []
    test, few = judgement.test, []
    # Of a ratio what is counted: users have no "any click rate".
    ratio, column = test.primary.denominator is not None, test.primary.column
    what = column.replace("_", " ") if ratio else test.primary.label
    users = {arm.arm: arm.users for arm in judgement.arms}
    for arm in (test.control, *test.treated):
        if users[arm] < LEAST_USERS:
            few.append(f"{arm} has {counted(users[arm], 'user')}")
        elif (n := judgement.events.get(arm)) is not None and n < LEAST_EVENTS:
            few.append(f"{arm} has {counted(n, 'user')} with any {what}")
    for name, least in (("users", LEAST_USERS), ("clicks", LEAST_CLICKS)):
        if log is not None and name in log and log[name] < least:
            few.append(f"the log has {log[name]} {name}")
    wanted = f"at least {LEAST_USERS} users per arm, {LEAST_EVENTS} of them with any"
    wanted += f" {what}"
    if log is not None:
        wanted += f", and {LEAST_USERS} users and {LEAST_CLICKS} clicks in the log"
    if few:
        return [Light("Enough to judge", "red", f"{', '.join(few)}; wanted {wanted}")]
    return [Light("Enough to judge", "green", wanted)]


def _guardrail_lights(judgement: Judgement) -> list[Light]:
    """One light over all guardrails: the worst of them, in a sentence."""
    guards = [effect for effect in judgement.effects if effect.role == "guardrail" and effect.known]
    if not guards:
        return []
    worse, doubtful = [], []
    for effect in guards:
        margin = effect.margin or 0.0
        best = effect.high if effect.higher_is_better else -effect.low
        size = f"{signed(effect.lift)} ({interval(effect.low, effect.high)})"
        words = f"{effect.label} of {effect.arm} {size}"
        if best < -margin:
            worse.append(words)
        elif not effect.not_worse:
            doubtful.append(words)
    by = percent(guards[0].margin, 0)
    if worse:
        text = f"worse by more than {by}: {'; '.join(worse)}"
        return [Light("Guardrails", "red", text, doubts=False)]
    if doubtful:
        return [Light("Guardrails", "amber", f"may be worse by {by}: {'; '.join(doubtful)}")]
    names = ", ".join(dict.fromkeys(effect.label for effect in guards))
    return [Light("Guardrails", "green", f"not worse by {by}: {names}")]


def _ratio_lights(judgement: Judgement) -> list[Light]:
    lights = []
    ratio = judgement.sample_ratio
    if ratio is not None and np.isfinite(ratio.pvalue):
        bad = ratio.pvalue < ALARM
        text = f"{said(ratio.pvalue)} (alarm below .001): bucket sizes are"
        text += f" {'not ' if bad else ''}what the weights say"
        lights.append(Light("Sample ratio", "red" if bad else "green", text))
    daily = judgement.sample_ratio_every_day
    if daily is not None and daily.day is not None:
        text = f"from day {daily.day} on who came is not split as the weights say"
        text += f" ({said(daily.pvalue)}, any number of looks)"
        lights.append(Light("Sample ratio, every day", "red", text))
    return lights


def _flaw_light(flaw: Flaw) -> Light | None:
    """Where a flaw of the rows strikes the arms differently."""
    if not flaw.pvalue < ALARM:
        return None
    shares = ", ".join(f"{percent(share)} of {arm}" for arm, share in flaw.shares.items())
    text = f"{said(flaw.pvalue)} (alarm below .001): {flaw.what}: {shares}"
    return Light(flaw.name, "red" if flaw.certain else "amber", text)


def _before_light(before: list[BeforeTest]) -> Light:
    known = [row for row in before if np.isfinite(row.pvalue)]
    if not known:
        text = "there is too little before the test to compare the buckets"
        return Light("A/A before the test", "amber", text)
    worst = min(known, key=lambda row: row.pvalue)
    colour = "red" if worst.pvalue < ALARM else "amber" if worst.pvalue < 0.05 else "green"
    verb = {"red": "differed", "amber": "may have differed", "green": "did not differ"}[colour]
    text = f"{said(worst.pvalue)} (alarm below .001): before the test the buckets {verb}"
    text += f" ({worst.arm} {percent(worst.lift)}, {interval(worst.low, worst.high)})"
    return Light("A/A before the test", colour, text)


HARDLY_KNOWN, NOT_KNOWN = 0.2, 0.5  # share of an arm's impressions: amber from, red above


def _known_light(shares: dict[str, float], contenders: list[str]) -> Light:
    """How much of what contenders showed are items of which the log tells next to nothing."""
    own = {arm: share for arm, share in shares.items() if arm in contenders}
    most = max(own.values(), default=0.0)
    colour = "red" if most > NOT_KNOWN else "amber" if most >= HARDLY_KNOWN else "green"
    listed = ", ".join(f"{percent(share, 0)} of {arm}'s" for arm, share in own.items())
    text = f"{listed} impressions are items with fewer than {LEAST_ROWS} rows in the log"
    if colour != "green":
        text += ": what users think of them is extrapolated from traits and drawn, not observed"
    return Light("Items known from the log", colour, text)


def _decides_light(found: Sensitivity) -> Light:
    """Whether a number that the log does not tell turns a verdict."""
    name, few = "The number that decides", f"{found.users} users who meet every arm"
    if turned := found.turned():
        said = "; ".join(
            f"{row.arm} against {row.control} {signed(found.as_fitted(row.arm).lift)} as assumed,"
            f" {signed(row.lift)} ({interval(row.low, row.high)}) with {row.number} {row.end}"
            for row in turned
        )
        return Light(name, "red", f"{said} ({few})", first="Mostly assumed")
    if opened := found.opened():
        said = "; ".join(
            f"{row.arm} {signed(row.lift)} ({interval(row.low, row.high)}) with {row.number}"
            f" {row.end}"
            for row in opened
        )
        return Light(name, "amber", f"no verdict turns, but {said} is left open ({few})")
    told = [row for row in found.rows if row.number == AS_FITTED and row.sign]
    if not told:
        return Light(name, "amber", f"{few} tell no lift apart from 0 whatever is assumed")
    tried = ", ".join(dict.fromkeys(row.number for row in found.moved()))
    return Light(name, "green", f"no verdict turns with {tried} at the ends of the range ({few})")


MIXED, ENOUGH_DRAWS = 1.05, 100.0  # R-hat up to and effective size from which the light is green
UNMIXED = 1.5  # R-hat above which it is red


def _chains_light(walked: dict[str, Any]) -> Light:
    """Whether the chains that users were drawn from have mixed."""
    rhat, effective = walked["rhat"], walked["effective"]
    colour = "amber"
    if rhat <= MIXED and effective >= ENOUGH_DRAWS:
        colour = "green"
    elif rhat > UNMIXED:
        colour = "red"
    chains = counted(walked["chains"], "chain")
    text = f"worst R-hat {rhat:.2f} ({walked['worst']}), least effective size {effective:.0f}"
    text += f" ({walked['least']}); {chains}, {walked['draws']} draws of what makes users click"
    if colour != "green":
        text += ": the users are plausible ones, but --worlds may show too little doubt of that"
        text += " number; --draws 1000 walks longer"
    return Light("Chains of the fit", colour, text)


def _fidelity_light(numbers: dict[str, Any]) -> Light:
    assumed = sorted(name for name, number in numbers.items() if number["status"] == "assumed")
    length = "assumed" if "leave" in assumed else "estimated"
    returns = "assumed" if any(name.startswith("gap_") for name in assumed) else "estimated"
    text = f"{len(numbers) - len(assumed)} of {len(numbers)} numbers estimated; session length"
    text += f" {length}, return times {returns}; not held against held-out days here: python -m"
    return Light("Fidelity of the users", "amber", f"{text} simulator.validate does that")


def _strangers_light(users: dict[str, Any]) -> Light:
    """Of users that somebody else made."""
    numbers = users.get("numbers", {})
    assumed = [name for name, number in numbers.items() if number["status"] == "assumed"]
    said = "who do not say which of their numbers were estimated"
    if numbers:
        said = f"{len(numbers) - len(assumed)} of {len(numbers)} numbers estimated, as they say"
    text = f"those of {users['user_model']}, {said}; not held against the log here: python -m"
    text += f" simulator.validate --user-model {users['user_model']} does that"
    return Light("Fidelity of the users", "amber", text)


def alarms(lights: list[Light]) -> list[str]:
    """What stands above the verdict where a light is red."""
    return [
        f"{light.alarm}: {light.name.lower()}, {light.text}."
        for light in lights
        if light.colour == "red"
    ]
