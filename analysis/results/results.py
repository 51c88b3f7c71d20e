"""All numbers of a judgement, as one object; sentences about them are made elsewhere."""

from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from analysis.data.ab_test import ABTest, of_run
from analysis.data.rows import DAY
from analysis.data.run import (
    Run,
    everyone,
    exposure,
    pair_counts,
    true_means,
    with_covariates,
)
from analysis.results.counterfactual import OffPolicyEstimates, off_policy_of
from analysis.results.effects import Effect, judge
from analysis.results.feedback_loop import RoundMetrics, by_round
from analysis.results.monitoring import Daily, Monitored, OverTime, monitored, over_time
from analysis.results.offline import Offline, offline_of
from analysis.results.segments import SegmentRatio, Segments, by_segment, segment_ratios
from analysis.results.sensitivity import Sensitivity
from analysis.statistics.comparison import LEVEL, compare, value_of
from analysis.statistics.multiplicity import (
    SampleRatio,
    holm,
    sample_ratio,
    sequential_sample_ratio,
)
from analysis.statistics.resampling import Bootstrapped, least_users, quantile_difference

QUANTILES = (0.5, 0.9, 0.99)
RATIO_LEVEL = 0.001  # of p-values of the sample ratio
TOP_ITEMS = 5  # of each arm


@dataclass(frozen=True)
class TrueEffect:
    """The effect between worlds in which everybody gets one arm."""

    arm: str
    control: str
    metric: str
    label: str
    unit: str
    control_mean: float
    treatment_mean: float
    true_lift: float
    users: int


@dataclass(frozen=True)
class ArmMetrics:
    """An arm by itself.

    Attributes:
        values: metric -> over all of its users. clicks_per_page: None where the log has no pages.
    """

    arm: str
    users: int
    values: dict[str, float]
    clicks_per_page: float | None = None


@dataclass(frozen=True)
class RatioEveryDay:
    """The sample ratio of those who have come so far, looked at every day; the first day on which
    it is off, None without.
    """

    pvalue: float
    day: int | None


@dataclass(frozen=True)
class BeforeTest:
    """An arm against the control in the time before the test, in which all got the same."""

    arm: str
    lift: float
    low: float
    high: float
    pvalue: float


@dataclass(frozen=True)
class PairEffect:
    """Two arms on the primary metric; Holm over pairs."""

    arm: str
    against: str
    lift: float
    low: float
    high: float
    pvalue: float
    pvalue_adjusted: float


@dataclass(frozen=True)
class QuantileEffect:
    """A quantile of the users' totals of the primary metric, by bootstrap over users."""

    arm: str
    quantile: float
    difference: Bootstrapped


@dataclass(frozen=True)
class RoundLift:
    """The primary metric of one round."""

    arm: str
    round: int
    lift: float
    low: float
    high: float


@dataclass(frozen=True)
class Rounds:
    """What the loop did by round, and the primary lift of each round."""

    loop: list[RoundMetrics]
    lifts: list[RoundLift]


@dataclass(frozen=True)
class TopItem:
    """An item that an arm showed much, by the log's own id."""

    arm: str
    item_id: str
    share: float
    click_rate: float


@dataclass(frozen=True)
class Carried:
    """So many users of an arm hold this share of the arm's total of the primary metric."""

    arm: str
    users: int
    share: float
    most: float


@dataclass(frozen=True)
class Judgement:
    """What an experiment's rows and its plan tell, with or without a simulator behind them."""

    test: ABTest
    effects: list[Effect]
    arms: list[ArmMetrics]
    lacking: list[str]  # labels of the metrics that the log does not tell
    events: dict[str, int] = field(default_factory=dict)  # arm -> users with any of the primary
    carried: list[Carried] = field(default_factory=list)
    never_came: dict[str, int] = field(default_factory=dict)  # arm -> assigned users without a row
    capped: int = 0  # users whose total of the primary metric is
    sample_ratio: SampleRatio | None = None
    sample_ratio_every_day: RatioEveryDay | None = None
    sample_ratio_by_segment: list[SegmentRatio] = field(default_factory=list)
    before_test: list[BeforeTest] | None = None
    pairs: list[PairEffect] = field(default_factory=list)
    quantiles: list[QuantileEffect] = field(default_factory=list)
    monitor: list[Monitored] = field(default_factory=list)
    over_time: list[OverTime] = field(default_factory=list)
    segments: Segments = field(default_factory=Segments)
    looked_at: bool = False  # day by day, as the primary metric and the log allow

    @property
    def by_looks(self) -> bool:
        """Whether what is concluded has to allow for looks: somebody takes them and may stop, or
        the planned end has not come. Else one look is taken, at the end.
        """
        return self.looked_at and (self.test.looked or self.test.days < self.test.planned)

    @property
    def primary(self) -> list[Effect]:
        """The effects on the metric that decides."""
        return [effect for effect in self.effects if effect.metric == self.test.primary.name]


