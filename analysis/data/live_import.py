"""A live log into tables: ids become numbers, times seconds since the start.

What does not fit is counted and said; what cannot be judged is refused in one line.
"""

import re
from collections import Counter
from dataclasses import dataclass, field

import duckdb
import numpy as np
import pandas as pd

from analysis.data.flaws import Flaw, flaw_of
from analysis.data.live_assignment import assign
from analysis.data.live_reading import FILE_ORDER, FINGERPRINT, Reader, clock_of, named, read
from analysis.data.live_source import FEEDBACK, FLAGS, FORMATS, LiveLog
from analysis.data.live_sql import during, end_of, of_arms, one, quoted
from analysis.data.rows import DAY
from analysis.errors import AnalysisError
from policies.common.errors import shown
from policies.sources.answers import watch_unit
from policies.sources.files import tables_in
from policies.sources.roles import ClickWhen
from policies.sources.times import COARSE, SINCE_1970, Clock, Times, refuse_far
from policies.sources.values import refuse_twins


@dataclass
class Imported:
    """What was read.

    Attributes:
        has: columns of the rows. warnings: what was left out, counted. remarks: what else is to be
            known. flaws: of the test's rows. alarms: what makes the figures worthless.
    """

    has: frozenset[str]
    warnings: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    flaws: list[Flaw] = field(default_factory=list)
    alarms: list[str] = field(default_factory=list)


def import_log(db: duckdb.DuckDBPyConnection, source: LiveLog) -> Imported:
    """Makes `assigned` (user, bucket, segments), `test` and `before`."""
    table = tables_in(source.impressions, "--impressions", FORMATS)
    names, when, notes = named(source, table)
    table.need([*names.values(), *source.segments, *source.numbers])
    clock = clock_of(table, names["time"], source.time_unit)
    reader = Reader(names, when, source, clock, [f"file {i}" for i in range(len(table.names))])
    read(db, table, reader)
    _refuse_written_twice(db)
    feedback = [role for role in FEEDBACK if role in names or (role == "click" and when)]
    imported = Imported(
        frozenset({"time", *(FEEDBACK[role][0] for role in feedback), *source.numbers}),
        remarks=[text.rstrip(".") for text in (*table.notes, *notes)],
    )
    if when is not None:
        imported.remarks.append(_clicks_by_words(when, reader.words))
    if "watch" in names:
        _watch_in_seconds(db, source, imported)
    start = _start(db, source, clock, imported)
    _count(db, source, start, "watch" in names, imported)
    assign(db, source, start, imported.warnings)
    in_test = _rows_of_the_test(source, start)
    _lost(db, source, start, imported)
    kept = _copies(db, in_test, names, clock, imported)
    imported.flaws += _missing(db, source, feedback, in_test)
    _make_tables(db, source, feedback, start, kept, imported)
    db.execute("DROP TABLE raw")
    return imported


# -- what is wrong with rows -----------------------------------------------------------------------


def _missing(
    db: duckdb.DuckDBPyConnection, source: LiveLog, feedback: list[str], in_test: str
) -> list[Flaw]:
    """Answers that the test's rows lack."""
    asked = []
    for name in source.numbers:
        column = quoted(f"number {name}")
        what = f"rows without a finite {shown(name)}, taken as 0"
        asked.append((f"{column} IS NULL OR NOT isfinite({column})", shown(name), what))
    for role in feedback:
        if role in (*FLAGS, "session"):
            what = f"rows without a value for {role}, taken as none"
            asked.append((f"{FEEDBACK[role][0]} IS NULL", f"{role}s", what))
    if "watch" in feedback:
        none = "watched IS NULL OR NOT isfinite(watched) OR watched < 0"
        asked.append((none, "watch times", "rows without a value for watch, taken as none"))
    flaws = []
    for condition, name, what in asked:
        # most logs lack nothing, and a look at one column costs less than at the test's rows
        if one(db, f"SELECT count(*) FROM raw WHERE {condition}"):
            flaws.append(flaw_of(db, f"({in_test})", condition, f"Missing {name}", what))
    return [flaw for flaw in flaws if flaw is not None]


