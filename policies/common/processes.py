"""Processes: those that do not outlive the one that made them, and the memory of all of them. Light
to import: each of them does.
"""

import ctypes
import multiprocessing
import os
import platform
import resource
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from importlib.metadata import version
from multiprocessing import connection
from pathlib import Path

SAMPLED_EVERY = 0.5  # s


def die_with_the_parent() -> None:
    """Ends this process when the one that made it is gone, killed for instance."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def trim() -> None:
    """Hands freed memory back to the system, where the C library can (glibc)."""
    release = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if release is not None:
        release(0)


@lru_cache(maxsize=1)
def machine() -> str:
    """The kind of processor and the libraries that last bits depend on."""
    kind = platform.processor() or platform.machine()
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
        kind = next((line.split(":", 1)[1].strip() for line in lines if "model name" in line), kind)
    there = [f"{name} {version(name)}" for name in ("torch", "numpy", "numba", "scipy")]
    return ", ".join([kind, f"python {platform.python_version()}", *there])


class PeakMemory:
    """The largest memory so far of this process and its children, in MiB: the sum of their
    proportional set sizes, sampled; where there is no /proc, the resident size of this one alone.
    """

    def __init__(self) -> None:
        self._largest = 0.0

    @property
    def mib(self) -> int:
        unit = 2**20 if sys.platform == "darwin" else 2**10
        alone = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
        return round(max(self._largest, alone if not _HAS_PROC else self._largest))

    @contextmanager
    def watched(self) -> Iterator["PeakMemory"]:
        stop = threading.Event()

        def watch() -> None:
            while not stop.wait(SAMPLED_EVERY):
                self.sample()

        thread = threading.Thread(target=watch, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            stop.set()
            thread.join()
            self.sample()

    def sample(self) -> None:
        if _HAS_PROC:
            now = sum(_pss(pid) for pid in _with_children(os.getpid())) / 2**10
            self._largest = max(self._largest, now)


_HAS_PROC = Path("/proc/self/smaps_rollup").is_file()


def _with_children(pid: int) -> list[int]:
    """A process and all that it has made."""
    found = [pid]
    for place in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children = place.read_text().split()
        except OSError:  # just ended
            continue
        for child in children:
            found += _with_children(int(child))
    return found


def _pss(pid: int) -> int:
    """KiB; 0 of a process that has just ended."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)
