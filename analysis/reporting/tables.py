"""The report's tables, for the page, the Markdown and the terminal."""

from typing import Any

from analysis.metrics import Metrics
from analysis.results.counterfactual import OffPolicyEstimates, OffPolicyRow
from analysis.results.effects import Effect
from analysis.results.feedback_loop import RoundMetrics
from analysis.results.monitoring import Monitored
from analysis.results.results import Judgement, PairEffect, QuantileEffect, TopItem, TrueEffect
from analysis.results.segments import SegmentEffect
from analysis.results.sensitivity import MovedLift, Sensitivity
from analysis.statistics.propensity import Estimate
from policies.common.tables import Table, interval, number, percent, pvalue, signed, signed_number

NO_NUMBER = "–"


def _named(effect: Effect) -> str:
    return effect.label + (" ★" if effect.role == "primary" else "")


def effect_table(effects: list[Effect]) -> Table:
    """The main table: outcomes first, guardrails after them."""
    ordered = sorted(effects, key=lambda effect: effect.role == "guardrail")
    has_truth = any(effect.true_lift is not None for effect in ordered)
    several = len({effect.arm for effect in ordered}) > 1
    head = ["metric", *(["contender"] if several else []), "control mean", "contender mean", "lift"]
    head += ["95 % interval", *(["true lift"] if has_truth else [])]
    head += ["adjusted p", "detectable", "CUPED saved"]
    body = []
    for effect in ordered:
        name = _named(effect)
        if effect.margin is not None and effect.known:
            words = "not worse" if effect.not_worse else "may be worse"
            name += f" (guardrail: {words} by {percent(effect.margin, 0)})"
        line = [name, *([effect.arm] if several else []), number(effect.control_mean)]
        line += [
            number(effect.treatment_mean),
            _lift(effect),
            _interval(effect),
        ]
        line += [signed(effect.true_lift)] if has_truth else []
        line += [
            pvalue(effect.pvalue_adjusted),
            percent(effect.detectable),
            percent(effect.variance_saved, 0),
        ]
        body.append(line)
    guards = frozenset(i for i, row in enumerate(body) if "guardrail" in row[0])
    return Table(head, body, marked=guards)


def short_effect_table(effects: list[Effect]) -> Table:
    """The main table without what only the page has room for."""
    several = len({effect.arm for effect in effects}) > 1
    has_truth = any(effect.true_lift is not None for effect in effects)
    head = [*(["contender"] if several else []), "metric", "control"]
    head += ["mean" if several else "contender", "lift [%]", "95 % interval", "adj. p"]
    head += ["true [%]"] if has_truth else []
    body = []
    for effect in effects:
        line = [*([effect.arm] if several else []), _named(effect), number(effect.control_mean)]
        line += [
            number(effect.treatment_mean),
            _lift(effect).removesuffix(" %"),
            _interval(effect).replace(" %", ""),
        ]
        line += [pvalue(effect.pvalue_adjusted), *([_bare(effect.true_lift)] if has_truth else [])]
        body.append(line)
    return Table(head, body)


def _bare(x: float | None) -> str:
    return signed(x).removesuffix(" %")


def _lift(effect: Effect) -> str:
    """The lift, or where there is none the difference in the metric's unit."""
    return signed(effect.lift) if effect.known else f"Δ {signed_number(effect.difference)}"


def _interval(effect: Effect) -> str:
    if effect.known:
        return interval(effect.low, effect.high)
    return f"{signed_number(effect.difference_low)} to {signed_number(effect.difference_high)}"


def true_table(effects: list[TrueEffect]) -> Table:
    head = ("metric", "contender", "control mean", "contender mean", "true lift")
    means = [(number(effect.control_mean), number(effect.treatment_mean)) for effect in effects]
    return Table(
        head,
        [
            [effect.label, effect.arm, *mean, signed(effect.true_lift)]
            for effect, mean in zip(effects, means, strict=True)
        ],
    )


def arm_table(judgement: Judgement) -> Table:
    """One column per arm, references included."""
    arms, test = judgement.arms, judgement.test
    notes = {arm.arm: "" if arm.arm in test.contenders else " (reference)" for arm in arms}
    notes |= {arm: f" ({why})" for arm, why in test.references.items()}
    notes[test.control] = " (control)"
    head = ["per arm", *(arm.arm + notes[arm.arm] for arm in arms)]
    body = [["users", *(number(arm.users) for arm in arms)]]
    if arms[0].clicks_per_page is not None:
        body.append(["clicks per page", *(number(arm.clicks_per_page) for arm in arms)])
    body += _metric_rows(judgement, test.metrics)
    return Table(head, body)


def _metric_rows(judgement: Judgement, metrics: Metrics) -> list[list[str]]:
    arms = judgement.arms
    return [
        [f"{m.label} [{m.unit}]", *(number(arm.values[m.name]) for arm in arms)]
        for m in metrics.values()
        if m.name in arms[0].values
    ]


def round_table(rows: list[RoundMetrics]) -> Table:
    columns = {
        "click rate": "click_rate",
        "clicks per page": "clicks_per_page",
        "coverage": "coverage",
        "Gini": "gini",
        "overlap": "overlap",
        "popularity shown": "popularity_shown",
        "popularity clicked": "popularity_clicked",
        "category entropy [bits]": "category_entropy",
    }
    body = [
        [row.arm, str(row.round + 1), *(number(getattr(row, key)) for key in columns.values())]
        for row in rows
    ]
    return Table(["arm", "round", *columns], body)