SAMPLE = 200_000  # rows in which the unit of watch times is looked for


def _refuse_written_twice(db: duckdb.DuckDBPyConnection) -> None:
    """Ids and arms that two programs wrote in two ways would be two of each."""
    for column, what in (("bucket", "arm"), ("user_id", "user")):
        plain = f"regexp_replace(trim({column}), '^([0-9]+)\\.0$', '\\1')"
        several = one(db, f"SELECT count(DISTINCT {column}) - count(DISTINCT {plain}) FROM raw")
        if several:
            pair = db.execute(
                f"SELECT min({column}), max({column}) FROM raw GROUP BY {plain} HAVING"
                f" min({column}) <> max({column}) LIMIT 1"
            ).fetchall()[0]
            refuse_twins(pair, what)


def _clicks_by_words(when: ClickWhen, words: Counter[str]) -> str:
    """What was taken for a click.

    Raises:
        AnalysisError: a word that stands nowhere.
    """
    listed = ", ".join(f"{shown(word, 30)} ({n})" for word, n in words.most_common(8))
    unknown = next((word for word in when.words if word not in words), None)
    if unknown is not None:
        raise AnalysisError(
            f"--click-when: '{shown(unknown)}' does not stand in column '{shown(when.column)}';"
            f" there are: {listed}"
        )
    return f"A click is a row whose {shown(when.column)} is {' or '.join(when.words)}: {listed}"


def _watch_in_seconds(db: duckdb.DuckDBPyConnection, source: LiveLog, imported: Imported) -> None:
    """Watch times in seconds: the unit as the simulator's reader tells it, from some users."""
    rows = max(one(db, "SELECT count(*) FROM raw"), 1)
    part = db.execute(
        "SELECT user_id, time, watched FROM raw WHERE user_id IS NOT NULL AND isfinite(time) AND"
        f" isfinite(watched) AND watched >= 0 AND hash(user_id) % {max(rows // SAMPLE, 1)} = 0"
    ).df()
    if not len(part):
        return
    time = part["time"].to_numpy(float)
    times = Times(time - time.max(), 0.0, "", not (time % COARSE).any())
    users = part["user_id"].factorize()[0]
    watched = part["watched"].to_numpy(float)
    found = watch_unit(watched, None, users, times, source.watch_unit)
    if found is None:
        return
    unit, note = found
    imported.remarks.append(note.rstrip("."))
    if unit == "ms":
        db.execute("UPDATE raw SET watched = watched / 1000").fetchall()


def _lost(db: duckdb.DuckDBPyConnection, source: LiveLog, start: float, imported: Imported) -> None:
    """Rows that are left out since they lack a user or a time, by the arm that they state; rows of
    users in several arms, which no arm can be blamed for.
    """
    if source.assignments is None:
        rows_of_arms = (
            f"(SELECT bucket, coalesce(user_id, 'row ' || {quoted(FILE_ORDER)}) AS user, user_id IS"
            " NULL OR time IS NULL OR NOT isfinite(time) AS lost FROM raw WHERE bucket IN (SELECT"
            f" bucket FROM assigned) AND (time IS NULL OR time >= {start!r}))"
        )
        what = "rows without a user or a time, left out"
        found = flaw_of(db, rows_of_arms, "lost", "Lost rows", what, left_out=True)
        imported.flaws += [found] if found is not None else []
        mixed = of_arms("raw", "", during(source, start), "<>")
        rows = one(db, f"SELECT count(*) FROM raw WHERE user_id IN (SELECT user_id FROM ({mixed}))")
        all_rows = one(db, "SELECT count(*) FROM raw")
        if rows > MIXED * all_rows:
            imported.alarms.append(
                f"{rows} of {all_rows} rows are of users who were seen in more than one arm, and"
                " are left out"
            )


MIXED = 0.01  # share of the rows that users in several arms may have


# -- the start, and what is counted ----------------------------------------------------------------


