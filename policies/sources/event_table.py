"""From a table with any column names to a data set: checks, ids, sessions, pages."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from policies.catalogue import Catalogue
from policies.common.errors import InputError, shown
from policies.log import COLUMNS, Dataset, Impressions, sorted_columns
from policies.sources.answers import Answers, answers_of, clicks_of
from policies.sources.columns import Columns
from policies.sources.copies import Fingerprints, copies, without_copies
from policies.sources.files import Table, ending, tables_in
from policies.sources.lines import from_lines
from policies.sources.roles import (
    ROLES,
    ClickWhen,
    Reading,
    choose,
    event_column,
    listing,
    pairs,
    unread,
)
from policies.sources.times import Times, times_of
from policies.sources.values import EXACT, flat, release_unused, text
from policies.sources.visits import Visits, about_span, visits_of, whole_days, whole_sessions

VISIT = ("session", "page", "slot")
LAST_PAGE = 32_767  # of a session, by the type of the column
LAST_SLOT = 127
RELEASE_ROWS = 2_000_000  # read between two times that Arrow hands back what it no longer uses


def from_table(path: Path, reading: Reading) -> Dataset:
    """Loads any event table, or a .txt of lines. See `from_columns` for what the columns mean."""
    if ending(path) == ".txt":
        return from_lines(path, reading)
    if path.is_dir():
        raise InputError(f"'{shown(path)}' is a folder; name one file")
    if not path.is_file():
        raise InputError(f"there is no file '{shown(path)}'")
    table = tables_in(path, "--log")
    there = table.names
    when = None if reading.click_when is None else ClickWhen.parse(reading.click_when, there)
    given = None if reading.columns is None else pairs(reading.columns, ROLES)
    chosen, notes = choose(there, given, ROLES, f"'{shown(path.name)}'")
    missing = [role for role in ("user", "item", "time") if role not in chosen]
    if missing:
        raise InputError(
            f"'{shown(path.name)}' needs a column for {', '.join(missing)}: --columns"
            f" user=...,item=...,time=...; the file has: {listing(there)}"
        )
    if when is None and not {"click", "rating"} & set(chosen):
        if given is None:
            _refuse_an_unused_answer(table, chosen)
        else:
            _refuse_an_unnamed_answer(table, chosen)
    sources = chosen if when is None else {**chosen, "event": when.column}
    roles, n, copy = _streamed(table, sources)
    columns = Columns(roles, sources, path, n)
    return from_columns(columns, path.name, reading, when, copy, [*table.notes, *notes])


def _streamed(table: Table, sources: dict[str, str]) -> tuple[dict[str, pa.Array], int, np.ndarray]:
    """The columns of each role, how many rows, and (n,) of `copies`: of all other columns no more
    than a batch is in memory.
    """
    parts: dict[str, list[pa.Array]] = {name: [] for name in sources.values()}
    numbers, n = Fingerprints(), 0
    for batch in table.batches():
        numbers.add(batch)
        n += len(batch)
        for name, kept in parts.items():
            kept.append(batch.column(name))
        if n // RELEASE_ROWS > (n - len(batch)) // RELEASE_ROWS:
            release_unused()
    copy = numbers.copies(table.batches)
    whole: dict[str, pa.Array] = {}
    for name in list(parts):
        kept = parts.pop(name)  # one after the other, so that one alone is held twice
        whole[name] = flat(pa.chunked_array(kept)) if kept else pa.array([], pa.string())
        del kept
        release_unused()
    return {role: whole[name] for role, name in sources.items()}, n, copy


TWO_ANSWERS = (
    {"0", "1"},
    {"0.0", "1.0"},
    {"true", "false"},
    {"yes", "no"},
    {"y", "n"},
    {"t", "f"},
)


def _refuse_an_unnamed_answer(table: Table, chosen: dict[str, str]) -> None:
    """What is called like a click, and that nobody named, is likely the clicks."""
    name, there = table.paths[0].name, table.names
    left = unread(there, chosen, ("click", "rating"))
    if left:
        role, column = next(iter(left.items()))
        more = " and --click-threshold (0 = every row)" if role == "rating" else ""
        raise InputError(
            f"'{shown(name)}' has a column '{shown(column)}' that --columns does not name, so that"
            f" every row would count as a click; add {role}={shown(column)}{more}, or take the"
            " column out if every row is one"
        )
    _refuse_unused_words(table, chosen)


def _refuse_unused_words(table: Table, chosen: dict[str, str]) -> None:
    """A column that tells by words what happened."""
    name = table.paths[0].name
    words = event_column(table.names, chosen.values())
    if words is not None:
        rows = table.read([words])
        found = text(rows[words], lambda row: f"'{name}', row {row + 1}", "event")
        counts = pd.Series(found.to_pylist(), dtype=object).value_counts()
        listed = ", ".join(f"{shown(w, 30)} ({n})" for w, n in counts.head(6).items())
        raise InputError(
            f"'{shown(name)}' has no column 'click', but words in '{shown(words)}': {listed}; say"
            f" which are clicks: --click-when {shown(words)}=WORD,WORD"
        )


def _refuse_an_unused_answer(table: Table, chosen: dict[str, str]) -> None:
    """A column of noughts and ones, or of words for events, may be the clicks: without a word every
    row would count as one.
    """
    name, names = table.paths[0].name, table.names
    others = [column for column in names if column not in chosen.values()]
    _refuse_unused_words(table, chosen)
    answers = []
    for column in others:
        rows = table.read([column])
        kind = rows.schema.field(column).type
        if not pa.types.is_nested(kind) and not pa.types.is_binary(kind):
            some = {str(x).lower().strip() for x in flat(rows[column]).unique().to_pylist()[:9]}
            if some - {"none", "nan", "", "-1"} in TWO_ANSWERS:
                answers.append(column)
    if answers:
        raise InputError(
            f"'{shown(name)}' has no column 'click', but one of 0 and 1 ({listing(answers)}): say"
            f" --columns user=...,item=...,time=...,click={shown(answers[0])}, or leave click out"
            " of --columns if every row is a click"
        )


def from_frame(frame: pd.DataFrame, name: str, click_threshold: float | None = None) -> Dataset:
    """A data set from a frame whose columns are named by `ROLES`; see `from_columns`."""
    arrays = {str(role): _arrow(frame[role]) for role in frame.columns if role in ROLES}
    columns = Columns(arrays, {}, Path(f"{name}.parquet"), len(frame))
    copy = copies(pa.table(arrays)) if arrays else np.zeros(len(frame), bool)
    return from_columns(columns, name, Reading(click_threshold=click_threshold), None, copy, [])


def _arrow(values: pd.Series) -> pa.Array:
    """A column of a frame; one of mixed kinds as text."""
    try:
        return flat(pa.Array.from_pandas(values))
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError):
        return pa.array([None if pd.isna(x) else str(x) for x in values], pa.string())


def from_columns(
    columns: Columns,
    name: str,
    reading: Reading,
    when: ClickWhen | None,
    copy: np.ndarray,
    notes: list[str],
) -> Dataset:
    """A data set from the columns of a table.

    Without `click` and `rating` every row counts as a click (a log of choices). A rating becomes a
    click at `click_threshold` and above. Without `session`, a pause of 30 minutes starts a new one.

    Args:
        copy: (n,) of `copies`, which looks at all columns of the table.
        notes: what is known of the file already.
    """
    if not len(columns):
        raise InputError(f"'{shown(name)}' is empty; give a log with at least one event")
    place = columns.place("time")
    times = times_of(
        columns.roles["time"], columns.names.get("time", "time"), place, reading.time_unit
    )
    keep, said_of_copies = without_copies(copy, times.coarse)
    if not keep.all():
        whole, columns = columns, columns.kept(keep)
        whole.release(*whole.roles)
        times = replace(times, time=times.time[keep])
    del keep, copy
    # Of a large log each column is given back as soon as it has been read.
    columns.release("time")
    clicked, skips, note = clicks_of(columns, name, reading.click_threshold, when)
    columns.release("click", "rating", "event")
    users, user_ids = columns.ids("user", "fill them or remove these rows")
    items, item_ids = columns.ids("item", "fill them or remove these rows")
    columns.release("user", "item")
    answers = answers_of(columns, users, times, reading.watch_unit)
    columns.release(*(role for role in columns.roles if role not in VISIT and role != "category"))
    visits, shifted = _visits(columns, users, times.time)
    told, assumed = _told(columns, users, times, visits, skips)
    notes = [note, visits.note, *notes, *said_of_copies, *answers.notes, *shifted, times.note]
    notes += [about_span(times.time, len(columns)), *assumed]
    catalogue = _described(columns, items, item_ids, answers)
    has, hour, ended = frozenset({*answers.has, *told}), times.hour, times.ended
    columns.release("category")
    users -= 1
    log = Impressions.of(
        user=users,
        item=items,
        time=visits.time,
        shown=np.full(len(users), skips),
        clicked=clicked,
        session=visits.session,
        page=np.minimum(visits.page, LAST_PAGE),
        slot=np.minimum(visits.slot, LAST_SLOT),
        **answers.columns,
    )
    del columns, users, items, times, visits, clicked, answers
    held = {name: getattr(log, name) for name in COLUMNS}
    del log
    log = sorted_columns(held)
    log.check(catalogue.size)
    release_unused()
    said = tuple(notes)
    return Dataset(log, catalogue, user_ids, name, has, notes=said, hour_zero=hour, ended=ended)


def _told(
    columns: Columns, users: np.ndarray, times: Times, visits: Visits, skips: bool
) -> tuple[set[str], list[str]]:
    """What the log tells of visits (`Dataset.has`), and a sentence on what is assumed."""
    has = {"skips"} if skips else set()
    if "slot" in columns:
        has.add("slots")
    if whole_days(times.time):
        what = "Its times are whole days: sessions, pages, hours of the day and all that follows is"
        return has | {"order_only"}, [f"{what} assumed."]
    if whole_sessions(users, visits.session, skips):
        return has | {"sessions"}, []
    what = "Most sessions have one row or show no skips: session length and return times are"
    return has, [f"{what} assumed."]


def _visits(columns: Columns, users: np.ndarray, time: np.ndarray) -> tuple[Visits, list[str]]:
    """Sessions, pages and slots, the log's own or made up; and what was shifted or cut."""
    session = page = slot = None
    notes = []
    if "session" in columns:
        advice = (
            "fill them, or leave the column out of --columns: a pause of 30 minutes then starts a"
            " session"
        )
        session = columns.ids("session", advice)[0] - 1
    if "page" in columns:
        page = columns.whole("page")
    if "slot" in columns:
        slot, lowest = _slots(columns)
        if lowest:
            notes.append(f"Slots begin at {lowest}: {len(slot)} are shifted, so that the top is 0.")
    columns.release(*VISIT)
    visits = visits_of(users, time, session, page, slot)
    for what, found, most in (
        ("pages of a session", visits.page, LAST_PAGE),
        ("rows of a page", visits.slot, LAST_SLOT),
    ):
        cut = int((found > most).sum())
        if cut:
            notes.append(f"{cut} rows beyond the first {most + 1} {what} are counted as its last.")
    return visits, notes


