"""What a user had on its mind at each row of a log: satiation and repeats, replayed from the exposures in order."""

import numpy as np
import pandas as pd
from scipy.optimize import minimize_scalar
from scipy.special import expit

from policies.log import Dataset, Impressions
from simulator.behaviour import logistic
from simulator.users import RECENT, Number

HALF_LIVES = 0.5, 48.0  # hours, between which the half-life is looked for
MOST_ROWS = 300_000  # that it is looked for on
MOST_HABITS = 10_000_000  # users times categories
NUDGE = 0.1  # of the log of the half-life, for its derivative


def examined(log: Impressions, reach: np.ndarray, click_rate: float) -> np.ndarray:
    """(rows,) probability that each row was looked at, given the clicks of its page.

    A user looks at a page from the top and stops somewhere: whatever stands above a click was seen, and the longer a page
    goes on without one, the less likely it was read to its end.

    Args:
        reach: probability of reaching each slot. click_rate: of what was looked at.
    """
    order = np.lexsort((log.slot, log.time, log.user))
    user, time = log.user[order], log.time[order]
    at = reach[np.minimum(log.slot[order], len(reach) - 1)]
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
    weight = np.where(below >= 0, stop * (1 - click_rate) ** np.maximum(below, 0), 0.0)
    total = np.bincount(page, weight, minlength=len(first))
    before = np.cumsum(weight) - weight
    after = total[page] - (before - before[first][page])
    total = total + np.where(last_click < 0, 1 - at[first], 0.0)
    found = np.empty(n)
    found[order] = np.where(below <= 0, 1.0, after / np.maximum(total[page], 1e-12))
    return np.clip(found, 0.0, 1.0)


def satiation(log: Impressions, category: np.ndarray, weight: np.ndarray, half_life_h: float) -> np.ndarray:
    """(rows,) expected examined exposures to the row's category on earlier pages, halving every `half_life_h`.

    Args:
        weight: (rows,) probability that each row was looked at.
    """
    scale = half_life_h * 3600
    kind = category[log.item].astype(np.int64)
    # One line per user, category and page; a stretch longer than 500 half-lives starts afresh (float64 would overflow).
    since = log.time - log.time.min()
    stretch = np.floor(since / (500 * scale)).astype(np.int64)
    frame = pd.DataFrame({"user": log.user, "kind": kind, "stretch": stretch, "time": since, "weight": weight})
    pages = frame.groupby(["user", "kind", "stretch", "time"], sort=True)["weight"].sum().reset_index()
    local = pages["time"] - pages["stretch"] * 500 * scale
    grown = pages["weight"] * np.exp2(local / scale)
    total = grown.groupby([pages["user"], pages["kind"], pages["stretch"]]).cumsum() - grown
    pages["satiation"] = total * np.exp2(-local / scale)
    found = frame.merge(pages, on=["user", "kind", "stretch", "time"], how="left", suffixes=("", "_page"))
    return np.where(kind > 0, found["satiation"].to_numpy(), 0.0)


def repeats(log: Impressions, recent: int) -> np.ndarray:
    """(rows,) how often the item was among the `recent` items shown before its page."""
    order = np.lexsort((log.slot, log.page, log.time, log.user))
    frame = pd.DataFrame({"user": log.user[order], "item": log.item[order]})
    place = frame.groupby("user").cumcount()
    before = place.groupby([frame["user"], frame["item"]]).shift()
    found = np.zeros(len(log))
    found[order] = ((place - before) <= recent).to_numpy(float)
    return found


def shown_of(data: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """(U, C) float32 share of each category among what the log shows each user, and (rows,) of it; 0 without a category."""
    category = data.catalogue.category[data.log.item].astype(np.int64)
    n = int(data.catalogue.category.max()) + 1
    count = np.bincount(data.log.user * np.int64(n) + category, minlength=data.n_users * n).reshape(data.n_users, n)
    share = (count / np.maximum(count.sum(axis=1, keepdims=True), 1)).astype(np.float32)
    share[:, 0] = 0
    return share, share[data.log.user, category].astype(float)


def tiredness(
    data: Dataset, score: np.ndarray, reach: np.ndarray, habits: bool
) -> tuple[dict[str, Number], dict[str, np.ndarray], np.ndarray | None]:
    """The half-life of satiation, and columns of what takes from the logit, negative: past exposures and repeats.

    Past exposures to a category say two things: that a user has had enough of it, and that the log's policy shows it to this
    user often, because it is liked. A second column, `exposed`, tells the policy's liking from the user's weariness: the share
    of the category among what the user was shown (after Mundlak, Econometrica 1978; not the mean of the past exposures
    themselves, which are more where a user clicked and stayed).

    A third column is how the first one changes with the log of the half-life, times its slope: its own slope is by how much
    the half-life is off, and with it the slopes know that the half-life is an estimate.

    Args:
        score: (rows,) logit of a click of a rested user. habits: whether `exposed` is wanted.

    Returns:
        Numbers, columns, and (U, C) what `exposed` is taken from, or None.
    """
    log, category = data.log, data.catalogue.category
    if "slots" in data.has:
        weight = examined(log, reach, float(expit(score).mean()))
    else:
        weight = reach[np.minimum(log.slot, len(reach) - 1)]
    columns = {"repeat_fatigue": -repeats(log, RECENT)}
    table = None
    if habits and data.n_users * (int(category.max()) + 1) <= MOST_HABITS:
        table, columns["exposed"] = shown_of(data)
    log_hours, slopes = _half_life(data, {"score": score, **columns}, weight)
    if "satiation" not in slopes:
        return {}, columns, table
    past, more, less = (satiation(log, category, weight, float(np.exp(log_hours + d))) for d in (0.0, NUDGE, -NUDGE))
    columns["satiation"] = -past
    if slopes["satiation"] > 0:
        columns["satiation_half_life"] = -slopes["satiation"] * (more - less) / (2 * NUDGE)
    number = Number(float(np.exp(log_hours)), "estimated", "maximum likelihood")
    return {"satiation_half_life_h": number}, columns, table


def _half_life(data: Dataset, known: dict[str, np.ndarray], weight: np.ndarray) -> tuple[float, dict[str, float]]:
    """Log hours by maximum likelihood beside other columns (rows,), and all slopes there; none where the log does not tell."""
    log, category = data.log, data.catalogue.category
    users = np.unique(log.user)
    some = np.isin(log.user, users[: max(1, round(len(users) * min(1.0, MOST_ROWS / len(log))))])
    part, weighed = log.rows(some), weight[some]
    first = part.slot == 0 if "slots" in data.has else np.ones(len(part), bool)
    beside = {name: column[some][first] for name, column in known.items()}
    y = part.clicked[first]

    def fitted(log_hours: float) -> tuple[float, dict[str, float]]:
        columns = {**beside, "satiation": -satiation(part, category, weighed, float(np.exp(log_hours)))[first]}
        found = logistic(y, columns, "")
        if "satiation" not in found:
            return np.inf, {}
        x = found[""].value + sum(found[name].value * columns[name] for name in found if name)
        likelihood = np.where(y, np.log(expit(x)), np.log(expit(-x))).sum()
        return -float(likelihood), {name: number.value for name, number in found.items()}

    bounds = tuple(np.log(HALF_LIVES))
    best = minimize_scalar(lambda at: fitted(at)[0], bounds=bounds, method="bounded", options={"xatol": 0.02})
    return float(best.x), fitted(best.x)[1]
