"""How good is our own judgement: false positives, power and coverage on simulated users, and claims
over whole worlds.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import binom, norm, t
from statsmodels.stats.proportion import proportion_confint

from analysis.data.ab_test import of_run
from analysis.data.run import Run, open_run, rows_before
from analysis.errors import AnalysisError
from analysis.metrics import Metric, measurable
from analysis.studies.resplit import Outcomes, Verdicts, by_session, verdicts

BAND = 0.999
NAMES = {
    "fixed": "at the end",
    "cuped": "at the end, CUPED",
    "obrien_fleming": "every day, O'Brien-Fleming spending",
    "pocock": "every day, Pocock spending",
    "cs": "every day, confidence sequence",
    "every_day": "every day, uncorrected",
    "session": "sessions taken as independent",
}
WARNINGS = ("every_day", "session")  # shown as what not to do
AT_MOST = ("cs",)  # its error rate is bounded, not nominal


def rate(count: int, n: int, method: str, cells: int, nominal: float | None) -> dict[str, Any]:
    """A share with its 95 % interval (Wilson), and whether it lies in the band of chance around
    what it should be.
    """
    low, high = proportion_confint(count, n, method="wilson")
    found: dict[str, Any] = {
        "method": method,
        "count": int(count),
        "n": n,
        "rate": count / n,
        "low": float(low),
        "high": float(high),
    }
    if nominal is None or method in WARNINGS:
        return found | {"band": None, "inside": None}
    band = binom.interval(1 - (1 - BAND) / cells, n, nominal)
    least = 0.0 if method in AT_MOST else band[0] / n
    return found | {"band": [least, band[1] / n], "inside": bool(least <= count / n <= band[1] / n)}


def outcomes_of(run: Run, names: list[str], arms: tuple[str, str]) -> tuple[Outcomes, pd.DataFrame]:
    """The days of every user under two arms of a twin run, or under one arm twice; and who they
    are.
    """
    trial = of_run(run)
    known = set(trial.rows.totals)
    names = [name for name in names if name in known]
    users = {arm: trial.users[trial.users["bucket"] == arm].reset_index(drop=True) for arm in arms}
    daily = {
        arm: trial.rows.daily(names, users[arm][["user", "bucket"]], trial.days)
        for arm in set(arms)
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
    trial = of_run(run)
    found = [metric for metric in measurable(trial.rows.totals) if metric.linear]
    return found, list(dict.fromkeys(name for metric in found for name in metric.columns))


def _two_arms(run: Run) -> tuple[str, str]:
    control = str(run.manifest["control"])
    return control, next(arm for arm in run.manifest["contenders"] if arm != control)


def _frozen(run: Run) -> None:
    if run.settings["learn_from"] != "none":
        raise AnalysisError(
            "one log under many salts is valid for frozen policies alone: outcomes must not depend"
            " on the split"
        )


def aa(path: str | Path, assigned: np.ndarray, alpha: float = 0.05) -> dict[str, Any]:
    """False positives of every method and metric: one frozen policy's users split again and again.

    Args:
        assigned: (salts, users) 0 or 1.
    """
    run = open_run(path)
    _frozen(run)
    found, names = _metrics(run)
    arm = run.arms[0]
    outcomes, _ = outcomes_of(run, names, (arm, arm))
    judged = {metric.name: verdicts(outcomes, metric, assigned, alpha) for metric in found}
    methods = list(next(iter(judged.values())).rejected)
    cells = len(found) * len([method for method in methods if method not in WARNINGS])
    rows = [
        {"metric": name, **rate(int(v.rejected[method].sum()), len(assigned), method, cells, alpha)}
        for name, v in judged.items()
        for method in methods
    ]
    sessions = of_run(run).rows.query(
        "SELECT user, count(*) AS n, sum(c) AS c, sum(c * c) AS s FROM (SELECT user, session,"
        " count(*) FILTER (clicked) AS c FROM {rows} GROUP BY user, session) GROUP BY user ORDER BY"
        " user"
    )
    users = of_run(run).users["user"].to_numpy()
    table = sessions.set_index("user").reindex(users).fillna(0.0)
    n, clicks, squares = (table[name].to_numpy(float) for name in ("n", "c", "s"))
    wrong = by_session(n, clicks, squares, assigned) < alpha
    rows.append(
        {
            "metric": "clicks per session",
            **rate(int(wrong.sum()), len(assigned), "session", cells, alpha),
        }
    )
    return {
        "study": "aa",
        "salts": len(assigned),
        "users": outcomes.users,
        "days": outcomes.days,
        "alpha": alpha,
        "cells": cells,
        "rows": rows,
        "cuped": [_cuped(name, v, 0.0) for name, v in judged.items()],
    }


def _cuped(name: str, v: Verdicts, truth: float) -> dict[str, Any]:
    """What CUPED saves, and whether its lift is unbiased over the salts."""
    lift = v.lift["cuped"]
    error = float(lift.std(ddof=1) / np.sqrt(len(lift)))
    return {
        "metric": name,
        "saved": float(v.saved.mean()),
        "true_lift": truth,
        "mean_lift": float(lift.mean()),
        "error": error,
        "bias_in_errors": float((lift.mean() - truth) / error) if error > 0 else float("nan"),
        "variance_ratio": (
            float(lift.var() / v.lift["fixed"].var()) if v.lift["fixed"].var() > 0 else float("nan")
        ),
    }


def power(path: str | Path, assigned: np.ndarray, alpha: float = 0.05) -> dict[str, Any]:
    """How often the true effect between two frozen arms is found, and when; a twin run split again
    and again.
    """
    run = open_run(path)
    _frozen(run)
    found, names = _metrics(run)
    control, arm = _two_arms(run)
    outcomes, _ = outcomes_of(run, names, (control, arm))
    rows, bias = [], []
    for metric in found:
        v = verdicts(outcomes, metric, assigned, alpha)
        truth = _lift(outcomes, metric, np.ones(outcomes.users, bool))
        bias.append(_cuped(metric.name, v, truth))
        for method, rejected in v.rejected.items():
            row = rate(int(rejected.sum()), len(assigned), method, 1, None)
            rows.append(
                {
                    "metric": metric.name,
                    **row,
                    "true_lift": truth,
                    "mean_day": float(v.day[method].mean()),
                }
            )
    return {
        "study": "power",
        "salts": len(assigned),
        "users": outcomes.users,
        "days": outcomes.days,
        "alpha": alpha,
        "arm": arm,
        "control": control,
        "rows": rows,
        "cuped": bias,
    }


def _lift(outcomes: Outcomes, metric: Metric, users: np.ndarray) -> float:
    """The true lift of these users: all of them in both worlds."""
    values = []
    for totals in (outcomes.control, outcomes.treatment):
        top, *bottom = (float(totals[name][users].sum(dtype=float)) for name in metric.columns)
        values.append(top / bottom[0] if bottom else top)
    return values[1] / values[0] - 1 if values[0] else float("nan")


def coverage(
    path: str | Path, assigned: np.ndarray, truth_users: np.ndarray, alpha: float = 0.05
) -> dict[str, Any]:
    """How often the interval covers: the effect in the population, and that on the very users of
    the test.

    Args:
        assigned: (replicates, users) 0, 1 or -1: fresh users in each replicate. truth_users:
            (users,) bool, of no replicate.
    """
    run = open_run(path)
    _frozen(run)
    found, names = _metrics(run)
    control, arm = _two_arms(run)
    outcomes, _ = outcomes_of(run, names, (control, arm))
    n, cells = len(assigned), 2 * len(found)
    rows = []
    for metric in found:
        v = verdicts(outcomes, metric, assigned, alpha)
        truth = _lift(outcomes, metric, truth_users)
        own = np.array([_lift(outcomes, metric, row >= 0) for row in assigned])
        for method in ("fixed", "cuped"):
            inside = (v.low[method] <= truth) & (truth <= v.high[method])
            twins = (v.low[method] <= own) & (own <= v.high[method])
            rho = _rho(outcomes, metric, assigned[0] >= -1, method == "cuped")
            rows.append(
                {
                    "metric": metric.name,
                    "true_lift": truth,
                    **rate(int(inside.sum()), n, method, cells, 1 - alpha),
                    "of_these_users": rate(int(twins.sum()), n, method, 1, None),
                    "rho": rho,
                    "expected_of_these_users": float(
                        2 * norm.cdf(norm.isf(alpha / 2) / np.sqrt((1 + rho) / 2)) - 1
                    ),
                    "mean_lift": float(v.lift[method].mean()),
                }
            )
    return {
        "study": "coverage",
        "replicates": n,
        "users": int((assigned[0] >= 0).sum()),
        "truth_users": int(truth_users.sum()),
        "days": outcomes.days,
        "alpha": alpha,
        "arm": arm,
        "control": control,
        "cells": cells,
        "rows": rows,
    }


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


def replicated(results: list[dict[str, Any]], names: list[str]) -> dict[str, Any]:
    """The claim about the policy from whole worlds run again with other seeds, beside that about
    each test.

    Args:
        results: of each run. names: of the runs.

    Returns:
        `rows`: run, arm, lift, low, high, true_lift. `claims`: per arm the mean over worlds with
            Student's interval, of the estimate, of the true effect and of the bias (estimate minus
            truth).
    """
    primary = results[0]["primary"]
    rows = [
        {
            "run": name,
            **{key: effect[key] for key in ("arm", "control", "lift", "low", "high", "true_lift")},
        }
        for name, found in zip(names, results, strict=True)
        for effect in found["effects"]["rows"]
        if effect["metric"] == primary
    ]
    claims = []
    for arm in dict.fromkeys(row["arm"] for row in rows):
        own = [row for row in rows if row["arm"] == arm]
        lift, true = (
            np.array([np.nan if row[key] is None else row[key] for row in own], float)
            for key in ("lift", "true_lift")
        )
        inside = int(sum(row["low"] <= x <= row["high"] for row, x in zip(own, true, strict=True)))
        claims.append(
            {
                "arm": arm,
                "control": own[0]["control"],
                "worlds": len(own),
                "estimate": _mean(lift),
                "truth": _mean(true),
                "bias": _mean(lift - true),
                "sd_between_worlds": float(np.std(true, ddof=1)) if len(own) > 1 else float("nan"),
                "covered": inside,
                "wrong_sign": int((np.sign(lift) != np.sign(true)).sum()),
            }
        )
    return {"study": "replicate", "primary": primary, "rows": rows, "claims": claims}


def biases(
    own: list[dict[str, Any]], shared: list[dict[str, Any]], names: list[str]
) -> dict[str, Any]:
    """What an estimate misses where arms retrain, in two parts.

    Args:
        own, shared: results of the same worlds, in which arms learn from their own rows and from
            all; `own` has the truth.

    Returns:
        `rows`: run, arm and the lifts. `claims`: per arm, means over worlds with intervals:
            `chance` (of who is in which bucket: the same buckets read out of the global worlds,
            minus the truth), `volume` (own estimate minus that: an arm learns from a bucket, not
            from everybody), `sharing` (shared minus own estimate: it learns from rows of others),
            and `both` (volume and sharing).
    """
    primary = own[0]["primary"]
    rows: list[dict[str, Any]] = []
    for name, a, b in zip(names, own, shared, strict=True):
        other = {row["arm"]: row for row in b["effects"]["rows"] if row["metric"] == primary}
        rows += [
            {
                "run": name,
                "arm": row["arm"],
                "control": row["control"],
                "own": row["lift"],
                "all": other[row["arm"]]["lift"],
                "true_lift": row["true_lift"],
                "read_out": a["read_out"].get(row["arm"], np.nan),
            }
            for row in a["effects"]["rows"]
            if row["metric"] == primary
        ]
    claims = []
    for arm in dict.fromkeys(row["arm"] for row in rows):
        mine = [row for row in rows if row["arm"] == arm]
        one, all_, true, same = (
            np.array([row[key] for row in mine], float)
            for key in ("own", "all", "true_lift", "read_out")
        )
        claims.append(
            {
                "arm": arm,
                "control": mine[0]["control"],
                "worlds": len(mine),
                "truth": _mean(true),
                "chance": _mean(same - true),
                "volume": _mean(one - same),
                "sharing": _mean(all_ - one),
                "both": _mean(all_ - same),
                "wrong_sign": {
                    "own": int((np.sign(one) != np.sign(true)).sum()),
                    "all": int((np.sign(all_) != np.sign(true)).sum()),
                },
            }
        )
    return {"study": "bias", "primary": primary, "rows": rows, "claims": claims}


def _mean(x: np.ndarray) -> dict[str, float]:
    """A mean over worlds with its 95 % interval."""
    n = len(x)
    error = float(x.std(ddof=1) / np.sqrt(n)) if n > 1 else float("nan")
    half = float(t.ppf(0.975, max(n - 1, 1))) * error
    return {
        "mean": float(x.mean()),
        "low": float(x.mean() - half),
        "high": float(x.mean() + half),
        "error": error,
    }
