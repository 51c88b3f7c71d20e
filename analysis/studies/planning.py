"""How many users and days the next test needs, from what users did before."""

from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from analysis.data.ab_test import of_run
from analysis.data.run import open_run
from analysis.errors import AnalysisError
from analysis.metrics import Metrics
from analysis.reporting.figures import HUES, figure
from analysis.results.monitoring import Daily, cumulative_values
from analysis.statistics.planning import minimum_detectable_effect, sample_size
from analysis.statistics.summary import Joint
from policies.common.errors import shown
from policies.sources.files import place_in, tables_in
from policies.sources.roles import listing
from policies.sources.values import numbers


@dataclass(frozen=True)
class Spread:
    """How widely users differ, in squares of the mean.

    Attributes:
        metric: its name. label: for people. days: (d,) after which it was measured; empty where
            there is one number.
        plain, adjusted: (d,) variance of a user's value over the squared mean; without and with
            what was known before.
        users: who could take part, in all arms; None where that is not known.
    """

    metric: str
    label: str
    days: np.ndarray
    plain: np.ndarray
    adjusted: np.ndarray
    users: int | None

    @property
    def known_before(self) -> bool:
        """Whether there is anything for CUPED."""
        return bool((self.adjusted < self.plain).any())

    def at(self, day: float, adjusted: bool) -> tuple[float, bool]:
        """After so many days, and whether that goes beyond what was measured: a constant part, and
        one that falls as 1 / days.
        """
        values = self.adjusted if adjusted else self.plain
        if not len(self.days):
            return float(values[0]), False
        if day <= self.days[-1]:
            return float(np.interp(day, self.days, values)), False
        late = self.days >= self.days[-1] / 3  # the first days have hardly any totals
        x = np.column_stack([np.ones(late.sum()), 1 / self.days[late]])
        lasting, passing = (
            np.linalg.lstsq(x, values[late], rcond=None)[0] if late.sum() > 1 else (values[-1], 0.0)
        )
        lasting, passing = (lasting, passing) if lasting > 0 and passing > 0 else (values[-1], 0.0)
        return float(lasting + passing / day), True


def of_a_run(path: str | Path, metrics: Metrics | None = None) -> list[Spread]:
    """Every metric of a run, measured on the control arm."""
    run = open_run(path, metrics=metrics)
    test = of_run(run)
    table = test.table()
    own = table[table["bucket"] == test.control].reset_index(drop=True)
    there = [metric for metric in test.metrics.measurable(table.columns) if metric.linear]
    names = list(dict.fromkeys(name for metric in there for name in metric.columns))
    totals = test.rows.daily(names, own[["user", "bucket"]], test.days)
    bare, users = own[["user", "bucket"]], test.users["user"].nunique()
    spreads = []
    for metric in there:
        columns = {name: totals[name] for name in metric.columns}
        means = [x.cumsum(axis=1, dtype=float).mean(axis=0) for x in columns.values()]
        mean = means[0] if len(means) == 1 else means[0] / np.maximum(means[1], 1e-12)
        kept = mean > 0
        if not kept.any():
            continue
        values = (cumulative_values(Daily(who, columns), metric) for who in (bare, own))
        plain, adjusted = (x.var(axis=0, ddof=1)[kept] / mean[kept] ** 2 for x in values)
        days = np.arange(1, test.days + 1)[kept]
        spreads.append(Spread(metric.name, metric.label, days, plain, adjusted, users))
    return spreads


def of_a_table(path: Path, columns: dict[str, str]) -> list[Spread]:
    """One row per user: `value`, and where there are `denominator` and `before`."""
    if not path.is_file():
        raise AnalysisError(f"there is no file '{path}' for --table")
    table = tables_in(path, "--table")
    wrong = [role for role in columns if role not in ("value", "denominator", "before")]
    if wrong or "value" not in columns:
        raise AnalysisError(
            "--columns wants value=NAME, and may have denominator=NAME and before=NAME"
        )
    missing = [name for name in columns.values() if name not in table.names]
    if missing:
        raise AnalysisError(
            f"'{shown(path)}' has no column '{missing[0]}'; there are: {listing(table.names)}"
        )
    rows = table.read(list(dict.fromkeys(columns.values())))
    x = np.column_stack(
        [
            numbers(rows[name], lambda row: place_in(path, row), role)
            for role, name in columns.items()
        ]
    )
    part = Joint.of(x)
    names = list(columns)
    value = part.mean[names.index("value")]
    weights = np.zeros(len(names))
    weights[names.index("value")] = 1.0
    if "denominator" in names:
        bottom = part.mean[names.index("denominator")]
        weights[names.index("value")] = 1 / bottom
        weights[names.index("denominator")] = -value / bottom**2
        value = value / bottom
    if value == 0:
        raise AnalysisError("the mean is 0; no relative effect can be planned for")
    plain = float(part.linear(weights).variance)
    adjusted = plain
    if "before" in names:
        i = names.index("before")
        with_before = float(weights @ part.covariance[:, i])
        if part.covariance[i, i] > 0:
            adjusted = plain - with_before**2 / part.covariance[i, i]
    name, scale = columns["value"], value**2
    relative = np.array([plain / scale]), np.array([adjusted / scale])
    return [Spread(name, name, np.empty(0), *relative, None)]


