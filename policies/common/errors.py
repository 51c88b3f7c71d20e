"""The one exception that a user of the command line can cause."""

import difflib
import unicodedata
from collections.abc import Iterable

HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})  # characters that show nothing


class InputError(ValueError):
    """Input that cannot be used. Its text is one line: what was given, what was wanted,
    what to do.
    """


def shown(given: object, most: int = 100) -> str:
    """What somebody gave, fit to stand in a line: control characters escaped, long texts cut."""
    text = escaped(" ".join(str(given).split()) if isinstance(given, BaseException) else str(given))
    return text if len(text) <= most else f"{text[: most - 1]}…"


def escaped(text: str) -> str:
    """Control characters, line ends and lone surrogates as `\\n`, `\\x1b`: a name shall neither
    break a line nor move the cursor, nor turn the direction of writing.
    """
    if text.isprintable():
        return text
    return "".join(
        c.encode("unicode_escape").decode() if unicodedata.category(c) in HIDDEN else c
        for c in text
    )


def suggestion(given: object, known: Iterable[object]) -> str:
    """`"; did you mean 'sasrec'?"` where one of `known` is near `given`, else what there is to
    choose from. Columns of a frame may be called by numbers.
    """
    names = sorted(escaped(str(name)) for name in known)
    near = difflib.get_close_matches(str(given), names, n=1, cutoff=0.6)
    if near:
        return f"; did you mean '{near[0]}'?"
    return f"; there are: {shown(', '.join(names), 300)}"
