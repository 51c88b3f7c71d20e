"""Effects between ways to learn: more data, the loop, exploration, sharing.

Differences of users are paired: the same users, the same chance, worlds apart. A seed draws users,
training and chance anew, so that means over seeds hold all of it.
"""

from dataclasses import dataclass

import numpy as np
from scipy import stats

from analysis.loops.measures import BY_NAME, PRIMARY, USER
from analysis.statistics.multiplicity import holm

REGIMES = ("frozen", "own", "open", "outside", "thinned", "all")
CONTRASTS = {
    "more data": ("open", "frozen"),
    "the loop": ("own", "open"),
    "exploration": ("outside", "open"),
    "exploration at equal clicks": ("outside", "thinned"),
    "sharing": ("all", "own"),
}
OF_USERS = {measure.name for measure in USER}


@dataclass(frozen=True, slots=True)
class LoopEffect:
    """A difference between two ways to learn of one policy, in one round.

    Attributes:
        value, low, high: with a 95 % interval; of a single seed one over its users alone, and none
            of what has no users. adjusted: p-value by Holm over all policies' primary measures, of
            the loop in the last round alone; None of what is exploratory.
        seeds. users: of all seeds together; 0 where the measure is of a world.
        saved: variance over users of independent worlds over that of paired ones; None without
            users.
    """

    policy: str
    contrast: str
    measure: str
    round: int
    value: float
    low: float
    high: float
    pvalue: float
    adjusted: float | None
    seeds: int
    users: int
    saved: float | None


@dataclass(frozen=True)
class Mean:
    """A mean with its standard error and degrees of freedom."""

    value: float
    error: float
    freedom: float

    @property
    def interval(self) -> tuple[float, float]:
        half = float(stats.t.ppf(0.975, self.freedom)) * self.error if self.freedom > 0 else np.nan
        return self.value - half, self.value + half

    @property
    def pvalue(self) -> float:
        """Two-sided; nan where there is no error to divide by."""
        if not self.error > 0 or not self.freedom > 0:
            return float("nan")
        return float(2 * stats.t.sf(abs(self.value) / self.error, self.freedom))


def mean_of_worlds(values: np.ndarray) -> Mean:
    """Of one number for each seed."""
    values = values[np.isfinite(values)]
    if not len(values):
        return Mean(float("nan"), float("nan"), 0)
    if len(values) == 1:
        return Mean(float(values[0]), float("nan"), 0)
    return Mean(float(values.mean()), float(stats.sem(values)), len(values) - 1)


def mean_of_users(seeds: list[np.ndarray]) -> Mean:
    """Of a number for each user of each seed, NaN where there is none.

    The variance of a seed's mean is what seeds show, and no less than what users alone make of it;
    t with one degree of freedom less than there are seeds. Of a single seed that of its users.
    """
    there = [x[np.isfinite(x)] for x in seeds]
    there = [x for x in there if len(x) > 1]
    if not there:
        return Mean(float("nan"), float("nan"), 0)
    means = np.array([x.mean() for x in there])
    within = float(np.mean([x.var(ddof=1) / len(x) for x in there]))
    if len(means) == 1:
        return Mean(float(means[0]), within**0.5, len(there[0]) - 1)
    spread = max(float(means.var(ddof=1)), within)
    return Mean(float(means.mean()), (spread / len(means)) ** 0.5, len(means) - 1)


@dataclass(frozen=True)
class Measured:
    """What a study measured.

    Attributes:
        policies. regimes: of them, in the order of `REGIMES`. seeds: how many. rounds: how many.
        users: (policy, regime, measure) -> for each seed (rounds, B). worlds: the same -> (seeds,
            rounds).
    """

    policies: tuple[str, ...]
    seeds: int
    rounds: int
    users: dict[tuple[str, str, str], list[np.ndarray]]
    worlds: dict[tuple[str, str, str], np.ndarray]

    def values(self, policy: str, regime: str, measure: str) -> list[np.ndarray]:
        """For each seed (rounds, ...)."""
        if measure in OF_USERS:
            return self.users[policy, regime, measure]
        return list(self.worlds[policy, regime, measure])

    def has(self, policy: str, regime: str, measure: str) -> bool:
        key = policy, regime, measure
        return key in self.users or key in self.worlds

    def mean(self, policy: str, regime: str, measure: str, round_: int) -> Mean:
        values = [x[round_] for x in self.values(policy, regime, measure)]
        if measure in OF_USERS:
            return mean_of_users(values)
        return mean_of_worlds(np.array(values))


def effects(measured: Measured, round_: int) -> list[LoopEffect]:
    """Every contrast of every policy and measure in a round, primary ones corrected together."""
    found = [
        _effect(measured, policy, contrast, measure, round_)
        for policy in measured.policies
        for contrast, (one, other) in CONTRASTS.items()
        for measure in BY_NAME
        if measured.has(policy, one, measure) and measured.has(policy, other, measure)
        # a distance from the frozen world, which is 0 there and above 0 everywhere else
        if (measure, other) != ("caused", "frozen")
    ]
    last = round_ == measured.rounds - 1
    family = [i for i, x in enumerate(found) if is_primary(x) and last]
    adjusted = holm([found[i].pvalue for i in family]) if family else np.zeros(0)
    for i, p in zip(family, adjusted, strict=True):
        found[i] = _with(found[i], float(p))
    return found


def is_primary(effect: LoopEffect) -> bool:
    return effect.contrast == "the loop" and effect.measure in PRIMARY


def _with(effect: LoopEffect, adjusted: float) -> LoopEffect:
    kept = {name: getattr(effect, name) for name in LoopEffect.__slots__}
    return LoopEffect(**{**kept, "adjusted": adjusted})


def _effect(
    measured: Measured, policy: str, contrast: str, measure: str, round_: int
) -> LoopEffect:
    one, other = (measured.values(policy, regime, measure) for regime in CONTRASTS[contrast])
    pairs = [(x[round_], y[round_]) for x, y in zip(one, other, strict=True)]
    differences = [x - y for x, y in pairs]
    if measure in OF_USERS:
        mean, users = (
            mean_of_users(differences),
            sum(int(np.isfinite(x).sum()) for x in differences),
        )
        saved = _saved(pairs)
    else:
        mean, users, saved = mean_of_worlds(np.array(differences)), 0, None
    low, high = mean.interval
    return LoopEffect(
        *(policy, contrast, measure, round_, mean.value, low, high, mean.pvalue, None),
        *(measured.seeds, users, saved),
    )


def _saved(pairs: list[tuple[np.ndarray, np.ndarray]]) -> float | None:
    """How many times larger the variance would be with users and chance of each world's own."""
    apart, paired = [], []
    for x, y in pairs:
        there = np.isfinite(x) & np.isfinite(y)
        if there.sum() > 1:
            apart.append(x[there].var(ddof=1) + y[there].var(ddof=1))
            paired.append((x - y)[there].var(ddof=1))
    return float(np.mean(apart) / np.mean(paired)) if paired and np.mean(paired) > 0 else None
