"""What an arm did to users and items in one round.

Letters: B users, N items, C categories, n rows. Users are their places 0..B-1.

`USER` measures have a number for each user, NaN where a round tells none of it; `WORLD` ones a
number for the round. What needs the simulator's truth says so: no live test can know it.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.stats import spearmanr

from analysis.results.feedback_loop import ENTROPY_LEAST, category_bits, expected_overlap, gini

TOP = 0.01  # of the items, those shown most
GOOD = 0.1  # of the items, those liked best
SMOOTH = (
    0.01  # of a user's own taste in what it was shown, so that nothing is infinite (Steck 2018)
)


@dataclass(frozen=True)
class Measure:
    """
    Attributes:
        label: in tables. unit: what a number means.
    """

    name: str
    label: str
    unit: str


USER = (
    Measure("utility", "true utility", "true chance of a click per impression"),
    Measure("click_rate", "click rate", "clicks per impression"),
    Measure("clicks", "clicks", "clicks per user, those who stayed away included"),
    Measure("pages", "pages", "pages per user who came"),
    Measure("entropy", "variety", "bits of the categories shown to a user"),
    Measure("distance", "distance within a page", "share of pairs of unlike categories"),
    Measure("calibration", "off the user's taste", "bits of Kullback and Leibler"),
    Measure("drift", "drift of true taste", "logits over categories, Euclidean"),
    Measure("caused", "drift that retraining caused", "logits over categories, Euclidean"),
)
WORLD = (
    Measure("gini", "concentration", "Gini of exposure, 0 to 1"),
    Measure("overlap", "homogenisation", "share of a page that another user is shown"),
    Measure("coverage", "coverage", "share of the items that are shown"),
    Measure("top", "top items", "share of impressions of the top 1 % of items"),
    Measure("popularity_shown", "popularity of shown", "percentile of clicks in the log"),
    Measure("popularity_clicked", "popularity of clicked", "percentile of clicks in the log"),
    Measure("overlap_alike", "overlap of like-minded", "share of a page"),
    Measure("overlap_clicked", "overlap of clicks", "share of a page"),
    Measure("merit", "exposure follows merit", "rank correlation"),
    Measure("unseen_good", "good items not shown so far", "share of the best tenth"),
    Measure("minority", "utility of minorities", "true chance, small less large groups"),
)
NEW = (  # where items appear during the test (discovery.py)
    Measure("new_reached", "new items found", "share that has had the exposure it deserves"),
    Measure("new_wait", "wait of new items", "rounds until deserved exposure, so far"),
    Measure("new_unseen", "good new items not shown so far", "share of those above the median"),
)
PRIMARY = ("utility", "gini", "overlap")  # corrected together; everything else is exploratory
BY_NAME = {measure.name: measure for measure in (*USER, *WORLD, *NEW)}


@dataclass(frozen=True)
class Known:
    """What is true of users and items before the test.

    Attributes:
        chance: (B, N + 1) of a click on each item once looked at, users rested; 0 for padding.
        category: (N + 1,). popularity: (N + 1,) percentile of clicks in the log.
    """

    chance: np.ndarray
    category: np.ndarray
    popularity: np.ndarray

    @cached_property
    def taste(self) -> np.ndarray:
        """(B, C) shares: of the clicks that a user would make on random slates, by category."""
        expected = np.zeros((len(self.chance), int(self.category.max()) + 1))
        for c in range(expected.shape[1]):
            expected[:, c] = self.chance[:, 1:][:, self.category[1:] == c].sum(axis=1)
        shares: np.ndarray = expected / expected.sum(axis=1, keepdims=True)
        return shares

    @cached_property
    def group(self) -> np.ndarray:
        """(B,) the category that a user likes most beyond what everybody does."""
        mean = self.taste.mean(axis=0)
        beyond = np.divide(self.taste, mean, out=np.zeros_like(self.taste), where=mean > 0)
        favourite: np.ndarray = np.argmax(beyond, axis=1)
        return favourite

    @cached_property
    def merit(self) -> np.ndarray:
        """(N,) mean true chance of a click on each item."""
        mean: np.ndarray = self.chance[:, 1:].mean(axis=0, dtype=np.float64)
        return mean


@dataclass(frozen=True)
class Served:
    """What an arm showed in a round; arrays of n rows.

    Attributes:
        user: places. page: a number of its own for each page. item. clicked. chance: true, of a
            click. moved: (B, C) logits that users' tastes have moved since the start; (B, 0) where
            they do not. frozen: the same in the frozen world.
    """

    user: np.ndarray
    page: np.ndarray
    item: np.ndarray
    clicked: np.ndarray
    chance: np.ndarray
    moved: np.ndarray
    frozen: np.ndarray


def user_measures(served: Served, known: Known) -> dict[str, np.ndarray]:
    """Name -> (B,).

    Sources: entropy and distance within a list, Ziegler et al., WWW 2005; calibration, Steck,
    RecSys 2018: the divergence of what is shown from the categories of the user's own taste.
    """
    b = len(known.chance)
    if not len(served.user):
        nothing = np.full(b, np.nan)
        moved = dict.fromkeys(("drift", "caused"), nothing) if served.moved.size else {}
        names = ("utility", "click_rate", "pages", "entropy", "distance", "calibration")
        return {**dict.fromkeys(names, nothing), "clicks": np.zeros(b), **moved}
    shown = np.bincount(served.user, minlength=b).astype(float)
    came = np.where(shown > 0, shown, np.nan)
    pages = np.bincount(served.user[first_rows(served.page)], minlength=b)
    category = known.category[served.item]
    counts = np.zeros((b, known.taste.shape[1]))
    np.add.at(counts, (served.user, category), 1)
    enough = shown >= ENTROPY_LEAST
    mixed = (1 - SMOOTH) * counts / np.maximum(shown, 1)[:, None] + SMOOTH * known.taste
    with np.errstate(divide="ignore", invalid="ignore"):
        off = np.where(known.taste > 0, known.taste * np.log2(known.taste / mixed), 0).sum(axis=1)
    found = {
        "utility": np.bincount(served.user, served.chance, b) / came,
        "click_rate": np.bincount(served.user, served.clicked, b) / came,
        "clicks": np.bincount(served.user, served.clicked, b),
        "pages": np.where(shown > 0, pages, np.nan),
        "entropy": np.where(enough, category_bits(counts), np.nan),
        "distance": unlike_pairs(served, category, b),
        "calibration": np.where(enough, off, np.nan),
    }
    if served.moved.size:
        found["drift"] = np.linalg.norm(served.moved, axis=1)
        found["caused"] = np.linalg.norm(served.moved - served.frozen, axis=1)
    return found


def unlike_pairs(served: Served, category: np.ndarray, b: int) -> np.ndarray:
    """(b,) of the pairs of items on a page, the share whose categories differ; mean over pages."""
    _, page = np.unique(served.page, return_inverse=True)
    size = np.bincount(page).astype(float)
    cell, n = np.unique(page * (int(category.max()) + 1) + category, return_counts=True)
    same = np.bincount(cell // (int(category.max()) + 1), n * (n - 1.0), len(size))
    with np.errstate(invalid="ignore"):
        unlike = 1 - same / (size * (size - 1))
    user = served.user[first_rows(page)]
    there = np.isfinite(unlike)
    mean = np.bincount(user[there], unlike[there], b)
    pages = np.bincount(user[there], minlength=b)
    return np.where(pages > 0, mean / np.maximum(pages, 1), np.nan)


def first_rows(page: np.ndarray) -> np.ndarray:
    """One row of each page, in the order of the pages' numbers."""
    rows: np.ndarray = np.unique(page, return_index=True)[1]
    return rows


