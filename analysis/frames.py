"""`judge`: from a data frame of users (pandas, Polars or Arrow) to the table of the report."""

from collections.abc import Mapping, Sequence
from typing import Any

import narwhals.stable.v1 as nw
import numpy as np
import pandas as pd
from tea_tasting.aggr import Aggregates, read_aggregates

from analysis.errors import AnalysisError
from analysis.statistics.adjustment import Cuped, cuped
from analysis.statistics.difference import mean_difference
from analysis.statistics.multiplicity import benjamini_hochberg, holm
from analysis.statistics.summary import Joint
from policies.common.errors import suggestion
from policies.sources.roles import unread

Columns = str | tuple[str, str]  # a total per user, or numerator and denominator
FEW_USERS = 50  # of an arm in a level of a segment, below which nothing is said of it


def judge(
    data: Any,
    metrics: Mapping[str, Columns] | Sequence[str],
    *,
    bucket: str = "bucket",
    control: Any = None,
    before: Mapping[str, Columns] | None = None,
    segments: Sequence[str] = (),
    level: float = 0.95,
) -> pd.DataFrame:
    """Every arm against the control on every metric, for everybody and by segment.

    Args:
        data: one row per user: a frame of pandas, Polars or Arrow.
        metrics: names of columns, or name -> column, or name -> (numerator, denominator) of a ratio
            of totals. The first one is the primary metric.
        bucket: the column of the arm. control: the arm to compare with; by default the one called
            control, else the first by name.
        before: metric -> the same column(s) measured before the test (CUPED). segments: columns.

    Returns:
        A row per segment, level, arm and metric: users, means, lift with its interval, difference,
        p-value, and p-value adjusted as the report does: by Holm over arms for the primary metric,
        by Benjamini-Hochberg for all others; of segments by Benjamini-Hochberg over all of them.
        Figures are NaN where an arm has too few users: 2, or 50 in a level of a segment.

    Raises:
        AnalysisError: a column that is not there, values that are missing, one arm alone, users who
            stand in several rows.
    """
    named = _named(metrics)
    covariates = {name: _pair(value) for name, value in (before or {}).items()}
    _check(named, covariates)
    columns = [c for pair in (*named.values(), *covariates.values()) for c in pair]
    frame = _frame(data, bucket, [*segments, *columns])
    arms = _arms(frame, bucket, control)
    rows = _rows(frame, bucket, arms, named, covariates, level, ("", ""))
    table = _corrected(pd.DataFrame(rows), next(iter(named)))
    by_segment = [
        row
        for name in segments
        for value in sorted(frame[name].unique().to_list(), key=str)
        for row in _rows(
            frame.filter(nw.col(name) == value),
            bucket,
            arms,
            named,
            covariates,
            level,
            (name, str(value)),
        )
    ]
    if not by_segment:
        return table
    parts = pd.DataFrame(by_segment)
    parts["pvalue_adjusted"] = benjamini_hochberg(parts["pvalue"].to_numpy())
    return pd.concat([table, parts], ignore_index=True)


def _frame(data: Any, bucket: str, others: list[str]) -> Any:
    """The frame as narwhals has it, one row per user, with these columns whole."""
    try:
        frame = nw.from_native(data, eager_only=True)
    except TypeError:
        raise AnalysisError(
            f"wanted a frame of pandas, Polars or Arrow, not {type(data).__name__}"
        ) from None
    if bucket not in frame.columns:
        named = unread(frame.columns, {}, ("bucket",)).get("bucket")
        near = suggestion(bucket, frame.columns) if named is None else f"; perhaps bucket='{named}'"
        raise AnalysisError(f"there is no column '{bucket}' that says the arm{near}")
    _refuse_rows_of_a_user(frame)
    for column in (bucket, *others):
        if column not in frame.columns:
            raise AnalysisError(f"there is no column '{column}'{suggestion(column, frame.columns)}")
        missing = int(frame[column].is_null().sum())
        if missing:
            raise AnalysisError(
                f"column '{column}' has {missing} missing values; fill or drop them"
            )
    return frame


def _refuse_rows_of_a_user(frame: Any) -> None:
    """Several rows of a user are not independent; ids that are lists, or missing, tell nothing."""
    users = [name for name in frame.columns if unread([name], {}, ("user",))]
    repeated = []
    for name in users:
        try:
            ids = frame[name].drop_nulls()
            repeats = ids.n_unique() < len(ids)
        except TypeError:
            continue
        if not repeats:
            return
        repeated.append(name)
    if repeated:
        raise AnalysisError(
            f"column '{repeated[0]}' holds users in several rows; judge wants one row per user,"
            " with totals, as a user's rows are not independent; where it is not the users who were"
            " randomised, leave that column out"
        )


def _arms(frame: Any, bucket: str, given: Any) -> list[Any]:
    """The arm that the others are compared with, and the others."""
    arms = sorted(frame[bucket].unique().to_list(), key=str)
    usual = next((arm for arm in arms if str(arm).lower() == "control"), arms[0] if arms else None)
    base = usual if given is None else given
    if len(arms) < 2 or base not in arms:
        raise AnalysisError(
            f"column '{bucket}' has the arms {', '.join(map(str, arms)) or '(none)'}; wanted at"
            f" least two{'' if base in arms else f', and the control {given!r} among them'}"
        )
    return [base, *(arm for arm in arms if arm != base)]


