"""Real logs by name: `kuairand:DIR`, `movietweetings:DIR`, `movielens:DIR`, or the path of an event
table.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from policies.catalogue import Catalogue
from policies.common.errors import InputError, suggestion
from policies.log import Dataset, Impressions
from policies.sources.event_table import from_frame, from_table
from policies.sources.files import readable
from policies.sources.levels import KUAIRAND_LEVELS, generic_level, given_levels
from policies.sources.roles import Reading
from policies.sources.times import times_of
from policies.sources.visits import pages_of, sessions_of

SCHEMES = ("kuairand", "movietweetings", "movielens")


def load(
    spec: str,
    columns: str | None = None,
    click_threshold: float | None = None,
    calibration: dict[str, float] | None = None,
) -> Dataset:
    """Loads a log; see `load_as`.

    Args:
        columns: "user=...,item=...,time=...,click=...|rating=..." for files.
        click_threshold: a rating (or value of the click column) of at least this counts as a click.
    """
    return load_as(spec, Reading(columns, click_threshold), calibration)


def load_as(spec: str, reading: Reading, calibration: dict[str, float] | None = None) -> Dataset:
    """Loads a log.

    Args:
        spec: "kuairand:DIR", "movietweetings:DIR", "movielens:DIR"; a .csv, .tsv, .inter or .jsonl
            file (also .gz), .parquet, u.data or ratings.dat; or a .txt of lines.
        reading: what a person says about its columns.
        calibration: levels that overrule the published ones, by the names in `LEVEL_NAMES`; they
            count as assumed.

    Raises:
        InputError: one line that says what is wrong with the log.
    """
    scheme, colon, rest = spec.partition(":")
    if colon and "/" not in scheme and scheme not in SCHEMES and not Path(spec).exists():
        raise InputError(
            f"unknown kind of log '{scheme}:'{suggestion(scheme, [*SCHEMES, 'world'])}"
        )
    if scheme in SCHEMES and colon:
        if reading != Reading(click_threshold=reading.click_threshold):
            raise InputError(
                "--columns, --click-when, --time-unit and --watch-unit are for event tables;"
                f" {scheme}: knows its columns"
            )
        folder = Path(rest)
        if not folder.is_dir():
            raise InputError(f"there is no folder '{folder}' for {scheme}:")
        loaders = {"kuairand": kuairand, "movietweetings": movietweetings, "movielens": movielens}
        try:
            with readable(folder):
                data = loaders[scheme](folder, reading.click_threshold)
        except KeyError as error:
            raise InputError(f"{scheme}: a file in '{folder}' lacks the column {error}") from None
    else:
        data = from_table(Path(spec), reading)
    levels = {"random_click_rate": generic_level(data), **data.calibration}
    levels |= given_levels(calibration or {})
    return replace(data, calibration=levels)


def kuairand(folder: Path, click_threshold: float | None = None) -> Dataset:
    """KuaiRand-Pure: the official CSV files, or `events.parquet`, `items.parquet` and
    `history_*.parquet`.
    """
    if click_threshold is not None:
        raise InputError("kuairand: has clicks of its own; --click-threshold is for ratings")
    if (folder / "events.parquet").exists():
        events = pd.read_parquet(folder / "events.parquet").rename(columns={"item_id": "video_id"})
        events["time"] = events["timestamp"] + events["ms"] / 1000
        items = pd.read_parquet(folder / "items.parquet").rename(columns={"item_id": "video_id"})
    else:
        events, items = _kuairand_csv(folder)
    histories = sorted(folder.glob("history_*.parquet"))
    past = pd.read_parquet(histories[0]) if histories else None
    everyone = (
        events["user_id"] if past is None else pd.concat([events["user_id"], past["user_id"]])
    )
    user_ids = np.unique(everyone.to_numpy())
    items = items.sort_values("video_id")
    catalogue = Catalogue.of(
        items["video_id"].astype(str).to_numpy(),
        items["tag"].fillna("").astype(str).str.split(",").str[0].to_numpy(),
        (items["video_duration"] / 1000).to_numpy(np.float32),
    )
    times = times_of(pa.array(events["time"]), "time", lambda row: f"kuairand, row {row + 1}", "s")
    time = times.time
    user = np.searchsorted(user_ids, events["user_id"])
    session = sessions_of(user, time)
    page, slot = pages_of(user, session, time)
    known = items["video_id"].to_numpy()
    if not events["video_id"].isin(known).all():
        raise InputError(f"kuairand: the log shows videos that '{folder}' does not describe")
    log = Impressions.of(
        user=user,
        item=np.searchsorted(known, events["video_id"]) + 1,
        time=time,
        session=session,
        page=page,
        slot=np.minimum(slot, 127),
        clicked=events["is_click"] > 0,
        liked=events["is_like"] > 0,
        hated=events["is_hate"] > 0,
        long_view=events["long_view"] > 0,
        watched=events["play_time_ms"] / 1000,
    ).sorted()
    notes = [
        (
            "A click is the log's is_click. Only videos of a fixed pool are logged, so sessions"
            " have holes: session length and return times are assumed from published counts."
        ),
        "The category is the first tag. Item counters are not used: they may include later days.",
    ]
    history = Impressions.empty()
    if past is not None:
        history = _kuairand_history(past, user_ids, known, float(time.min()))
        notes.append(
            f"{len(history)} long views before the log (order known, times made up) are given to"
            " policies and taste."
        )
    return Dataset(
        log.check(catalogue.size),
        catalogue,
        user_ids.astype(str),
        "kuairand",
        frozenset({"skips", "watch", "long_view", "likes", "hates"}),
        dict(KUAIRAND_LEVELS),
        tuple(notes),
        history,
        (times.hour + 8) % 24,
        times.ended,
    )


def _kuairand_csv(folder: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The official layout. Random exposures are left out: they are another policy's."""
    data = folder / "data" if (folder / "data").is_dir() else folder
    logs = sorted(data.glob("log_standard_*.csv"))
    basics = sorted(data.glob("video_features_basic*.csv"))
    if not logs or not basics:
        raise InputError(
            f"'{folder}' holds neither events.parquet nor log_standard_*.csv and"
            " video_features_basic*.csv"
        )
    events = pd.concat([pd.read_csv(path) for path in logs], ignore_index=True).drop_duplicates()
    wanted = [
        "user_id",
        "video_id",
        "time_ms",
        "is_click",
        "is_like",
        "is_hate",
        "long_view",
        "play_time_ms",
    ]
    missing = [name for name in wanted if name not in events]
    if missing:
        raise InputError(
            f"'{logs[0].name}' lacks {', '.join(missing)}; it has: {', '.join(events.columns)}"
        )
    events["time"] = events["time_ms"] / 1000
    return events, pd.read_csv(basics[0])


