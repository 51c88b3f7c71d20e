"""The one exception that a user of the command line can cause."""

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """Input that cannot be used. Its text is one line: what was given, what was wanted,
    what to do.
    """


def suggestion(given: str, known: Iterable[str]) -> str:
    """`"; did you mean 'sasrec'?"` where one of `known` is near `given`, else what there is to
    choose from.
    """
    names = sorted(known)
    near = difflib.get_close_matches(given, names, n=1, cutoff=0.6)
    if near:
        return f"; did you mean '{near[0]}'?"
    return f"; there are: {', '.join(names)}"
