"""The rows of an experiment, wherever they lie; DuckDB aggregates them out of core, the statistics
get small tables.
"""

import os
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
from pyarrow.fs import LocalFileSystem

from analysis.errors import AnalysisError
from analysis.metrics import METRICS, Metrics
from policies.common.errors import shown

DAY = 86_400.0
MEMORY = "1GB"  # beyond it DuckDB spills to the temporary folder


def _config() -> dict[str, str | bool | int | float | list[str]]:
    return {"threads": 1, "memory_limit": MEMORY, "temp_directory": tempfile.gettempdir()}


@cache
def _in_memory(process: int, thread: int) -> duckdb.DuckDBPyConnection:
    """A database of each thread of each process, as a fork must not share one: to make one takes
    longer than most queries.
    """
    return duckdb.connect(config=_config())


@dataclass(frozen=True)
class PartFile:
    """A Parquet file of impressions, and whose they are."""

    path: Path
    bucket: str
    round: int


@dataclass(frozen=True)
class Rows:
    """Impressions as a relation of SQL.

    Attributes:
        relation: what stands after FROM; `parts` in it are the `files`. Columns: `bucket`, `user`
            (whole numbers) and those of `has`; `time` in seconds from the start of the test.
        has: the feedback and context columns that there are.
        database: a DuckDB file that holds them; None for files that the relation names itself.
        metrics: whose totals are counted.
    """

    relation: str
    has: frozenset[str]
    database: Path | None = None
    metrics: Metrics = METRICS
    files: tuple[PartFile, ...] = ()

    def query(self, sql: str) -> pd.DataFrame:
        """Runs SQL in which {rows} stands for the rows.

        Raises:
            AnalysisError: a metric's SQL that DuckDB cannot run.
        """
        with self.connect() as db:
            try:
                return db.execute(sql.replace("{rows}", self.relation)).df()
            except (duckdb.IOException, duckdb.InvalidInputException, OSError) as error:
                raise AnalysisError(
                    f"a file of the rows cannot be read: {shown(error)}; restore it, or run the"
                    " experiment again"
                ) from None
            except (
                duckdb.BinderException,
                duckdb.ParserException,
                duckdb.CatalogException,
                duckdb.ConversionException,
                duckdb.OutOfRangeException,
            ) as error:
                raise AnalysisError(
                    f"this cannot be counted: {str(error).splitlines()[0]}"
                ) from None

    def connect(self) -> duckdb.DuckDBPyConnection:
        """One thread: sums of floats are then the same every time."""
        if self.database is not None:
            return duckdb.connect(str(self.database), read_only=True, config=_config())
        db = _in_memory(os.getpid(), threading.get_ident()).cursor()
        if self.files:
            db.register("parts", self._parts)
        return db

    @cached_property
    def _parts(self) -> ds.Dataset:
        """The files with their bucket and round as columns. Paths are handed over as they are: in
        SQL a `*` or `[` would be a pattern, and a folder called `click=1` a column.
        """
        parquet_format, place = ds.ParquetFileFormat(), LocalFileSystem()
        fragments = [
            parquet_format.make_fragment(
                str(file.path),
                place,
                (ds.field("bucket") == file.bucket) & (ds.field("round") == file.round),
            )
            for file in self.files
        ]
        schema = fragments[0].physical_schema
        for name, kind in (("bucket", pa.string()), ("round", pa.int32())):
            if name not in schema.names:
                schema = schema.append(pa.field(name, kind))
        return ds.FileSystemDataset(fragments, schema, parquet_format, place)

    @property
    def totals(self) -> dict[str, str]:
        """Name -> SQL of every total per user that these rows give."""
        return self.metrics.totals(self.has)

    def per_user(self, keys: Sequence[str] = ("bucket", "user")) -> pd.DataFrame:
        """One row per combination of the keys, with all totals."""
        what = ", ".join(f"{sql} AS {name}" for name, sql in self.totals.items())
        by = ", ".join(keys)
        return self.query(f"SELECT {by}, {what} FROM {{rows}} GROUP BY {by} ORDER BY {by}")

    def daily(self, names: Sequence[str], users: pd.DataFrame, days: int) -> dict[str, np.ndarray]:
        """Totals of each day, dense.

        Args:
            names: totals. users: `user`, `bucket`, in the order of the answer. days: how many.

        Returns:
            name -> (users, days) float32. A session counts on each day that it touches, a day
            active on its own.
        """
        matrices = {name: np.zeros((len(users), days), np.float32) for name in names}
        what = ", ".join(f"{self.totals[name]} AS {name}" for name in names)
        table = self.query(
            f"SELECT bucket, user, floor(time / {DAY})::INTEGER AS day, {what} FROM {{rows}} "
            f"WHERE time >= 0 AND time < {days * DAY} GROUP BY ALL ORDER BY bucket, user, day"
        )
        place = pd.MultiIndex.from_frame(users[["bucket", "user"]])
        row = place.get_indexer(pd.MultiIndex.from_frame(table[["bucket", "user"]]))
        known = row >= 0
        for name in names:
            matrices[name][row[known], table["day"].to_numpy()[known]] = table[name].to_numpy()[
                known
            ]
        return matrices


def parquet(folder: Path, where: str, metrics: Metrics = METRICS) -> Rows:
    """The impressions below a folder `bucket=NAME/round=NN/`, as a run keeps them."""
    files = part_files(folder)
    if not files:
        raise AnalysisError(f"there are no impressions in '{shown(folder)}'")
    return Rows(f"(SELECT * FROM parts WHERE {where})", COLUMNS, metrics=metrics, files=files)


def part_files(folder: Path) -> tuple[PartFile, ...]:
    """The files `bucket=NAME/round=NN/*.parquet` below a folder, in order."""
    found = []
    for path in sorted(folder.glob("bucket=*/round=*/*.parquet")):
        bucket = path.parent.parent.name.removeprefix("bucket=")
        number = path.parent.name.removeprefix("round=")
        try:
            found.append(PartFile(path, bucket, int(number)))
        except ValueError:
            raise AnalysisError(f"'{shown(path)}': '{number}' is no number of a round") from None
    return tuple(found)


COLUMNS = frozenset(
    {
        "time",
        "session",
        "page",
        "slot",
        "item",
        "round",
        "clicked",
        "watched",
        "long_view",
        "liked",
        "hated",
        "propensity",
    }
)
