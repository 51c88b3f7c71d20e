"""Off-policy evaluation of a table: what a policy would have got from rows that another served with
known probabilities.

    python -m analysis.ope --table log.csv --columns reward=clicked,logging=p,target=q,cluster=user

`logging` is the probability with which the shown item was shown, `target` that with which the other
policy would have shown it. `predicted` and `predicted_target` (a model's reward of the shown item,
and its mean over what the target would show) add the direct and the doubly robust estimate.
"""

import argparse
import sys
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import BeforeValidator

from analysis.errors import AnalysisError
from policies.common.arguments import Parser
from policies.common.errors import shown
from policies.common.settings import add_flags, given_flags, mapping, names_of, setting, settings
from policies.common.terminal import guarded
from policies.sources.files import Chunk, Table, tables_in
from policies.sources.roles import listing
from policies.sources.values import numbers, text

ROLES = ("reward", "logging", "target", "predicted", "predicted_target", "cluster")
LEAST_ROWS = 30.0  # effective ones, as in the report
ESTIMATES = {"ips": "IPS", "snips": "SNIPS", "dm": "direct", "dr": "doubly robust"}


@settings
class LoggedTable:
    """A table of rewards and probabilities."""

    table: Path = setting(..., "CSV or Parquet, one row per impression")
    columns: Annotated[dict[str, str], BeforeValidator(mapping)] = setting(
        {},
        f"ROLE=NAME with commas; roles: {', '.join(ROLES)}; columns called so need no entry",
    )


def parser() -> argparse.ArgumentParser:
    p = Parser(
        prog="python -m analysis.ope",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_flags(p, LoggedTable, names_of(LoggedTable))
    return p


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit status: 0 done, 2 bad input, 130 interrupted."""
    p = parser()
    given = given_flags(LoggedTable, p.parse_args(arguments))
    if "table" not in given:
        p.error("--table is missing; name a CSV or Parquet file, one row per impression")
    return guarded(
        lambda: _estimate(LoggedTable(**given)),
        interrupted="start again",
        full="make room and start again",
    )


def _estimate(asked: LoggedTable) -> None:
    from analysis.statistics.propensity import off_policy  # late: who asks for help does not wait

    estimate = off_policy(**_columns(asked.table, asked.columns))
    if estimate.effective_n < LEAST_ROWS:
        raise AnalysisError(
            f"'{shown(asked.table)}' has {estimate.effective_n:.1f} effective rows for this target;"
            f" an estimate wants at least {LEAST_ROWS:.0f}: log more of what it would show"
        )
    for name, words in ESTIMATES.items():
        x = getattr(estimate, name)
        if x is not None:
            print(f"{words:14} {x.value:.5f}   95 % interval {x.low:.5f} to {x.high:.5f}")
    print(
        f"effective rows {estimate.effective_n:.1f}, largest weight {estimate.largest_weight:.1f}"
    )
    print(
        f"mean weight {estimate.mean_weight:.3f}: about 1 where the log shows all that the target"
        " would show"
    )


def _columns(path: Path, pairs: dict[str, str]) -> dict[str, Any]:
    """Role -> column of the table."""
    if not path.is_file():
        raise AnalysisError(f"there is no file '{shown(path)}' for --table")
    table = tables_in(path, "--table")
    frame = table.names
    wrong = [role for role in pairs if role not in ROLES]
    if wrong:
        raise AnalysisError(f"--columns names the role '{wrong[0]}'; there are: {', '.join(ROLES)}")
    names = {role: pairs.get(role, role) for role in ROLES if role in pairs or role in frame}
    absent = [name for name in names.values() if name not in frame]
    missing = [role for role in ROLES[:3] if role not in names]
    if absent or missing:
        what = f"has no column '{absent[0]}'" if absent else f"lacks {' and '.join(missing)}"
        why = (
            "; without the probability of what was shown nothing can be estimated off policy"
            if "logging" in missing
            else ""
        )
        raise AnalysisError(
            f"'{path}' {what}; name it with --columns {(missing or ['ROLE'])[0]}=NAME (there are:"
            f" {listing(frame)}){why}"
        )
    return {role: _column(table, name, role) for role, name in names.items()}


def _column(table: Table, name: str, role: str) -> np.ndarray:
    """Numbers of all rows; of `cluster` the ids as text."""
    parts = []
    for chunk in table.chunks([name]):

        def place(row: int, chunk: Chunk = chunk) -> str:
            return f"{chunk.place(row)}, column '{shown(name)}'"

        values = chunk.batch.column(0)
        if role == "cluster":
            ids = text(values, place, role)
            if ids.null_count:
                raise AnalysisError(
                    f"'{shown(name)}' (for cluster) has {ids.null_count} rows without"
                )
            parts.append(np.array(ids.to_pylist(), dtype=str))
        else:
            parts.append(numbers(values, place, role))
    if not parts:
        raise AnalysisError("the table has no rows")
    return np.concatenate(parts)


if __name__ == "__main__":
    sys.exit(main())
