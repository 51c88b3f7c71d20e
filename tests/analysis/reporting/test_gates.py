"""Conditions of pipelines: by intervals, said in the Markdown, and told by the exit status."""

import json
from pathlib import Path

import pytest

from analysis.errors import AnalysisError
from analysis.reporting.gates import gates_of
from policies.common.tables import interval
from simulator import run
from tests.live_logs import judge_file, log

KNOWN = ("clicks", "click_rate")


@pytest.mark.parametrize(
    ("flag", "text", "low", "high", "holds"),
    [
        ("fail", "clicks < -1%", -0.05, -0.02, True),
        ("fail", "clicks < -1%", -0.05, 0.00, False),
        ("fail", "clicks<-1 %", -0.02, -0.005, False),
        ("require", "clicks > -1%", -0.005, 0.02, True),
        ("require", "clicks > +2.5%", 0.02, 0.04, False),
    ],
)
def test_a_condition_holds_where_the_whole_interval_does(
    flag: str, text: str, low: float, high: float, holds: bool
) -> None:
    fail, require = ([text], []) if flag == "fail" else ([], [text])
    (gate,) = gates_of(fail, require, KNOWN)
    assert gate.holds(low, high) == holds
    assert gate.required == (flag == "require")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("clicks", "wanted METRIC < NUMBER%"),
        ("clicks >= 1%", "wanted METRIC < NUMBER%"),
        ("clicks < 1", "wanted METRIC < NUMBER%"),
        ("click < 1%", "did you mean 'clicks'"),
    ],
)
def test_what_is_no_condition_is_refused(text: str, why: str) -> None:
    with pytest.raises(AnalysisError, match=why):
        gates_of([], [text], KNOWN)


def test_a_run_refuses_them_before_it_begins(capsys: pytest.CaptureFixture[str]) -> None:
    assert run.main(["--require", "clcks > 1%"]) == 2
    assert "did you mean 'clicks'" in capsys.readouterr().err
    assert run.main(["--fail-if", "clicks < 1%", "--user-model", "all"]) == 2
    assert "for one test" in capsys.readouterr().err


def test_the_status_and_the_markdown_say_what_became_of_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = {
        "a": (["--require", "clicks > 20%", "--fail-if", "clicks < 0%"], 0, "passed: require"),
        "b": (["--fail-if", "clicks > 20%"], 3, "FAILED: fail if clicks > 20%, new: sure"),
        "c": (["--require", "clicks > 45%"], 3, "FAILED: require clicks > 45%, new: not sure"),
    }
    for name, (more, status, line) in wanted.items():
        (tmp_path / name).mkdir()
        path = tmp_path / name / "log.parquet"
        log().to_parquet(path)
        assert judge_file(path, "--control", "old", *more) == status
        assert line in capsys.readouterr().out
        told = (path.parent / "report" / "report.md").read_text(encoding="utf-8").split("\n\n")
        assert told[0].startswith("# ")
        assert line.split(":")[0] in told[1]


def test_before_the_planned_end_a_condition_goes_by_the_interval_that_allows_for_looks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = {}
    for name, days in {"end": [], "early": ["--days", "12"]}.items():
        (tmp_path / name).mkdir()
        path = tmp_path / name / "log.parquet"
        log(days=6).to_parquet(path)
        gates = ["--fail-if", "clicks > 20%", "--require", "click_rate > 20%"]
        judge_file(path, "--control", "old", *days, *gates)
        lines = capsys.readouterr().out.splitlines()
        told[name] = [line for line in lines if line.startswith(("passed", "FAILED"))]
        found = json.loads((path.parent / "report" / "results.json").read_text())
        (looks,) = found["monitor"]
        (plain,) = [row for row in found["effects"]["rows"] if row["metric"] == "clicks"]
        used = looks if name == "early" else plain
        assert interval(used["low"], used["high"]) in told[name][0]
        assert looks["high"] - looks["low"] != plain["high"] - plain["low"]
    assert "passed: require click_rate > 20%, new: sure" in told["end"][1]
    assert told["early"][1] == ("FAILED: require click_rate > 20%, new: nothing can be concluded")


def test_a_red_light_comes_before_all_conditions(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "log.parquet"
    log(n=60).to_parquet(path)  # fewer than 50 users in an arm
    assert judge_file(path, "--control", "old", "--fail-if", "clicks < -90%") == 4
    assert "RED: " in capsys.readouterr().out
    assert "RED: " in (tmp_path / "report" / "report.md").read_text(encoding="utf-8")
