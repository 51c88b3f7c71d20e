"""What the commands share: the flags of every command that fits users, and the folder it makes."""

import argparse
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from policies.common.folders import new_folder
from policies.common.settings import add_flags, default_of, given_flags
from policies.common.terminal import guarded
from policies.log import Dataset
from simulator.settings import LOG_FLAGS, Experiment

PrintResult = Callable[[], None]
Work = Callable[[Experiment, Dataset, Path, Callable[[str], None]], PrintResult]
FIT_FLAGS = (
    *LOG_FLAGS,
    "fit_users",
    "seed",
    "user_model",
    "slate_size",
    "draws",
    "thin",
    "threads",
)
OF_THE_LOG = "as the log's pages, or 6 where it does not show whole sessions"


def add_fit_flags(
    parser: argparse.ArgumentParser, out: str, holds: str, slate_size: int | None
) -> None:
    """The flags of every command that fits users and writes a folder.

    Args:
        out: its default name. holds: what is in it. slate_size: the default; None = that of the
            log's pages.
    """
    usual = OF_THE_LOG if slate_size is None else slate_size
    add_flags(parser, Experiment, FIT_FLAGS, {"slate_size": usual})
    parser.add_argument(
        "--out",
        type=Path,
        default=Path(out),
        help=f"folder for {holds}, must not exist (default {out})",
    )
    add_quiet(parser)


def add_quiet(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--quiet", action="store_true", help="no progress")


def add_config_flags(parser: argparse.ArgumentParser) -> None:
    """Where all other settings may come from."""
    parser.add_argument(
        "--config",
        metavar="FILE.toml",
        help="settings in a file; [policy.NAME] holds those of a policy",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="any setting, or POLICY.KEY=VALUE; may be repeated",
    )


def with_a_fit(given: argparse.Namespace, slate_size: int | None, work: Work) -> int:
    """Reads the log that the flags name and works on it, in a new folder; the exit status.

    Args:
        slate_size: of the fit where no flag says so; None = that of the log's pages.
        work: called with the settings, the log, the folder and what tells the progress; returns
            what prints the result once the progress is gone.
    """

    def inside() -> None:
        # Late: who asks for help does not wait for torch.
        from policies.common.threads import with_threads
        from simulator.experiment.data import load_data, page_length
        from simulator.experiment.progress import Progress

        values: dict[str, Any] = {"repeat_after": 0, "users": 2, "slate_size": slate_size or 1}
        experiment = Experiment(**{**values, **given_flags(Experiment, given)})
        with new_folder(given.out) as out, Progress(given.quiet) as progress:
            data = load_data(experiment)
            if slate_size is None and given.slate_size is None:
                length = page_length(data) or default_of(Experiment, "slate_size")
                experiment = replace(experiment, slate_size=min(length, data.catalogue.size))
            print_result = with_threads(
                experiment.threads, lambda: work(experiment, data, out, progress.say)
            )
        print_result()

    return guarded(
        inside,
        interrupted="nothing was written",
        full="make room and start again; nothing was kept",
    )
