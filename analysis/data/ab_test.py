"""An experiment to be judged: its rows, who was assigned where, and how it was planned; from a run
or from a live log.
"""

from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from analysis.data.flaws import Flaw
from analysis.data.rows import Rows
from analysis.data.run import Run, assigned, everyone, rows_before, rows_of_test, with_covariates
from analysis.errors import AnalysisError
from analysis.metrics import METRICS, Metric, Metrics

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
        flaws: rows of the test that are not as they should be, by arm.
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
    flaws: list[Flaw] = field(default_factory=list)

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
        return (
            counts
            if self.before is None
            else with_covariates(counts, self.before.per_user(("user",)))
        )


def of_run(run: Run, days: int | None = None) -> ABTest:
    """A simulated run; segments by what its users did in the warm-up.

    Args:
        days: of the test that are judged; by default all there are.
    """
    before, settings = rows_before(run), run.settings
    planned = max(int(np.ceil(settings["days"] - 1e-9)), 1)
    days = min(days or int(run.manifest.get("stopped_day") or planned), planned)
    users = assigned(run)
    if before is not None and not run.twin:
        users = users.merge(segments_before(before, run.items), on="user", how="left")
        users["users"] = users["users"].fillna("new")
        users = users.fillna(
            {name: NEVER for name in users.columns if name not in ("user", "bucket")}
        )
    return ABTest(
        arms=run.arms,
        control=run.manifest["control"],
        contenders=list(run.manifest["contenders"]),
        weights=run.manifest.get("weights") or dict.fromkeys(run.arms, 1.0),
        primary=run.metrics.find(settings["primary"]),
        margin=settings["margin"],
        rows=rows_of_test(run),
        before=before,
        users=users,
        days=days,
        planned=planned,
        monitor=settings.get("monitor", "obrien_fleming"),
        simulated=True,
        looked=bool(settings.get("stop_early", False)),
        metrics=run.metrics,
        references=dict(run.manifest.get("references", {})),
    )


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
