"""What a person sees while it runs: the simulated day, pages per second, time left."""

import sys
import time
from dataclasses import dataclass, field
from types import TracebackType

from rich import progress as bars
from rich.console import Console
from rich.progress import BarColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from policies.common.notebook_bar import NotebookBar, in_notebook
from simulator.experiment.units import Place
from simulator.users.choice_model import DAY


@dataclass
class _Part:
    """How far a part of the experiment is.

    Attributes:
        served: shard -> days. before: shard -> pages of ended segments. pages: of the present
            one.
        busy: s in which it was served, for it may wait for others in between. told: when somebody
            last said how far it is; None while it waits. printed: the last day that was told.
    """

    start: float
    end: float
    served: dict[int, float] = field(default_factory=dict)
    before: dict[int, int] = field(default_factory=dict)
    pages: dict[int, int] = field(default_factory=dict)
    busy: float = 0.0
    told: float | None = None
    printed: int = -1
    task: TaskID | None = None

    def tell(self, ended: bool) -> None:
        """Somebody says how far it is."""
        now = time.monotonic()
        self.busy += now - self.told if self.told is not None else 0.0
        self.told = None if ended else now


class Progress:
    """Bars on a terminal and in a notebook, elsewhere a line for each world and day; silent when
    asked, and with None everywhere but in a notebook.
    """

    def __init__(self, quiet: bool | None = False):
        self.quiet = not in_notebook() if quiet is None else quiet
        self._page = NotebookBar() if in_notebook() and not self.quiet else None
        self.console = Console(stderr=True)
        self.live = self.console.is_terminal and not self.quiet and self._page is None
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
        elif self._page is not None:
            self._page.say(text)
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
            self._parts[place].tell(ended=False)
            self._parts[place].served[shard] = now / DAY
            self._parts[place].pages[shard] = pages
            self._show(place)

    def ended(self, place: Place, shard: int, end: float, pages: int) -> None:
        """A segment has ended."""
        if not self.quiet and place in self._parts:
            part = self._parts[place]
            part.tell(ended=True)
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
        if part.end <= part.start:  # no warm-up, say
            return
        days = sum(part.served.values()) + part.start * (self._shards - len(part.served))
        done = days / self._shards - part.start
        pages = sum(part.before.values()) + sum(part.pages.values())
        rate = f"{pages / part.busy:,.0f} pages/s" if part.busy else f"{pages:,} pages"
        if self._bar is not None and part.task is not None:
            note = f"day {done + part.start:.0f}, {rate.replace(',', ' ')}"
            self._bar.update(part.task, completed=done, note=note)
        elif self._page is not None:
            whole = part.end - part.start
            note = f"day {done:.0f} of {whole:g}, {rate.replace(',', ' ')}"
            self._page.show(place.name, done / whole, note)
        elif int(done) > part.printed:
            whole = part.end - part.start
            ahead = part.busy * max(whole / done - 1, 0) if done > 0 else 0.0
            left = f", about {ahead:.0f} s of it left" if done > 0 else ""
            print(
                f"{place.name}: day {int(done)} of {whole:g}, {rate.replace(',', ' ')}"
                f"{left if part.busy else ''}",
                file=sys.stderr,
                flush=True,
            )
            part.printed = int(done)
