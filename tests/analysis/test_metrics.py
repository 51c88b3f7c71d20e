"""Metrics of others: judged as ours, and refused in one line."""

import json
from pathlib import Path

import numpy as np
import pytest

from analysis import AnalysisError, Metric, metrics
from analysis.data.live_log import Source, open_log
from analysis.metrics import METRICS
from analysis.report import main
from analysis.results.results import judged
from tests.live_logs import COLUMNS, columns_of, judge_file, log


def test_numbers_of_the_log_are_metrics(csv: Path) -> None:
    known = dict(METRICS)
    try:
        assert judge_file(csv, "--control", "old", "--numbers", "visit") == 0
        rows = {
            r["metric"]: r
            for r in json.loads((csv.parent / "report" / "results.json").read_text())["effects"][
                "rows"
            ]
        }
        frame = log()
        inside = frame[frame["ts"] >= "2026-05-03"]
        wanted = (
            inside.groupby("variant")["visit"].sum() / inside.groupby("variant")["uid"].nunique()
        )
        assert rows["visit"]["control_mean"] == pytest.approx(wanted["old"], rel=1e-9)
    finally:
        METRICS.clear()
        METRICS.update(known)


FIRST_HALF = Metric(
    "early_clicks",
    "clicks in the first half of a day",
    "clicks per user",
    "early",
    sql={"early": "count(*) FILTER (clicked AND time % 86400 < 43200)"},
    needs=("clicked", "time"),
)
HEAVY = Metric("p90_clicks", "clicks of the ninth tenth", "clicks", "clicks", quantile=0.9)
BAD = Metric(
    "complaints",
    "complaints",
    "complaints per user",
    "bad",
    role="guardrail",
    higher_is_better=False,
    sql={"bad": "count(*) FILTER (clicked)"},
    needs=("clicked",),
)
SPREAD = Metric(
    "sd_clicks", "spread of clicks", "clicks", "clicks", statistic=lambda x: float(np.std(x))
)


def test_metrics_of_others_are_judged(csv: Path, capsys: pytest.CaptureFixture[str]) -> None:
    known = dict(METRICS)
    try:
        names = ",".join(
            f"tests.test_own_metrics:{name}" for name in ("FIRST_HALF", "HEAVY", "SPREAD")
        )
        assert judge_file(csv, "--control", "old", "--metrics", names) == 0
        rows = {
            r["metric"]: r
            for r in json.loads((csv.parent / "report" / "results.json").read_text())["effects"][
                "rows"
            ]
        }
        frame = log()
        inside = frame[frame["ts"] >= "2026-05-03"]
        early = (
            inside[inside["ts"].dt.hour < 12].groupby("variant")["clicked"].sum()
            / inside.groupby("variant")["uid"].nunique()
        )
        assert rows["early_clicks"]["control_mean"] == pytest.approx(early["old"], rel=1e-9)
        assert rows["p90_clicks"]["low"] <= rows["p90_clicks"]["lift"] <= rows["p90_clicks"]["high"]
        assert rows["sd_clicks"]["low"] <= rows["sd_clicks"]["lift"] <= rows["sd_clicks"]["high"]
        with pytest.raises(AnalysisError, match="there is a metric 'clicks' already"):
            metrics.add(Metric("clicks", "", "", "other"))
        with pytest.raises(AnalysisError, match="which there is already"):
            metrics.add(Metric("mine", "", "", "clicks", sql={"clicks": "count(*)"}))
        metrics.add(Metric("broken", "", "", "b", sql={"b": "count(*) FILTER (nothing)"}))
        words = [
            "--impressions",
            str(csv),
            "--columns",
            COLUMNS,
            "--out",
            str(csv.parent / "other"),
        ]
        assert main(words) == 2
        assert "this cannot be counted" in capsys.readouterr().err
        assert not (csv.parent / "other").exists()
    finally:
        METRICS.clear()
        METRICS.update(known)


def test_what_does_not_add_up_over_days_is_not_looked_at_day_by_day(csv: Path) -> None:
    variety = Metric(
        "variety",
        "visits",
        "visits per user",
        "variety",
        sql={"variety": "count(DISTINCT session)"},
        needs=("session",),
    )
    assert not variety.additive
    assert FIRST_HALF.additive
    known = dict(METRICS)
    try:
        metrics.add(variety)
        with open_log(
            Source(csv, columns_of(), control="old", start="2026-05-03", primary="variety")
        ) as trial:
            assert judged(trial, {})["monitor"] == []
        with open_log(
            Source(csv, columns_of(), control="old", start="2026-05-03", primary="variety", days=30)
        ) as trial:
            assert judged(trial, {})["verdicts"][0].endswith("nothing is concluded before the end.")
    finally:
        METRICS.clear()
        METRICS.update(known)


def test_where_fewer_are_better_more_of_it_loses(csv: Path) -> None:
    """Clicks half as many again, called complaints."""
    known = dict(METRICS)
    try:
        flags = ("--metrics", "tests.test_own_metrics:BAD", "--primary", "complaints")
        assert judge_file(csv, "--control", "old", *flags) == 0
        results = json.loads((csv.parent / "report" / "results.json").read_text())
        assert results["verdicts"][0].startswith("new loses to old on complaints")
        found = {row["metric"]: row for row in results["effects"]["rows"]}
        assert found["clicks"]["lift"] == found["complaints"]["lift"] > 0.3
        assert found["clicks"]["chance_to_win"] > 0.999
        assert found["complaints"]["chance_to_win"] < 0.001
        assert found["complaints"]["not_worse"] is False
    finally:
        METRICS.clear()
        METRICS.update(known)
