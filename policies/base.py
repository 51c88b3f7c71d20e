"""The contract between the engine and a policy. A stranger's policy needs this module alone.

Letters: B users in a batch, K slate size, L history length, N items. Item ids are 1..N, 0 is
padding.
"""

from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np

from policies.catalogue import Catalogue
from policies.draws import Draws
from policies.log import Impressions

PAD = 0


def bounded(default: Any, **bounds: float) -> Any:
    """A setting of a policy with the bounds that it must keep: `ge`, `gt`, `le`, `lt`."""
    return field(default=default, metadata={"bounds": bounds})


BY_LOG, BY_SELF, BY_OTHER = 0, 1, 2
# What may be wanted of users, and the column of a log that says whether it came.
OBJECTIVES = {"click": "clicked", "long_view": "long_view", "like": "liked"}
KINDS = tuple(OBJECTIVES.values())  # of answers that a policy may foretell


@dataclass(frozen=True, slots=True)
class Requests:
    """B users who ask for a page now. Histories are oldest first and left-padded with PAD."""

    users: np.ndarray  # (B,)    int32
    sessions: np.ndarray  # (B,) int32, so that a policy may keep what it computed for this session
    pages: np.ndarray  # (B,)    int16, page number within the session, from 0
    now: np.ndarray  # (B,)      float64 seconds since the start of the experiment
    items: np.ndarray  # (B, L)  int32: impressions or clicks, as the policy's `history_of` says
    feedback: np.ndarray  # (B, L) float32: 0 = shown and ignored, 1 = clicked
    said: np.ndarray  # (B, L)   int8, who showed it: 0 the log, 1 this policy, 2 another
    ages: np.ndarray  # (B, L)   float32 seconds before now
    # (B, L)  int16: the page of this session that showed it, -1 before this session
    turns: np.ndarray
    # (B, W) int32: seen a short while ago, may not be shown again yet; PAD where empty
    exclude: np.ndarray
    available: np.ndarray  # (N + 1,) bool, items that may be shown now; PAD is never available

    def __len__(self) -> int:
        return len(self.users)

    def rows(self, which: np.ndarray | slice) -> "Requests":
        """The requests of some of the users."""
        return Requests(
            users=self.users[which],
            sessions=self.sessions[which],
            pages=self.pages[which],
            now=self.now[which],
            items=self.items[which],
            feedback=self.feedback[which],
            said=self.said[which],
            ages=self.ages[which],
            turns=self.turns[which],
            exclude=self.exclude[which],
            available=self.available,
        )


@dataclass(frozen=True, slots=True)
class Slates:
    """One page per request."""

    items: np.ndarray  # (B, K) int32, best first, no repeats
    # (B, K) float32: probability of this item in this slot, where known
    propensity: np.ndarray | None = None


def plain_requests(
    contexts: np.ndarray,
    n_items: int,
    users: np.ndarray | None = None,
    exclude: np.ndarray | None = None,
) -> Requests:
    """Requests on page 0 of session 0 for users whose last clicks are `contexts` (B, L),
    left-padded, a day ago: nobody is tired of them.
    """
    b, length = contexts.shape
    return Requests(
        users=np.arange(b, dtype=np.int32) if users is None else users.astype(np.int32),
        sessions=np.zeros(b, np.int32),
        pages=np.zeros(b, np.int16),
        now=np.zeros(b),
        items=contexts.astype(np.int32),
        feedback=(contexts > 0).astype(np.float32),
        said=np.zeros((b, length), np.int8),
        ages=np.full((b, length), 86_400, np.float32),
        turns=np.full((b, length), -1, np.int16),
        exclude=np.zeros((b, 0), np.int32) if exclude is None else exclude,
        available=np.arange(n_items + 1) > 0,
    )


class Truth(Protocol):
    """What a simulation knows of its users and no live test can know."""

    def click_probability(self, users: np.ndarray, now: np.ndarray) -> np.ndarray:
        """(B, N + 1) float32 chance of a click on every item now, if it is looked at; 0 for PAD.

        Args:
            users: (B,) int32 ids, as in `Requests`. now: (B,) float64 s.
        """
        ...


@runtime_checkable
class NeedsTruth(Protocol):
    """A policy that asks for the truth by having this method, and is a reference for it.

    The engine hands the truth over whenever it has made the policy: for a new world, after
    retraining, after an interruption. A reference is neither contender nor control, serves no
    warm-up and logs for no off-policy estimate.
    """

    def see_truth(self, truth: Truth) -> None: ...


@runtime_checkable
class Foretells(Protocol):
    """A policy that says how likely answers are, by having this method: for offline evaluation."""

    def foretell(self, log: Impressions, catalogue: Catalogue) -> dict[str, np.ndarray]:
        """Kind of answer, of `KINDS` -> (n,) probabilities for the n rows of a log by user, all of
        them shown, each from what was known before its page.
        """
        ...


@runtime_checkable
class StatesChance(Protocol):
    """A policy that draws its slates by itself, and says how likely any other one was, by having
    this method: without it propensities are unknown once an arm explores.
    """

    def chance(self, requests: Requests, items: np.ndarray) -> np.ndarray:
        """(B, K) the probability of these items (B, K) in their slots."""
        ...


@runtime_checkable
class Policy(Protocol):
    """A recommender. Settings are dataclass fields; weights travel by `state`/`restore`, never by
    pickle.

    `fit` learns from a log, `update` from the rows that came since; both get their own generator.
    `recommend` must answer each user as if it were alone: random numbers come from `draws` and
    nothing else, and no argument is changed. The truth is handed to nobody but
    `NeedsTruth`.

    A class that needs little memory per user may say `wave: ClassVar[int] = 16_384`: so many users,
    in place of 2,048, are then served at once, which is faster and changes no result.

    A class whose fit uses no chance may say `deterministic: ClassVar[bool] = True`:
    `gptrec.evaluate` then fits it once for all seeds.
    """

    history_length: int
    history_of: Literal["impressions", "clicks"]

    def fit(self, log: Impressions, catalogue: Catalogue, rng: np.random.Generator) -> None: ...

    def update(self, log: Impressions, catalogue: Catalogue, rng: np.random.Generator) -> None: ...

    def recommend(self, requests: Requests, slate_size: int, draws: Draws) -> Slates: ...

    def state(self) -> dict[str, np.ndarray]: ...

    def restore(self, state: dict[str, np.ndarray]) -> None: ...
