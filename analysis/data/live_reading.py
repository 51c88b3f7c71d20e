"""The files of a live log as rows of a table: every value read, or refused with its place."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from analysis.data.live_source import FEEDBACK, FLAGS, NEEDED, ROLES, LiveLog
from analysis.data.live_sql import quoted
from analysis.errors import AnalysisError
from policies.common.errors import escaped, shown, suggestion
from policies.sources import values
from policies.sources.copies import as_text
from policies.sources.files import Chunk, Table
from policies.sources.roles import ClickWhen, choose, event_column, listing
from policies.sources.times import Clock

FILE_ORDER, FINGERPRINT = "row in the file", "all columns"  # no names of columns of anybody


def clock_of(table: Table, name: str, unit: str | None) -> Clock:
    clock = Clock(name, unit)
    for chunk in table.chunks([name]):
        clock.look(chunk.batch.column(0), place_of(chunk, name))
    clock.check()
    return clock


def place_of(chunk: Chunk, name: str) -> Callable[[int], str]:
    return lambda row: f"{chunk.place(row)}, column '{shown(name)}'"


def named(source: LiveLog, table: Table) -> tuple[dict[str, str], ClickWhen | None, list[str]]:
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


@dataclass(frozen=True)
class Reader:
    """From a chunk of a file to rows of `raw`."""

    names: dict[str, str]
    when: ClickWhen | None
    source: LiveLog
    clock: Clock
    file_columns: list[str]  # what all columns of the file are called, to be compared
    words: Counter[str] = field(default_factory=Counter)  # of the column of --click-when

    @property
    def schema(self) -> pa.Schema:
        kinds: list[tuple[str, pa.DataType]] = [(FILE_ORDER, pa.int64())]
        kinds += [(name, pa.string()) for name in self.file_columns]
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
            "time": _or_null(self.clock.seconds(batch.column(self.names["time"]))),
        }
        out |= dict(zip(self.file_columns, map(as_text, batch.columns), strict=True))
        out["user_id"] = self._text(chunk, self.names["user"], "user")
        out["bucket"] = printable(self._text(chunk, self.names["bucket"], "bucket"))
        for role, (column, kind) in FEEDBACK.items():
            if role == "click" and self.when is not None:
                words = [
                    None if word is None or word.strip().lower() in values.MISSING else word
                    for word in self._text(chunk, self.when.column, "event").to_pylist()
                ]
                self.words.update(word for word in words if word is not None)
                out[column] = pa.array(
                    [None if word is None else word in self.when.words for word in words],
                    pa.bool_(),
                )
            elif role in self.names:
                out[column] = self._feedback(chunk, role, kind)
        for name in self.source.segments:
            out[f"segment {name}"] = printable(self._text(chunk, name, "segments"))
        for name in self.source.numbers:
            found = values.numbers(batch.column(name), place_of(chunk, name), "numbers")
            out[f"number {name}"] = _or_null(found)
        return pa.RecordBatch.from_pydict(out, schema=self.schema)

    def _text(self, chunk: Chunk, name: str, role: str) -> pa.Array:
        return values.text(chunk.batch.column(name), place_of(chunk, name), role)

    def _feedback(self, chunk: Chunk, role: str, kind: str) -> pa.Array:
        name = self.names[role]
        if kind == "VARCHAR":
            return self._text(chunk, name, role)
        found = values.numbers(chunk.batch.column(name), place_of(chunk, name), role)
        there = ~np.isnan(found)
        if role == "propensity" and (there & ~((found > 0) & (found <= 1))).any():
            row = int(np.argmax(there & ~((found > 0) & (found <= 1))))
            raise AnalysisError(
                f"{place_of(chunk, name)(row)}: a propensity of {found[row]:g}; wanted"
                " probabilities above 0 and at most 1"
            )
        if kind == "DOUBLE":
            return _or_null(found)
        whole_ones = (found == np.floor(found)) & (np.abs(found) < values.EXACT)
        good = np.isin(found, (0, 1)) if kind == "BOOLEAN" else whole_ones
        if (there & ~good).any():
            row = int(np.argmax(there & ~good))
            wanted = "0 and 1, or true and false" if kind == "BOOLEAN" else "whole numbers"
            raise AnalysisError(
                f"{place_of(chunk, name)(row)} (for {role}) holds '{found[row]:g}'; wanted {wanted}"
            )
        whole = np.where(there, found, 0)
        return pa.array(whole.astype(bool if kind == "BOOLEAN" else np.int64), mask=~there)


def printable(names: pa.Array) -> pa.Array:
    """Names of arms and segments as they are shown: without what breaks a line or a terminal."""
    coded = names.dictionary_encode()
    plain = [None if name is None else escaped(name) for name in coded.dictionary.to_pylist()]
    return pa.array(plain, pa.string()).take(coded.indices)


_ARROW = {
    "VARCHAR": pa.string(),
    "DOUBLE": pa.float64(),
    "BOOLEAN": pa.bool_(),
    "BIGINT": pa.int64(),
}


def _or_null(found: np.ndarray) -> pa.Array:
    return pa.array(found, mask=np.isnan(found))


def read(db: duckdb.DuckDBPyConnection, table: Table, reader: Reader) -> None:
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
    columns = ", ".join(map(quoted, reader.file_columns))
    try:
        db.execute(
            f"CREATE TABLE raw AS SELECT * EXCLUDE ({columns}), hash({columns}) AS"
            f" {quoted(FINGERPRINT)} FROM incoming"
        ).fetchall()
    except duckdb.Error:
        if failed:
            raise failed[0] from None
        raise
    finally:
        db.unregister("incoming")