def parameter_table(users: dict[str, Any]) -> Table:
    """Every parameter of the simulated users, with where it comes from."""
    numbers, arrays = users.get("numbers", {}), users.get("arrays", {})
    body = [
        [name, number(n["value"]), number(n["error"]), n["status"], n["source"]]
        for name, n in sorted(numbers.items())
    ]
    for name, (status, source) in sorted(arrays.items()):
        body.append([name, "one each", NO_NUMBER, status, source])
    return Table(("parameter", "value", "standard error", "status", "source"), body)


def advantage_table(rows: list[dict[str, Any]]) -> Table:
    """What the best slates get by what is known of users and items."""
    head = ("what is known", "clicks per impression", "of the way to the best slates")
    rested = [row for row in rows if row.get("rested", True)]
    first, best = rested[0]["click_rate"], rested[-1]["click_rate"]
    body = [
        [
            row["known"],
            number(row["click_rate"]),
            percent(share_of_the_way(row["click_rate"], first, best), 0),
        ]
        for row in rows
    ]
    return Table(head, body)


def sensitivity_table(found: Sensitivity) -> Table:
    """Lifts with each number at the ends of its range; users as fitted first."""
    arms = list(dict.fromkeys(row.arm for row in found.rows))
    head = ("number", "moved to", *(f"lift of {arm}" for arm in arms))
    moves = dict.fromkeys((row.number, row.end) for row in found.rows)
    at = {(row.number, row.end, row.arm): row for row in found.rows}
    body = [[*move, *(_moved(at[(*move, arm)]) for arm in arms)] for move in moves]
    return Table(head, body)


def _moved(row: MovedLift) -> str:
    return f"{signed(row.lift)} ({interval(row.low, row.high)})"


def share_of_the_way(rate: float, first: float, best: float) -> float:
    """How far a rate is on the way from the first one to the best."""
    return (rate - first) / (best - first) if best > first else float("nan")


def item_table(rows: list[TopItem]) -> Table:
    body = [[row.arm, row.item_id, percent(row.share), number(row.click_rate)] for row in rows]
    return Table(("arm", "item", "share of impressions", "click rate"), body)


def pair_table(rows: list[PairEffect]) -> Table:
    """All pairs of arms on the primary metric."""
    body = [
        [r.arm, r.against, signed(r.lift), interval(r.low, r.high), pvalue(r.pvalue_adjusted)]
        for r in rows
    ]
    return Table(("arm", "against", "lift", "95 % interval", "p, Holm over pairs"), body)


def quantile_table(rows: list[QuantileEffect]) -> Table:
    """Median and tails of the primary metric over users."""
    head = ("users' quantile", "contender", "its value", "control's value", "difference")
    body = []
    for row in rows:
        d = row.difference
        line = [f"{100 * row.quantile:g} %", row.arm, number(d.treatment), number(d.control)]
        line += [number(d.difference), f"{number(d.low)} to {number(d.high)}", pvalue(d.pvalue)]
        body.append(line)
    return Table((*head, "95 % interval", "p"), body)


def segment_table(rows: list[SegmentEffect]) -> Table:
    """The primary metric by segment."""
    head = ("segment", "level", "contender", "users", "lift", "95 % interval")
    body = []
    for r in rows:
        line = [r.segment, r.level, r.arm, number(r.users), signed(r.lift)]
        body.append([*line, interval(r.low, r.high), pvalue(r.pvalue_adjusted)])
    return Table((*head, "p, Benjamini-Hochberg"), body, text=2)


def off_policy_table(estimates: OffPolicyEstimates) -> Table:
    """Clicks per impression of the contenders, estimated from another arm's log."""
    head = ("contender", "log of", "IPS", "SNIPS", "direct", "doubly robust", "effective rows")
    body = []
    for row in estimates.rows:
        cells = [_estimate(x, row) for x in (row.ips, row.snips, row.dm, row.dr)]
        rest = [number(x) for x in (row.true_here, row.tested, row.true)]
        body.append([row.arm, row.logger, *cells, number(float(round(row.effective_n))), *rest])
    return Table((*head, "true, these visits", "in the test", "true, own visits"), body, text=2)


def short_off_policy_table(estimates: OffPolicyEstimates) -> Table:
    """The doubly robust estimate alone, in the width of a terminal."""
    names = ("contender", "log of", "doubly robust", "effective rows", "true, these visits")
    return off_policy_table(estimates).columns(*names)


LEAST_ROWS = 30.0  # effective ones, below which an estimate is none


def _estimate(x: Estimate | None, row: OffPolicyRow) -> str:
    if x is None:
        return NO_NUMBER
    if row.effective_n < LEAST_ROWS:
        return f"too few ({row.effective_n:.0f})"
    if not row.supported:
        return f"not shown ({percent(1 - row.mean_weight, 0)})"
    return f"{number(x.value)} ({number(x.low)} to {number(x.high)})"


def look_table(rows: list[Monitored]) -> Table:
    """The sequential test, look by look."""
    head = ("day", "contender", "lift so far", "interval that holds for all looks", "z", "bound")
    body = []
    for row in rows:
        for look in row.looks:
            line = [str(look.day), row.arm, signed(look.lift), interval(look.low, look.high)]
            crossed = "yes" if look.crossed else "no"
            body.append([*line, number(look.z), number(look.bound), crossed])
    return Table((*head, "crossed"), body)
