"""From Parquet impressions to one row per user, out of core: DuckDB aggregates, the statistics get small tables."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd

from analysis.errors import AnalysisError

WARMUP = "warmup"
SUMS = """
    count(*) AS impressions,
    count(*) FILTER (slot = 0) AS pages,
    count(*) FILTER (clicked) AS clicks,
    coalesce(sum(watched::DOUBLE), 0) AS watch_seconds,
    count(*) FILTER (long_view) AS long_views,
    count(*) FILTER (liked) AS likes,
    count(DISTINCT session) AS sessions,
    count(DISTINCT floor(time / 86400)) AS days_active
"""
MEASURES = (
    "impressions",
    "pages",
    "clicks",
    "watch_seconds",
    "long_views",
    "likes",
    "sessions",
    "days_active",
)


@dataclass(frozen=True)
class Run:
    """A run directory as the analysis sees it.

    Attributes:
        users: one row per user: user, user_id, bucket (None = held out).
        items: one row per item: item, item_id, category, popularity_percentile.
        parameters: provenance of the simulated users, {} for a live log.
    """

    path: Path
    manifest: dict[str, Any]
    users: pd.DataFrame
    items: pd.DataFrame
    parameters: dict[str, Any]

    @property
    def settings(self) -> dict[str, Any]:
        return self.manifest["experiment"]

    @property
    def twin(self) -> bool:
        return self.settings["design"] == "twin"

    @property
    def arms(self) -> list[str]:
        return list(self.settings["policies"])


def open_run(path: str | Path, partial: bool = False) -> Run:
    """Opens a run.

    Raises:
        AnalysisError: it is no run, or it is incomplete and `partial` is not set.
    """
    folder = Path(path)
    if not (folder / "manifest.json").is_file():
        raise AnalysisError(f"'{folder}' is no run: there is no manifest.json in it")
    try:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise AnalysisError(f"'{folder / 'manifest.json'}' is damaged: {error}") from None
    if manifest["status"] != "complete" and not partial:
        raise AnalysisError(
            f"'{folder}' is incomplete (it was interrupted); finish it with `python -m simulator.run --resume {folder}`, "
            "or judge what there is with --partial"
        )
    missing = [name for name in ("users.parquet", "items.parquet", "impressions") if not (folder / name).exists()]
    if missing:
        raise AnalysisError(
            f"'{folder}' was interrupted before there was anything to judge: it lacks {', '.join(missing)}"
        )
    parameters = folder / "users" / "parameters.json"
    return Run(
        folder,
        manifest,
        pd.read_parquet(folder / "users.parquet"),
        pd.read_parquet(folder / "items.parquet"),
        json.loads(parameters.read_text(encoding="utf-8")) if parameters.is_file() else {},
    )


def connect() -> duckdb.DuckDBPyConnection:
    """One thread: sums of floats are then the same every time."""
    return duckdb.connect(config={"threads": 1})


def source(folder: Path) -> str:
    """SQL that reads the impressions below a folder, with `bucket` and `round` from the names of the folders."""
    if not any(folder.rglob("*.parquet")):
        raise AnalysisError(f"there are no impressions in '{folder}'")
    pattern = str(folder / "*" / "*" / "*.parquet").replace("'", "''")
    types = "hive_types = {'bucket': VARCHAR, 'round': INTEGER}"
    return f"read_parquet('{pattern}', hive_partitioning = true, {types})"


def per_user(folder: Path, by_round: bool = False) -> pd.DataFrame:
    """One row per bucket and user (and round), with the columns `MEASURES`; the warm-up is left out."""
    keys = "bucket, round, user" if by_round else "bucket, user"
    query = f"SELECT {keys}, {SUMS} FROM {source(folder)} WHERE bucket <> '{WARMUP}' GROUP BY {keys} ORDER BY {keys}"
    with connect() as db:
        return db.execute(query).df()


def before_test(folder: Path) -> pd.DataFrame:
    """One row per user who came in the warm-up: the covariates, `MEASURES` with `_pre` behind."""
    query = f"SELECT user, {SUMS} FROM {source(folder)} WHERE bucket = '{WARMUP}' GROUP BY user ORDER BY user"
    with connect() as db:
        found = db.execute(query).df()
    return found.rename(columns={name: f"{name}_pre" for name in MEASURES})


def everyone(run: Run, counts: pd.DataFrame) -> pd.DataFrame:
    """All users of each bucket, those who never came with zeros: one is in the test once assigned, not once seen."""
    if run.twin:
        assigned = pd.concat([run.users.assign(bucket=arm) for arm in run.arms], ignore_index=True)
    else:
        assigned = run.users[run.users["bucket"].notna()]
    table = assigned[["user", "bucket"]].merge(counts, on=["user", "bucket"], how="left")
    table[list(MEASURES)] = table[list(MEASURES)].fillna(0.0).astype(float)
    return table


def with_covariates(table: pd.DataFrame, pre: pd.DataFrame) -> pd.DataFrame:
    """The warm-up columns joined; `came_before` is 0 for users without a warm-up, whose columns are 0."""
    joined = table.merge(pre, on="user", how="left")
    joined["came_before"] = joined["impressions_pre"].notna().astype(float)
    columns = [f"{name}_pre" for name in MEASURES]
    joined[columns] = joined[columns].fillna(0.0).astype(float)
    return joined


def true_means(run: Run) -> dict[str, pd.DataFrame]:
    """arm -> per-user table of the world in which everybody got that arm; {} where there are none."""
    found: dict[str, pd.DataFrame] = {}
    if run.twin:
        counts = everyone(run, per_user(run.path / "impressions"))
        return dict(list(counts.groupby("bucket")))
    for arm in run.arms:
        folder = run.path / "truth_worlds" / arm.replace(":", ".") / "impressions"
        if folder.exists() and any(folder.rglob("*.parquet")):
            counts = per_user(folder)
            table = run.users[["user"]].merge(counts, on="user", how="left")
            table[list(MEASURES)] = table[list(MEASURES)].fillna(0.0).astype(float)
            found[arm] = table
    return found


def exposure(folder: Path) -> pd.DataFrame:
    """One row per bucket, round and item: impressions and clicks; the warm-up is left out."""
    query = (
        f"SELECT bucket, round, item, count(*) AS shown, count(*) FILTER (clicked) AS clicked "
        f"FROM {source(folder)} WHERE bucket <> '{WARMUP}' GROUP BY ALL ORDER BY bucket, round, item"
    )
    with connect() as db:
        return db.execute(query).df()


def pair_counts(folder: Path) -> pd.DataFrame:
    """One row per bucket, round, user and item: how often it was shown; for overlap and entropy."""
    query = (
        f"SELECT bucket, round, user, item, count(*) AS shown FROM {source(folder)} "
        f"WHERE bucket <> '{WARMUP}' GROUP BY ALL ORDER BY bucket, round, user, item"
    )
    with connect() as db:
        found = db.execute(query).df()
    found["shown"] = found["shown"].astype(np.float64)
    return found
