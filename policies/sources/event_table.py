"""From a table with any column names to a data set: checks, ids, sessions, pages."""

from pathlib import Path

import numpy as np
import pandas as pd

from policies.catalogue import Catalogue
from policies.common.errors import InputError, suggestion
from policies.log import Dataset, Impressions
from policies.sources.files import read_table
from policies.sources.lines import from_lines
from policies.sources.times import (
    Visits,
    about_span,
    seconds,
    visits_of,
    whole_days,
    whole_sessions,
)

MOST_SECONDS = 3600.0  # stands in for the duration where a log has none
# times the median duration: watch times in milliseconds are a thousand times too long
TOO_LONG = 50.0
ROLES = (
    "user",
    "item",
    "time",
    "click",
    "rating",
    "session",
    "page",
    "slot",
    "watch",
    "long_view",
    "like",
    "hate",
    "category",
    "duration",
    "propensity",
)
_RECBOLE = {"user_id": "user", "item_id": "item", "timestamp": "time", "rating": "rating"}


def column_map(frame: pd.DataFrame, columns: str | None, is_recbole: bool) -> dict[str, str]:
    """role -> column name, from `user=u,item=i,...`, or the file's own names where they are the
    roles.
    """
    there = [str(name) for name in frame.columns]
    if columns is None:
        own = {role: name for name, role in _RECBOLE.items() if name in there} if is_recbole else {}
        return own | {role: role for role in ROLES if role in there and role not in own}
    chosen: dict[str, str] = {}
    for part in columns.split(","):
        role, equals, name = (piece.strip() for piece in part.partition("="))
        if not equals or role not in ROLES:
            raise InputError(f"--columns: '{part}' is not role=column{suggestion(role, ROLES)}")
        if name not in there:
            raise InputError(
                f"there is no column '{name}' for {role}; the file has: {', '.join(there)}"
            )
        if role in chosen:
            raise InputError(f"--columns names {role} twice: '{chosen[role]}' and '{name}'")
        chosen[role] = name
    return chosen


def from_table(
    path: Path,
    columns: str | None = None,
    click_threshold: float | None = None,
) -> Dataset:
    """Loads any event table, or a .txt of "user item item ..." lines. See `from_frame` for what the
    columns mean.
    """
    if path.suffix == ".txt":
        return from_lines(path, columns, click_threshold)
    frame = read_table(path)
    chosen = column_map(frame, columns, path.suffix == ".inter")
    missing = [role for role in ("user", "item", "time") if role not in chosen]
    if missing:
        raise InputError(
            f"'{path.name}' needs a column for {', '.join(missing)}: --columns"
            f" user=...,item=...,time=...; the file has: {', '.join(map(str, frame.columns))}"
        )
    if columns is None and not {"click", "rating"} & set(chosen):
        _refuse_an_unused_answer(frame, chosen, path.name)
    renamed = pd.DataFrame({role: frame[name] for role, name in chosen.items()})
    return from_frame(renamed, path.name, click_threshold)


def _refuse_an_unused_answer(frame: pd.DataFrame, chosen: dict[str, str], name: str) -> None:
    """A column of noughts and ones that nobody named may be the clicks: every row would silently
    count as one.
    """
    left = [column for column in frame.columns if column not in chosen.values()]
    answers = [column for column in left if set(frame[column].dropna().unique().tolist()) == {0, 1}]
    if answers:
        listed = ", ".join(map(str, answers))
        raise InputError(
            f"'{name}' has no column 'click', but one of 0 and 1 ({listed}): say --columns"
            f" user=...,item=...,time=...,click={answers[0]}, or leave click out of --columns if"
            " every row is a click"
        )


