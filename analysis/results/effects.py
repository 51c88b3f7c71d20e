"""The judgement: every contender against the control on every metric, corrected, with the truth
beside it.
"""

from dataclasses import dataclass

import pandas as pd

from analysis.metrics import METRICS, Metric, measurable
from analysis.statistics.comparison import compare_named, value_of
from analysis.statistics.multiplicity import benjamini_hochberg, holm


@dataclass(frozen=True)
class Effect:
    """One contender against the control on one metric. Lifts are relative: .02 is 2 %.

    Attributes:
        lift, low, high: estimate and 95 % interval (delta method, CUPED where there is a warm-up).
        detectable: the relative effect that this test would have found with probability .80.
        variance_saved: share of the variance that CUPED took away.
        chance_to_win: that the true effect is on the better side of 0, under a flat prior: the
            one-sided p-value said again.
        true_lift: in the worlds in which everybody gets one arm; None where there are none.
        margin, not_worse: of guardrails: whether the 95 % interval lies above -margin, or below it
            where fewer are better.
    """

    arm: str
    control: str
    metric: str
    unit: str
    role: str
    n_control: int
    n_treatment: int
    control_mean: float
    treatment_mean: float
    lift: float
    low: float
    high: float
    pvalue: float
    pvalue_adjusted: float
    correction: str
    detectable: float
    variance_saved: float
    chance_to_win: float
    true_lift: float | None
    margin: float | None
    not_worse: bool | None


def judge(
    table: pd.DataFrame,
    control: str,
    contenders: list[str],
    primary: str,
    margin: float,
    truth: dict[str, pd.DataFrame],
) -> list[Effect]:
    """Every contender against the control on every metric.

    The primary metric is corrected over arms by Holm, all others over metrics and arms by
    Benjamini-Hochberg.
    """
    sizes = table["bucket"].value_counts()
    found: list[dict] = []
    for arm in contenders:
        if arm == control:
            continue
        for metric in measurable(table.columns):
            result = compare_named(table, metric, control, arm)
            found.append(
                {
                    "arm": arm,
                    "control": control,
                    "metric": metric.name,
                    "unit": metric.unit,
                    "role": "primary" if metric.name == primary else metric.role,
                    "n_control": int(sizes.get(control, 0)),
                    "n_treatment": int(sizes.get(arm, 0)),
                    **result,
                    "chance_to_win": _chance(result, metric),
                    "true_lift": true_lift(truth, metric, control, arm),
                }
            )
    for chosen, correction, method in (
        (True, "Holm", holm),
        (False, "Benjamini-Hochberg", benjamini_hochberg),
    ):
        rows = [row for row in found if (row["metric"] == primary) == chosen]
        for row, value in zip(rows, method([row["pvalue"] for row in rows]), strict=True):
            row |= {"pvalue_adjusted": float(value), "correction": correction}
    for row in found:
        metric = METRICS[row["metric"]]
        guardrail = metric.role == "guardrail"
        row["margin"] = margin if guardrail else None
        inside = row["low"] > -margin if metric.higher_is_better else row["high"] < margin
        row["not_worse"] = bool(inside) if guardrail else None
    return [Effect(**row) for row in found]


def _chance(found: dict[str, float], metric: Metric) -> float:
    larger = 1 - found["pvalue"] / 2
    return larger if (found["lift"] > 0) == metric.higher_is_better else 1 - larger


def true_lift(
    truth: dict[str, pd.DataFrame], metric: Metric, control: str, arm: str
) -> float | None:
    """The lift between the two worlds in which everybody gets one arm."""
    if control not in truth or arm not in truth:
        return None
    base = value_of(truth[control], metric)
    return value_of(truth[arm], metric) / base - 1 if base else None
