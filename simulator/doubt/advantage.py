"""What makes the best slates better than random ones: how much of it is in the items, how much in
who the user is, and how much of either a log can tell.
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy.special import expit

from policies.draws import generator
from policies.log import Dataset
from simulator.engine.oracle import Oracle
from simulator.fitting.calibration import settled_rate, some_users
from simulator.fitting.posterior import OF_CHOICES, OF_FACTORS, RESIDUAL_WIDTH
from simulator.users.choice_model import ChoiceModel

MOST_PAIRS = 4_000_000  # of users and items that are looked at
MOST_USERS = 500
FEW_USERS = 50  # who are shown the best slates until they tire
PRIOR_ROWS = 20.0  # with which an item's rate in the log is drawn towards the mean


@dataclass(frozen=True)
class Known:
    """What slates get that are the best by what is known, of rested users.

    Attributes:
        click_rate: clicks per impression. rested: whether nobody is tired.
    """

    known: str
    click_rate: float
    rested: bool = True


def advantage(model: ChoiceModel, data: Dataset, k: int, seed: int) -> list[dict[str, Any]]:
    """Rows of `Known`, from nothing to all, each knowing more than the one before.

    Slates of `k` items, users alike, nobody tired; and last what the best slates get of users who
    have been shown nothing else for a day or two.
    """
    rng = generator("advantage", seed)
    n = max(20, min(MOST_USERS, model.n_users, MOST_PAIRS // model.n_items))
    users = rng.permutation(model.n_users)[:n]
    items = np.tile(np.arange(1, model.n_items + 1, dtype=np.int32), (len(users), 1))
    static = model.appeal(users, items)
    appeal = static.copy()
    if model.last_chosen is not None:
        model.come_closer(np.arange(len(users)), items, appeal, model.last_chosen[users])
    chance, weight = expit(appeal), model.examination[np.minimum(np.arange(k), 99)]
    level, close = static.mean(axis=0), None
    of_log, fitted = _as_the_log_tells(data), None
    if model.provenance.get("taste", ("", ""))[1] in (OF_FACTORS, OF_CHOICES):
        spare = slice(-RESIDUAL_WIDTH, None)  # of these users: what was drawn
        drawn = model.user_taste[users, spare] @ model.item_taste[1:, spare].T
        fitted = static - drawn
        close = appeal - drawn if model.last_chosen is not None else None
    found = [Known("nothing: uniformly random slates", float(chance.mean() * weight.mean()))]
    for known, score in (
        ("item levels, as the log tells them", of_log),
        ("item levels", level),
        ("and the taste that was fitted", fitted),
        ("and what is close to the last choices", close),
        ("and the taste that the log does not tell", appeal),
    ):
        if score is None:
            continue
        best = np.argsort(-np.broadcast_to(score, chance.shape), axis=1, kind="stable")[:, :k]
        best_chance = np.take_along_axis(chance, best, axis=1)
        rate = float((best_chance * weight[: best.shape[1]]).mean())
        found.append(Known(known, rate))
    tired = settled_rate(some_users(model, FEW_USERS), data, k, seed, Oracle())
    if tired is not None:
        found.append(Known("the same, of users who tire of them", tired, rested=False))
    return [asdict(row) for row in found]


def _as_the_log_tells(data: Dataset) -> np.ndarray:
    """(N,) click rates of the items, drawn towards the mean; where no skips are logged, clicks."""
    log, size = data.log, data.catalogue.size + 1
    clicks = np.bincount(log.item[log.clicked], minlength=size)[1:].astype(float)
    if "skips" not in data.has:
        return clicks
    rows = np.bincount(log.item, minlength=size)[1:]
    rates: np.ndarray = (clicks + PRIOR_ROWS * float(log.clicked.mean())) / (rows + PRIOR_ROWS)
    return rates
