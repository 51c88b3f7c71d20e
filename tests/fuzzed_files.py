"""Logs with something wrong in them: the same for a seed, many of them still readable."""

import contextlib
import gzip
import io
import json
import random
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

ENDINGS = (".csv", ".tsv", ".jsonl", ".parquet", ".inter", ".csv.gz", ".CSV")
ODD = (
    "",
    "nan",
    "NaN",
    "None",
    "-1",
    "0",
    "1e400",
    "9" * 80,
    "1,5",
    "TRUE",
    "yes",
    "007",
    "\u00e4\u00f6\u2603",
    "\x1b[31m",
    "a\nb",
    '"',
    '""',
    "'",
    "=1+1",
    "<b>x</b>",
    "\x00",
    "2026-05-01",
    "01/02/2026",
    "20260501",
    "2026-05-01T25:00:00",
    "1777600000000",
    "x" * 3000,
)
Rows = dict[str, list[Any]]


def fuzzed_file(seed: int, folder: Path, live: bool) -> Path:
    """Writes file number `seed` and returns its path.

    Args:
        live: whether the log is of an A/B test, with an arm.
    """
    rng = random.Random(seed)
    rows = _rows(rng, live)
    harsh = rng.random() < 0.45  # the others stay readable, whatever they look like
    for _ in range(rng.randint(1, 3)):
        with contextlib.suppress(
            KeyError, TypeError, IndexError
        ):  # an earlier change was in the way
            rng.choice(_HARSH if harsh else _MILD)(rng, rows)
    ending = rng.choice(ENDINGS)
    path = folder / f"f{seed}{ending}"
    content = _written(rng, rows, ending.lower())
    if harsh and rng.random() < 0.4:
        content = rng.choice(_BYTES)(rng, content)
    path.write_bytes(gzip.compress(content) if ending.endswith(".gz") else content)
    return path


def _rows(rng: random.Random, live: bool) -> Rows:
    n, users = rng.randint(40, 120), rng.randint(4, 20)
    start = rng.choice((1_777_600_000, 0, 1_700_000_000))
    rows: Rows = {
        "user": [f"u{rng.randrange(users)}" for _ in range(n)],
        "item": [f"i{rng.randrange(40)}" for _ in range(n)],
        "time": [start + rng.randrange(6 * 86_400) for _ in range(n)],
        "click": [rng.randrange(2) for _ in range(n)],
    }
    if live:
        rows["bucket"] = [("A", "B")[int(u[1:]) % 2] for u in rows["user"]]
    for name, value in (
        ("slot", lambda: rng.randrange(6)),
        ("like", lambda: rng.randrange(2)),
        ("note", lambda: rng.choice(("", "fine", "a, b", "x"))),
    ):
        if rng.random() < 0.4:
            rows[name] = [value() for _ in range(n)]
    return rows


# -- what still reads ------------------------------------------------------------------------------


def _another_column(rng: random.Random, rows: Rows) -> None:
    rows[f"extra{rng.randrange(9)}"] = [rng.choice(ODD[9:22]) for _ in rows["user"]]


def _dates(rng: random.Random, rows: Rows) -> None:
    import datetime as dt

    shape = rng.choice(("%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%SZ", "%Y/%m/%d %H:%M"))
    if isinstance(rows["time"][0], int):
        base = dt.datetime(2026, 5, 1)
        rows["time"] = [
            (base + dt.timedelta(seconds=t % 600_000)).strftime(shape) for t in rows["time"]
        ]


def _milliseconds(rng: random.Random, rows: Rows) -> None:
    if isinstance(rows["time"][0], int) and min(rows["time"]) > 1e9:
        rows["time"] = [t * 1000 + rng.randrange(1000) for t in rows["time"] if t < 1e12] or rows[
            "time"
        ]


def _ids_of_noughts(rng: random.Random, rows: Rows) -> None:
    rows["item"] = [f"{int(i[1:]):03d}" if i[1:].isdigit() else i for i in rows["item"]]


def _shuffled(rng: random.Random, rows: Rows) -> None:
    order = list(range(len(rows["user"])))
    rng.shuffle(order)
    for name, values in rows.items():
        if len(values) == len(order):
            rows[name] = [values[i] for i in order]


def _flags_in_words(rng: random.Random, rows: Rows) -> None:
    rows["click"] = [{1: "True", 0: "False"}.get(c, c) for c in rows["click"]]


def _other_slots(rng: random.Random, rows: Rows) -> None:
    if "slot" in rows:
        rows["slot"] = [s + 1 if isinstance(s, int) else s for s in rows["slot"]]


# -- what may not read -----------------------------------------------------------------------------


def _odd_values(rng: random.Random, rows: Rows) -> None:
    name = rng.choice(list(rows))
    for _ in range(rng.randint(1, 5)):
        if rows[name]:
            rows[name][rng.randrange(len(rows[name]))] = rng.choice(ODD)


