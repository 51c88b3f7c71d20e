"""A sample log to try every command on, made from the built-in world.

python -m simulator.sample sample
"""

import argparse
import os
import sys
from pathlib import Path

from policies.common.arguments import Parser
from policies.common.errors import InputError
from policies.common.folders import new_folder
from policies.common.terminal import guarded
from simulator.built_in.sample import write_sample

EPILOG = """What is in it:
  impressions.csv   what was shown, clicked and skipped
  ratings.csv       its clicks as ratings of 1 to 5
  pairs.txt         user and item of each click, in order
  items.csv         a made-up title for every item
  ab.csv            a live A/B test of a week, with three days before it
  assignments.csv   all users of that test, by variant
  truth.json        the true lift of that test

Examples:
  python -m simulator.run --log DIR/impressions.csv
  python -m simulator.run --log DIR/ratings.csv --click-threshold 3
  python -m analysis.report --impressions DIR/ab.csv --start 2026-01-05"""


def parser() -> argparse.ArgumentParser:
    p = Parser(
        prog="python -m simulator.sample",
        description="Write a sample log of 500 made-up users, in a few seconds: the same bytes for"
        " the same seed.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    p.add_argument("folder", type=Path, metavar="DIR", help="must not exist")
    p.add_argument("--seed", type=int, default=0, help="another world (default 0)")
    return p


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit status: 0 done, 2 not done, in one line why, 130 interrupted."""
    given = parser().parse_args(arguments)
    return guarded(
        lambda: _write(given.folder, given.seed),
        interrupted="nothing was written",
        full="make room and start again; nothing was kept",
    )


def _write(folder: Path, seed: int) -> None:
    if seed < 0:
        raise InputError(f"--seed {seed}: wanted 0 or more")
    with new_folder(folder) as made:
        truth = write_sample(made, seed)
    place = os.path.relpath(folder)
    print(
        f"sample: {place}; its live test's true lift of clicks, B against A:"
        f" {100 * truth['true_lift_of_clicks']:+.2f} %"
    )
    print(f"next: gptrec run --log {place}/impressions.csv --policies itemknn,popularity")


if __name__ == "__main__":
    sys.exit(main())
