"""Metrics of others on simulated runs: with covariates, as primary metric, in studies."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import analysis.metrics
from analysis import Metric, report
from analysis.data.ab_test import of_run
from analysis.data.run import open_run, rows_before
from analysis.metrics import METRICS
from analysis.studies.planning import of_a_run
from simulator import Result, simulate, study
from tests.conftest import SHORT_FLAGS, MakeExperiment

TOP = Metric(
    "top_slot",
    "clicks in slot 1",
    "clicks per user",
    "top_clicks",
    sql={"top_clicks": "count(*) FILTER (clicked AND slot = 0)"},
    needs=("clicked", "slot"),
)
RATE = Metric(
    "top_rate",
    "click rate of slot 1",
    "clicks per page",
    "top_seen",
    "tops",
    sql={
        "top_seen": "count(*) FILTER (clicked AND slot = 0)",
        "tops": "count(*) FILTER (slot = 0)",
    },
    needs=("clicked", "slot"),
)


@pytest.fixture(scope="module")
def run(experiment: MakeExperiment, tmp_path_factory: pytest.TempPathFactory) -> Result:
    return simulate(
        experiment(policies=("itemknn", "popularity"), warmup_days=2.0),
        out=str(tmp_path_factory.mktemp("runs") / "run"),
    )


def test_they_are_adjusted_for_the_warm_up_as_ours_are(run: Result) -> None:
    names = ",".join(f"{__name__}:{name}" for name in ("TOP", "RATE"))
    assert report.main([str(run.path), "--metrics", names]) == 0
    rows = {
        row["metric"]: row
        for row in json.loads((run.path / "results.json").read_text())["effects"]["rows"]
    }
    assert rows["top_slot"]["variance_saved"] > 0.001
    assert abs(rows["top_rate"]["lift"]) < 1
    table = of_run(open_run(run.path, metrics=METRICS.including(TOP))).table()
    before = rows_before(open_run(run.path, metrics=METRICS.including(TOP)))
    assert before is not None
    known = before.per_user(("user",)).set_index("user")["top_clicks"]
    got = table.set_index("user")["top_clicks_pre"]
    np.testing.assert_array_equal(got, known.reindex(got.index).fillna(0.0))


@pytest.fixture
def entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    point = SimpleNamespace(name="top", load=lambda: TOP)
    monkeypatch.setattr(analysis.metrics, "entry_points", lambda group: [point])


def test_one_of_an_entry_point_is_primary_and_may_stop_a_test(
    entry_point: None, experiment: MakeExperiment, tmp_path: Path, run: Result
) -> None:
    made = simulate(
        experiment(
            policies=("uniform", "itemknn", "popularity"), primary="top_slot", stop_early=True
        ),
        out=str(tmp_path / "run"),
    )
    assert "clicks in slot 1" in (made.path / "report.html").read_text(encoding="utf-8")
    assert "top_slot" in {spread.metric for spread in of_a_run(run.path)}


def test_one_of_an_entry_point_takes_part_in_studies(
    entry_point: None, small_log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [
        "aa",
        "--policies",
        "popularity",
        "--runs",
        "40",
        "--users",
        "60",
        "--days",
        "2",
        "--warmup-days",
        "1",
        "--quiet",
    ]
    out = tmp_path / "aa"
    words += ["--log", str(small_log), *SHORT_FLAGS, "--set", "primary=top_slot"]
    assert study.main([*words, "--out", str(out)]) == 0
    rows = json.loads((out / "study.json").read_text())["rows"]
    assert "top_slot" in {row["metric"] for row in rows}
    assert "clicks in slot 1" in " ".join(capsys.readouterr().out.split())
