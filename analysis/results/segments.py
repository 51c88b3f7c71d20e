"""For whom: the effect by segment, whether it differs, and sample ratio within each."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TypeVar

import numpy as np
import pandas as pd

from analysis.data.ab_test import ABTest
from analysis.metrics import Metric
from analysis.statistics.comparison import compare
from analysis.statistics.multiplicity import (
    benjamini_hochberg,
    holm,
    interaction_test,
    sample_ratio,
)

LEAST_USERS = 50  # in each arm, below which a segment is not judged
UNKNOWN = "(no value)"


@dataclass(frozen=True)
class SegmentEffect:
    """The effect on the users of one level; Benjamini-Hochberg over all levels and segments."""

    arm: str
    segment: str
    level: str
    users: int
    lift: float
    low: float
    high: float
    pvalue: float
    pvalue_adjusted: float = float("nan")


@dataclass(frozen=True)
class LeftOut:
    """A level that is not judged: too few users in an arm, no interval, or users of whom nobody
    says what they are.
    """

    arm: str
    segment: str
    level: str
    users: int


@dataclass(frozen=True)
class InteractionTest:
    """Of "the effect is the same in all levels" (Cochran's Q); Holm over segments and arms."""

    arm: str
    segment: str
    pvalue: float
    pvalue_adjusted: float = float("nan")


@dataclass(frozen=True)
class Segments:
    """What was found in the segments that were asked for.

    Attributes:
        silent: arm and segment of which nothing is said: not two levels have enough users.
    """

    rows: list[SegmentEffect] = field(default_factory=list)
    tests: list[InteractionTest] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    silent: list[tuple[str, str]] = field(default_factory=list)


@dataclass(frozen=True)
class SegmentRatio:
    """Sample ratio within a level; p-values adjusted by Holm over all of them."""

    segment: str
    level: str
    pvalue: float
    pvalue_adjusted: float = float("nan")


def by_segment(table: pd.DataFrame, test: ABTest) -> Segments:
    """The lift of every contender in every segment."""
    rows: list[SegmentEffect] = []
    tests: list[InteractionTest] = []
    left_out: list[LeftOut] = []
    silent: list[tuple[str, str]] = []
    for arm in test.treated:
        own = table[table["bucket"].isin([test.control, arm])]
        for segment in test.segments:
            kept = []
            for level, part in own.groupby(own[segment].fillna(UNKNOWN)):
                found = None
                if level != UNKNOWN:
                    place = (segment, str(level))
                    found = _level(part, place, test.primary, test.control, arm)
                if found is not None:
                    kept.append(found)
                else:
                    left_out.append(LeftOut(arm, _short(segment), str(level), len(part)))
            if len(kept) < 2:
                silent.append((arm, _short(segment)))
                continue
            rows += [row for row, _ in kept]
            log = np.log1p([row.lift for row, _ in kept])
            interaction = interaction_test(log, np.array([error for _, error in kept]))
            tests.append(InteractionTest(arm, _short(segment), interaction.pvalue))
    return Segments(
        _corrected(rows, benjamini_hochberg),
        _corrected(tests, holm),
        [*map(_short, test.segments)],
        left_out,
        silent,
    )


def _short(segment: str) -> str:
    return segment.removeprefix("segment ")


R = TypeVar("R", SegmentEffect, InteractionTest, SegmentRatio)


def _corrected(rows: list[R], method: Callable[[list[float]], np.ndarray]) -> list[R]:
    """With adjusted p-values."""
    if not rows:
        return []
    adjusted = method([row.pvalue for row in rows])
    return [replace(row, pvalue_adjusted=float(p)) for row, p in zip(rows, adjusted, strict=True)]


def _level(
    part: pd.DataFrame, place: tuple[str, str], metric: Metric, control: str, arm: str
) -> tuple[SegmentEffect, float] | None:
    """The effect in one level of a segment, and the standard error of its logarithm."""
    sizes = part["bucket"].value_counts()
    if min(sizes.get(control, 0), sizes.get(arm, 0)) < LEAST_USERS:
        return None
    comparison = compare(part, metric, control, arm)
    if not np.isfinite(comparison.low) or comparison.low <= -1:
        return None
    figures = (comparison.lift, comparison.low, comparison.high, comparison.pvalue)
    segment, level = place
    return SegmentEffect(arm, _short(segment), level, len(part), *figures), comparison.log_error


def segment_ratios(test: ABTest) -> list[SegmentRatio]:
    """Sample ratio within every level of every segment."""
    rows = []
    total, least = sum(test.weights.values()), min(test.weights.values())
    for segment in test.segments:
        for level, part in test.users.groupby(segment):
            sizes = part["bucket"].value_counts()
            counts = {arm: int(sizes.get(arm, 0)) for arm in test.arms}
            if len(part) * least < LEAST_USERS * total / len(test.arms):
                continue  # too few for a chi-square
            ratio = sample_ratio(counts, test.weights)
            rows.append(SegmentRatio(_short(segment), str(level), ratio.pvalue))
    return _corrected(rows, holm)
