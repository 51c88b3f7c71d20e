"""Progress in a notebook: one bar for each world, drawn again in the cell that began it."""

import sys
import time
from html import escape
from typing import Any

LEAST = 0.2  # s between two drawings
LINES = 3  # lines of text that stay in sight


def in_notebook() -> bool:
    """Whether a kernel of Jupyter runs this. Nothing is imported to find out."""
    if "IPython" not in sys.modules:
        return False
    shell = sys.modules["IPython"].get_ipython()
    return shell is not None and hasattr(shell, "kernel")


class NotebookBar:
    """Bars by name, under them what was said last."""

    def __init__(self) -> None:
        self._rows: dict[str, tuple[float, str]] = {}
        self._said: list[str] = []
        self._handle: Any = None
        self._drawn = 0.0

    def say(self, text: str) -> None:
        self._said = [*self._said, text][-LINES:]
        self._draw()

    def show(self, name: str, done: float, note: str) -> None:
        """done: share from 0 to 1."""
        self._rows[name] = (done, note)
        if time.monotonic() - self._drawn >= LEAST or done >= 1:
            self._draw()

    def _draw(self) -> None:
        from IPython.display import HTML, display

        page = HTML(self.html())
        self._drawn = time.monotonic()
        if self._handle is None:
            self._handle = display(page, display_id=True)
        else:
            self._handle.update(page)

    def html(self) -> str:
        rows = [
            f'<div><progress value="{done:.3f}" max="1" style="width: 16em"></progress>'
            f" {escape(name)}: {escape(note)}</div>"
            for name, (done, note) in self._rows.items()
        ]
        said = [f'<div style="opacity: .7">{escape(line)}</div>' for line in self._said]
        return "".join([*rows, *said])
