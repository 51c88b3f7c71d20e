"""How good is our own judgement: false positives, power and coverage on simulated users."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from scipy.stats import binom, norm
from statsmodels.stats.proportion import proportion_confint

from analysis.data.ab_test import of_run
from analysis.data.run import Run, open_run, rows_before
from analysis.errors import AnalysisError
from analysis.metrics import Metric
from analysis.studies.resplit import Outcomes, Verdicts, by_session, verdicts

BAND = 0.999
WARNINGS = ("every_day", "session")  # shown as what not to do
AT_MOST = ("cs",)  # its error rate is bounded, not nominal


@dataclass(frozen=True)
class Rate:
    """A share with its 95 % interval (Wilson), and whether it lies in the band of chance around
    what it should be; None where nothing is asked of it.
    """

    method: str
    count: int
    n: int
    rate: float
    low: float
    high: float
    band: tuple[float, float] | None = None
    inside: bool | None = None

    @staticmethod
    def of(count: int, n: int, method: str, cells: int, nominal: float | None) -> "Rate":
        """Of `count` in `n`.

        Args:
            cells: of the study, for Bonferroni. nominal: what the rate should be.
        """
        low, high = proportion_confint(count, n, method="wilson")
        about = (method, int(count), n, count / n, float(low), float(high))
        if nominal is None or method in WARNINGS:
            return Rate(*about)
        ends = binom.interval(1 - (1 - BAND) / cells, n, nominal)
        band = (0.0 if method in AT_MOST else float(ends[0] / n), float(ends[1] / n))
        return Rate(*about, band, bool(band[0] <= count / n <= band[1]))


@dataclass(frozen=True)
class RejectionRate:
    """How often a method rejects without an effect."""

    metric: str
    rate: Rate


@dataclass(frozen=True)
class DetectionRate:
    """How often a method finds the effect, and on which day on average."""

    metric: str
    rate: Rate
    true_lift: float
    mean_day: float


@dataclass(frozen=True)
class CoverageRate:
    """How often the interval covers the population's effect, and that of these very users.

    Attributes:
        rho: correlation of a user's two outcomes, from which follows what is `expected` of these
            users' coverage.
    """

    metric: str
    rate: Rate
    true_lift: float
    of_these_users: Rate
    rho: float
    expected_of_these_users: float
    mean_lift: float


@dataclass(frozen=True)
class CupedCheck:
    """What CUPED saves, and whether its lift is unbiased over the salts."""

    metric: str
    saved: float
    true_lift: float
    mean_lift: float
    error: float
    bias_in_errors: float
    variance_ratio: float


@dataclass(frozen=True)
class FalsePositives:
    """One frozen policy's users split again and again."""

    salts: int
    users: int
    days: int
    alpha: float
    cells: int
    rows: list[RejectionRate]
    cuped: list[CupedCheck]
    study: ClassVar[str] = "aa"


@dataclass(frozen=True)
class Power:
    """A twin run of two frozen arms split again and again."""

    salts: int
    users: int
    days: int
    alpha: float
    arm: str
    control: str
    rows: list[DetectionRate]
    cuped: list[CupedCheck]
    study: ClassVar[str] = "power"


@dataclass(frozen=True)
class Coverage:
    """Fresh users in each replicate, and a truth from others."""

    replicates: int
    users: int
    truth_users: int
    days: int
    alpha: float
    arm: str
    control: str
    cells: int
    rows: list[CoverageRate]
    study: ClassVar[str] = "coverage"


def as_json(study: Any) -> dict[str, Any]:
    """A study as plain dictionaries, what a rate holds beside the rest of its row."""
    rows = [asdict(row) for row in study.rows]
    flat = [
        {**row, **row.pop("rate")} if isinstance(row.get("rate"), dict) else row for row in rows
    ]
    return {"study": study.study, **asdict(study), "rows": flat}


