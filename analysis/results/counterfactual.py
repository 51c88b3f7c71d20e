"""Off-policy estimates of a run's contenders from an arm with known propensities, beside the test's
estimate and the truth.
"""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from analysis.data.rows import PartFile, Rows, part_files
from analysis.data.run import Run
from analysis.statistics.propensity import Estimate, OffPolicy, off_policy

WOULD, WOULD_CLICK = "would ", "would click "
PRIOR = 20.0  # impressions with which an item's rate is drawn towards the mean


LEAST_SUPPORT = 0.9  # mean weight: below it the rest is shown by nobody, and no row tells of it


@dataclass(frozen=True)
class OffPolicyRow:
    """A contender estimated from another arm's rows, in clicks per impression.

    Attributes:
        ips, snips, dm, dr: value, low, high each; None where there is none.
        effective_n: rows by their weights (Kish). matched: share of the rows with any weight.
        mean_weight: about 1 where the logging arm shows all that the contender would show; with its
            standard error.
        true_here: what the users of these visits would have clicked of the contender's slates,
            which is what the estimates are of; None where the users do not tell.
        tested: the arm's own click rate in the test, true: in its world.
    """

    logger: str
    arm: str
    rows: int
    ips: Estimate | None
    snips: Estimate | None
    dm: Estimate | None
    dr: Estimate | None
    effective_n: float
    matched: float
    mean_weight: float
    mean_weight_error: float
    true_here: float | None
    tested: float | None
    true: float | None

    @property
    def supported(self) -> bool:
        """Whether the logging arm shows, however rarely, nearly all that the contender would, as
        far as its rows can tell: with few of them the mean weight is far from 1 by chance.
        """
        return self.mean_weight + 3 * self.mean_weight_error >= LEAST_SUPPORT


@dataclass(frozen=True)
class OffPolicyEstimates:
    """Of all contenders; or in words why there is nothing to estimate from."""

    rows: list[OffPolicyRow]
    missing: str | None


def off_policy_of(
    run: Run, tested: dict[str, float], true_rates: dict[str, float]
) -> OffPolicyEstimates | None:
    """Clicks per impression of every contender in the logging arms' visits; None where a run did
    not ask.

    Args:
        tested: arm -> click rate in the test. true_rates: arm -> click rate of the world in which
            everybody gets it.
    """
    if not run.settings.get("off_policy"):
        return None
    rows = []
    for logger in run.arms:
        files = [f for f in part_files(run.path / "off_policy") if f.bucket == logger]
        if not files:
            continue
        table = _table(tuple(files), run.until)
        rates = _reward_model(table)
        for arm in (arm for arm in run.manifest["contenders"] if WOULD + arm in table):
            estimate = _estimate(table, arm, rates)
            rows.append(
                OffPolicyRow(
                    logger,
                    arm,
                    len(table),
                    *(estimate.ips, estimate.snips, estimate.dm, estimate.dr),
                    estimate.effective_n,
                    estimate.matched,
                    estimate.mean_weight,
                    estimate.mean_weight_error,
                    _true_here(table, arm),
                    tested.get(arm),
                    true_rates.get(arm),
                )
            )
    missing = (
        "no arm shows at random with probabilities that it states; add one that does, such as"
        " uniform, to --policies"
    )
    return OffPolicyEstimates(rows, None if rows else missing)


def _true_here(table: pd.DataFrame, arm: str) -> float | None:
    """Mean true chance of a click on what the contender would have shown in these visits."""
    chances = table.get(WOULD_CLICK + arm)
    return None if chances is None or chances.isna().any() else float(chances.mean())


def _table(files: tuple[PartFile, ...], until: float | None) -> pd.DataFrame:
    rows = Rows("parts", frozenset(), files=files)
    if until is not None:
        rows = replace(rows, relation=f"(SELECT * FROM parts WHERE time < {until})")
    return rows.query("SELECT * EXCLUDE (bucket, round) FROM {rows} ORDER BY user, time, slot")


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
        rates = np.empty(len(item))
        for h, (mean, items, slots) in enumerate(self.halves):
            rows = self.half == h
            by_item = pd.Series(item[rows]).map(items).fillna(mean).to_numpy()
            by_slot = pd.Series(slot[rows]).map(slots).fillna(1.0).to_numpy()
            rates[rows] = np.clip(by_item * by_slot, 0, 1)
        return rates


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
