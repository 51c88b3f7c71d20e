"""What is measured, per user."""

from dataclasses import dataclass

from analysis.errors import AnalysisError


@dataclass(frozen=True)
class Metric:
    """A mean per user, or with `denominator` a ratio of two means (delta method).

    Attributes:
        role: `outcome`, or `guardrail` (judged by non-inferiority against a margin).
    """

    name: str
    label: str
    unit: str
    column: str
    denominator: str | None = None
    role: str = "outcome"


METRICS = {
    metric.name: metric
    for metric in (
        Metric("clicks", "clicks", "clicks per user", "clicks"),
        Metric("click_rate", "click rate", "clicks per impression", "clicks", "impressions"),
        Metric("watch_time", "watch time", "seconds per user", "watch_seconds"),
        Metric("long_views", "long views", "long views per user", "long_views"),
        Metric("likes", "likes", "likes per user", "likes"),
        Metric("sessions", "sessions", "sessions per user", "sessions", role="guardrail"),
        Metric("days_active", "days active", "days per user", "days_active", role="guardrail"),
    )
}


def find(name: str) -> Metric:
    if name not in METRICS:
        raise AnalysisError(f"unknown metric '{name}'; there are: {', '.join(METRICS)}")
    return METRICS[name]
