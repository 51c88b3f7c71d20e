"""Loaders: the layouts, string ids, thresholds, and one clear line for what cannot be used."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from policies.common.errors import InputError
from policies.sources.copies import Fingerprints
from policies.sources.datasets import load
from policies.sources.levels import MIDDLE_OF_RATIOS
from simulator.fitting.fit_users import fit_users
from tests.conftest import SHORT, shared_data

GOOD = pd.DataFrame(
    {
        "uid": ["bob", "ann", "bob", "ann", "cy"],
        "iid": ["x9", "x1", "x1", "x9", "x1"],
        "ts": [100, 200, 4000, 260, 300],
        "clicked": [1, 0, 0, 1, 1],
        "stars": [5, 2, 1, 4, 5],
    }
)
COLUMNS = "user=uid,item=iid,time=ts,click=clicked"


def csv(frame: pd.DataFrame, folder: Path, name: str = "log.csv", sep: str = ",") -> str:
    frame.to_csv(folder / name, index=False, sep=sep)
    return str(folder / name)


def test_string_ids_times_and_sessions(tmp_path: Path) -> None:
    data = load(csv(GOOD, tmp_path), COLUMNS)
    assert data.user_ids.tolist() == ["ann", "bob", "cy"]
    assert data.catalogue.ids.tolist() == ["", "x1", "x9"]
    assert data.log.time.tolist() == [-3900, -3800, -3740, -3700, 0]
    bob = data.log.rows(data.log.user == 1)
    assert bob.session.tolist() == [0, 1]  # a pause of more than 30 minutes
    assert data.catalogue.ids[bob.item].tolist() == ["x9", "x1"]


@pytest.mark.parametrize(("name", "sep"), [("a.tsv", "\t"), ("a.csv", ",")])
def test_ratings_become_clicks_by_a_stated_threshold(tmp_path: Path, name: str, sep: str) -> None:
    path = csv(GOOD, tmp_path, name, sep)
    data = load(path, "user=uid,item=iid,time=ts,rating=stars", click_threshold=4)
    assert data.log.clicked.sum() == 3
    assert any("at least 4" in note for note in data.notes)
    with pytest.raises(InputError, match="need --click-threshold"):
        load(path, "user=uid,item=iid,time=ts,rating=stars")


def test_parquet_and_recbole_inter_hold_the_same(tmp_path: Path) -> None:
    GOOD.to_parquet(tmp_path / "log.parquet")
    inter = GOOD.rename(
        columns={
            "uid": "user_id:token",
            "iid": "item_id:token",
            "ts": "timestamp:float",
            "stars": "rating:float",
        }
    )
    path = csv(inter.drop(columns="clicked"), tmp_path, "log.inter", "\t")
    a, b = load(str(tmp_path / "log.parquet"), COLUMNS), load(path, click_threshold=4)
    assert np.array_equal(a.log.item, b.log.item)
    assert np.array_equal(a.log.clicked, b.log.clicked)


def test_rows_may_lack_a_propensity(tmp_path: Path) -> None:
    path = csv(GOOD.assign(p=[0.5, None, 0.25, 1.0, None]), tmp_path)
    log = load(path, COLUMNS + ",propensity=p").log
    assert np.isnan(log.propensity).sum() == 2
    assert sorted(log.propensity[~np.isnan(log.propensity)].tolist()) == [0.25, 0.5, 1.0]
    with pytest.raises(InputError, match="propensity"):
        load(csv(GOOD.assign(p=["a", None, "b", "c", None]), tmp_path), COLUMNS + ",propensity=p")


@pytest.mark.parametrize(
    ("columns", "values", "line"),
    [
        ("watch=w", [1.0, -2.0, 3.0, 0.0, 4.0], "1 watch times are below 0"),
        ("watch=w", [1.0, np.inf, 3.0, 0.0, 4.0], "not finite"),
        (
            "watch=w,duration=d",
            [90.0, 0.0, 210.0, 0.0, 80.0],
            "times the duration of their item; say --watch-u",
        ),
        ("propensity=w", [0.5, 0.1, 20.0, 0.3, 0.2], "a propensity of 20"),
        ("propensity=w", [0.5, 0.1, 0.0, 0.3, 0.2], "a propensity of 0"),
    ],
)
def test_impossible_answers_are_refused(
    tmp_path: Path, columns: str, values: list[float], line: str
) -> None:
    path = csv(GOOD.assign(w=values, d=20.0), tmp_path)
    with pytest.raises(InputError, match=line):
        load(path, f"{COLUMNS},{columns}")


def test_days_as_numbers_are_no_seconds(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="YYYYMMDD"):
        load(
            csv(GOOD.assign(ts=[20231115, 20231116, 20231115, 20231201, 20231130]), tmp_path),
            COLUMNS,
        )


def test_rows_that_stand_twice_count_once(tmp_path: Path) -> None:
    once, twice = (
        load(csv(GOOD, tmp_path), COLUMNS),
        load(csv(pd.concat([GOOD, GOOD]), tmp_path, "two.csv"), COLUMNS),
    )
    assert np.array_equal(once.log.item, twice.log.item)
    assert any("5 rows that repeat" in note for note in twice.notes)
    assert not any("repeat" in note for note in once.notes)


def test_dates_of_parquet_are_times(tmp_path: Path) -> None:
    plain = load(csv(GOOD, tmp_path), COLUMNS)
    for zone in (None, "UTC"):
        GOOD.assign(ts=pd.to_datetime(GOOD["ts"], unit="s").dt.tz_localize(zone)).to_parquet(
            tmp_path / "dated.parquet"
        )
        assert np.allclose(load(str(tmp_path / "dated.parquet"), COLUMNS).log.time, plain.log.time)


@pytest.mark.parametrize("first", [0, 1, 40_000])
def test_pages_are_counted_within_their_session(tmp_path: Path, first: int) -> None:
    pages = [first, first, first + 1, first, first + 1]
    frame = GOOD.assign(uid=["ann", "ann", "ann", "bob", "bob"], s="one", p=pages, ts=range(5))
    assert load(csv(frame, tmp_path), COLUMNS + ",session=s,page=p").log.page.tolist() == [
        0,
        0,
        1,
        0,
        1,
    ]


def test_rows_without_a_session_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="2 of 5 rows have no session"):
        load(csv(GOOD.assign(s=["a", None, "b", None, "c"]), tmp_path), COLUMNS + ",session=s")


def test_iso_dates_are_times(tmp_path: Path) -> None:
    dated = GOOD.assign(ts=pd.to_datetime(GOOD["ts"], unit="s").astype(str))
    assert (
        load(csv(dated, tmp_path), COLUMNS).log.time.tolist()
        == load(csv(GOOD, tmp_path, "b.csv"), COLUMNS).log.time.tolist()
    )


def test_kuairand_official_csv(tmp_path: Path) -> None:
    n = 40
    rng = np.random.default_rng(0)
    log = pd.DataFrame(
        {
            "user_id": rng.integers(0, 5, n),
            "video_id": rng.integers(0, 9, n),
            "date": 20220422,
            "hourmin": 100,
            "time_ms": 1_650_000_000_000 + np.arange(n) * 1000,
            "is_click": np.arange(n) % 2,
            "is_like": 0,
            "is_hate": 0,
            "long_view": np.arange(n) % 2,
            "play_time_ms": 5000,
            "duration_ms": 20_000,
            "is_rand": 0,
            "tab": 1,
        }
    )
    csv(log, tmp_path, "log_standard_4_22_to_5_08_pure.csv")
    csv(log.assign(is_click=1), tmp_path, "log_random_4_22_to_5_08_pure.csv")
    features = pd.DataFrame(
        {"video_id": np.arange(9), "tag": ["1,2"] * 9, "video_duration": [20_000.0] * 9}
    )
    csv(features, tmp_path, "video_features_basic_pure.csv")
    data = load(f"kuairand:{tmp_path}")
    assert len(data.log) == n
    assert data.log.clicked.mean() == 0.5
    assert data.calibration["random_click_rate"][0] == 0.176


def test_movielens_layouts_agree(tmp_path: Path) -> None:
    ratings = pd.DataFrame(
        {
            "userId": [1, 1, 2],
            "movieId": [10, 20, 10],
            "rating": [4.0, 3.5, 5.0],
            "timestamp": [1, 2, 3],
        }
    )
    for name in ("csv", "dat"):
        (tmp_path / name).mkdir()
    csv(ratings, tmp_path / "csv", "ratings.csv")
    csv(
        pd.DataFrame(
            {"movieId": [10, 20], "title": ["A", "B"], "genres": ["Drama|Crime", "Comedy"]}
        ),
        tmp_path / "csv",
        "movies.csv",
    )
    lines = ["::".join(map(str, row)) for row in ratings.itertuples(index=False)]
    (tmp_path / "dat" / "ratings.dat").write_text("\n".join(lines))
    a, b = load(f"movielens:{tmp_path / 'csv'}"), load(f"movielens:{tmp_path / 'dat'}")
    assert np.array_equal(a.log.clicked, b.log.clicked)
    assert a.log.clicked.sum() == 2
    assert a.catalogue.categories == ("none", "Comedy", "Drama")


@pytest.mark.parametrize(
    ("change", "columns", "message"),
    [
        ({}, "user=uid,item=iid,time=when,click=clicked", "the file has: uid, iid, ts"),
        ({}, "user=uid,itm=iid,time=ts", "did you mean 'item'"),
        ({"ts": 1}, "user=uid,item=iid", "needs a column for time"),
        ({"ts": ["a", "b", "c", "d", "e"]}, COLUMNS, "no number and no date"),
        ({"ts": [1, None, 3, 4, 5]}, COLUMNS, "1 of 5 times are missing"),
        ({"clicked": 0}, COLUMNS, "no click at all"),
        ({"uid": "ann"}, COLUMNS, "one user"),
        ({"clicked": ["ja", "no", "yes", "no", "no"]}, COLUMNS, "'ja' for click is no number"),
    ],
)
def test_what_cannot_be_used_is_said_in_one_line(
    tmp_path: Path, change: dict, columns: str | None, message: str
) -> None:
    with pytest.raises(InputError, match=message) as caught:
        load(csv(GOOD.assign(**change), tmp_path), columns)
    assert "\n" not in str(caught.value)


def test_missing_and_empty_files(tmp_path: Path) -> None:
    (tmp_path / "empty.csv").write_text("")
    for spec, message in (
        ("nowhere.csv", "there is no file"),
        (str(tmp_path / "empty.csv"), "is empty"),
        ("kuairand:nowhere", "no folder"),
        (f"kuairand:{tmp_path}", "holds neither"),
        ("movielnes:x", "did you mean 'movielens'"),
        (csv(GOOD[:0], tmp_path, "none.csv"), "is empty"),
    ):
        with pytest.raises(InputError, match=message):
            load(spec, COLUMNS if spec.endswith(".csv") else None)


def test_the_real_kuairand_log() -> None:
    data = load(f"kuairand:{shared_data('kuairand_pure')}")
    assert (len(data.log), data.catalogue.size) == (222_457, 7583)
    assert data.log.clicked.mean() == pytest.approx(0.44961, abs=1e-5)
    assert "sessions" not in data.has


def test_the_real_movietweetings_log() -> None:
    data = load(f"movietweetings:{shared_data('movietweetings_100k')}")
    assert (len(data.log), data.n_users, data.catalogue.size) == (100_000, 16_554, 10_506)
    assert data.log.clicked.mean() == pytest.approx(0.50542)


def test_a_logs_own_level_scales_what_random_slates_are_assumed_to_get(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    n = 4000
    frame = pd.DataFrame(
        {
            "user": rng.integers(0, 50, n),
            "item": rng.integers(0, 80, n),
            "time": np.arange(n) * 60.0,
        }
    )
    frame.assign(click=(rng.random(n) < 0.03).astype(int)).to_csv(tmp_path / "few.csv", index=False)
    data = load(str(tmp_path / "few.csv"))
    assert data.calibration["random_click_rate"][0] == pytest.approx(
        MIDDLE_OF_RATIOS * data.log.clicked.mean()
    )
    frame.to_csv(tmp_path / "choices.csv", index=False)
    assert load(str(tmp_path / "choices.csv")).calibration["random_click_rate"][0] == 0.176
    given = load(str(tmp_path / "few.csv"), calibration={"random_click_rate": 0.01})
    assert given.calibration["random_click_rate"] == (0.01, "given on the command line")


def test_a_log_in_which_every_row_is_a_click_has_no_skips(tmp_path: Path) -> None:
    ratings = pd.DataFrame(
        {"u": [1, 1, 2, 2], "i": [1, 2, 1, 3], "t": [0, 9, 5, 7], "r": [4.0, 5.0, 4.5, 4.0]}
    )
    words = csv(ratings, tmp_path, "ratings.csv"), "user=u,item=i,time=t,rating=r"
    high = load(*words, click_threshold=4.5)
    assert "skips" in high.has
    low = load(*words, click_threshold=4.0)
    assert "skips" not in low.has
    assert low.calibration["random_click_rate"][0] == 0.176  # no level of its own to scale
    assert any("Every row is one" in note for note in low.notes)


def test_a_column_of_answers_that_nobody_named_is_refused(tmp_path: Path) -> None:
    names = {"uid": "user", "iid": "item", "ts": "time", "clicked": "bought"}
    path = csv(GOOD.rename(columns=names).drop(columns="stars"), tmp_path, "answers.csv")
    with pytest.raises(InputError, match=r"one of 0 and 1 \(bought\)"):
        load(path)
    # said so: every row is a click
    assert "skips" not in load(path, "user=user,item=item,time=time").has
    assert "skips" in load(path, "user=user,item=item,time=time,click=bought").has


def test_milliseconds_are_converted_and_said(tmp_path: Path) -> None:
    plain = load(csv(GOOD, tmp_path), COLUMNS)
    late = load(csv(GOOD.assign(ts=GOOD["ts"] * 1000 + 1_700_000_000_000), tmp_path), COLUMNS)
    assert np.allclose(plain.log.time, late.log.time)
    assert any("Times are milliseconds, converted to seconds" in note for note in late.notes)


def test_lines_of_users_and_their_items_tell_the_order_alone(tmp_path: Path) -> None:
    path = tmp_path / "lines.txt"
    path.write_text("ann 9 7 8\nbob 8 7\n\ncem 7\n")
    data = load(str(path))
    assert data.has == {"order_only"}
    assert data.user_ids.tolist() == ["ann", "bob", "cem"]
    by_user = data.log.by_user()
    assert [data.catalogue.ids[i] for i in by_user.item] == ["9", "7", "8", "8", "7", "7"]
    assert (np.diff(by_user.time)[[0, 1, 3]] == 60.0).all()
    assert data.log.clicked.all()
    # The newest choices of all users are the last rows, whoever has how many.
    assert set(data.log.user[-3:].tolist()) == {0, 1, 2}
    with pytest.raises(InputError, match="--columns and --click-threshold are for tables"):
        load(str(path), columns="user=a")


def test_users_of_an_order_have_assumed_times(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    lines = [f"{u} " + " ".join(map(str, rng.choice(60, 8, replace=False))) for u in range(80)]
    (tmp_path / "order.txt").write_text("\n".join(lines))
    users = fit_users(load(str(tmp_path / "order.txt")), 0, 4, lambda text: None, chains=SHORT)
    assert (users.hours == 1.0).all()
    assert users.provenance["hours"][0] == "assumed"
    assumed = ("gap_long_mean", "leave", "satiation", "drift", "new_users", "shift", "like")
    assert {name for name in assumed if users.parameters[name].status != "assumed"} == set()


@pytest.mark.parametrize(
    ("times", "line"),
    [
        (
            ["03/04/2024", "04/04/2024", "05/04/2024", "06/04/2024", "07/04/2024"],
            "first or its second number",
        ),
        ([0, 1_700_000_000, 1_700_000_100, 1_700_000_200, 1_700_000_300], "span 54 years"),
        ([5, 5, 5, 5, 5], "all 5 times are the same"),
        (
            ["0001-01-01", "2024-01-01", "2024-01-02", "2024-01-03", "2024-01-04"],
            "reach the year 1",
        ),
    ],
)
def test_times_that_mislead_are_refused(tmp_path: Path, times: list[object], line: str) -> None:
    with pytest.raises(InputError, match=line):
        load(csv(GOOD.assign(ts=times), tmp_path), COLUMNS)


def test_days_without_hours_tell_no_sessions(tmp_path: Path) -> None:
    days = pd.Series(pd.date_range("2024-01-01", periods=5)).astype(str)
    data = load(csv(GOOD.assign(ts=days), tmp_path), COLUMNS)
    assert "sessions" not in data.has
    assert "order_only" in data.has
    assert any("whole days" in note for note in data.notes)
    assert any("5 rows over 4 days" in note for note in data.notes)


def test_slots_written_one_by_one_make_pages(tmp_path: Path) -> None:
    """Every row has a second of its own: a page ends where the slots start again, and
    has one time.
    """
    frame = pd.DataFrame(
        {
            "uid": ["ann"] * 5 + ["bob"],
            "iid": list("abcdef"),
            "ts": range(100, 130, 5),
            "clicked": [1, 0] * 3,
            "s": [0, 1, 2, 0, 1, 0],
        }
    )
    log = load(csv(frame, tmp_path), COLUMNS + ",slot=s").log
    assert log.page.tolist() == [0, 0, 0, 1, 1, 0]
    assert log.slot.tolist() == [0, 1, 2, 0, 1, 0]
    assert (log.time - log.time.min()).tolist() == [0, 0, 0, 15, 15, 25]
    stated = load(csv(frame.assign(p=[7, 7, 8, 8, 8, 9]), tmp_path), COLUMNS + ",page=p").log
    assert stated.page.tolist() == [0, 0, 1, 1, 1, 0]
    assert stated.slot.tolist() == [0, 1, 0, 1, 2, 0]


@pytest.mark.parametrize(
    ("columns", "threshold", "line"),
    [
        ("user=uid,user=iid,item=iid,time=ts,click=clicked", None, "names user twice"),
        ("user=uid,item=iid,time=ts,click=coded", None, "none of them 0"),
        (COLUMNS + ",rating=stars", 4.0, "has clicks and ratings"),
    ],
)
def test_columns_that_can_be_read_in_two_ways(
    tmp_path: Path, columns: str, threshold: float | None, line: str
) -> None:
    with pytest.raises(InputError, match=line):
        load(csv(GOOD.assign(coded=[2, 1, 1, 2, 2]), tmp_path), columns, threshold)


def test_an_item_has_its_most_frequent_category(tmp_path: Path) -> None:
    catalogue = load(
        csv(GOOD.assign(k=["odd", "film", None, None, "film"]), tmp_path), COLUMNS + ",category=k"
    ).catalogue
    assert [catalogue.categories[k] for k in catalogue.category[1:]] == ["film", "odd"]


def test_calibration_points_have_bounds(tmp_path: Path) -> None:
    for key, value in (
        ("logged_click_rate", 7.0),
        ("sessions_per_day", np.inf),
        ("pages_per_session", np.nan),
    ):
        with pytest.raises(InputError, match=f"{key}=.* must be from"):
            load(csv(GOOD, tmp_path), COLUMNS, calibration={key: value})


@pytest.mark.parametrize(
    ("kind", "name"), [("movietweetings", "events.parquet"), ("kuairand", "events.parquet")]
)
def test_damaged_folders_are_refused(tmp_path: Path, kind: str, name: str) -> None:
    (tmp_path / name).write_text("no parquet")
    with pytest.raises(InputError, match="cannot be read"):
        load(f"{kind}:{tmp_path}")


def test_a_folder_of_other_columns_is_refused(tmp_path: Path) -> None:
    pd.DataFrame({"userId": [1], "movieId": [2], "stars": [3]}).to_csv(tmp_path / "ratings.csv")
    with pytest.raises(InputError, match="lacks the column 'timestamp'"):
        load(f"movielens:{tmp_path}")


def test_whole_numbers_are_ids_in_the_order_of_numbers(tmp_path: Path) -> None:
    frame = pd.DataFrame({"user": [10, 9, -3, 10], "item": [2**62, 5, 2**62, 40]})
    frame = frame.assign(time=[1.0, 2.0, 3.0, 4.0], click=[1, 0, 1, 0])
    frame.to_parquet(tmp_path / "log.parquet")
    data = load(str(tmp_path / "log.parquet"))
    assert data.user_ids.tolist() == ["-3", "9", "10"]
    # one of 19 digits is no plain number: these are in the order of the alphabet
    assert data.catalogue.ids.tolist() == ["", "40", str(2**62), "5"]
    as_text = frame.assign(user=frame["user"].astype(str), item=frame["item"].astype(str))
    other = load(csv(as_text, tmp_path))
    assert other.user_ids.tolist() == data.user_ids.tolist()
    assert other.catalogue.ids.tolist() == data.catalogue.ids.tolist()
    np.testing.assert_array_equal(other.log.item, data.log.item)


@pytest.mark.parametrize("dtype", ["float64", "Int64", "object", "boolean", "datetime64[ns]"])
def test_copies_are_told_in_whatever_batch_they_stand(dtype: str) -> None:
    kinds = {"object": ["a", "b", "a", None], "boolean": [True, False, True, None]}
    values = pd.array(kinds.get(dtype, [1, 2, 1, None]), dtype=dtype)
    first = pa.RecordBatch.from_pandas(pd.DataFrame({"x": values, "y": [1, 2, 3, 4]}))
    second = pa.RecordBatch.from_pandas(pd.DataFrame({"x": values[[0, 0, 3]], "y": [1, 3, 4]}))
    numbers = Fingerprints()
    for batch in (first, second):
        numbers.add(batch)
    copy = numbers.copies(lambda: [first, second])
    assert copy.tolist() == [False] * 4 + [True, True, True]
