"""Live logs that were once judged wrongly without a word: each is judged right now, said to be
doubtful above the verdict, or refused with its place.
"""

import json
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pytest

from analysis.data.flaws import Flaw, flaw_of
from analysis.data.live_import import import_log
from analysis.data.live_log import open_log
from analysis.data.live_source import LiveLog
from analysis.report import main
from policies.common.errors import InputError
from tests.fuzzed_files import fuzzed_file

START = 1_777_600_000


def frame_of(n: int = 6000, users: int = 300, seed: int = 0, lift: float = 0.0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    user = rng.integers(0, users, n)
    arm = np.where(user % 2 == 0, "A", "B")
    return pd.DataFrame(
        {
            "user": user,
            "bucket": arm,
            "time": START + np.sort(rng.choice(6 * 86_400, n, replace=False)),
            "click": (rng.random(n) < 0.2 * (1 + lift * (arm == "B"))).astype(int),
            "item": rng.integers(0, 90, n),
        }
    )


def judged(frame: pd.DataFrame, folder: Path, *more: str, name: str = "log.csv") -> Any:
    """The results, and what the terminal said is in `report.md`."""
    path, out = folder / name, folder / "report"
    if name.endswith(".parquet"):
        frame.to_parquet(path)
    else:
        frame.to_csv(path, index=False)
    assert main(["--impressions", str(path), "--out", str(out), *more]) == 0
    return json.loads((out / "results.json").read_text())


def light(results: Any, name: str) -> str | None:
    return next((x["colour"] for x in results["lights"] if x["name"] == name), None)


def flaws_of(frame: pd.DataFrame, folder: Path) -> tuple[list[Flaw], float]:
    """The flaws, and clicks of all users."""
    frame.to_csv(folder / "log.csv", index=False)
    with open_log(LiveLog(folder / "log.csv")) as test:
        return test.flaws, float(test.table()["clicks"].sum())


def test_rows_that_one_arm_has_twice_are_left_out_and_red(tmp_path: Path) -> None:
    frame = frame_of()
    again = frame[(frame["bucket"] == "B") & (np.arange(len(frame)) % 3 == 0)]
    results = judged(pd.concat([frame, again]), tmp_path)
    assert light(results, "Copied rows") == "red"
    (flaw,) = results["flaws"]
    assert flaw["bad"] == {"A": 0, "B": len(again)}
    text = (tmp_path / "report" / "report.md").read_text()
    assert text.index("Do not trust the figures below: copied rows") < text.index("Inconclusive")
    _, clicks = flaws_of(pd.concat([frame, again]), tmp_path)
    assert clicks == frame["click"].sum()


def test_a_broken_guardrail_is_red_and_no_reason_for_distrust(tmp_path: Path) -> None:
    """Users of B come on three of six days, and click as often."""
    frame = frame_of()
    kept = frame[(frame["bucket"] == "A") | (frame["time"] < START + 3 * 86_400)]
    judged(kept, tmp_path, "--primary", "click_rate")
    report = tmp_path / "report"
    for page in ("report.md", "report.html"):
        text = (report / page).read_text()
        assert "A guardrail is broken" in text
        assert "20 of them with any clicks" in text
        assert "Do not trust" not in text


def test_copies_that_strike_the_arms_alike_are_counted_alone(tmp_path: Path) -> None:
    frame = frame_of()
    both = pd.concat([frame, frame.iloc[::10]])
    ((flaw,), clicks) = flaws_of(both, tmp_path)
    assert flaw.total == len(frame.iloc[::10])
    assert flaw.pvalue > 0.001
    assert clicks == frame["click"].sum()


def test_an_aa_log_has_the_copies_alarm_as_often_as_it_says() -> None:
    """Copies by chance: users differ in how many they have, and the user is the unit."""
    found = []
    with duckdb.connect() as db:
        for seed in range(100):
            rng = np.random.default_rng(seed)
            frame = frame_of(1500, 80, seed)
            prone = rng.random(80) < 0.3
            rows = frame.assign(copy=prone[frame["user"]] & (rng.random(len(frame)) < 0.3))
            db.register("rows", rows)
            flaw = flaw_of(db, "rows", "copy", "Copied rows", "rows")
            assert flaw is not None
            found.append(flaw.pvalue)
            db.unregister("rows")
    assert np.mean(np.array(found) < 0.05) < 0.05 + 3 * np.sqrt(0.05 * 0.95 / 100)


def test_rows_without_items_may_repeat(tmp_path: Path) -> None:
    frame = frame_of().drop(columns="item")
    again = pd.concat([frame, frame[frame["bucket"] == "B"].iloc[:500]])
    results = judged(again, tmp_path)
    assert light(results, "Repeated rows") == "amber"
    assert results["arms"]["rows"][0]["users"] > 0
    _, clicks = flaws_of(again, tmp_path)
    assert clicks == again["click"].sum()


@pytest.mark.parametrize("name", ["log.csv", "log.parquet"])
def test_answers_that_are_missing_in_one_arm_are_red(tmp_path: Path, name: str) -> None:
    frame = frame_of().astype({"click": "Int64"})
    frame.loc[(frame["bucket"] == "B") & (np.arange(len(frame)) % 3 == 0), "click"] = pd.NA
    results = judged(frame, tmp_path, name=name)
    assert light(results, "Missing clicks") == "red"
    assert results["flaws"][0]["bad"]["A"] == 0


def test_a_control_below_0_has_a_difference_and_no_lift(tmp_path: Path) -> None:
    frame = frame_of()
    rng = np.random.default_rng(1)
    frame["profit"] = rng.normal(-1, 1, len(frame)) + 0.5 * (frame["bucket"] == "B")
    results = judged(frame, tmp_path, "--numbers", "profit", "--primary", "profit")
    (row,) = (r for r in results["effects"]["rows"] if r["metric"] == "profit")
    assert row["lift"] is None
    assert row["difference_low"] < 10 < row["difference_high"]
    assert results["verdicts"][0].startswith("B beats A on profit per user by ")
    assert "there is no lift" in results["verdicts"][0]


def test_one_user_who_carries_the_figure_is_named_and_can_be_capped(tmp_path: Path) -> None:
    frame = frame_of(4000, 400)
    n = 20_000
    bot = (
        frame.iloc[:1]
        .loc[frame.index[:1].repeat(n)]
        .assign(
            user=401, bucket="B", time=START + np.arange(n) * 20, click=1, item=np.arange(n) % 90
        )
    )
    results = judged(pd.concat([frame, bot]), tmp_path)
    (row,) = (r for r in results["effects"]["rows"] if r["metric"] == "clicks")
    assert (row["low"] <= 0 <= row["high"]) == (row["pvalue"] >= 0.05)
    assert any("1 user has" in text for text in results["warnings"])
    (tmp_path / "capped").mkdir()
    capped = judged(pd.concat([frame, bot]), tmp_path / "capped", "--winsorize", ".995")
    (row,) = (r for r in capped["effects"]["rows"] if r["metric"] == "clicks")
    assert abs(row["lift"]) < 0.2
    assert any("capped" in text for text in capped["remarks"])


def test_slots_that_begin_at_1_count_pages(tmp_path: Path) -> None:
    frame = frame_of().assign(slot=lambda f: np.arange(len(f)) % 4)
    plain = judged(frame, tmp_path)
    (tmp_path / "one").mkdir()
    shifted = judged(frame.assign(slot=frame["slot"] + 1), tmp_path / "one")
    assert plain["arms"] == shifted["arms"]
    assert any("Slots begin at 1: 6000 are shifted" in text for text in shifted["remarks"])


@pytest.mark.parametrize(
    ("column", "value"), [("slot", "sidebar"), ("like", 7), ("watch", "phone"), ("hate", "nein")]
)
def test_columns_that_nobody_named_block_nothing(
    tmp_path: Path, column: str, value: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    frame = frame_of().assign(**{column: value})
    judged(frame, tmp_path, "--columns", "user=user,bucket=bucket,time=time,click=click")
    capsys.readouterr()
    out = str(tmp_path / "other")
    assert main(["--impressions", str(tmp_path / "log.csv"), "--out", out]) == 2
    said = capsys.readouterr().err
    assert f"line 2, column '{column}'" in said
    assert said.count("\n") == 1


def test_paths_are_names_and_folders_no_columns(tmp_path: Path) -> None:
    folder = tmp_path / "click=1" / "bucket=Z"
    folder.mkdir(parents=True)
    (folder / "log1.csv").write_text("user,bucket,time,click\n")
    frame = frame_of()
    results = judged(frame, folder, name="log[1].csv")
    rate = frame["click"].mean()
    assert results["arms"]["rows"][0]["click_rate"] == pytest.approx(rate, rel=0.2)
    whole = tmp_path / "parts"
    (whole / "click=1").mkdir(parents=True)
    frame.to_parquet(whole / "click=1" / "ab.parquet")
    out = tmp_path / "hive"
    assert main(["--impressions", str(whole), "--out", str(out)]) == 0
    hive = json.loads((out / "results.json").read_text())
    assert hive["effects"]["rows"] == results["effects"]["rows"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda f: f.assign(time=pd.to_datetime(f["time"], unit="s").dt.strftime("%Y%m%d")),
            "YYYYMMDD",
        ),
        (lambda f: f.assign(time=(f["time"] - START) // 3600), "may be minutes, hours or days"),
        (lambda f: f.assign(time="05/01/2026"), "may be its first or its second"),
        (
            lambda f: f.assign(click=f["click"].astype(object).where(f.index > 0, "ja")),
            "line 2, column 'click'",
        ),
        (lambda f: f.assign(click=2), "(for click) holds '2'; wanted 0 and 1"),
    ],
)
def test_what_has_two_readings_is_refused(
    tmp_path: Path, change: Any, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    change(frame_of(600)).to_csv(tmp_path / "log.csv", index=False)
    assert main(["--impressions", str(tmp_path / "log.csv"), "--out", str(tmp_path / "r")]) == 2
    said = capsys.readouterr().err
    assert words in said
    assert said.count("\n") == 1


def test_files_of_a_folder_must_agree(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parts = tmp_path / "parts"
    parts.mkdir()
    frame = frame_of()
    frame.iloc[:3000].to_csv(parts / "d1.csv", index=False)
    frame.iloc[3000:].drop(columns="item").to_csv(parts / "d2.csv", index=False)
    words = ["--impressions", str(parts), "--out", str(tmp_path / "r")]
    assert main(words) == 2
    assert "d2.csv' has no column 'item'" in capsys.readouterr().err
    frame.iloc[3000:].to_csv(parts / "d2.csv", index=False)
    (parts / "d0.csv").write_text("")
    assert main(words) == 0
    assert "'d0.csv' is empty" in capsys.readouterr().out.replace("\n", " ")


def test_the_start_says_its_zone(tmp_path: Path) -> None:
    frame = frame_of()
    zoned = pd.to_datetime(frame["time"], unit="s", utc=True).dt.tz_convert("Asia/Tokyo")
    frame = frame.assign(time=zoned.astype(str))
    results = judged(frame, tmp_path, "--start", "2026-05-02T09:00+09:00")
    assert any("begins at 2026-05-02 00:00:00 UTC" in text for text in results["remarks"])


def test_words_for_events_are_clicks(tmp_path: Path) -> None:
    frame = frame_of()
    words = frame.drop(columns="click").assign(event=np.where(frame["click"] == 1, "buy", "view"))
    plain = judged(frame, tmp_path)
    (tmp_path / "words").mkdir()
    said = judged(words, tmp_path / "words", "--click-when", "event=buy")
    assert plain["effects"]["rows"] == said["effects"]["rows"]


def in_b(frame: pd.DataFrame, share: int = 3) -> pd.Series:
    return (frame["bucket"] == "B") & (np.arange(len(frame)) % share == 0)


@pytest.mark.parametrize(
    ("change", "more", "name"),
    [
        (lambda f: f.assign(rev=np.where(in_b(f), np.nan, 1.0)), ("--numbers", "rev"), "rev"),
        (lambda f: f.assign(rev=np.where(in_b(f), np.inf, 1.0)), ("--numbers", "rev"), "rev"),
        (lambda f: f.assign(watch=np.where(in_b(f), -1.0, 5.0)), (), "watch times"),
        (lambda f: f.assign(session=f["time"].where(~in_b(f)) // 3600), (), "sessions"),
        (lambda f: f.assign(time=f["time"].where(~in_b(f))), (), None),
        (lambda f: f.assign(user=f["user"].where(~in_b(f)).astype("Int64")), (), None),
    ],
)
def test_whatever_is_missing_in_one_arm_is_red(
    tmp_path: Path, change: Any, more: tuple[str, ...], name: str | None
) -> None:
    results = judged(change(frame_of()), tmp_path, *more)
    assert light(results, "Lost rows" if name is None else f"Missing {name}") == "red"


def test_users_of_several_arms_who_are_many_are_red(tmp_path: Path) -> None:
    frame = frame_of()
    busy = frame["user"].isin([1, 3, 5, 7])
    moved = frame[busy].groupby("user").head(1).assign(bucket="A", time=START)
    results = judged(pd.concat([frame, moved]), tmp_path)
    assert light(results, "Users in several arms") == "red"


@pytest.mark.parametrize(
    ("change", "more", "words"),
    [
        (lambda f: f.assign(Time=3), ("--numbers", "Time"), "the name is taken"),
        (lambda f: f.assign(clicked=3), ("--numbers", "clicked"), "the name is taken"),
        (lambda f: f, ("--columns", "user=user,bucket=bucket,time=time,click=click,click=item"),
         "'click' stands twice"),
        (lambda f: f.assign(event="view"), ("--click-when", "event=buy"), "does not stand in col"),
        (lambda f: f.assign(bucket=np.where(f.index % 9 == 0, "A ", f["bucket"])), (),
         "the arms 'A' and 'A ' differ"),
        (lambda f: f.assign(user=f["user"].astype(str).where(f.index > 40, f["user"] + 0.0)), (),
         "differ in the way they are written alone"),
        (lambda f: f.assign(propensity=5), (), "a propensity of 5"),
        (lambda f: f.assign(slot=np.where(f.index == 3, 1e30, 0)), (), "wanted whole numbers"),
        (lambda f: f.assign(time=np.where(f.index > 3, "25/05/2026", "31/06/2026")), (),
         "there is no date '31/06/2026'"),
        (lambda f: f.assign(time=np.where(f.index > 3, "25/05/2026 10:00:00",
                                          "26/05/2026 10:00:00 +09:00")), (),
         "write all times in one way"),
    ],
)  # fmt: skip
def test_more_of_what_has_two_readings_is_refused(
    tmp_path: Path,
    change: Any,
    more: tuple[str, ...],
    words: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    change(frame_of(600)).to_csv(tmp_path / "log.csv", index=False)
    out = ["--out", str(tmp_path / "r")]
    frame = ["--impressions", str(tmp_path / "log.csv")]
    if "--click-when" in more:
        frame += ["--columns", "user=user,bucket=bucket,time=time"]
    assert main([*frame, *out, *more]) == 2
    said = capsys.readouterr().err
    assert words in said
    assert said.count("\n") == 1


def test_watch_times_in_milliseconds_are_converted_and_said(tmp_path: Path) -> None:
    frame = frame_of(4000, 20)
    frame["time"] = START + np.arange(4000) * 20
    frame["watch"] = 60_000.0
    results = judged(frame, tmp_path)
    assert any("milliseconds, converted to seconds" in text for text in results["remarks"])
    (row,) = (r for r in results["effects"]["rows"] if r["metric"] == "watch_time")
    assert row["control_mean"] == pytest.approx(4000 / 20 * 60, rel=0.2)


def test_few_users_are_red_above_the_verdict(tmp_path: Path) -> None:
    results = judged(frame_of(400, 20), tmp_path)
    assert light(results, "Enough to judge") == "red"
    text = (tmp_path / "report" / "report.md").read_text()
    assert "Do not trust the figures below: enough to judge, A has 10 users" in text


def test_names_break_neither_line_nor_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frame = frame_of()
    evil = "B<img src=x>\n\x1b[31m| `"
    frame["bucket"] = frame["bucket"].map({"A": "A", "B": evil})
    frame.to_json(tmp_path / "log.jsonl", orient="records", lines=True)
    out = tmp_path / "report"
    assert (
        main(["--impressions", str(tmp_path / "log.jsonl"), "--control", "A", "--out", str(out)])
        == 0
    )
    shown = capsys.readouterr().out
    assert "\x1b[31m" not in shown.replace("\x1b[1;31m", "")
    assert "\\x1b[31m" in shown
    for name in ("report.md", "report.html"):
        assert "<img src=x" not in (out / name).read_text(encoding="utf-8")
    assert "&lt;img" in (out / "report.md").read_text(encoding="utf-8")


def test_fuzzed_logs_are_judged_or_refused(tmp_path: Path) -> None:
    """`benchmarks/fuzz.py --reader live` reads 20,000 of them."""
    read = 0
    for seed in range(100):
        path = fuzzed_file(seed, tmp_path, live=True)
        try:
            with duckdb.connect(config={"threads": 1}) as db:
                import_log(db, LiveLog(path))
            read += 1
        except InputError as refused:
            line = str(refused)
            if "\n" in line:
                pytest.fail(f"seed {seed}: {line}")
        path.unlink()
    assert read >= 50
