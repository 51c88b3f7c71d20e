"""Rows that stand twice: an answer that is delivered twice would be taken for two."""

import numpy as np
import pandas as pd
import pyarrow as pa

from policies.sources.values import flat

_GOLDEN, _S29, _S32 = np.uint64(0x9E3779B97F4A7C15), np.uint64(29), np.uint64(32)


def copies(rows: pa.Table) -> np.ndarray:
    """(n,) whether a row repeats an earlier one in every column of the file.

    Rows are told apart by a number of 64 bits each, column by column, so that a large table is
    never in memory twice; those that share a number are compared as they are.
    """
    number = np.zeros(rows.num_rows, np.uint64)
    for column in rows.columns:
        number ^= _bits(column)
        number *= _GOLDEN
        number ^= number >> _S29
        number *= _GOLDEN
        number ^= number >> _S32
    ordered = np.sort(number)
    twice = np.unique(ordered[1:][ordered[1:] == ordered[:-1]])
    copy = np.zeros(len(number), bool)
    if len(twice):
        at = np.flatnonzero(np.isin(number, twice))
        copy[at] = _same(rows.take(pa.array(at)))
    return copy


def _bits(column: pa.ChunkedArray) -> np.ndarray:
    """(n,) uint64, equal where the values are."""
    values = flat(column)
    kind = values.type
    plain = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_temporal(kind)
    if not plain or values.null_count or kind.bit_width not in (8, 16, 32, 64):
        codes = as_text(values).dictionary_encode().indices
        return codes.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.uint64)
    raw = np.frombuffer(values.buffers()[1], f"u{kind.bit_width // 8}")
    bits: np.ndarray = raw[values.offset : values.offset + len(values)].astype(np.uint64)
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