def from_frame(frame: pd.DataFrame, name: str, click_threshold: float | None = None) -> Dataset:
    """A data set from a frame whose columns are named by `ROLES`.

    Without `click` and `rating` every row counts as a click (a log of choices). A rating becomes a
    click at `click_threshold` and above. Without `session`, a pause of 30 minutes starts a new one.
    """
    if not len(frame):
        raise InputError(f"'{name}' is empty; give a log with at least one event")
    for role in ("user", "item"):
        if frame[role].isna().any():
            raise InputError(
                f"'{name}': {int(frame[role].isna().sum())} of {len(frame)} rows have no {role}"
            )
    frame, copies = _without_copies(frame, name)
    time, hour_zero = seconds(frame["time"], name)
    clicked, skips, note = _clicks(frame, name, click_threshold)
    users, user_ids = encode(frame["user"])
    items, item_ids = encode(frame["item"])
    has = {"skips"} if skips else set()
    parts = _answers(frame, name, has)
    visits = _visits(frame, name, users, time)
    notes = [note, visits.note, *copies, about_span(time, len(frame))]
    if "slot" in frame:
        has.add("slots")
    if whole_days(time):
        has.add("order_only")
        notes.append(
            "Its times are whole days: sessions, pages, hours of the day and all that follows is"
            " assumed."
        )
    elif whole_sessions(users, visits.session, skips):
        has.add("sessions")
    else:
        notes.append(
            "Most sessions have one row or show no skips: session length and return times are"
            " assumed."
        )
    log = Impressions.of(
        user=users - 1,
        item=items,
        time=visits.time,
        clicked=clicked,
        session=visits.session,
        page=np.minimum(visits.page, 32_767),
        slot=np.minimum(visits.slot, 127),
        **parts,
    ).sorted()
    catalogue = _described(frame, name, items, item_ids)
    log.check(catalogue.size)
    return Dataset(
        log, catalogue, user_ids, name, frozenset(has), notes=tuple(notes), hour_zero=hour_zero
    )


def _without_copies(frame: pd.DataFrame, name: str) -> tuple[pd.DataFrame, list[str]]:
    """The rows once each, and a sentence if there were copies: an answer that stands twice would be
    taken for two.
    """
    try:
        copy = frame.duplicated().to_numpy()
    except TypeError:
        raise InputError(
            f"'{name}' has lists or other nested values; give numbers or text in every column"
        ) from None
    if not copy.any():
        return frame, []
    return frame[~copy].reset_index(drop=True), [
        f"{int(copy.sum())} rows that repeat another one in all columns are left out."
    ]


def _answers(frame: pd.DataFrame, name: str, has: set[str]) -> dict[str, np.ndarray]:
    """The columns of an impression beyond the click that the frame tells; adds them to `has`."""
    parts: dict[str, np.ndarray] = {}
    for role, column, flag in (
        ("watch", "watched", "watch"),
        ("long_view", "long_view", "long_view"),
        ("like", "liked", "likes"),
        ("hate", "hated", "hates"),
    ):
        if role in frame:
            values = _numbers(frame[role], role, name)
            parts[column] = values if column == "watched" else values > 0
            has.add(flag)
    _check_watch(frame, parts, name)
    if "propensity" in frame:
        # our own logs leave it empty where a policy states none
        known = frame["propensity"].notna().to_numpy()
        parts["propensity"] = np.full(len(frame), np.nan)
        parts["propensity"][known] = _numbers(frame["propensity"][known], "propensity", name)
        stated = parts["propensity"][known]
        if ((stated <= 0) | (stated > 1)).any():
            bad = stated[(stated <= 0) | (stated > 1)][0]
            raise InputError(
                f"'{name}': a propensity of {bad:g}; wanted probabilities above 0 and at most 1"
            )
    return parts


def _check_watch(frame: pd.DataFrame, parts: dict[str, np.ndarray], name: str) -> None:
    """Refuses watch times below 0, and those in other units than durations."""
    if "watched" not in parts:
        return
    watched = parts["watched"]
    if (watched < 0).any():
        raise InputError(
            f"'{name}': {int((watched < 0).sum())} watch times are below 0, such as"
            f" {watched.min():g}"
        )
    there = watched[watched > 0]
    longest = (
        _numbers(frame["duration"], "duration", name)
        if "duration" in frame
        else np.full(1, MOST_SECONDS)
    )
    if len(there) and np.median(there) > TOO_LONG * np.median(longest):
        raise InputError(
            f"'{name}': watch times with a median of {np.median(there):g} are not seconds"
            + (
                f" where durations have one of {np.median(longest):g}"
                if "duration" in frame
                else ""
            )
            + "; give both in seconds"
        )


