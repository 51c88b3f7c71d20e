"""Choices held out from a log without skips: do the users know them from other items?"""

from dataclasses import dataclass

import numpy as np

from policies.draws import generator
from policies.log import Dataset, Impressions
from simulator.fitting.choices.held_choices import COLUMNS, HeldChoices, conditional_logit
from simulator.fitting.choices.positive_only import Choices
from simulator.fitting.closeness import Chosen

RESAMPLES = 400


@dataclass(frozen=True)
class Foretold:
    """What came out, over choices held out beside random items that the user had not chosen.

    Attributes:
        choices: how many. auc, popularity: the chance that the choice ranks before such an item, by
            the users and by popularity alone. gain: their difference; each with its 95 % interval
            over users.
    """

    choices: int
    auc: tuple[float, float, float]
    popularity: tuple[float, float, float]
    gain: tuple[float, float, float]


def foretold(found: Choices, data: Dataset, late: Impressions, seed: int) -> Foretold:
    """
    Args:
        data: the log without the choices of `late`, one of each user.
    """
    both = Chosen.of(data, late)
    users = np.unique(late.user)
    held = np.flatnonzero(both.last & np.isin(both.user, users))
    columns = HeldChoices.at(data, both, held, seed).columns(found.space)
    popular = np.array([name in ("popularity", "recent") for name in COLUMNS])
    # Popularity alone has slopes of its own, and of these very choices: not at a disadvantage.
    alone = np.zeros(len(COLUMNS))
    alone[popular] = conditional_logit(columns[..., popular])[0]
    ours, plain = (_ranked(columns, slopes) for slopes in (found.slopes, alone))
    n, rng = len(columns), generator("choices held out", seed)
    picks = rng.integers(0, n, (RESAMPLES, n))

    def told(x: np.ndarray) -> tuple[float, float, float]:
        low, high = np.quantile(x[picks].mean(axis=1), [0.025, 0.975])
        return float(x.mean()), float(low), float(high)

    return Foretold(n, told(ours), told(plain), told(ours - plain))


def _ranked(columns: np.ndarray, slopes: np.ndarray) -> np.ndarray:
    """(n,) share of the alternatives that the choice ranks before; a tie counts half."""
    x = columns @ slopes
    there = np.isfinite(x[:, 1:])
    before = (x[:, :1] > x[:, 1:]) + 0.5 * (x[:, :1] == x[:, 1:])
    ranked: np.ndarray = (before * there).sum(axis=1) / np.maximum(there.sum(axis=1), 1)
    return ranked
