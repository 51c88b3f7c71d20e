"""Logs that were once read wrongly without a word: each is read right now, or refused with its
place.
"""

import gzip
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from policies.common.errors import InputError
from policies.log import Dataset
from policies.sources.datasets import load, load_as
from policies.sources.lines import read_lines
from policies.sources.roles import Reading
from tests.fuzzed_files import fuzzed_file

START = 1_777_600_000


def frame_of(n: int = 240, seed: int = 0) -> pd.DataFrame:
    """Visits of pages of six, hours apart."""
    rng = np.random.default_rng(seed)
    page = np.arange(n) // 6
    return pd.DataFrame(
        {
            "user": [f"{u:05d}" for u in page % 12],
            "item": [f"{i:03d}" for i in (np.arange(n) * 7 + page) % 40],
            "time": START + page * 3600,
            "click": (rng.random(n) < 0.3).astype(int),
        }
    )


def written(frame: pd.DataFrame, path: Path, **options: Any) -> str:
    frame.to_csv(path, index=False, **options)
    return str(path)


def said(data: Dataset) -> str:
    return " ".join(data.notes)


def test_ids_are_text_whatever_they_look_like(tmp_path: Path) -> None:
    frame = frame_of()
    frame.loc[0, "item"], frame.loc[1, "item"] = "2", "002"
    frame.loc[2, "item"], frame.loc[3, "item"] = "NA", "null"
    for name in ("log.csv", "log.csv.gz", "LOG.CSV"):
        data = load(written(frame, tmp_path / name))
        assert set(data.user_ids) == set(frame["user"])
        assert set(data.catalogue.ids[1:]) == set(frame["item"])
        assert {"2", "002", "NA", "null"} <= set(data.catalogue.ids)
    frame.to_parquet(tmp_path / "log.parquet")
    assert set(load(str(tmp_path / "log.parquet")).catalogue.ids[1:]) == set(frame["item"])


def test_plain_numbers_keep_the_order_of_numbers(tmp_path: Path) -> None:
    frame = frame_of().assign(item=lambda f: f["item"].astype(int) + 1)
    data = load(written(frame, tmp_path / "log.csv"))
    assert data.catalogue.ids[1:].tolist() == [str(i) for i in range(1, 41)]


def test_a_gap_makes_no_floats_of_ids(tmp_path: Path) -> None:
    """pandas writes whole numbers with a gap as 17.0."""
    numbers = np.arange(240) % 7 + 10.0
    table = pa.table(frame_of().assign(user=numbers))
    pq.write_table(table, tmp_path / "log.parquet")
    assert load(str(tmp_path / "log.parquet")).user_ids.tolist() == [str(i) for i in range(10, 17)]
    large = frame_of().assign(user=numbers * 1e16)
    large.to_parquet(tmp_path / "large.parquet")
    with pytest.raises(InputError, match="stands for several whole numbers"):
        load(str(tmp_path / "large.parquet"))


@pytest.mark.parametrize("ending", [".tsv", ".inter"])
def test_a_stray_quote_loses_no_rows_where_nothing_is_quoted(tmp_path: Path, ending: str) -> None:
    frame = frame_of()
    frame.loc[0, "item"] = '"stray'
    head = [f"{name}:token" if ending == ".inter" else name for name in frame.columns]
    lines = ["\t".join(head), *("\t".join(map(str, row)) for row in frame.to_numpy())]
    (tmp_path / f"log{ending}").write_text("\n".join(lines) + "\n")
    data = load(str(tmp_path / f"log{ending}"))
    assert len(data.log) == len(frame)
    assert '"stray' in data.catalogue.ids


def test_a_stray_quote_in_a_csv_is_refused_where_it_would_swallow_rows(tmp_path: Path) -> None:
    lines = written(frame_of(), tmp_path / "log.csv")
    rows = Path(lines).read_text().splitlines()
    rows[3] = '"' + rows[3]
    rows[9] = rows[9].replace(",", '",', 1)
    Path(lines).write_text("\n".join(rows) + "\n")
    with pytest.raises(InputError, match=r"line 4, column 'user': a quote opens a value"):
        load(lines)
    # a line end within a quoted text is none
    noted = frame_of().assign(note="two\nlines, one value")
    assert len(load(written(noted, tmp_path / "noted.csv")).log) == len(noted)


