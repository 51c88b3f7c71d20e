"""An experiment to be judged: its rows, who was assigned where, and how it was planned; from a run
or from a live log.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from analysis.data.flaws import Flaw
from analysis.data.rows import Rows
from analysis.data.run import (
    DAY,
    Run,
    assigned,
    everyone,
    rows_before,
    rows_of_test,
    with_covariates,
)
from analysis.errors import AnalysisError
from analysis.metrics import METRICS, Metric, Metrics

LEAST_LIFT = 0.02  # that matters, where neither --mde nor a margin says so
MONITORS = ("obrien_fleming", "pocock", "cs", "none")  # how days are looked at


@dataclass(frozen=True)
class ABTest:
    """What the judgement needs to know.

    Attributes:
        arms: all of them. control, contenders: those that are compared.
        weights: arm -> planned share. primary: the metric that decides. margin: of the guardrails,
            relative.
        rows: of the test. before: of the time before it, in which nobody was treated; None without.
        users: `user`, `bucket` and a column per segment: who was assigned, whether he came or not.
        days: that were watched. planned: that were to be.
        monitor: how days are looked at, see `results.monitoring`.
        warnings: what was left out, counted, in words. remarks: what else is to be known.
            simulated: whether the users are.
        looked: whether somebody looks every day and may stop, so that the verdict has to allow for
            it; else one looks at the end.
        metrics: all that are measured. references: arm -> why it is not judged.
        mde: the smallest lift that matters, for the verdict.
        winsorize: quantile at which the users' totals are capped; None = not.
        flaws: rows of the test that are not as they should be, by arm. alarms: what else makes the
            figures worthless.
    """

    arms: list[str]
    control: str
    contenders: list[str]
    weights: dict[str, float]
    primary: Metric
    margin: float
    rows: Rows
    before: Rows | None
    users: pd.DataFrame
    days: int
    planned: int
    monitor: str = "obrien_fleming"
    warnings: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    simulated: bool = False
    looked: bool = False
    metrics: Metrics = METRICS
    references: dict[str, str] = field(default_factory=dict)
    mde: float = LEAST_LIFT
    winsorize: float | None = None
    flaws: list[Flaw] = field(default_factory=list)
    alarms: list[str] = field(default_factory=list)

    @property
    def treated(self) -> list[str]:
        """The contenders that are compared with the control."""
        return [arm for arm in self.contenders if arm != self.control]

    @property
    def segments(self) -> list[str]:
        return [name for name in self.users.columns if name not in ("user", "bucket")]

    def table(self) -> pd.DataFrame:
        """One row per assigned user: totals of the test, those before it with `_pre` behind,
        segments.

        Raises:
            AnalysisError: the log lacks what the primary metric counts.
        """
        counts = everyone(self.users, self.rows.per_user())
        if self.primary not in self.metrics.measurable(counts.columns):
            there = ", ".join(metric.name for metric in self.metrics.measurable(counts.columns))
            raise AnalysisError(
                f"this log has no '{self.primary.name}'; choose --primary among: {there}"
            )
        counts = self._capped(counts)
        return (
            counts
            if self.before is None
            else with_covariates(counts, self.before.per_user(("user",)))
        )

    def capped_users(self, table: pd.DataFrame) -> int:
        """How many of the users of `table` have their total of the primary metric capped."""
        if self.winsorize is None:
            return 0
        whole = everyone(self.users, self.rows.per_user())[self.primary.column]
        return int((whole.to_numpy() != table[self.primary.column].to_numpy()).sum())

    def _capped(self, counts: pd.DataFrame) -> pd.DataFrame:
        """Totals no larger than their quantile over the users of all arms who have any."""
        if self.winsorize is None:
            return counts
        capped = counts.copy()
        for name in counts.columns.drop(["user", "bucket"], errors="ignore"):
            if pd.api.types.is_numeric_dtype(counts[name]):
                there = counts.loc[counts[name] > 0, name]
                if len(there):
                    most = there.quantile(self.winsorize, interpolation="lower")
                    owed = counts.loc[counts[name] < 0, name].abs()
                    least = -owed.quantile(self.winsorize, interpolation="lower")
                    capped[name] = counts[name].clip(least if len(owed) else None, most)
        return capped

    def daily(self, names: list[str], table: pd.DataFrame) -> dict[str, np.ndarray]:
        """name -> (users, days) totals; where they are capped, all days of a user in proportion."""
        totals = self.rows.daily(names, table[["user", "bucket"]], self.days)
        if self.winsorize is not None:
            for name, days in totals.items():
                full = days.sum(axis=1, dtype=float)
                share = np.where(full > 0, table[name].to_numpy(float) / np.maximum(full, 1e-12), 1)
                totals[name] = (days * np.minimum(share, 1.0)[:, None]).astype(np.float32)
        return totals


def of_run(run: Run, days: int | None = None) -> ABTest:
    """A simulated run; segments by what its users did in the warm-up.

    Args:
        days: of the test that are judged; by default all there are.
    """
    before, settings = rows_before(run), run.settings
    planned = max(int(np.ceil(settings["days"] - 1e-9)), 1)
    if days is None and run.until is not None:
        days = round(run.until / DAY)
    days = min(days or int(run.manifest.get("stopped_day") or planned), planned)
    users = assigned(run)
    if before is not None and not run.twin:
        users = users.merge(segments_before(before, run.items), on="user", how="left")
        users["users"] = users["users"].fillna("new")
        users = users.fillna(
            {name: NEVER for name in users.columns if name not in ("user", "bucket")}
        )
    metrics, made_up = told_by_the_log(run)
    remarks = []
    if made_up:
        remarks.append(
            f"The log tells nothing of {', '.join(made_up)}: left out, as they would be assumed"
            " (--set assumed_metrics=true judges them, too)"
        )
    return ABTest(
        arms=run.arms,
        control=run.manifest["control"],
        contenders=list(run.manifest["contenders"]),
        weights=run.manifest.get("weights") or dict.fromkeys(run.arms, 1.0),
        primary=metrics.find(settings["primary"]),
        margin=settings["margin"],
        mde=settings.get("mde") or settings["margin"] or LEAST_LIFT,
        rows=rows_of_test(run),
        before=before,
        users=users,
        days=days,
        planned=planned,
        remarks=remarks,
        monitor=settings.get("monitor", "obrien_fleming"),
        simulated=True,
        looked=bool(settings.get("stop_early", False)),
        metrics=metrics,
        references=dict(run.manifest.get("references", {})),
    )


# metric -> the parameter of the simulated users that it is made of
MADE_OF = {
    "long_views": "long_view",
    "likes": "like",
    "hates": "hate",
    "watch_time": "watch_long",
}


TOLD_BY = {"long_views": "long_view", "likes": "likes", "hates": "hates", "watch_time": "watch"}


def is_assumed(users: dict[str, Any], metric: str) -> bool:
    """Whether nothing but an assumption stands behind a metric of simulated users.

    Args:
        users: their `parameters.json`.
    """
    if "user_model" in users:  # of somebody else, who says what the answers hold
        return metric in TOLD_BY and TOLD_BY[metric] not in users.get("tells", ())
    number = users.get("numbers", {}).get(MADE_OF.get(metric), {})
    return bool(number.get("status") == "assumed")


def told_by_the_log(run: Run) -> tuple[Metrics, list[str]]:
    """The metrics that a run is judged by, and the labels of those that are left out since nothing
    but an assumption stands behind them; the primary one stays.
    """
    settings = run.settings
    if settings.get("assumed_metrics"):
        return run.metrics, []
    left_out = [
        name
        for name in MADE_OF
        if name in run.metrics and name != settings["primary"] and is_assumed(run.parameters, name)
    ]
    kept = Metrics([metric for name, metric in run.metrics.items() if name not in left_out])
    return kept, [run.metrics[name].label for name in left_out]


NEVER = "did not come before"
SEGMENT_CATEGORIES = 5  # the most frequent ones; the others together


def segments_before(before: Rows, items: pd.DataFrame | None) -> pd.DataFrame:
    """`user` and segments by the time before the test: old or new, how active, what
    category first.
    """
    seen = before.query("SELECT user, count(*) AS n FROM {rows} GROUP BY user ORDER BY user")
    segments = seen[["user"]].assign(users="returning", activity=activity(seen["n"].to_numpy()))
    if items is None or "item" not in before.has or items["category"].nunique() < 2:
        return segments
    first = before.query(
        "SELECT user, arg_min(item, time) AS item FROM {rows} GROUP BY user ORDER BY user"
    )
    category = first["item"].map(items.set_index("item")["category"]).astype(str)
    top = category.value_counts().index[:SEGMENT_CATEGORIES]
    segments["first category"] = category.where(category.isin(top), "other").to_numpy()
    return segments


def activity(counts: np.ndarray) -> np.ndarray:
    """(n,) `low`, `middle` or `high`: thirds by counts before the test."""
    edges = np.quantile(counts, [1 / 3, 2 / 3]) if len(counts) else [0, 0]
    return np.array(["low", "middle", "high"], dtype=object)[
        np.searchsorted(edges, counts, side="left")
    ]
