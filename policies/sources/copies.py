"""Rows that stand twice: an answer that is delivered twice would be taken for two."""

import numpy as np
import pandas as pd
import pyarrow as pa

from policies.sources.values import flat


def copies(rows: pa.Table) -> np.ndarray:
    """(n,) whether a row repeats an earlier one in every column of the file."""
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
