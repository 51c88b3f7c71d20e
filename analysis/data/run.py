"""A run directory as the analysis sees it, and one row per user of it."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.data.rows import Rows, parquet
from analysis.errors import AnalysisError
from analysis.metrics import METRICS, Metrics, load_metrics
from policies.common.errors import shown
from policies.common.files import Listed, check_listed, reading
from policies.common.manifests import WORLDS_DONE, check_seal, read_manifest

WARMUP = "warmup"


@dataclass(frozen=True)
class Run:
    """A run directory as the analysis sees it.

    Attributes:
        users: one row per user: user, user_id, bucket (None = held out).
        items: one row per item: item, item_id, category, popularity_percentile,
            log_rows.
        parameters: provenance of the simulated users, {} for a live log.
        until: s, of an interrupted run: whole days that all arms and all their users were served;
            None = to the end.
    """

    path: Path
    manifest: dict[str, Any]
    users: pd.DataFrame
    items: pd.DataFrame
    parameters: dict[str, Any]
    metrics: Metrics = METRICS
    until: float | None = None

    @property
    def settings(self) -> dict[str, Any]:
        return self.manifest["experiment"]

    @property
    def twin(self) -> bool:
        return self.settings["design"] == "twin"

    @property
    def arms(self) -> list[str]:
        return list(self.settings["policies"])


def open_run(
    path: str | Path, partial: bool = False, metrics: Metrics | None = None, check: bool = True
) -> Run:
    """Opens a run.

    Args:
        partial: an incomplete one, too. metrics: that it is judged by; None = the built-in ones and
            those of entry points.
        check: whether its files are compared with what was listed of them when they were written.

    Raises:
        AnalysisError: it is not a run, or it is incomplete and `partial` is not set, or a file is
            damaged, missing or one too many.
    """
    folder = Path(path)
    if not (folder / "manifest.json").is_file():
        raise AnalysisError(f"'{folder}' is not a run: there is no manifest.json in it")
    manifest = read_manifest(folder / "manifest.json", AGAIN)
    check_seal(folder / "manifest.json", manifest, AGAIN)
    if manifest["status"] not in WORLDS_DONE and not partial:
        raise AnalysisError(
            f"'{folder}' is incomplete (it was interrupted); finish it with `python -m"
            f" simulator.run --resume {folder}`, or judge what there is with --partial"
        )
    missing = [
        name
        for name in ("users.parquet", "items.parquet", "impressions")
        if not (folder / name).exists()
    ]
    if missing == ["impressions"] and manifest["status"] in WORLDS_DONE:
        raise AnalysisError(
            f"'{folder}': nobody came during the test, so that there is nothing to judge; look at"
            " first and next visits of the users"
        )
    if missing:
        raise AnalysisError(
            f"'{folder}' was interrupted before there was anything to judge: it lacks"
            f" {', '.join(missing)}"
        )
    if check:
        _check_files(folder, manifest)
    parameters = folder / "users" / "parameters.json"
    with reading(folder, AGAIN):
        users, items = (
            pd.read_parquet(folder / name) for name in ("users.parquet", "items.parquet")
        )
        numbers = json.loads(parameters.read_text(encoding="utf-8")) if parameters.is_file() else {}
    return Run(
        folder,
        manifest,
        users,
        items,
        numbers,
        metrics if metrics is not None else load_metrics(),
        None if manifest["status"] in WORLDS_DONE else _served_until(folder, manifest),
    )


AGAIN = "restore it, or run the experiment again"
DAY = 86_400.0


def _served_until(folder: Path, manifest: dict[str, Any]) -> float | None:
    """See `Run.until`. Arms and shards of users go on at a pace of their own, so that later rows
    are those of some.

    Raises:
        AnalysisError: it is less than a day.
    """
    if "shards" not in manifest:  # of before: all arms went on together
        return None
    settings = manifest["experiment"]
    end = settings["days"] * DAY
    reached = min(_reached(folder, manifest, arm) for arm in settings["policies"])
    if reached >= end:
        return None
    days = int(reached // DAY)
    if not days:
        raise AnalysisError(
            f"'{folder}' was interrupted before all arms had served everybody for a day; finish it"
            f" with `python -m simulator.run --resume {folder}`"
        )
    return days * DAY


def _reached(folder: Path, manifest: dict[str, Any], arm: str, world: str = "") -> float:
    """Up to when [s] all shards of an arm's users were served, in the test or in a world."""
    name = arm.replace(":", ".")
    worlds = [world] if world else ["split", f"split-{name}", f"twin-{name}"]
    ends: dict[str, float] = {}
    for place in worlds:
        for file in (folder / "checkpoint" / place).glob("*.json"):
            with reading(file, AGAIN):
                end = float(json.loads(file.read_text(encoding="utf-8"))["end"])
            shard = file.stem.partition("-")[2]
            ends[shard] = max(ends.get(shard, 0.0), end)
    return min(ends.values()) if len(ends) == manifest.get("shards", 1) else 0.0


