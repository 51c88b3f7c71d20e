"""The users: what appeals to them, what they examine, click, watch and like, when they leave and
when they return.

Parameters only. What a user remembers (`UserState`) is separate, for twin worlds must not share it.
The model is a choice model with levels and a low-rank taste, and never a transformer: a simulator
must not be a contender in disguise.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from scipy.special import expit, ndtri

from policies.draws import Draws
from simulator.users.state import LAST, RECENT, Feedback, UserState

if TYPE_CHECKING:
    from simulator.users.page import Numbers
    from simulator.users.strangers import Strangers

DAY = 86_400.0
Dynamics = Literal["unexpected", "reinforced", "exposure"]


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter: `estimated` from the log with a standard error where there is one, or
    `assumed` from a source.
    """

    value: float
    status: Literal["estimated", "assumed"]
    source: str
    error: float | None = None


@dataclass(frozen=True)
class ChoiceModel:
    """Appeal = shift + user level + item level + taste, plus drift, minus satiation and fatigue; a
    logistic click once examined.

    Attributes:
        parameters: the scalars by name, each with its provenance; see docs/users.md.
        user_level, activity: (U,) logit units, and log factor on the gaps between visits.
        user_taste: (U, D), item_taste: (N + 1, D), item_level: (N + 1,) logit units.
        user_long_view, user_like, user_hate: (U,), item_long_view, item_like, item_hate: (N + 1,)
            logit units.
        category: (N + 1,) int16, duration: (N + 1,) float32 s.
        examination: (K_max,) probability of reaching each slot, 1 at the first and never rising.
        hours: (24,) visits by hour of the day, mean 1.
        hour_zero: hour of the day at time 0.
        provenance: (status, source) of the arrays by name.
        table: (U, N + 1) float16 of all pairs in place of the taste vectors, times `taste_scale`;
            None = vectors.
        user_category: (U, C) float32 logit units, a part of the taste by category; None = no such
            part.
        log_users: (U,) the users' numbers in the log, ascending; None = they are all of the log's.
        log_size: users of the log, where there are others.
        item_near: (N + 1, D) float32 vectors whose inner product says how close two items are; an
            item appeals more by `closeness` times its mean over what the user chose last, each
            choice weighing half of the one after it; None = no such part.
        last_chosen: (U, LAST) int32 what users chose last before the start, the latest first, 0
            where there is less.
        mixing: how well the chains of the fit mixed (`simulator.chains.mixing.Mixing`).
        dynamics: what moves the taste for a category, `drift` logits each: `unexpected` a click,
            less its probability, so that no policy moves it on average; `reinforced` a click, less
            the log's click rate for each item looked at; `exposure` each item looked at.
    """

    parameters: dict[str, Parameter]
    user_level: np.ndarray
    activity: np.ndarray
    user_taste: np.ndarray
    item_level: np.ndarray
    item_taste: np.ndarray
    user_long_view: np.ndarray
    item_long_view: np.ndarray
    user_like: np.ndarray
    item_like: np.ndarray
    user_hate: np.ndarray
    item_hate: np.ndarray
    category: np.ndarray
    duration: np.ndarray
    examination: np.ndarray
    hours: np.ndarray
    hour_zero: float
    provenance: dict[str, tuple[str, str]]
    table: np.ndarray | None = None
    user_category: np.ndarray | None = None
    log_users: np.ndarray | None = None
    log_size: int | None = None
    item_near: np.ndarray | None = None
    last_chosen: np.ndarray | None = None
    dynamics: Dynamics = "unexpected"
    mixing: dict[str, Any] | None = None

    def __getitem__(self, name: str) -> float:
        return self.parameters[name].value

    @property
    def drifts(self) -> bool:
        """Whether what happens on pages moves taste."""
        return "drift" in self.parameters and self["drift"] != 0

    @property
    def n_users(self) -> int:
        return len(self.user_level)

    @property
    def known(self) -> np.ndarray:
        """(U,) the users' numbers in the log."""
        return np.arange(self.n_users) if self.log_users is None else self.log_users

    @property
    def first_unknown(self) -> int:
        """The least number that no user of the log has."""
        return self.n_users if self.log_size is None else self.log_size

    @property
    def n_items(self) -> int:
        return len(self.item_level) - 1

    def of_users(self, rows: np.ndarray) -> "ChoiceModel":
        """The model of these users alone, in this order."""
        return replace(
            self,
            user_level=self.user_level[rows],
            activity=self.activity[rows],
            user_taste=self.user_taste[rows],
            user_long_view=self.user_long_view[rows],
            user_like=self.user_like[rows],
            user_hate=self.user_hate[rows],
            table=None if self.table is None else self.table[rows],
            user_category=None if self.user_category is None else self.user_category[rows],
            last_chosen=None if self.last_chosen is None else self.last_chosen[rows],
            log_users=None,
            log_size=None,
        )

    def with_parameters(self, **parameters: Parameter) -> "ChoiceModel":
        return replace(self, parameters={**self.parameters, **parameters})

    # -- a page ------------------------------------------------------------------------------------

    def start(self, n_users: int, now: float) -> UserState:
        """Rested users, who remember what they chose last."""
        chosen = np.zeros((n_users, 0), np.int32)
        if self.item_near is not None:
            chosen = np.zeros((n_users, LAST), np.int32)
            if self.last_chosen is not None:
                chosen[:] = self.last_chosen[:n_users]
        return UserState(
            satiation=np.zeros((n_users, int(self.category.max()) + 1), np.float32),
            drifted=np.zeros(
                (n_users, int(self.category.max()) + 1 if self.drifts else 0), np.float32
            ),
            refreshed=np.full(n_users, now),
            recent=np.zeros((n_users, RECENT), np.int32),
            seen=np.zeros(n_users, np.int64),
            visit_shown=np.zeros(n_users, np.float32),
            visit_clicked=np.zeros(n_users, np.float32),
            chosen=chosen,
        )

    def appeal(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        """(B, K) float32 logit of a click for rested users who have chosen nothing yet, of items
        (B, K).
        """
        if self.table is None:
            from simulator.users import page

            taste = page.taste(users, items, self.user_taste, self.item_taste)
        else:
            taste = self.table[users[:, None], items].astype(np.float32) * np.float32(
                self["taste_scale"]
            )
        if self.user_category is not None:
            taste += np.take_along_axis(
                self.user_category[users], self.category[items].astype(np.int64), axis=1
            )
        taste += self.item_level[items]
        taste += (self.user_level[users] + np.float32(self["shift"]))[:, None]
        return taste

    def tastes(self) -> np.ndarray:
        """(U, N) float32 taste of all pairs in logits, levels left out. For small populations."""
        if self.table is not None:
            return self.table[:, 1:].astype(np.float32) * np.float32(self["taste_scale"])
        tastes: np.ndarray = self.user_taste @ self.item_taste[1:].T
        return (
            tastes
            if self.user_category is None
            else tastes + self.user_category[:, self.category[1:]]
        )

    def respond(
        self,
        state: UserState,
        users: np.ndarray,
        items: np.ndarray,
        pages: np.ndarray,
        now: np.ndarray,
        draws: Draws,
    ) -> Feedback:
        """How users (B,), by their place in the population, answer slates `items` (B, K). Changes
        `state`.

        Satiation and fatigue act from the next page on; within a page each item is judged on its
        own, so that the best page is the one sorted by click probability.
        """
        from simulator.users import page  # when users are asked: numba takes most of a second

        users, items = np.asarray(users, np.int64), np.ascontiguousarray(items, np.int32)
        k = items.shape[1]
        appeal = self.appeal(users, items)
        self.come_closer(users, items, appeal, state.chosen)
        probability, clicked, how, draw, liked, hated, stays = page.respond(
            users,
            items,
            np.asarray(pages, np.int64),
            np.asarray(now, np.float64),
            draws.keys,
            appeal,
            self.examination[np.minimum(np.arange(k), len(self.examination) - 1)],
            self.category,
            self.item_long_view,
            self.item_like,
            self.item_hate,
            self.user_long_view,
            self.user_like,
            self.user_hate,
            state.satiation,
            state.drifted,
            state.refreshed,
            state.recent,
            state.seen,
            state.visit_shown,
            state.visit_clicked,
            self._numbers,
        )
        if self.item_near is not None:
            page.choose(users, items, clicked, state.chosen)
        watched = np.zeros(items.shape, np.float32)
        at = np.flatnonzero(how)
        watched.ravel()[at] = self._seconds(
            self._watch[how.ravel()[at]].T, items.ravel()[at], ndtri(draw.ravel()[at])
        )
        seconds = watched.sum(axis=1, dtype=np.float64) + k * self["seconds_per_item"]
        return Feedback(
            clicked, watched, how == page.LONG, liked, hated, stays, seconds, appeal, probability
        )

    def come_closer(
        self, users: np.ndarray, items: np.ndarray, appeal: np.ndarray, chosen: np.ndarray
    ) -> None:
        """Adds to `appeal` (B, K) what the items have of being close to what users chose last.

        Args:
            chosen: (n, LAST) of all users, as in `UserState`.
        """
        from simulator.users import page

        if self.item_near is not None:
            by = np.float32(self["closeness"])
            page.come_closer(users, items, appeal, self.item_near, chosen, by)

    @cached_property
    def _numbers(self) -> "Numbers":
        """The scalars as the loops of a page want them."""
        from policies.loops.draws import number_of
        from simulator.users.page import Numbers

        numbers: dict[str, Any] = {}
        moves = {
            "unexpected": (1.0, 0.0, -1.0),
            "reinforced": (1.0, -self["satisfaction_reference"], 0.0),
            "exposure": (0.0, 1.0, 0.0),
        }[self.dynamics]
        for name, move in zip(("click", "look", "chance"), moves, strict=True):
            numbers[f"drift_by_{name}"] = np.float32(move)
        for name in ("long_view", "like", "hate"):
            numbers[name] = np.float32(self[name])
            numbers[f"{name}_appeal"] = np.float32(self[f"{name}_appeal"])
        for name in ("like", "hate"):
            numbers[f"{name}_alone"] = np.float32(self.optional(f"{name}_without_click", np.nan))
        for name in ("examine", "click", "long view", "like", "hate", "plays", "watch", "leave"):
            numbers[f"of_{name.replace(' ', '_')}"] = number_of(name)
        return Numbers(
            satiation=np.float32(self["satiation"]),
            half_life=3600 * float(self["satiation_half_life_h"]),
            repeat_fatigue=np.float32(self["repeat_fatigue"]),
            drift=np.float32(self["drift"] if self.drifts else 0),
            drift_half_life=DAY * float(self["drift_half_life_d"]) if self.drifts else DAY,
            leave=float(self["leave"]),
            leave_first_page=float(self["leave_first_page"]),
            leave_satisfaction=float(self["leave_satisfaction"]),
            satisfaction_reference=float(self["satisfaction_reference"]),
            plays=float(self.optional("watch_none_share", 0.0)),
            **numbers,
        )

    @cached_property
    def _watch(self) -> np.ndarray:
        """(4, 3): mean, slope and spread of the logarithm of the watch time, by how an item was
        watched (the codes of `simulator.users.page`).
        """
        kinds = ("watch_long", "watch_short", "watch_none")
        return np.array(
            [
                [self.optional(kind + part, 0.0) for part in ("", "_duration", "_sd")]
                for kind in ("", *kinds)
            ]
        )

    def optional(self, name: str, default: float) -> float:
        """A parameter that not every model has."""
        return self[name] if name in self.parameters else default

    def seconds(self, kind: str, items: np.ndarray, noise: np.ndarray) -> np.ndarray:
        """(n,) watch time, log-normal around a line in the logarithm of the length; an hour at
        most.
        """
        line = np.array([self[kind + part] for part in ("", "_duration", "_sd")])
        return self._seconds(line, items, noise)

    def _seconds(self, line: np.ndarray, items: np.ndarray, noise: np.ndarray) -> np.ndarray:
        mean, slope, spread = line
        at = mean + slope * np.log(self.duration[items]) + spread * noise
        watched: np.ndarray = np.exp(np.minimum(at, np.log(3600.0)))
        return watched

    def feedback_logit(
        self, name: str, users: np.ndarray, items: np.ndarray, appeal: np.ndarray
    ) -> np.ndarray:
        """(n,) logit of a long view, a like or negative feedback, given a click of this appeal."""
        levels = getattr(self, f"user_{name}")[users] + getattr(self, f"item_{name}")[items]
        logit: np.ndarray = self[name] + self[f"{name}_appeal"] * appeal + levels
        return logit

    def moved(self, state: UserState, users: np.ndarray, now: np.ndarray) -> np.ndarray:
        """(B, C) float32 logits that taste for each category has moved by what users did."""
        drifted = state.drifted_at(users, now, DAY * self["drift_half_life_d"])
        logits: np.ndarray = np.float32(self["drift"]) * drifted
        return logits

    def click_probability(self, state: UserState, users: np.ndarray, now: np.ndarray) -> np.ndarray:
        """(B, N + 1) float32 true click probability once examined, of every item now; 0 for
        padding.

        Computed in blocks of a fixed shape, so that a user's numbers do not depend on who else is
        asked about.
        """
        block = 64
        out = np.zeros((len(users), self.n_items + 1), np.float32)
        fatigue = state.satiation_at(users, now, 3600 * self["satiation_half_life_h"])
        fatigue *= np.float32(self["satiation"])
        if self.drifts:
            fatigue -= self.moved(state, users, now)
        fatigue[:, 0] = 0
        for begin in range(0, len(users), block):
            here = users[begin : begin + block]
            padded = np.resize(here, block)
            if self.table is None:
                x = self.user_taste[padded] @ self.item_taste.T
            else:
                x = self.table[padded].astype(np.float32) * np.float32(self["taste_scale"])
            x = (
                x[: len(here)]
                + self.item_level
                + (self.user_level[here] + np.float32(self["shift"]))[:, None]
            )
            if self.user_category is not None:
                x += self.user_category[here][:, self.category]
            if self.item_near is not None:
                everything = np.arange(self.n_items + 1, dtype=np.int32)
                every = np.broadcast_to(everything, (len(here), len(everything)))
                self.come_closer(here, np.ascontiguousarray(every), x, state.chosen)
            x -= fatigue[begin : begin + block][:, self.category]
            row = np.repeat(np.arange(len(here)), RECENT)
            np.subtract.at(x, (row, state.recent[here].ravel()), np.float32(self["repeat_fatigue"]))
            out[begin : begin + block] = expit(x)
        out[:, 0] = 0
        return out

    # -- coming back -------------------------------------------------------------------------------

    def busy_time(self, t: np.ndarray) -> np.ndarray:
        """Clock seconds -> operational seconds, which pass faster in busy hours."""
        shifted = np.asarray(t, np.float64) + self.hour_zero * 3600
        day = np.floor(shifted / DAY)
        edges = np.arange(25) * 3600.0
        return day * DAY + np.interp(shifted - day * DAY, edges, self._busy_edges())

    def clock_time(self, busy: np.ndarray) -> np.ndarray:
        """The inverse of `busy_time`."""
        day = np.floor(np.asarray(busy, np.float64) / DAY)
        edges = np.arange(25) * 3600.0
        return (
            day * DAY
            + np.interp(busy - day * DAY, self._busy_edges(), edges)
            - self.hour_zero * 3600
        )

    def _busy_edges(self) -> np.ndarray:
        return np.concatenate([[0.0], np.cumsum(self.hours)]) * (DAY / self.hours.sum())

    def gap(self, users: np.ndarray, satisfaction: np.ndarray, draws: Draws) -> np.ndarray:
        """(B,) operational seconds between visits: a mixture of two log-normals, sooner for the
        satisfied.
        """
        u = draws.uniform("gap", 2)
        short = u[:, 0] < self["gap_short_share"]
        mean = np.where(short, self["gap_short_mean"], self["gap_long_mean"])
        spread = np.where(short, self["gap_short_sd"], self["gap_long_sd"])
        log_hours = mean + spread * ndtri(u[:, 1]) + self.activity[users]
        log_hours += self["return_satisfaction"] * (satisfaction - self["satisfaction_reference"])
        return 3600.0 * np.exp(log_hours)

    def next_visit(
        self, state: UserState, users: np.ndarray, since: np.ndarray, draws: Draws
    ) -> np.ndarray:
        """(B,) seconds, absolute: when these users come back after a visit that ended at `since`;
        inf if never.
        """
        shown = np.maximum(state.visit_shown[users], 1)
        gap = self.gap(users, state.visit_clicked[users] / shown, draws)
        due = self.clock_time(self.busy_time(since) + gap)
        gone = draws.uniform("churn", 1)[:, 0] < self["churn"]
        return np.where(gone, np.inf, np.maximum(due, since + 1.0))

    def first_visit(self, users: np.ndarray, start: float, draws: Draws) -> np.ndarray:
        """(B,) seconds: the rest of the gap that a user is in at `start`, at a random place of it.

        A gap that covers a given moment is a long one: draw among several gaps in proportion to
        their length.
        """
        n = 8
        reference = np.full(len(users), self["satisfaction_reference"])
        keys = [draws.derived(f"first visit {i}") for i in range(n)]
        gaps = np.stack([self.gap(users, reference, key) for key in keys], axis=1)
        u = draws.uniform("first visit", 2)
        pick = (np.cumsum(gaps, axis=1) < u[:, :1] * gaps.sum(axis=1, keepdims=True)).sum(axis=1)
        rest = gaps[np.arange(len(users)), np.minimum(pick, n - 1)] * u[:, 1]
        return self.clock_time(self.busy_time(np.full(len(users), start)) + rest)


OF_MATRIX = "the log's own answer to every pair"


def is_matrix(model: "ChoiceModel | Strangers") -> bool:
    """Whether users answer from a matrix that holds every pair."""
    return model.provenance.get("taste", ("", ""))[1] == OF_MATRIX
