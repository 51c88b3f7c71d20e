"""What `simulate` gives back: a run on the disk and its report, for Python and for notebooks."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.data.layouts import rows_of
from analysis.reporting.content import Report
from analysis.reporting.notebook import Plots, first_lines, first_screen


@dataclass(frozen=True)
class Result:
    """Tables as pandas, all numbers with their units in `results`, files in `path`."""

    path: Path
    report: Report

    def __repr__(self) -> str:
        return "\n".join([f"Result in '{self.path}'", *first_lines(self.report)])

    def _repr_html_(self) -> str:
        return first_screen(self.report)

    @property
    def plot(self) -> Plots:
        """`forest()`, `over_time()` and `loop()`: the report's figures."""
        return Plots(self.report)

    @cached_property
    def results(self) -> dict[str, Any]:
        """What `results.json` holds."""
        return self.report.as_json()

    @property
    def effects(self) -> pd.DataFrame:
        """One row per contender and metric: lift, interval, p-values, true lift."""
        return pd.DataFrame(self.results["effects"]["rows"])

    @property
    def true_effects(self) -> pd.DataFrame:
        """One row per contender and metric: the effect between worlds in which everybody gets an
        arm.
        """
        return pd.DataFrame(self.results["true_effects"]["rows"])

    @property
    def arms(self) -> pd.DataFrame:
        """One row per arm, references included: every metric, clicks per page."""
        return pd.DataFrame(self.results["arms"]["rows"])

    @property
    def rounds(self) -> pd.DataFrame:
        """One row per arm and round: click rate, coverage, Gini, overlap, popularity, entropy. The
        first round is 1, as in the report.
        """
        rows = pd.DataFrame(self.results["rounds"]["loop"])
        return rows.assign(round=rows["round"] + 1)

    def impressions(self, arm: str) -> pd.DataFrame:
        """Every impression of an arm in the test, in the order of time, user, page and slot.

        Raises:
            AnalysisError: there is no such arm.
        """
        return rows_of(self.path, [arm])