def _check_files(folder: Path, manifest: dict[str, Any]) -> None:
    """Raises InputError at a file of a finished stage that is gone or another one, and in a
    finished run at one that it did not write.
    """
    with reading(folder / "manifest.json", AGAIN):
        known: Listed = {}
        for stage, files in manifest["files"].items():
            if stage in manifest["stages"]:
                known |= files
        check_listed(folder, known)
    if manifest["status"] not in WORLDS_DONE:
        return
    for name in ("impressions", "truth_worlds", "off_policy"):
        for file in sorted((folder / name).rglob("*.parquet")):
            if file.relative_to(folder).as_posix() not in known:
                raise AnalysisError(
                    f"damaged: '{shown(file)}' is no file that this run wrote; take it away"
                )


def rows_of_test(run: Run, folder: Path | None = None) -> Rows:
    """The impressions of the test, without the warm-up."""
    where = f"bucket <> '{WARMUP}'"
    if run.until is not None:
        where += f" AND time < {run.until}"
    return parquet(run.path / "impressions" if folder is None else folder, where, run.metrics)


def rows_before(run: Run) -> Rows | None:
    """The impressions of the warm-up; None where there was none."""
    folder = run.path / "impressions"
    if not (folder / f"bucket={WARMUP}").exists():
        return None
    return parquet(folder, f"bucket = '{WARMUP}'", run.metrics)


def assigned(run: Run) -> pd.DataFrame:
    """`user` and `bucket` of everybody in the test: in a twin run each user once per arm."""
    if run.twin:
        return pd.concat(
            [run.users[["user"]].assign(bucket=arm) for arm in run.arms], ignore_index=True
        )
    return run.users.loc[run.users["bucket"].notna(), ["user", "bucket"]].reset_index(drop=True)


def everyone(users: pd.DataFrame, counts: pd.DataFrame) -> pd.DataFrame:
    """All assigned users with their totals, zeros for those who never came: one is in the test once
    assigned, not once seen.
    """
    names = [name for name in counts.columns if name not in ("bucket", "user")]
    table = users.merge(counts, on=[key for key in ("bucket", "user") if key in counts], how="left")
    table[names] = table[names].fillna(0.0).astype(float)
    return table


def with_covariates(table: pd.DataFrame, before: pd.DataFrame) -> pd.DataFrame:
    """The totals before the test joined, `_pre` behind; `came_before` is 0 for users without, whose
    columns are 0.
    """
    names = [name for name in before.columns if name not in ("bucket", "user")]
    earlier = before.drop(columns="bucket", errors="ignore").rename(
        columns={name: f"{name}_pre" for name in names}
    )
    joined = table.merge(earlier, on="user", how="left")
    joined["came_before"] = joined["impressions_pre"].notna().astype(float)
    columns = [f"{name}_pre" for name in names]
    joined[columns] = joined[columns].fillna(0.0).astype(float)
    return joined


def true_means(run: Run) -> dict[str, pd.DataFrame]:
    """arm -> per-user table of the world in which everybody got that arm; {} where
    there are none.
    """
    if run.twin:
        return dict(list(everyone(assigned(run), rows_of_test(run).per_user()).groupby("bucket")))
    means: dict[str, pd.DataFrame] = {}
    for arm in run.arms:
        folder = run.path / "truth_worlds" / arm.replace(":", ".") / "impressions"
        if run.until is not None:
            world = f"global-{arm.replace(':', '.')}"
            if _reached(run.path, run.manifest, arm, world) < run.until:
                continue
        if folder.exists() and any(folder.rglob("*.parquet")):
            means[arm] = everyone(
                run.users[["user"]], rows_of_test(run, folder).per_user(("user",))
            )
    return means


def exposure(rows: Rows) -> pd.DataFrame:
    """One row per bucket, round and item: impressions and clicks."""
    return rows.query(
        "SELECT bucket, round, item, count(*) AS shown, count(*) FILTER (clicked) AS clicked "
        "FROM {rows} GROUP BY ALL ORDER BY bucket, round, item"
    )


def pair_counts(rows: Rows) -> pd.DataFrame:
    """One row per bucket, round, user and item: how often it was shown; for overlap and entropy."""
    counted = rows.query(
        "SELECT bucket, round, user, item, count(*) AS shown FROM {rows} GROUP BY ALL ORDER BY"
        " bucket, round, user, item"
    )
    counted["shown"] = counted["shown"].astype(np.float64)
    return counted
