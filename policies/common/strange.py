"""Code that somebody else wrote: whatever goes wrong in it is one line."""

import importlib
import traceback
from types import ModuleType

from policies.common.errors import InputError, shown


def imported(what: str, module: str) -> ModuleType:
    """A module by its name.

    Args:
        what: who asks for it, for the line of an error.

    Raises:
        InputError: it cannot be imported; it may raise or exit as it likes.
    """
    try:
        return importlib.import_module(module)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise InputError(f"{what}: cannot import '{shown(module)}' ({in_words(error)})") from None


def in_words(error: BaseException) -> str:
    """Its kind and what it says."""
    return f"{type(error).__name__}: {shown(error, 160)}".rstrip(": ")


def place_of(error: BaseException) -> str:
    """The file and line that raised it, in brackets; "" where nobody knows."""
    frames = traceback.extract_tb(error.__traceback__)
    if not frames:
        return ""
    return f" ({shown(frames[-1].filename.rsplit('/', 1)[-1])}:{frames[-1].lineno})"
