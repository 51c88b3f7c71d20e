"""Examination (position bias): how likely each slot is looked at, from clicks of a user on the same
item in different slots; and what no prediction knows.

A policy puts what it believes to be good first, and it knows more than any fit to its log. So the
click rate of a slot falls for two reasons, of which only one is the slot. An item that the same
user saw in different slots is as good in one as in the other: the comparison within pairs of user
and item is free of what the policy knew.
"""

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
import scipy.sparse.csgraph  # noqa: F401  (sp.csgraph)
from scipy.special import expit
from sklearn.isotonic import IsotonicRegression

from policies.log import Dataset, Impressions
from simulator.fitting.sessions import logistic

SLOTS = 100
# share of the rows whose user saw their item before or after, above which pairs are compared
REPEATED = 0.1
USED_UP = 0.2  # share of a category that a user has seen, above which what is left differs
EXPONENT = 0.12
# standard error of the logarithm of a slot's probability, or pairs tell too little of slots
MOST_UNSURE = 0.1
LEAST_CLICKS, ENOUGH_CLICKS = 5, 30  # in a slot: fewer tell nothing, and fewer tell little
LOWEST = -5.0  # of the logarithm of a slot's probability
LEAST_SURE = 0.15  # standard error of the variance of what is unseen, in squared logits
ATTENUATION = (16 * 3**0.5 / (15 * np.pi)) ** 2


@dataclass(frozen=True)
class Examination:
    """Probability of reaching each slot.

    Attributes:
        value: (SLOTS,), 1 at the first and never rising.
        error: (K,) standard errors of the logarithms of the log's K slots, or None.
        source: how it was had; status: estimated or assumed.
    """

    value: np.ndarray
    source: str
    status: str = "estimated"
    error: np.ndarray | None = None

    def at(self, log: Impressions) -> np.ndarray:
        """(rows,) of the log's slots."""
        probability: np.ndarray = self.value[np.minimum(log.slot, SLOTS - 1)]
        return probability

    def unsure(self, log: Impressions) -> float:
        """Standard error of the logarithm of the average row's probability; slots are compared with
        the same first one.
        """
        if self.error is None:
            return 0.0
        error = np.where(np.isfinite(self.error), self.error, 0.0)
        return float(error[np.minimum(log.slot, len(error) - 1)].mean())

    @property
    def provenance(self) -> tuple[str, str]:
        return self.status, self.source


def assumed_examination(why: str) -> Examination:
    return Examination(
        np.arange(1, SLOTS + 1) ** -EXPONENT, f"slot ** -{EXPONENT:g}; {why}", "assumed"
    )


def pair_codes(log: Impressions, n_items: int) -> np.ndarray:
    """(rows,) int64, the same for rows of one user and item."""
    codes: np.ndarray = np.unique(log.user * np.int64(n_items + 1) + log.item, return_inverse=True)[
        1
    ]
    return codes


def repeated(log: Impressions, n_items: int) -> float:
    """Share of the rows whose user has another row of the same item."""
    pair = pair_codes(log, n_items)
    return float((np.bincount(pair)[pair] > 1).mean())


def used_up(data: Dataset) -> bool:
    """Whether users were shown much of what the categories hold, hardly any of it twice: as the
    good items are seen first, what is left gets worse, which looks like weariness and like taste
    that moves.
    """
    log, category = data.log, data.catalogue.category.astype(np.int64)
    if repeated(log, data.catalogue.size) > REPEATED:
        return False
    held = np.bincount(category[1:], minlength=int(category.max()) + 1)
    pairs = np.unique(pair_codes(log, data.catalogue.size), return_index=True)[1]
    user, kind = log.user[pairs].astype(np.int64), category[log.item[pairs]]
    cell, seen = np.unique(user * len(held) + kind, return_counts=True)
    return bool(np.average(seen / held[cell % len(held)], weights=seen) > USED_UP)


