"""What the commands share: one line and an exit status for whatever goes wrong, and the flags and
folder of a fit.
"""

import argparse
import errno
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from policies.common.errors import InputError
from policies.common.threads import with_threads
from policies.log import Dataset
from simulator.experiment.data import load_data, page_length
from simulator.experiment.progress import Show
from simulator.settings import Experiment, add_log_flags, log_settings

Tell = Callable[[], None]


def guarded(work: Callable[[], None], interrupted: str, full: str) -> int:
    """Does the work; the exit status: 0 done, 1 failed half-way, 2 bad input, 130 interrupted.

    Args:
        interrupted: what is left after Ctrl-C. full: what to do once there is room again.
    """
    try:
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
            raise
        print(
            f"error: the disk is full ({error.filename or 'while writing'}); {full}",
            file=sys.stderr,
        )
        return 1
    return 0


def add_fit_flags(p: argparse.ArgumentParser, out: str, holds: str, slate_size: int | None) -> None:
    """The flags of every command that fits users and writes a folder.

    Args:
        out: its default name. holds: what is in it. slate_size: the default; None = that of the
            log's pages.
    """
    add_log_flags(p)
    p.add_argument("--seed", type=int, default=0, help="of the fit and of chance (default 0)")
    p.add_argument(
        "--user-model",
        default="factors",
        help=(
            "what makes users like things: factors (matrix factorisation, default), neighbours"
            " (similar items) or trees"
        ),
    )
    usual = (
        "as the log's pages, or 6 where it does not show whole sessions"
        if slate_size is None
        else slate_size
    )
    p.add_argument(
        "--slate-size",
        type=int,
        default=slate_size,
        help=f"of the slates that levels are calibrated for (default {usual})",
    )
    p.add_argument(
        "--threads",
        type=int,
        default=2,
        help="of torch (default 2; 1 where the cores have other work)",
    )
    p.add_argument(
        "--out",
        type=Path,
        default=Path(out),
        help=f"folder for {holds}, must not exist (default {out})",
    )
    p.add_argument("--quiet", action="store_true", help="no progress")


def with_a_fit(
    given: argparse.Namespace,
    work: Callable[[Experiment, Dataset, Path, Callable[[str], None]], Tell],
) -> int:
    """Reads the log that the flags name and works on it, in a new folder; the exit status.

    Args:
        work: called with the settings, the log, the folder and what tells the progress; returns
            what prints the result once the progress is gone.
    """

    def inside() -> None:
        e = Experiment(
            **log_settings(given),
            seed=given.seed,
            slate_size=1 if given.slate_size is None else given.slate_size,
            repeat_after=0,
            user_model=given.user_model,
            threads=given.threads,
        )
        with new_folder(given.out) as out, Show(given.quiet) as show:
            data = load_data(e)
            if given.slate_size is None:
                e = replace(
                    e,
                    slate_size=min(page_length(data) or Experiment.slate_size, data.catalogue.size),
                )
            tell = with_threads(e.threads, lambda: work(e, data, out, show.say))
        tell()

    return guarded(
        inside,
        interrupted="nothing was written",
        full="make room and start again; nothing was kept",
    )


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A folder made before the work begins, and taken away again if the work fails."""
    if path.exists():
        raise InputError(f"--out '{path}' exists already; name another folder")
    try:
        path.mkdir(parents=True)
    except OSError as error:
        raise InputError(f"--out '{path}' cannot be made: {error.strerror}") from None
    try:
        yield path
    except BaseException:
        shutil.rmtree(path, ignore_errors=True)
        raise
