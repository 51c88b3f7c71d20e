"""A live log through DuckDB into tables: ids become numbers, times seconds since the start.

What does not fit is counted and said; what cannot be judged is refused in one line.
"""

import difflib
import re
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd

from analysis.data.live_source import FEEDBACK, FORMATS, NEEDED, ROLES, LiveLog
from analysis.data.rows import DAY
from analysis.errors import AnalysisError

MILLISECONDS = 1e11  # a time beyond this would be in the year 5138


def import_log(
    db: duckdb.DuckDBPyConnection, source: LiveLog
) -> tuple[frozenset[str], list[str], list[str]]:
    """Makes `assigned` (user, bucket, segments), `test` and `before`.

    Returns:
        Which columns there are, what was left out, and what else is to be known.
    """
    relation = _relation(source.impressions)
    there = {
        str(row[0]): str(row[1])
        for row in db.execute(f"DESCRIBE SELECT * FROM {relation}").fetchall()
    }
    names = _named(source, there)
    feedback = [role for role in FEEDBACK if role in names]
    for role in ("click", "long_view", "like", "hate"):
        if role in names:
            _check_flag(db, relation, role, names[role])
    what = [
        f"{quoted(names['user'])}::VARCHAR AS user_id",
        f"{quoted(names['bucket'])}::VARCHAR AS bucket",
    ]
    what.append(f"{_seconds(db, relation, names['time'], there[names['time']])} AS time")
    what += [
        f"{quoted(names[role])}::{FEEDBACK[role][1]} AS {FEEDBACK[role][0]}" for role in feedback
    ]
    what += [f"{quoted(name)}::VARCHAR AS {quoted('segment ' + name)}" for name in source.segments]
    what += [f"{quoted(name)}::DOUBLE AS {quoted(name)}" for name in source.numbers]
    db.execute(f"CREATE TABLE raw AS SELECT {', '.join(what)} FROM {relation}")
    start = _start(db, source)
    warnings, remarks = _counted(db, source, start, "watch" in names)
    _assign(db, source, start, warnings)
    columns = [FEEDBACK[role][0] for role in feedback if role != "watch"]
    columns += (
        ["CASE WHEN isfinite(watched) AND watched >= 0 THEN watched END AS watched"]
        if "watch" in names
        else []
    )
    columns += [
        f"CASE WHEN isfinite({quoted(name)}) THEN {quoted(name)} END AS {quoted(name)}"
        for name in source.numbers
    ]
    chosen = ", ".join(["a.bucket", "a.user", f"time - {start!r} AS time", *columns])
    for name, sign in (("test", ">="), ("before", "<")):
        db.execute(
            f"CREATE TABLE {name} AS SELECT {chosen} FROM raw r JOIN assigned a USING (user_id) "
            f"WHERE isfinite(time) AND time {sign} {start!r}"
            + (f" AND time < {_end(source, start)!r}" if name == "test" else "")
            + (" AND r.bucket = a.bucket" if name == "test" and source.assignments is None else "")
        )
    db.execute("DROP TABLE raw")
    return (
        frozenset({"time", *(FEEDBACK[role][0] for role in feedback), *source.numbers}),
        warnings,
        remarks,
    )


def _end(source: LiveLog, start: float) -> float:
    return start + source.days * DAY if source.days is not None else float("1e300")


def _relation(path: Path) -> str:
    """SQL that reads a file, or all files of a folder."""
    if not path.exists():
        raise AnalysisError(f"there is no file or folder '{path}' for --impressions")
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.suffix in FORMATS)
    formats = {file.suffix for file in files}
    if len(formats) != 1 or not formats <= set(FORMATS):
        listed = ", ".join(sorted(formats)) or "none"
        raise AnalysisError(
            f"--impressions '{path}': wanted files of one format among {', '.join(FORMATS)}, found"
            f" {listed}"
        )
    names = ", ".join("'" + str(file).replace("'", "''") + "'" for file in files)
    if formats == {".parquet"}:
        return f"read_parquet([{names}], hive_partitioning = true)"
    return f"read_csv([{names}], header = true, sample_size = 200000)"


