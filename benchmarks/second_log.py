"""Logs of which the truth is known, for `simulator.validate --test-log`: the arms of a run, each as
a file, or a log that two policies share by a coin.

    python -m simulator.run --policies popularity,itemknn,uniform --design twin --learn-from none \
        --rounds 1 --users 1500 --days 8 --out two
    python benchmarks/second_log.py two logs
    python -m simulator.validate --log logs/early.parquet --test-log logs/late.parquet
    python -m simulator.validate --log logs/uniform.parquet --test-log logs/itemknn.parquet
    python -m simulator.validate --log logs/popularity.parquet --test-log logs/itemknn.parquet
    python -m simulator.validate --log logs/uniform.parquet --test-log logs/both.parquet

In a twin run the same users meet every arm, in worlds of their own; here the arms come one after
the other: uniform first, then those of the run. `early` and `late` are the halves of uniform;
`both` holds, for each user and day, what one of the other two arms showed. What uniform slates of
an arm's items get is printed beside: the level to which users fitted to that arm should be
calibrated.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import pandas as pd

from policies.draws import Draws, key_of

COLUMNS = {
    "user": "user",
    "item": "item",
    "time": "time",
    "session": "session",
    "page": "page",
    "slot": "slot",
    "clicked": "click",
    "watched": "watch",
    "long_view": "long_view",
    "liked": "like",
    "propensity": "propensity",
}
BEGIN = 1_700_006_400.0  # s since 1970, a midnight


def arm(run: Path, name: str) -> pd.DataFrame:
    """The impressions of an arm with the log's own ids."""
    files = sorted((run / "impressions" / f"bucket={name}").rglob("*.parquet"))
    rows = pd.concat([pd.read_parquet(file) for file in files])[list(COLUMNS)].rename(
        columns=COLUMNS
    )
    items = pd.read_parquet(run / "items.parquet").set_index("item")
    users = pd.read_parquet(run / "users.parquet").set_index("user")
    rows["category"] = rows["item"].map(items["category"]).astype(str)
    rows["item"] = rows["item"].map(items["item_id"])
    rows["user"] = rows["user"].map(users["user_id"])
    rows["time"] += BEGIN
    for name_ in ("click", "long_view", "like"):
        rows[name_] = rows[name_].astype(int)
    if rows["propensity"].isna().any() or (rows["propensity"] == 1).all():
        rows = rows.drop(columns="propensity")
    return rows.sort_values(["time", "user", "page", "slot"], ignore_index=True)


def by_coin(one: pd.DataFrame, other: pd.DataFrame) -> pd.DataFrame:
    """For each user and day the rows of one of the two."""
    parts = []
    for turn, rows in enumerate((one, other)):
        user, day = pd.factorize(rows["user"], sort=True)[0], (rows["time"] // 86_400).astype(int)
        heads = Draws(key_of("coin"), user, day.to_numpy() % 1000).uniform("coin", 1)[:, 0] < 0.5
        mine = rows[heads == (turn == 0)].copy()
        mine["session"] = 2 * mine["session"] + turn
        parts.append(mine.drop(columns="propensity", errors="ignore"))
    return pd.concat(parts).sort_values(["time", "user", "page", "slot"], ignore_index=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("out", type=Path)
    given = parser.parse_args()
    given.out.mkdir()
    about = json.loads((given.run / "manifest.json").read_text())
    names = [name for name in about["experiment"]["policies"] if name != "uniform"]
    arms = {name: arm(given.run, name) for name in names}
    uniform = arm(given.run, "uniform")
    middle = uniform["time"].median()
    logs = {name: later(rows, place) for place, (name, rows) in enumerate(arms.items(), 1)}
    logs |= {"uniform": uniform, "both": later(by_coin(*list(arms.values())[:2]), 1)}
    logs["early"], logs["late"] = (
        uniform[uniform["time"] < middle],
        uniform[uniform["time"] >= middle],
    )
    for name, rows in logs.items():
        rows.to_parquet(given.out / f"{name}.parquet")
        among = uniform[uniform["item"].isin(rows["item"].unique())]["click"]
        print(
            f"{name}: {len(rows)} rows, click rate {np.mean(rows['click']):.4f}, of uniform slates"
            f" of its {rows['item'].nunique()} items {np.mean(among):.4f}"
        )


def later(rows: pd.DataFrame, place: int) -> pd.DataFrame:
    """The same rows, after as many others."""
    days = np.ceil((rows["time"].max() - BEGIN) / 86_400) + 1
    return rows.assign(time=rows["time"] + place * days * 86_400)


if __name__ == "__main__":
    main()
