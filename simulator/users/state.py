"""What users remember, how it decays, and how they respond: the state of a population, and what the
engine needs of users.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from policies.draws import Draws

RECENT = 32  # items of which a user remembers having seen them
LAST = 5  # choices to which what is close appeals more


def left_of(idle: np.ndarray, half_life: float) -> np.ndarray:
    """(n,) float32 share that is left after `idle` seconds: a half of it after each half-life [s].

    `Exposures` in simulator/fitting/satiation.py estimates the half-life of the same decay.
    """
    return np.exp2(-idle / half_life).astype(np.float32)


@dataclass(slots=True)
class UserState:
    """What n users remember and are satiated with; struct of arrays.

    Attributes:
        satiation: (n, C) float32, decayed exposures per category.
        drifted: (n, C) float32, decayed sum per category of what moves taste: of clicks beyond the
            expected ones, where nothing else is set (`ChoiceModel.dynamics`).
        refreshed: (n,) float64 s, when these were last decayed.
        recent: (n, RECENT) int32 items examined last, a ring.
        seen: (n,) int64 how many items were examined so far.
        visit_shown, visit_clicked: (n,) float32, of the current or last visit.
        chosen: (n, LAST) int32 items clicked last, a ring, 0 where there are none yet; (n, 0)
            where nothing follows them. choices: (n,) int64 how many there were so far.
    """

    satiation: np.ndarray
    drifted: np.ndarray
    refreshed: np.ndarray
    recent: np.ndarray
    seen: np.ndarray
    visit_shown: np.ndarray
    visit_clicked: np.ndarray
    chosen: np.ndarray
    choices: np.ndarray

    def idle(self, users: np.ndarray, now: np.ndarray) -> np.ndarray:
        """(B,) float64 seconds since these users were last decayed."""
        return np.maximum(now - self.refreshed[users], 0.0)

    def satiation_at(self, users: np.ndarray, now: np.ndarray, half_life: float) -> np.ndarray:
        """(B, C) float32 satiation of these users at `now`; half_life [s]."""
        return self.satiation[users] * left_of(self.idle(users, now), half_life)[:, None]

    def drifted_at(self, users: np.ndarray, now: np.ndarray, half_life: float) -> np.ndarray:
        """(B, C) float32 drift of these users at `now`; half_life [s]."""
        return left_of(self.idle(users, now), half_life)[:, None] * self.drifted[users]


@dataclass(frozen=True, slots=True)
class Feedback:
    """Answers to a page of (B, K) slates; `stays` and `seconds` are (B,)."""

    clicked: np.ndarray  # bool
    watched: np.ndarray  # float32 s
    long_view: np.ndarray  # bool
    liked: np.ndarray  # bool
    hated: np.ndarray  # bool
    stays: np.ndarray  # bool: asks for another page
    seconds: np.ndarray  # float64 s spent on this page
    appeal: np.ndarray  # float32 logit of a click once examined; truth, never for policies
    probability: np.ndarray  # float32 of a click; truth, never for policies


class UserModel(Protocol):
    """What the engine needs of users."""

    def start(self, n_users: int, now: float) -> UserState: ...

    def respond(
        self,
        state: UserState,
        users: np.ndarray,
        items: np.ndarray,
        pages: np.ndarray,
        now: np.ndarray,
        draws: Draws,
    ) -> Feedback: ...

    def next_visit(
        self, state: UserState, users: np.ndarray, since: np.ndarray, draws: Draws
    ) -> np.ndarray: ...

    def first_visit(self, users: np.ndarray, start: float, draws: Draws) -> np.ndarray: ...

    def click_probability(
        self, state: UserState, users: np.ndarray, now: np.ndarray
    ) -> np.ndarray: ...
