"""What is measured, per user; and how others add to it.

A metric of your own is an object of a module, or an entry point of the group `gptrec.metrics`:

    from analysis import Metric
    TOP_SLOT = Metric(
        "top_slot", "clicks in slot 1", "clicks per user", "top_clicks",
        sql={"top_clicks": "count(*) FILTER (clicked AND slot = 0)"}, needs=("clicked", "slot"),
    )

    python -m analysis.report RUN --metrics my_module:TOP_SLOT
"""

import importlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.metadata import entry_points

import numpy as np

from analysis.errors import AnalysisError

# Totals per user that a log gives: SQL over its rows, and the columns that it takes.
TOTALS: dict[str, tuple[str, tuple[str, ...]]] = {
    "impressions": ("count(*)", ()),
    "pages": ("count(*) FILTER (slot = 0)", ("slot",)),
    "clicks": ("count(*) FILTER (clicked)", ("clicked",)),
    # as decimals, whose sum does not depend on the order of the rows
    "watch_seconds": ("coalesce(sum(watched::DECIMAL(38, 9))::DOUBLE, 0)", ("watched",)),
    "long_views": ("count(*) FILTER (long_view)", ("long_view",)),
    "likes": ("count(*) FILTER (liked)", ("liked",)),
    "hates": ("count(*) FILTER (hated)", ("hated",)),
    "sessions": ("count(DISTINCT session)", ("session",)),
    "days_active": ("count(DISTINCT floor(time / 86400))", ("time",)),
}


@dataclass(frozen=True)
class Metric:
    """A mean per user; with `denominator` a ratio of two means (delta method); with `quantile` or
    `statistic` a function of the users' values (bootstrap over users).

    Attributes:
        name: for flags and files. label, unit: for people. column: a total per user.
        role: `outcome`, or `guardrail` (judged by non-inferiority against a margin).
        sql: new totals, name -> aggregate expression of DuckDB over a user's rows, whose columns
            are `user`, `time` [s], `session`, `page`, `slot`, `item`, `clicked`, `watched` [s],
            `long_view`, `liked`, `hated`, as far as the log has them.
        needs: the columns that `sql` takes; where the log lacks one, the metric is left out and the
            report says so.
        higher_is_better: False turns who wins, and what a guardrail guards against.
        quantile: of the users' values, such as .9. statistic: of an array of them, one number.
    """

    name: str
    label: str
    unit: str
    column: str
    denominator: str | None = None
    role: str = "outcome"
    sql: Mapping[str, str] = field(default_factory=dict)
    needs: tuple[str, ...] = ()
    quantile: float | None = None
    higher_is_better: bool = True
    statistic: Callable[[np.ndarray], float] | None = None

    @property
    def columns(self) -> list[str]:
        return [self.column] if self.denominator is None else [self.column, self.denominator]

    @property
    def additive(self) -> bool:
        """Whether the totals of days add up to that of the test, so that it can be looked at day by
        day: counts and sums do.
        """
        return all(
            re.match(r"(coalesce\()?(count|sum)\((?!\s*distinct)", sql.strip(), re.IGNORECASE)
            for sql in self.sql.values()
        )

    @property
    def linear(self) -> bool:
        """Whether it is a mean or a ratio of means, so that it has CUPED and a sequential test."""
        return self.quantile is None and self.statistic is None


class Metrics(Mapping[str, Metric]):
    """The metrics of one judgement, by name. More of them make another object."""

    def __init__(self, metrics: Iterable[Metric]):
        self._by_name = {metric.name: metric for metric in metrics}

    def __getitem__(self, name: str) -> Metric:
        return self._by_name[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_name)

    def __len__(self) -> int:
        return len(self._by_name)

    def __hash__(self) -> int:
        return hash(tuple(self._by_name))

    def find(self, name: str) -> Metric:
        if name not in self:
            raise AnalysisError(f"unknown metric '{name}'; there are: {', '.join(self)}")
        return self[name]

    def totals(self, has: Iterable[str]) -> dict[str, str]:
        """Totals per user that a log with these columns gives, those of the metrics among them:
        name -> SQL.
        """
        there = set(has)
        sql = {name: text for name, (text, needs) in TOTALS.items() if there.issuperset(needs)}
        for metric in self.values():
            if there.issuperset(metric.needs):
                sql |= metric.sql
        return sql

    def measurable(self, has: Iterable[str]) -> list[Metric]:
        """The metrics that a table with these totals allows."""
        there = set(has)
        return [metric for metric in self.values() if there.issuperset(metric.columns)]

    def including(self, metric: Metric) -> "Metrics":
        """These and one more.

        Raises:
            AnalysisError: another metric, or another total, has the name already.
        """
        known = self.get(metric.name)
        if known is not None and known != metric:
            raise AnalysisError(f"there is a metric '{metric.name}' already; name yours otherwise")
        others = [m for m in self.values() if m.name != metric.name]
        taken = set(metric.sql) & ({*TOTALS} | {name for m in others for name in m.sql})
        if taken:
            raise AnalysisError(
                f"metric '{metric.name}' defines '{sorted(taken)[0]}', which there is already; name"
                " it otherwise"
            )
        if metric.role not in ("outcome", "guardrail"):
            raise AnalysisError(
                f"metric '{metric.name}' has the role '{metric.role}'; wanted: outcome, guardrail"
            )
        return Metrics([*self.values(), metric])


METRICS = Metrics(
    (
        Metric("clicks", "clicks", "clicks per user", "clicks"),
        Metric("click_rate", "click rate", "clicks per impression", "clicks", "impressions"),
        Metric("watch_time", "watch time", "seconds per user", "watch_seconds"),
        Metric("long_views", "long views", "long views per user", "long_views"),
        Metric("likes", "likes", "likes per user", "likes"),
        Metric(
            "hates",
            "negative feedback",
            "hates per user, fewer are better",
            "hates",
            higher_is_better=False,
        ),
        Metric("sessions", "sessions", "sessions per user", "sessions", role="guardrail"),
        Metric("days_active", "days active", "days per user", "days_active", role="guardrail"),
    )
)


def load_metrics(names: str | None = None) -> Metrics:
    """The built-in metrics, those of entry points `gptrec.metrics`, and those named
    `module:OBJECT` with commas between.
    """
    metrics = METRICS
    for point in entry_points(group="gptrec.metrics"):
        metrics = metrics.including(_made(point.load(), f"entry point '{point.name}'"))
    for name in (part.strip() for part in (names or "").split(",") if part.strip()):
        module, colon, attribute = name.partition(":")
        if not colon:
            raise AnalysisError(
                f"--metrics '{name}': wanted module:OBJECT, such as my_metrics:TOP_SLOT"
            )
        try:
            loaded = getattr(importlib.import_module(module), attribute)
        except (ImportError, AttributeError) as error:
            raise AnalysisError(f"--metrics '{name}': {error}") from None
        metrics = metrics.including(_made(loaded, f"--metrics '{name}'"))
    return metrics


def _made(loaded: object, where: str) -> Metric:
    """A metric, or a class or function without arguments that makes one."""
    made = loaded() if callable(loaded) else loaded
    if not isinstance(made, Metric):
        raise AnalysisError(f"{where} gives a {type(made).__name__}, wanted an analysis.Metric")
    return made