def _start(
    db: duckdb.DuckDBPyConnection, source: LiveLog, clock: Clock, imported: Imported
) -> float:
    """Seconds at which the test begins: as given, or the midnight (UTC) before the first row."""
    (spanned,) = db.execute("SELECT min(time), max(time) FROM raw WHERE isfinite(time)").fetchall()
    if spanned[0] is None:
        raise AnalysisError(f"'{shown(source.impressions)}' has no rows with a time")
    first, last = (float(x) for x in spanned)
    if first == last and one(db, "SELECT count(*) FROM raw") > 1:
        raise AnalysisError(
            f"column '{shown(clock.column)}' (for time): all times are the same; give the second or"
            " the day of each event"
        )
    refuse_far(first, last, clock.column)
    imported.remarks.append(clock.note((first, last)).rstrip("."))
    if source.start is None:
        start = float(np.floor(first / DAY) * DAY)
    else:
        start = _given_start(source.start, clock, first)
        if not (first - DAY <= start <= last):
            ends = [
                str(pd.Timestamp(x, unit="s").floor("s")) if first >= SINCE_1970 else f"{x:g}"
                for x in (first, last)
            ]
            raise AnalysisError(
                f"--start '{shown(source.start)}' lies outside the log, which goes from {ends[0]}"
                f" to {ends[1]} (UTC)"
            )
    if first >= SINCE_1970:
        zone = "the times' own zone is turned into it" if clock.zoned else "as the times"
        days = "those of UTC" if start % DAY == 0 else "of 24 hours from then"
        imported.remarks.append(
            f"The test begins at {pd.Timestamp(start, unit='s')} UTC, {zone}; its days are {days}"
        )
    return start


def _given_start(given: str, clock: Clock, first: float) -> float:
    wanted = "wanted a date like 2026-05-01 (UTC), 2026-05-01T00:00+09:00, or seconds"
    try:
        start = float(given)
    except ValueError:
        if not re.match(r"\d{4}-\d{2}-\d{2}", given):
            raise AnalysisError(f"--start '{shown(given)}': {wanted}") from None
        try:
            moment = pd.Timestamp(given)
        except ValueError:
            raise AnalysisError(f"--start '{shown(given)}' is not a date; {wanted}") from None
        if moment.tzinfo is not None and first < SINCE_1970:
            raise AnalysisError(
                f"--start '{shown(given)}': the log's times count from its own beginning; give"
                " seconds"
            ) from None
        start = moment.timestamp()
    if not np.isfinite(start):
        raise AnalysisError(f"--start '{shown(given)}': {wanted}")
    return start


def _count(
    db: duckdb.DuckDBPyConnection, source: LiveLog, start: float, watch: bool, imported: Imported
) -> None:
    """What will be left out, and what else is to be known."""
    checks = [
        ("user_id IS NULL", "row{s} without a user left out"),
        ("time IS NULL OR NOT isfinite(time)", "row{s} without a time left out"),
        (
            f"isfinite(time) AND time >= {end_of(source, start)!r}",
            "row{s} after the planned end left out",
        ),
    ]
    if source.assignments is None:
        no_arm = f"user_id IS NOT NULL AND bucket IS NULL AND time >= {start!r}"
        checks.append((no_arm, "row{s} without an arm left out"))
    for name in source.numbers:
        column = quoted(f"number {name}")
        checks.append(
            (f"NOT isfinite({column})", f"infinite value{{s}} of {shown(name)} taken as 0")
        )
    if watch:
        negative = "watched < 0 OR NOT isfinite(watched)"
        checks.append((negative, "negative or infinite watch time{s} taken as missing"))
    for where, words in checks:
        n = one(db, f"SELECT count(*) FROM raw WHERE {where}")
        imported.warnings += [f"{n} {words.format(s='s' if n > 1 else '')}"] if n else []
    if source.assignments is None:
        arms = of_arms("raw", "", during(source, start), "<>")
        mixed = one(db, f"SELECT count(*) FROM ({arms})")
        if mixed:
            imported.warnings.append(
                f"{mixed} user{'s' if mixed > 1 else ''} seen in more than one arm left out: look"
                " for what mixes the arms"
            )
    early = one(db, f"SELECT count(*) FROM raw WHERE user_id IS NOT NULL AND time < {start!r}")
    if early:
        imported.remarks.append(
            f"{early} row{'s' if early > 1 else ''} before the start: no outcome, but what users"
            " did untreated (CUPED, segments, A/A)"
        )
    if "slot" in imported.has:
        lowest = one(db, "SELECT min(slot) FROM raw")
        shifted = one(db, "SELECT count(slot) FROM raw")
        if lowest:
            db.execute(f"UPDATE raw SET slot = slot - {lowest}")
            imported.remarks.append(
                f"Slots begin at {lowest}: {shifted} are shifted, so that the top is 0"
            )


