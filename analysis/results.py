"""Everything that the report says, as one dictionary with units; `results.json` is this and nothing else."""

from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from analysis.inference import LEVEL, Effect, judge, value_of
from analysis.load import (
    MEASURES,
    Run,
    before_test,
    everyone,
    exposure,
    pair_counts,
    per_user,
    true_means,
    with_covariates,
)
from analysis.loops import ROUND_UNITS, by_round
from analysis.metrics import METRICS, find
from analysis.multiplicity import sample_ratio

EFFECT_UNITS = {
    "control_mean": "the metric's unit", "treatment_mean": "the metric's unit",
    "lift": "relative (.02 = 2 %)", "low": "relative, 95 % interval", "high": "relative, 95 % interval",
    "pvalue": "probability, two-sided", "pvalue_adjusted": "probability, two-sided",
    "detectable": "relative effect found with probability .80", "variance_saved": "share of the variance",
    "true_lift": "relative, all users", "margin": "relative", "n_control": "users", "n_treatment": "users",
}  # fmt: skip


def compute(run: Run) -> dict[str, Any]:
    """Judges a run."""
    folder = run.path / "impressions"
    counts = per_user(folder)
    table = everyone(run, counts)
    pre = before_test(folder) if (folder / "bucket=warmup").exists() else None
    full = with_covariates(table, pre) if pre is not None and not run.twin else table
    control, contenders = run.manifest["control"], list(run.manifest["contenders"])
    primary = find(run.settings["primary"]).name
    truth = true_means(run)
    effects = [] if run.twin else judge(full, control, contenders, primary, run.settings["margin"], truth)
    twin_truth = _true_effects(truth, control, contenders) if truth else []
    ratio = _ratio(run)
    before = None if run.twin or pre is None else _before(full, control, contenders, primary, run.settings["margin"])
    results = {
        "verdicts": [] if run.twin else [verdict(e) for e in effects if e.metric == primary],
        "true_verdicts": [true_verdict(row) for row in twin_truth if row["metric"] == primary],
        "confidence_level": LEVEL,
        "effects": {"units": EFFECT_UNITS, "rows": [asdict(effect) for effect in effects]},
        "true_effects": {"units": {"true_lift": "relative, all users"}, "rows": twin_truth},
        "arms": {"units": {m.name: m.unit for m in METRICS.values()} | {"clicks_per_page": "clicks per page", "users": "count"},
                 "rows": [_arm(table, arm) for arm in run.arms]},
        "sample_ratio": ratio,
        "before_test": before,
        "rounds": _rounds(run, control, contenders, primary, pre),
        "top_items": {"units": {"share": "share of the arm's impressions"}, "rows": _top_items(run)},
        "users": run.parameters,
        "manifest": run.manifest,
    }  # fmt: skip
    results["lights"] = lights(results)
    return results


def _arm(table: pd.DataFrame, arm: str) -> dict[str, Any]:
    rows = table[table["bucket"] == arm]
    pages = float(rows["pages"].sum())
    means = {metric.name: value_of(rows, metric) for metric in METRICS.values()}
    return {
        "arm": arm,
        "users": len(rows),
        "clicks_per_page": float(rows["clicks"].sum()) / pages if pages else float("nan"),
        **means,
    }


def _true_effects(truth: dict[str, pd.DataFrame], control: str, contenders: list[str]) -> list[dict[str, Any]]:
    """The true lift of every contender on every metric."""
    rows = []
    for arm in contenders:
        if arm == control or arm not in truth or control not in truth:
            continue
        for metric in METRICS.values():
            base, other = value_of(truth[control], metric), value_of(truth[arm], metric)
            rows.append(
                {"arm": arm, "control": control, "metric": metric.name, "unit": metric.unit, "control_mean": base,
                 "treatment_mean": other, "true_lift": other / base - 1 if base else float("nan"), "users": len(truth[arm])}
            )  # fmt: skip
    return rows


def _ratio(run: Run) -> dict[str, Any] | None:
    if run.twin:
        return None
    sizes = run.users["bucket"].value_counts()
    weights = run.manifest.get("weights") or dict.fromkeys(run.arms, 1.0)
    return asdict(sample_ratio({arm: int(sizes.get(arm, 0)) for arm in run.arms}, weights))


def _before(full: pd.DataFrame, control: str, contenders: list[str], primary: str, margin: float) -> dict[str, Any]:
    """An A/A check that costs nothing: the buckets compared on the warm-up, in which all got the same policy."""
    past = full[["user", "bucket"]].copy()
    for name in MEASURES:
        past[name] = full[f"{name}_pre"]
    found = [e for e in judge(past, control, contenders, primary, margin, {}) if e.metric == primary]
    return {
        "rows": [
            {"arm": e.arm, "lift": e.lift, "low": e.low, "high": e.high, "pvalue": e.pvalue_adjusted} for e in found
        ]
    }


