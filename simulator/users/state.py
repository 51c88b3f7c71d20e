"""What users remember, how it decays, and how they respond: the state of a population, and what the
engine needs of users.
"""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from policies.draws import Draws

RECENT = 32  # items of which a user remembers having seen them
LAST = 5  # choices to which what is close appeals more
# what each of them counts beside the one after it: on Beauty the slopes of the five latest choices
# fall by half from one to the next (`benchmarks/choice_settings.py`)
FADES = 0.5


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
        chosen: (n, LAST) int32 items clicked last, the latest first, 0 where there are none yet;
            (n, 0) where nothing follows them.
    """

    satiation: np.ndarray
    drifted: np.ndarray
    refreshed: np.ndarray
    recent: np.ndarray
    seen: np.ndarray
    visit_shown: np.ndarray
    visit_clicked: np.ndarray
    chosen: np.ndarray

    def idle(self, users: np.ndarray, now: np.ndarray) -> np.ndarray:
        """(B,) float64 seconds since these users were last decayed."""
        return np.maximum(now - self.refreshed[users], 0.0)

    def satiation_at(self, users: np.ndarray, now: np.ndarray, half_life: float) -> np.ndarray:
        """(B, C) float32 satiation of these users at `now`; half_life [s]."""
        return self.satiation[users] * left_of(self.idle(users, now), half_life)[:, None]

    def drifted_at(self, users: np.ndarray, now: np.ndarray, half_life: float) -> np.ndarray:
        """(B, C) float32 drift of these users at `now`; half_life [s]."""
        return left_of(self.idle(users, now), half_life)[:, None] * self.drifted[users]


@dataclass(slots=True)
class OwnState:
    """What users of somebody else remember: arrays of n rows by their own names."""

    arrays: dict[str, np.ndarray]


State = UserState | OwnState
_OWN = "own."  # before the names of a stranger's arrays, in files


def arrays_of(state: State) -> dict[str, np.ndarray]:
    """For a file."""
    if isinstance(state, OwnState):
        return {_OWN + name: array for name, array in state.arrays.items()}
    return {name: getattr(state, name) for name in UserState.__slots__}


def state_of(arrays: dict[str, np.ndarray]) -> State:
    """From a file."""
    if arrays.keys() == set(UserState.__slots__):
        return UserState(**arrays)
    return OwnState({name.removeprefix(_OWN): array for name, array in arrays.items()})


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

    @staticmethod
    def of(
        clicked: np.ndarray, stays: np.ndarray, seconds: np.ndarray, **more: np.ndarray
    ) -> "Feedback":
        """From what users do; of the rest nothing happens, and the truth is unknown (NaN).

        Args:
            more: watched, long_view, liked, hated, probability, each (B, K).
        """
        shape = np.shape(clicked)
        plain: dict[str, np.ndarray] = {
            "watched": np.zeros(shape, np.float32),
            **{name: np.zeros(shape, bool) for name in ("long_view", "liked", "hated")},
            **{name: np.full(shape, np.nan, np.float32) for name in ("appeal", "probability")},
        }
        return Feedback(clicked=clicked, stays=stays, seconds=seconds, **{**plain, **more})


class Users(Protocol):
    """What the engine needs of users: place i of everything belongs to user i of a population."""

    @property
    def n_users(self) -> int: ...

    def start(self, n_users: int, now: float) -> State: ...

    def respond(
        self,
        state: Any,
        users: np.ndarray,
        items: np.ndarray,
        pages: np.ndarray,
        now: np.ndarray,
        draws: Draws,
    ) -> Feedback: ...

    def next_visit(
        self, state: Any, users: np.ndarray, since: np.ndarray, draws: Draws
    ) -> np.ndarray: ...

    def first_visit(self, users: np.ndarray, start: float, draws: Draws) -> np.ndarray: ...

    def click_probability(self, state: Any, users: np.ndarray, now: np.ndarray) -> np.ndarray: ...
