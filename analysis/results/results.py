"""Everything that the report says, as one dictionary with units; `results.json` is this and nothing
else.
"""

from dataclasses import asdict
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from analysis.data.ab_test import Trial, of_run
from analysis.data.rows import DAY
from analysis.data.run import Run, everyone, exposure, pair_counts, true_means, with_covariates
from analysis.metrics import METRICS, measurable
from analysis.reporting.sentences import (
    lights,
    looked_verdict,
    of_simulation,
    true_verdict,
    verdict,
)
from analysis.results import counterfactual as shadow
from analysis.results.effects import judge
from analysis.results.feedback_loop import ROUND_UNITS, by_round
from analysis.results.monitoring import Daily, effects, monitor, since_exposure
from analysis.results.segments import by_segment, ratios
from analysis.statistics.comparison import LEVEL, compare_named, value_of
from analysis.statistics.multiplicity import holm, sample_ratio, sequential_sample_ratio
from analysis.statistics.resampling import quantile_difference

QUANTILES = (0.5, 0.9, 0.99)
RATIO_LEVEL = 0.001  # of p-values of the sample ratio
EFFECT_UNITS = {
    "control_mean": "the metric's unit",
    "treatment_mean": "the metric's unit",
    "lift": "relative (.02 = 2 %)",
    "low": "relative, 95 % interval",
    "high": "relative, 95 % interval",
    "pvalue": "probability, two-sided",
    "pvalue_adjusted": "probability, two-sided",
    "detectable": "relative effect found with probability .80",
    "variance_saved": "share of the variance",
    "chance_to_win": "probability, flat prior",
    "true_lift": "relative, all users",
    "margin": "relative",
    "n_control": "users",
    "n_treatment": "users",
}


def compute(run: Run) -> dict[str, Any]:
    """Judges a run: what a live test would know, the truth, and what the loop did."""
    trial = of_run(run)
    truth = true_means(run)
    results = judged(trial, {} if run.twin else truth, compare=not run.twin)
    twin_truth = _true_effects(truth, trial.control, trial.contenders) if truth else []
    items = run.items
    results |= {
        "true_verdicts": [
            true_verdict(row) for row in twin_truth if row["metric"] == trial.primary.name
        ],
        "true_effects": {"units": {"true_lift": "relative, all users"}, "rows": twin_truth},
        "rounds": _rounds(run, trial),
        "top_items": {
            "units": {"share": "share of the arm's impressions"},
            "rows": top_items(trial, items),
        },
        "users": run.parameters,
        "off_policy": shadow.of_run(
            run,
            results["arms"]["rows"],
            {a: value_of(t, METRICS["click_rate"]) for a, t in truth.items()},
        ),
        "read_out": {} if run.twin else _read_out(trial, truth),
        "deployed_days": _deployed(run, trial.days),
        "manifest": run.manifest,
    }
    results["lights"] = lights(results)
    results["remarks"] += of_simulation(results, trial.contenders)
    return results


def judged(trial: Trial, truth: dict[str, pd.DataFrame], compare: bool = True) -> dict[str, Any]:
    """All that an experiment's rows and its plan tell.

    Args:
        truth: arm -> per-user table of the world in which everybody got it; {} in a live test.
        compare: whether users were split between the arms.
    """
    table = trial.table()
    primary, control, contenders = trial.primary, trial.control, trial.contenders
    found_effects = (
        judge(table, control, contenders, primary.name, trial.margin, truth) if compare else []
    )
    found: dict[str, Any] = {
        "verdicts": [
            verdict(e, trial.simulated) for e in found_effects if e.metric == primary.name
        ],
        "true_verdicts": [],
        "confidence_level": LEVEL,
        "primary": primary.name,
        "control": control,
        "effects": {"units": EFFECT_UNITS, "rows": [asdict(effect) for effect in found_effects]},
        "true_effects": {"units": {}, "rows": []},
        "arms": {
            "units": (
                {m.name: m.unit for m in METRICS.values()}
                | {"clicks_per_page": "clicks per page", "users": "count"}
            ),
            "rows": [_arm(table, arm) for arm in trial.arms],
        },
        "warnings": trial.warnings,
        "remarks": [*trial.remarks, *_lacking(table)],
        "sample_ratio": None,
        "before_test": None,
        "pairs": [],
        "quantiles": [],
        "monitor": [],
        "over_time": [],
        "segments": {"rows": [], "tests": []},
        "sample_ratio_by_segment": [],
    }
    if not compare:
        return found
    sizes = {arm: int((trial.users["bucket"] == arm).sum()) for arm in trial.arms}
    found |= {
        "sample_ratio": asdict(sample_ratio(sizes, trial.weights)),
        "sample_ratio_by_segment": ratios(trial.users, trial.segments, trial.arms, trial.weights),
        "before_test": None if trial.before is None else _before(table, trial),
        "pairs": _pairs(table, trial),
        "quantiles": _quantiles(table, trial),
        "segments": by_segment(table, trial.segments, primary, control, contenders),
    }
    if not trial.simulated and "time" in trial.rows.has:
        found["sample_ratio_every_day"] = _ratio_every_day(trial)
    if primary.linear and primary.additive and "time" in trial.rows.has:
        found |= _by_day(table, trial)
        if trial.looked or trial.days < trial.planned:
            looks = {row["arm"]: row for row in found["monitor"]}
            found["verdicts"] = [
                looked_verdict(e, looks[e.arm], trial.days, trial.simulated)
                for e in found_effects
                if e.metric == primary.name
            ]
    elif trial.days < trial.planned:
        found["verdicts"] = [
            f"Day {trial.days} of {trial.planned}: {primary.label} cannot be looked at day by day;"
            " nothing is concluded before the end."
        ]
    return found


