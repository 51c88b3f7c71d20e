"""The work of `python -m analysis.power`, once its flags are read."""

from dataclasses import asdict
from pathlib import Path

import numpy as np

from analysis.errors import AnalysisError
from analysis.metrics import load_metrics
from analysis.studies.next_test import NextTest
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
from policies.common.tables import Table, number, percent

EXTRAPOLATED = (
    "* beyond the days of the run: its spread of users is carried on as a lasting part and one that"
    " falls as 1 / days"
)


def show_plan(asked: NextTest, out: Path | None) -> None:
    """Prints what the test needs; with `out`, writes power.json and power.png there.

    Raises:
        AnalysisError: what is asked cannot be answered.
    """
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
