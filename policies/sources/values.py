"""Columns as text or as numbers, whatever type a file gives them. What cannot be read is refused
with its place.
"""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from policies.common.errors import InputError, shown
from policies.common.processes import trim

# what a missing number is written as; an id is missing only where nothing stands
MISSING = frozenset({"", "na", "n/a", "nan", "null", "none", "nil", "\\n", "<na>"})
YES_NO = {"true": "1", "false": "0"}
FLAG_ROLES = frozenset({"click", "long_view", "like", "hate"})
FLAG_WORDS = YES_NO | {"yes": "1", "no": "0", "y": "1", "n": "0", "t": "1", "f": "0"}
EXACT = 2.0**53  # whole floats are exact below
Place = Callable[[int], str]


def flat(values: pa.Array | pa.ChunkedArray) -> pa.Array:
    """One array; dictionaries (pandas' categories) and run-length codes as what they stand for."""
    if isinstance(values, pa.ChunkedArray):
        values = values.combine_chunks()
        if isinstance(values, pa.ChunkedArray):  # of no chunk, or too large for one
            values = (
                pa.concat_arrays(values.chunks) if values.num_chunks else pa.array([], values.type)
            )
    if pa.types.is_dictionary(values.type):
        return flat(values.dictionary_decode())
    if pa.types.is_run_end_encoded(values.type):
        return flat(pc.run_end_decode(values))
    return values.storage if isinstance(values, pa.ExtensionArray) else values


def release_unused() -> None:
    """Hands memory that Arrow and the C library keep for later back to the system."""
    pa.default_memory_pool().release_unused()
    trim()


def is_text(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    )


def text(values: pa.Array | pa.ChunkedArray, place: Place, role: str) -> pa.Array:
    """(n,) strings; null where nothing stands. Whole floats are written as whole numbers: they are
    what a library makes of numbers with a gap.

    Raises:
        InputError: lists and other nested values, bytes that are no text, floats too large to
            be told apart.
    """
    values = flat(values)
    kind = values.type
    if pa.types.is_null(kind):
        return pa.nulls(len(values), pa.string())
    if is_text(kind):
        found = _sound(values.cast(pa.string()), place, role)
    elif pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or _is_fixed_bytes(kind):
        found = _decoded(values, place, role)
    elif pa.types.is_floating(kind):
        found = _of_floats(values.cast(pa.float64()), place, role)
    elif pa.types.is_nested(kind):
        raise InputError(
            f"{place(0)}: the values for {role} are of type {shown(kind, 60)}; wanted text or"
            " numbers"
        )
    else:
        found = values.cast(pa.string())
    return pc.if_else(pc.equal(found, ""), pa.scalar(None, pa.string()), found)


def _is_fixed_bytes(kind: pa.DataType) -> bool:
    return bool(pa.types.is_fixed_size_binary(kind) or pa.types.is_binary_view(kind))


def _sound(values: pa.Array, place: Place, role: str) -> pa.Array:
    """Strings that a damaged file may have filled with other bytes."""
    try:
        values.validate(full=True)
    except pa.ArrowInvalid:
        return _decoded(values.cast(pa.binary()), place, role)
    return values


def _decoded(values: pa.Array, place: Place, role: str) -> pa.Array:
    out: list[str | None] = []
    for row, value in enumerate(values.to_pylist()):
        try:
            out.append(None if value is None else value.decode())
        except UnicodeDecodeError:
            raise InputError(
                f"{place(row)}: the value for {role} is {shown(value, 40)}, bytes that are no"
                " UTF-8; write it as text"
            ) from None
    return pa.array(out, pa.string())


def _of_floats(values: pa.Array, place: Place, role: str) -> pa.Array:
    numbers = values.to_numpy(zero_copy_only=False)
    there = ~np.isnan(numbers)
    wrong = there & ~(np.abs(numbers) < EXACT)
    if wrong.any():
        row = int(np.argmax(wrong))
        raise InputError(
            f"{place(row)}: the value for {role} is the float {numbers[row]:g}, which stands for"
            " several whole numbers; write it as text or as an integer"
        )
    whole = there & (numbers == np.floor(numbers))
    out = np.full(len(numbers), None, object)
    out[whole] = numbers[whole].astype(np.int64).astype(str)
    out[there & ~whole] = [repr(float(x)) for x in numbers[there & ~whole]]
    return pa.array(out, pa.string())


