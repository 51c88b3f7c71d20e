"""Small pieces of SQL that the reading of a live log shares."""

import duckdb

from analysis.data.live_source import LiveLog
from analysis.data.rows import DAY
from policies.common.errors import shown


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def first_line(error: Exception) -> str:
    return shown(str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__)


def one(db: duckdb.DuckDBPyConnection, sql: str) -> int:
    # all rows: DuckDB 2 registers nothing while a result is open
    rows = db.execute(sql).fetchall()
    return int(rows[0][0]) if rows and rows[0][0] is not None else 0


def end_of(source: LiveLog, start: float) -> float:
    return start + source.days * DAY if source.days is not None else float("1e300")


def during(source: LiveLog, start: float) -> str:
    return f"AND isfinite(time) AND time >= {start!r} AND time < {end_of(source, start)!r}"


def of_arms(table: str, extra: str = "", where: str = "", sign: str = "=") -> str:
    """SQL of the users of a table who are in one arm alone (sign =), or in several (<>)."""
    return (
        f"SELECT user_id, min(bucket) AS bucket{extra} FROM {table} WHERE bucket IS NOT NULL AND"
        f" user_id IS NOT NULL {where} GROUP BY user_id HAVING min(bucket) {sign} max(bucket)"
    )