def _named(source: LiveLog, there: dict[str, str]) -> dict[str, str]:
    """Role -> column, those of the map first, then columns that are called like a role."""
    unknown = [role for role in source.columns if role not in ROLES]
    if unknown:
        raise AnalysisError(
            f"--columns names the role '{unknown[0]}'; there are: {', '.join(ROLES)}"
        )
    names = {
        role: source.columns.get(role, role)
        for role in ROLES
        if role in source.columns or role in there
    }
    more = [("segments", name) for name in source.segments] + [
        ("numbers", name) for name in source.numbers
    ]
    for role, name in [*names.items(), *more]:
        if name not in there:
            near = difflib.get_close_matches(name, there, 1)
            hint = f"; did you mean '{near[0]}'?" if near else f"; there are: {', '.join(there)}"
            raise AnalysisError(f"'{source.impressions}' has no column '{name}' (for {role}){hint}")
    missing = [role for role in NEEDED if role not in names]
    if missing:
        raise AnalysisError(
            f"no column for {' and '.join(missing)}; say which with --columns"
            f" {','.join(f'{role}=NAME' for role in missing)} (there are: {', '.join(there)})"
        )
    if not set(names) & {"click", "watch", "long_view", "like", "hate"} and not source.numbers:
        raise AnalysisError(
            "the log has no feedback; name at least one: --columns click=NAME (or watch, long_view,"
            " like, hate), or --numbers NAME"
        )
    return names


def _check_flag(db: duckdb.DuckDBPyConnection, relation: str, role: str, name: str) -> None:
    """Refuses a yes-or-no column that holds anything but 0 and 1, or true and false."""
    text = f"lower(trim({quoted(name)}::VARCHAR))"
    bad = db.execute(
        f"SELECT {text} FROM {relation} WHERE {quoted(name)} IS NOT NULL "
        f"AND {text} NOT IN ('0', '1', '0.0', '1.0', 'true', 'false') LIMIT 1"
    ).fetchone()
    if bad is not None:
        raise AnalysisError(
            f"column '{name}' (for {role}) holds '{bad[0]}'; wanted 0 and 1, or true and false"
        )


def _seconds(db: duckdb.DuckDBPyConnection, relation: str, name: str, kind: str) -> str:
    """SQL of a time column in seconds."""
    column = quoted(name)
    if kind == "TIMESTAMP WITH TIME ZONE":  # a cast would make it the machine's local time
        return f"epoch({column})::DOUBLE"
    if kind.startswith(("TIMESTAMP", "DATE")):
        return f"epoch({column}::TIMESTAMP)::DOUBLE"
    if kind in ("VARCHAR", "BOOLEAN", "TIME"):
        example = db.execute(f"SELECT {column} FROM {relation} LIMIT 1").fetchone()
        raise AnalysisError(
            f"column '{name}' (for time) holds {example[0]!r}; wanted dates like 2026-05-01"
            " 12:00:00 or seconds"
            if example is not None
            else "the log has no rows"
        )
    most = db.execute(f"SELECT max({column}) FROM {relation}").fetchone()
    if most is not None and most[0] is not None and float(most[0]) > MILLISECONDS:
        raise AnalysisError(
            f"column '{name}' (for time) reaches {most[0]}, which looks like milliseconds; wanted"
            " seconds"
        )
    return f"{column}::DOUBLE"


def _start(db: duckdb.DuckDBPyConnection, source: LiveLog) -> float:
    """Seconds at which the test begins: as given, or the midnight (UTC) before the first row."""
    spanned = db.execute("SELECT min(time), max(time) FROM raw WHERE isfinite(time)").fetchone()
    if spanned is None or spanned[0] is None:
        raise AnalysisError(f"'{source.impressions}' has no rows with a time")
    first, last = (float(x) for x in spanned)
    if source.start is None:
        return float(np.floor(first / DAY) * DAY)
    try:
        start = float(source.start)
    except ValueError:
        if not re.match(r"\d{4}-\d{2}-\d{2}", source.start):
            raise AnalysisError(
                f"--start '{source.start}': wanted a date like 2026-05-01 (UTC), or seconds"
            ) from None
        try:
            start = pd.Timestamp(source.start).timestamp()
        except ValueError:
            raise AnalysisError(
                f"--start '{source.start}' is not a date; wanted one like 2026-05-01 (UTC)"
            ) from None
    if not (first - DAY <= start <= last):
        shown = [
            str(pd.Timestamp(x, unit="s").floor("s")) if x > 1e8 else f"{x:g}"
            for x in (first, last)
        ]
        raise AnalysisError(
            f"--start '{source.start}' lies outside the log, which goes from {shown[0]} to"
            f" {shown[1]} (UTC)"
        )
    if not np.isfinite(start):
        raise AnalysisError(
            f"--start '{source.start}': wanted a date like 2026-05-01 (UTC), or seconds"
        )
    return start


