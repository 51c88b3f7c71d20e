"""How many users and days a test needs, from what users did before: a finished run, any table, or
two numbers.

python -m analysis.power --run RUN --mde 1%
python -m analysis.power --run RUN --budget 14d
python -m analysis.power --table users.csv --columns value=clicks,before=clicks_last_week --mde 2%
python -m analysis.power --mean 9.9 --variance 120 --mde 1%
"""

import argparse
import sys
from pathlib import Path

from analysis.studies.next_test import NextTest
from policies.common.arguments import Parser
from policies.common.settings import add_flags, given_flags, names_of
from policies.common.terminal import guarded


def parser() -> argparse.ArgumentParser:
    p = Parser(
        prog="python -m analysis.power",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_flags(p, NextTest, names_of(NextTest))
    p.add_argument("--out", type=Path, help="folder for power.json and power.png, must not exist")
    return p


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit status: 0 done, 2 not done, in one line why, 130 interrupted."""
    given = parser().parse_args(arguments)

    def work() -> None:
        asked = NextTest(**given_flags(NextTest, given))
        from analysis.studies.planned import show_plan  # late: who asks for help does not wait

        show_plan(asked, given.out)

    return guarded(
        work,
        interrupted="start again",
        full="make room and start again",
    )


if __name__ == "__main__":
    sys.exit(main())
