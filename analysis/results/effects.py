"""The judgement: every contender against the control on every metric, corrected, with the truth
beside it.
"""

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import pandas as pd

from analysis.metrics import METRICS, Metric, Metrics
from analysis.statistics.comparison import DETECTABLE, Comparison, compare, value_of
from analysis.statistics.multiplicity import benjamini_hochberg, holm


@dataclass(frozen=True)
class Effect:
    """One contender against the control on one metric. Lifts are relative: .02 is 2 %.

    Attributes:
        lift, low, high: estimate and 95 % interval (Fieller, CUPED where there is a warm-up): it
            leaves out 0 where the p-value is below .05. NaN where the control's mean is 0 or below.
        difference, difference_low, difference_high: the same in the metric's unit.
        error: standard error of the lift (delta method).
        detectable: the relative effect that this test would have found with probability .80.
        detectable_difference: the same in the metric's unit.
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
    label: str
    unit: str
    higher_is_better: bool
    role: str
    n_control: int
    n_treatment: int
    control_mean: float
    treatment_mean: float
    lift: float
    low: float
    high: float
    difference: float
    difference_low: float
    difference_high: float
    error: float
    pvalue: float
    pvalue_adjusted: float
    correction: str
    detectable: float
    detectable_difference: float
    variance_saved: float
    chance_to_win: float
    true_lift: float | None
    margin: float | None
    not_worse: bool | None

    @property
    def known(self) -> bool:
        """Whether there is a lift at all."""
        return bool(np.isfinite(self.lift))

    @property
    def compared(self) -> bool:
        """Whether there is a difference with its interval, if no lift."""
        return bool(np.isfinite(self.difference) and np.isfinite(self.pvalue))

    def users_for(self, effect: float) -> float:
        """Users in both arms that would let a test like this one see a lift of `effect` with
        probability .80; NaN where there is no error to go by.
        """
        needed = effect / DETECTABLE
        if not (self.error > 0 and needed > 0 and np.isfinite(self.error)):
            return float("nan")
        return float((self.n_control + self.n_treatment) * (self.error / needed) ** 2)


def judge(
    table: pd.DataFrame,
    control: str,
    contenders: list[str],
    primary: str,
    margin: float,
    truth: dict[str, pd.DataFrame],
    metrics: Metrics = METRICS,
) -> list[Effect]:
    """Every contender against the control on every metric.

    The primary metric is corrected over arms by Holm, all others over metrics and arms by
    Benjamini-Hochberg.
    """
    pairs = [
        (arm, metric, compare(table, metric, control, arm))
        for arm in contenders
        if arm != control
        for metric in metrics.measurable(table.columns)
    ]
    adjusted: dict[tuple[str, str], tuple[float, str]] = {}
    for chosen, name, method in (
        (True, "Holm", holm),
        (False, "Benjamini-Hochberg", benjamini_hochberg),
    ):
        cells = [cell for cell in pairs if (cell[1].name == primary) == chosen]
        corrected = method([comparison.pvalue for _, _, comparison in cells])
        for (arm, metric, _), value in zip(cells, corrected, strict=True):
            adjusted[arm, metric.name] = float(value), name
    sizes = table["bucket"].value_counts()
    effects = []
    for arm, metric, comparison in pairs:
        value, name = adjusted[arm, metric.name]
        effects.append(
            Effect(
                arm=arm,
                control=control,
                metric=metric.name,
                label=metric.label,
                unit=metric.unit,
                higher_is_better=metric.higher_is_better,
                role="primary" if metric.name == primary else metric.role,
                n_control=int(sizes.get(control, 0)),
                n_treatment=int(sizes.get(arm, 0)),
                pvalue_adjusted=value,
                correction=name,
                chance_to_win=_chance(comparison, metric),
                true_lift=true_lift(truth, metric, control, arm),
                **_guarded(comparison, metric, margin),
                **_figures(comparison),
            )
        )
    return effects


def _figures(comparison: Comparison) -> dict[str, Any]:
    """Of a comparison, what an effect says too."""
    return {
        f.name: getattr(comparison, f.name) for f in fields(comparison) if f.name != "log_error"
    }


def _guarded(comparison: Comparison, metric: Metric, margin: float) -> dict[str, Any]:
    """Of a guardrail: its margin, and whether the interval lies on its good side."""
    if metric.role != "guardrail":
        return {"margin": None, "not_worse": None}
    if not np.isfinite(comparison.lift):
        return {"margin": margin, "not_worse": None}
    inside = comparison.low > -margin if metric.higher_is_better else comparison.high < margin
    return {"margin": margin, "not_worse": bool(inside)}


def _chance(comparison: Comparison, metric: Metric) -> float:
    larger = 1 - comparison.pvalue / 2
    return larger if (comparison.difference > 0) == metric.higher_is_better else 1 - larger


def true_lift(
    truth: dict[str, pd.DataFrame], metric: Metric, control: str, arm: str
) -> float | None:
    """The lift between the two worlds in which everybody gets one arm."""
    if control not in truth or arm not in truth:
        return None
    base = value_of(truth[control], metric)
    return value_of(truth[arm], metric) / base - 1 if base else None
