"""Rows that stand twice: an answer that is delivered twice would be taken for two."""

import numpy as np
import pandas as pd
import pyarrow as pa

from policies.sources.values import flat


def copies(rows: pa.Table) -> np.ndarray:
    """(n,) whether a row repeats an earlier one in every column of the file."""
    codes = {str(i): _codes(column) for i, column in enumerate(rows.columns)}
    return pd.DataFrame(codes).duplicated().to_numpy()


def _codes(column: pa.ChunkedArray) -> np.ndarray:
    """(n,) a number per distinct value, -1 for none."""
    values = flat(column)
    if pa.types.is_nested(values.type):
        values = pa.array(list(map(repr, values.to_pylist())), pa.string())
    if pa.types.is_null(values.type):
        return np.full(len(values), -1)
    indices = values.dictionary_encode().indices
    return np.asarray(indices.fill_null(-1).to_numpy(zero_copy_only=False))


def fingerprints(batch: pa.RecordBatch) -> np.ndarray:
    """(n,) uint64 of all columns, the same for the same row in any batch."""
    total = np.zeros(len(batch), np.uint64)
    for column in batch.columns:
        values = flat(column)
        if pa.types.is_nested(values.type):
            values = pa.array(list(map(repr, values.to_pylist())), pa.string())
        elif not (pa.types.is_string(values.type) or pa.types.is_large_string(values.type)):
            values = _as_text(values)
        hashed = pd.util.hash_array(
            np.array(values.to_pylist(), dtype=object), categorize=len(values) > 0
        )
        total = total * _PRIME ^ hashed
    return total


_PRIME = np.uint64(0x100000001B3)


def _as_text(values: pa.Array) -> pa.Array:
    try:
        return values.cast(pa.string())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return pa.array(list(map(repr, values.to_pylist())), pa.string())


def without_copies(rows: pa.Table, coarse: bool) -> tuple[np.ndarray, list[str]]:
    """(n,) the rows to keep, and a sentence if there were copies.

    Args:
        coarse: times are to the minute or coarser, so that a repeat looks like a copy: all are
            kept.
    """
    copy = copies(rows)
    n = int(copy.sum())
    if not n:
        return np.ones(len(copy), bool), []
    if coarse:
        return np.ones(len(copy), bool), [
            f"{n} rows repeat another one in all columns and are kept: with times this coarse"
            " copies cannot be told from repeats. A column that numbers the events would tell."
        ]
    return ~copy, [f"{n} rows that repeat another one in all columns are left out."]
