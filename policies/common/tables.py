"""One table, three renderings: the terminal, Markdown, HTML. Cells are text."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from policies.common.errors import escaped

OUTSIDE = 160  # columns where the output is not a terminal


@dataclass(frozen=True)
class Table:
    """Rows under a head.

    Attributes:
        text: so many first columns hold words and are left-aligned; numbers are right-aligned.
        marked: rows that the page sets apart.
    """

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    text: int = 1
    marked: frozenset[int] = frozenset()

    def columns(self, *names: str) -> "Table":
        """These columns alone."""
        kept = [list(self.head).index(name) for name in names]
        return Table(names, [[row[i] for i in kept] for row in self.rows], self.text, self.marked)

    def markdown(self) -> str:
        """Names that hold HTML stay text."""
        lines = [_line(self.head), "|" + "---|" * len(self.head)]
        return "\n".join([*lines, *map(_line, self.rows)])

    def html(self) -> str:
        """A table that scrolls by itself where the page is narrow."""
        top = "".join(self._cell("th", i, name) for i, name in enumerate(self.head))
        body = []
        for number, row in enumerate(self.rows):
            cells = "".join(self._cell("td", i, text) for i, text in enumerate(row))
            mark = ' class="guard"' if number in self.marked else ""
            body.append(f"<tr{mark}>{cells}</tr>")
        inner = f"<thead><tr>{top}</tr></thead><tbody>{''.join(body)}</tbody>"
        return f'<div class="scroll"><table>{inner}</table></div>'

    def print(self, console: Console | None = None, *, rule: bool = False) -> None:
        """To the terminal; long cells are folded, nothing is cut.

        Args:
            rule: a line under the head.
        """
        console = console if console is not None else wide_console()
        box = SIMPLE_HEAD if rule else None
        table = RichTable(box=box, show_edge=False, pad_edge=False, collapse_padding=rule)
        for i, name in enumerate(self.head):
            side = "left" if i < self.text else "right"
            table.add_column(Text(escaped(name)), justify=side, overflow="fold")  # type: ignore[arg-type]
        for row in self.rows:
            table.add_row(*(Text(escaped(cell)) for cell in row))
        console.print(table)

    def _cell(self, tag: str, i: int, text: str) -> str:
        words = i < self.text or self.head[i] == "source"
        style = ' class="text"' if words else ""
        return f"<{tag}{style}>{escape(escaped(text))}</{tag}>"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(in_markdown(cell).replace("|", "\\|") for cell in cells) + " |"


def in_markdown(text: str) -> str:
    """Text for a Markdown file: HTML in it is shown, not run, and a line end does not end it."""
    return escaped(text).replace("&", "&amp;").replace("<", "&lt;")


def wide_console() -> Console:
    """The terminal, or a wide page where the output is a file or a pipe."""
    return Console(width=None if Console().is_terminal else OUTSIDE)


# -- numbers as text -------------------------------------------------------------------------------


def percent(x: float | None, digits: int = 2) -> str:
    """A relative number as per cent with at most three significant digits."""
    if x is None or not math.isfinite(x):
        return "–"
    shown = abs(100 * x)
    places = 0 if shown >= 100 else 1 if shown >= 10 else digits
    return f"{round(100 * x, places) + 0.0:.{places}f} %"  # + 0 turns -0 into 0


def signed(x: float | None, digits: int = 2) -> str:
    """A relative change as per cent, with its sign: `+1.5 %`, `-0.3 %`."""
    if x is not None and math.isinf(x):
        return "no bound"
    text = percent(x, digits)
    rounded = text.startswith("-") or not any(c in "123456789" for c in text)
    return text if rounded else f"+{text}"


PLAIN = 1e-5  # below it a number is written with its power of ten


def number(x: float | None) -> str:
    """At most three significant digits, two below .001; counts with thin spaces; rates below 1
    without the leading zero.
    """
    if x is None or not math.isfinite(x):
        return "–"
    if float(x).is_integer() and abs(x) >= 1000:
        return f"{int(x):,}".replace(",", "\u2009")
    if abs(x) >= 100:
        return f"{x:.0f}"
    if abs(x) >= 1:
        return f"{x:.3g}"
    if x == 0 or abs(x) >= 0.001:
        text = f"{x:.3f}"
    elif abs(x) >= PLAIN:
        text = f"{x:.{1 - math.floor(math.log10(abs(x)))}f}"
    else:
        text = f"{x:.1e}"
    return text.replace("0.", ".", 1) if text.startswith(("0.", "-0.")) else text


def signed_number(x: float | None) -> str:
    """A difference with its sign."""
    return f"+{number(x)}" if x is not None and x > 0 else number(x)


def pvalue(x: float | None) -> str:
    if x is None or not math.isfinite(x):
        return "–"
    return "< .0001" if x < 0.0001 else f"{x:.4f}".lstrip("0")


def interval(low: float | None, high: float | None) -> str:
    """Of relative changes, in per cent with signs."""
    return f"{signed(low)} to {signed(high)}"


def plain(value: Any) -> Any:
    """The same with null for NaN and infinity, which are not JSON, and plain numbers."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if hasattr(value, "item") and getattr(value, "ndim", 1) == 0:
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
