"""Rows that are not as they should be, counted by arm: copies, and answers that are missing.

A flaw that strikes the arms alike costs rows; one that strikes them differently is taken for an
effect. It is judged as a sample ratio is.
"""

from dataclasses import dataclass

import duckdb
import numpy as np

from analysis.statistics.difference import ratio_difference
from analysis.statistics.multiplicity import holm
from analysis.statistics.summary import Joint


@dataclass(frozen=True)
class Flaw:
    """One kind of them.

    Attributes:
        name: a heading. what: the rows in words, such as "rows that repeat another one".
        rows, bad: arm -> all rows of the test, and those with the flaw.
        pvalue: that the shares are the same in all arms, the user being the unit; Holm over pairs
            with the first arm. NaN where nothing tells.
        left_out: whether these rows do not count.
        certain: whether they are a flaw at all, and nothing that users do.
    """

    name: str
    what: str
    rows: dict[str, int]
    bad: dict[str, int]
    pvalue: float
    left_out: bool = False
    certain: bool = True

    @property
    def total(self) -> int:
        return sum(self.bad.values())

    @property
    def shares(self) -> dict[str, float]:
        return {arm: self.bad[arm] / n if n else 0.0 for arm, n in self.rows.items()}


def flaw_of(
    db: duckdb.DuckDBPyConnection,
    rows: str,
    condition: str,
    name: str,
    what: str,
    *,
    left_out: bool = False,
    certain: bool = True,
) -> Flaw | None:
    """Counts a flaw; None where no row has it.

    Args:
        rows: a relation with `bucket` and `user`. condition: SQL that is true of the rows with it.
    """
    sums = db.execute(
        "SELECT bucket, count(*), sum(b), sum(r), sum(b * b), sum(b * r), sum(r * r) FROM ("
        f"SELECT bucket, user, count(*)::DOUBLE AS r, (count(*) FILTER ({condition}))::DOUBLE AS b"
        f" FROM {rows} GROUP BY bucket, user) GROUP BY bucket ORDER BY bucket"
    ).fetchall()
    if not any(row[2] for row in sums):
        return None
    parts = {
        str(arm): Joint.from_sums(n, [b, r], [[bb, br], [br, rr]])
        for arm, n, b, r, bb, br, rr in sums
        if n > 1
    }
    return Flaw(
        name,
        what,
        {str(row[0]): int(row[3]) for row in sums},
        {str(row[0]): int(row[2]) for row in sums},
        _same_share(list(parts.values())),
        left_out,
        certain,
    )


def _same_share(parts: list[Joint]) -> float:
    """The smallest p-value of an arm's share against that of the first, Holm-adjusted."""
    if len(parts) < 2:
        return float("nan")
    with np.errstate(divide="ignore", invalid="ignore"):
        pvalues = [ratio_difference(parts[0], part).pvalue for part in parts[1:]]
    adjusted = holm(pvalues)
    known = adjusted[np.isfinite(adjusted)]
    return float(known.min()) if len(known) else float("nan")
