"""What a person sees while it runs: the simulated day, pages per second, time left."""

import sys
import time
from dataclasses import dataclass, field
from types import TracebackType

from rich import progress as bars
from rich.console import Console
from rich.progress import BarColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from simulator.experiment.units import Place
from simulator.users.choice_model import DAY


@dataclass
class _Part:
    """How far a part of the experiment is.

    Attributes:
        served: shard -> days. before: shard -> pages of ended segments. pages: of the present
            one.
        printed: the last day that was told.
    """

    start: float
    end: float
    began: float = field(default_factory=time.monotonic)
    served: dict[int, float] = field(default_factory=dict)
    before: dict[int, int] = field(default_factory=dict)
    pages: dict[int, int] = field(default_factory=dict)
    printed: int = -1
    task: TaskID | None = None


class Progress:
    """A progress bar on a terminal, one line a world and a day elsewhere; silent when asked."""

    def __init__(self, quiet: bool = False):
        self.quiet = quiet
        self.console = Console(stderr=True)
        self.live = self.console.is_terminal and not quiet
        self._bar: bars.Progress | None = None
        self._parts: dict[Place, _Part] = {}
        self._shards = 1

    def __enter__(self) -> "Progress":
        if self.live:
            self._bar = bars.Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.fields[note]}"),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                console=self.console,
                transient=False,
            )
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def say(self, text: str) -> None:
        """One line about a part of the work."""
        if self.quiet:
            return
        if self._bar is not None:
            self._bar.console.print(text, style="dim", highlight=False)
        else:
            print(text, file=sys.stderr, flush=True)

    def expect(self, place: Place, start: float, end: float, shards: int) -> None:
        """A part of the experiment is about to begin. start, end: s."""
        part = self._parts[place] = _Part(start / DAY, end / DAY)
        self._shards = shards
        if self._bar is not None and end > start:
            part.task = self._bar.add_task(place.name, total=(end - start) / DAY, note="")

    def page(self, place: Place, shard: int, now: float, pages: int) -> None:
        """Users due before `now` are being served; `pages` were in this segment so far."""
        if not self.quiet and place in self._parts:
            self._parts[place].served[shard] = now / DAY
            self._parts[place].pages[shard] = pages
            self._show(place)

    def ended(self, place: Place, shard: int, end: float, pages: int) -> None:
        """A segment has ended."""
        if not self.quiet and place in self._parts:
            part = self._parts[place]
            part.before[shard] = part.before.get(shard, 0) + pages
            part.served[shard], part.pages[shard] = end / DAY, 0
            self._show(place)

    def notes(self) -> None:
        """Looks how far other processes are."""
        if self.quiet:
            return
        for place, part in list(self._parts.items()):
            if len(part.served) == self._shards and min(part.served.values()) >= part.end:
                continue
            for note in place.checkpoint(0, 0).parent.glob("*.now"):
                try:
                    now, pages = note.read_text(encoding="utf-8").split()
                except (OSError, ValueError):  # being written, or over
                    continue
                self.page(place, int(note.stem.split("-")[1]), float(now), int(pages))

    def _show(self, place: Place) -> None:
        part = self._parts[place]
        days = sum(part.served.values()) + part.start * (self._shards - len(part.served))
        done = days / self._shards - part.start
        pages = sum(part.before.values()) + sum(part.pages.values())
        took = time.monotonic() - part.began
        rate = pages / max(took, 1e-9)
        if self._bar is not None and part.task is not None:
            note = f"day {done + part.start:.0f}, {pages:,} pages, {rate:,.0f}/s".replace(",", " ")
            self._bar.update(part.task, completed=done, note=note)
        elif int(done) > part.printed:
            whole = part.end - part.start
            left = took * (whole / done - 1) if done > 0 else 0.0
            print(
                f"{place.name}: day {int(done)} of {whole:g}, {rate:.0f} pages/s, about"
                f" {max(left, 0):.0f} s left",
                file=sys.stderr,
                flush=True,
            )
            part.printed = int(done)
