"""What all commands share: one line and an exit status for whatever goes wrong."""

import codecs
import contextlib
import errno
import os
import sys
from collections.abc import Callable
from pathlib import Path

from policies.common.errors import InputError, shown

LONGEST_LINE = 800  # characters of an error


def guarded(work: Callable[[], None], interrupted: str, full: str) -> int:
    """Does the work; the exit status: 0 done, 2 not done, in one line why, 130 interrupted.

    Args:
        interrupted: what is left after Ctrl-C. full: what to do once there is room again.
    """
    speak_as_the_terminal_can()
    try:
        find_beside_the_command()
        work()
        sys.stdout.flush()  # a full disk behind it shows here, and not after the exit status
    except InputError as error:
        return _refused(str(error))
    except KeyboardInterrupt:
        print(f"interrupted; {interrupted}", file=sys.stderr)
        return 130
    except BrokenPipeError:  # of `| head`: who read has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        where = error.filename if error.filename is not None else "while writing"
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            _drop_what_is_waiting()
            return _refused(f"the disk is full ({where}); {full}")
        return _refused(f"{where}: {error.strerror or error}")
    except UnicodeError as error:
        return _refused(f"a text cannot be written or read in its encoding: {error}")
    except MemoryError:
        return _refused(
            "there is not enough memory; use a smaller log, fewer users or a machine with more"
        )
    return 0


def _refused(why: str) -> int:
    """Says why in one line."""
    print(f"error: {shown(why, LONGEST_LINE)}", file=sys.stderr)
    return 2


def _drop_what_is_waiting() -> None:
    """What could not be written would be tried again when Python ends, with a traceback."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


ASCII = str.maketrans(
    {
        "★": "*",
        "–": "-",
        "—": "-",
        "…": "...",
        "\u2009": " ",
        "\u00a0": " ",
        "Δ": "diff",
        "×": "x",
        "²": "2",
        "√": "sqrt",
        "≥": ">=",
        "≤": "<=",
        "’": "'",
        "“": '"',
        "”": '"',
    }
)


def speak_as_the_terminal_can() -> None:
    """What a terminal of few characters cannot show is written as it can: a star as `*`, anything
    else by its number. A name must not end a run that is done.
    """
    codecs.register_error("plain", _plain)
    for stream in (sys.stdout, sys.stderr):
        if "utf" not in (getattr(stream, "encoding", None) or "utf").lower():
            with contextlib.suppress(AttributeError, ValueError):
                stream.reconfigure(errors="plain")  # type: ignore[union-attr]


def _plain(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    text = error.object[error.start : error.end].translate(ASCII)
    return text.encode("ascii", "backslashreplace").decode(), error.end


def find_beside_the_command() -> None:
    """Modules of one's own are found in the folder from which a command is run."""
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)


def to_stderr(quiet: bool) -> Callable[[str], None]:
    """What says a line about the progress of long work, or nothing."""

    def say(text: str) -> None:
        if not quiet:
            print(text, file=sys.stderr, flush=True)

    return say
