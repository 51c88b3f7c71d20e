"""How many users and days a test needs, from what users did before: a finished run, any table, or
two numbers.

python -m analysis.power --run RUN --mde 1%
python -m analysis.power --run RUN --budget 14d
python -m analysis.power --table users.csv --columns value=clicks,before=clicks_last_week --mde 2%
python -m analysis.power --mean 9.9 --variance 120 --mde 1%
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from analysis import metrics
from analysis.errors import AnalysisError
from analysis.metrics import METRICS
from analysis.reporting.sentences import percent
from analysis.reporting.tables import number
from analysis.studies.planning import LONGEST, Spread, budget, curve, of_a_run, of_a_table, plan


# -- the command -----------------------------------------------------------------------------------
def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        prog="python -m analysis.power",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    source = p.add_mutually_exclusive_group(required=True)
    source.add_argument("--run", help="a run directory: every metric of its control arm")
    source.add_argument(
        "--table", type=Path, metavar="FILE", help="CSV or Parquet, one row per user"
    )
    source.add_argument("--mean", type=float, help="of the metric per user, with --variance")
    p.add_argument("--variance", type=float, help="of the metric per user")
    p.add_argument(
        "--columns",
        metavar="value=NAME,before=NAME",
        help="of the table; also denominator=NAME for a ratio",
    )
    p.add_argument(
        "--mde",
        metavar="EFFECTS",
        help="relative effects to be found, with commas between (default 1%%,2%%,5%%)",
    )
    p.add_argument("--budget", metavar="14d", help="days there are: which effect can be found?")
    p.add_argument(
        "--users", type=int, help="of all arms, for --budget (default: those of the run)"
    )
    p.add_argument("--days", type=float, help="of the test (default: those of the run, or 14)")
    p.add_argument(
        "--arms",
        type=int,
        default=2,
        help="that share the users and, all but one, the error (default 2)",
    )
    p.add_argument("--alpha", type=float, default=0.05, help="two-sided (default .05)")
    p.add_argument(
        "--power", type=float, default=0.8, help="chance to find the effect (default .8)"
    )
    p.add_argument(
        "--spending",
        default="obrien_fleming",
        help="of the looks: obrien_fleming (default), pocock, linear",
    )
    p.add_argument("--out", type=Path, help="folder for power.json and power.png, must not exist")
    return p


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit status: 0 done, 2 bad input."""
    given = parser().parse_args(arguments)
    try:
        metrics.load()
        found = _work(given)
    except AnalysisError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for head, body in found:
        table = Table(box=None, pad_edge=False)
        for i, name in enumerate(head):
            table.add_column(Text(name), justify="left" if i == 0 else "right")
        for row in body:
            table.add_row(*map(Text, row))
        Console().print(table)
        if any("*" in cell for row in body for cell in row):
            print(
                "* beyond the days of the run: its spread of users is carried on as a lasting part"
                " and one that falls as 1 / days"
            )
    return 0


def _work(given: argparse.Namespace) -> list[tuple[list[str], list[list[str]]]]:
    if given.arms < 2:
        raise AnalysisError(f"--arms must be at least 2, not {given.arms}")
    if given.mde is not None and given.budget is not None:
        raise AnalysisError("--mde asks for users, --budget for an effect; give one of them")
    if given.days is not None and given.budget is not None:
        raise AnalysisError("--budget says how many days there are; leave out --days")
    if given.variance is not None and given.mean is None:
        raise AnalysisError("--variance goes with --mean")
    if given.columns is not None and given.table is None:
        raise AnalysisError("--columns goes with --table")
    if given.users is not None and given.budget is None:
        raise AnalysisError("--users goes with --budget; --mde asks for users")
    # Every contender gets its share of the error, as in the report.
    options = {
        "alpha": given.alpha / (given.arms - 1),
        "power": given.power,
        "spending": given.spending,
    }
    spreads = _spreads(given)
    days = _days(given, spreads)
    if given.out is not None and given.out.exists():
        raise AnalysisError(f"--out '{given.out}' exists already; name another folder")
    if given.budget is not None:
        rows = budget(spreads, days, given.users, given.arms, options)
        shown = _budget_rows(rows)
    else:
        rows = plan(
            spreads,
            [_share(part) for part in (given.mde or "1%,2%,5%").split(",")],
            days,
            given.arms,
            options,
        )
        shown = _plan_rows(rows)
    if given.out is not None:
        given.out.mkdir(parents=True)
        (given.out / "power.json").write_text(
            json.dumps({"options": options, "rows": rows}, indent=1) + "\n", encoding="utf-8"
        )
        curve(spreads, days, options, given.out / "power.png")
    return [shown]


