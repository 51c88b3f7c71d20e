"""Files as Arrow batches: CSV, TSV, RecBole's .inter, JSON lines, Parquet and GroupLens' .data and
.dat; one reader for every command.

Text stays text: what `007` is, a number or a name, is decided by whoever asks for a column
(`policies.sources.values`), never by the file. Rows are read as they stand or refused with file and
line; none is skipped.
"""

import csv
import gzip
import itertools
import json
import re
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from policies.common.errors import InputError, shown

SEPARATED = {".csv": ",", ".tsv": "\t", ".inter": "\t"}
LINES_OF_JSON = (".jsonl", ".ndjson")
GROUPLENS = {".data": "\t", ".dat": "::"}  # no header: user, item, rating, time
GROUPLENS_NAMES = ("user", "item", "rating", "time")
TABLES = (*SEPARATED, *LINES_OF_JSON, *GROUPLENS, ".parquet")
BLOCK = 1 << 24  # bytes that are parsed at once; no line may be longer
CHUNK = 50_000  # rows that are made into a batch at once where Python reads the lines
UNREADABLE = (
    pa.ArrowException,
    OSError,
    EOFError,
    ValueError,
    OverflowError,
    RecursionError,
    zlib.error,
    csv.Error,
)


@dataclass(frozen=True)
class Chunk:
    """Some rows of a file; `first` is the number of the rows before them in it."""

    path: Path
    first: int
    batch: pa.RecordBatch

    def place(self, row: int) -> str:
        """Where a row stands, in words: `'log.csv', line 12`."""
        return place_in(self.path, self.first + row)


def place_in(path: Path, row: int) -> str:
    """Where row `row` (from 0) of a file stands: its line, or its number where there are no
    lines.
    """
    kind = ending(path)
    if kind == ".parquet":
        return f"'{shown(path.name)}', row {row + 1}"
    return f"'{shown(path.name)}', line {row + (2 if kind in SEPARATED else 1)}"


def ending(path: Path) -> str:
    """`.csv` of `LOG.CSV.gz`: what a file holds, however it is written."""
    suffixes = [suffix.lower() for suffix in path.suffixes[-2:]]
    if suffixes and suffixes[-1] == ".gz":
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


def is_packed(path: Path) -> bool:
    """Whether a file is gzip, whatever it is called."""
    with path.open("rb") as file:
        magic = file.read(4)
    if magic[:2] == b"PK" and ending(path) != ".parquet":
        raise InputError(f"'{shown(path)}' is a zip archive; unpack it")
    return magic[:2] == b"\x1f\x8b"