def test_copies_are_told_by_all_columns_of_the_file(tmp_path: Path) -> None:
    frame = frame_of()
    twice = pd.concat([frame, frame.iloc[:30]])
    copied = load(written(twice, tmp_path / "twice.csv"))
    assert len(copied.log) == len(frame)
    assert "30 rows that repeat another one" in said(copied)
    numbered = twice.assign(event_id=range(len(twice)))
    assert len(load(written(numbered, tmp_path / "numbered.csv")).log) == len(twice)


def test_repeats_of_a_day_are_no_copies(tmp_path: Path) -> None:
    days = frame_of().assign(time=lambda f: pd.to_datetime(f["time"], unit="s").dt.date.astype(str))
    days = pd.concat([days, days.iloc[:60]])
    data = load(written(days, tmp_path / "days.csv"))
    assert len(data.log) == len(days)
    assert "copies cannot be told from repeats" in said(data)


@pytest.mark.parametrize(
    ("times", "line"),
    [
        (lambda t: pd.to_datetime(t, unit="s").dt.strftime("%Y%m%d"), "written as YYYYMMDD"),
        (lambda t: pd.to_datetime(t, unit="s").dt.strftime("%Y%m%d%H"), "written as YYYYMMDDHH"),
        (lambda t: pd.to_datetime(t, unit="s").dt.strftime("%Y%m%d%H%M%S"), "YYYYMMDDHHMMSS"),
        (None, "its first"),
        (lambda t: (t - START) // 3600, "may be minutes, hours or days"),
        (lambda t: t // 86_400, "may be minutes, hours or days"),
        (lambda t: (t - START) * 1000, "may be milliseconds"),
        (lambda t: t // 60, "may be minutes, hours or days"),
        (lambda t: START // 20 + (t - START), "neither seconds since 1970 nor since the log began"),
        (lambda t: t.where(t.index > 3, t * 1000), "two units"),
        (lambda t: t.astype(str).where(t.index > 3, "2026-05-01"), "write all times in one way"),
        (lambda t: "12:30", "no number and no date with one reading"),
        (lambda t: "01/05/26", "no number and no date with one reading"),
        (lambda t: "2026-02-30", "there is no date '2026-02-30'"),
        (lambda t: 9e18, "times reach the year 2255"),
        (lambda t: True, "no number and no date"),
    ],
)
def test_times_with_two_readings_are_refused(tmp_path: Path, times: Any, line: str) -> None:
    frame = frame_of()
    if line == "its first":  # days that may be months
        day = pd.Series(pd.date_range("2026-05-01", periods=9)).dt.strftime("%d/%m/%Y")
        frame["time"] = day.iloc[np.arange(240) % 9].to_numpy()
    else:
        frame["time"] = times(frame["time"])
    with pytest.raises(InputError, match=line) as refused:
        load(written(frame, tmp_path / "log.csv"))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("times", "words"),
    [
        (lambda t: t * 1000, "milliseconds, converted"),
        (lambda t: t * 1_000_000, "microseconds, converted"),
        (lambda t: t * 1_000_000_000, "nanoseconds, converted"),
        (lambda t: pd.to_datetime(t, unit="s").dt.strftime("%m/%d/%Y %H:%M:%S"), "month first"),
        (lambda t: pd.to_datetime(t, unit="s").dt.strftime("%d.%m.%Y %H:%M:%S"), "day first"),
        (lambda t: pd.to_datetime(t, unit="s").dt.strftime("%Y/%m/%d %H:%M:%S"), "2026-05-"),
        (lambda t: pd.to_datetime(t, unit="s").dt.strftime("%d %b %Y %H:%M:%S"), "2026-05-"),
        (lambda t: pd.to_datetime(t, unit="s").dt.strftime("[%d/%b/%Y:%H:%M:%S +0000]"), "2026-05"),
        (lambda t: pd.to_datetime(t, unit="s").dt.strftime("%Y-%m-%dT%H:%M:%S,000Z"), "2026-05-"),
        (
            lambda t: pd.to_datetime(t + 7200, unit="s").dt.strftime("%Y-%m-%dT%H:%M:%S+02:00"),
            "2026-05-",
        ),
    ],
)
def test_every_way_of_writing_a_time_gives_the_same_log(
    tmp_path: Path, times: Any, words: str
) -> None:
    frame = frame_of(2400)  # beyond the twelfth of the month
    plain = load(written(frame, tmp_path / "plain.csv"))
    other = load(written(frame.assign(time=times(frame["time"])), tmp_path / "other.csv"))
    assert np.allclose(plain.log.time, other.log.time)
    assert plain.hour_zero == pytest.approx(other.hour_zero)
    assert words in said(other)


@pytest.mark.parametrize("unit", ["min", "h", "d"])
def test_a_unit_that_is_said_is_taken(tmp_path: Path, unit: str) -> None:
    scale = {"min": 60, "h": 3600, "d": 86_400}[unit]
    frame = frame_of().assign(time=lambda f: (f["time"] - START) / scale)
    data = load_as(written(frame, tmp_path / "log.csv"), Reading(time_unit=unit))
    assert float(np.ptp(data.log.time)) == pytest.approx(39 * 3600)


def watched(scale: float, gap: int, duration: float | None = None) -> pd.DataFrame:
    """Pages `gap` seconds apart on which one item is watched for a third of that."""
    frame = frame_of().assign(time=lambda f: START + np.arange(240) // 6 * gap)
    frame["user"] = [f"u{i}" for i in np.arange(240) // 60]
    frame["watch"] = np.where(np.arange(240) % 6 == 0, gap / 3 * scale, 0)
    return frame if duration is None else frame.assign(duration=duration)


def test_watch_times_are_held_against_the_time_there_was(tmp_path: Path) -> None:
    seconds = load(written(watched(1, 60), tmp_path / "s.csv"))
    assert "taken as seconds" in said(seconds)
    millis = load(written(watched(1000, 60), tmp_path / "ms.csv"))
    assert "milliseconds, converted to seconds" in said(millis)
    assert np.allclose(seconds.log.watched, millis.log.watched)
    with pytest.raises(
        InputError, match="times the time to the user's next page; say --watch-unit"
    ):
        load(written(watched(20, 60), tmp_path / "odd.csv"))
    stated = load_as(written(watched(20, 60), tmp_path / "odd.csv"), Reading(watch_unit="ms"))
    assert stated.log.watched.max() == pytest.approx(0.4)


def test_watch_times_are_held_against_durations_row_by_row(tmp_path: Path) -> None:
    """No page has a next one in its session: the duration alone tells."""
    apart = 40_000
    both = watched(0.5, apart, 8000.0)  # 6,667 of 8,000: milliseconds or hours
    with pytest.raises(InputError, match="may be milliseconds; say --watch-unit"):
        load(written(both, tmp_path / "both.csv"))
    mixed = watched(0.05, apart, 30.0)  # 667 of 30 seconds
    data = load(written(mixed, tmp_path / "mixed.csv"))
    assert "milliseconds, converted to seconds" in said(data)
    assert np.nanmax(data.catalogue.duration) == 30.0


@pytest.mark.parametrize("kind", ["category", "text", "bool", "decimal"])
def test_flags_of_every_type_are_read(tmp_path: Path, kind: str) -> None:
    frame = frame_of()
    flags = frame["click"].astype(bool)
    column = {
        "category": pa.array(flags.astype(str).tolist()).dictionary_encode(),
        "text": pa.array(flags.astype(str).str.lower().tolist()),
        "bool": pa.array(flags.tolist()),
        "decimal": pa.array([Decimal(f"{c}.00") for c in frame["click"]]),
    }[kind]
    table = pa.table({**{c: frame[c].tolist() for c in ("user", "item", "time")}, "click": column})
    pq.write_table(table, tmp_path / "log.parquet")
    assert int(load(str(tmp_path / "log.parquet")).log.clicked.sum()) == int(flags.sum())


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (
            "user;item;time;click;watch\na;x;1777600000;1;1,5\nb;y;1777600100;0;2,0\n",
            "line 2, col.* '1,5' for watch",
        ),
        ("user,item,time,click\na,x,1777600000,1\n(2 rows affected)\n", "line 3: 1 values where"),
        ("user,item,time,click\na,x,1777600000,1\nb,y,1777600100,1,7\n", "line 3: 5 values where"),
        ("user,item,time,time\na,x,1,2\n", "two columns called 'time'"),
        (
            "user,item,time,click\na,x,1777600000,ja\nb,y,1777600009,0\n",
            "line 2, column 'click': 'ja'",
        ),
        ("", "is empty"),
    ],
)
def test_a_refusal_names_line_column_and_value(tmp_path: Path, content: str, line: str) -> None:
    (tmp_path / "log.csv").write_text(content)
    with pytest.raises(InputError, match=line) as refused:
        load(str(tmp_path / "log.csv"))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("encode", "line"),
    [
        (lambda text: text.encode("latin-1"), "line 2, column 'item': the bytes of 'Österreich'"),
        (lambda text: text.encode("utf-16"), "is UTF-16; save it as UTF-8"),
    ],
)
def test_another_encoding_is_named(tmp_path: Path, encode: Any, line: str) -> None:
    text = "user,item,time,click\na,Österreich,1777600000,1\nb,x,1777600100,0\n"
    (tmp_path / "log.csv").write_bytes(encode(text))
    with pytest.raises(InputError, match=line):
        load(str(tmp_path / "log.csv"))


def test_mixed_line_ends_a_mark_and_semicolons_are_read(tmp_path: Path) -> None:
    rows = [f"u{i % 3};i{i % 5};{START + 40 * i};{i % 2}" for i in range(30)]
    text = "user;item;time;click\r\n" + "\n".join(rows[:15]) + "\r\n" + "\r\n".join(rows[15:])
    (tmp_path / "log.csv").write_bytes(b"\xef\xbb\xbf" + text.encode())
    data = load(str(tmp_path / "log.csv"))
    assert len(data.log) == 30
    assert "separated by ';'" in said(data)


@pytest.mark.parametrize("column", ["user", "item", "time", "click"])
@pytest.mark.parametrize("kind", ["struct", "bytes", "list"])
def test_columns_of_no_use_are_refused_in_one_line(tmp_path: Path, column: str, kind: str) -> None:
    frame = frame_of()
    columns: dict[str, Any] = {name: frame[name].tolist() for name in frame.columns}
    columns[column] = {
        "struct": pa.array([{"a": 1}] * len(frame)),
        "bytes": pa.array([b"\xff\xfe"] * len(frame)),
        "list": pa.array([[1]] * len(frame)),
    }[kind]
    pq.write_table(pa.table(columns), tmp_path / "log.parquet")
    with pytest.raises(InputError, match=r"'log.parquet', row 1, column") as refused:
        load(str(tmp_path / "log.parquet"))
    assert "\n" not in str(refused.value)


# -- what people have ------------------------------------------------------------------------------


def test_json_lines_keep_numbers_as_they_are_written(tmp_path: Path) -> None:
    frame = frame_of().assign(user=lambda f: f["user"].astype(int) + 2**60)
    lines = [
        json.dumps({k: int(v) if k != "item" else v for k, v in row.items()})
        for row in frame.to_dict("records")
    ]
    (tmp_path / "log.jsonl.gz").write_bytes(gzip.compress("\n".join(lines).encode()))
    data = load(str(tmp_path / "log.jsonl.gz"))
    assert set(data.user_ids) == set(map(str, frame["user"]))
    assert int(data.log.clicked.sum()) == int(frame["click"].sum())
    (tmp_path / "bad.jsonl").write_text('{"user": 1}\n{"user": \n')
    with pytest.raises(InputError, match="line 2: no JSON"):
        load(str(tmp_path / "bad.jsonl"))


def test_grouplens_files_need_no_folder(tmp_path: Path) -> None:
    rows = [(1, 10, 4, 100), (1, 20, 3, 500), (2, 10, 5, 900)]
    for name, sep in (("u.data", "\t"), ("ratings.dat", "::")):
        (tmp_path / name).write_text("\n".join(sep.join(map(str, row)) for row in rows))
        data = load(str(tmp_path / name), click_threshold=4)
        assert (len(data.log), int(data.log.clicked.sum())) == (3, 2)


def test_pairs_of_user_and_item_are_lines_too(tmp_path: Path) -> None:
    (tmp_path / "pairs.txt").write_text("ann 3\nbob 3\nann 5\nann 4\nbob 4\n")
    (tmp_path / "lines.txt").write_text("ann 3 5 4\nbob 3 4\n")
    for one, two in zip(read_lines(tmp_path / "pairs.txt"), read_lines(tmp_path / "lines.txt")):
        assert one.tolist() == two.tolist()


@pytest.mark.parametrize(
    "names",
    [
        {"user": "userId", "item": "movieId", "time": "timestamp"},
        {"user": "visitorid", "item": "itemid", "time": "timestamp"},
        {"user": "User ID", "item": "Product_ID", "time": "created_at"},
    ],
)
def test_usual_names_are_recognised_and_said(tmp_path: Path, names: dict[str, str]) -> None:
    data = load(written(frame_of().rename(columns=names), tmp_path / "log.csv"))
    assert len(data.log) == 240
    assert f"user={names['user']}" in said(data)


def test_two_columns_that_could_be_meant_are_refused(tmp_path: Path) -> None:
    frame = frame_of().rename(columns={"time": "timestamp"}).assign(date="2026-05-01")
    with pytest.raises(InputError, match="'timestamp' and 'date' could both be the time"):
        load(written(frame, tmp_path / "log.csv"))


def test_words_for_events_are_clicks_where_one_says_so(tmp_path: Path) -> None:
    words = np.array(["view", "view", "addtocart", "buy"])[np.arange(240) % 4]
    frame = frame_of().drop(columns="click").assign(event=words)
    path = written(frame, tmp_path / "log.csv")
    with pytest.raises(InputError, match=r"view \(120\).*--click-when event=WORD"):
        load(path)
    data = load_as(path, Reading(click_when="event=buy,addtocart"))
    assert int(data.log.clicked.sum()) == 120
    assert "view (120)" in said(data)
    with pytest.raises(InputError, match="'bought' does not stand in column 'event'"):
        load_as(path, Reading(click_when="event=bought"))


def test_columns_that_nobody_named_play_no_part(tmp_path: Path) -> None:
    frame = frame_of().assign(slot="top", like="red", watch="long")
    data = load(written(frame, tmp_path / "log.csv"), "user=user,item=item,time=time,click=click")
    assert "slots" not in data.has
    with pytest.raises(InputError, match="for like is no number"):
        load(str(tmp_path / "log.csv"))


def test_paths_are_names_and_no_patterns(tmp_path: Path) -> None:
    for name in ("log[1].csv", "log1.csv", "a*b.csv", "q?.csv", "x=1.csv", "sp ace.csv", "ü.csv"):
        frame = frame_of(seed=len(name)).iloc[: 120 + len(name)]
        assert len(load(written(frame, tmp_path / name)).log) == len(frame)


def test_fuzzed_files_are_read_or_refused(tmp_path: Path) -> None:
    """`benchmarks/fuzz.py --reader sim` reads 20,000 of them."""
    read = 0
    for seed in range(300):
        path = fuzzed_file(seed, tmp_path, live=False)
        try:
            load(str(path))
            read += 1
        except InputError as refused:
            if "\n" in str(refused):
                pytest.fail(f"seed {seed}: {refused}")
        path.unlink()
    assert read >= 150
