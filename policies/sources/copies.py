"""Rows that stand twice: an answer that is delivered twice would be taken for two."""

from collections.abc import Callable, Iterable

import numpy as np
import pandas as pd
import pyarrow as pa

from policies.sources.values import flat

_GOLDEN, _S29, _S32 = np.uint64(0x9E3779B97F4A7C15), np.uint64(29), np.uint64(32)
_NOTHING = np.uint64(0xD6E8FEB86659FD93)  # bits of a missing value


class Fingerprints:
    """Numbers of 64 bits of the rows of a table, batch by batch, so that a large one need never be
    in memory whole.
    """

    def __init__(self) -> None:
        self._parts: list[np.ndarray] = []

    def add(self, batch: pa.RecordBatch) -> None:
        """The next rows."""
        number = np.zeros(batch.num_rows, np.uint64)
        for column in batch.columns:
            number ^= _bits(column)
            number *= _GOLDEN
            number ^= number >> _S29
            number *= _GOLDEN
            number ^= number >> _S32
        self._parts.append(number)

    def copies(self, again: Callable[[], Iterable[pa.RecordBatch]]) -> np.ndarray:
        """(n,) whether a row repeats an earlier one in every column of the file.

        Args:
            again: gives the batches once more; rows that share a number are compared as they are.
        """
        number = np.concatenate(self._parts) if self._parts else np.zeros(0, np.uint64)
        self._parts = []
        ordered = np.sort(number)
        twice = np.unique(ordered[1:][ordered[1:] == ordered[:-1]])
        del ordered
        copy = np.zeros(len(number), bool)
        if not len(twice):
            return copy
        suspect, first, some = np.isin(number, twice), 0, []
        for batch in again():
            some.append(batch.filter(pa.array(suspect[first : first + len(batch)])))
            first += len(batch)
        copy[suspect] = _same(pa.Table.from_batches(some))
        return copy


def copies(rows: pa.Table) -> np.ndarray:
    """(n,) whether a row of a table in memory repeats an earlier one in every column."""
    numbers = Fingerprints()
    for batch in rows.to_batches():
        numbers.add(batch)
    return numbers.copies(rows.to_batches)


def _bits(column: pa.Array) -> np.ndarray:
    """(n,) uint64, equal where the values are, in whatever batch they stand."""
    values = flat(column)
    if pa.types.is_boolean(values.type):
        values = values.cast(pa.uint8())
    kind = values.type
    plain = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_temporal(kind)
    if plain and kind.bit_width in (8, 16, 32, 64):
        raw = np.frombuffer(values.buffers()[1], f"u{kind.bit_width // 8}")
        bits: np.ndarray = raw[values.offset : values.offset + len(values)].astype(np.uint64)
    else:
        coded = as_text(values).dictionary_encode()
        words = pd.util.hash_array(coded.dictionary.to_numpy(zero_copy_only=False))
        bits = np.append(words, _NOTHING)[coded.indices.fill_null(-1).to_numpy()]
    if values.null_count:
        bits[values.is_null().to_numpy(zero_copy_only=False)] = _NOTHING
    return bits


def _same(rows: pa.Table) -> np.ndarray:
    """(n,) whether a row repeats an earlier one, value by value as text."""
    codes = {
        str(i): as_text(column).dictionary_encode().indices.to_numpy(zero_copy_only=False)
        for i, column in enumerate(rows.columns)
    }
    return pd.DataFrame(codes).duplicated().to_numpy()


def as_text(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    """(n,) strings of any column, nested ones and bytes too: to compare, not to show."""
    values = flat(column)
    try:
        return values.cast(pa.string())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return pa.array(list(map(repr, values.to_pylist())), pa.string())


def without_copies(copy: np.ndarray, coarse: bool) -> tuple[np.ndarray, list[str]]:
    """(n,) the rows to keep, and a sentence if there were copies.

    Args:
        copy: of `copies`. coarse: times are to the minute or coarser, so that a repeat looks like
            a copy: all are kept.
    """
    n = int(copy.sum())
    if not n:
        return np.ones(len(copy), bool), []
    if coarse:
        return np.ones(len(copy), bool), [
            f"{n} rows repeat another one in all columns and are kept: with times this coarse"
            " copies cannot be told from repeats. A column that numbers the events would tell."
        ]
    return ~copy, [f"{n} rows that repeat another one in all columns are left out."]
