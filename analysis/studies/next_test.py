"""What is asked of the next test: the settings of `python -m analysis.power`."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator

from analysis.errors import AnalysisError
from policies.common.settings import mapping, setting, settings


@settings
class NextTest:
    """What the next test needs, and what is known of users before it."""

    run: Path | None = setting(None, "a run directory: every metric of its control arm")
    table: Path | None = setting(None, "CSV or Parquet, one row per user")
    mean: float | None = setting(None, "of the metric per user, with --variance")
    variance: float | None = setting(None, "of the metric per user")
    columns: Annotated[dict[str, str], BeforeValidator(mapping)] | None = setting(
        None, "of the table: value=NAME,before=NAME; also denominator=NAME for a ratio"
    )
    mde: str | None = setting(
        None, "relative effects to be found, with commas between (default 1%,2%,5%)"
    )
    budget: str | None = setting(None, "days there are, such as 14d: which effect can be found?")
    users: int | None = setting(None, "of all arms, for --budget (default: those of the run)", ge=2)
    days: float | None = setting(None, "of the test (default: those of the run, or 14)")
    arms: int = setting(2, "that share the users and, all but one, the error", ge=2)
    alpha: float = setting(0.05, "two-sided", gt=0, lt=1)
    power: float = setting(0.8, "chance to find the effect", gt=0, lt=1)
    spending: Literal["obrien_fleming", "pocock", "linear"] = setting(
        "obrien_fleming", "of the looks: obrien_fleming, pocock, linear"
    )

    def check(self) -> None:
        """Raises AnalysisError where settings do not go together."""
        given = [name for name in ("run", "table", "mean") if getattr(self, name) is not None]
        if self.variance is not None and self.mean is None:
            raise AnalysisError("--variance goes with --mean")
        if len(given) != 1:
            raise AnalysisError("name one of --run, --table and --mean")
        if self.mde is not None and self.budget is not None:
            raise AnalysisError("--mde asks for users, --budget for an effect; give one of them")
        if self.days is not None and self.budget is not None:
            raise AnalysisError("--budget says how many days there are; leave out --days")
        if self.columns is not None and self.table is None:
            raise AnalysisError("--columns goes with --table")
        if self.users is not None and self.budget is None:
            raise AnalysisError("--users goes with --budget; --mde asks for users")
