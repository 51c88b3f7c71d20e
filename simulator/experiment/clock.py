"""Where the time of a run goes."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from policies.common.tables import number

KINDS = ("load", "fit", "train", "serve", "doubt", "judge")


class Clock:
    """Seconds of work by kind, of all processes together: processes beside each other make their
    sum larger than the time that passes.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = dict.fromkeys(KINDS, 0.0)

    @contextmanager
    def of(self, kind: str) -> Iterator[None]:
        began = time.monotonic()
        try:
            yield
        finally:
            self.seconds[kind] += time.monotonic() - began

    def go_on(self, earlier: dict[str, float]) -> None:
        """From what a run took before it was interrupted; units say for themselves what they
        took.
        """
        for kind in ("load", "fit"):
            self.seconds[kind] += earlier.get(kind, 0.0)

    def add(self, kind: str, said: list[dict[str, Any]]) -> None:
        """What units say that they took."""
        self.seconds[kind] += sum(about["seconds"] for about in said)

    def table(self) -> dict[str, float]:
        return {kind: round(seconds, 1) for kind, seconds in self.seconds.items()}


def in_words(manifest: dict[str, Any]) -> str:
    """The line of a finished run."""
    parts = ", ".join(f"{kind} {number(x)}" for kind, x in manifest.get("time", {}).items())
    line = f"time: {number(manifest.get('seconds'))} s; seconds of work: {parts}"
    if manifest.get("workers", 1) > 1:
        line += f" on {manifest['workers']} processes"
    peak = manifest.get("peak_memory_mib")
    return line if peak is None else f"{line}; peak memory {number(peak)} MiB"
