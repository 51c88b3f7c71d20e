"""Which number that a log does not tell a verdict hangs on."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

AS_FITTED = "as fitted"


@dataclass(frozen=True)
class MovedLift:
    """A contender's lift among a few users who meet all arms, of whom one number was moved.

    Attributes:
        number: its name. end: where it was moved. low, high: 95 % interval over users.
    """

    number: str
    end: str
    arm: str
    control: str
    lift: float
    low: float
    high: float

    @property
    def sign(self) -> int:
        """1 or -1 where the interval leaves out 0, else 0."""
        if not np.isfinite([self.low, self.high]).all():
            return 0
        return int(self.low > 0) - int(self.high < 0)


@dataclass(frozen=True)
class Sensitivity:
    """What lifts are with each number moved, one at a time.

    Attributes:
        users, days: of the worlds in which they were moved. rows: users as fitted first.
    """

    users: int
    days: float
    rows: list[MovedLift] = field(default_factory=list)

    @staticmethod
    def of(stored: dict[str, Any] | None) -> "Sensitivity | None":
        """What a run's manifest holds; None where it holds nothing."""
        if not stored or not stored["rows"]:
            return None
        rows = [MovedLift(**row) for row in stored["rows"]]
        return Sensitivity(stored["users"], stored["days"], rows)

    def as_fitted(self, arm: str) -> MovedLift:
        return next(row for row in self.rows if row.arm == arm and row.number == AS_FITTED)

    def moved(self) -> Sequence[MovedLift]:
        return [row for row in self.rows if row.number != AS_FITTED]

    def turned(self) -> list[MovedLift]:
        """Where the verdict is another one: a lift that was told apart from 0 is told apart on the
        other side. Of a contender that was not told apart, and is on both sides: on either.
        """
        both = {row.arm for row in self.rows if row.sign > 0}
        both &= {row.arm for row in self.rows if row.sign < 0}
        return [
            row
            for row in self.moved()
            if row.arm in both and row.sign and row.sign != self.as_fitted(row.arm).sign
        ]

    def opened(self) -> list[MovedLift]:
        """Where a lift that was told apart from 0 no longer is."""
        return [row for row in self.moved() if row.sign == 0 != self.as_fitted(row.arm).sign]
