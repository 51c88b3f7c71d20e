"""For whom: the effect by segment, whether it differs, and sample ratio within each."""

from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import norm

from analysis.metrics import Metric
from analysis.statistics.comparison import LEVEL, compare_named
from analysis.statistics.multiplicity import (
    benjamini_hochberg,
    holm,
    interaction_test,
    sample_ratio,
)

LEAST_USERS = 50  # in each arm, below which a segment is not judged


def by_segment(
    table: pd.DataFrame, names: list[str], metric: Metric, control: str, contenders: list[str]
) -> dict[str, Any]:
    """The lift of every contender in every segment.

    Returns:
        `rows`: arm, segment, level, users, lift, low, high, pvalue, pvalue_adjusted
            (Benjamini-Hochberg over all rows).
        `tests`: arm, segment, pvalue of "the effect is the same in all levels" (Cochran's Q),
            adjusted by Holm.
    """
    rows: list[dict[str, Any]] = []
    tests: list[dict[str, Any]] = []
    for arm in (name for name in contenders if name != control):
        own = table[table["bucket"].isin([control, arm])]
        for segment in names:
            found = [
                _level(part, segment, str(level), metric, control, arm)
                for level, part in own.groupby(segment)
            ]
            kept = [row for row in found if row is not None]
            if len(kept) < 2:
                continue
            rows += kept
            log = np.log1p([[row["lift"], row["low"], row["high"]] for row in kept])
            error = (log[:, 2] - log[:, 1]) / (2 * norm.ppf(0.5 + LEVEL / 2))
            tests.append(
                {
                    "arm": arm,
                    "segment": segment.removeprefix("segment "),
                    "pvalue": interaction_test(log[:, 0], error).pvalue,
                }
            )
    for values, correct in ((rows, benjamini_hochberg), (tests, holm)):
        for row, p in zip(
            values, correct([row["pvalue"] for row in values]) if values else [], strict=True
        ):
            row["pvalue_adjusted"] = float(p)
    return {
        "rows": rows,
        "tests": tests,
        "asked": [name.removeprefix("segment ") for name in names],
    }


def _level(
    part: pd.DataFrame, segment: str, level: str, metric: Metric, control: str, arm: str
) -> dict[str, Any] | None:
    sizes = part["bucket"].value_counts()
    if min(sizes.get(control, 0), sizes.get(arm, 0)) < LEAST_USERS:
        return None
    found = compare_named(part, metric, control, arm)
    if not np.isfinite(found["low"]) or found["low"] <= -1:
        return None
    keys = ("lift", "low", "high", "pvalue")
    return {
        "arm": arm,
        "segment": segment.removeprefix("segment "),
        "level": level,
        "users": len(part),
        **{key: found[key] for key in keys},
    }


def ratios(
    users: pd.DataFrame, names: list[str], arms: list[str], weights: dict[str, float]
) -> list[dict[str, Any]]:
    """Sample ratio within every level of every segment; p-values adjusted by Holm over
    all of them.
    """
    rows: list[dict[str, Any]] = []
    for segment in names:
        for level, part in users.groupby(segment):
            sizes = part["bucket"].value_counts()
            counts = {arm: int(sizes.get(arm, 0)) for arm in arms}
            if len(part) * min(weights.values()) < LEAST_USERS * sum(weights.values()) / len(arms):
                continue  # too few for a chi-square
            rows.append(
                {
                    "segment": segment.removeprefix("segment "),
                    "level": str(level),
                    "pvalue": sample_ratio(counts, weights).pvalue,
                }
            )
    for row, p in zip(rows, holm([row["pvalue"] for row in rows]) if rows else [], strict=True):
        row["pvalue_adjusted"] = float(p)
    return rows
