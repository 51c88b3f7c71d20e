"""Judges an experiment and writes the report: `report.html` (one file, no network), `report.md`,
`results.json`, `figures/*.png`.

python -m analysis.report RUN                                  a simulated run, again
python -m analysis.report --impressions log.csv --columns user=uid,bucket=variant,time=ts,click=clicked
"""

import shlex
import sys
from pathlib import Path

from analysis import metrics
from analysis.errors import AnalysisError
from analysis.flags import parser, refuse_log_flags, source_of
from analysis.reporting.page import terminal
from analysis.reporting.write import write, write_log


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit status: 0 done, 2 bad input."""
    given = parser().parse_args(arguments)
    words = sys.argv[1:] if arguments is None else arguments
    try:
        metrics.load(given.metrics)
        if (given.run is None) == (given.impressions is None):
            raise AnalysisError("name either a run directory or a log with --impressions")
        if given.partial and given.run is None:
            raise AnalysisError("--partial is for a run directory")
        if given.run is not None:
            refuse_log_flags(given)
            results, out = write(given.run, given.partial), Path(given.run)
        else:
            out = given.out if given.out is not None else Path("ab-report")
            if out.exists():
                raise AnalysisError(f"--out '{out}' exists already; name another folder")
            results = write_log(
                source_of(given), out, "python -m analysis.report " + shlex.join(words)
            )
    except AnalysisError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"error: {error.filename or ''}: {error.strerror}", file=sys.stderr)
        return 2
    terminal(results)
    print(f"report: {out / 'report.html'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
