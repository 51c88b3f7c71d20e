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