FIGURES = (
    *("control_mean", "treatment_mean", "lift", "low", "high", "difference"),
    *("difference_low", "difference_high", "pvalue", "variance_saved"),
)


def _rows(
    frame: Any,
    bucket: str,
    arms: list[Any],
    named: dict[str, tuple[str, ...]],
    covariates: dict[str, tuple[str, ...]],
    level: float,
    where: tuple[str, str],
) -> list[dict[str, Any]]:
    """Every arm and metric of one part of the users; NaN where an arm has too few of them."""
    columns = sorted({c for pair in (*named.values(), *covariates.values()) for c in pair})
    groups: Any = read_aggregates(
        frame.to_native(),
        bucket,
        has_count=True,
        mean_cols=columns,
        var_cols=columns,
        cov_cols=[(a, b) for i, a in enumerate(columns) for b in columns[i + 1 :]],
    )
    least = FEW_USERS if where[0] else 2
    base, *others = arms
    rows = []
    for arm in others:
        users = [int(groups[part].count()) if part in groups else 0 for part in (base, arm)]
        for name, pair in named.items():
            row = {
                "segment": where[0],
                "level": where[1],
                "arm": arm,
                "control": base,
                "metric": name,
                "n_control": users[0],
                "n_treatment": users[1],
            }
            figures = dict.fromkeys(FIGURES, float("nan"))
            if min(users) >= least:
                found = _compared(groups[base], groups[arm], pair, covariates.get(name), level)
                figures = {
                    "control_mean": _ratio(groups[base], pair),
                    "treatment_mean": _ratio(groups[arm], pair),
                    "lift": found.adjusted.lift,
                    "low": found.adjusted.lift_low,
                    "high": found.adjusted.lift_high,
                    "difference": found.adjusted.difference,
                    "difference_low": found.adjusted.low,
                    "difference_high": found.adjusted.high,
                    "pvalue": found.adjusted.pvalue,
                    "variance_saved": float(found.variance_saved),
                }
            rows.append(row | figures)
    return rows


def _compared(
    base: Aggregates,
    other: Aggregates,
    pair: tuple[str, ...],
    covariates: tuple[str, ...] | None,
    level: float,
) -> Cuped:
    parts = [_joint(part, pair, covariates) for part in (base, other)]
    if covariates is not None:
        return cuped(parts[0], parts[1], level=level)
    bare = mean_difference(*(part.linear(np.ones(1)) for part in parts), level=level)
    return Cuped(bare, bare, np.zeros(0), 0.0)


def _joint(part: Aggregates, pair: tuple[str, ...], covariates: tuple[str, ...] | None) -> Joint:
    """Outcome, and the covariate if there is one, each linearised where it is a ratio."""
    sides = [pair] if covariates is None else [pair, covariates]
    weights = []
    for side in sides:
        if len(side) == 1:
            weights.append({side[0]: 1.0})
        else:
            top, bottom = side
            mean = float(part.mean(bottom))
            if mean == 0:
                raise AnalysisError(f"column '{bottom}' sums to 0 in an arm; no ratio is over it")
            ratio = float(part.mean(top)) / mean
            weights.append({top: 1 / mean, bottom: -ratio / mean})
    covariance = [
        [
            sum(x * y * _covariance(part, a, b) for a, x in one.items() for b, y in two.items())
            for two in weights
        ]
        for one in weights
    ]
    means = np.array([_ratio(part, side) for side in sides])
    return Joint(int(part.count()), means, np.array(covariance))


def _covariance(part: Aggregates, a: str, b: str) -> float:
    return float(part.var(a) if a == b else part.cov(a, b))


def _ratio(part: Aggregates, pair: tuple[str, ...]) -> float:
    top = float(part.mean(pair[0]))
    if len(pair) == 1:
        return top
    bottom = float(part.mean(pair[1]))
    return top / bottom if bottom else float("nan")


def _corrected(table: pd.DataFrame, primary: str) -> pd.DataFrame:
    """With adjusted p-values, as the report has them."""
    if table.empty:
        raise AnalysisError("an arm has fewer than 2 users; there is nothing to compare")
    first = (table["metric"] == primary).to_numpy()
    adjusted, p = np.empty(len(table)), table["pvalue"].to_numpy()
    for rows, method in ((first, holm), (~first, benjamini_hochberg)):
        if rows.any():
            adjusted[rows] = method(p[rows])
    return table.assign(pvalue_adjusted=adjusted)


def _named(metrics: Mapping[str, Columns] | Sequence[str]) -> dict[str, tuple[str, ...]]:
    if isinstance(metrics, str):
        metrics = [metrics]
    pairs = metrics if isinstance(metrics, Mapping) else {name: name for name in metrics}
    return {name: _pair(value) for name, value in pairs.items()}


def _pair(value: Columns) -> tuple[str, ...]:
    pair = (value,) if isinstance(value, str) else tuple(value)
    if len(pair) not in (1, 2) or not all(isinstance(name, str) for name in pair):
        raise AnalysisError(f"a metric is a column or (numerator, denominator), not {value!r}")
    return pair


def _check(named: dict[str, tuple[str, ...]], covariates: dict[str, tuple[str, ...]]) -> None:
    if not named:
        raise AnalysisError("name at least one metric")
    strange = next((name for name in covariates if name not in named), None)
    if strange is not None:
        raise AnalysisError(
            f"before has '{strange}', which is no metric{suggestion(strange, named)}"
        )