def _rounds(run: Run, control: str, contenders: list[str], primary: str, pre: pd.DataFrame | None) -> dict[str, Any]:
    folder = run.path / "impressions"
    users = per_user(folder, by_round=True)
    loop = by_round(exposure(folder), pair_counts(folder), users, run.items)
    lifts = []
    for number, rows in users.groupby("round"):
        if run.twin or number < 0:
            continue
        table = everyone(run, rows.drop(columns="round"))
        full = with_covariates(table, pre) if pre is not None else table
        for effect in judge(full, control, contenders, primary, run.settings["margin"], {}):
            if effect.metric == primary:
                lifts.append(
                    {
                        "arm": effect.arm,
                        "round": int(number),
                        "lift": effect.lift,
                        "low": effect.low,
                        "high": effect.high,
                    }
                )
    return {"units": {**ROUND_UNITS, "lift": "relative, 95 % interval"}, "loop": loop, "lifts": lifts}


def _top_items(run: Run, most: int = 5) -> list[dict[str, Any]]:
    """The items that each arm showed most, by the log's own ids."""
    counts = exposure(run.path / "impressions").groupby(["bucket", "item"], as_index=False)[["shown", "clicked"]].sum()
    names = run.items.set_index("item")["item_id"]
    rows = []
    for arm in run.arms:
        own = counts[counts["bucket"] == arm]
        total = own["shown"].sum()
        for _, row in own.sort_values(["shown", "item"], ascending=[False, True]).head(most).iterrows():
            rows.append(
                {
                    "arm": arm,
                    "item_id": str(names[row["item"]]),
                    "share": float(row["shown"] / total),
                    "click_rate": float(row["clicked"] / row["shown"]),
                }
            )
    return rows


# -- words ------------------------------------------------------------------------------------------------------------


def percent(x: float | None, digits: int = 2) -> str:
    """A relative number as per cent with at most three significant digits."""
    if x is None or not np.isfinite(x):
        return "–"
    shown = abs(100 * x)
    places = 0 if shown >= 100 else 1 if shown >= 10 else digits
    return f"{100 * x:.{places}f} %"


def verdict(e: Effect) -> str:
    """One sentence about one contender on the primary metric."""
    label = METRICS[e.metric].label
    what = f"{label} per user" if METRICS[e.metric].denominator is None else label
    truth = f"; the true effect is {percent(e.true_lift)}" if e.true_lift is not None else ""
    if not np.isfinite(e.lift):
        return f"{e.arm} against {e.control}: nothing to compare on {what}."
    holm = f", Holm-adjusted p = {e.pvalue_adjusted:.2g}"
    interval = f"95 % interval {percent(e.low)} to {percent(e.high)}"
    if e.pvalue_adjusted < 1 - LEVEL:
        word = "beats" if e.lift > 0 else "loses to"
        return (
            f"In this world and training run {e.arm} {word} {e.control} on {what} by {percent(abs(e.lift))} "
            f"({_absolute_interval(e)}{holm}){truth}."
        )
    return (
        f"No difference found between {e.arm} and {e.control} on {what}: {percent(e.lift)} ({interval}{holm}); "
        f"the test could have seen {percent(e.detectable)} or more{truth}."
    )


def _absolute_interval(e: Effect) -> str:
    low, high = (e.low, e.high) if e.lift > 0 else (-e.high, -e.low)
    return f"95 % interval {percent(low)} to {percent(high)}"


def true_verdict(row: dict[str, Any]) -> str:
    """One sentence about the twin worlds."""
    return (
        f"True effect of {row['arm']} against {row['control']} on {METRICS[row['metric']].label}: {percent(row['true_lift'])} "
        f"(every one of {row['users']} users in both worlds)."
    )


def lights(results: dict[str, Any]) -> list[dict[str, str]]:
    """Three lights with words: sample ratio, A/A on the warm-up, fidelity of the users."""
    found = []
    ratio = results["sample_ratio"]
    if ratio is not None and np.isfinite(ratio["pvalue"]):
        bad = ratio["pvalue"] < 0.001
        text = f"p = {ratio['pvalue']:.2g}: bucket sizes are {'not ' if bad else ''}what the weights say"
        found.append({"name": "Sample ratio", "colour": "red" if bad else "green", "text": text})
    before = results["before_test"]
    if before is not None and before["rows"]:
        least = min(row["pvalue"] for row in before["rows"])
        colour = "amber" if least < 0.05 else "green"
        text = f"p = {least:.2g}: before the test, under one policy, the buckets {'differed' if least < 0.05 else 'did not differ'}"
        found.append({"name": "A/A on the warm-up", "colour": colour, "text": text})
    numbers = results["users"].get("numbers", {})
    if numbers:
        assumed = sorted(name for name, number in numbers.items() if number["status"] == "assumed")
        returns = any(name.startswith("gap_") for name in assumed)
        text = f"{len(numbers) - len(assumed)} of {len(numbers)} numbers estimated; "
        text += "session length and return times assumed" if returns else "sessions and return times estimated"
        text += "; not held against held-out days here: python -m simulator.validate does that"
        found.append({"name": "Fidelity of the users", "colour": "amber", "text": text})
    return found
