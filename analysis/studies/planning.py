"""How many users and days the next test needs, from what users did before."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from analysis.data.ab_test import of_run
from analysis.data.run import open_run
from analysis.errors import AnalysisError
from analysis.metrics import METRICS, measurable
from analysis.reporting.figures import HUES, save
from analysis.results.monitoring import Daily, cumulative_values
from analysis.statistics.planning import minimum_detectable_effect, sample_size
from analysis.statistics.summary import Joint


@dataclass(frozen=True)
class Spread:
    """How widely users differ, in squares of the mean.

    Attributes:
        metric: its name. days: (d,) after which it was measured; empty where there is but one
            number.
        plain, adjusted: (d,) variance of a user's value over the squared mean; without and with
            what was known before.
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
            mean = mean / np.maximum(
                columns[metric.denominator].cumsum(axis=1, dtype=float).mean(axis=0), 1e-12
            )
        kept = mean > 0
        plain, adjusted = (
            (
                cumulative_values(Daily(people, columns), metric).var(axis=0, ddof=1)[kept]
                / mean[kept] ** 2
            )
            for people in (bare, own)
        )
        if kept.any():
            spreads.append(
                Spread(
                    metric.name,
                    np.arange(1, trial.days + 1)[kept],
                    plain,
                    adjusted,
                    trial.users["user"].nunique(),
                )
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
        raise AnalysisError(
            "--columns wants value=NAME, and may have denominator=NAME and before=NAME"
        )
    missing = [name for name in columns.values() if name not in frame]
    if missing:
        raise AnalysisError(
            f"'{path}' has no column '{missing[0]}'; there are:"
            f" {', '.join(map(str, frame.columns))}"
        )
    x = frame[list(columns.values())].apply(pd.to_numeric, errors="coerce").to_numpy(float)
    part = Joint.of(x)
    names = list(columns)
    value = part.mean[names.index("value")]
    weights = np.zeros(len(names))
    weights[names.index("value")] = 1.0
    if "denominator" in names:
        bottom = part.mean[names.index("denominator")]
        weights[names.index("value")], weights[names.index("denominator")] = (
            1 / bottom,
            -value / bottom**2,
        )
        value = value / bottom
    if value == 0:
        raise AnalysisError("the mean is 0; no relative effect can be planned for")
    plain = float(part.linear(weights).variance)
    adjusted = plain
    if "before" in names:
        i = names.index("before")
        with_before = float(weights @ part.covariance[:, i])
        adjusted = (
            plain - with_before**2 / part.covariance[i, i] if part.covariance[i, i] > 0 else plain
        )
    return [
        Spread(
            columns["value"],
            np.empty(0),
            np.array([plain / value**2]),
            np.array([adjusted / value**2]),
            None,
        )
    ]


def plan(
    spreads: list[Spread], effects: list[float], days: float, arms: int, options: dict[str, Any]
) -> list[dict[str, Any]]:
    """Users per arm for each effect, and days where the users are given; with and without CUPED,
    one look and one a day.

    Args:
        effects: relative. days: of the test. arms: how many share the users. options: alpha, power,
            spending.
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
                        {
                            "metric": spread.metric,
                            "effect": effect,
                            "cuped": adjusted,
                            "looks": k,
                            "days": days,
                            "users_per_arm": int(np.ceil(found.n_control)),
                            "extrapolated": guess,
                            "of_a_run": spread.users is not None,
                            "days_needed": _days_needed(spread, effect, adjusted, k, arms, options),
                        }
                    )
    return rows


LONGEST = 365


def _looks(days: float) -> int:
    """One a day, and of tests of more than a month one a week."""
    return max(int(days), 1) if days <= 31 else int(days // 7)


def _days_needed(
    spread: Spread, effect: float, adjusted: bool, looks: int, arms: int, options: dict[str, Any]
) -> int | None:
    """The first day on which the run's own users suffice; None where they never do, or are not
    known.
    """
    if spread.users is None or not len(spread.days):
        return None
    per_arm = spread.users / arms
    for day in range(int(spread.days[0]), LONGEST + 1):
        if (
            sample_size(spread.at(day, adjusted)[0], effect, looks=looks, **options).n_control
            <= per_arm
        ):
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
                    {
                        "metric": spread.metric,
                        "days": days,
                        "users": everybody,
                        "cuped": adjusted,
                        "looks": k,
                        "effect": found,
                        "extrapolated": guess,
                    }
                )
    return rows


def curve(spreads: list[Spread], days: float, options: dict[str, Any], path: Path) -> None:
    """Users per arm against the effect, with CUPED solid and without dashed."""
    figure, axis = plt.subplots(figsize=(6.4, 4.2), layout="constrained")
    effects = np.geomspace(0.002, 0.2, 40)
    for i, spread in enumerate(spreads):
        for adjusted, style in (
            ((False, "--"), (True, "-")) if spread.known_before else ((False, "-"),)
        ):
            variance, _ = spread.at(days, adjusted)
            users = [sample_size(variance, x, **options).n_control for x in effects]
            label = METRICS[spread.metric].label if spread.metric in METRICS else spread.metric
            axis.plot(
                100 * effects,
                users,
                style,
                color=HUES[i % len(HUES)],
                label=label if style == "-" else None,
            )
    axis.set_xscale("log")
    axis.set_yscale("log")
    axis.set_xlabel("relative effect to be found [%]")
    axis.set_ylabel("users per arm")
    axis.set_title(
        f"Users for power {options['power']:g} after {days:g} days (dashed: without CUPED)"
    )
    axis.legend(fontsize=9)
    save(figure, path)
