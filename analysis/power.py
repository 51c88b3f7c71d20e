"""How many users and days a test needs, from what users did before: a finished run, any table, or two numbers.

python -m analysis.power --run RUN --mde 1%
python -m analysis.power --run RUN --budget 14d
python -m analysis.power --table users.csv --columns value=clicks,before=clicks_last_week --mde 2%
python -m analysis.power --mean 9.9 --variance 120 --mde 1%
"""

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table
from rich.text import Text

from analysis import metrics
from analysis.errors import AnalysisError
from analysis.load import open_run
from analysis.looks import Daily, cumulative_values
from analysis.metrics import METRICS, measurable
from analysis.planning import minimum_detectable_effect, sample_size
from analysis.plots import HUES, save
from analysis.summary import Joint
from analysis.tables import number
from analysis.trial import of_run
from analysis.words import percent


@dataclass(frozen=True)
class Spread:
    """How widely users differ, in squares of the mean.

    Attributes:
        metric: its name. days: (d,) after which it was measured; empty where there is but one number.
        plain, adjusted: (d,) variance of a user's value over the squared mean; without and with what was known before.
        users: who could take part, in all arms; None where that is not known.
    """

    metric: str
    days: np.ndarray
    plain: np.ndarray
    adjusted: np.ndarray
    users: int | None

    @property
    def known_before(self) -> bool:
        """Whether there is anything for CUPED."""
        return bool((self.adjusted < self.plain).any())

    def at(self, day: float, adjusted: bool) -> tuple[float, bool]:
        """After so many days, and whether that goes beyond what was measured: a constant part, and one that falls as 1 / days."""
        values = self.adjusted if adjusted else self.plain
        if not len(self.days):
            return float(values[0]), False
        if day <= self.days[-1]:
            return float(np.interp(day, self.days, values)), False
        late = self.days >= self.days[-1] / 3  # the first days have hardly any totals
        x = np.column_stack([np.ones(late.sum()), 1 / self.days[late]])
        lasting, passing = np.linalg.lstsq(x, values[late], rcond=None)[0] if late.sum() > 1 else (values[-1], 0.0)
        lasting, passing = (lasting, passing) if lasting > 0 and passing > 0 else (values[-1], 0.0)
        return float(lasting + passing / day), True


def of_a_run(path: str | Path) -> list[Spread]:
    """Every metric of a run, measured on the control arm."""
    trial = of_run(open_run(path))
    table = trial.table()
    own = table[table["bucket"] == trial.control].reset_index(drop=True)
    found = [metric for metric in measurable(table.columns) if metric.linear]
    names = list(dict.fromkeys(name for metric in found for name in metric.columns))
    totals = trial.rows.daily(names, own[["user", "bucket"]], trial.days)
    bare = own[["user", "bucket"]]
    spreads = []
    for metric in found:
        columns = {name: totals[name] for name in metric.columns}
        mean = columns[metric.column].cumsum(axis=1, dtype=float).mean(axis=0)
        if metric.denominator is not None:
            mean = mean / np.maximum(columns[metric.denominator].cumsum(axis=1, dtype=float).mean(axis=0), 1e-12)
        kept = mean > 0
        plain, adjusted = (
            (cumulative_values(Daily(people, columns), metric).var(axis=0, ddof=1)[kept] / mean[kept] ** 2)
            for people in (bare, own)
        )
        if kept.any():
            spreads.append(
                Spread(metric.name, np.arange(1, trial.days + 1)[kept], plain, adjusted, trial.users["user"].nunique())
            )
    return spreads