def numbers(values: pa.Array | pa.ChunkedArray, place: Place, role: str) -> np.ndarray:
    """(n,) float64, NaN where a value is missing; infinite where the file says so.

    True and false are 1 and 0; in flags so are yes and no.

    Raises:
        InputError: what is no number, with its place.
    """
    values = flat(values)
    kind = values.type
    if pa.types.is_null(kind):
        return np.full(len(values), np.nan)
    if pa.types.is_boolean(kind) or pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return _as_floats(values)
    if pa.types.is_decimal(kind):
        return _as_floats(values.cast(pa.float64(), safe=False))
    if pa.types.is_temporal(kind) or pa.types.is_nested(kind):
        raise InputError(
            f"{place(0)}: the values for {role} are of type {shown(kind, 60)}; wanted numbers"
        )
    words = pd.Series(text(values, place, role).to_pylist(), dtype=object)
    plain = words.fillna("").str.strip()
    low = plain.str.lower()
    missing = low.isin(MISSING)
    known = FLAG_WORDS if role in FLAG_ROLES else YES_NO
    plain = plain.where(~low.isin(known), low.map(known))
    found = parsed(plain.where(~missing, "nan"))
    wrong = np.isnan(found) & ~missing.to_numpy()
    if wrong.any():
        row = int(np.argmax(wrong))
        raise InputError(no_number(place(row), role, str(words[row])))
    return np.array(found)


def parsed(words: pd.Series) -> np.ndarray:
    """(n,) float64 of texts, NaN where one is no number; whole numbers beyond all bounds are
    infinite.
    """
    found = pd.to_numeric(words, errors="coerce")
    try:
        return np.array(found.to_numpy(np.float64))
    except OverflowError:
        return np.array([float(f"{x}") for x in found])


def no_number(place: str, role: str, value: str) -> str:
    """The line about a value that should be a number."""
    comma = value.replace(" ", "").lstrip("+-").replace(",", "", 1).replace(".", "", 1)
    hint = (
        "write decimals with a point and thousands without a sign"
        if "," in value and comma.isdigit()
        else f"mend it, leave it empty, or leave {role} out of --columns"
    )
    return f"{place}: '{shown(value, 40)}' for {role} is no number; {hint}"


def _as_floats(values: pa.Array) -> np.ndarray:
    if values.null_count:
        if pa.types.is_boolean(values.type):
            values = values.cast(pa.int8())
        values = values.cast(pa.float64(), safe=False)
    return np.array(values.to_numpy(zero_copy_only=False), dtype=np.float64)


def in_order(ids: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """Codes 1..n (int32) of ids, text or whole numbers (no null among them), and the ids as text:
    plain whole numbers in the order of numbers, anything else in that of the alphabet.
    """
    coded = ids.dictionary_encode()
    found = coded.dictionary
    if pa.types.is_integer(found.type) and _all_plain(found.to_numpy()):
        names = found.to_numpy()
        order = np.argsort(names)
    else:
        names = np.array(found.cast(pa.string()).to_pylist(), dtype=object)
        keys: list[Any] = list(map(int, names)) if all(map(_is_plain, names)) else list(names)
        order = np.array(sorted(range(len(names)), key=keys.__getitem__), np.int64)
    rank = np.empty(len(names), np.int32)
    rank[order] = np.arange(1, len(names) + 1)
    return rank[coded.indices.to_numpy(zero_copy_only=False)], names[order].astype(str)


def refuse_twins(names: Iterable[str], what: str) -> None:
    """Raises InputError at two ids that differ in blanks around them, or as 7 and 7.0 do: they are
    one thing that two programs wrote.
    """
    seen: dict[str, str] = {}
    for name in names:
        plain = name.strip()
        plain = plain[:-2] if plain.endswith(".0") and plain[:-2].isdigit() else plain
        if seen.setdefault(plain, name) != name:
            raise InputError(
                f"the {what}s '{shown(seen[plain], 40)}' and '{shown(name, 40)}' differ in the way"
                " they are written alone; write them alike"
            )


MOST_DIGITS = 18  # of a plain number


def _all_plain(found: np.ndarray) -> bool:
    """As `_is_plain`, of whole numbers."""
    most = 10**MOST_DIGITS
    return bool(len(found)) and -most < int(found.min()) and int(found.max()) < most


def _is_plain(name: str) -> bool:
    """Whether a number is written in the one way in which a number is: no `007`, no `+7`."""
    digits = name[1:] if name.startswith("-") else name
    return (
        digits.isascii()
        and digits.isdigit()
        and len(digits) <= MOST_DIGITS
        and (digits[0] != "0" or name == "0")
    )