def _spreads(given: argparse.Namespace) -> list[Spread]:
    if given.run is not None:
        return of_a_run(given.run)
    if given.table is not None:
        pairs = [part.partition("=") for part in (given.columns or "").split(",") if part]
        return of_a_table(given.table, {key.strip(): value.strip() for key, _, value in pairs})
    if given.variance is None or not 0 < given.variance < np.inf or given.mean == 0:
        raise AnalysisError("--mean goes with a --variance above 0, and is not 0 itself")
    relative = np.array([given.variance / given.mean**2])
    return [Spread("metric", np.empty(0), relative, relative, None)]


def _days(given: argparse.Namespace, spreads: list[Spread]) -> float:
    text = given.budget.removesuffix("d") if given.budget is not None else None
    try:
        days = float(text) if text is not None else given.days
    except ValueError:
        raise AnalysisError(f"--budget '{given.budget}': wanted days, such as 14d") from None
    if days is None:
        days = float(spreads[0].days[-1]) if spreads and len(spreads[0].days) else 14.0
    if not 1 <= days <= LONGEST:
        raise AnalysisError(f"a test lasts 1 to {LONGEST} days, not {days:g}")
    return float(days)


def _share(text: str) -> float:
    """`1%` or `.01`."""
    try:
        value = float(text.strip().removesuffix("%")) / (100 if "%" in text else 1)
    except ValueError:
        raise AnalysisError(f"--mde '{text}': wanted an effect such as 1%") from None
    if not 0 < value <= 1:
        raise AnalysisError(
            f"--mde '{text}' is an effect of {100 * value:g} %: wanted one above 0 and up to 100 %,"
            " such as 5% or .05"
        )
    return value


def _name(row: dict[str, Any]) -> str:
    return METRICS[row["metric"]].label if row["metric"] in METRICS else str(row["metric"])


def _how(row: dict[str, Any]) -> list[str]:
    return [
        "yes" if row["cuped"] else "no",
        "at the end" if row["looks"] == 1 else f"{row['looks']}",
    ]


def _plan_rows(rows: list[dict[str, Any]]) -> tuple[list[str], list[list[str]]]:
    known = any(row["of_a_run"] for row in rows)
    head = [
        "metric",
        "effect",
        "CUPED",
        "looks",
        "users per arm",
        *(["days with this run's users"] if known else []),
    ]
    body = []
    for row in rows:
        days = (
            [str(row["days_needed"]) if row["days_needed"] is not None else f"over {LONGEST}"]
            if known
            else []
        )
        guess = " *" if row["extrapolated"] else ""
        body.append(
            [
                _name(row),
                percent(row["effect"]),
                *_how(row),
                number(float(row["users_per_arm"])) + guess,
                *days,
            ]
        )
    return head, body


def _budget_rows(rows: list[dict[str, Any]]) -> tuple[list[str], list[list[str]]]:
    head = ["metric", "days", "users", "CUPED", "looks", "effect that is found"]
    body = []
    for row in rows:
        guess = " *" if row["extrapolated"] else ""
        body.append(
            [
                _name(row),
                f"{row['days']:g}",
                number(float(row["users"])),
                *_how(row),
                percent(row["effect"]) + guess,
            ]
        )
    return head, body


if __name__ == "__main__":
    sys.exit(main())
