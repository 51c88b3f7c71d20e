"""What a person sees while it runs: the simulated day, pages per second, time left."""

import sys
import time
from types import TracebackType

from rich import progress as bars
from rich.console import Console
from rich.progress import (
    BarColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from simulator.users.choice_model import DAY


class Progress:
    """A progress bar on a terminal, one line a world and a day elsewhere; silent when asked."""

    def __init__(self, quiet: bool = False):
        self.quiet = quiet
        self.console = Console(stderr=True)
        self.live = self.console.is_terminal and not quiet
        self._bar: bars.Progress | None = None
        self._task: TaskID | None = None
        self._name, self._began, self._pages, self._printed = "", 0.0, 0, -1

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

    def world(self, name: str, start: float, end: float, pages: int = 0) -> None:
        """A new world begins."""
        self._name, self._began, self._pages, self._printed = name, time.monotonic(), pages, -1
        if self._bar is not None:
            self._task = self._bar.add_task(name, total=(end - start) / DAY, note="")
        self._start, self._end = start, end

    def page(self, now: float, pages: int) -> None:
        """Users due before `now` are being served; `pages` were so far in this world."""
        if self.quiet:
            return
        rate = (pages - self._pages) / max(time.monotonic() - self._began, 1e-9)
        day = int(-(-(now - self._start) // DAY))
        if self._bar is not None and self._task is not None:
            note = f"day {now / DAY:.0f}, {pages:,} pages, {rate:,.0f}/s".replace(",", " ")
            self._bar.update(self._task, completed=(now - self._start) / DAY, note=note)
        elif day > self._printed:
            left = (time.monotonic() - self._began) * (
                (self._end - self._start) / DAY / max(day, 1) - 1
            )
            whole = (self._end - self._start) / DAY
            print(
                f"{self._name}: day {day} of {whole:g}, {rate:.0f} pages/s, about"
                f" {max(left, 0):.0f} s left",
                file=sys.stderr,
                flush=True,
            )
            self._printed = day
