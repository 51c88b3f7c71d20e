"""Policies ranked by the users, and by the log itself where it says how likely each row was shown.

Inverse propensity tells from held-out rows what a policy would have got, without any model of
users. A simulator that is used to choose between policies should put them in the same order. Where
both are there, the best that can be said is the users' figure, corrected by what inverse propensity
tells of their errors on rows that they were not fitted to (doubly robust).
"""

from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from scipy.special import expit

from analysis.statistics.propensity import Estimate, off_policy
from policies.draws import generator
from policies.log import Dataset, Impressions
from simulator.fitting.calibration import calibrate_shift
from simulator.fitting.posterior import Posterior
from simulator.fitting.satiation import MOST_HABITS, shown_of
from simulator.validation.held_out import Past, appeal_after, chosen_until, fatigue_of, seen

CONTEXTS = 20_000  # held-out rows in whose place a policy's items are simulated
MODELS = 10  # draws of the users
LEAST_EFFECTIVE = 100.0  # rows, or the log tells nothing of a policy


@dataclass(frozen=True)
class Ranked:
    """Clicks per impression of a policy, with 95 % intervals over users.

    Attributes:
        snips: by the log's propensities. effective_n: rows by their weights (Kish). users: as
            simulated. corrected: the users by the log.
    """

    name: str
    snips: Estimate
    effective_n: float
    users: float
    corrected: Estimate


@dataclass(frozen=True)
class PolicyRanking:
    """What came out.

    Attributes:
        pairs: how many pairs of policies the log tells apart, and how many of them the users put in
            the other order.
    """

    rows: list[Ranked]
    pairs: tuple[int, int]


class Target:
    """A policy that draws a category by user (U, C), or one row for all (1, C), and an item by
    category.
    """

    def __init__(self, by_user: np.ndarray, within: np.ndarray, category: np.ndarray):
        self.by_user, self.within, self.category = by_user, within, category

    def probability(self, user: np.ndarray, item: np.ndarray) -> np.ndarray:
        row = user if len(self.by_user) > 1 else 0
        probability: np.ndarray = self.by_user[row, self.category[item]] * self.within[item]
        return probability

    def draw(self, user: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """(rows,) items."""
        if len(self.by_user) == 1:
            kind = rng.choice(self.by_user.shape[1], len(user), p=self.by_user[0])
        else:
            cumulated = np.cumsum(self.by_user[user], axis=1)
            kind = (cumulated < rng.random((len(user), 1)) * cumulated[:, -1:]).sum(axis=1)
        item = np.zeros(len(user), np.int32)
        for c in np.unique(kind):
            items = np.flatnonzero((self.category == c) & (self.within > 0))
            here = kind == c
            item[here] = rng.choice(
                items, int(here.sum()), p=self.within[items] / self.within[items].sum()
            )
        return item


def targets(early: Dataset) -> dict[str, Target]:
    """Policies that are known by their probabilities, made from the early part."""
    log, n_items = early.log, early.catalogue.size
    category = early.catalogue.category.astype(np.int64)
    shown, clicked = (
        np.bincount(log.item, w, minlength=n_items + 1) for w in (np.ones(len(log)), log.clicked)
    )
    rate = (clicked + 5 * log.clicked.mean()) / (shown + 5)
    weights = {"uniform": np.ones(n_items + 1), "popular": clicked + 1, "high click rate": rate**4}
    by_name = {name: _everybody(w, category) for name, w in weights.items()}
    if category.max() > 1 and early.n_users * (int(category.max()) + 1) <= MOST_HABITS:
        share, everyone = shown_of(early)[0].astype(float), _everybody(clicked + 1, category)
        # As if each user had been shown two items like everybody's besides.
        rows = np.bincount(log.user, minlength=early.n_users)[:, None]
        own = share * rows + 2 * everyone.by_user
        by_name["popular in own categories"] = Target(
            own / own.sum(axis=1, keepdims=True), everyone.within, everyone.category
        )
    return by_name


def _everybody(weight: np.ndarray, category: np.ndarray) -> Target:
    w = np.asarray(weight, float).copy()
    w[0] = 0.0
    total = np.bincount(category, w)
    within = np.divide(w, total[category], out=np.zeros_like(w), where=total[category] > 0)
    return Target((total / total.sum())[None], within, category)


def policy_ranking(
    fitted: Posterior, early: Dataset, late: Impressions, slate_size: int, seed: int
) -> PolicyRanking | None:
    """Held-out click rates of a few policies, by both ways; None where the log does not say how
    likely its rows were.
    """
    p = late.propensity
    if not (np.isfinite(p) & (p > 0) & (p <= 1)).all():
        return None
    if early.calibration["random_click_rate"][0] >= fitted.plain.examination[:slate_size].mean():
        return PolicyRanking([], (0, 0))  # a level that these slates cannot have
    rng = generator("policy ranking", seed)
    context = late.rows(np.sort(rng.permutation(len(late))[:CONTEXTS]))
    level = calibrate_shift(fitted.model(0), early, slate_size, seed)
    selection = level.parameters["selection"].value
    chosen = chosen_until(early, late, context)
    models = [fitted.model(k) for k in range(min(MODELS, len(fitted)))]

    def answers(item: np.ndarray) -> np.ndarray:
        """(contexts,) click probability of these items there, the mean over draws of the users."""
        past = _past(fitted, early, late, context, item)
        total = np.zeros(len(item))
        for model in models:
            x = appeal_after(model, context.user, item, chosen) - selection
            x -= fatigue_of(model, past)
            total += seen(model, early, context, slate_size) * expit(x)
        return total / len(models)

    # the same function for what was shown: what the policy knew of it is for the weights to find
    predicted, rows = answers(context.item), []
    for name, target in targets(early).items():
        estimates = off_policy(
            late.clicked, p, target.probability(late.user, late.item), cluster=late.user
        )
        if estimates.effective_n < LEAST_EFFECTIVE:
            continue
        would = answers(target.draw(context.user, rng))
        both = off_policy(
            context.clicked,
            context.propensity,
            target.probability(context.user, context.item),
            predicted=predicted,
            predicted_target=would,
            cluster=context.user,
        )
        assert both.dr is not None
        rows.append(
            Ranked(name, estimates.snips, estimates.effective_n, float(would.mean()), both.dr)
        )
    return PolicyRanking(rows, _pairs(rows))


def _past(
    fitted: Posterior, early: Dataset, late: Impressions, context: Impressions, item: np.ndarray
) -> Past | None:
    """As `held_out.past_of`, of another item in the same place."""
    if "sessions" not in early.has:
        return None
    other = Impressions.of(user=context.user, item=item, time=context.time, slot=context.slot)
    both, model = Impressions.concat([early.log, late, other]), fitted.plain
    weight = model.examination[np.minimum(both.slot, len(model.examination) - 1)]
    weight[-len(item) :] = 0.0  # asked for, never shown
    past = Past.of(both, model, weight, slice(len(both) - len(item), None))
    return replace(past, repeats=np.zeros(len(item)))


def _pairs(rows: list[Ranked]) -> tuple[int, int]:
    """Pairs whose intervals do not touch, and those of them that are simulated in the
    other order.
    """
    decided = wrong = 0
    for one, other in combinations(rows, 2):
        if one.snips.low > other.snips.high or other.snips.low > one.snips.high:
            decided += 1
            wrong += (one.snips.value > other.snips.value) != (one.users > other.users)
    return decided, wrong
