"""Off-policy estimates of a run's contenders from an arm with known propensities, beside the test's
estimate and the truth.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.data.rows import Rows
from analysis.data.run import Run
from analysis.statistics.propensity import Estimate, OffPolicy, off_policy

WOULD = "would "
PRIOR = 20.0  # impressions with which an item's rate is drawn towards the mean


def of_run(
    run: Run, arms: list[dict[str, Any]], true_rates: dict[str, float]
) -> dict[str, Any] | None:
    """Clicks per impression of every contender in the logging arm's visits; None where a run did
    not ask.

    Args:
        arms: rows of `results["arms"]`. true_rates: arm -> click rate of the world in which
            everybody gets it.

    Returns:
        `rows`: logger, arm, one estimate each of ips, snips, dm and dr, effective_n, matched;
            `tested`: the arm's own click rate
        in the test, `true`: in its world. `missing`: in words, where there is nothing to estimate
            from.
    """
    if not run.settings.get("off_policy"):
        return None
    folder = run.path / "off_policy"
    found: list[dict[str, Any]] = []
    tested = {row["arm"]: row.get("click_rate") for row in arms}
    for logger in run.arms:
        files = folder / f"bucket={logger}"
        if not any(files.rglob("*.parquet")):
            continue
        table = _table(files)
        wanted = [name.removeprefix(WOULD) for name in table.columns if name.startswith(WOULD)]
        predict = _reward_model(table)
        for arm in (name for name in wanted if name in run.manifest["contenders"]):
            estimate = _estimate(table, arm, predict)
            known = {"tested": tested.get(arm), "true": true_rates.get(arm)}
            found.append(
                {"logger": logger, "arm": arm, "rows": len(table), **_flat(estimate), **known}
            )
    missing = (
        None
        if found
        else (
            "no arm shows at random with probabilities that it states; add one that does, such as"
            " uniform, to --policies"
        )
    )
    return {"rows": found, "missing": missing}


def _table(folder: Path) -> pd.DataFrame:
    pattern = str(folder / "*" / "*.parquet").replace("'", "''")
    rows = Rows(f"read_parquet('{pattern}', hive_partitioning = false)", frozenset())
    return rows.query("SELECT * FROM {rows} ORDER BY user, time, slot")


def _reward_model(table: pd.DataFrame) -> "_Rates":
    """Two halves of the users, each predicted by the rates of the other, so that no row predicts
    itself.
    """
    half = (pd.util.hash_array(table["user"].to_numpy().astype(np.uint64)) % 2).astype(int)
    return _Rates([_rates(table[half != h]) for h in (0, 1)], half)


class _Rates:
    """Clicks by item, drawn towards the mean, times how much more or less its slot gets."""

    def __init__(self, halves: list[tuple[float, pd.Series, pd.Series]], half: np.ndarray):
        self.halves, self.half = halves, half

    def predict(self, item: np.ndarray, slot: np.ndarray) -> np.ndarray:
        found = np.empty(len(item))
        for h, (mean, items, slots) in enumerate(self.halves):
            rows = self.half == h
            by_item = pd.Series(item[rows]).map(items).fillna(mean).to_numpy()
            by_slot = pd.Series(slot[rows]).map(slots).fillna(1.0).to_numpy()
            found[rows] = np.clip(by_item * by_slot, 0, 1)
        return found


def _rates(table: pd.DataFrame) -> tuple[float, pd.Series, pd.Series]:
    mean = float(table["clicked"].mean())
    items = table.groupby("item")["clicked"].agg(["sum", "size"])
    slots = table.groupby("slot")["clicked"].mean()
    return (
        mean,
        (items["sum"] + PRIOR * mean) / (items["size"] + PRIOR),
        slots / mean if mean > 0 else slots * 0 + 1,
    )


def _estimate(table: pd.DataFrame, arm: str, rates: _Rates) -> OffPolicy:
    """A contender shows one item per slot for sure, so its probability of the shown
    item is 0 or 1.
    """
    item, slot, would = (table[name].to_numpy() for name in ("item", "slot", WOULD + arm))
    return off_policy(
        table["clicked"].to_numpy(float),
        table["propensity"].to_numpy(float),
        (item == would).astype(float),
        predicted=rates.predict(item, slot),
        predicted_target=rates.predict(would, slot),
        cluster=table["user"].to_numpy(),
    )


def _flat(found: OffPolicy) -> dict[str, Any]:
    def plain(x: Estimate | None) -> dict[str, float] | None:
        return None if x is None else {"value": x.value, "low": x.low, "high": x.high}

    return {
        **{name: plain(getattr(found, name)) for name in ("ips", "snips", "dm", "dr")},
        "effective_n": found.effective_n,
        "matched": found.matched,
    }
