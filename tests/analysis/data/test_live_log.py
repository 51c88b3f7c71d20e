"""Real A/B logs: the same report, counted warnings, one clear line for what cannot be judged."""

import json
import re
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis import AnalysisError
from analysis.data.live_log import open_log
from analysis.data.live_source import LiveLog
from analysis.report import main
from tests.live_logs import COLUMNS, columns_of, judge_file, log, results_of, verdict_of


def test_a_csv_log_gets_the_same_report(csv: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert judge_file(csv, "--control", "old", "--segments", "country") == 0
    shown = capsys.readouterr().out
    assert shown.startswith("new beats old on clicks per user by")
    out = csv.parent / "report"
    results = json.loads((out / "results.json").read_text())
    page = (out / "report.html").read_text(encoding="utf-8")
    assert not re.search(r'(src|href)="(?!data:|#)', page)
    assert "simulat" not in page.lower().replace("python -m simulator.validate", "")
    assert {path.stem for path in (out / "figures").glob("*.png")} >= {
        "forest",
        "time_levels",
        "time_cumulative",
        "time_daily",
        "time_exposure",
    }
    found = {row["metric"]: row for row in results["effects"]["rows"]}
    assert set(found) == {"clicks", "click_rate", "watch_time", "sessions", "days_active"}
    frame = log()
    inside = frame[frame["ts"] >= "2026-05-03"]
    rate = inside.groupby("variant")["clicked"].mean()
    assert found["click_rate"]["control_mean"] == pytest.approx(rate["old"], rel=1e-9)
    day = results["over_time"][0]["by_day"]["levels"][0]
    first = inside[inside["ts"] < "2026-05-04"].groupby("variant")["clicked"].sum()
    users = {arm: found["clicks"][f"n_{arm}"] for arm in ("control", "treatment")}
    assert day["control"] == pytest.approx(first["old"] / users["control"], rel=1e-9)
    assert day["treatment"] == pytest.approx(first["new"] / users["treatment"], rel=1e-9)
    assert found["clicks"]["low"] < 0.5 < found["clicks"]["high"]
    assert found["clicks"]["variance_saved"] > 0.1
    assert {row["segment"] for row in results["segments"]["rows"]} >= {"country", "activity"}
    assert results["monitor"][0]["stopped"] is not None
    assert any("before the start" in text for text in results["remarks"])
    assert results["segments"]["left_out"] == []
    assert results["segments"]["silent"] == [["new", "users"]]  # all of them returned
    for told in (page, (out / "report.md").read_text(encoding="utf-8")):
        assert "Not two levels with 50 users in each arm: users." in told


def test_parquet_in_a_folder_and_numbers_for_times_say_the_same(csv: Path, tmp_path: Path) -> None:
    assert judge_file(csv, "--control", "old") == 0
    frame = log()
    frame["ts"] = (frame["ts"] - pd.Timestamp("1970-01-01")).dt.total_seconds()
    parts = tmp_path / "parts" / "deeper"
    parts.mkdir(parents=True)
    for i, part in enumerate(np.array_split(np.arange(len(frame)), 3)):
        frame.iloc[part].to_parquet(parts / f"{i}.parquet")
    words = [
        "--impressions",
        str(tmp_path / "parts"),
        "--columns",
        COLUMNS,
        "--control",
        "old",
        "--start",
        "2026-05-03",
    ]
    assert main([*words, "--out", str(tmp_path / "again")]) == 0
    one, two = (
        json.loads((tmp_path / name / "results.json").read_text()) for name in ("report", "again")
    )
    for a, b in zip(one["effects"]["rows"], two["effects"]["rows"], strict=True):
        assert a.keys() == b.keys()
        for key, value in a.items():
            assert b[key] == (pytest.approx(value, rel=1e-9) if isinstance(value, float) else value)


def test_bad_rows_are_counted_and_said(tmp_path: Path) -> None:
    frame = log()
    frame["variant"] = frame["variant"].astype(object)
    clean = frame.copy()
    frame.loc[frame["uid"] == "a7", "variant"] = "old"
    mixed = frame.index[(frame["uid"] == "a7") & (frame["ts"] >= "2026-05-03")]
    frame.loc[mixed[0], "variant"] = "new"
    late = frame.index[(frame["ts"] >= "2026-05-03") & (frame["uid"] != "a7")]
    frame.loc[late[:3], "variant"] = None
    frame.loc[late[5:7], "secs"] = -4.0
    frame.loc[late[9], "uid"] = None
    path = tmp_path / "log.csv"
    frame.to_csv(path, index=False)
    source = LiveLog(
        path,
        dict(part.split("=") for part in COLUMNS.split(",")),
        control="old",
        start="2026-05-03",
    )
    with open_log(source) as trial:
        text = "; ".join(trial.warnings)
        for words in (
            "1 row without a user left out",
            "3 rows without an arm left out",
            "2 negative or infinite watch times taken as missing",
            "1 user seen in more than one arm left out",
        ):
            assert words in text
        assert len(trial.users) == clean["uid"].nunique() - 1
        table = trial.table()
        assert (
            table["clicks"].sum()
            == frame.loc[late.difference([*late[:3], late[9]]), "clicked"].sum()
        )
        assert (table["watch_seconds"] >= 0).all()


def test_assigned_users_who_never_came_count(csv: Path, tmp_path: Path) -> None:
    frame = log().groupby("uid")["variant"].first().reset_index()
    more = pd.DataFrame({"uid": [f"never{i}" for i in range(200)], "variant": ["old", "new"] * 100})
    pd.concat([frame, more]).to_csv(tmp_path / "all.csv", index=False)
    columns = dict(part.split("=") for part in COLUMNS.split(","))
    source = LiveLog(
        csv, columns, control="old", start="2026-05-03", assignments=tmp_path / "all.csv"
    )
    with open_log(source) as trial:
        table = trial.table()
    assert len(table) == len(frame) + 200
    assert (table["clicks"] == 0).sum() >= 200


@pytest.mark.parametrize(
    ("change", "flags", "words"),
    [
        (lambda f: f[f["variant"] == "old"], [], "one arm alone, 'old'"),
        (
            lambda f: f,
            ["--control", "A"],
            "--control 'A' is not in the log; its arms are: new, old",
        ),
        (lambda f: f, ["--weights", "old=.5,newer=.5"], "disagree about 'new'"),
        (lambda f: f.assign(clicked=3), [], "holds '3'; wanted 0 and 1"),
        (lambda f: f.assign(ts="yesterday"), [], "column 'ts' (for time) holds 'yesterday'"),
        (lambda f: f.assign(ts=1.7e12), [], "all times are the same"),
        (lambda f: f.rename(columns={"uid": "usr"}), [], "no column 'uid' for user in 'log.csv'"),
        (lambda f: f, ["--start", "soon"], "--start 'soon': wanted a date"),
        (
            lambda f: f,
            ["--start", "2030-01-01"],
            "lies outside the log, which goes from 2026-05-01",
        ),
        (lambda f: f, ["--start", "1.5.2026"], "wanted a date like 2026-05-01 (UTC)"),
        (lambda f: f, ["--numbers", "revenue"], "no column 'revenue' (for numbers)"),
        (lambda f: f, ["--primary", "joy"], "unknown metric 'joy'"),
        (lambda f: f, ["--primary", "likes"], "has no 'likes'; choose --primary among: clicks"),
        (lambda f: f, ["--segments", "land"], "no column 'land' (for segments)"),
        (lambda f: f, ["--monitor", "daily"], "--monitor 'daily' is unknown"),
        (lambda f: f, ["--metrics", "no.such:THING"], "--metrics 'no.such:THING'"),
        (lambda f: f, ["--days", "0"], "--days must be at least 1"),
    ],
)
def test_what_cannot_be_judged_gets_one_line(
    change: Any, flags: Any, words: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change(log(60)).to_csv(tmp_path / "log.csv", index=False)
    assert judge_file(tmp_path / "log.csv", *flags) == 2
    said = capsys.readouterr().err
    assert words in said
    assert said.count("\n") == 1
    assert not (tmp_path / "report").exists()


def test_a_missing_file_and_two_things_at_once_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--impressions", str(tmp_path / "no.csv")]) == 2
    assert main([str(tmp_path), "--impressions", str(tmp_path)]) == 2
    assert main([str(tmp_path), "--primary", "clicks"]) == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 3
    assert "a run keeps the settings" in said[2]


def test_before_the_planned_end_only_a_crossing_concludes_anything(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    log(600, 0.12).to_csv(path, index=False)
    assert verdict_of(path).startswith("new beats old")  # one look, at the end
    under_way = verdict_of(path, "--days", "30")
    assert under_way.startswith("Day 6 of 30, no bound crossed")
    assert "nothing is concluded yet" in under_way
    assert verdict_of(path, "--days", "30", "--monitor", "none").endswith(
        "nothing is concluded before the end."
    )
    log(600, 0.6).to_csv(path, index=False)
    assert re.match(
        r"Crossed its bound on day \d of 30: new beats old", verdict_of(path, "--days", "30")
    )
    log(600, 0.0, seed=1).to_csv(path, index=False)
    assert "with a look a day" in verdict_of(path, "--monitor", "cs")


@pytest.mark.parametrize(
    ("more", "by_looks"), [((), False), (("--days", "30"), True), (("--monitor", "cs"), True)]
)
def test_a_report_says_which_interval_is_the_one_to_quote(
    csv: Path, more: tuple[str, ...], by_looks: bool
) -> None:
    assert judge_file(csv, "--control", "old", *more) == 0
    told = (csv.parent / "report" / "report.md").read_text(encoding="utf-8")
    assert ("The verdict is by these looks" in told) == by_looks
    assert ("The verdict looks once, at the end" in told) != by_looks
    assert "Looked at every day with" in told


def test_rows_after_the_planned_end_are_left_out_and_counted(csv: Path) -> None:
    columns = dict(part.split("=") for part in COLUMNS.split(","))
    with open_log(LiveLog(csv, columns, control="old", start="2026-05-03", days=3)) as trial:
        table, days = trial.table(), trial.days
        assert any("after the planned end left out" in text for text in trial.warnings)
    frame = log()
    inside = frame[(frame["ts"] >= "2026-05-03") & (frame["ts"] < "2026-05-06")]
    assert days == 3
    assert table["clicks"].sum() == inside["clicked"].sum()


def test_arms_are_those_of_the_test_whatever_stood_there_before(csv: Path, tmp_path: Path) -> None:
    frame = log()
    frame["variant"] = np.where(frame["ts"] < "2026-05-03", "everybody", frame["variant"])
    frame.to_csv(tmp_path / "other.csv", index=False)
    columns = dict(part.split("=") for part in COLUMNS.split(","))
    tables = []
    for path in (csv, tmp_path / "other.csv"):
        with open_log(LiveLog(path, columns, control="old", start="2026-05-03")) as trial:
            tables.append(trial.table())
            assert trial.warnings == []
    pd.testing.assert_frame_equal(tables[0], tables[1])


def test_a_red_light_stands_above_the_verdict(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frame = log(2000)
    number = frame["uid"].str[1:].astype(int)
    frame[~((frame["variant"] == "new") & (number % 10 < 3))].to_csv(
        tmp_path / "log.csv", index=False
    )
    assert judge_file(tmp_path / "log.csv", "--control", "old") == 0
    assert capsys.readouterr().out.startswith("Do not trust the figures below: sample ratio")
    page = (tmp_path / "report" / "report.html").read_text(encoding="utf-8")
    assert page.index("Do not trust") < page.index("new beats old")


def test_a_broken_split_is_found_on_the_day_that_it_breaks(tmp_path: Path) -> None:
    frame = log(6000, days=8)
    number = frame["uid"].str[1:].astype(int)
    enters = number % 8  # the day on which a user comes first
    lost = (
        (frame["variant"] == "new") & (enters >= 4) & (number % 10 < 5)
    )  # from day 4 on half of one arm's users are lost
    frame = frame[((frame["ts"] - frame["ts"].min()).dt.days >= enters) & ~lost]
    frame.to_parquet(tmp_path / "log.parquet")
    with open_log(
        LiveLog(
            tmp_path / "log.parquet", dict(p.split("=") for p in COLUMNS.split(",")), control="old"
        )
    ) as trial:
        results = results_of(trial)
    assert 5 <= results["sample_ratio_every_day"]["day"] <= 7
    assert results["sample_ratio"]["pvalue"] < 0.001


def test_every_pair_of_three_arms(tmp_path: Path) -> None:
    frame = log(900)
    third = frame["uid"].str.slice(1).astype(int) % 3
    frame["variant"] = np.array(["old", "new", "newer"])[third]
    frame.to_parquet(tmp_path / "log.parquet")
    with open_log(
        LiveLog(
            tmp_path / "log.parquet", dict(p.split("=") for p in COLUMNS.split(",")), control="old"
        )
    ) as trial:
        results = results_of(trial)
    assert {(r["arm"], r["against"]) for r in results["pairs"]} == {
        ("new", "old"),
        ("newer", "old"),
        ("new", "newer"),
    }
    assert all(row["pvalue_adjusted"] >= row["pvalue"] for row in results["pairs"])
    assert [row["arm"] for row in results["monitor"]] == ["new", "newer"]


def test_days_without_rows_do_no_harm(tmp_path: Path) -> None:
    frame = log(days=9)
    day = (frame["ts"] - pd.Timestamp("2026-05-01")).dt.days
    frame[~day.isin([4, 5, 6, 7])].to_csv(tmp_path / "log.csv", index=False)  # four days in a row
    with open_log(
        LiveLog(
            tmp_path / "log.csv", columns_of(), control="old", start="2026-05-03", monitor="pocock"
        )
    ) as trial:
        found = results_of(trial)["monitor"][0]
    assert found["low"] < 0.5 < found["high"]


def test_an_arm_without_a_click_has_lost(tmp_path: Path) -> None:
    frame = log()
    frame.loc[(frame["variant"] == "new") & (frame["ts"] >= "2026-05-03"), ["clicked", "secs"]] = 0
    frame.to_csv(tmp_path / "log.csv", index=False)
    assert verdict_of(tmp_path / "log.csv").startswith(
        "new loses to old on clicks per user by 100 %"
    )


def test_days_are_those_of_utc_whatever_the_machine_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame = log()
    frame["ts"] = frame["ts"].dt.tz_localize("UTC")
    frame.to_parquet(tmp_path / "log.parquet")
    tables = []
    for zone in ("UTC", "Asia/Tokyo"):
        monkeypatch.setenv("TZ", zone)
        time.tzset()
        with open_log(
            LiveLog(tmp_path / "log.parquet", columns_of(), control="old", start="2026-05-03")
        ) as trial:
            tables.append(trial.table())
    monkeypatch.undo()
    time.tzset()
    pd.testing.assert_frame_equal(*tables)


def test_a_value_that_is_no_number_spoils_no_other(csv: Path, tmp_path: Path) -> None:
    frame = log()
    frame["secs"] = frame["secs"].astype(object)
    row = frame.index[(frame["ts"] >= "2026-05-03") & (frame["secs"] > 0)][0]
    lost = frame.loc[row, "secs"]
    frame.loc[row, "secs"] = "nan"
    frame.to_csv(tmp_path / "nan.csv", index=False)
    totals = []
    for path in (csv, tmp_path / "nan.csv"):
        with open_log(LiveLog(path, columns_of(), control="old", start="2026-05-03")) as trial:
            totals.append(trial.table()["watch_seconds"].sum())
    assert totals[0] - totals[1] == pytest.approx(lost, abs=1e-6)


def test_a_stray_time_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    frame = log(60)
    frame.loc[frame.index[-1], "ts"] = pd.Timestamp("2029-01-01")
    frame.to_csv(tmp_path / "log.csv", index=False)
    assert judge_file(tmp_path / "log.csv", "--control", "old") == 2
    assert "look for a time that is wrong" in capsys.readouterr().err


def test_assignments_decide_the_arm(csv: Path, tmp_path: Path) -> None:
    frame = log()
    truth = frame.groupby("uid")["variant"].first().reset_index()
    truth.to_csv(tmp_path / "all.csv", index=False)
    mixed = frame.copy()
    mixed.loc[mixed["uid"].isin(truth["uid"][:40]) & (mixed.index % 2 == 0), "variant"] = "new"
    mixed.to_csv(tmp_path / "mixed.csv", index=False)
    tables = []
    for path in (csv, tmp_path / "mixed.csv"):
        source = LiveLog(
            path, columns_of(), control="old", start="2026-05-03", assignments=tmp_path / "all.csv"
        )
        with open_log(source) as trial:
            tables.append(trial.table())
            said = trial.warnings
    pd.testing.assert_frame_equal(*tables)
    assert any("counted for the assigned arm" in text for text in said)
    truth.assign(uid="x").to_csv(tmp_path / "none.csv", index=False)
    with (
        pytest.raises(AnalysisError, match="no user of the log is in"),
        open_log(LiveLog(csv, columns_of(), start="2026-05-03", assignments=tmp_path / "none.csv")),
    ):
        pass


@pytest.mark.parametrize("arm", ["model[v2]", "x[/b]", "p$5_$^", "a|b", "it's; drop"])
def test_arms_are_called_as_people_call_them(
    arm: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frame = log(200)
    frame["variant"] = frame["variant"].replace("new", arm)
    frame.to_csv(tmp_path / "log.csv", index=False)
    assert judge_file(tmp_path / "log.csv", "--control", "old") == 0
    assert arm in capsys.readouterr().out


def test_segments_may_be_called_like_totals(tmp_path: Path) -> None:
    frame = log()
    for name in ("clicks", "users", "sessions"):
        frame[name] = frame["country"]
    frame.to_csv(tmp_path / "log.csv", index=False)
    assert (
        judge_file(tmp_path / "log.csv", "--control", "old", "--segments", "clicks,users,sessions")
        == 0
    )
    rows = json.loads((tmp_path / "report" / "results.json").read_text())["segments"]["rows"]
    assert {row["segment"] for row in rows} >= {"clicks", "users", "sessions", "activity"}


def test_a_day_without_a_lift_keeps_its_levels(tmp_path: Path) -> None:
    frame = log()
    frame["revenue"] = frame["clicked"] * 1.0
    day = pd.to_datetime(frame["ts"]).dt.strftime("%Y-%m-%d")
    frame.loc[(frame["variant"] == "old") & (day == "2026-05-04"), "revenue"] = 0.0
    frame.to_csv(tmp_path / "log.csv", index=False)
    words = ["--control", "old", "--numbers", "revenue", "--primary", "revenue"]
    assert judge_file(tmp_path / "log.csv", *words) == 0
    found = json.loads((tmp_path / "report" / "results.json").read_text())["over_time"][0]["by_day"]
    days = [level["day"] for level in found["levels"]]
    assert days == list(range(1, len(days) + 1))
    assert [row["day"] for row in found["rows"]] == [day for day in days if day != 2]
    assert found["levels"][1]["control"] == 0.0 < found["levels"][1]["treatment"]
