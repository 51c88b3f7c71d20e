"""The simulated users as environments of Gymnasium (extra `[gym]`), for agents that learn slates.

    import gymnasium, simulator.gym
    env = gymnasium.make("gptrec/Feed-v0", users="users")      # a folder of simulator.fit
    envs = simulator.gym.SlateVectorEnv("users", user_ids=range(1000))

An episode is one visit: it ends when the user leaves (terminated) or after `max_pages` (truncated).
The next one is the same user's next visit, with what he remembers and tires of; `reset(seed=...)`
begins all lives anew. What an agent sees is what a policy sees, and never the truth.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from policies.common.errors import InputError
from policies.draws import Draws, key_of
from simulator.built_in.world import BuiltInParameters, true_users
from simulator.engine.histories import Histories
from simulator.users.choice_model import ChoiceModel
from simulator.users.state import Feedback
from simulator.users.storage import load_users

try:
    import gymnasium
    from gymnasium import spaces
    from gymnasium.vector import AutoresetMode, VectorEnv
    from gymnasium.vector.utils import batch_space
except ImportError:
    raise InputError(
        "simulator.gym needs Gymnasium: pip install -e '.[gym]', or pip install gymnasium"
    ) from None

LENGTH = 50  # items of the past that an agent sees
Observation = dict[str, np.ndarray]
Reward = Callable[[Feedback], np.ndarray]


def clicks(feedback: Feedback) -> np.ndarray:
    """(B,) clicks of a page: the usual reward."""
    return np.asarray(feedback.clicked.sum(axis=1), np.float64)


def users_of(given: "ChoiceModel | str | Path") -> ChoiceModel:
    """Users as they are, from a folder of `simulator.fit`, or, for `world:`, the built-in ones."""
    if isinstance(given, ChoiceModel):
        return given
    if str(given) == "world:":
        return true_users(BuiltInParameters())[0]
    return load_users(Path(given))


class SlateVectorEnv(VectorEnv[Observation, np.ndarray, np.ndarray]):
    """Many users at once; user i of it is what `SlateEnv` of that user is, draw for draw.

    A slate is K of `Discrete(N)`: action a is item a + 1. What is repeated on a page, was shown
    within the last `repeat_after` impressions or is not available is replaced by the next item that
    is free; `info["replaced"]` (B,) counts it and `info["shown"]` (B, K) holds the items shown.
    Who is done gets the next visit in the same step; its last page is `info["final_obs"]`.

    Args:
        users: fitted ones, their folder, or `world:`.
        user_ids: who takes part; None = everybody.
        slate_size: K. max_pages: of a visit.
        repeat_after: impressions before an item may be shown again.
        available: (N + 1,) bool; None = all items.
        reward: of a page's feedback (B, K) to (B,).

    Raises:
        InputError: a user or a size that cannot be.
    """

    metadata = {"render_modes": [], "autoreset_mode": AutoresetMode.SAME_STEP}  # noqa: RUF012

    def __init__(
        self,
        users: ChoiceModel | str | Path = "world:",
        user_ids: Sequence[int] | np.ndarray | None = None,
        slate_size: int = 6,
        max_pages: int = 50,
        repeat_after: int = 50,
        available: np.ndarray | None = None,
        reward: Reward = clicks,
    ):
        model = users_of(users)
        self._ids = np.arange(model.n_users) if user_ids is None else np.asarray(user_ids)
        if not (
            self._ids.ndim == 1
            and self._ids.dtype.kind in "iu"
            and len(self._ids)
            and ((self._ids >= 0) & (self._ids < model.n_users)).all()
        ):
            raise InputError(
                f"user_ids: wanted a list of whole numbers from 0 to {model.n_users - 1}"
            )
        if repeat_after < 0:
            raise InputError(f"repeat_after={repeat_after}: wanted at least 0")
        self._model, self._reward = model.of_users(self._ids), reward
        self._k, self._pages_at_most, self._repeat_after = slate_size, max_pages, repeat_after
        n = model.n_items
        self._shelf = np.arange(n + 1) > 0
        if available is not None:
            if np.shape(available) != self._shelf.shape or np.asarray(available).dtype != bool:
                raise InputError(f"available: wanted {n + 1} booleans, the first of padding")
            self._shelf &= available
        if not 1 <= slate_size <= int(self._shelf.sum()) - repeat_after:
            raise InputError(
                f"slate_size={slate_size} with repeat_after={repeat_after} needs"
                f" {slate_size + repeat_after} items; there are {int(self._shelf.sum())}"
            )
        if max_pages < 1:
            raise InputError(f"max_pages={max_pages}: wanted at least 1")
        self.num_envs = len(self._ids)
        self.single_action_space = spaces.MultiDiscrete(np.full(slate_size, n))
        self.single_observation_space = spaces.Dict(
            {
                "items": spaces.Box(0, n, (LENGTH,), np.int32),
                "feedback": spaces.Box(0, 1, (LENGTH,), np.float32),
                "ages": spaces.Box(0, np.inf, (LENGTH,), np.float32),
                "page": spaces.Discrete(max_pages + 1),
            }
        )
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self._key, self._begun = 0, False
        self._session, self._page = np.zeros(0, np.int32), np.zeros(0, np.int16)
        self._now = np.zeros(0)
        self._state = self._model.start(0, 0.0)
        self._histories = Histories.of(0, LENGTH, 0, repeat_after)

    # -- the two calls -----------------------------------------------------------------------------

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Without a seed the next visit of everybody who is in the middle of one (the first one of
        all where nobody was here yet); with one all lives begin anew, and the same ones for the
        same seed.
        """
        if isinstance(seed, list):
            raise InputError("one seed for all: users differ by their ids")
        super().reset(seed=seed)
        if seed is not None or not self._begun:
            self._begin(seed if seed is not None else int(self.np_random.integers(2**31)))
        else:
            self._come_back(np.flatnonzero(self._page > 0))
        return self._seen(), {}

    def step(
        self, actions: np.ndarray
    ) -> tuple[Observation, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """One page for everybody."""
        everybody = np.arange(self.num_envs)
        items, replaced = self._slates(self._checked(actions) + 1)
        draws = Draws(self._key, self._ids, self._session, self._page)
        feedback = self._model.respond(self._state, everybody, items, self._page, self._now, draws)
        self._histories.record(
            everybody, items, feedback.clicked, 1, self._now, self._session, self._page
        )
        self._now = self._now + feedback.seconds
        self._page = self._page + np.int16(1)
        left = ~feedback.stays
        cut = ~left & (self._page >= self._pages_at_most)
        info: dict[str, Any] = {"shown": items, "clicked": feedback.clicked, "replaced": replaced}
        done = np.flatnonzero(left | cut)
        if len(done):
            info |= {"final_obs": self._seen(), "_final_obs": left | cut}
            self._come_back(done)
        return self._seen(), self._reward(feedback), left, cut, info

    def _checked(self, actions: np.ndarray) -> np.ndarray:
        """(n, K) int64: what an agent may say.

        Raises:
            InputError: of another shape or kind, or no items; or nothing was reset yet.
        """
        if not self._begun:
            raise InputError("reset comes before step")
        given, n = np.asarray(actions), len(self._shelf) - 1
        shape = (self.num_envs, self._k)
        if given.shape != shape or given.dtype.kind not in "iu":
            raise InputError(
                f"an action of shape {given.shape} and type {given.dtype}: wanted {shape} whole"
                " numbers"
            )
        if not ((given >= 0) & (given < n)).all():
            raise InputError(f"an action beyond 0 to {n - 1}: item a is action a - 1")
        return given.astype(np.int64)

    # -- lives -------------------------------------------------------------------------------------

    def _begin(self, seed: int) -> None:
        """Everybody's first visit."""
        n = self.num_envs
        self._key, self._begun = key_of("gym", seed), True
        self._session, self._page = np.zeros(n, np.int32), np.zeros(n, np.int16)
        self._state = self._model.start(n, 0.0)
        self._histories = Histories.of(n, LENGTH, 0, self._repeat_after)
        draws = Draws(key_of(self._key, "first"), self._ids, self._session)
        self._now = self._model.first_visit(np.arange(n), 0.0, draws)

    def _come_back(self, who: np.ndarray) -> None:
        """The next visit of these users. Who would never come again comes at once, since an agent
        has to be answered.
        """
        draws = Draws(self._key, self._ids[who], self._session[who], 0).derived("return")
        due = self._model.next_visit(self._state, who, self._now[who], draws)
        self._now[who] = np.where(np.isfinite(due), due, self._now[who] + 1.0)
        self._session[who] += 1
        self._page[who] = 0

    # -- what is seen and shown --------------------------------------------------------------------

    def _seen(self) -> Observation:
        everybody = np.arange(self.num_envs)
        items, feedback, _, ages, _ = self._histories.impressions.last(
            everybody, LENGTH, 1, self._session, self._now
        )
        page = self._page.astype(np.int64)
        return {"items": items, "feedback": feedback, "ages": ages, "page": page}

    def _slates(self, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(B, K) items that may be shown, and (B,) how many had to be replaced."""
        rows, n = np.arange(len(wanted)), len(self._shelf) - 1
        free = np.tile(self._shelf, (len(wanted), 1))
        free[rows[:, None], self._histories.seen] = False
        items, replaced = wanted.astype(np.int32), np.zeros(len(wanted), np.int64)
        for slot in range(wanted.shape[1]):
            taken = np.flatnonzero(~free[rows, items[:, slot]])
            if len(taken):
                after = (items[taken, slot, None] - 1 + np.arange(n)) % n + 1
                first = np.take_along_axis(free[taken], after, axis=1).argmax(axis=1)
                items[taken, slot] = after[np.arange(len(taken)), first]
                replaced[taken] += 1
            free[rows, items[:, slot]] = False
        return items, replaced


class SlateEnv(gymnasium.Env[Observation, np.ndarray]):
    """One user; the arguments are those of `SlateVectorEnv`.

    Args:
        user_id: who.
    """

    metadata = {"render_modes": []}  # noqa: RUF012

    def __init__(self, users: ChoiceModel | str | Path = "world:", user_id: int = 0, **more: Any):
        self._one = SlateVectorEnv(users, [user_id], **more)
        self.action_space = self._one.single_action_space
        self.observation_space = self._one.single_observation_space
        self.render_mode = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        super().reset(seed=seed)
        seen, info = self._one.reset(seed=seed)
        return _only(seen), info

    def step(self, action: np.ndarray) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        seen, reward, left, cut, info = self._one.step(np.asarray(action)[None, ...])
        seen = info.get("final_obs", seen)
        more = {name: info[name][0] for name in ("shown", "clicked", "replaced")}
        return _only(seen), float(reward[0]), bool(left[0]), bool(cut[0]), more


def _only(seen: Observation) -> Observation:
    return {name: array[0] for name, array in seen.items()}


gymnasium.register("gptrec/Feed-v0", entry_point="simulator.gym:SlateEnv")