def _lacking(table: pd.DataFrame) -> list[str]:
    """Which metrics the log does not tell."""
    there = measurable(table.columns)
    lacking = [metric.label for metric in METRICS.values() if metric not in there]
    return [f"not in this log: {', '.join(lacking)}"] if lacking else []


def _ratio_every_day(trial: Trial) -> dict[str, Any]:
    """The sample ratio of those who have come so far, looked at every day; the first day on which
    it is off, None without.
    """
    first = trial.rows.query(
        "SELECT bucket, day, count(*) AS n FROM (SELECT bucket, user, floor(min(time) /"
        f" {DAY})::INTEGER AS day FROM {{rows}} GROUP BY bucket, user) GROUP BY bucket, day ORDER"
        " BY bucket, day"
    )
    counts = first.pivot_table(index="day", columns="bucket", values="n", fill_value=0.0).reindex(
        columns=trial.arms, fill_value=0.0
    )
    pvalues = sequential_sample_ratio(
        counts.to_numpy(float).cumsum(axis=0), [trial.weights[arm] for arm in trial.arms]
    )
    off = np.flatnonzero(pvalues < RATIO_LEVEL)
    return {
        "pvalue": float(pvalues[-1]),
        "day": int(counts.index[off[0]]) + 1 if len(off) else None,
    }


def _by_day(table: pd.DataFrame, trial: Trial) -> dict[str, Any]:
    """The primary metric looked at day by day, by days of the test and by days since a user's first
    impression.
    """
    names = list(dict.fromkeys([*trial.primary.columns, "impressions"]))
    totals = trial.rows.daily(names, table[["user", "bucket"]], trial.days)
    daily = Daily(table, {name: totals[name] for name in trial.primary.columns})
    exposed = since_exposure(daily, totals["impressions"])
    treated = [arm for arm in trial.contenders if arm != trial.control]
    looks, time = [], []
    for arm in treated:
        alpha = (1 - LEVEL) / len(treated)
        looks.append(
            {
                "arm": arm,
                **monitor(
                    daily, trial.primary, trial.control, arm, trial.monitor, trial.planned, alpha
                ),
            }
        )
        time.append(
            {
                "arm": arm,
                "by_day": effects(daily, trial.primary, trial.control, arm),
                "since_exposure": effects(exposed, trial.primary, trial.control, arm),
            }
        )
    return {"monitor": looks, "over_time": time}


def _pairs(table: pd.DataFrame, trial: Trial) -> list[dict[str, Any]]:
    """All pairs of arms on the primary metric, Holm over pairs; nothing where there are only two
    arms.
    """
    if len(trial.arms) < 3:
        return []
    rows: list[dict[str, Any]] = [
        {"arm": b, "against": a, **_short(compare_named(table, trial.primary, a, b))}
        for a, b in combinations(reversed(trial.arms), 2)
    ]
    for row, p in zip(rows, holm([row["pvalue"] for row in rows]), strict=True):
        row["pvalue_adjusted"] = float(p)
    return rows


def _short(found: dict[str, float]) -> dict[str, float]:
    return {key: found[key] for key in ("lift", "low", "high", "pvalue")}


def _quantiles(table: pd.DataFrame, trial: Trial) -> list[dict[str, Any]]:
    """Median and tails of the users' totals of the primary metric, by bootstrap over users."""
    if trial.primary.denominator is not None or not trial.primary.linear:
        return []
    values = {
        arm: table.loc[table["bucket"] == arm, trial.primary.column].to_numpy(float)
        for arm in trial.arms
    }
    rows = []
    for arm in trial.contenders:
        if arm == trial.control or min(len(values[arm]), len(values[trial.control])) < 2:
            continue
        for q in QUANTILES:
            found = quantile_difference(values[trial.control], values[arm], q, level=LEVEL)
            rows.append({"arm": arm, "quantile": q, **asdict(found)})
    return rows


