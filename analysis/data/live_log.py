"""A real A/B log, CSV or Parquet with any column names, as an A/B test to be judged. Nothing of a
simulator in it.

The log goes once through DuckDB into a temporary database that lasts as long as the context.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb
import pandas as pd

from analysis.data.ab_test import LEAST_LIFT, MONITORS, NEVER, ABTest, segments_before
from analysis.data.live_import import import_log
from analysis.data.live_source import FEEDBACK, LiveLog
from analysis.data.live_sql import first_line, one, quoted
from analysis.data.rows import DAY, MEMORY, Rows
from analysis.errors import AnalysisError
from analysis.metrics import METRICS, Metric, Metrics

MOST_DAYS = 366
RESERVED = frozenset(
    {"user", "user_id", "bucket", "time", *(column for column, _ in FEEDBACK.values()), *METRICS}
)


@contextmanager
def open_log(source: LiveLog, metrics: Metrics = METRICS) -> Iterator[ABTest]:
    """The experiment of a log, as long as the context lasts.

    Raises:
        AnalysisError: a file or column that is not there, one arm alone, values that cannot be
            read.
    """
    _check_numbers(source.numbers)
    if source.primary not in source.numbers:
        metrics.find(source.primary)
    with TemporaryDirectory() as folder:
        database = Path(folder) / "log.duckdb"
        with duckdb.connect(
            str(database), config={"threads": 1, "memory_limit": MEMORY, "temp_directory": folder}
        ) as db:
            try:
                imported = import_log(db, source)
            except duckdb.Error as error:
                raise AnalysisError(
                    f"'{source.impressions}' cannot be read: {first_line(error)}"
                ) from None
            users, arms, control, weights = _users(db, source)
            days = _days(db, source)
            earlier = one(db, "SELECT count(*) FROM before")
        for name in source.numbers:
            metrics = metrics.including(_summed(name))
        rows = Rows("test", imported.has, database, metrics)
        before = Rows("before", imported.has, database, metrics) if earlier else None
        if before is not None:
            users = users.merge(segments_before(before, None), on="user", how="left")
            users["users"] = users["users"].fillna("new")
            users["activity"] = users["activity"].fillna(NEVER)
        yield ABTest(
            arms=arms,
            control=control,
            contenders=arms,
            weights=weights,
            primary=metrics.find(source.primary),
            margin=source.margin,
            mde=source.mde or source.margin or LEAST_LIFT,
            winsorize=source.winsorize,
            rows=rows,
            before=before,
            users=users,
            days=days,
            planned=source.days or days,
            monitor=source.monitor or MONITORS[0],
            warnings=imported.warnings,
            remarks=imported.remarks,
            flaws=imported.flaws,
            alarms=imported.alarms,
            looked=source.monitor not in (None, "none"),
            metrics=metrics,
        )


def _check_numbers(names: Sequence[str]) -> None:
    """Raises AnalysisError at a name that SQL cannot have, or that means something else already."""
    for name in names:
        if not name.isidentifier():
            raise AnalysisError(
                f"--numbers '{name}': wanted a name of letters, digits and underscores; rename the"
                " column"
            )
        if name.lower() in RESERVED or [other.lower() for other in names].count(name.lower()) > 1:
            raise AnalysisError(
                f"--numbers '{name}': the name is taken (by the log's own columns, or by another"
                " number); rename the column"
            )


def _days(db: duckdb.DuckDBPyConnection, source: LiveLog) -> int:
    """How many the log has from the start of the test on, up to its planned end."""
    days = one(db, f"SELECT max(floor(time / {DAY})) FROM test") + 1
    days = min(days, source.days or days)
    if days > MOST_DAYS:
        raise AnalysisError(
            f"the log goes on for {days} days after its start; wanted at most {MOST_DAYS}: name the"
            " test's --start and --days, or look for a time that is wrong"
        )
    return days


def _summed(name: str) -> Metric:
    """The sum of a column of the log per user, as a metric."""
    total = f"total_{name}"
    sql = {total: f"coalesce(sum({quoted(name)}), 0)"}
    return Metric(name, name, f"{name} per user", total, sql=sql, needs=(name,))


def _users(
    db: duckdb.DuckDBPyConnection, source: LiveLog
) -> tuple[pd.DataFrame, list[str], str, dict[str, float]]:
    """Everybody who is judged, the arms in their order (control last), and their planned shares."""
    where = "" if source.assignments is not None else "WHERE user IN (SELECT user FROM test)"
    names = [f"segment {name}" for name in source.segments]
    users = db.execute(
        f"SELECT user, bucket{''.join(', ' + quoted(name) for name in names)} FROM assigned"
        f" {where} ORDER BY user"
    ).df()
    for name in names:
        users[name] = users[name].fillna("unknown")
    arms = sorted(users["bucket"].unique())
    if len(arms) < 2:
        what = f"one arm alone, '{arms[0]}'" if arms else "no arm"
        raise AnalysisError(
            f"'{source.impressions}' has {what}; wanted at least two, in the column for bucket"
        )
    control = (
        source.control
        if source.control is not None
        else next((a for a in arms if a.lower() == "control"), arms[0])
    )
    if control not in arms:
        raise AnalysisError(
            f"--control '{control}' is not in the log; its arms are: {', '.join(arms)}"
        )
    weights = source.weights or dict.fromkeys(arms, 1.0)
    wrong = sorted(set(weights) ^ set(arms))
    if wrong:
        raise AnalysisError(
            f"--weights and the log disagree about '{wrong[0]}'; the log's arms are:"
            f" {', '.join(arms)}"
        )
    if not all(share > 0 for share in weights.values()):
        raise AnalysisError("--weights must be positive shares")
    return users, [*(arm for arm in arms if arm != control), control], control, weights