@dataclass(frozen=True)
class Simulation:
    """What only a simulated run can tell, beside its judgement.

    Attributes:
        true_effects: of worlds in which everybody gets one arm.
        read_out: arm -> lift that the test's buckets would show if their users lived in the global
            worlds.
        users: provenance of the simulated users. deployed_days: on which models went live.
        hardly_known: arm -> share of what it showed that are items with fewer than `LEAST_ROWS`
            rows in the log; none where the run does not tell.
        advantage: `known` and `click_rate` of the best slates by what is known, from nothing to
            everything; none where the run does not tell.
        sensitivity: lifts with what was assumed moved; None where the run did not ask.
        offline: contenders on the log that they were trained on; none where the run does not tell.
    """

    true_effects: list[TrueEffect]
    rounds: Rounds
    top_items: list[TopItem]
    users: dict[str, Any]
    off_policy: OffPolicyEstimates | None
    read_out: dict[str, float]
    deployed_days: list[float]
    hardly_known: dict[str, float] = field(default_factory=dict)
    advantage: list[dict[str, Any]] = field(default_factory=list)
    sensitivity: Sensitivity | None = None
    offline: list[Offline] = field(default_factory=list)


def judge_run(run: Run) -> tuple[Judgement, Simulation]:
    """Judges a run: what a live test would know, the truth, and what the loop did."""
    test = of_run(run)
    truth = true_means(run)
    judgement = judge_test(test, {} if run.twin else truth, compare_arms=not run.twin)
    click_rate = run.metrics["click_rate"]
    tested = {
        arm.arm: arm.values["click_rate"] for arm in judgement.arms if "click_rate" in arm.values
    }
    true_effects = _true_effects(test, truth)
    simulation = Simulation(
        true_effects=true_effects,
        rounds=_rounds(run, test),
        top_items=_top_items(test, run.items),
        users=run.parameters,
        off_policy=off_policy_of(
            run, tested, {a: value_of(t, click_rate) for a, t in truth.items()}
        ),
        read_out={} if run.twin else _read_out(test, truth),
        deployed_days=_deployed(run, test.days),
        hardly_known=_hardly_known(test, run.items),
        advantage=run.manifest.get("advantage", []),
        sensitivity=Sensitivity.of(run.manifest.get("sensitivity")),
        offline=_offline(run, judgement, true_effects),
    )
    return judgement, simulation


def judge_test(
    test: ABTest, truth: dict[str, pd.DataFrame] | None = None, compare_arms: bool = True
) -> Judgement:
    """All that an experiment's rows and its plan tell.

    Args:
        truth: arm -> per-user table of the world in which everybody got it; None in a live test.
        compare_arms: whether users were split between the arms.
    """
    table = test.table()
    there = test.metrics.measurable(table.columns)
    arms = [_arm(table, arm, test) for arm in test.arms]
    absent = {
        arm: int((table.loc[table["bucket"] == arm, "impressions"] == 0).sum()) for arm in test.arms
    }
    lacking = [metric.label for metric in test.metrics.values() if metric not in there]
    if not compare_arms:
        return Judgement(test, [], arms, lacking, never_came=absent)
    effects = judge(
        table,
        test.control,
        test.contenders,
        test.primary.name,
        test.margin,
        truth or {},
        test.metrics,
    )
    sizes = {arm: int((test.users["bucket"] == arm).sum()) for arm in test.arms}
    timed = "time" in test.rows.has
    looked_at = test.primary.linear and test.primary.additive and timed
    looks, time = _by_day(table, test) if looked_at else ([], [])
    return Judgement(
        test=test,
        effects=effects,
        arms=arms,
        lacking=lacking,
        events={
            arm: int((table.loc[table["bucket"] == arm, test.primary.column] != 0).sum())
            for arm in test.arms
        },
        carried=_carried(table, test),
        never_came=absent,
        capped=test.capped_users(table),
        sample_ratio=sample_ratio(sizes, test.weights),
        sample_ratio_every_day=_ratio_every_day(test) if timed and not test.simulated else None,
        sample_ratio_by_segment=segment_ratios(test),
        before_test=None if test.before is None else _before(table, test),
        pairs=_pairs(table, test),
        quantiles=_quantiles(table, test),
        monitor=looks,
        over_time=time,
        segments=by_segment(table, test),
        looked_at=looked_at,
    )


