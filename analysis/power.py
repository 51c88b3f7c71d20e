"""How many users and days a test needs, from what users did before: a finished run, any table, or
two numbers.

python -m analysis.power --run RUN --mde 1%
python -m analysis.power --run RUN --budget 14d
python -m analysis.power --table users.csv --columns value=clicks,before=clicks_last_week --mde 2%
python -m analysis.power --mean 9.9 --variance 120 --mde 1%
"""

import argparse
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import BeforeValidator

from analysis.errors import AnalysisError
from analysis.metrics import load_metrics
from analysis.studies.planning import (
    LONGEST,
    BudgetRow,
    Demand,
    PlanRow,
    Spread,
    budget,
    curve,
    of_a_run,
    of_a_table,
    plan,
)
from policies.common.files import save_json
from policies.common.folders import new_folder, refuse_existing
from policies.common.settings import add_flags, given_flags, mapping, names_of, setting, settings
from policies.common.tables import Table, number, percent
from policies.common.terminal import guarded

EXTRAPOLATED = (
    "* beyond the days of the run: its spread of users is carried on as a lasting part and one that"
    " falls as 1 / days"
)


@settings
class NextTest:
    """What the next test needs, and what is known of users before it."""

    run: Path | None = setting(None, "a run directory: every metric of its control arm")
    table: Path | None = setting(None, "CSV or Parquet, one row per user")
    mean: float | None = setting(None, "of the metric per user, with --variance")
    variance: float | None = setting(None, "of the metric per user")
    columns: Annotated[dict[str, str], BeforeValidator(mapping)] | None = setting(
        None, "of the table: value=NAME,before=NAME; also denominator=NAME for a ratio"
    )
    mde: str | None = setting(
        None, "relative effects to be found, with commas between (default 1%,2%,5%)"
    )
    budget: str | None = setting(None, "days there are, such as 14d: which effect can be found?")
    users: int | None = setting(None, "of all arms, for --budget (default: those of the run)", ge=2)
    days: float | None = setting(None, "of the test (default: those of the run, or 14)")
    arms: int = setting(2, "that share the users and, all but one, the error", ge=2)
    alpha: float = setting(0.05, "two-sided", gt=0, lt=1)
    power: float = setting(0.8, "chance to find the effect", gt=0, lt=1)
    spending: Literal["obrien_fleming", "pocock", "linear"] = setting(
        "obrien_fleming", "of the looks: obrien_fleming, pocock, linear"
    )

    def check(self) -> None:
        """Raises AnalysisError where settings do not go together."""
        given = [name for name in ("run", "table", "mean") if getattr(self, name) is not None]
        if self.variance is not None and self.mean is None:
            raise AnalysisError("--variance goes with --mean")
        if len(given) != 1:
            raise AnalysisError("name one of --run, --table and --mean")
        if self.mde is not None and self.budget is not None:
            raise AnalysisError("--mde asks for users, --budget for an effect; give one of them")
        if self.days is not None and self.budget is not None:
            raise AnalysisError("--budget says how many days there are; leave out --days")
        if self.columns is not None and self.table is None:
            raise AnalysisError("--columns goes with --table")
        if self.users is not None and self.budget is None:
            raise AnalysisError("--users goes with --budget; --mde asks for users")


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
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
    return guarded(
        lambda: _plan(NextTest(**given_flags(NextTest, given)), given.out),
        interrupted="start again",
        full="make room and start again",
    )


def _plan(asked: NextTest, out: Path | None) -> None:
    # Every contender gets its share of the error, as in the report.
    demand = Demand(asked.alpha / (asked.arms - 1), asked.power, asked.spending)
    spreads = _spreads(asked)
    days = _days(asked, spreads)
    if out is not None:
        refuse_existing(out)
    labels = {spread.metric: spread.label for spread in spreads}
    rows: list[PlanRow] | list[BudgetRow]
    if asked.budget is not None:
        rows = budget(spreads, days, asked.users, asked.arms, demand)
        table = _budget_table(rows, labels)
    else:
        effects = [_share(part) for part in (asked.mde or "1%,2%,5%").split(",")]
        rows = plan(spreads, effects, days, asked.arms, demand)
        table = _plan_table(rows, labels)
    if out is not None:
        content = {"options": demand.options, "rows": [asdict(row) for row in rows]}
        with new_folder(out):
            save_json(out / "power.json", content)
            curve(spreads, days, demand, out / "power.png")
    table.print()
    carried = any(isinstance(row, PlanRow) and row.days_carried for row in rows)
    if carried or any(row.extrapolated for row in rows):
        print(EXTRAPOLATED)


def _spreads(asked: NextTest) -> list[Spread]:
    if asked.run is not None:
        return of_a_run(asked.run, load_metrics())
    if asked.table is not None:
        return of_a_table(asked.table, asked.columns or {})
    if asked.variance is None or asked.variance <= 0 or not asked.mean:
        raise AnalysisError("--mean goes with a --variance above 0, and is not 0 itself")
    relative = np.array([asked.variance / asked.mean**2])
    return [Spread("metric", "metric", np.empty(0), relative, relative, None)]


def _days(asked: NextTest, spreads: list[Spread]) -> float:
    days = asked.days
    if asked.budget is not None:
        try:
            days = float(asked.budget.removesuffix("d"))
        except ValueError:
            raise AnalysisError(f"--budget '{asked.budget}': wanted days, such as 14d") from None
    if days is None:
        days = float(spreads[0].days[-1]) if spreads and len(spreads[0].days) else 14.0
    if not 1 <= days <= LONGEST:
        raise AnalysisError(f"a test lasts 1 to {LONGEST} days, not {days:g}")
    return days


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


def _how(row: PlanRow | BudgetRow) -> list[str]:
    return ["yes" if row.cuped else "no", "at the end" if row.looks == 1 else f"{row.looks}"]


def _plan_table(rows: list[PlanRow], labels: dict[str, str]) -> Table:
    known = any(row.of_a_run for row in rows)
    head = ["metric", "effect", "CUPED", "looks", "users per arm"]
    head += ["days with this run's users"] if known else []
    body = []
    for row in rows:
        users = number(float(row.users_per_arm)) + (" *" if row.extrapolated else "")
        line = [labels[row.metric], percent(row.effect), *_how(row), users]
        days = f"over {LONGEST}" if row.days_needed is None else str(row.days_needed)
        days += " *" if row.days_carried else ""
        body.append([*line, *([days] if known else [])])
    return Table(head, body)


def _budget_table(rows: list[BudgetRow], labels: dict[str, str]) -> Table:
    head = ("metric", "days", "users", "CUPED", "looks", "effect that is found")
    body = []
    for row in rows:
        effect = percent(row.effect) + (" *" if row.extrapolated else "")
        users = number(float(row.users))
        body.append([labels[row.metric], f"{row.days:g}", users, *_how(row), effect])
    return Table(head, body)


if __name__ == "__main__":
    sys.exit(main())
