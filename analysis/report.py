"""Judges an experiment and writes the report: `report.html` (one file, no network), `report.md`,
`results.json`, `figures/*.png`.

python -m analysis.report RUN                                  a simulated run, again
python -m analysis.report --impressions log.csv --columns user=uid,bucket=variant,time=ts
"""

import argparse
import shlex
import sys
from pathlib import Path

from analysis.data.live_source import LiveLog
from analysis.errors import AnalysisError
from analysis.reporting.gates import add_gates, conclude, gates_of
from policies.common.arguments import Parser
from policies.common.errors import escaped
from policies.common.folders import refuse_existing
from policies.common.settings import add_flags, given_flags, names, names_of
from policies.common.terminal import guarded

EPILOG = """Examples:
  python -m analysis.report runs/20260101-120000-gptrec-sasrec
  python -m analysis.report --impressions log.csv --columns user=uid,bucket=variant,time=ts,\
click=clicked --control A
  python -m analysis.report --impressions parts/ --start 2026-05-01 --days 14 --segments country
  python -m analysis.report --index runs
Rows before --start are what users did untreated: they take variance off the estimate (CUPED) and
give an A/A check."""


def parser() -> argparse.ArgumentParser:
    p = Parser(
        prog="python -m analysis.report",
        description="Judge an experiment: a simulated run, or the log of a real A/B test with one"
        " row per impression.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    p.add_argument("run", nargs="?", help="a run directory, as `python -m simulator.run` leaves it")
    p.add_argument(
        "--partial", action="store_true", help="judge an interrupted run by what it recorded"
    )
    p.add_argument(
        "--metrics",
        metavar="MODULE:OBJECT",
        help="metrics of your own, with commas between (see analysis/metrics.py)",
    )
    p.add_argument(
        "--index",
        type=Path,
        metavar="DIR",
        help="no judgement: a page DIR/index.html over the runs in DIR, side by side",
    )
    add_gates(p)
    log = p.add_argument_group("the log of a real test")
    add_flags(log, LiveLog, names_of(LiveLog))
    log.add_argument(
        "--out", type=Path, help="folder for the report, must not exist (default ab-report)"
    )
    return p


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit status: 0 done, 2 not done, in one line why, 130 interrupted; with
    conditions 3 where one failed and 4 where a light is red.
    """
    words = sys.argv[1:] if arguments is None else arguments
    given = parser().parse_args(words)
    concluded = [0]

    def work() -> None:
        concluded[0] = _report(given, "python -m analysis.report " + shlex.join(words))

    status = guarded(work, interrupted="start again", full="make room and start again")
    return status or concluded[0]


def _report(given: argparse.Namespace, command: str) -> int:
    """Judges and writes; the status of the conditions."""
    from analysis.metrics import load_metrics  # late: who asks for help does not wait for it
    from analysis.reporting.terminal import show_results
    from analysis.reporting.write import write, write_log

    log = given_flags(LiveLog, given)
    if given.index is not None:
        more = (given.run, given.out, given.metrics, given.fail_if, given.require, given.partial)
        return _index(given.index, alone=not log and not any(more))
    if (given.run is None) == ("impressions" not in log):
        raise AnalysisError("name either a run directory or a log with --impressions")
    if given.partial and given.run is None:
        raise AnalysisError("--partial is for a run directory")
    metrics = load_metrics(given.metrics)
    gates = gates_of(given.fail_if, given.require, [*metrics, *names(log.get("numbers", ()))])
    if given.run is None:
        out = given.out if given.out is not None else Path("ab-report")
        refuse_existing(out)
        report = write_log(LiveLog(**log), out, command, metrics)
    else:
        _refuse([*log, *(["out"] if given.out is not None else [])])
        out = Path(given.run)
        report = write(out, given.partial, metrics)
    show_results(report)
    print(f"report: {escaped(str(out / 'report.html'))}")
    return conclude(gates, report, out)


def _index(folder: Path, alone: bool) -> int:
    """The page over several runs."""
    from analysis.gallery.page import write_gallery

    if not alone:
        raise AnalysisError("--index is for the reports of a folder; give nothing else with it")
    path, damaged = write_gallery(folder)
    if damaged:
        print(f"warning: not read: {escaped(', '.join(damaged))}", file=sys.stderr)
    print(f"page: {escaped(str(path))}")
    return 0


def _refuse(names: list[str]) -> None:
    """A run has the settings of its log already."""
    if names:
        raise AnalysisError(
            f"--{names[0]} is for a log with --impressions; a run keeps the settings that it was"
            " made with"
        )


if __name__ == "__main__":
    sys.exit(main())