def fit_examination(
    data: Dataset, score: np.ndarray, offset: np.ndarray | None = None
) -> Examination:
    """How likely each slot is looked at, by what users clicked of the same item in different slots.

    Where too few pairs stand in several slots, by the click rate of each slot over the rate that
    appeal explains, which falls too fast where the policy knows more than the fit.

    Args:
        score: (rows,) logit of a click of a rested user. offset: (rows,) what satiation takes from
            it, negative.
    """
    scale = 1.0 if offset is None else expit(score + offset) / expit(score)
    ratios = within_pairs(data.log, data.catalogue.size, np.broadcast_to(scale, len(data.log)))
    below = data.log.slot[(data.log.slot > 0) & (data.log.slot < SLOTS)]
    if ratios is None or not np.median(ratios[1][below]) < MOST_UNSURE:
        return _by_appeal(data, score)
    value, error = ratios
    identified = np.flatnonzero(np.isfinite(error))
    weight = 1 / np.maximum(error[identified], 1e-3) ** 2  # the first is 1 for sure
    falling = IsotonicRegression(increasing=False, out_of_bounds="clip").fit(
        identified, np.log(value[identified]), weight
    )
    curve = np.minimum(np.exp(falling.predict(np.arange(len(value)))), 1.0)
    curve[0] = 1.0
    at = np.minimum(np.arange(SLOTS), len(value) - 1)
    why = "clicks of the same user and item in different slots, conditional Poisson regression"
    return Examination(
        curve[at],
        f"{why}; s.e. of the logarithm up to {np.nanmax(error[np.isfinite(error)]):.2f}",
        error=error,
    )


def within_pairs(
    log: Impressions, n_items: int, scale: np.ndarray
) -> tuple[np.ndarray, np.ndarray] | None:
    """(K,) click probabilities by slot over that of the first slot, and (K,) standard errors of
    their logarithms.

    Poisson regression with an effect of every pair of user and item (Hausman, Hall and Griliches,
    Econometrica 1984), which needs the mean to be right and nothing else (Wooldridge, J.
    Econometrics 1999), with errors that allow for users as clusters. To harvest a log for items in
    several positions is from Agarwal et al. (WSDM 2019).

    Args:
        scale: (rows,) what the row's click probability is multiplied by for other reasons that
            change from page to page.

    Returns:
        None where pairs tell nothing.
    """
    pair = pair_codes(log, n_items)
    clicks = np.bincount(pair, log.clicked)
    low, high = np.full(len(clicks), SLOTS), np.full(len(clicks), -1)
    np.minimum.at(low, pair, log.slot)
    np.maximum.at(high, pair, log.slot)
    kept = (clicks > 0)[pair] & (low < high)[pair] & (log.slot < SLOTS)
    if not (kept & (log.slot == 0)).any():
        return None
    _, pair = np.unique(pair[kept], return_inverse=True)
    slot, user, y, m = (
        log.slot[kept].astype(np.int64),
        log.user[kept],
        log.clicked[kept].astype(float),
        scale[kept],
    )
    k, clicks = int(log.slot[log.slot < SLOTS].max()) + 1, np.bincount(pair, y)
    at = np.zeros(k)  # logarithms
    by_slot = np.bincount(slot, y, minlength=k)
    identified = np.flatnonzero(
        _linked(pair, slot, k) & (by_slot >= LEAST_CLICKS) & (np.arange(k) > 0)
    )
    for _ in range(50):
        raw = m * np.exp(at[slot])
        share = raw / np.bincount(pair, raw)[pair]
        residual = y - clicks[pair] * share
        part = sp.csr_matrix((share * np.sqrt(clicks[pair]), (pair, slot)), shape=(len(clicks), k))
        information = (
            np.diag(np.bincount(slot, clicks[pair] * share, minlength=k))
            - (part.T @ part).toarray()
        )
        inner = np.linalg.pinv(information[np.ix_(identified, identified)])
        step = np.clip(inner @ np.bincount(slot, residual, minlength=k)[identified], -1.0, 1.0)
        at[identified] = np.clip(at[identified] + step, LOWEST, 1.0)
        if np.abs(step).max(initial=0.0) < 1e-7:
            break
    users = sp.csr_matrix(
        (residual, (np.unique(user, return_inverse=True)[1], slot)), shape=(len(np.unique(user)), k)
    )
    spread = (users.T @ users).toarray()[np.ix_(identified, identified)]
    # The sandwich of few clicks is too small.
    variance = np.diag(inner @ spread @ inner)
    variance = np.where(
        by_slot[identified] < ENOUGH_CLICKS, np.maximum(variance, np.diag(inner)), variance
    )
    error = np.full(k, np.inf)
    error[identified] = np.where(
        (variance > 0) & (at[identified] > LOWEST), np.sqrt(np.maximum(variance, 0.0)), np.inf
    )
    error[0] = 0.0
    return np.exp(at), error