def outcomes_of(run: Run, names: list[str], arms: tuple[str, str]) -> tuple[Outcomes, pd.DataFrame]:
    """The days of every user under two arms of a twin run, or under one arm twice; and who they
    are.
    """
    test = of_run(run)
    known = set(test.rows.totals)
    names = [name for name in names if name in known]
    users = {arm: test.users[test.users["bucket"] == arm].reset_index(drop=True) for arm in arms}
    daily = {
        arm: test.rows.daily(names, users[arm][["user", "bucket"]], test.days) for arm in set(arms)
    }
    earlier = rows_before(run)
    people = users[arms[0]][["user"]]
    before, came = {}, np.zeros(len(people))
    if earlier is not None:
        past = earlier.per_user(("user",)).set_index("user").reindex(people["user"])
        came = past["impressions"].notna().to_numpy().astype(float)
        before = {name: past[name].fillna(0.0).to_numpy(float) for name in names}
    return Outcomes(daily[arms[0]], daily[arms[1]], before, came), people


def _metrics(run: Run) -> tuple[list[Metric], list[str]]:
    test = of_run(run)
    linear = [m for m in run.metrics.measurable(test.rows.totals) if m.linear]
    return linear, list(dict.fromkeys(name for metric in linear for name in metric.columns))


def _two_arms(run: Run) -> tuple[str, str]:
    control = str(run.manifest["control"])
    return control, next(arm for arm in run.manifest["contenders"] if arm != control)


def _frozen(run: Run) -> None:
    if run.settings["learn_from"] != "none":
        raise AnalysisError(
            "one log under many salts is valid for frozen policies alone: outcomes must not depend"
            " on the split"
        )


def false_positives(path: str | Path, assigned: np.ndarray, alpha: float = 0.05) -> FalsePositives:
    """Of every method and metric.

    Args:
        assigned: (salts, users) 0 or 1.
    """
    run = open_run(path)
    _frozen(run)
    metrics, names = _metrics(run)
    arm = run.arms[0]
    outcomes, _ = outcomes_of(run, names, (arm, arm))
    judged = {metric.name: verdicts(outcomes, metric, assigned, alpha) for metric in metrics}
    methods = list(next(iter(judged.values())).rejected)
    cells = len(metrics) * len([method for method in methods if method not in WARNINGS])
    n = len(assigned)
    rows = [
        RejectionRate(name, Rate.of(int(v.rejected[method].sum()), n, method, cells, alpha))
        for name, v in judged.items()
        for method in methods
    ]
    wrong = int((_session_pvalues(run, assigned) < alpha).sum())
    by_sessions = Rate.of(wrong, n, "session", cells, alpha)
    rows.append(RejectionRate("clicks per session", by_sessions))
    cuped = [_cuped(name, v, 0.0) for name, v in judged.items()]
    return FalsePositives(n, outcomes.users, outcomes.days, alpha, cells, rows, cuped)


def _session_pvalues(run: Run, assigned: np.ndarray) -> np.ndarray:
    """(salts,) of the mistake of taking sessions as independent."""
    test = of_run(run)
    sessions = test.rows.query(
        "SELECT user, count(*) AS n, sum(c) AS c, sum(c * c) AS s FROM (SELECT user, session,"
        " count(*) FILTER (clicked) AS c FROM {rows} GROUP BY user, session) GROUP BY user ORDER BY"
        " user"
    )
    table = sessions.set_index("user").reindex(test.users["user"].to_numpy()).fillna(0.0)
    n, clicks, squares = (table[name].to_numpy(float) for name in ("n", "c", "s"))
    return by_session(n, clicks, squares, assigned)


def _cuped(name: str, v: Verdicts, truth: float) -> CupedCheck:
    lift, plain = v.lift["cuped"], v.lift["fixed"]
    error = float(lift.std(ddof=1) / np.sqrt(len(lift)))
    return CupedCheck(
        metric=name,
        saved=float(v.saved.mean()),
        true_lift=truth,
        mean_lift=float(lift.mean()),
        error=error,
        bias_in_errors=float((lift.mean() - truth) / error) if error > 0 else float("nan"),
        variance_ratio=float(lift.var() / plain.var()) if plain.var() > 0 else float("nan"),
    )