def _offline(run: Run, judgement: Judgement, truth: list[TrueEffect]) -> list[Offline]:
    name = judgement.test.primary.name
    return offline_of(
        run.manifest.get("training", {}),
        judgement.test.contenders,
        {arm.arm: arm.values[name] for arm in judgement.arms if name in arm.values},
        {effect.arm: effect.lift for effect in judgement.primary if effect.known},
        {effect.arm: effect.true_lift for effect in truth if effect.metric == name},
    )


# -- of the judgement ------------------------------------------------------------------------------


def _arm(table: pd.DataFrame, arm: str, test: ABTest) -> ArmMetrics:
    rows = table[table["bucket"] == arm]
    values = {m.name: value_of(rows, m) for m in test.metrics.measurable(table.columns)}
    if not {"pages", "clicks"} <= set(table.columns):
        return ArmMetrics(arm, len(rows), values)
    pages = float(rows["pages"].sum())
    per_page = float(rows["clicks"].sum()) / pages if pages else float("nan")
    return ArmMetrics(arm, len(rows), values, per_page)


TOP = 0.01  # of an arm's users
CARRY, TIMES = 0.1, 20.0  # share of the total that they hold, and times the mean of all


def _carried(table: pd.DataFrame, test: ABTest) -> list[Carried]:
    """Arms whose figure is that of a few users; what was taken back counts as what was given."""
    found = []
    for arm in (test.control, *test.treated):
        values = np.abs(table.loc[table["bucket"] == arm, test.primary.column].to_numpy(float))
        if len(values) < 2 or not values.any():
            continue
        large = values[values > TIMES * values.mean()]
        share = float(large.sum() / values.sum())
        if share > CARRY and len(large) <= max(TOP * len(values), 1):
            found.append(Carried(arm, len(large), share, float(large.max())))
    return found


def _ratio_every_day(test: ABTest) -> RatioEveryDay:
    first = test.rows.query(
        "SELECT bucket, day, count(*) AS n FROM (SELECT bucket, user,"
        f" floor(min(time) / {DAY})::INTEGER AS day FROM {{rows}} GROUP BY bucket, user)"
        " GROUP BY bucket, day ORDER BY bucket, day"
    )
    counts = first.pivot_table(index="day", columns="bucket", values="n", fill_value=0.0)
    counts = counts.reindex(columns=test.arms, fill_value=0.0)
    shares = [test.weights[arm] for arm in test.arms]
    pvalues = sequential_sample_ratio(counts.to_numpy(float).cumsum(axis=0), shares)
    off = np.flatnonzero(pvalues < RATIO_LEVEL)
    return RatioEveryDay(float(pvalues[-1]), int(counts.index[off[0]]) + 1 if len(off) else None)


def _by_day(table: pd.DataFrame, test: ABTest) -> tuple[list[Monitored], list[OverTime]]:
    """The primary metric looked at day by day, by days of the test and by days since a user's first
    impression.
    """
    names = list(dict.fromkeys([*test.primary.columns, "impressions"]))
    totals = test.daily(names, table)
    daily = Daily(table, {name: totals[name] for name in test.primary.columns})
    return monitored(test, daily), over_time(test, daily, totals["impressions"])


def _pairs(table: pd.DataFrame, test: ABTest) -> list[PairEffect]:
    """All pairs of arms on the primary metric; nothing where there are only two arms."""
    if len(test.arms) < 3:
        return []
    pairs = [
        (arm, against, compare(table, test.primary, against, arm))
        for against, arm in combinations(reversed(test.arms), 2)
    ]
    adjusted = holm([comparison.pvalue for *_, comparison in pairs])
    return [
        PairEffect(
            arm,
            against,
            comparison.lift,
            comparison.low,
            comparison.high,
            comparison.pvalue,
            float(p),
        )
        for (arm, against, comparison), p in zip(pairs, adjusted, strict=True)
    ]


def _quantiles(table: pd.DataFrame, test: ABTest) -> list[QuantileEffect]:
    """Median and tails of the users' totals of the primary metric."""
    if test.primary.denominator is not None or not test.primary.linear:
        return []
    values = {
        arm: table.loc[table["bucket"] == arm, test.primary.column].to_numpy(float)
        for arm in test.arms
    }
    control = values[test.control]
    return [
        QuantileEffect(arm, q, quantile_difference(control, values[arm], q, level=LEVEL))
        for arm in test.treated
        for q in QUANTILES
        if min(len(values[arm]), len(control)) >= least_users(q, LEVEL)
    ]