def _visits(frame: pd.DataFrame, name: str, users: np.ndarray, time: np.ndarray) -> Visits:
    """Sessions, pages and slots, the frame's own or made up."""
    session = page = slot = None
    if "session" in frame:
        if frame["session"].isna().any():
            raise InputError(
                f"'{name}': {int(frame['session'].isna().sum())} of {len(frame)} rows have no"
                " session; fill them, or leave the column out of --columns: a pause of 30 minutes"
                " then starts a session"
            )
        session = encode(frame["session"])[0] - 1
    if "page" in frame:
        page = _numbers(frame["page"], "page", name)
    if "slot" in frame:
        slot = _numbers(frame["slot"], "slot", name).astype(np.int64)
        slot -= slot.min()
        if slot.max() > 127:
            raise InputError(
                f"'{name}': slots go up to {slot.max()}; the log's pages must have at most 128"
                " slots"
            )
    return visits_of(users, time, session, page, slot)


def _described(
    frame: pd.DataFrame, name: str, items: np.ndarray, item_ids: np.ndarray
) -> Catalogue:
    """The catalogue: each item's most frequent category, and the duration of its first row."""
    per_item = frame.iloc[np.unique(items, return_index=True)[1]]
    category = None
    if "category" in frame:
        stated = pd.DataFrame(
            {"item": items, "category": frame["category"].astype(object)}
        ).dropna()
        counts = (
            stated.astype({"category": str})
            .value_counts(sort=False)
            .sort_values(ascending=False, kind="stable")
        )
        most = counts.reset_index().drop_duplicates("item").set_index("item")["category"]
        category = most.reindex(np.arange(1, len(item_ids) + 1)).fillna("").to_numpy()
    return Catalogue.of(
        item_ids,
        category,
        _numbers(per_item["duration"], "duration", name) if "duration" in frame else None,
    )


def encode(values: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """Codes 1..n in the order of the sorted ids (numbers as numbers), and the ids as strings."""
    codes, ids = pd.factorize(values, sort=True)
    return codes + 1, np.asarray(ids).astype(str)


def _numbers(values: pd.Series, role: str, name: str) -> np.ndarray:
    if values.dtype == bool:
        return values.to_numpy(np.float64)
    numbers = pd.to_numeric(
        values.replace({"True": 1, "False": 0, "true": 1, "false": 0}), errors="coerce"
    )
    wrong = ~np.isfinite(numbers.to_numpy(np.float64))
    if wrong.any():
        bad = values[wrong].iloc[0]
        raise InputError(
            f"'{name}': column for {role} has {int(wrong.sum())} values that are missing, not"
            f" finite or no numbers (first: '{bad}'); fill them, or leave {role} out of --columns"
        )
    return numbers.to_numpy(np.float64)


def _clicks(
    frame: pd.DataFrame, name: str, threshold: float | None
) -> tuple[np.ndarray, bool, str]:
    """(rows,) bool clicks, whether skips are logged, and a sentence that says how a
    click was made.
    """
    if "click" in frame and "rating" in frame and threshold is not None:
        raise InputError(
            f"'{name}' has clicks and ratings; leave one of them out of --columns, as"
            " --click-threshold is for one"
        )
    if "click" in frame:
        values = _numbers(frame["click"], "click", name)
        if threshold is None and values.min() > 0 and values.max() > values.min():
            raise InputError(
                f"'{name}': the click column holds values from {values.min():g} to"
                f" {values.max():g}, none of them 0; say from which on a value is a click:"
                " --click-threshold"
            )
        cut = threshold if threshold is not None else 0.5
        return _with_skips(
            values >= cut, f"A click is a value of at least {cut:g} in the click column."
        )
    if "rating" in frame:
        values = _numbers(frame["rating"], "rating", name)
        if threshold is None:
            raise InputError(
                f"'{name}': ratings from {values.min():g} to {values.max():g} need"
                " --click-threshold (a rating of at least that counts as a click)"
            )
        return _with_skips(
            values >= threshold, f"A rating of at least {threshold:g} counts as a click."
        )
    if threshold is not None:
        raise InputError(f"'{name}': --click-threshold needs click=... or rating=... in --columns")
    return np.ones(len(frame), bool), False, "The log has no skips: every row counts as a click."


def _with_skips(clicked: np.ndarray, how: str) -> tuple[np.ndarray, bool, str]:
    """A log in which nobody skips anything has no rate of its own: it holds what was chosen and
    nothing else.
    """
    if clicked.all():
        return clicked, False, f"{how} Every row is one, so the log tells no skips."
    return clicked, True, how