def of_a_table(path: Path, columns: dict[str, str]) -> list[Spread]:
    """One row per user: `value`, and where there are `denominator` and `before`."""
    if not path.is_file():
        raise AnalysisError(f"there is no file '{path}' for --table")
    if path.suffix not in (".csv", ".parquet"):
        raise AnalysisError(f"--table '{path}': wanted .csv or .parquet")
    try:
        frame = pd.read_csv(path) if path.suffix == ".csv" else pd.read_parquet(path)
    except (ValueError, OSError) as error:  # pandas' and pyarrow's own errors are among them
        raise AnalysisError(f"'{path}' cannot be read: {str(error).splitlines()[0]}") from None
    wrong = [role for role in columns if role not in ("value", "denominator", "before")]
    if wrong or "value" not in columns:
        raise AnalysisError("--columns wants value=NAME, and may have denominator=NAME and before=NAME")
    missing = [name for name in columns.values() if name not in frame]
    if missing:
        raise AnalysisError(f"'{path}' has no column '{missing[0]}'; there are: {', '.join(map(str, frame.columns))}")
    x = frame[list(columns.values())].apply(pd.to_numeric, errors="coerce").to_numpy(float)
    part = Joint.of(x)
    names = list(columns)
    value = part.mean[names.index("value")]
    weights = np.zeros(len(names))
    weights[names.index("value")] = 1.0
    if "denominator" in names:
        bottom = part.mean[names.index("denominator")]
        weights[names.index("value")], weights[names.index("denominator")] = 1 / bottom, -value / bottom**2
        value = value / bottom
    if value == 0:
        raise AnalysisError("the mean is 0; no relative effect can be planned for")
    plain = float(part.linear(weights).variance)
    adjusted = plain
    if "before" in names:
        i = names.index("before")
        with_before = float(weights @ part.covariance[:, i])
        adjusted = plain - with_before**2 / part.covariance[i, i] if part.covariance[i, i] > 0 else plain
    return [Spread(columns["value"], np.empty(0), np.array([plain / value**2]), np.array([adjusted / value**2]), None)]


def plan(
    spreads: list[Spread], effects: list[float], days: float, arms: int, options: dict[str, Any]
) -> list[dict[str, Any]]:
    """Users per arm for each effect, and days where the users are given; with and without CUPED, one look and one a day.

    Args:
        effects: relative. days: of the test. arms: how many share the users. options: alpha, power, spending.
    """
    looks = _looks(days)
    rows = []
    for spread in spreads:
        for effect in effects:
            for adjusted in (False, True) if spread.known_before else (False,):
                for k in (1, looks) if looks > 1 else (1,):
                    variance, guess = spread.at(days, adjusted)
                    found = sample_size(variance, effect, looks=k, **options)
                    rows.append(
                        {"metric": spread.metric, "effect": effect, "cuped": adjusted, "looks": k, "days": days,
                         "users_per_arm": int(np.ceil(found.n_control)), "extrapolated": guess, "of_a_run": spread.users is not None,
                         "days_needed": _days_needed(spread, effect, adjusted, k, arms, options)}
                    )  # fmt: skip
    return rows


LONGEST = 365


