"""Folders that one process writes into, and that are whole or marked as unfinished."""

import errno
import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from policies.common.errors import InputError, shown

LOCK = ".lock"
_held: set[Path] = set()


@contextmanager
def one_writer(folder: Path) -> Iterator[None]:
    """The only process that writes into a folder; one that is killed leaves it free.

    Raises:
        InputError: another process is writing there.
    """
    place = folder.resolve()
    if place in _held:  # by this process already
        yield
        return
    try:
        handle = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise InputError(f"'{shown(folder)}' cannot be written to: {error.strerror}") from None
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                raise InputError(
                    f"another process is writing into '{shown(folder)}'; wait for it to end, or"
                    " name another folder"
                ) from None
            # a file system without locks: nothing can be promised there
        _held.add(place)
        try:
            yield
        finally:
            _held.discard(place)
            if _is_vacant(folder):  # nothing came of it
                shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(handle)


UNFINISHED = ".unfinished"


def refuse_existing(path: Path, flag: str = "--out", advice: str = "") -> None:
    """Raises InputError where something is at `path` that no killed process left half-made."""
    if os.path.lexists(path) and not (path / UNFINISHED).is_file() and not _is_vacant(path):
        raise InputError(f"{flag} '{shown(path)}' exists already; name another folder{advice}")


def _is_vacant(path: Path) -> bool:
    """Whether a folder holds a lock and nothing else: of a process that was killed before its first
    file.
    """
    if not (path / LOCK).is_file():
        return False
    return all(entry.name == LOCK or entry.name.endswith(".part") for entry in path.iterdir())


@contextmanager
def new_folder(path: Path, flag: str = "--out") -> Iterator[Path]:
    """A folder made before the work begins and taken away again if the work fails. One that a
    killed process left half-made carries a mark, and is taken over.

    Raises:
        InputError: it is there already, or cannot be made.
    """
    refuse_existing(path, flag)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{flag} '{shown(path)}' cannot be made: {error.strerror}") from None
    with one_writer(path):
        _empty(path)
        (path / UNFINISHED).touch()
        try:
            yield path
        except BaseException:
            _empty(path)
            (path / UNFINISHED).unlink(missing_ok=True)
            (path / LOCK).unlink(missing_ok=True)
            with suppress(OSError):  # somebody put something else there
                path.rmdir()
            raise
        (path / LOCK).unlink(missing_ok=True)
        (path / UNFINISHED).unlink()


def _empty(folder: Path) -> None:
    """Takes away all but the lock and the mark."""
    for entry in folder.iterdir():
        if entry.name in (LOCK, UNFINISHED):
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            entry.unlink(missing_ok=True)