def _linked(pair: np.ndarray, slot: np.ndarray, k: int) -> np.ndarray:
    """(k,) bool: slots that pairs compare with the first, by way of others or at once."""
    graph = sp.coo_matrix(
        (np.ones(len(slot)), (slot, k + pair)), shape=(k + int(pair.max()) + 1,) * 2
    )
    part = sp.csgraph.connected_components(graph, directed=False)[1]
    linked: np.ndarray = part[:k] == part[0]
    return linked


def _by_appeal(data: Dataset, score: np.ndarray) -> Examination:
    """Click rate by slot over the rate that appeal explains; flat beyond the log."""
    slot = np.minimum(data.log.slot.astype(np.int64), SLOTS - 1)
    first = slot == 0
    slopes = logistic(data.log.clicked[first], {"score": score[first]}, "")
    if "score" not in slopes:
        return assumed_examination("clicks of the first slot tell nothing")
    expected = expit(slopes[""].value + slopes["score"].value * score)
    shown = np.bincount(slot, expected)
    identified = np.flatnonzero(shown >= LEAST_CLICKS)
    if not len(identified) or identified[0] != 0:
        return assumed_examination("clicks of the first slot tell nothing")
    clicked = np.bincount(slot, data.log.clicked, minlength=len(shown))
    ratio = np.minimum.accumulate(np.clip(clicked[identified] / shown[identified], 0.01, None))
    ratio = np.interp(np.arange(len(shown)), identified, np.minimum(ratio / ratio[0], 1.0))
    why = (
        "click rate by slot over the rate that appeal explains; too few pairs of user and item"
        " stand in two slots"
    )
    return Examination(np.concatenate([ratio, np.full(SLOTS - len(ratio), ratio[-1])]), why)


def unseen_variance(
    log: Impressions, n_items: int, logits: np.ndarray, seen: np.ndarray
) -> tuple[float, float] | None:
    """Variance of what makes a user click an item and the logits do not know, in squared logits,
    and its standard error.

    What is left of the answers to the same pair on different pages goes together by as much: a
    moment estimate, the slope of the logistic curve flattened by the root of 1 + c^2 v (Zeger,
    Liang and Albert, Biometrics 1988). Users are clusters.

    Args:
        logits: (rows,) of a click, by what has not seen the answers to the pair. seen: (rows,)
            probability of a look.

    Returns:
        None where too few rows share a pair.
    """
    p = expit(logits)
    residual, weight = log.clicked - seen * p, seen * p * (1 - p)
    pair = pair_codes(log, n_items)
    together = np.bincount(pair, residual) ** 2 - np.bincount(pair, residual**2)
    most = np.bincount(pair, weight) ** 2 - np.bincount(pair, weight**2)
    if most.sum() <= 0:
        return None
    v = float(together.sum() / most.sum())
    user = np.zeros(len(most), np.int64)
    user[pair] = log.user
    off = np.bincount(user, together - v * most)
    error = float(np.sqrt((off**2).sum()) / most.sum())
    flat = max(1 - ATTENUATION * v, 0.2)
    return (max(v / flat, 0.0), error / flat**2) if error < LEAST_SURE else None
