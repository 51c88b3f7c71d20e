"""Are the users to be believed?

    python -m simulator.validate --log kuairand:DIR --held-out-days 8
    python -m simulator.validate --log events.csv --test-log random.csv

Users are fitted on the early part of a log and answer the slates of its late part; models learn
from their answers and from real ones. With a second log the users answer another policy's slates.
What they do is compared with what happened, and each part gets a light and what to do next. On a
log without skips the last choice of each user is held out.
"""

import argparse
import sys

from policies.common.arguments import Parser
from simulator.commands import add_fit_flags, with_a_fit
from simulator.validation import LEARNERS


def parser() -> argparse.ArgumentParser:
    p = Parser(
        prog="python -m simulator.validate",
        description=(
            "Fit users on the early part of a log and hold their answers to the late slates against"
            " what happened: rates, calibration, discrimination, spread over users and items,"
            " sessions and returns, and whether models learn the same from them as from people;"
            " each with a light that says what to trust, and what to do next. With --test-log the"
            " users answer the slates of another policy, which is the most telling test."
        ),
        epilog=(
            "Examples:\n  python -m simulator.validate --log kuairand:DIR --held-out-days 8 --out"
            " fidelity\n  python -m simulator.validate --log feed.csv --test-log exploration.csv\n"
            "  python -m simulator.validate --log events.csv --user-model my_module:MyUsers"
        ),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_fit_flags(p, "fidelity", "the report", None)
    p.add_argument(
        "--held-out-days",
        type=int,
        help="last calendar days to hold out (default: a third of the log)",
    )
    p.add_argument(
        "--test-log",
        metavar="LOG",
        help="another log with the same columns, of another policy or of exploration traffic: users"
        " are fitted to all of --log and answer its slates; nothing is held out",
    )
    p.add_argument(
        "--context",
        metavar="COLUMN",
        help="with --test-log: a column of both files that says where a page was shown (feed,"
        " search, a tab)",
    )
    p.add_argument(
        "--learners",
        help="models that learn from real and from simulated answers, or none (default"
        f" {','.join(LEARNERS)})",
    )
    p.add_argument("--seeds", type=int, help="trainings of each of them (default 1)")
    return p


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit status: 0 done, 2 not done, in one line why, 130 interrupted.

    A red light is a finding, not a failure.
    """
    words = sys.argv[1:] if arguments is None else arguments
    given = parser().parse_args(words)
    from simulator.validating import work_of

    return with_a_fit(given, None, work_of(given, words))


if __name__ == "__main__":
    sys.exit(main())