def _kuairand_history(
    past: pd.DataFrame, user_ids: np.ndarray, known: np.ndarray, start: float
) -> Impressions:
    """Long views before the log as clicks, a minute apart, the last one a minute before the log
    begins.
    """
    past = past[["user_id", "long_watch_seq"]].explode("long_watch_seq").dropna()
    item = past["long_watch_seq"].to_numpy(np.int64)
    from_end = past.groupby("user_id").cumcount(ascending=False).to_numpy()
    inside = np.isin(item, known)
    ones = np.ones(int(inside.sum()), bool)
    return Impressions.of(
        user=np.searchsorted(user_ids, past["user_id"].to_numpy())[inside],
        item=np.searchsorted(known, item[inside]) + 1,
        time=start - 60.0 * (from_end[inside] + 1),
        session=np.full(len(ones), -1),
        shown=~ones,
        clicked=ones,
        long_view=ones,
    )


def movietweetings(folder: Path, click_threshold: float | None = None) -> Dataset:
    """MovieTweetings: `events.parquet` and `items.parquet`, or `ratings.dat` and `movies.dat`;
    ratings 0 to 10.
    """
    if (folder / "events.parquet").exists():
        events = pd.read_parquet(folder / "events.parquet")
        genres = pd.read_parquet(folder / "items.parquet").set_index("item_id")["genres"].str[0]
    else:
        events, genres = _dat(folder, "ratings.dat", "movies.dat")
    return _ratings(
        events, genres, "movietweetings", 8.0 if click_threshold is None else click_threshold
    )


def movielens(folder: Path, click_threshold: float | None = None) -> Dataset:
    """MovieLens: `ratings.csv` and `movies.csv`, `ratings.dat` and `movies.dat`, or `u.data` and
    `u.item`.
    """
    if (folder / "ratings.csv").exists():
        events = pd.read_csv(folder / "ratings.csv").rename(
            columns={"userId": "user_id", "movieId": "item_id"}
        )
        films = (
            pd.read_csv(folder / "movies.csv").set_index("movieId")
            if (folder / "movies.csv").exists()
            else None
        )
        genres = None if films is None else films["genres"].str.split("|").str[0]
    elif (folder / "u.data").exists():
        names = ["user_id", "item_id", "rating", "timestamp"]
        events, genres = pd.read_csv(folder / "u.data", sep="\t", names=names), None
    else:
        events, genres = _dat(folder, "ratings.dat", "movies.dat")
    return _ratings(
        events, genres, "movielens", 4.0 if click_threshold is None else click_threshold
    )


def _dat(folder: Path, ratings: str, films: str) -> tuple[pd.DataFrame, pd.Series | None]:
    """GroupLens' `::`-separated files."""
    if not (folder / ratings).exists():
        raise InputError(f"'{folder}' holds no {ratings}, ratings.csv, u.data or events.parquet")
    names = ["user_id", "item_id", "rating", "timestamp"]
    events = pd.read_csv(folder / ratings, sep="::", names=names, engine="python")
    if not (folder / films).exists():
        return events, None
    table = pd.read_csv(
        folder / films,
        sep="::",
        names=["item_id", "title", "genres"],
        engine="python",
        encoding="latin-1",
    )
    return events, table.set_index("item_id")["genres"].str.split("|").str[0]


def _ratings(
    events: pd.DataFrame, genres: pd.Series | None, name: str, threshold: float
) -> Dataset:
    frame = pd.DataFrame(
        {
            "user": events["user_id"],
            "item": events["item_id"],
            "time": events["timestamp"],
            "rating": events["rating"],
        }
    )
    if genres is not None:
        frame["category"] = events["item_id"].map(genres[~genres.index.duplicated()])
    return from_frame(frame, name, threshold)
