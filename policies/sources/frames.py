"""Data frames as logs: what a notebook holds becomes a file, so that a run can be gone on with."""

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import narwhals as nw
import pyarrow as pa
import pyarrow.parquet as pq

from policies.common.errors import InputError
from policies.common.files import whole

SCHEME = "frame:"
FOLDER = "logs"  # beside the runs
_held: dict[str, bytes] = {}


def is_frame(value: object) -> bool:
    """Whether it is a table with columns: pandas, Polars, Arrow, ..."""
    return hasattr(value, "columns") or isinstance(value, pa.Table)


def hold(frame: Any) -> str:
    """Keeps a frame in this process; the name under which a log is asked for, the same for the same
    rows and columns.

    Raises:
        InputError: it is no frame that Arrow can hold.
    """
    try:
        table = nw.from_native(frame, eager_only=True).to_arrow()
        names = [str(name) for name in getattr(frame, "columns", table.column_names)]
        if not isinstance(frame, pa.Table):  # without the index of pandas
            table = table.select(names)
        written = BytesIO()
        pq.write_table(table.replace_schema_metadata(), written)
    except (TypeError, ValueError, KeyError, pa.ArrowException) as error:
        why = str(error).splitlines()[0][:160] if str(error) else type(error).__name__
        raise InputError(f"log: a {type(frame).__name__} cannot be read ({why})") from None
    content = written.getvalue()
    name = hashlib.blake2b(content, digest_size=8).hexdigest()
    _held[name] = content
    return SCHEME + name


@contextmanager
def in_its_words(spec: str) -> Iterator[None]:
    """What is refused of a frame is told in the words of Python: settings in place of flags, the
    frame in place of its file.
    """
    try:
        yield
    except InputError as error:
        if not spec.startswith(SCHEME):
            raise
        told = re.sub(r"--([a-z][a-z-]*)", lambda flag: flag[1].replace("-", "_"), str(error))
        file = rf"'[^']*{re.escape(spec.removeprefix(SCHEME))}\.parquet'"
        raise InputError(re.sub(file, "the data frame", told)) from None


def in_a_file(spec: str, beside: Path) -> str:
    """The path of a frame's file, in `beside/logs`, written where it is not there yet; any other
    log as it is.

    Raises:
        InputError: another process held the frame.
    """
    if not spec.startswith(SCHEME):
        return spec
    name = spec.removeprefix(SCHEME)
    path = beside / FOLDER / f"{name}.parquet"
    if not path.exists():
        if name not in _held:
            raise InputError(f"log '{spec}': the data frame is gone; give it again")
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole(path) as part:
            part.write_bytes(_held[name])
    return str(path)