def world_measures(
    served: Served, known: Known, utility: np.ndarray, before: np.ndarray, there: np.ndarray
) -> dict[str, float]:
    """Name -> number.

    Args:
        utility: (B,) of the users. before: (N,) how often items were shown in earlier rounds.
            there: (N,) whether an item is there by the end of the round; others count nowhere.

    Sources: concentration by Gini and coverage, Mansoury et al., CIKM 2020; overlap between users,
    Chaney, Stewart and Engelhardt, RecSys 2018; exposure against merit, Singh and Joachims, KDD
    2018.
    """
    if not len(served.user):
        return dict.fromkeys((measure.name for measure in WORLD), float("nan"))
    exposure = np.bincount(served.item, minlength=len(there) + 1)[1:][there]
    n, merit, before = int(there.sum()), known.merit[there], before[there]
    best = np.argsort(-merit, kind="stable")[: max(round(GOOD * n), 1)]
    top = np.sort(exposure)[-max(round(TOP * n), 1) :].sum() / exposure.sum()
    popular = known.popularity[served.item]
    clicked = served.clicked > 0
    rows = Rows(served.user, served.page, served.item)
    by_group = [
        overlap_of(rows.of(known.group[served.user] == group)) for group in np.unique(known.group)
    ]
    pairs = [pages * (pages - 1.0) for pages, _ in by_group]
    alike = [x for _, x in by_group]
    there = np.isfinite(alike)
    return {
        "gini": gini(exposure),
        "coverage": float((exposure > 0).mean()),
        "top": float(top),
        "popularity_shown": float(popular.mean()),
        "popularity_clicked": float(popular[clicked].mean()) if clicked.any() else np.nan,
        "overlap": overlap_of(rows)[1],
        "overlap_alike": float(np.average(np.array(alike)[there], weights=np.array(pairs)[there]))
        if there.any()
        else np.nan,
        "overlap_clicked": overlap_of(rows.of(clicked))[1],
        "merit": rank_correlation(exposure, merit),
        "unseen_good": float(((before + exposure)[best] == 0).mean()),
        "minority": minority(utility, known.group),
    }


def rank_correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Spearman's; nan where either is the same everywhere."""
    if np.ptp(one) == 0 or np.ptp(other) == 0:
        return float("nan")
    return float(spearmanr(one, other).statistic)


@dataclass(frozen=True)
class Rows:
    """Users, pages and items of some rows."""

    user: np.ndarray
    page: np.ndarray
    item: np.ndarray

    def of(self, which: np.ndarray) -> "Rows":
        return Rows(self.user[which], self.page[which], self.item[which])


def overlap_of(rows: Rows) -> tuple[int, float]:
    """Pages, and the expected share of a page's items that a random page of another user holds."""
    if not len(rows.user):
        return 0, float("nan")
    n = int(rows.item.max()) + 1
    cell, shown = np.unique(rows.user.astype(np.int64) * n + rows.item, return_counts=True)
    pages = np.bincount(rows.user[first_rows(rows.page)]).astype(float)
    return int(pages.sum()), expected_overlap(cell % n, shown.astype(float), pages)


def minority(utility: np.ndarray, group: np.ndarray) -> float:
    """Mean utility of the users in the smallest taste groups less that of those in the largest;
    groups are taken until they hold a third of the users.
    """
    size = np.bincount(group)[group].astype(float)
    there = np.isfinite(utility)
    low, high = np.quantile(size[there], [1 / 3, 2 / 3])
    small, large = there & (size <= low), there & (size >= high)
    if not small.any() or not large.any() or low == high:
        return float("nan")
    return float(utility[small].mean() - utility[large].mean())