def power(path: str | Path, assigned: np.ndarray, alpha: float = 0.05) -> Power:
    """How often the true effect between two frozen arms is found, and when."""
    run = open_run(path)
    _frozen(run)
    metrics, names = _metrics(run)
    control, arm = _two_arms(run)
    outcomes, _ = outcomes_of(run, names, (control, arm))
    n, rows, cuped = len(assigned), [], []
    for metric in metrics:
        v = verdicts(outcomes, metric, assigned, alpha)
        truth = _lift(outcomes, metric, np.ones(outcomes.users, bool))
        cuped.append(_cuped(metric.name, v, truth))
        for method, rejected in v.rejected.items():
            rate = Rate.of(int(rejected.sum()), n, method, 1, None)
            rows.append(DetectionRate(metric.name, rate, truth, float(v.day[method].mean())))
    return Power(n, outcomes.users, outcomes.days, alpha, arm, control, rows, cuped)


def _lift(outcomes: Outcomes, metric: Metric, users: np.ndarray) -> float:
    """The true lift of these users: all of them in both worlds."""
    values = []
    for totals in (outcomes.control, outcomes.treatment):
        top, *bottom = (float(totals[name][users].sum(dtype=float)) for name in metric.columns)
        values.append(top / bottom[0] if bottom else top)
    return values[1] / values[0] - 1 if values[0] else float("nan")


def coverage(
    path: str | Path, assigned: np.ndarray, truth_users: np.ndarray, alpha: float = 0.05
) -> Coverage:
    """How often the interval covers: the effect in the population, and that on the very users of
    the test.

    Args:
        assigned: (replicates, users) 0, 1 or -1: fresh users in each replicate. truth_users:
            (users,) bool, of no replicate.
    """
    run = open_run(path)
    _frozen(run)
    metrics, names = _metrics(run)
    control, arm = _two_arms(run)
    outcomes, _ = outcomes_of(run, names, (control, arm))
    n, cells, rows = len(assigned), 2 * len(metrics), []
    for metric in metrics:
        v = verdicts(outcomes, metric, assigned, alpha)
        truth = _lift(outcomes, metric, truth_users)
        own = np.array([_lift(outcomes, metric, row >= 0) for row in assigned])
        for method in ("fixed", "cuped"):
            low, high = v.low[method], v.high[method]
            inside, twins = ((low <= x) & (x <= high) for x in (truth, own))
            rho = _rho(outcomes, metric, assigned[0] >= -1, method == "cuped")
            expected = 2 * norm.cdf(norm.isf(alpha / 2) / np.sqrt((1 + rho) / 2)) - 1
            rows.append(
                CoverageRate(
                    metric=metric.name,
                    rate=Rate.of(int(inside.sum()), n, method, cells, 1 - alpha),
                    true_lift=truth,
                    of_these_users=Rate.of(int(twins.sum()), n, method, 1, None),
                    rho=rho,
                    expected_of_these_users=float(expected),
                    mean_lift=float(v.lift[method].mean()),
                )
            )
    users = int((assigned[0] >= 0).sum()), int(truth_users.sum())
    return Coverage(n, *users, outcomes.days, alpha, arm, control, cells, rows)


def _rho(outcomes: Outcomes, metric: Metric, users: np.ndarray, adjusted: bool) -> float:
    """Correlation of a user's two outcomes (linearised, and with CUPED what the past does not
    tell).
    """
    parts = []
    for totals in (outcomes.control, outcomes.treatment):
        columns = [totals[name][users].sum(axis=1, dtype=float) for name in metric.columns]
        x = (
            columns[0]
            if len(columns) == 1
            else columns[0] - columns[0].sum() / columns[1].sum() * columns[1]
        )
        x = x - x.mean()
        if adjusted and outcomes.before:
            past = np.column_stack(
                [*(outcomes.before[name][users] for name in metric.columns), outcomes.came[users]]
            )
            past = past - past.mean(axis=0)
            x = x - past @ np.linalg.lstsq(past, x, rcond=None)[0]
        parts.append(x)
    return float(np.corrcoef(parts)[0, 1])
