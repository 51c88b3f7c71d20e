"""What the feedback loop does, round by round: coverage, concentration, popularity, overlap,
variety.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

ENTROPY_LEAST = 12  # impressions of a user in a round, below which an entropy says little


def gini(counts: np.ndarray) -> float:
    """Gini coefficient of exposure over all items, those never shown included: 0 = equal, 1 = all
    on one.
    """
    x = np.sort(np.asarray(counts, float))
    total = x.sum()
    if total == 0:
        return float("nan")
    n = len(x)
    return float((2 * np.arange(1, n + 1) - n - 1) @ x / (n * total))


def ratio_error(top: pd.Series, bottom: pd.Series) -> float:
    """Standard error of sum(top) / sum(bottom) over users (delta method); NaN of fewer than two."""
    x, y = top.to_numpy(float), bottom.to_numpy(float)
    if len(x) < 2:
        return float("nan")
    left = x - x.sum() / y.sum() * y
    return float(left.std(ddof=1) * len(x) ** 0.5 / y.sum())


def overlap(pairs: pd.DataFrame, pages: pd.Series) -> float:
    """Expected share of a page's items that a random page of another user shows too.

    Args:
        pairs: one row per user and item: `user`, `item`, `shown` (pages that showed it, for no page
            repeats an item).
        pages: user -> pages.
    """
    item, shown = pairs["item"].to_numpy(), pairs["shown"].to_numpy(float)
    return expected_overlap(item, shown, pages.to_numpy(float))


def expected_overlap(item: np.ndarray, shown: np.ndarray, pages: np.ndarray) -> float:
    """As `overlap`, of arrays: item and shown of each pair of user and item, pages of each user."""
    per_item = np.bincount(item, shown)
    n_pairs = pages.sum() ** 2 - (pages**2).sum()
    size = shown.sum() / pages.sum()
    if n_pairs <= 0:
        return float("nan")
    return float(((per_item**2).sum() - (shown**2).sum()) / (n_pairs * size))


def entropy_within(pairs: pd.DataFrame, category: pd.Series) -> float:
    """Mean over users of the entropy, in bits, of the categories that each was shown."""
    frame = pd.DataFrame(
        {"user": pairs["user"], "category": pairs["item"].map(category), "shown": pairs["shown"]}
    )
    counts = frame.pivot_table(
        index="user", columns="category", values="shown", aggfunc="sum", fill_value=0
    ).to_numpy(float)
    enough = counts.sum(axis=1) >= ENTROPY_LEAST
    return float(category_bits(counts[enough]).mean()) if enough.any() else float("nan")


def category_bits(counts: np.ndarray) -> np.ndarray:
    """(B,) entropy in bits of counts (B, C); 0 of nothing."""
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    bits: np.ndarray = -np.where(share > 0, share * np.log2(np.maximum(share, 1e-300)), 0).sum(1)
    return bits


@dataclass(frozen=True)
class RoundMetrics:
    """What an arm showed and got in one round; units in `ROUND_UNITS`. click_rate_error: standard
    error of the click rate over users, who are what was randomised.
    """

    arm: str
    round: int
    impressions: int
    click_rate: float
    click_rate_error: float
    clicks_per_page: float
    coverage: float
    gini: float
    popularity_shown: float
    popularity_clicked: float
    overlap: float
    category_entropy: float


def by_round(
    exposure: pd.DataFrame, pairs: pd.DataFrame, per_user: pd.DataFrame, items: pd.DataFrame
) -> list[RoundMetrics]:
    """One row per arm and round.

    Args:
        exposure: `bucket`, `round`, `item`, `shown`, `clicked`.
        pairs: `bucket`, `round`, `user`, `item`, `shown`.
        per_user: `bucket`, `round`, `user`, `pages`, `impressions`, `clicks`.
        items: `item`, `category`, `popularity_percentile`.
    """
    percentile = items.set_index("item")["popularity_percentile"]
    category = items.set_index("item")["category"]
    rows = []
    pair_groups = dict(list(pairs.groupby(["bucket", "round"])))
    user_groups = dict(list(per_user.groupby(["bucket", "round"])))
    for key, shown in exposure.groupby(["bucket", "round"], sort=True):
        users, pair = user_groups[key], pair_groups[key]
        counts = shown.set_index("item")["shown"].reindex(items["item"], fill_value=0).to_numpy()
        popular = shown["item"].map(percentile)
        clicked = float("nan")
        if shown["clicked"].sum():
            clicked = float(np.average(popular, weights=shown["clicked"]))
        rows.append(
            RoundMetrics(
                arm=key[0],
                round=int(key[1]),
                impressions=int(shown["shown"].sum()),
                click_rate=float(users["clicks"].sum() / users["impressions"].sum()),
                click_rate_error=ratio_error(users["clicks"], users["impressions"]),
                clicks_per_page=float(users["clicks"].sum() / users["pages"].sum()),
                coverage=float((counts > 0).mean()),
                gini=gini(counts),
                popularity_shown=float(np.average(popular, weights=shown["shown"])),
                popularity_clicked=clicked,
                overlap=overlap(pair, users.set_index("user")["pages"]),
                category_entropy=entropy_within(pair, category),
            )
        )
    return rows


ROUND_UNITS = {
    "impressions": "count",
    "click_rate": "clicks per impression",
    "click_rate_error": "clicks per impression",
    "clicks_per_page": "clicks per page",
    "coverage": "share of the catalogue",
    "gini": "0 to 1",
    "popularity_shown": "percentile of clicks in the log",
    "popularity_clicked": "percentile of clicks in the log",
    "overlap": "share of a page",
    "category_entropy": "bits per user",
}


def lorenz(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Share of items (least shown first) against share of impressions, both from 0 to 1."""
    x = np.sort(np.asarray(counts, float))
    return np.linspace(0, 1, len(x) + 1), np.concatenate([[0], np.cumsum(x) / max(x.sum(), 1)])
