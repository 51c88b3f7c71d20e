"""Who was assigned to which arm of a live test: as the log says, or a file of its own."""

from pathlib import Path

import duckdb
import pyarrow as pa

from analysis.data.live_reading import place_of, printable
from analysis.data.live_source import FORMATS, LiveLog
from analysis.data.live_sql import during, of_arms, one, quoted
from analysis.errors import AnalysisError
from policies.common.errors import shown
from policies.sources import values
from policies.sources.files import tables_in
from policies.sources.roles import choose, listing


def assign(
    db: duckdb.DuckDBPyConnection, source: LiveLog, start: float, warnings: list[str]
) -> None:
    """Makes `assigned`: numbers for users, their one arm in the test, segments at their first row
    of it.
    """
    names = [f"segment {name}" for name in source.segments]
    extra = "".join(f", arg_min({quoted(name)}, time) AS {quoted(name)}" for name in names)
    inner = of_arms("raw", extra, during(source, start))
    if source.assignments is not None:
        _list(db, source.assignments, source)
        seen = "".join(f", s.{quoted(name)}" for name in names)
        inner = (
            f"SELECT l.user_id, l.bucket{seen} FROM ({of_arms('listed')}) l LEFT JOIN ({inner}) s"
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
    table.need(names.values())
    listed = []
    for chunk in table.chunks(list(names.values())):
        found = {
            role: values.text(chunk.batch.column(name), place_of(chunk, name), role)
            for role, name in names.items()
        }
        listed.append(pa.table({"user_id": found["user"], "bucket": printable(found["bucket"])}))
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
    inside = during(source, start)
    twice = one(db, f"SELECT count(*) FROM ({of_arms('listed', '', '', '<>')})")
    seen = f"SELECT DISTINCT user_id FROM raw WHERE user_id IS NOT NULL {inside}"
    listed = "(SELECT user_id FROM listed WHERE user_id IS NOT NULL)"
    strange = one(db, f"SELECT count(*) FROM ({seen}) WHERE user_id NOT IN {listed}")
    known = one(db, f"SELECT count(*) FROM ({seen}) WHERE user_id IN {listed}")
    other = one(
        db,
        "SELECT count(*) FROM raw r JOIN (SELECT DISTINCT * FROM listed) l USING (user_id) WHERE"
        " r.bucket IS NOT NULL AND"
        f" r.bucket <> l.bucket {inside}",
    )
    if not known:
        raise AnalysisError(
            f"no user of the log is in --assignments '{shown(source.assignments)}'; are the ids"
            " written alike?"
        )
    blank = one(db, "SELECT count(*) FROM listed WHERE user_id IS NULL OR bucket IS NULL")
    said = [
        (blank, "row(s) of --assignments without a user or an arm left out"),
        (twice, "user(s) in more than one arm of --assignments left out"),
        (strange, "user(s) of the log who are not in --assignments left out"),
        (other, "row(s) whose arm is not that of --assignments: counted for the assigned arm"),
    ]
    warnings += [f"{n} {words}" for n, words in said if n]
