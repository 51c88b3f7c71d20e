"""The claim about the policy: whole worlds run again, and what an estimate misses in them."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy.stats import t

from analysis.reporting.content import Report


@dataclass(frozen=True)
class WorldMean:
    """A mean over worlds with its 95 % interval (Student's)."""

    mean: float
    low: float
    high: float
    error: float

    @staticmethod
    def of(x: np.ndarray) -> "WorldMean":
        n, mean = len(x), float(x.mean())
        error = float(x.std(ddof=1) / np.sqrt(n)) if n > 1 else float("nan")
        half = float(t.ppf(0.975, max(n - 1, 1))) * error
        return WorldMean(mean, mean - half, mean + half, error)


@dataclass(frozen=True)
class WorldEffect:
    """What a test in one world found, and what is true in it."""

    run: str
    arm: str
    control: str
    lift: float
    low: float
    high: float
    true_lift: float | None


@dataclass(frozen=True)
class PolicyClaim:
    """A contender over worlds: estimate, truth, and bias (estimate minus truth)."""

    arm: str
    control: str
    worlds: int
    estimate: WorldMean
    truth: WorldMean
    bias: WorldMean
    sd_between_worlds: float
    covered: int
    wrong_sign: int


@dataclass(frozen=True)
class Replicates:
    """Whole worlds run again with other seeds."""

    primary: str
    label: str
    rows: list[WorldEffect]
    claims: list[PolicyClaim]
    learn_from: str
    study: ClassVar[str] = "replicate"


def replicated(reports: list[Report], names: list[str], learn_from: str) -> Replicates:
    """The claim about the policy from whole worlds run again, beside that about each test.

    Args:
        reports: of each run. names: of the runs.
    """
    metric = reports[0].judgement.test.primary
    rows = [
        WorldEffect(
            name, effect.arm, effect.control, effect.lift, effect.low, effect.high, effect.true_lift
        )
        for name, report in zip(names, reports, strict=True)
        for effect in report.judgement.primary
    ]
    arms = dict.fromkeys(row.arm for row in rows)
    claims = [_claim([row for row in rows if row.arm == arm]) for arm in arms]
    return Replicates(metric.name, metric.label, rows, claims, learn_from)


def _claim(rows: list[WorldEffect]) -> PolicyClaim:
    """Of one contender."""
    lift, true = np.array([[row.lift, _known(row.true_lift)] for row in rows], float).T
    inside = sum(row.low <= x <= row.high for row, x in zip(rows, true, strict=True))
    return PolicyClaim(
        arm=rows[0].arm,
        control=rows[0].control,
        worlds=len(rows),
        estimate=WorldMean.of(lift),
        truth=WorldMean.of(true),
        bias=WorldMean.of(lift - true),
        sd_between_worlds=float(np.std(true, ddof=1)) if len(rows) > 1 else float("nan"),
        covered=int(inside),
        wrong_sign=_wrong_signs(lift, true),
    )


def _known(x: float | None) -> float:
    return float("nan") if x is None else x


def _wrong_signs(lift: np.ndarray, true: np.ndarray) -> int:
    return int((np.sign(lift) != np.sign(true)).sum())


# -- what an estimate misses -----------------------------------------------------------------------


@dataclass(frozen=True)
class WorldBias:
    """The lifts of one world: arms that learn from their own rows, from all rows, the truth, and
    the same buckets read out of the global worlds.
    """

    run: str
    arm: str
    control: str
    own: float
    all: float
    true_lift: float | None
    read_out: float


@dataclass(frozen=True)
class WrongSigns:
    """In how many worlds the estimate has the wrong sign."""

    own: int
    all: int


@dataclass(frozen=True)
class BiasClaim:
    """What the estimate of a contender misses, in parts.

    Attributes:
        chance: of who is in which bucket: the same buckets read out of the global worlds, minus the
            truth. volume: own estimate minus that: an arm learns from a bucket, not from everybody.
        sharing: shared minus own estimate: it learns from rows of others. both: volume and sharing.
    """

    arm: str
    control: str
    worlds: int
    truth: WorldMean
    chance: WorldMean
    volume: WorldMean
    sharing: WorldMean
    both: WorldMean
    wrong_sign: WrongSigns


@dataclass(frozen=True)
class Biases:
    """The same worlds with arms that learn from their own rows, and from all rows."""

    primary: str
    label: str
    rows: list[WorldBias]
    claims: list[BiasClaim]
    study: ClassVar[str] = "bias"


def biases(own: list[Report], shared: list[Report], names: list[str]) -> Biases:
    """What an estimate misses where arms retrain.

    Args:
        own, shared: of the same worlds, in which arms learn from their own rows and from all; `own`
            has the truth.
    """
    metric = own[0].judgement.test.primary
    rows = []
    for name, a, b in zip(names, own, shared, strict=True):
        assert a.simulation is not None
        other = {effect.arm: effect.lift for effect in b.judgement.primary}
        for effect in a.judgement.primary:
            read_out = a.simulation.read_out.get(effect.arm, float("nan"))
            lifts = (effect.lift, other[effect.arm], effect.true_lift, read_out)
            rows.append(WorldBias(name, effect.arm, effect.control, *lifts))
    arms = dict.fromkeys(row.arm for row in rows)
    claims = [_bias([row for row in rows if row.arm == arm]) for arm in arms]
    return Biases(metric.name, metric.label, rows, claims)


def _bias(rows: list[WorldBias]) -> BiasClaim:
    """Of one contender."""
    figures = [[r.own, r.all, _known(r.true_lift), r.read_out] for r in rows]
    own, all_, true, same = np.array(figures, float).T
    return BiasClaim(
        arm=rows[0].arm,
        control=rows[0].control,
        worlds=len(rows),
        truth=WorldMean.of(true),
        chance=WorldMean.of(same - true),
        volume=WorldMean.of(own - same),
        sharing=WorldMean.of(all_ - own),
        both=WorldMean.of(all_ - same),
        wrong_sign=WrongSigns(_wrong_signs(own, true), _wrong_signs(all_, true)),
    )
