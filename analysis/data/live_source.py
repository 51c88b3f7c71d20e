"""What a person says about the log of a live test: every setting of it, described once."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator

from policies.common.settings import mapping, names, setting, settings

# Role -> (column of the rows, SQL type)
FEEDBACK = {
    "item": ("item", "VARCHAR"),
    "session": ("session", "VARCHAR"),
    "slot": ("slot", "BIGINT"),
    "click": ("clicked", "BOOLEAN"),
    "watch": ("watched", "DOUBLE"),
    "long_view": ("long_view", "BOOLEAN"),
    "like": ("liked", "BOOLEAN"),
    "hate": ("hated", "BOOLEAN"),
    "propensity": ("propensity", "DOUBLE"),
}

NEEDED = ("user", "bucket", "time")

ROLES = (*NEEDED, *FEEDBACK)

FLAGS = ("click", "long_view", "like", "hate")

FORMATS = (".csv", ".tsv", ".jsonl", ".ndjson", ".inter", ".parquet")

Names = Annotated[tuple[str, ...], BeforeValidator(names)]
Columns = Annotated[dict[str, str], BeforeValidator(mapping)]


@settings
class LiveLog:
    """The log of a real test, one row per impression, and how the test was planned."""

    impressions: Path = setting(
        ...,
        "CSV, TSV, JSON lines (also .gz) or Parquet, one row per impression; or a folder of files"
        " of one format",
    )
    columns: Columns = setting(
        {},
        f"ROLE=NAME with commas; roles: {', '.join(ROLES)}; columns that nobody names are not read"
        " (default: by the usual names)",
    )
    click_when: str | None = setting(
        None,
        "COLUMN=WORD,WORD such as event=buy,addtocart: rows with one of these words are clicks",
    )
    time_unit: Literal["ns", "us", "ms", "s", "min", "h", "d"] | None = setting(
        None,
        "of numbers in the time column (default: found out, or refused where two may be meant)",
    )
    watch_unit: Literal["s", "ms"] | None = setting(
        None, "of watch times (default: found out, or refused where two may be meant)"
    )
    control: str | None = setting(
        None, "arm to compare against (default: the one called control, else the first by name)"
    )
    weights: Annotated[dict[str, float], BeforeValidator(mapping)] | None = setting(
        None, "planned shares: ARM=SHARE with commas between (default: equal)"
    )
    start: str | None = setting(
        None,
        "of the test: a date (UTC), or seconds as in the log; rows before it are what users did"
        " untreated (default: the first row's day)",
    )
    days: int | None = setting(
        None,
        "planned length; later rows are left out, and before its end only a crossing concludes"
        " anything (default: that of the log)",
        ge=1,
    )
    primary: str = setting("clicks", "metric that decides")
    margin: float = setting(0.02, "of the guardrails, relative", ge=0, lt=1)
    mde: float | None = setting(
        None, "smallest lift that matters: .02 is 2 % (default: the margin)", gt=0, le=10
    )
    winsorize: float | None = setting(
        None,
        "cap each user's totals at this quantile of those who have any, such as .999; of all arms"
        " together (default: not)",
        gt=0.5,
        lt=1,
    )
    monitor: Literal["obrien_fleming", "pocock", "cs", "none"] | None = setting(
        None,
        "how to look at days: obrien_fleming, pocock, cs, none (default obrien_fleming); where it"
        " is given, and before the planned end, the verdict allows for the looks",
    )
    segments: Names = setting(
        (), "columns with commas between: what users are, not what the test made of them"
    )
    numbers: Names = setting((), "columns whose sum per user is a metric, such as revenue,orders")
    assignments: Path | None = setting(
        None, "file with user and bucket of all who were assigned, also those who never came"
    )