class Table:
    """One table in a file, or in several of one kind.

    Attributes:
        names: columns, those of the first file. notes: what was found out about the files.
    """

    def __init__(self, paths: Sequence[Path]):
        self.notes: list[str] = []
        self.names: list[str] = []
        self.paths = [path for path in paths if not self._is_empty(path, len(paths))]
        for path in self.paths:
            with readable(path):
                names = _columns_of(path)
            twice = next((name for name in names if names.count(name) > 1), None)
            if twice is not None:
                raise InputError(
                    f"'{shown(path)}' has two columns called '{shown(twice)}'; rename one of them"
                )
            self.names += [name for name in names if name not in self.names]
        if len(self.paths) == 1 and ending(self.paths[0]) == ".csv":
            separator = _separator(self.paths[0])
            if separator != ",":
                self.notes.append(f"Columns are separated by {separator!r} and not by a comma.")

    def _is_empty(self, path: Path, of: int) -> bool:
        """A file without a byte: nothing to read alone, a sentence among others."""
        if path.stat().st_size:
            return False
        if of == 1:
            raise InputError(
                f"'{shown(path)}' is empty; give a log with a header and at least one event"
            )
        self.notes.append(f"'{path.name}' is empty: no rows in it.")
        return True

    def need(self, names: Iterable[str]) -> None:
        """Refuses files that lack a column which another one has."""
        for path in self.paths if len(self.paths) > 1 else ():
            with readable(path):
                there = _columns_of(path)
            missing = next((name for name in names if name not in there), None)
            if missing is not None:
                raise InputError(
                    f"'{shown(path)}' has no column '{shown(missing)}', which other files of the"
                    " folder have; give all files the same columns, or name with --columns only"
                    " those that they share"
                )

    def chunks(self, names: Sequence[str] | None = None) -> Iterator[Chunk]:
        """The rows in the order of files and lines; a column that a file lacks is null.

        Args:
            names: of the columns that are read; None = all.
        """
        wanted = list(self.names if names is None else names)
        for path in self.paths:
            first = 0
            with readable(path):
                for batch in _batches(path, wanted):
                    yield Chunk(path, first, batch)
                    first += len(batch)

    def batches(self, names: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        """As `chunks`, without the places."""
        for chunk in self.chunks(names):
            yield chunk.batch

    def read(self, names: Sequence[str] | None = None) -> pa.Table:
        """All rows at once; only for tables of one file."""
        batches = list(self.batches(names))
        if not batches:
            wanted = self.names if names is None else names
            return pa.table({name: pa.array([], pa.string()) for name in wanted})
        with readable(self.paths[0]):
            return pa.Table.from_batches(batches)


def tables_in(path: Path, flag: str, endings: Sequence[str] = TABLES) -> Table:
    """The table of a file, or of all files of a folder, which must be of one kind.

    Args:
        flag: how the person named the path. endings: that are wanted.
    """
    if not path.exists():
        raise InputError(f"there is no file or folder '{shown(path)}' for {flag}")
    if path.is_file():
        paths = [path]
    else:
        inside = (p for p in path.rglob("*") if p.is_file() and ending(p) in endings)
        paths = sorted(p for p in inside if not p.name.startswith((".", "_")))
    kinds = sorted({ending(p) for p in paths})
    if len(kinds) != 1 or kinds[0] not in endings:
        listed = ", ".join(shown(kind) for kind in kinds) or "none"
        raise InputError(
            f"{flag} '{shown(path)}': wanted files of one format among {', '.join(endings)} (also"
            f" .gz), found {listed}"
        )
    table = Table(paths)
    if not table.paths:
        raise InputError(f"all files of '{shown(path)}' are empty; give a log with some event")
    return table


class readable:
    """What a library says of a file, as one line that names it."""

    def __init__(self, path: Path):
        self.path = path

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if not isinstance(error, UNREADABLE) or isinstance(error, InputError):
            return
        if isinstance(error, OSError) and error.strerror and error.errno:
            raise InputError(f"'{shown(self.path)}' cannot be read: {error.strerror}") from None
        bad = _first_bad_bytes(self.path)
        if bad is not None:
            raise InputError(bad) from None
        raise InputError(f"'{shown(self.path)}' cannot be read: {shown(error, 160)}") from None


def _first_bad_bytes(path: Path) -> str | None:
    """Where a text file stops being UTF-8, in a sentence; None where it does not."""
    if ending(path) not in (*SEPARATED, *LINES_OF_JSON, *GROUPLENS):
        return None
    try:
        with _opened(path) as file:
            header: list[bytes] = []
            for number, line in enumerate(file, 1):
                try:
                    line.decode()
                except UnicodeDecodeError as error:
                    if number == 1 and line[:2] in (b"\xff\xfe", b"\xfe\xff"):
                        return f"'{shown(path)}' is UTF-16; save it as UTF-8"
                    separator = _separator(path).encode()
                    column = line[: error.start].count(separator)
                    names = header[0].decode(errors="replace").strip() if header else ""
                    named = names.split(separator.decode())
                    where = f", column '{shown(named[column])}'" if column < len(named) else ""
                    value = line.split(separator)[column].strip().decode("latin-1")
                    return (
                        f"'{shown(path.name)}', line {number}{where}: the bytes of"
                        f" '{shown(value, 40)}' (read as Latin-1) are not UTF-8; save the file as"
                        " UTF-8"
                    )
                if not header:
                    header.append(line)
    except UNREADABLE:
        return None
    return None


def _opened(path: Path) -> Any:
    return gzip.open(path, "rb") if is_packed(path) else path.open("rb")


def _separator(path: Path) -> str:
    """Of the columns; a .csv whose header has no comma may have semicolons, tabs or bars."""
    kind = ending(path)
    if kind != ".csv":
        return SEPARATED.get(kind) or GROUPLENS.get(kind, ",")
    header = re.sub('"[^"]*"', "", _header(path)[1])  # a comma in a quoted name parts nothing
    return next((sign for sign in (",", ";", "\t", "|") if sign in header), ",")


def _header(path: Path) -> tuple[int, str]:
    """Lines before those of the table (the header, and empty ones before it), and the header."""
    with _opened(path) as file:
        for number, line in enumerate(file, 1):
            text = line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
            text = text.split("\r")[0]
            if text.strip() and not re.fullmatch("sep=.", text.strip()):  # Excel's first line
                return number, text
    return 1, ""


def _columns_of(path: Path) -> list[str]:
    kind = ending(path)
    if kind == ".parquet":
        return [str(name) for name in pq.ParquetFile(path).schema_arrow.names]
    if kind in LINES_OF_JSON:
        names: dict[str, None] = {}
        for _, record in _records(path):
            names.update(dict.fromkeys(record))
        return list(names)
    if kind in GROUPLENS:
        return list(GROUPLENS_NAMES)
    text = _header(path)[1]
    if kind == ".csv":
        return next(csv.reader([text], delimiter=_separator(path)), [])
    columns = text.split("\t")
    return [name.split(":")[0] for name in columns] if kind == ".inter" else columns


def _batches(path: Path, wanted: list[str]) -> Iterator[pa.RecordBatch]:
    kind = ending(path)
    if kind == ".parquet":
        yield from _of_parquet(path, wanted)
    elif kind in SEPARATED:
        yield from _of_separated(path, wanted)
    else:
        records = _records(path) if kind in LINES_OF_JSON else _of_grouplens(path)
        yield from _of_records(records, wanted)


def _of_parquet(path: Path, wanted: list[str]) -> Iterator[pa.RecordBatch]:
    file = pq.ParquetFile(path)
    there = [name for name in wanted if name in file.schema_arrow.names]
    for batch in file.iter_batches(columns=there, use_threads=False):
        # nested columns come back whole, whatever part of them was named
        columns = [batch.column(name) if name in there else pa.nulls(len(batch)) for name in wanted]
        yield pa.RecordBatch.from_arrays(columns, names=wanted)


def _of_separated(path: Path, wanted: list[str]) -> Iterator[pa.RecordBatch]:
    """Every value as text; nothing in it but an empty one is missing."""
    quoted = ending(path) == ".csv"
    separator, names = _separator(path), _columns_of(path)
    there = [name for name in wanted if name in names]
    source = pa.input_stream(str(path), compression="gzip" if is_packed(path) else None)
    with source:
        try:
            reader = pacsv.open_csv(
                source,
                pacsv.ReadOptions(
                    use_threads=False,
                    block_size=BLOCK,
                    column_names=names,
                    skip_rows=_header(path)[0],
                ),
                pacsv.ParseOptions(
                    delimiter=separator,
                    quote_char='"' if quoted else False,
                    newlines_in_values=quoted,
                ),
                pacsv.ConvertOptions(
                    column_types=dict.fromkeys(names, pa.string()),
                    include_columns=there,
                    strings_can_be_null=True,
                    null_values=[""],
                ),
            )
            first = 0
            for batch in reader:
                if quoted:
                    _refuse_swallowed_rows(path, batch, first, separator, len(names))
                first += len(batch)
                columns = [
                    batch.column(name) if name in there else pa.nulls(len(batch), pa.string())
                    for name in wanted
                ]
                yield pa.RecordBatch.from_arrays(columns, names=wanted)
        except pa.ArrowInvalid as error:
            row = _OTHER_WIDTH.search(str(error))
            if row is None:
                raise
            number, wanted_n, found, text = row.groups()
            raise InputError(
                f"'{shown(path.name)}', line {number}: {found} values where the header names"
                f" {wanted_n} columns ('{shown(text, 60)}'); mend or remove the line"
            ) from None


# Arrow's words for a line with too few or too many values. Its own hook for them prints a traceback
# where the line is no UTF-8.
_OTHER_WIDTH = re.compile(r"Row #(\d+): Expected (\d+) columns, got (\d+): (.*)", re.DOTALL)


def _refuse_swallowed_rows(
    path: Path, batch: pa.RecordBatch, first: int, separator: str, width: int
) -> None:
    """A stray quote opens a value that holds whole rows until the next quote: they would be lost
    without a word. A line end within a quoted text is no such thing.
    """
    for name, values in zip(batch.schema.names, batch.columns, strict=True):
        long = pc.match_substring_regex(values, "[\r\n]").fill_null(False)
        if not pc.any(long).as_py():
            continue
        for row in pc.indices_nonzero(long).to_pylist():
            lines = values[row].as_py().splitlines()
            inner = [line for line in lines[1:] if line.count(separator) == width - 1]
            if width > 1 and inner:
                raise InputError(
                    f"'{shown(path.name)}', about line {first + row + 2}, column '{shown(name)}': a"
                    f" quote opens a value that holds {len(inner)} whole"
                    f" row{'s' if len(inner) > 1 else ''}; mend the quote"
                )


def _records(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """The objects of JSON lines with their line; numbers are kept as they are written."""
    with _opened(path) as file:
        for number, line in enumerate(file, 1):
            text = line.decode("utf-8-sig" if number == 1 else "utf-8").strip()
            if not text:
                continue
            try:
                record = json.loads(text, parse_int=str, parse_float=str, parse_constant=str)
            except json.JSONDecodeError as error:
                raise InputError(
                    f"'{shown(path.name)}', line {number}: no JSON ({error.msg}); wanted one object"
                    " per line"
                ) from None
            if not isinstance(record, dict):
                raise InputError(
                    f"'{shown(path.name)}', line {number}: '{shown(text, 40)}' is no object; wanted"
                    ' one such as {"user": "ann", ...} per line'
                )
            yield number, record


def _of_grouplens(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    separator = _separator(path)
    with _opened(path) as file:
        for number, line in enumerate(file, 1):
            text = line.decode("utf-8-sig" if number == 1 else "utf-8").strip()
            values = text.split(separator)
            if text and len(values) != len(GROUPLENS_NAMES):
                raise InputError(
                    f"'{shown(path.name)}', line {number}: '{shown(text, 40)}' has"
                    f" {len(values)} values; wanted user, item, rating and time with {separator!r}"
                    " between"
                )
            if text:
                yield number, dict(zip(GROUPLENS_NAMES, values, strict=True))


def _of_records(
    records: Iterator[tuple[int, dict[str, Any]]], wanted: list[str]
) -> Iterator[pa.RecordBatch]:
    for part in iter(lambda: list(itertools.islice(records, CHUNK)), []):
        columns = [
            pa.array([_as_text(record.get(name)) for _, record in part], pa.string())
            for name in wanted
        ]
        yield pa.RecordBatch.from_arrays(columns, names=wanted)


def _as_text(value: Any) -> str | None:
    if value is None or value == "":
        return None
    return value if isinstance(value, str) else json.dumps(value)
