"""Users of a log without skips choose again: as many items as each chose, at the same times, from
all that they have not chosen yet.

An item is drawn by softmax(level + taste + closeness to the last choices), as the next choices of
the log were fitted (`simulator/fitting/choices`). Its level is that of choices, exposure and all,
and not the one that clicks on slates follow.
"""

from dataclasses import replace

import numpy as np

from policies.draws import Draws, generator, key_of
from policies.log import Dataset, Impressions
from simulator.fitting.choices.held_choices import (
    FEWEST_CHOICES,
    first_times,
    parts_of_time,
    recent_of,
)
from simulator.fitting.choices.positive_only import Choices
from simulator.users.choice_model import ChoiceModel

SETTLED = 2000  # users by whom the levels are found
SCALINGS = 5
LATEST = 5  # choices of a user that are parts of their own, where the order alone is told
FEWEST_OF_PART = 50
RARE = 0.5  # choices that every item has besides


def split_last(data: Dataset) -> tuple[Dataset, Impressions]:
    """The log without the last choice of each user with three or more, and these choices; of items
    that a user chose again and again the first time alone.
    """
    log = data.log.by_user()
    log = log.rows(first_times(log.user, log.item))
    last = np.append(log.user[1:] != log.user[:-1], True)
    count = np.bincount(log.user, minlength=data.n_users)
    held = last & (count[log.user] >= FEWEST_CHOICES)
    return replace(data, log=log.rows(~held).sorted()), log.rows(held)


def _parts(log: Impressions, ordered: bool, edges: np.ndarray) -> np.ndarray:
    """(rows,) part of the time of rows that are grouped by user: by the edges or, of a log that
    tells the order alone, by how many choices of its user are still to come.
    """
    if not ordered:
        return np.searchsorted(edges, log.time)
    _, first, count = np.unique(log.user, return_index=True, return_counts=True)
    to_come = np.repeat(first + count, count) - 1 - np.arange(len(log))
    return np.minimum(to_come, len(edges))


def _offsets(choices: Choices, data: Dataset, edges: np.ndarray) -> np.ndarray:
    """(parts, N + 1) what is popular at a time beyond what is popular: of logs that tell times."""
    parts, n, log = len(edges) + 1, data.catalogue.size + 1, data.log
    slope = float(choices.slopes[1])
    if "order_only" in data.has or slope <= 0:
        return np.zeros((parts, n))
    every = np.broadcast_to(np.arange(n), (parts, n))
    return slope * recent_of(log.item, log.time, edges, every, np.arange(parts))


def chosen_again(
    model: ChoiceModel, choices: Choices, data: Dataset, late: Impressions, seed: int
) -> Impressions:
    """The rows of the log and of the choices held out, with what these users choose there; grouped
    by user.

    The levels of the items are such that each is chosen as often as in the log, and what is popular
    as much in each part of its time: the conditions that the maximum likelihood of a conditional
    logit with a level for each item and a slope for each part sets (McFadden, 1974), met by
    iterative scaling over a part of the users.
    """
    log = Impressions.concat([data.log, late]).by_user()
    ordered = "order_only" in data.has
    edges = np.zeros(LATEST) if ordered else parts_of_time(data.log.time)
    everyone, rng = np.unique(log.user), generator("levels of choices", seed)
    part = _parts(log, ordered, edges)
    few = np.isin(log.user, rng.permutation(everyone)[:SETTLED])
    count = np.bincount(log.item, minlength=data.catalogue.size + 1) + RARE
    wanted = count[1:] / count[1:].sum()
    popular = np.append(0.0, np.log(wanted))
    rows = np.bincount(part, minlength=len(edges) + 1)
    mean = np.bincount(part, popular[log.item], minlength=len(rows)) / np.maximum(rows, 1)
    levels = popular + _offsets(choices, data, edges)
    for _ in range(SCALINGS):
        expected = np.zeros(levels.shape)
        _choose(model, log.rows(few), part[few], levels, seed, expected)
        levels[:, 1:] += np.log(wanted / (expected[:, 1:].sum(axis=0) / expected.sum()))
        levels += _slopes(expected, mean, popular)[:, None] * (popular - wanted @ popular[1:])
    return replace(log, item=_choose(model, log, part, levels, seed, np.zeros((0, 0))))


def _slopes(expected: np.ndarray, mean: np.ndarray, popular: np.ndarray) -> np.ndarray:
    """(parts,) by how much popularity has to weigh more for its mean to be that of the log, beside
    the other parts (levels are common to all): a step of Newton.
    """
    total = np.maximum(expected.sum(axis=1), 1e-9)
    now = expected @ popular / total
    variance = expected @ popular**2 / total - now**2
    there = expected.sum(axis=1) > FEWEST_OF_PART
    step = np.where(there, (mean - now) / np.maximum(variance, 0.05), 0.0)
    slopes: np.ndarray = step - np.average(step, weights=total)
    return slopes


def _choose(
    model: ChoiceModel,
    log: Impressions,
    part: np.ndarray,
    levels: np.ndarray,
    seed: int,
    expected: np.ndarray,
) -> np.ndarray:
    """(rows,) items in place of those of a log that is grouped by user.

    Args:
        part: (rows,). levels: (parts, N + 1). expected: changed, as `choice_loops.choose` says.
    """
    from simulator.validation import choice_loops  # numba takes most of a second

    users, first = np.unique(log.user, return_index=True)
    assert model.item_near is not None
    return choice_loops.choose(
        users,
        np.append(first, len(log)),
        part,
        levels.astype(np.float32),
        model.user_taste,
        np.ascontiguousarray(model.item_taste.T),
        np.ascontiguousarray(model.item_near.T),
        np.float32(model["closeness"]),
        Draws(key_of("choices again", seed), users, users * 0).keys,
        expected,
    )
