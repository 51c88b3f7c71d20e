"""Files written beside and renamed: whole or not at all. Arrays as safetensors, never pickle."""

import errno
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from policies.common.errors import InputError
from policies.common.tables import plain


def save_arrays(
    path: Path, arrays: dict[str, np.ndarray], about: dict[str, str] | None = None
) -> None:
    """Safetensors, atomically. Scalars and empty arrays are fine; objects are not.

    Args:
        about: words stored in the header.

    Raises:
        OSError: the disk is full, say, with the system's number.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(path.suffix + ".part")
    try:
        save_file(
            {name: np.ascontiguousarray(value) for name, value in arrays.items()},
            beside,
            metadata=about,
        )
    except SafetensorError as error:  # safetensors tells what the system said in words alone
        number = re.search(r"os error (\d+)", str(error))
        raise OSError(int(number[1]) if number else errno.EIO, str(error), str(path)) from None
    beside.replace(path)


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
                        f"'{path}' has {key} {metadata.get(key, '(none)')}, wanted {wanted}; give"
                        " the file of this run"
                    )
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
    except (SafetensorError, OSError) as error:
        raise InputError(f"'{path}' is damaged or missing ({error}); make it again") from None


def save_json(path: Path, content: Any) -> None:
    """JSON, atomically; numpy scalars and paths are made plain, what is not finite becomes null."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(path.suffix + ".part")
    beside.write_text(json.dumps(plain(content), indent=1, default=_path) + "\n", encoding="utf-8")
    beside.replace(path)


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
        FileNotFoundError,
    ) as error:
        what = " ".join(str(error).split())[:120]
        raise InputError(
            f"'{path}' is damaged or incomplete ({type(error).__name__}: {what}); {advice}"
        ) from None


def _path(value: Any) -> str:
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"cannot store {type(value).__name__}")
