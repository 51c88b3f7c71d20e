"""What all commands share: one line and an exit status for whatever goes wrong."""

import errno
import os
import sys
from collections.abc import Callable
from pathlib import Path

from policies.common.errors import InputError


def guarded(work: Callable[[], None], interrupted: str, full: str) -> int:
    """Does the work; the exit status: 0 done, 1 failed half-way, 2 bad input, 130 interrupted.

    Args:
        interrupted: what is left after Ctrl-C. full: what to do once there is room again.
    """
    try:
        find_beside_the_command()
        work()
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"interrupted; {interrupted}", file=sys.stderr)
        return 130
    except BrokenPipeError:  # of `| head`: who read has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            if error.filename is None:
                raise
            print(f"error: {error.filename}: {error.strerror}", file=sys.stderr)
            return 2
        where = error.filename or "while writing"
        print(f"error: the disk is full ({where}); {full}", file=sys.stderr)
        return 1
    return 0


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
