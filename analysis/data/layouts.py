"""Impressions of a run as RecBole's atomic files, and as the Open Bandit Dataset.

Sources: Zhao et al., RecBole, CIKM 2021 (atomic files); Saito et al., Open Bandit Dataset and
Pipeline, NeurIPS 2021 (`obp.dataset.OpenBanditDataset`).
"""

from pathlib import Path

import numpy as np
import pandas as pd

from analysis.data.run import Run
from analysis.errors import AnalysisError
from policies.common.errors import suggestion

CAMPAIGN = "all"


def rows_of(run: Path, arms: list[str]) -> pd.DataFrame:
    """Every impression of these arms in the test, in the order of time, user, page and slot.

    Raises:
        AnalysisError: the folder of the run holds none of them.
    """
    folders = [run / "impressions" / f"bucket={arm}" for arm in arms]
    files = sorted(file for folder in folders for file in folder.rglob("*.parquet"))
    if not files:
        there = [place.name.removeprefix("bucket=") for place in folders[0].parent.glob("bucket=*")]
        near = suggestion(arms[0], there)
        raise AnalysisError(f"'{run}' holds no impressions of {', '.join(arms)}{near}")
    rows = pd.concat([pd.read_parquet(file) for file in files], ignore_index=True)
    return rows.sort_values(["time", "user", "page", "slot"], ignore_index=True)


def impressions_of(run: Run, arms: list[str]) -> pd.DataFrame:
    """As `rows_of`, with the log's own ids as `user_id` and `item_id`."""
    rows = rows_of(run.path, arms)
    rows["user_id"] = rows["user"].map(run.users.set_index("user")["user_id"])
    rows["item_id"] = rows["item"].map(run.items.set_index("item")["item_id"])
    return rows


def recbole(run: Run, arms: list[str], folder: Path, name: str) -> int:
    """Writes NAME/NAME.inter and NAME/NAME.item; the number of impressions."""
    rows = impressions_of(run, arms)
    (folder / name).mkdir()
    table = pd.DataFrame(
        {
            "user_id:token": rows["user_id"],
            "item_id:token": rows["item_id"],
            "timestamp:float": rows["time"].round(3),
            "label:float": rows["clicked"].astype(int),
            "slot:float": rows["slot"],
        }
    )
    _write(table, folder / name / f"{name}.inter")
    items = pd.DataFrame(
        {"item_id:token": run.items["item_id"], "category:token": run.items["category"]}
    )
    _write(items, folder / name / f"{name}.item")
    return len(rows)


def _write(table: pd.DataFrame, path: Path) -> None:
    """Tabs and line ends part values in these files, and nothing is quoted."""
    for column in table.columns[table.dtypes.map(pd.api.types.is_string_dtype)]:
        bad = table[column].astype(str).str.contains(r"[\t\r\n]")
        if bad.any():
            value = table[column][bad].iloc[0]
            raise AnalysisError(f"{column} {value!r} holds a tab or a line end; rename it")
    lines = table.astype(str).agg("\t".join, axis=1)
    text = "\n".join(["\t".join(table.columns), *lines]) + "\n"
    path.write_text(text, encoding="utf-8", newline="\n")


def open_bandit(run: Run, arm: str, folder: Path) -> int:
    """Writes `BEHAVIOUR/all/all.csv` and `item_context.csv`; the number of impressions.

    Raises:
        AnalysisError: it states no propensities, or draws nothing.
    """
    rows = impressions_of(run, [arm])
    stated = rows["propensity"].to_numpy(np.float64)
    if not (np.isfinite(stated) & (stated > 0)).all():
        raise AnalysisError(
            f"'{arm}' states no propensities, and this layout needs them; take uniform, thompson or"
            " an arm with epsilon"
        )
    if (stated == 1).all():
        raise AnalysisError(
            f"'{arm}' shows one slate for sure: its rows say nothing of any other; take uniform,"
            " thompson, or an arm with epsilon"
        )
    numbers = {item: number for number, item in enumerate(run.items["item"])}
    context = pd.DataFrame(
        {
            "item_id": range(len(run.items)),
            "item_feature_0": run.items["category"],
            "name": run.items["item_id"],
        }
    )
    behaviour = "random" if arm.partition(".")[0] == "uniform" else "bts"
    place = folder / behaviour / CAMPAIGN
    place.mkdir(parents=True)
    context.to_csv(place / "item_context.csv", lineterminator="\n")
    table = pd.DataFrame(
        {
            "timestamp": pd.to_datetime(rows["time"], unit="s", utc=True),
            "item_id": rows["item"].map(numbers),
            "position": rows["slot"].astype(int) + 1,
            "click": rows["clicked"].astype(int),
            "propensity_score": stated,
            "user_feature_0": rows["user_id"],
        }
    )
    table.to_csv(place / f"{CAMPAIGN}.csv", lineterminator="\n")
    return len(rows)
