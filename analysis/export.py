"""The impressions of a run in layouts that other toolkits read.

python -m analysis.export RUN --format recbole --out DIR
python -m analysis.export RUN --format obd --arm uniform --out DIR
"""

import argparse
import sys
from pathlib import Path

from analysis.errors import AnalysisError
from policies.common.arguments import Parser
from policies.common.errors import escaped, suggestion
from policies.common.terminal import guarded

FORMATS = ("recbole", "obd")
EPILOG = """Layouts:
  recbole   DIR/NAME/NAME.inter and NAME.item: atomic files of RecBole, NAME being that of DIR;
            every impression of the arms, label = 1 where it was clicked
  obd       DIR/BEHAVIOUR/all/all.csv and item_context.csv: the Open Bandit Dataset; one arm that
            draws its slates and states propensities (uniform, thompson, epsilon)"""


def parser() -> argparse.ArgumentParser:
    p = Parser(
        prog="python -m analysis.export",
        description="Write the impressions of a run in a layout that other toolkits read.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    p.add_argument("run", type=Path, metavar="RUN", help="a run directory")
    p.add_argument("--format", choices=FORMATS, required=True, help="the layout")
    p.add_argument("--arm", help="of one arm alone (default: all arms; obd wants one)")
    p.add_argument("--out", type=Path, required=True, help="folder, must not exist")
    return p


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit status: 0 done, 2 not done, in one line why, 130 interrupted."""
    given = parser().parse_args(arguments)
    return guarded(
        lambda: _export(given), interrupted="nothing was written", full="make room and start again"
    )


def _export(given: argparse.Namespace) -> None:
    # Late: who asks for help does not wait for it.
    from analysis.data.layouts import open_bandit, recbole
    from analysis.data.run import open_run
    from policies.common.folders import new_folder

    run = open_run(given.run)
    arms = list(run.settings["policies"])
    if given.arm is not None and given.arm not in arms:
        raise AnalysisError(f"--arm '{given.arm}': the run has none{suggestion(given.arm, arms)}")
    if given.format == "obd" and given.arm is None:
        raise AnalysisError("--format obd is for one arm: name it with --arm")
    with new_folder(given.out) as folder:
        if given.format == "obd":
            rows = open_bandit(run, given.arm, folder)
        else:
            name = given.out.resolve().name
            rows = recbole(run, arms if given.arm is None else [given.arm], folder, name)
    print(f"{rows} rows: {escaped(str(given.out))}")


if __name__ == "__main__":
    sys.exit(main())