def _counted(
    db: duckdb.DuckDBPyConnection, source: LiveLog, start: float, watch: bool
) -> tuple[list[str], list[str]]:
    """What will be left out, and what else is to be known, counted."""
    checks = [
        ("user_id IS NULL", "row{s} without a user left out"),
        ("time IS NULL OR NOT isfinite(time)", "row{s} without a time left out"),
        (
            f"isfinite(time) AND time >= {_end(source, start)!r}",
            "row{s} after the planned end left out",
        ),
    ]
    if source.assignments is None:
        checks.append(
            (
                f"user_id IS NOT NULL AND bucket IS NULL AND time >= {start!r}",
                "row{s} without an arm left out",
            )
        )
    checks += [
        (f"NOT isfinite({quoted(name)})", f"infinite value{{s}} of {name} taken as missing")
        for name in source.numbers
    ]
    if watch:
        checks.append(
            (
                "watched < 0 OR NOT isfinite(watched)",
                "negative or infinite watch time{s} taken as missing",
            )
        )

    def count(sql: str) -> int:
        row = db.execute(sql).fetchone()
        return int(row[0]) if row is not None else 0

    notes = []
    for where, words in checks:
        n = count(f"SELECT count(*) FROM raw WHERE {where}")
        notes += [f"{n} {words.format(s='s' if n > 1 else '')}"] if n else []
    mixed = (
        0
        if source.assignments is not None
        else count(f"SELECT count(*) FROM ({_of_arms('raw', '', _during(start), '<>')})")
    )
    if mixed:
        notes.append(
            f"{mixed} user{'s' if mixed > 1 else ''} seen in more than one arm left out: look for"
            " what mixes the arms"
        )
    early = count(f"SELECT count(*) FROM raw WHERE user_id IS NOT NULL AND time < {start!r}")
    said = "before the start: no outcome, but what users did untreated (CUPED, segments, A/A)"
    return notes, [f"{early} row{'s' if early > 1 else ''} {said}"] if early else []


def _during(start: float) -> str:
    return f"AND isfinite(time) AND time >= {start!r}"


def _assign(
    db: duckdb.DuckDBPyConnection, source: LiveLog, start: float, warnings: list[str]
) -> None:
    """Makes `assigned`: numbers for users, their one arm in the test, segments at their first row
    of it.
    """
    names = [f"segment {name}" for name in source.segments]
    extra = "".join(f", arg_min({quoted(name)}, time) AS {quoted(name)}" for name in names)
    inner = _of_arms("raw", extra, _during(start))
    if source.assignments is not None:
        relation = _relation(source.assignments)
        user, bucket = (source.columns.get(role, role) for role in ("user", "bucket"))
        there = {str(row[0]) for row in db.execute(f"DESCRIBE SELECT * FROM {relation}").fetchall()}
        if not {user, bucket} <= there:
            has = ", ".join(sorted(there))
            raise AnalysisError(
                f"--assignments '{source.assignments}' wants columns '{user}' and '{bucket}'; it"
                f" has: {has}"
            )
        columns = f"{quoted(user)}::VARCHAR AS user_id, {quoted(bucket)}::VARCHAR AS bucket"
        db.execute(f"CREATE TEMP TABLE listed AS SELECT {columns} FROM {relation}")
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


def _count_listed(
    db: duckdb.DuckDBPyConnection, source: LiveLog, start: float, warnings: list[str]
) -> None:
    """What the file of assignments and the log do not share; a user's arm is that of the file,
    whatever the log's rows say.

    Raises:
        AnalysisError: no user of the log is in the file.
    """

    def count(sql: str) -> int:
        row = db.execute(sql).fetchone()
        return int(row[0]) if row is not None else 0

    twice = count(f"SELECT count(*) FROM ({_of_arms('listed', '', '', '<>')})")
    seen = f"SELECT DISTINCT user_id FROM raw WHERE user_id IS NOT NULL {_during(start)}"
    strange = count(
        f"SELECT count(*) FROM ({seen}) WHERE user_id NOT IN (SELECT user_id FROM listed WHERE"
        " user_id IS NOT NULL)"
    )
    known = count(f"SELECT count(*) FROM ({seen}) WHERE user_id IN (SELECT user_id FROM listed)")
    other = count(
        "SELECT count(*) FROM raw r JOIN listed l USING (user_id) WHERE r.bucket IS NOT NULL AND"
        f" r.bucket <> l.bucket {_during(start)}"
    )
    if not known:
        raise AnalysisError(
            f"no user of the log is in --assignments '{source.assignments}'; are the ids written"
            " alike?"
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
    return str(error).strip().splitlines()[0]
