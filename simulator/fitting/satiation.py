"""Satiation and repeats of a user at each row of a log, computed from the exposures in order; and
whether the log identifies what they cost.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.optimize import minimize_scalar
from scipy.special import expit

from policies.log import Dataset, Impressions
from simulator.chains.crossed_effects import Curve
from simulator.fitting.examination import REPEATED, pair_codes, repeated
from simulator.fitting.sessions import logistic
from simulator.users.choice_model import Parameter
from simulator.users.state import RECENT

HALF_LIVES = 0.5, 48.0  # hours, between which the half-life is looked for
MOST_ROWS = 300_000  # that it is looked for on
MOST_HABITS = 10_000_000  # users times categories
STEPS = 17  # half-lives between these, between which satiation is interpolated
# Standard errors that tell a slope from none; more than 1.96 where the half-life was looked for
# (Davies, Biometrika 1987).
IDENTIFIED = {"satiation": 2.4, "repeat_fatigue": 1.96}
NOT_HAD = 1e12  # minus a log-likelihood where the regression cannot be had


def examined(log: Impressions, examination: np.ndarray, p: np.ndarray) -> np.ndarray:
    """(rows,) probability that each row was looked at, given the clicks of its page.

    A user looks at a page from the top and stops somewhere: whatever stands above a click was seen,
    and the longer a page goes on without one, the less likely it was read to its end.

    Args:
        examination: probability that each slot is looked at. p: (rows,) of a click, if looked at.
    """
    order = np.lexsort((log.slot, log.time, log.user))
    user, time = log.user[order], log.time[order]
    at = examination[np.minimum(log.slot[order], len(examination) - 1)]
    clicked = log.clicked[order]
    n = len(order)
    fresh = np.ones(n, bool)
    fresh[1:] = (user[1:] != user[:-1]) | (time[1:] != time[:-1])
    page = np.cumsum(fresh) - 1
    first = np.flatnonzero(fresh)
    place = np.arange(n) - first[page]
    last_click = np.full(len(first), -1)
    np.maximum.at(last_click, page[clicked], place[clicked])
    below = place - last_click[page]  # > 0: after the last click
    stop = at.copy()  # probability of stopping exactly here
    stop[:-1] -= np.where(fresh[1:], 0.0, at[1:])
    # Nothing was clicked since the last click, or since the top.
    silence = np.cumsum(np.log1p(-np.minimum(p[order], 1 - 1e-6)))
    since = np.where(
        last_click >= 0,
        silence[first + np.maximum(last_click, 0)],
        np.r_[0.0, silence[first[1:] - 1]],
    )
    weight = np.where(below >= 0, stop * np.exp(np.minimum(silence - since[page], 0.0)), 0.0)
    total = np.bincount(page, weight, minlength=len(first))
    before = np.cumsum(weight) - weight
    after = total[page] - (before - before[first][page])
    total = total + np.where(last_click < 0, 1 - at[first], 0.0)
    looked_at = np.empty(n)
    looked_at[order] = np.where(below <= 0, 1.0, after / np.maximum(total[page], 1e-12))
    return np.clip(looked_at, 0.0, 1.0)


class Exposures:
    """Pages of a log by user and category in order, prepared so that satiation can be had for many
    half-lives.
    """

    def __init__(self, log: Impressions, category: np.ndarray, weight: np.ndarray):
        """
        Args:
            weight: (rows,) probability that each row was looked at.
        """
        kind, since = category[log.item].astype(np.int64), log.time - log.time.min()
        order = np.lexsort((since, kind, log.user))
        user, kind, since = log.user[order], kind[order], since[order]
        fresh = np.ones(len(order), bool)  # of a user, category and page
        fresh[1:] = (user[1:] != user[:-1]) | (kind[1:] != kind[:-1]) | (since[1:] != since[:-1])
        line = np.cumsum(fresh) - 1
        self.weight = np.bincount(line, np.asarray(weight, float)[order])
        self.since, self.known = since[fresh], kind[fresh] > 0
        user, kind = user[fresh], kind[fresh]
        self.begins = np.ones(len(user), bool)  # of a user and category
        self.begins[1:] = (user[1:] != user[:-1]) | (kind[1:] != kind[:-1])
        self.line = np.empty(len(order), np.int64)
        self.line[order] = line

    def satiation(self, half_life_h: float) -> np.ndarray:
        """(rows,) expected examined exposures to the row's category on earlier pages, halving every
        `half_life_h`.
        """
        scale = half_life_h * 3600
        # A stretch longer than 500 half-lives starts afresh (float64 would overflow).
        stretch = np.floor(self.since / (500 * scale))
        begins = self.begins.copy()
        begins[1:] |= stretch[1:] != stretch[:-1]
        local = (self.since - stretch * 500 * scale) / scale
        grown = pd.Series(self.weight * np.exp2(local))
        total = (grown.groupby(np.cumsum(begins)).cumsum() - grown).to_numpy()
        exposures: np.ndarray = np.where(self.known, total * np.exp2(-local), 0.0)[self.line]
        return exposures

    def curve(self, start: float, sign: float = 1.0) -> Curve:
        """Satiation over the logarithm of the half-life in hours, between the bounds of
        `HALF_LIVES`.
        """
        grid = np.linspace(np.log(HALF_LIVES[0]), np.log(HALF_LIVES[1]), STEPS)
        columns = np.empty((STEPS, len(self.line)), np.float32)
        for k, at in enumerate(grid):
            columns[k] = sign * self.satiation(float(np.exp(at)))
        return Curve("satiation", grid, columns, start)


def satiation(
    log: Impressions, category: np.ndarray, weight: np.ndarray, half_life_h: float
) -> np.ndarray:
    """(rows,) as `Exposures.satiation`, for one half-life."""
    return Exposures(log, category, weight).satiation(half_life_h)


def repeats(log: Impressions, recent: int) -> np.ndarray:
    """(rows,) how often the item was among the `recent` items shown before its page."""
    order = np.lexsort((log.slot, log.page, log.time, log.user))
    frame = pd.DataFrame({"user": log.user[order], "item": log.item[order]})
    place = frame.groupby("user").cumcount()
    before = place.groupby([frame["user"], frame["item"]]).shift()
    counts = np.zeros(len(log))
    counts[order] = ((place - before) <= recent).to_numpy(float)
    return counts


def shown_of(data: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """(U, C) float32 share of each category among what the log shows each user, and (rows,) of it;
    0 without a category.
    """
    category = data.catalogue.category[data.log.item].astype(np.int64)
    n = int(data.catalogue.category.max()) + 1
    count = np.bincount(data.log.user * np.int64(n) + category, minlength=data.n_users * n).reshape(
        data.n_users, n
    )
    share = (count / np.maximum(count.sum(axis=1, keepdims=True), 1)).astype(np.float32)
    share[:, 0] = 0
    return share, share[data.log.user, category].astype(float)


@dataclass(frozen=True)
class SatiationFit:
    """What takes from the logit of a click, and how it is kept apart from what a policy shows.

    Attributes:
        columns: name -> (rows,): `repeat_fatigue`, `satiation` (negative), `exposed`.
        curve: of `satiation` over the logarithm of the half-life; None where the log does not tell.
        parameters: the half-life. offset: (rows,) logits taken, negative, and logits: (rows,) of a
            click, by a quick fit.
        habits: (U, C) what `exposed` is taken from, or None.
        unidentified: name -> slope of `satiation` or `repeat_fatigue` that is not above 0; the
            column is left out then.
    """

    columns: dict[str, np.ndarray]
    curve: Curve | None
    parameters: dict[str, Parameter]
    offset: np.ndarray
    logits: np.ndarray
    habits: np.ndarray | None
    unidentified: dict[str, Parameter]


def fit_satiation(
    data: Dataset, score: np.ndarray, examination: np.ndarray, habits: bool, logits: np.ndarray
) -> SatiationFit:
    """Columns of past exposures and repeats, and the half-life of satiation.

    Past exposures to a category say two things: that a user has had enough of it, and that the
    log's policy shows it to this user often, because it is liked. A second column, `exposed`, tells
    the policy's liking from the user's weariness: the share of the category among what the user was
    shown (after Mundlak, Econometrica 1978; not the mean of the past exposures themselves, which
    are more where a user clicked and stayed). And an item comes at a time when the items that the
    policy liked more have just been shown: where users see the same items again, `exposed_pair`,
    the mean of the past exposures over the rows of the user and the item, leaves to `satiation`
    what changes from one time to the next.

    Args:
        score: (rows,) logit of a click of a rested user. examination: (slots,) probability that
            each is looked at. habits: whether `exposed` is wanted. logits: (rows,) of a click, as
            far as they are known: who was read to its end follows from them.
    """
    log, category = data.log, data.catalogue.category
    at = examination[np.minimum(log.slot, len(examination) - 1)]
    weight = examined(log, examination, expit(logits)) if "slots" in data.has else at
    columns = {"repeat_fatigue": -repeats(log, RECENT)}
    table = None
    if habits and data.n_users * (int(category.max()) + 1) <= MOST_HABITS:
        table, columns["exposed"] = shown_of(data)
    pair = (
        pair_codes(log, data.catalogue.size)
        if repeated(log, data.catalogue.size) > REPEATED
        else None
    )
    log_hours, fitted = _half_life(data, {"score": score, **columns}, weight, pair)
    unidentified = {
        name: fitted[name]
        for name, least in IDENTIFIED.items()
        if name in fitted and not _identified(fitted[name], least)
    }
    if "repeat_fatigue" in unidentified:
        del columns["repeat_fatigue"]
    if "satiation" in unidentified or "satiation" not in fitted:
        return SatiationFit(columns, None, {}, np.zeros(len(log)), logits, table, unidentified)
    slopes = {name: number.value for name, number in fitted.items() if name not in unidentified}
    curve = Exposures(log, category, weight).curve(log_hours, -1.0)
    columns["satiation"] = curve.column(log_hours)
    if pair is not None:
        columns["exposed_pair"] = _centred_means(columns["satiation"], pair)
    offset = np.zeros(len(log)) + sum(
        slopes[name] * columns[name] for name in IDENTIFIED if name in slopes
    )
    known: dict[str, Any] = {"": 1.0, "score": score, **columns}
    logits = np.asarray(sum(slope * known[name] for name, slope in slopes.items()))
    number = Parameter(float(np.exp(log_hours)), "estimated", "drawn with the levels")
    return SatiationFit(
        columns, curve, {"satiation_half_life_h": number}, offset, logits, table, unidentified
    )


def _identified(slope: Parameter, least: float) -> bool:
    """Whether it is above 0 by so many standard errors."""
    return slope.error is not None and slope.value >= least * slope.error


def _centred_means(x: np.ndarray, group: np.ndarray) -> np.ndarray:
    """(rows,) means over groups, around 0."""
    means = np.bincount(group, x) / np.maximum(np.bincount(group), 1)
    centred: np.ndarray = means[group] - x.mean()
    return centred


def _half_life(
    data: Dataset, known: dict[str, np.ndarray], weight: np.ndarray, pair: np.ndarray | None
) -> tuple[float, dict[str, Parameter]]:
    """Log hours by maximum likelihood beside other columns (rows,), and all slopes there; none
    where the log does not tell.
    """
    log, category = data.log, data.catalogue.category
    users = np.unique(log.user)
    some = np.isin(log.user, users[: max(1, round(len(users) * min(1.0, MOST_ROWS / len(log))))])
    part, weighed = log.rows(some), weight[some]
    exposures = Exposures(part, category, weighed)
    first = part.slot == 0 if "slots" in data.has else np.ones(len(part), bool)
    beside = {name: column[some][first] for name, column in known.items()}
    y = part.clicked[first]

    def fitted(log_hours: float) -> tuple[float, dict[str, Parameter]]:
        past = -exposures.satiation(float(np.exp(log_hours)))
        columns = {**beside, "satiation": past[first]}
        if pair is not None:
            columns["exposed_pair"] = _centred_means(past, pair[some])[first]
        slopes = logistic(y, columns, "")
        if "satiation" not in slopes:
            return NOT_HAD, {}
        x = slopes[""].value + sum(slopes[name].value * columns[name] for name in slopes if name)
        likelihood = np.where(y, np.log(expit(x)), np.log(expit(-x))).sum()
        return -float(likelihood), slopes

    bounds = tuple(np.log(HALF_LIVES))
    best = minimize_scalar(
        lambda at: fitted(at)[0], bounds=bounds, method="bounded", options={"xatol": 0.02}
    )
    return float(best.x), fitted(best.x)[1]
