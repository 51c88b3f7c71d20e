"""What a study of loops says, in words."""

from dataclasses import dataclass

import numpy as np

from analysis.loops.effects import LoopEffect, Measured, is_primary, mean_of_worlds
from analysis.loops.measures import BY_NAME
from policies.common.tables import number, pvalue, signed, signed_number

MORE = {
    "utility": ("serves users better", "serves users worse"),
    "gini": ("concentrates exposure on fewer items", "spreads exposure over more items"),
    "overlap": ("makes users' pages more alike", "makes users' pages less alike"),
}


def summary(effects: list[LoopEffect]) -> str:
    """Two sentences for somebody who reads nothing else: what the loop did to whom."""
    policies = list(dict.fromkeys(effect.policy for effect in effects))
    alike: dict[str, list[str]] = {}  # words -> policies
    for policy in policies:
        told = _told([x for x in effects if x.policy == policy and is_primary(x)])
        alike.setdefault(told, []).append(policy)
    others = alike.pop("", [])
    said = [_of_all(names, told) for told, names in alike.items()]
    first = (
        "The loop: what a policy does by retraining on its own feedback, beyond what it learns from"
        " as many rows of the same users that it did not choose."
    )
    if all(effect.seeds == 1 for effect in effects):
        first += (
            " With one seed nothing is known of other worlds: what is shown holds of its users, and"
            " concentration and likeness of pages have no interval."
        )
    if not said:
        return f"{first} No effect of it on utility, concentration or likeness of pages is shown."
    rest = f" Of {', '.join(others)} no such effect is shown." if others else ""
    return f"{first} By it {'; '.join(said)}.{rest}"


def _of_all(names: list[str], told: str) -> str:
    """The same words of several policies, said once."""
    first, *rest = names
    if not rest:
        return f"{first} {told}"
    return f"{first} {told}, and so {'does' if len(rest) == 1 else 'do'} {_listed(rest)}"


def _listed(words: list[str]) -> str:
    """a, b and c."""
    *before, last = words
    return f"{', '.join(before)} and {last}" if before else last


def _told(effects: list[LoopEffect]) -> str:
    """What is shown of a policy's primary measures after correction."""
    shown = [x for x in effects if x.adjusted is not None and x.adjusted < 0.05]
    words = [MORE[x.measure][0 if x.value > 0 else 1] for x in shown]
    return _listed(words) if words else ""


def paragraph(policy: str, effects: list[LoopEffect], rounds: int) -> str:
    """The primary measures of a policy with their intervals, and who loses."""
    mine = [x for x in effects if x.policy == policy]
    parts = [f"{BY_NAME[x.measure].label} {_numbers(x)}" for x in mine if is_primary(x)]
    text = (
        f"{policy}, round {rounds}: own feedback against as many rows of the frozen policy changes"
        f" {', '.join(parts)}."
    )
    more = next((x for x in mine if (x.contrast, x.measure) == ("more data", "utility")), None)
    if more is not None:
        text += f" More data without the loop changes true utility by {_numbers(more)}."
    minority = [x for x in mine if (x.contrast, x.measure) == ("the loop", "minority")]
    for x in minority:
        if x.pvalue < 0.05:
            side = "loses against" if x.value < 0 else "gains on"
            text += (
                f" The third of users with the rarest tastes {side} the third with the commonest"
                f" ({_numbers(x)}; exploratory)."
            )
    return text


def _numbers(x: LoopEffect) -> str:
    if not np.isfinite(x.low):
        return f"{signed_number(x.value)} (one seed: no interval)"
    p = "" if x.adjusted is None else f", p {pvalue(x.adjusted)} after correction"
    return f"{signed_number(x.value)} ({number(x.low)} to {number(x.high)}{p})"


@dataclass(frozen=True, slots=True)
class LiveTest:
    """Two policies that learn from themselves: lift of clicks per user in the first round, in the
    last one and over all; each with its 95 % interval over seeds.
    """

    one: str
    other: str
    first: tuple[float, float, float]
    last: tuple[float, float, float]
    long: tuple[float, float, float]

    @property
    def turned(self) -> bool:
        """Whether a test of the first round tells the other sign than the last round or all rounds
        have, both beyond chance.
        """
        return any(
            self.first[0] * later[0] < 0
            and all(low * high > 0 for _, low, high in (self.first, later))
            for later in (self.last, self.long)
        )

    @property
    def faded(self) -> bool:
        """Whether a test of the first round tells a difference beyond chance that is not shown over
        all rounds.
        """
        return self.first[1] * self.first[2] > 0 and not self.long[1] * self.long[2] > 0


def live_tests(measured: Measured) -> list[LiveTest]:
    """Every pair of policies."""
    found = []
    for i, one in enumerate(measured.policies):
        for other in measured.policies[i + 1 :]:
            pair = [measured.values(policy, "own", "clicks") for policy in (one, other)]
            found.append(
                LiveTest(
                    one,
                    other,
                    _lift([(x[0], y[0]) for x, y in zip(*pair, strict=True)]),
                    _lift([(x[-1], y[-1]) for x, y in zip(*pair, strict=True)]),
                    _lift([(x.sum(axis=0), y.sum(axis=0)) for x, y in zip(*pair, strict=True)]),
                )
            )
    return found


def _lift(pairs: list[tuple[np.ndarray, np.ndarray]]) -> tuple[float, float, float]:
    mean = mean_of_worlds(np.array([x.mean() / y.mean() - 1 for x, y in pairs]))
    return mean.value, *mean.interval


def live_sentence(tests: list[LiveTest]) -> str:
    """When does a short test get the sign wrong?"""
    if not tests:
        return "One policy: there is no live test to compare with."
    turned = [x for x in tests if x.turned]
    faded = [x for x in tests if x.faded and not x.turned]
    if faded:
        return " ".join(filter(None, (_turned(turned), _faded(faded))))
    if not turned:
        known = all(np.isfinite([*x.first, *x.last]).all() for x in tests)
        words = (
            "No test of the first round tells a sign, beyond chance, that the last round turns"
            " beyond chance: "
            if known
            else "Clicks of the first round and of the last one (a single seed says nothing of"
            " chance): "
        )
        return words + "; ".join(f"{x.one} against {x.other} {_both(x)}" for x in tests) + "."
    return _turned(turned)


def _turned(tests: list[LiveTest]) -> str:
    if not tests:
        return ""
    told = "; ".join(f"{x.one} against {x.other} {_both(x)}" for x in tests)
    return f"A test of the first round would have told the wrong sign: {told}."


def _faded(tests: list[LiveTest]) -> str:
    told = "; ".join(
        f"{x.one} against {x.other} {signed(x.first[0])} at first, {signed(x.long[0])} over all"
        for x in tests
    )
    return (
        "A test of the first round would have told a difference that is not shown over all rounds:"
        f" {told}."
    )


def _both(x: LiveTest) -> str:
    told = f"{signed(x.first[0])} at first, {signed(x.last[0])} at last"
    return f"{told}, {signed(x.long[0])} over all" if x.turned else told
