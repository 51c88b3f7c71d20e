"""A live log into tables: ids become numbers, times seconds since the start.

What does not fit is counted and said; what cannot be judged is refused in one line.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa

from analysis.data.flaws import Flaw, flaw_of
from analysis.data.live_source import FEEDBACK, FLAGS, FORMATS, NEEDED, ROLES, LiveLog
from analysis.data.rows import DAY
from analysis.errors import AnalysisError
from policies.common.errors import shown, suggestion
from policies.sources import values
from policies.sources.copies import fingerprints
from policies.sources.files import Chunk, Table, tables_in
from policies.sources.roles import ClickWhen, choose, event_column, listing
from policies.sources.times import SINCE_1970, Clock

NUMBERS = ("watch", "propensity")
FILE_ORDER, FINGERPRINT = "row in the file", "all columns"  # no names of columns of anybody


@dataclass
class Imported:
    """What was read.

    Attributes:
        has: columns of the rows. warnings: what was left out, counted. remarks: what else is to be
            known. flaws: of the test's rows.
    """

    has: frozenset[str]
    warnings: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    flaws: list[Flaw] = field(default_factory=list)


def import_log(db: duckdb.DuckDBPyConnection, source: LiveLog) -> Imported:
    """Makes `assigned` (user, bucket, segments), `test` and `before`."""
    table = tables_in(source.impressions, "--impressions", FORMATS)
    names, when, notes = _named(source, table)
    table.need([*names.values(), *source.segments, *source.numbers])
    clock = _clock(table, names["time"], source.time_unit)
    _read(db, table, _Reader(names, when, source, clock))
    feedback = [role for role in FEEDBACK if role in names or (role == "click" and when)]
    imported = Imported(
        frozenset({"time", *(FEEDBACK[role][0] for role in feedback), *source.numbers}),
        remarks=[text.rstrip(".") for text in (*table.notes, *notes)],
    )
    start = _start(db, source, clock, imported)
    _count(db, source, start, "watch" in names, imported)
    _assign(db, source, start, imported.warnings)
    in_test = _rows_of_the_test(source, start)
    kept = _copies(db, in_test, names, clock, imported)
    for role in feedback:
        if role in (*FLAGS, "watch"):
            column = FEEDBACK[role][0]
            found = flaw_of(
                db, f"({in_test})", f"{column} IS NULL", f"Missing {role}s" if role in FLAGS
                else "Missing watch times", f"rows without a value for {role}, taken as none",
            )  # fmt: skip
            imported.flaws += [found] if found is not None else []
    _make_tables(db, source, feedback, start, kept, imported)
    db.execute("DROP TABLE raw")
    return imported


def _clock(table: Table, name: str, unit: str | None) -> Clock:
    clock = Clock(name, unit)
    for chunk in table.chunks([name]):
        clock.look(chunk.batch.column(0), _place(chunk, name))
    clock.check()
    return clock


def _place(chunk: Chunk, name: str) -> Callable[[int], str]:
    return lambda row: f"{chunk.place(row)}, column '{shown(name)}'"


def _named(source: LiveLog, table: Table) -> tuple[dict[str, str], ClickWhen | None, list[str]]:
    """Role -> column; what a click is by words; what was recognised.

    With --columns those alone are read, besides --segments and --numbers.
    """
    there, where = table.names, f"'{shown(source.impressions.name)}'"
    unknown = next((role for role in source.columns if role not in ROLES), None)
    if unknown is not None:
        raise AnalysisError(
            f"--columns names the role '{shown(unknown)}'{suggestion(unknown, ROLES)}"
        )
    when = None
    if source.click_when is not None:
        when = ClickWhen.parse(source.click_when, there)
        if "click" in source.columns:
            raise AnalysisError("--click-when says what a click is; leave out click=...")
    roles = [role for role in ROLES if when is None or role != "click"]
    names, notes = choose(there, source.columns or None, roles, where)
    for what, listed in (("--segments", source.segments), ("--numbers", source.numbers)):
        missing = next((name for name in listed if name not in there), None)
        if missing is not None:
            near = suggestion(missing, there)
            raise AnalysisError(
                f"{where} has no column '{shown(missing)}' (for {what.removeprefix('--')}){near}"
            )
    absent = [role for role in NEEDED if role not in names]
    if absent:
        raise AnalysisError(
            f"no column for {' and '.join(absent)}; say which with --columns"
            f" {','.join(f'{role}=NAME' for role in absent)} (there are: {listing(there)})"
        )
    if when is None and not set(names) & {*FLAGS, "watch"} and not source.numbers:
        words = event_column(there, names.values())
        hint = f", or --click-when {shown(words)}=WORD,WORD" if words is not None else ""
        raise AnalysisError(
            "the log has no feedback; name at least one: --columns click=NAME (or watch, long_view,"
            f" like, hate), or --numbers NAME{hint}"
        )
    return names, when, notes


# -- from files to `raw` ---------------------------------------------------------------------------


@dataclass(frozen=True)
class _Reader:
    """From a chunk of a file to rows of `raw`."""

    names: dict[str, str]
    when: ClickWhen | None
    source: LiveLog
    clock: Clock

    @property
    def schema(self) -> pa.Schema:
        kinds: list[tuple[str, pa.DataType]] = [
            (FILE_ORDER, pa.int64()),
            (FINGERPRINT, pa.uint64()),
        ]
        kinds += [("user_id", pa.string()), ("bucket", pa.string()), ("time", pa.float64())]
        for role, (column, kind) in FEEDBACK.items():
            if role in self.names or (role == "click" and self.when is not None):
                kinds.append((column, _ARROW[kind]))
        kinds += [(f"segment {name}", pa.string()) for name in self.source.segments]
        kinds += [(f"number {name}", pa.float64()) for name in self.source.numbers]
        return pa.schema(kinds)

    def rows(self, chunk: Chunk, before: int) -> pa.RecordBatch:
        """
        Args:
            before: rows of the log before this chunk.

        Raises:
            InputError: a value that cannot be read, with its place.
        """
        batch, n = chunk.batch, len(chunk.batch)
        out: dict[str, Any] = {
            FILE_ORDER: pa.array(np.arange(before, before + n)),
            FINGERPRINT: pa.array(fingerprints(batch)),
            "time": _or_null(self.clock.seconds(batch.column(self.names["time"]))),
        }
        for role, column in (("user", "user_id"), ("bucket", "bucket")):
            out[column] = self._text(chunk, self.names[role], role)
        for role, (column, kind) in FEEDBACK.items():
            if role == "click" and self.when is not None:
                words = self._text(chunk, self.when.column, "event").to_pylist()
                out[column] = pa.array(
                    [None if word is None else word in self.when.words for word in words],
                    pa.bool_(),
                )
            elif role in self.names:
                out[column] = self._feedback(chunk, role, kind)
        for name in self.source.segments:
            out[f"segment {name}"] = self._text(chunk, name, "segments")
        for name in self.source.numbers:
            found = values.numbers(batch.column(name), _place(chunk, name), "numbers")
            out[f"number {name}"] = _or_null(found)
        return pa.RecordBatch.from_pydict(out, schema=self.schema)

    def _text(self, chunk: Chunk, name: str, role: str) -> pa.Array:
        return values.text(chunk.batch.column(name), _place(chunk, name), role)

    def _feedback(self, chunk: Chunk, role: str, kind: str) -> pa.Array:
        name = self.names[role]
        if kind == "VARCHAR":
            return self._text(chunk, name, role)
        found = values.numbers(chunk.batch.column(name), _place(chunk, name), role)
        there = ~np.isnan(found)
        if kind == "DOUBLE":
            return _or_null(found)
        good = np.isin(found, (0, 1)) if kind == "BOOLEAN" else found == np.floor(found)
        if (there & ~good).any():
            row = int(np.argmax(there & ~good))
            wanted = "0 and 1, or true and false" if kind == "BOOLEAN" else "whole numbers"
            raise AnalysisError(
                f"{_place(chunk, name)(row)} (for {role}) holds '{found[row]:g}'; wanted {wanted}"
            )
        whole = np.where(there, found, 0)
        return pa.array(whole.astype(bool if kind == "BOOLEAN" else np.int64), mask=~there)


_ARROW = {
    "VARCHAR": pa.string(),
    "DOUBLE": pa.float64(),
    "BOOLEAN": pa.bool_(),
    "BIGINT": pa.int64(),
}


def _or_null(found: np.ndarray) -> pa.Array:
    return pa.array(found, mask=np.isnan(found))


def _read(db: duckdb.DuckDBPyConnection, table: Table, reader: _Reader) -> None:
    """Streams the files into `raw`."""
    failed: list[BaseException] = []

    def batches() -> Iterator[pa.RecordBatch]:
        before = 0
        try:
            for chunk in table.chunks():
                yield reader.rows(chunk, before)
                before += len(chunk.batch)
        except BaseException as error:
            failed.append(error)  # DuckDB would wrap it in an error of its own
            raise

    stream = pa.RecordBatchReader.from_batches(reader.schema, batches())
    db.register("incoming", stream)
    try:
        db.execute("CREATE TABLE raw AS SELECT * FROM incoming").fetchall()
    except Exception:
        if failed:
            raise failed[0] from None
        raise
    finally:
        db.unregister("incoming")


# -- the start, and what is counted ----------------------------------------------------------------


def _start(
    db: duckdb.DuckDBPyConnection, source: LiveLog, clock: Clock, imported: Imported
) -> float:
    """Seconds at which the test begins: as given, or the midnight (UTC) before the first row."""
    (spanned,) = db.execute("SELECT min(time), max(time) FROM raw WHERE isfinite(time)").fetchall()
    if spanned[0] is None:
        raise AnalysisError(f"'{shown(source.impressions)}' has no rows with a time")
    first, last = (float(x) for x in spanned)
    if first == last and _one(db, "SELECT count(*) FROM raw") > 1:
        raise AnalysisError(
            f"column '{shown(clock.column)}' (for time): all times are the same; give the second or"
            " the day of each event"
        )
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
        imported.remarks.append(
            f"The test begins at {pd.Timestamp(start, unit='s')} UTC, {zone}; its days are those of"
            " UTC"
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


def _one(db: duckdb.DuckDBPyConnection, sql: str) -> int:
    # all rows: DuckDB 2 registers nothing while a result is open
    rows = db.execute(sql).fetchall()
    return int(rows[0][0]) if rows and rows[0][0] is not None else 0


def _count(
    db: duckdb.DuckDBPyConnection, source: LiveLog, start: float, watch: bool, imported: Imported
) -> None:
    """What will be left out, and what else is to be known."""
    checks = [
        ("user_id IS NULL", "row{s} without a user left out"),
        ("time IS NULL OR NOT isfinite(time)", "row{s} without a time left out"),
        (
            f"isfinite(time) AND time >= {_end(source, start)!r}",
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
        checks.append((f"{column} IS NULL", f"missing value{{s}} of {shown(name)} taken as 0"))
    if watch:
        negative = "watched < 0 OR NOT isfinite(watched)"
        checks.append((negative, "negative or infinite watch time{s} taken as missing"))
    for where, words in checks:
        n = _one(db, f"SELECT count(*) FROM raw WHERE {where}")
        imported.warnings += [f"{n} {words.format(s='s' if n > 1 else '')}"] if n else []
    if source.assignments is None:
        arms = _of_arms("raw", "", _during(source, start), "<>")
        mixed = _one(db, f"SELECT count(*) FROM ({arms})")
        if mixed:
            imported.warnings.append(
                f"{mixed} user{'s' if mixed > 1 else ''} seen in more than one arm left out: look"
                " for what mixes the arms"
            )
    early = _one(db, f"SELECT count(*) FROM raw WHERE user_id IS NOT NULL AND time < {start!r}")
    if early:
        imported.remarks.append(
            f"{early} row{'s' if early > 1 else ''} before the start: no outcome, but what users"
            " did untreated (CUPED, segments, A/A)"
        )
    if "slot" in imported.has:
        lowest = _one(db, "SELECT min(slot) FROM raw")
        shifted = _one(db, "SELECT count(slot) FROM raw")
        if lowest:
            db.execute(f"UPDATE raw SET slot = slot - {lowest}")
            imported.remarks.append(
                f"Slots begin at {lowest}: {shifted} are shifted, so that the top is 0"
            )


def _end(source: LiveLog, start: float) -> float:
    return start + source.days * DAY if source.days is not None else float("1e300")


def _during(source: LiveLog, start: float) -> str:
    return f"AND isfinite(time) AND time >= {start!r} AND time < {_end(source, start)!r}"


def _rows_of_the_test(source: LiveLog, start: float) -> str:
    """SQL of the rows that count, with the number and the arm of their user."""
    own = "AND r.bucket = a.bucket" if source.assignments is None else ""
    return (
        "SELECT r.* EXCLUDE (bucket), a.bucket, a.user FROM raw r JOIN assigned a USING (user_id)"
        f" WHERE true {_during(source, start)} {own}"
    )


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
    twice = _one(db, f"SELECT count(*) - count(DISTINCT {quoted(FINGERPRINT)}) FROM raw")
    if not twice:
        return "true"
    db.execute(
        f"CREATE TEMP TABLE first_rows AS SELECT min({quoted(FILE_ORDER)}) AS kept FROM raw"
        f" GROUP BY {quoted(FINGERPRINT)}"
    )
    coarse = _one(db, "SELECT count(*) FROM raw WHERE time % 60 <> 0") == 0
    told = not coarse and bool({"item", "slot"} & set(names))
    copy = f"{quoted(FILE_ORDER)} NOT IN (SELECT kept FROM first_rows)"
    what = "rows that repeat another one in all columns"
    flaw = flaw_of(
        db, f"({in_test})", copy, "Copied rows" if told else "Repeated rows",
        f"{what}, left out" if told else f"{what} (copies cannot be told from repeats here), kept",
        left_out=told, certain=told,
    )  # fmt: skip
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


# -- who was assigned ------------------------------------------------------------------------------


def _assign(
    db: duckdb.DuckDBPyConnection, source: LiveLog, start: float, warnings: list[str]
) -> None:
    """Makes `assigned`: numbers for users, their one arm in the test, segments at their first row
    of it.
    """
    names = [f"segment {name}" for name in source.segments]
    extra = "".join(f", arg_min({quoted(name)}, time) AS {quoted(name)}" for name in names)
    inner = _of_arms("raw", extra, _during(source, start))
    if source.assignments is not None:
        _list(db, source.assignments, source)
        seen = "".join(f", s.{quoted(name)}" for name in names)
        inner = (
            f"SELECT l.user_id, l.bucket{seen} FROM ({_of_arms('listed')}) l LEFT JOIN ({inner}) s"
            " USING (user_id)"
        )
        _count_listed(db, source, start, warnings)
    db.execute(
        "CREATE TABLE assigned AS SELECT *, (row_number() OVER (ORDER BY user_id) - 1)::INTEGER AS"
        f" user FROM ({inner})"
    )


def _list(db: duckdb.DuckDBPyConnection, path: Path, source: LiveLog) -> None:
    """Makes `listed` (user_id, bucket) of the file of assignments."""
    table = tables_in(path, "--assignments", FORMATS)
    wanted = {role: name for role, name in source.columns.items() if role in ("user", "bucket")}
    names, _ = choose(
        table.names, wanted or None, ("user", "bucket"), f"--assignments '{shown(path)}'"
    )
    if set(names) != {"user", "bucket"}:
        raise AnalysisError(
            f"--assignments '{shown(path)}' wants columns for user and bucket, called as in the"
            f" log; it has: {listing(table.names)}"
        )
    listed = [
        pa.table(
            {
                column: values.text(
                    chunk.batch.column(names[role]), _place(chunk, names[role]), role
                )
                for role, column in (("user", "user_id"), ("bucket", "bucket"))
            }
        )
        for chunk in table.chunks(list(names.values()))
    ]
    if not listed:
        raise AnalysisError(f"--assignments '{shown(path)}' has no rows")
    db.register("incoming", pa.concat_tables(listed))
    db.execute("CREATE TEMP TABLE listed AS SELECT * FROM incoming").fetchall()
    db.unregister("incoming")


def _count_listed(
    db: duckdb.DuckDBPyConnection, source: LiveLog, start: float, warnings: list[str]
) -> None:
    """What the file of assignments and the log do not share; a user's arm is that of the file,
    whatever the log's rows say.

    Raises:
        AnalysisError: no user of the log is in the file.
    """
    during = _during(source, start)
    twice = _one(db, f"SELECT count(*) FROM ({_of_arms('listed', '', '', '<>')})")
    seen = f"SELECT DISTINCT user_id FROM raw WHERE user_id IS NOT NULL {during}"
    listed = "(SELECT user_id FROM listed WHERE user_id IS NOT NULL)"
    strange = _one(db, f"SELECT count(*) FROM ({seen}) WHERE user_id NOT IN {listed}")
    known = _one(db, f"SELECT count(*) FROM ({seen}) WHERE user_id IN {listed}")
    other = _one(
        db,
        "SELECT count(*) FROM raw r JOIN listed l USING (user_id) WHERE r.bucket IS NOT NULL AND"
        f" r.bucket <> l.bucket {during}",
    )
    if not known:
        raise AnalysisError(
            f"no user of the log is in --assignments '{shown(source.assignments)}'; are the ids"
            " written alike?"
        )
    said = [
        (twice, "user(s) in more than one arm of --assignments left out"),
        (strange, "user(s) of the log who are not in --assignments left out"),
        (other, "row(s) whose arm is not that of --assignments: counted for the assigned arm"),
    ]
    warnings += [f"{n} {words}" for n, words in said if n]


def _of_arms(table: str, extra: str = "", where: str = "", sign: str = "=") -> str:
    """SQL of the users of a table who are in one arm alone (sign =), or in several (<>)."""
    return (
        f"SELECT user_id, min(bucket) AS bucket{extra} FROM {table} WHERE bucket IS NOT NULL AND"
        f" user_id IS NOT NULL {where} GROUP BY user_id HAVING min(bucket) {sign} max(bucket)"
    )


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def first_line(error: Exception) -> str:
    return shown(str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__)