def _rows_of_the_test(source: LiveLog, start: float) -> str:
    """SQL of the rows that count, with the number and the arm of their user."""
    own = "AND r.bucket = a.bucket" if source.assignments is None else ""
    return (
        "SELECT r.* EXCLUDE (bucket), a.bucket, a.user FROM raw r JOIN assigned a USING (user_id)"
        f" WHERE true {during(source, start)} {own}"
    )


UNTOLD = " (copies cannot be told from repeats here)"


def _copies(
    db: duckdb.DuckDBPyConnection,
    in_test: str,
    names: dict[str, str],
    clock: Clock,
    imported: Imported,
) -> str:
    """SQL that is true of the rows to keep.

    Rows are copies where every column of the file agrees; but only a log that names items (or
    slots) at times finer than a minute tells a copy from another impression.
    """
    twice = one(db, f"SELECT count(*) - count(DISTINCT {quoted(FINGERPRINT)}) FROM raw")
    if not twice:
        return "true"
    db.execute(
        f"CREATE TEMP TABLE first_rows AS SELECT min({quoted(FILE_ORDER)}) AS kept FROM raw"
        f" GROUP BY {quoted(FINGERPRINT)}"
    )
    coarse = one(db, "SELECT count(*) FROM raw WHERE time % 60 <> 0") == 0
    told = not coarse and bool({"item", "slot"} & set(names))
    copy = f"{quoted(FILE_ORDER)} NOT IN (SELECT kept FROM first_rows)"
    what = "rows that repeat another one in all columns"
    name, end = ("Copied rows", ", left out") if told else ("Repeated rows", f"{UNTOLD}, kept")
    rows = f"({in_test})"
    flaw = flaw_of(db, rows, copy, name, f"{what}{end}", left_out=told, certain=told)
    imported.flaws += [flaw] if flaw is not None else []
    if not told:
        imported.remarks.append(
            f"{twice} {what} are kept: without items, or with times this coarse, copies cannot be"
            " told from repeats. A column that numbers the events would tell"
        )
        return "true"
    imported.warnings.append(f"{twice} {what} left out")
    return f"NOT ({copy})"


def _make_tables(
    db: duckdb.DuckDBPyConnection,
    source: LiveLog,
    feedback: list[str],
    start: float,
    kept: str,
    imported: Imported,
) -> None:
    """`test` and `before`: what is counted."""
    columns = [FEEDBACK[role][0] for role in feedback if role != "watch"]
    if "watch" in feedback:
        columns.append("CASE WHEN isfinite(watched) AND watched >= 0 THEN watched END AS watched")
    for name in source.numbers:
        column = quoted(f"number {name}")
        columns.append(f"CASE WHEN isfinite({column}) THEN {column} END AS {quoted(name)}")
    chosen = ", ".join(["bucket", "user", f"time - {start!r} AS time", *columns])
    before = (
        "SELECT r.* EXCLUDE (bucket), a.bucket, a.user FROM raw r JOIN assigned a USING (user_id)"
        f" WHERE isfinite(time) AND time < {start!r}"
    )
    for name, rows in (("test", _rows_of_the_test(source, start)), ("before", before)):
        db.execute(f"CREATE TABLE {name} AS SELECT {chosen} FROM ({rows}) WHERE {kept}")