def _arm(table: pd.DataFrame, arm: str) -> dict[str, Any]:
    rows = table[table["bucket"] == arm]
    found: dict[str, Any] = {"arm": arm, "users": len(rows)}
    if {"pages", "clicks"} <= set(table.columns):
        pages = float(rows["pages"].sum())
        found["clicks_per_page"] = float(rows["clicks"].sum()) / pages if pages else float("nan")
    return found | {metric.name: value_of(rows, metric) for metric in measurable(table.columns)}


def _true_effects(
    truth: dict[str, pd.DataFrame], control: str, contenders: list[str]
) -> list[dict[str, Any]]:
    """The true lift of every contender on every metric."""
    rows = []
    for arm in contenders:
        if arm == control or arm not in truth or control not in truth:
            continue
        for metric in measurable(truth[control].columns):
            base, other = value_of(truth[control], metric), value_of(truth[arm], metric)
            rows.append(
                {
                    "arm": arm,
                    "control": control,
                    "metric": metric.name,
                    "unit": metric.unit,
                    "control_mean": base,
                    "treatment_mean": other,
                    "true_lift": other / base - 1 if base else float("nan"),
                    "users": len(truth[arm]),
                }
            )
    return rows


def _before(table: pd.DataFrame, trial: Trial) -> dict[str, Any]:
    """An A/A check that costs nothing: the buckets compared on the time before the test, in which
    all got the same.
    """
    names = [name for name in table.columns if f"{name}_pre" in table]
    past = table[["user", "bucket"]].assign(**{name: table[f"{name}_pre"] for name in names})
    found = judge(past, trial.control, trial.contenders, trial.primary.name, trial.margin, {})
    return {
        "rows": [
            {
                "arm": e.arm,
                "lift": e.lift,
                "low": e.low,
                "high": e.high,
                "pvalue": e.pvalue_adjusted,
            }
            for e in found
            if e.metric == trial.primary.name
        ]
    }


def _read_out(trial: Trial, truth: dict[str, pd.DataFrame]) -> dict[str, float]:
    """Arm -> lift of the primary metric that these buckets would show if their users lived in the
    global worlds.

    What it has over the true effect is the chance of who is in which bucket; what the test's
    estimate has over it comes of what the arms learned from.
    """
    if not {trial.control, *trial.contenders} <= set(truth):
        return {}
    parts = [
        trial.users[trial.users["bucket"] == arm][["user", "bucket"]].merge(truth[arm], on="user")
        for arm in trial.contenders
    ]
    table = pd.concat(parts, ignore_index=True)
    if trial.before is not None:
        table = with_covariates(table, trial.before.per_user(("user",)))
    return {
        arm: compare_named(table, trial.primary, trial.control, arm)["lift"]
        for arm in trial.contenders
        if arm != trial.control
    }


def _deployed(run: Run, days: int) -> list[float]:
    """The days on which retrained models went live."""
    settings = run.settings
    if settings["learn_from"] == "none":
        return []
    length, delay = settings["days"] / settings["rounds"], settings["training_delay_hours"] / 24
    return [day for k in range(1, settings["rounds"]) if (day := k * length + delay) < days]


def _rounds(run: Run, trial: Trial) -> dict[str, Any]:
    """What the loop did by round, and the primary lift of each round."""
    users = trial.rows.per_user(("bucket", "round", "user"))
    loop = by_round(exposure(trial.rows), pair_counts(trial.rows), users, run.items)
    before = None if trial.before is None else trial.before.per_user(("user",))
    lifts = []
    for number, rows in users.groupby("round"):
        if run.twin or number < 0:
            continue
        table = everyone(trial.users[["user", "bucket"]], rows.drop(columns="round"))
        full = with_covariates(table, before) if before is not None else table
        for arm in trial.contenders:
            if arm != trial.control:
                found = compare_named(full, trial.primary, trial.control, arm)
                lifts.append(
                    {
                        "arm": arm,
                        "round": int(number),
                        **{key: found[key] for key in ("lift", "low", "high")},
                    }
                )
    return {
        "units": {**ROUND_UNITS, "lift": "relative, 95 % interval"},
        "loop": loop,
        "lifts": lifts,
    }


def top_items(trial: Trial, items: pd.DataFrame, most: int = 5) -> list[dict[str, Any]]:
    """The items that each arm showed most, by the log's own ids."""
    counts = (
        exposure(trial.rows).groupby(["bucket", "item"], as_index=False)[["shown", "clicked"]].sum()
    )
    names = items.set_index("item")["item_id"]
    rows = []
    for arm in trial.arms:
        own = counts[counts["bucket"] == arm]
        total = own["shown"].sum()
        for _, row in (
            own.sort_values(["shown", "item"], ascending=[False, True]).head(most).iterrows()
        ):
            rows.append(
                {
                    "arm": arm,
                    "item_id": str(names[row["item"]]),
                    "share": float(row["shown"] / total),
                    "click_rate": float(row["clicked"] / row["shown"]),
                }
            )
    return rows
