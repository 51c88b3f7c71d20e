"""Appeal from a log that holds only what was chosen: the next choice among all items.

Each user's last choice is held out and compared with items that the user had not chosen, by a
conditional logit (McFadden, 1974; uniformly drawn alternatives leave its coefficients what they
are, McFadden, 1978). Popularity tells of exposure and of appeal together, and nothing here takes
them apart: what policies showed often was chosen often. So only the strength of taste and of
closeness is read off the choices; how far the items' levels follow popularity is set.
"""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq
from scipy.special import expit, logit, logsumexp

from policies.draws import generator
from policies.log import Dataset
from simulator.fitting.choices.held_choices import (
    COLUMNS,
    FEWEST_CHOICES,
    HeldChoices,
    Space,
    conditional_logit,
    reliability,
)
from simulator.fitting.factors import Taste, full_taste
from simulator.users.choice_model import Parameter

# of levels in appeal by the logarithm of choices, as fitted on KuaiRand-Pure, where skips tell it
LEVEL_SLOPE = 0.26
LEVELS = 30  # that are tried


@dataclass(frozen=True)
class Choices:
    """What the next choice says of appeal.

    Attributes:
        slopes, covariance: of COLUMNS, in logits per unit.
        chosen: (n, columns) of the choices held out. others: (m, columns) of random pairs.
        popularity: (N + 1,) around 0 over the catalogue. space: in which taste and
            closeness are told. profile: of all choices, standardised. near: (N + 1, D),
            last_chosen: (U, LAST) as of `ChoiceModel`. reliability: share of the variance of
            closeness that another log would find again.
    """

    slopes: np.ndarray
    covariance: np.ndarray
    chosen: np.ndarray
    others: np.ndarray
    popularity: np.ndarray
    space: Space
    profile: Taste
    near: np.ndarray
    last_chosen: np.ndarray
    reliability: float

    def drawn(self, seed: int, k: int) -> np.ndarray:
        """Draw k of the slopes, none below 0; the first is the estimate."""
        z = generator("slopes of choices", seed, k).normal(size=len(self.slopes)) * (k > 0)
        root = np.linalg.cholesky(self.covariance + 1e-12 * np.eye(len(z)))
        drawn: np.ndarray = np.maximum(self.slopes + root @ z, 0.0)
        return drawn

    def errors(self) -> np.ndarray:
        errors: np.ndarray = np.sqrt(np.diag(self.covariance))
        return errors

    @property
    def steepest(self) -> float:
        """Slope of popularity in choices: of appeal and of exposure together."""
        return float(max(self.slopes[0] + self.slopes[1], 0.0))

    def shift(self, slopes: np.ndarray, level: float, random: float) -> float:
        """At which random pairs have this click rate once looked at.

        Args:
            slopes: of COLUMNS. level: the slope of popularity in appeal.
        """
        x = self.others @ (slopes * TASTES) + level * self.others[:, 0]
        return float(brentq(lambda s: expit(x + s).mean() - random, -40 - x.max(), 40 - x.min()))

    def level_by(self, slopes: np.ndarray, random: float, logged: float) -> float:
        """The least slope of popularity in appeal, between 0 and what choices say, at which the
        log's slates have this click rate once looked at, or come nearest to it.

        What was chosen stood on slates as often as it was chosen over its chance of it, so that the
        slates' rate is the harmonic mean of the chances of what was chosen.
        """
        rest, want = self.chosen @ (slopes * TASTES), float(logit(logged))

        def gap(level: float) -> float:
            x = rest + level * self.chosen[:, 0] + self.shift(slopes, level, random)
            return float(np.log(len(x)) - logsumexp(-x)) - want

        levels = np.linspace(0.0, self.steepest, LEVELS)  # the rate rises, and may fall again
        gaps = np.array([gap(level) for level in levels])
        crossed = np.flatnonzero(gaps[:-1] * gaps[1:] < 0)
        if not len(crossed):
            return float(levels[np.abs(gaps).argmin()])
        return float(brentq(gap, levels[crossed[0]], levels[crossed[0] + 1], xtol=1e-4))


TASTES = np.array([0.0, 0.0, 1.0, 1.0])


def fit_choices(data: Dataset, held: HeldChoices, space: Space, own: Taste, seed: int) -> Choices:
    """Slopes of popularity, taste and closeness by the choices that users made last.

    Args:
        own: profiles by all choices, with a standard deviation of 1 over random pairs.
    """
    rng, chosen = generator("random pairs", seed), held.chosen
    columns = held.columns(space)
    alternatives = columns[:, 1:].reshape(-1, len(COLUMNS))
    alternatives = alternatives[np.isfinite(alternatives[:, 0])]
    slopes, covariance = conditional_logit(columns)
    count = np.bincount(chosen.item, minlength=data.catalogue.size + 1).astype(float)
    popularity = np.log1p(count) - np.log1p(count)[1:].mean()
    popularity[0] = 0.0
    last_chosen = chosen.latest_of_all(data.n_users)
    fits = [None if s is None else full_taste(data, seed, s) for s in (space.coarse, space.fine)]
    assert fits[0] is not None
    near = space.near(fits[0], fits[1], last_chosen, seed)
    some = alternatives
    if len(held.held):
        some = alternatives[rng.integers(0, len(alternatives), 100_000)]
    return Choices(
        slopes,
        covariance,
        columns[:, 0],
        some,
        popularity,
        space,
        own,
        near,
        last_chosen,
        reliability(data, space, seed),
    )


def strengths(found: Choices, slopes: np.ndarray) -> dict[str, Parameter]:
    """Strength of taste and closeness as parameters."""
    n = len(found.chosen)
    why = f"conditional logit of {n} users' last choices among all items"
    if not n:
        none = f"no user has {FEWEST_CHOICES} choices"
        return {name: Parameter(0.0, "assumed", none) for name in ("profile_scale", "closeness")}
    errors = found.errors()
    return {
        name: Parameter(float(slopes[i]), "estimated", why, float(errors[i]))
        for i, name in ((2, "profile_scale"), (3, "closeness"))
    }