def _slots(columns: Columns) -> tuple[np.ndarray, int]:
    """(n,) int16 slots from 0, and the lowest number that the log gives one."""
    stated = columns.whole("slot")
    if stated.dtype.kind == "f":
        wrong = (stated != np.floor(stated)) | (np.abs(stated) >= EXACT)
        if wrong.any():
            row = int(np.argmax(wrong))
            raise InputError(
                f"{columns.place('slot')(row)}: a slot of {stated[row]:g}; wanted whole numbers"
            )
    lowest, highest = int(stated.min()), int(stated.max())
    if highest - lowest > LAST_SLOT:
        row = int(np.argmax(stated))
        raise InputError(
            f"{columns.place('slot')(row)}: slots go from {lowest} to {highest}; a page has at most"
            f" {LAST_SLOT + 1}"
        )
    slot = np.empty(len(stated), np.int16)
    np.subtract(stated, lowest, out=slot, casting="unsafe")
    return slot, lowest


def _described(
    columns: Columns, items: np.ndarray, item_ids: np.ndarray, answers: Answers
) -> Catalogue:
    """The catalogue: each item's most frequent category, and the duration of its first row."""
    category = None
    if "category" in columns:
        stated = pd.DataFrame(
            {
                "item": items,
                "category": pd.Series(columns.text("category").to_pylist(), dtype=object),
            }
        ).dropna()
        counts = (
            stated.astype({"category": str})
            .value_counts(sort=False)
            .sort_values(ascending=False, kind="stable")
        )
        most = counts.reset_index().drop_duplicates("item").set_index("item")["category"]
        category = most.reindex(np.arange(1, len(item_ids) + 1)).fillna("").to_numpy()
    duration = None
    if answers.duration is not None:
        duration = answers.duration[np.unique(items, return_index=True)[1]]
    return Catalogue.of(item_ids, category, duration)
