"""The command: bad input is one line and status 2 and leaves nothing; an interrupted run says so;
the report stands alone.
"""

import errno
import json
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import simulator.engine.recorder
import simulator.run as command
from analysis import report
from analysis.metrics import METRICS
from simulator import Experiment, simulate
from tests.conftest import SHORT, SHORT_FLAGS, SHORT_RUN


def bad(
    arguments: list[str],
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> str:
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    assert command.main(arguments) == 2
    text = capsys.readouterr().err
    assert text.startswith("error: ")
    assert text.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before
    return text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--policies", "sasrek"], "did you mean 'sasrec'"),
        (["--policies", "sasrec,sasrec"], "sasrec.2"),
        (["--set", "batch_hour=3"], "did you mean 'batch_hours'"),
        (["--set", "sasrec.widht=3"], "did you mean 'width'"),
        (["--set", "itemknn.width=3"], "takes no part"),
        (["--days", "0"], "above 0"),
        (["--days", "soon"], "wants a number"),
        (["--users", "1"], "at least 2"),
        (["--seed", "-1"], "--seed must be at least 0"),
        (["--weights", "0.5"], "1 numbers for 2"),
        (["--weights", "0.5,x"], "wanted numbers"),
        (["--weights", "80,80"], "sum to at most 1"),
        (["--control", "itemknn"], "is not a contender"),
        (["--design", "twin", "--weights", ".5,.5"], "is for --design split"),
        (["--design", "spilt"], "did you mean 'split'"),
        (["--primary", "revenue"], "unknown metric"),
        (["--rounds", "100"], "training delay"),
        (["--log", "nowhere.csv"], "there is no file"),
        (["--config", "nowhere.toml"], "there is no file"),
        (["--resume", "nowhere"], "is not a run"),
        (["--log", "world:x"], "world:SEED"),
        (["--calibrate", "random_click_rate=x"], "is not a number"),
        # of the built-in world, too
        (["--calibrate", "sessions_per_day=inf"], "must be from 0 to below 1000"),
        (["--set", "sasrec.repeat=perhaps"], "wants true or false"),
    ],
)
def test_bad_settings(
    arguments: Any,
    message: Any,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert message in bad(arguments, capsys, tmp_path, monkeypatch)


def test_bad_logs(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    small_log: Path,
) -> None:
    few = pd.DataFrame(
        {"user": [1, 2, 3], "item": [1, 2, 3], "time": [1, 2, 3], "click": [1, 0, 1]}
    )
    few.to_csv(tmp_path / "few.csv", index=False)
    assert "fewer than a slate" in bad(["--log", "few.csv"], capsys, tmp_path, monkeypatch)
    assert "use --set repeat_after=114" in bad(
        ["--log", str(small_log), "--set", "repeat_after=500"],
        capsys,
        tmp_path,
        monkeypatch,
    )
    (tmp_path / "there").mkdir()
    assert "exists already" in bad(["--out", "there"], capsys, tmp_path, monkeypatch)


def test_a_config_file_then_flags(tmp_path: Path) -> None:
    (tmp_path / "e.toml").write_text(
        'days = 3\nusers = 70\npolicies = ["sasrec", "popularity"]\n[policy.sasrec]\nwidth = 16\n'
    )
    e = command.build(str(tmp_path / "e.toml"), {"users": "90", "days": None}, ["sasrec.epochs=1"])
    assert (e.days, e.users, e.settings_for("sasrec")) == (3.0, 90, {"width": 16, "epochs": "1"})


def test_the_command_writes_a_report_that_stands_alone(
    tmp_path: Path, small_log: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    assert command.main([*SHORT_RUN, "--log", str(small_log), "--out", str(out)]) == 0
    shown = capsys.readouterr().out
    assert "itemknn" in shown
    assert "true" in shown
    page = (out / "report.html").read_text(encoding="utf-8")
    assert not re.search(r'(src|href)="(?!data:|#)', page)
    assert len(page) < 3_000_000
    results = json.loads((out / "results.json").read_text())
    told = set(METRICS) - {"hates"}  # the log tells none
    assert {row["metric"] for row in results["effects"]["rows"]} == told
    assert any("negative feedback: left out" in text for text in results["remarks"])
    # Of hates there are none in so short a run, and so no lift.
    assert all(
        row["true_lift"] is not None
        for row in results["effects"]["rows"]
        if row["metric"] != "hates"
    )
    assert all(name in results["effects"]["units"] for name in ("lift", "low", "high", "true_lift"))
    assert "video-" in page  # the log's own item ids
    assert results["verdicts"][0] in (out / "report.md").read_text(encoding="utf-8")
    assert len(list((out / "figures").glob("*.png"))) >= 8


def test_a_full_disk_and_an_interruption_leave_an_incomplete_run(
    tmp_path: Path,
    small_log: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write = simulator.engine.recorder._write_table
    for error, status, words in (
        (OSError(errno.ENOSPC, "No space left"), 2, "disk is full"),
        (KeyboardInterrupt(), 130, "--resume"),
    ):
        calls = {"n": 0}

        def fail(table: Any, path: Any, calls: Any = calls, error: Any = error) -> Any:
            calls["n"] += 1
            if calls["n"] > 3:
                raise error
            return write(table, path)

        out = tmp_path / f"run{status}"
        monkeypatch.setattr(simulator.engine.recorder, "_write_table", fail)
        assert command.main([*SHORT_RUN, "--log", str(small_log), "--out", str(out)]) == status
        monkeypatch.undo()
        assert words in capsys.readouterr().err
        assert json.loads((out / "manifest.json").read_text())["status"] == "incomplete"
        assert report.main([str(out)]) == 2
        assert "is incomplete" in capsys.readouterr().err
        assert command.main(["--resume", str(out), "--quiet"]) == 0
        assert report.main([str(out)]) == 0


def test_a_run_without_a_warm_up_has_no_covariates(tmp_path: Path, small_log: Path) -> None:
    out = tmp_path / "run"
    assert (
        command.main(
            [
                *SHORT_RUN,
                "--log",
                str(small_log),
                *SHORT_FLAGS,
                "--warmup-days",
                "0",
                "--out",
                str(out),
            ]
        )
        == 0
    )
    results = json.loads((out / "results.json").read_text())
    assert results["before_test"] is None
    assert results["effects"]["rows"]


def test_partial_judges_what_there_is(
    tmp_path: Path, small_log: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    e = Experiment(
        policies=("popularity", "itemknn"),
        log=str(small_log),
        users=60,
        days=1.0,
        rounds=1,
        repeat_after=10,
        truth=False,
        threads=1,
        draws=SHORT.draws,
        thin=SHORT.thin,
    )
    simulate(e, out=str(out))
    manifest = json.loads((out / "manifest.json").read_text())
    (out / "manifest.json").write_text(json.dumps(manifest | {"status": "incomplete"}))
    assert report.main([str(out)]) == 2
    assert report.main([str(out), "--partial"]) == 0
    assert "Incomplete run" in (out / "report.html").read_text(encoding="utf-8")


def test_the_default_control_is_the_last_contender() -> None:
    assert Experiment(policies=("gptrec", "sasrec", "uniform", "oracle")).control_arm == "sasrec"
    assert Experiment(policies=("uniform",)).control_arm == "uniform"


def test_a_run_is_not_resumed_on_another_log(
    tmp_path: Path, small_log: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "log.parquet"
    frame = pd.read_parquet(small_log)
    frame.to_parquet(copy)
    out = tmp_path / "run"
    assert command.main([*SHORT_RUN, "--log", str(copy), "--out", str(out)]) == 0
    manifest = json.loads((out / "manifest.json").read_text())
    (out / "manifest.json").write_text(json.dumps(manifest | {"status": "incomplete"}))
    frame[:-100].to_parquet(copy)
    assert command.main(["--resume", str(out), "--quiet"]) == 2
    assert "has changed since the run began" in capsys.readouterr().err


def test_a_world_that_had_ended_is_not_run_again(tmp_path: Path, small_log: Path) -> None:
    """Interrupted between the last checkpoint of a world and the note that it is done."""
    out = tmp_path / "run"
    assert command.main([*SHORT_RUN, "--log", str(small_log), "--out", str(out)]) == 0
    manifest = json.loads((out / "manifest.json").read_text())
    before = (out / "results.json").read_text()
    stages = [stage for stage in manifest["stages"] if not stage.startswith("world split")]
    (out / "manifest.json").write_text(
        json.dumps(manifest | {"status": "incomplete", "stages": stages})
    )
    assert command.main(["--resume", str(out), "--quiet"]) == 0
    assert (
        json.loads((out / "results.json").read_text())["effects"] == json.loads(before)["effects"]
    )


def test_a_damaged_run_is_not_resumed(
    tmp_path: Path, small_log: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    assert (
        command.main(
            [
                *SHORT_RUN,
                "--set",
                "truth=false",
                "--log",
                str(small_log),
                *SHORT_FLAGS,
                "--out",
                str(out),
            ]
        )
        == 0
    )
    manifest = json.loads((out / "manifest.json").read_text())
    stages = [stage for stage in manifest["stages"] if not stage.startswith("world split")]
    half = manifest | {"status": "incomplete", "stages": stages}

    def refused(line: str, stored: object = half) -> None:
        (out / "manifest.json").write_text(json.dumps(stored))
        assert command.main(["--resume", str(out), "--quiet"]) == 2
        said = capsys.readouterr().err
        assert line in said
        assert len(said.splitlines()) == 1

    refused("is damaged or incomplete", [])
    refused("'experiment'", {"format": manifest["format"], "status": "incomplete", "stages": []})
    refused("'status'", {"format": manifest["format"], "experiment": manifest["experiment"]})
    refused("unknown setting", half | {"experiment": manifest["experiment"] | {"horses": 3}})
    about = out / "checkpoint" / "split-itemknn" / "000-0000.json"
    whole = about.read_text()
    for text in ("{", "[]", "{}"):
        about.write_text(text)
        refused("damaged or incomplete")
    about.write_text(whole)
    next((out / "impressions").rglob("*.parquet")).unlink()
    refused("is incomplete: impressions/")
