"""Metrics of others: judged as ours, and refused in one line."""

import json
from pathlib import Path

import numpy as np
import pytest

from analysis import AnalysisError, Metric
from analysis.data.live_log import open_log
from analysis.data.live_source import LiveLog
from analysis.metrics import METRICS
from analysis.report import main
from tests.live_logs import COLUMNS, columns_of, judge_file, log, results_of


def test_numbers_of_the_log_are_metrics(csv: Path) -> None:
    assert judge_file(csv, "--control", "old", "--numbers", "visit") == 0
    rows = {
        r["metric"]: r
        for r in json.loads((csv.parent / "report" / "results.json").read_text())["effects"]["rows"]
    }
    frame = log()
    inside = frame[frame["ts"] >= "2026-05-03"]
    wanted = inside.groupby("variant")["visit"].sum() / inside.groupby("variant")["uid"].nunique()
    assert rows["visit"]["control_mean"] == pytest.approx(wanted["old"], rel=1e-9)


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
BROKEN = Metric("broken", "", "", "b", sql={"b": "count(*) FILTER (nothing)"})
SPREAD = Metric(
    "sd_clicks", "spread of clicks", "clicks", "clicks", statistic=lambda x: float(np.std(x))
)


def test_metrics_of_others_are_judged(csv: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = ",".join(
        f"tests.analysis.test_metrics:{name}" for name in ("FIRST_HALF", "HEAVY", "SPREAD")
    )
    assert judge_file(csv, "--control", "old", "--metrics", names) == 0
    rows = {
        r["metric"]: r
        for r in json.loads((csv.parent / "report" / "results.json").read_text())["effects"]["rows"]
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
        METRICS.including(Metric("clicks", "", "", "other"))
    with pytest.raises(AnalysisError, match="which there is already"):
        METRICS.including(Metric("mine", "", "", "clicks", sql={"clicks": "count(*)"}))
    words = [
        "--impressions",
        str(csv),
        "--columns",
        COLUMNS,
        "--metrics",
        "tests.analysis.test_metrics:BROKEN",
        "--out",
        str(csv.parent / "other"),
    ]
    assert main(words) == 2
    assert "this cannot be counted" in capsys.readouterr().err
    assert not (csv.parent / "other").exists()


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
    metrics = METRICS.including(variety)
    with open_log(
        LiveLog(csv, columns_of(), control="old", start="2026-05-03", primary="variety"), metrics
    ) as trial:
        assert results_of(trial)["monitor"] == []
    with open_log(
        LiveLog(csv, columns_of(), control="old", start="2026-05-03", primary="variety", days=30),
        metrics,
    ) as trial:
        assert results_of(trial)["verdicts"][0].endswith("nothing is concluded before the end.")


def test_where_fewer_are_better_more_of_it_loses(csv: Path) -> None:
    """Clicks half as many again, called complaints."""
    flags = ("--metrics", "tests.analysis.test_metrics:BAD", "--primary", "complaints")
    assert judge_file(csv, "--control", "old", *flags) == 0
    results = json.loads((csv.parent / "report" / "results.json").read_text())
    assert results["verdicts"][0].startswith("new loses to old on complaints")
    found = {row["metric"]: row for row in results["effects"]["rows"]}
    assert found["clicks"]["lift"] == found["complaints"]["lift"] > 0.3
    assert found["clicks"]["chance_to_win"] > 0.999
    assert found["complaints"]["chance_to_win"] < 0.001
    assert found["complaints"]["not_worse"] is False


def test_metrics_are_an_object_that_is_passed_and_never_a_registry() -> None:
    before = list(METRICS)
    more = METRICS.including(FIRST_HALF)
    assert "early_clicks" in more
    assert list(METRICS) == before