def _before(table: pd.DataFrame, test: ABTest) -> list[BeforeTest]:
    """An A/A check that costs nothing: the buckets compared on the time before the test."""
    names = [name for name in table.columns if f"{name}_pre" in table]
    past = table[["user", "bucket"]].assign(**{name: table[f"{name}_pre"] for name in names})
    primary = test.primary.name
    effects = judge(past, test.control, test.contenders, primary, test.margin, {}, test.metrics)
    return [
        BeforeTest(effect.arm, effect.lift, effect.low, effect.high, effect.pvalue_adjusted)
        for effect in effects
        if effect.metric == primary
    ]


# -- of the simulation -----------------------------------------------------------------------------


def _true_effects(test: ABTest, truth: dict[str, pd.DataFrame]) -> list[TrueEffect]:
    """The true lift of every contender on every metric."""
    if test.control not in truth:
        return []
    rows = []
    for arm in (arm for arm in test.treated if arm in truth):
        for metric in test.metrics.measurable(truth[test.control].columns):
            base, other = value_of(truth[test.control], metric), value_of(truth[arm], metric)
            lift = other / base - 1 if base else float("nan")
            about = (arm, test.control, metric.name, metric.label, metric.unit)
            rows.append(TrueEffect(*about, base, other, lift, len(truth[arm])))
    return rows


def _read_out(test: ABTest, truth: dict[str, pd.DataFrame]) -> dict[str, float]:
    """What it has over the true effect is the chance of who is in which bucket; what the test's
    estimate has over it comes of what the arms learned from.
    """
    if not {test.control, *test.contenders} <= set(truth):
        return {}
    users = test.users[["user", "bucket"]]
    parts = [users[users["bucket"] == arm].merge(truth[arm], on="user") for arm in test.contenders]
    table = pd.concat(parts, ignore_index=True)
    if test.before is not None:
        table = with_covariates(table, test.before.per_user(("user",)))
    return {arm: compare(table, test.primary, test.control, arm).lift for arm in test.treated}


def _deployed(run: Run, days: int) -> list[float]:
    """The days on which retrained models went live."""
    settings = run.settings
    if settings["learn_from"] == "none":
        return []
    length, delay = settings["days"] / settings["rounds"], settings["training_delay_hours"] / 24
    return [day for k in range(1, settings["rounds"]) if (day := k * length + delay) < days]


def _rounds(run: Run, test: ABTest) -> Rounds:
    users = test.rows.per_user(("bucket", "round", "user"))
    loop = by_round(exposure(test.rows), pair_counts(test.rows), users, run.items)
    before = None if test.before is None else test.before.per_user(("user",))
    lifts = []
    for number, rows in users.groupby("round"):
        if run.twin or number < 0:
            continue
        table = everyone(test.users[["user", "bucket"]], rows.drop(columns="round"))
        full = with_covariates(table, before) if before is not None else table
        for arm in test.treated:
            comparison = compare(full, test.primary, test.control, arm)
            lifts.append(
                RoundLift(arm, int(number), comparison.lift, comparison.low, comparison.high)
            )
    return Rounds(loop, lifts)


LEAST_ROWS = 20  # of an item in the log, below which its level is more its traits' than its own


def _hardly_known(test: ABTest, items: pd.DataFrame) -> dict[str, float]:
    """Of each arm, the share of impressions of items that the log hardly shows."""
    if "log_rows" not in items:
        return {}
    shown = exposure(test.rows)
    few = shown["item"].map(items.set_index("item")["log_rows"]) < LEAST_ROWS
    total = shown.groupby("bucket")["shown"].sum()
    unknown = shown[few].groupby("bucket")["shown"].sum().reindex(total.index, fill_value=0)
    share = unknown / total
    return {arm: float(share[arm]) for arm in test.arms if arm in share.index}


def _top_items(test: ABTest, items: pd.DataFrame) -> list[TopItem]:
    """The items that each arm showed most."""
    counts = exposure(test.rows).groupby(["bucket", "item"], as_index=False)
    shown = counts[["shown", "clicked"]].sum()
    names = items.set_index("item")["item_id"]
    rows = []
    for arm in test.arms:
        own = shown[shown["bucket"] == arm]
        total = own["shown"].sum()
        top = own.sort_values(["shown", "item"], ascending=[False, True]).head(TOP_ITEMS)
        for _, row in top.iterrows():
            share, rate = float(row["shown"] / total), float(row["clicked"] / row["shown"])
            rows.append(TopItem(arm, str(names[row["item"]]), share, rate))
    return rows
