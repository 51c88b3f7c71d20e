"""The flags of `python -m analysis.report`."""

import argparse
from pathlib import Path

from analysis.data.ab_test import MONITORS
from analysis.data.live_log import ROLES, Source
from analysis.errors import AnalysisError


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        prog="python -m analysis.report",
        description=(
            "Judge an experiment: a simulated run, or the log of a real A/B test with one row per"
            " impression."
        ),
        epilog=(
            "Examples:\n  python -m analysis.report runs/20260101-120000-gptrec-sasrec\n  python -m"
            " analysis.report --impressions log.csv --columns"
            " user=uid,bucket=variant,time=ts,click=clicked --control A\n  python -m"
            " analysis.report --impressions parts/ --start 2026-05-01 --days 14 --segments"
            " country\nRows before --start are what users did untreated: they take variance off the"
            " estimate (CUPED) and give an A/A check."
        ),
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
    log = p.add_argument_group("the log of a real test")
    log.add_argument(
        "--impressions",
        type=Path,
        metavar="FILE_OR_DIR",
        help="CSV, TSV or Parquet, one row per impression",
    )
    log.add_argument(
        "--columns",
        metavar="ROLE=NAME,...",
        help=f"roles: {', '.join(ROLES)}; columns called so need no entry",
    )
    log.add_argument(
        "--control",
        help="arm to compare against (default: the one called control, else the first by name)",
    )
    log.add_argument("--weights", metavar="ARM=SHARE,...", help="planned shares (default: equal)")
    log.add_argument(
        "--start",
        help="of the test: a date (UTC), or seconds as in the log (default: the first row's day)",
    )
    log.add_argument(
        "--days",
        type=int,
        help=(
            "planned length; later rows are left out, and before its end only a crossing concludes"
            " anything (default: that of the log)"
        ),
    )
    log.add_argument("--primary", help="metric that decides (default clicks)")
    log.add_argument("--margin", type=float, help="of the guardrails, relative (default .02)")
    log.add_argument(
        "--monitor",
        help=(
            f"how days are looked at: {', '.join(MONITORS)} (default obrien_fleming); where it is"
            " given, and before the planned end, the verdict allows for the looks"
        ),
    )
    log.add_argument(
        "--numbers",
        metavar="COLUMN,...",
        help="columns whose sum per user is a metric, such as revenue,orders",
    )
    log.add_argument(
        "--segments", metavar="COLUMN,...", help="what users are, not what the test made of them"
    )
    log.add_argument(
        "--assignments",
        type=Path,
        metavar="FILE",
        help="user and bucket of all who were assigned, also those who never came",
    )
    log.add_argument(
        "--out", type=Path, help="folder for the report, must not exist (default ab-report)"
    )
    return p


_LOG_FLAGS = (
    "columns",
    "control",
    "weights",
    "start",
    "days",
    "primary",
    "margin",
    "monitor",
    "segments",
    "numbers",
    "assignments",
    "out",
)


def refuse_log_flags(given: argparse.Namespace) -> None:
    """A run has these settings already."""
    for name in _LOG_FLAGS:
        if getattr(given, name) is not None:
            raise AnalysisError(
                f"--{name} is for a log with --impressions; a run keeps the settings that it was"
                " made with"
            )


def source_of(given: argparse.Namespace) -> Source:
    columns = _pairs("columns", given.columns)
    try:
        weights = {
            arm: float(share) for arm, share in _pairs("weights", given.weights).items()
        } or None
    except ValueError:
        raise AnalysisError(
            f"--weights '{given.weights}': wanted ARM=SHARE with commas between"
        ) from None
    chosen = {
        name: getattr(given, name)
        for name in ("primary", "margin", "monitor")
        if getattr(given, name) is not None
    }
    if chosen.get("monitor", MONITORS[0]) not in MONITORS:
        raise AnalysisError(
            f"--monitor '{given.monitor}' is unknown; there are: {', '.join(MONITORS)}"
        )
    if given.days is not None and given.days < 1:
        raise AnalysisError(f"--days must be at least 1, not {given.days}")
    segments = tuple(part.strip() for part in (given.segments or "").split(",") if part.strip())
    numbers = tuple(part.strip() for part in (given.numbers or "").split(",") if part.strip())
    return Source(
        given.impressions,
        columns,
        given.control,
        weights,
        given.start,
        given.days,
        segments,
        given.assignments,
        numbers=numbers,
        **chosen,
    )


def _pairs(flag: str, text: str | None) -> dict[str, str]:
    """ "a=b,c=d" as a dictionary."""
    found = {}
    for part in (text or "").split(","):
        key, equals, value = part.strip().partition("=")
        if part.strip() and not (equals and key and value):
            raise AnalysisError(f"--{flag} '{part.strip()}': wanted NAME=VALUE with commas between")
        if equals:
            found[key] = value
    return found