@dataclass(frozen=True)
class Demand:
    """What a test should be: `alpha` two-sided per contender, `power`, spending of the looks."""

    alpha: float
    power: float
    spending: str

    @property
    def options(self) -> dict[str, Any]:
        """As keywords of `sample_size` and `minimum_detectable_effect`."""
        return {"alpha": self.alpha, "power": self.power, "spending": self.spending}


@dataclass(frozen=True)
class PlanRow:
    """Users per arm for one effect; days with the run's own users, None where they never suffice or
    are not known.
    """

    metric: str
    effect: float
    cuped: bool
    looks: int
    days: float
    users_per_arm: int
    extrapolated: bool
    of_a_run: bool
    days_needed: int | None
    days_carried: bool  # days_needed lies beyond the run


@dataclass(frozen=True)
class BudgetRow:
    """The relative effect that so many days and users find."""

    metric: str
    days: float
    users: int
    cuped: bool
    looks: int
    effect: float
    extrapolated: bool


def plan(
    spreads: list[Spread], effects: list[float], days: float, arms: int, demand: Demand
) -> list[PlanRow]:
    """Users per arm for each effect, and days where the users are given; with and without CUPED,
    one look and one a day.

    Args:
        effects: relative. days: of the test. arms: how many share the users.
    """
    rows = []
    for spread in spreads:
        for effect, (cuped, looks) in product(effects, _ways(spread, days)):
            variance, guess = spread.at(days, cuped)
            size = sample_size(variance, effect, looks=looks, **demand.options)
            users = int(np.ceil(size.n_control))
            needed = _days_needed(spread, effect, cuped, looks, arms, demand)
            about = (spread.metric, effect, cuped, looks, days, users, guess)
            carried = needed is not None and needed > spread.days[-1]
            rows.append(PlanRow(*about, spread.users is not None, needed, carried))
    return rows


def budget(
    spreads: list[Spread], days: float, users: int | None, arms: int, demand: Demand
) -> list[BudgetRow]:
    """The relative effect that so many days find, with the run's users or as many as are given."""
    rows = []
    for spread in spreads:
        everybody = users if users is not None else spread.users
        if everybody is None:
            raise AnalysisError("--budget wants --users where no run tells them")
        for cuped, looks in _ways(spread, days):
            variance, guess = spread.at(days, cuped)
            share = everybody / arms
            effect = minimum_detectable_effect(variance, share, looks=looks, **demand.options)
            rows.append(BudgetRow(spread.metric, days, everybody, cuped, looks, effect, guess))
    return rows


LONGEST = 365


def _ways(spread: Spread, days: float) -> list[tuple[bool, int]]:
    """With and without CUPED, with a look at the end and with looks on the way: one a day, and of
    tests of more than a month one a week.
    """
    looks = max(int(days), 1) if days <= 31 else int(days // 7)
    adjusted = (False, True) if spread.known_before else (False,)
    return list(product(adjusted, (1, looks) if looks > 1 else (1,)))


def _days_needed(
    spread: Spread, effect: float, cuped: bool, looks: int, arms: int, demand: Demand
) -> int | None:
    """The first day on which the run's own users suffice."""
    if spread.users is None or not len(spread.days):
        return None
    per_arm = spread.users / arms
    for day in range(int(spread.days[0]), LONGEST + 1):
        variance = spread.at(day, cuped)[0]
        if sample_size(variance, effect, looks=looks, **demand.options).n_control <= per_arm:
            return day
    return None


def curve(spreads: list[Spread], days: float, demand: Demand, path: Path) -> None:
    """Users per arm against the effect, with CUPED solid and without dashed."""
    effects = np.geomspace(0.002, 0.2, 40)
    with figure(path, (6.4, 4.2)) as (_, axis):
        for i, spread in enumerate(spreads):
            styles = ((False, "--"), (True, "-")) if spread.known_before else ((False, "-"),)
            for cuped, style in styles:
                variance, _ = spread.at(days, cuped)
                users = [sample_size(variance, x, **demand.options).n_control for x in effects]
                label = spread.label if style == "-" else None
                axis.plot(100 * effects, users, style, color=HUES[i % len(HUES)], label=label)
        axis.set_xscale("log")
        axis.set_yscale("log")
        axis.set_xlabel("relative effect to be found [%]")
        axis.set_ylabel("users per arm")
        axis.set_title(
            f"Users for power {demand.power:g} after {days:g} days (dashed: without CUPED)"
        )
        axis.legend(fontsize=9)