def _looks(days: float) -> int:
    """One a day, and of tests of more than a month one a week."""
    return max(int(days), 1) if days <= 31 else int(days // 7)


def _days_needed(
    spread: Spread, effect: float, adjusted: bool, looks: int, arms: int, options: dict[str, Any]
) -> int | None:
    """The first day on which the run's own users suffice; None where they never do, or are not known."""
    if spread.users is None or not len(spread.days):
        return None
    per_arm = spread.users / arms
    for day in range(int(spread.days[0]), LONGEST + 1):
        if sample_size(spread.at(day, adjusted)[0], effect, looks=looks, **options).n_control <= per_arm:
            return day
    return None


def budget(
    spreads: list[Spread], days: float, users: int | None, arms: int, options: dict[str, Any]
) -> list[dict[str, Any]]:
    """The relative effect that so many days find, with the run's users or as many as are given."""
    rows = []
    looks = _looks(days)
    for spread in spreads:
        everybody = users if users is not None else spread.users
        if everybody is None:
            raise AnalysisError("--budget wants --users where no run tells them")
        for adjusted in (False, True) if spread.known_before else (False,):
            for k in (1, looks) if looks > 1 else (1,):
                variance, guess = spread.at(days, adjusted)
                found = minimum_detectable_effect(variance, everybody / arms, looks=k, **options)
                rows.append(
                    {"metric": spread.metric, "days": days, "users": everybody, "cuped": adjusted, "looks": k, "effect": found,
                     "extrapolated": guess}
                )  # fmt: skip
    return rows


def curve(spreads: list[Spread], days: float, options: dict[str, Any], path: Path) -> None:
    """Users per arm against the effect, with CUPED solid and without dashed."""
    figure, axis = plt.subplots(figsize=(6.4, 4.2), layout="constrained")
    effects = np.geomspace(0.002, 0.2, 40)
    for i, spread in enumerate(spreads):
        for adjusted, style in ((False, "--"), (True, "-")) if spread.known_before else ((False, "-"),):
            variance, _ = spread.at(days, adjusted)
            users = [sample_size(variance, x, **options).n_control for x in effects]
            label = METRICS[spread.metric].label if spread.metric in METRICS else spread.metric
            axis.plot(100 * effects, users, style, color=HUES[i % len(HUES)], label=label if style == "-" else None)
    axis.set_xscale("log")
    axis.set_yscale("log")
    axis.set_xlabel("relative effect to be found [%]")
    axis.set_ylabel("users per arm")
    axis.set_title(f"Users for power {options['power']:g} after {days:g} days (dashed: without CUPED)")
    axis.legend(fontsize=9)
    save(figure, path)


# -- the command ------------------------------------------------------------------------------------------------------


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        prog="python -m analysis.power", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    source = p.add_mutually_exclusive_group(required=True)
    source.add_argument("--run", help="a run directory: every metric of its control arm")
    source.add_argument("--table", type=Path, metavar="FILE", help="CSV or Parquet, one row per user")
    source.add_argument("--mean", type=float, help="of the metric per user, with --variance")
    p.add_argument("--variance", type=float, help="of the metric per user")
    p.add_argument(
        "--columns", metavar="value=NAME,before=NAME", help="of the table; also denominator=NAME for a ratio"
    )
    p.add_argument(
        "--mde", metavar="EFFECTS", help="relative effects to be found, with commas between (default 1%%,2%%,5%%)"
    )
    p.add_argument("--budget", metavar="14d", help="days there are: which effect can be found?")
    p.add_argument("--users", type=int, help="of all arms, for --budget (default: those of the run)")
    p.add_argument("--days", type=float, help="of the test (default: those of the run, or 14)")
    p.add_argument("--arms", type=int, default=2, help="that share the users and, all but one, the error (default 2)")
    p.add_argument("--alpha", type=float, default=0.05, help="two-sided (default .05)")
    p.add_argument("--power", type=float, default=0.8, help="chance to find the effect (default .8)")
    p.add_argument(
        "--spending", default="obrien_fleming", help="of the looks: obrien_fleming (default), pocock, linear"
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
                "* beyond the days of the run: its spread of users is carried on as a lasting part and one that falls as 1 / days"
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
    options = {"alpha": given.alpha / (given.arms - 1), "power": given.power, "spending": given.spending}
    spreads = _spreads(given)
    days = _days(given, spreads)
    if given.out is not None and given.out.exists():
        raise AnalysisError(f"--out '{given.out}' exists already; name another folder")
    if given.budget is not None:
        rows = budget(spreads, days, given.users, given.arms, options)
        shown = _budget_rows(rows)
    else:
        rows = plan(spreads, [_share(part) for part in (given.mde or "1%,2%,5%").split(",")], days, given.arms, options)
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
            f"--mde '{text}' is an effect of {100 * value:g} %: wanted one above 0 and up to 100 %, such as 5% or .05"
        )
    return value


def _name(row: dict[str, Any]) -> str:
    return METRICS[row["metric"]].label if row["metric"] in METRICS else str(row["metric"])


def _how(row: dict[str, Any]) -> list[str]:
    return ["yes" if row["cuped"] else "no", "at the end" if row["looks"] == 1 else f"{row['looks']}"]


def _plan_rows(rows: list[dict[str, Any]]) -> tuple[list[str], list[list[str]]]:
    known = any(row["of_a_run"] for row in rows)
    head = ["metric", "effect", "CUPED", "looks", "users per arm", *(["days with this run's users"] if known else [])]
    body = []
    for row in rows:
        days = [str(row["days_needed"]) if row["days_needed"] is not None else f"over {LONGEST}"] if known else []
        guess = " *" if row["extrapolated"] else ""
        body.append(
            [_name(row), percent(row["effect"]), *_how(row), number(float(row["users_per_arm"])) + guess, *days]
        )
    return head, body


def _budget_rows(rows: list[dict[str, Any]]) -> tuple[list[str], list[list[str]]]:
    head = ["metric", "days", "users", "CUPED", "looks", "effect that is found"]
    body = []
    for row in rows:
        guess = " *" if row["extrapolated"] else ""
        body.append(
            [_name(row), f"{row['days']:g}", number(float(row["users"])), *_how(row), percent(row["effect"]) + guess]
        )
    return head, body


if __name__ == "__main__":
    sys.exit(main())
