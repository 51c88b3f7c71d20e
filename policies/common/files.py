"""Files written beside and renamed: whole or not at all. Arrays as safetensors, never pickle."""

import hashlib
import json
import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from policies.common.errors import InputError, shown
from policies.common.tables import plain


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A path beside `path` to write to; it takes the place of `path` once all is written.

    Raises:
        OSError: the disk is full, say.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Of this process alone: a worker that outlives a killed driver for a moment may write the same.
    beside = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        yield beside
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def save_text(path: Path, text: str) -> None:
    """UTF-8, whole or not at all. What no encoding knows (half a surrogate pair) is escaped."""
    with whole(path) as beside:
        beside.write_bytes(text.encode("utf-8", "backslashreplace"))


def save_arrays(
    path: Path, arrays: dict[str, np.ndarray], about: dict[str, str] | None = None
) -> None:
    """Safetensors, whole or not at all. Scalars and empty arrays are fine; objects are not.

    Args:
        about: words stored in the header.

    Raises:
        OSError: the disk is full, say, with the system's number.
    """
    # Written here and not by safetensors, which makes a copy of everything, and whose files nobody
    # else may read. Wide numbers first, as it does, so that all stand at multiples of their size.
    arrays = {name: _storable(name, array) for name, array in arrays.items()}
    names = sorted(arrays, key=lambda name: (-arrays[name].dtype.itemsize, name))
    header: dict[str, Any] = {} if about is None else {"__metadata__": about}
    end = 0
    for name in names:
        begin, end = end, end + arrays[name].nbytes
        header[name] = {
            "dtype": _DTYPES[arrays[name].dtype.str[1:]],
            "shape": arrays[name].shape,
            "data_offsets": [begin, end],
        }
    words = json.dumps(header).encode()
    words += b" " * (-len(words) % 8)
    with whole(path) as beside, beside.open("wb") as file:
        file.write(len(words).to_bytes(8, "little") + words)
        for name in names:
            if arrays[name].size:
                file.write(arrays[name].reshape(-1).view(np.uint8).data)


def _storable(name: str, array: np.ndarray) -> np.ndarray:
    """In one piece and this machine's byte order.

    Raises:
        ValueError: numbers of a kind that files know not, or no numbers.
    """
    if array.dtype.str[1:] not in _DTYPES:
        raise ValueError(f"array '{name}' of {array.dtype} cannot be stored")
    return np.ascontiguousarray(array, array.dtype.newbyteorder("=")).reshape(array.shape)


# numpy's kind and size -> safetensors' word
_DTYPES = {"b1": "BOOL"} | {
    f"{kind}{size}": f"{word}{8 * size}"
    for kind, word, sizes in (
        ("u", "U", (1, 2, 4, 8)),
        ("i", "I", (1, 2, 4, 8)),
        ("f", "F", (2, 4, 8)),
    )
    for size in sizes
}


def mapped_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of `load_arrays`, read from the file as they are looked at, and shared by all
    processes that look at them. They are not to be written to; what writes all the same changes
    its own process alone.
    """
    with safe_open(path, framework="numpy") as file:  # it checks the header
        names = file.keys()
        kinds = {name: file.get_slice(name) for name in names}
        shapes = {name: tuple(kind.get_shape()) for name, kind in kinds.items()}
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
        memory = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    numpys = {word: kind for kind, word in _DTYPES.items()}
    arrays = {}
    for name, shape in shapes.items():
        begin, end = header[name]["data_offsets"]
        kind = np.dtype(numpys[header[name]["dtype"]])
        array = np.frombuffer(memory, kind, (end - begin) // kind.itemsize, 8 + size + begin)
        array.flags.writeable = False
        arrays[name] = array.reshape(shape)
    return arrays


def let_go(array: np.ndarray) -> None:
    """Gives back the memory of a mapped array that has been read and not written to; it is read
    from its file again when it is next looked at. Of other arrays nothing happens.
    """
    base: Any = array
    while isinstance(base, np.ndarray):
        base = base.base
    if isinstance(base, memoryview):
        base = base.obj
    if not isinstance(base, mmap.mmap) or not hasattr(mmap, "MADV_DONTNEED"):
        return
    begin = array.__array_interface__["data"][0] - np.frombuffer(base, np.uint8).ctypes.data
    first, last = -(-begin // mmap.PAGESIZE), (begin + array.nbytes) // mmap.PAGESIZE
    if last > first:
        base.madvise(mmap.MADV_DONTNEED, first * mmap.PAGESIZE, (last - first) * mmap.PAGESIZE)


def load_arrays(path: Path, about: dict[str, str] | None = None) -> dict[str, np.ndarray]:
    """The arrays of a file, if its header says all of `about`; otherwise InputError names the first
    difference.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            for key, wanted in (about or {}).items():
                if metadata.get(key) != wanted:
                    raise InputError(
                        f"'{shown(path)}' has {key} {metadata.get(key, '(none)')}, wanted {wanted};"
                        " give the file of this run"
                    )
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
    except (SafetensorError, OSError) as error:
        raise InputError(
            f"'{shown(path)}' is damaged or missing ({shown(error)}); make it again"
        ) from None


def save_json(path: Path, content: Any) -> None:
    """JSON, whole or not at all; numpy scalars and paths are made plain, what is not finite becomes
    null.
    """
    save_text(path, json.dumps(plain(content), indent=1, default=_path) + "\n")


def checksum(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def reading(path: Path, advice: str) -> Iterator[None]:
    """What goes wrong inside because a file that we once wrote is no longer as we wrote it, as one
    line.

    Args:
        path: named in the line. advice: what to do.
    """
    try:
        yield
    except InputError:
        raise
    except (
        KeyError,
        TypeError,
        ValueError,
        AttributeError,
        IndexError,
        OverflowError,
        RecursionError,
        FileNotFoundError,
    ) as error:
        what = shown(error, 120)
        raise InputError(
            f"'{shown(path)}' is damaged or incomplete ({type(error).__name__}: {what}); {advice}"
        ) from None


def _path(value: Any) -> str:
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"cannot store {type(value).__name__}")


# -- what a folder holds ---------------------------------------------------------------------------
Listed = dict[str, dict[str, Any]]  # path below the folder -> rows (if it is a table) and sha256


def listed(folder: Path, path: Path, rows: int | None = None) -> Listed:
    """The entry of a file."""
    entry: dict[str, Any] = {"sha256": checksum(path), "bytes": path.stat().st_size}
    if rows is not None:
        entry["rows"] = rows
    return {path.relative_to(folder).as_posix(): entry}


def check_listed(folder: Path, files: Listed) -> None:
    """Compares files with what was listed of them when they were written.

    Raises:
        InputError: the first that is missing or another one.
    """
    for name, entry in files.items():
        path = folder / name
        if not path.is_file():
            raise InputError(
                f"'{shown(folder)}' is incomplete: {shown(name)} is missing; restore it, or run the"
                " experiment again"
            )
        if path.stat().st_size != entry["bytes"] or checksum(path) != entry["sha256"]:
            raise InputError(
                f"damaged: '{shown(path)}' is not as it was written; restore it, or run the"
                " experiment again"
            )