def _a_column_of_odd(rng: random.Random, rows: Rows) -> None:
    name = rng.choice(list(rows))
    rows[name] = [rng.choice(ODD) for _ in rows[name]]


def _without_a_column(rng: random.Random, rows: Rows) -> None:
    if len(rows) > 1:
        del rows[rng.choice(list(rows))]


def _renamed(rng: random.Random, rows: Rows) -> None:
    name = rng.choice(list(rows))
    rows[rng.choice((*ODD[:20], "item", "timestamp", "rating"))] = rows.pop(name)


def _few_rows(rng: random.Random, rows: Rows) -> None:
    n = rng.randrange(3)
    for name in rows:
        rows[name] = rows[name][:n]


Change = Callable[[random.Random, Rows], None]
_MILD: tuple[Change, ...] = (
    _another_column,
    _dates,
    _milliseconds,
    _ids_of_noughts,
    _shuffled,
    _flags_in_words,
    _other_slots,
)
_HARSH: tuple[Change, ...] = (
    *_MILD,
    _odd_values,
    _odd_values,
    _a_column_of_odd,
    _without_a_column,
    _renamed,
    _few_rows,
)


# -- on disk ---------------------------------------------------------------------------------------


def _written(rng: random.Random, rows: Rows, ending: str) -> bytes:
    if ending == ".parquet":
        return _parquet(rng, rows)
    names, n = list(rows), max((len(values) for values in rows.values()), default=0)
    if ending == ".jsonl":
        lines = [
            json.dumps({name: rows[name][i] for name in names if i < len(rows[name])})
            for i in range(n)
        ]
    else:
        sep = "," if ending.startswith(".csv") else "\t"
        head = [f"{name}:token" if ending == ".inter" else name for name in names]
        lines = [sep.join(_cell(name, sep) for name in head)]
        lines += [
            sep.join(
                _cell(str(rows[name][i]), sep) if i < len(rows[name]) else "" for name in names
            )
            for i in range(n)
        ]
    end = rng.choice(("\n", "\n", "\n", "\r\n"))
    text = end.join(lines) + rng.choice((end, end, ""))
    return (b"\xef\xbb\xbf" if rng.random() < 0.05 else b"") + text.encode("utf-8", "replace")


def _cell(value: str, sep: str) -> str:
    quoted = sep == "," and any(c in value for c in (",", "\n", '"'))
    return '"' + value.replace('"', '""') + '"' if quoted else value.replace(sep, " ")


def _parquet(rng: random.Random, rows: Rows) -> bytes:
    columns: dict[str, Any] = {}
    n = min((len(values) for values in rows.values()), default=0)
    for name, values in rows.items():
        columns[name] = _typed(rng, values[:n])
    out = io.BytesIO()
    pq.write_table(pa.table(columns), out)
    return out.getvalue()


def _typed(rng: random.Random, values: list[Any]) -> pa.Array:
    try:
        array = pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
        array = pa.array(list(map(str, values)))
    chance = rng.random()
    try:
        if chance < 0.15:
            return array.dictionary_encode()
        if chance < 0.2 and pa.types.is_integer(array.type):
            return array.cast(pa.float64())
        if chance < 0.25 and pa.types.is_integer(array.type):
            return pa.array([Decimal(v) for v in values])
        if chance < 0.28:
            return pa.array([str(v).encode() for v in values])
        if chance < 0.30:
            return pa.array([{"a": 1} for _ in values])
        if chance < 0.31:
            return pa.array([None for _ in values])
        if chance < 0.34 and pa.types.is_integer(array.type):
            return array.cast(pa.timestamp("s"))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, ValueError):
        pass
    return array


def _flipped(rng: random.Random, content: bytes) -> bytes:
    data = bytearray(content)
    for _ in range(rng.randint(1, 8)):
        if data:
            data[rng.randrange(len(data))] = rng.randrange(256)
    return bytes(data)


def _cut(rng: random.Random, content: bytes) -> bytes:
    return content[: rng.randrange(len(content) + 1)]


def _doubled(rng: random.Random, content: bytes) -> bytes:
    at = rng.randrange(len(content) + 1)
    return content[:at] + content[max(at - 40, 0) :]


def _quoted(rng: random.Random, content: bytes) -> bytes:
    at = rng.randrange(len(content) + 1)
    return content[:at] + b'"' + content[at:]


def _utf16(rng: random.Random, content: bytes) -> bytes:
    return content.decode("latin-1").encode("utf-16")


_BYTES: tuple[Callable[[random.Random, bytes], bytes], ...] = (
    _flipped,
    _cut,
    _doubled,
    _quoted,
    _utf16,
)
