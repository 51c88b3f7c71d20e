"""The experiment in time: a SimPy clock, waves of pages, retraining. Arrays are the matter, SimPy
is the clock.

Three processes run in a world, or in the part of it that some of its users are: `serving` lets
every bucket's due users have their visits, `deploying` swaps new models in, `shelves` changes what
may be shown. None runs per user. Randomness is keyed by user, session and page, so neither how much
time a batch covers nor who else is served here changes a result.
"""

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any

import numpy as np
import simpy

from policies.base import NeedsTruth, Policy, Requests, Slates
from policies.calls import slates
from policies.catalogue import Catalogue
from policies.draws import Draws, key_of
from simulator.engine.histories import Histories
from simulator.engine.recorder import WARMUP, WOULD, WOULD_CLICK, Sink
from simulator.settings import Experiment
from simulator.users.choice_model import DAY
from simulator.users.state import Feedback, OwnState, State, Users, arrays_of

WAVE = 2048  # users served together, unless a policy says otherwise; never changes results


@dataclass
class Arm:
    """A policy at work in a world. `code` is its place among the buckets, -1 for the warm-up."""

    name: str
    code: int
    policy: Policy
    round: int = 0
    repeats: bool = False

    @property
    def bucket(self) -> str:
        return WARMUP if self.code < 0 else self.name


@dataclass(frozen=True, slots=True)
class Wave:
    """Users who ask for a page together, all on the same page of their visit; (B,) each.

    Attributes:
        users: places in the world's arrays. session, pages: numbers. now: s. draws: of these users.
    """

    users: np.ndarray
    session: np.ndarray
    pages: np.ndarray
    now: np.ndarray
    draws: Draws


@dataclass(frozen=True)
class Deployment:
    """Models that take over at a time: `policies` by arm, and the number of their round."""

    at: float
    round: int
    policies: dict[str, Policy]


Tell = Callable[[float, int], None]  # the time up to which users are served, the pages so far


@dataclass
class World:
    """A population, its state and histories, who serves it, and where its rows go.

    Attributes:
        ids: (n,) user ids; place i of every other array belongs to user ids[i].
        bucket: (n,) int16 code of the arm that serves each user, -1 for nobody.
        due: (n,) float64 s, next visit. sessions: (n,) int32, visits so far.
        tell: called on the way, or None.
    """

    name: str
    experiment: Experiment
    model: Users
    catalogue: Catalogue
    ids: np.ndarray
    bucket: np.ndarray
    arms: list[Arm]
    state: State
    histories: Histories
    due: np.ndarray
    sessions: np.ndarray
    sink: Sink
    tell: Tell | None = None
    pages_served: int = 0

    def __post_init__(self) -> None:
        self._key = key_of("world", self.experiment.seed)
        self._order = np.argsort(self.ids)
        self._available = self.catalogue.available(0.0)
        self._no_exclude = np.zeros((len(self.ids), 0), np.int32)
        self.hand_truth()

    def hand_truth(self) -> None:
        """Gives the truth to the policies that ask for it: whoever made them anew calls this."""
        for arm in self.arms:
            if isinstance(arm.policy, NeedsTruth):
                arm.policy.see_truth(self)

    def click_probability(self, users: np.ndarray, now: np.ndarray) -> np.ndarray:
        """(B, N + 1) float32 true chance of a click of these user ids (`policies.base.Truth`)."""
        return self.model.click_probability(self.state, self.place_of(users), now)

    def place_of(self, users: np.ndarray) -> np.ndarray:
        """(B,) where these user ids stand in the arrays."""
        return self._order[np.searchsorted(self.ids, users, sorter=self._order)]

    # -- time --------------------------------------------------------------------------------------

    def run(self, start: float, end: float, deployment: Deployment | None = None) -> None:
        """From `start` to `end`, between two moments at which nobody is in the middle of a visit.

        Args:
            deployment: of new models on the way; None = the arms keep those that they have.
        """
        if end <= start:  # no warm-up, say
            return
        self._available = self.catalogue.available(np.floor(start / DAY) * DAY)
        env = simpy.Environment(initial_time=start)
        if self.catalogue.changes:
            env.process(self._shelves(env))
        env.process(self._serving(env, end))
        if deployment is not None:
            env.process(self._deploying(env, deployment))
        env.run(until=end)
        self._serve_all(end)
        self.sink.flush()

    def _serving(self, env: simpy.Environment, end: float) -> Generator[Any, Any, None]:
        while env.now < end:
            yield env.timeout(min(self.experiment.batch_hours * 3600, end - env.now))
            self._serve_all(env.now)

    def _shelves(self, env: simpy.Environment) -> Generator[Any, Any, None]:
        """At midnight new items appear and others are withdrawn; a visit keeps the items that it
        began with.
        """
        while True:
            yield env.timeout((np.floor(env.now / DAY) + 1) * DAY - env.now)
            self._serve_all(env.now)
            self._available = self.catalogue.available(env.now)

    def _deploying(
        self, env: simpy.Environment, deployment: Deployment
    ) -> Generator[Any, Any, None]:
        """Serve up to the deployment, swap the models in."""
        yield env.timeout(max(deployment.at - env.now, 0.0))
        self._serve_all(env.now)
        for arm in self.arms:
            arm.policy, arm.round = deployment.policies[arm.name], deployment.round
        self.hand_truth()

    # -- serving -----------------------------------------------------------------------------------

    def _serve_all(self, until: float) -> None:
        for arm in self.arms:
            self._serve(arm, until)
        if self.tell is not None:
            self.tell(until, self.pages_served)

    def _serve(self, arm: Arm, until: float) -> None:
        """All visits of this bucket that begin before `until`; a user may visit more than once."""
        members = (
            np.flatnonzero(self.bucket == arm.code) if arm.code >= 0 else np.arange(len(self.ids))
        )
        while True:
            due = members[self.due[members] < until]
            if not len(due):
                return
            wave = self._wave(arm)
            for begin in range(0, len(due), wave):
                self._visits(arm, due[begin : begin + wave])
                if self.tell is not None:
                    self.tell(until, self.pages_served)

    def _wave(self, arm: Arm) -> int:
        """How many users are served together: where other arms are asked too, no more than they
        take.
        """
        asked = self.arms if self.sink.counterfactual else [arm]
        return min(int(getattr(other.policy, "wave", WAVE)) for other in asked)

    def _visits(self, arm: Arm, who: np.ndarray) -> None:
        """One visit of each of these users, page by page until the last one has left."""
        now = self.due[who].copy()
        session = self.sessions[who]
        live = np.arange(len(who))
        for page in range(self.experiment.max_pages):
            users = who[live]
            pages = np.full(len(users), page, np.int16)
            draws = Draws(self._key, self.ids[users], session[live], pages)
            feedback = self._page(arm, Wave(users, session[live], pages, now[live], draws))
            now[live] += feedback.seconds
            live = live[feedback.stays]
            if not len(live):
                break
        draws = Draws(self._key, self.ids[who], session, 0).derived("return")
        self.due[who] = self.model.next_visit(self.state, who, now, draws)
        self.sessions[who] += 1

    def _page(self, arm: Arm, wave: Wave) -> Feedback:
        """One page for these users: slates, answers, histories, rows."""
        shown = self._slates(arm, wave, wave.draws.derived("policy"))
        others = self._counterfactual(arm, wave, shown)
        users, items = wave.users, shown.items
        feedback = self.model.respond(self.state, users, items, wave.pages, wave.now, wave.draws)
        self.histories.record(
            users, items, feedback.clicked, arm.code + 1, wave.now, wave.session, wave.pages
        )
        self._record(arm, wave, shown, feedback, others)
        self.pages_served += len(users)
        return feedback

    def _counterfactual(self, arm: Arm, wave: Wave, shown: Slates) -> dict[str, np.ndarray]:
        """Columns (B, K) of the slates that each contender would have shown in this arm's place,
        and of the true chance of a click on them.

        By draws that are not this arm's; {} unless the sink wants them and this arm is a logger: it
        shows at random, with probabilities that it states, and without the truth.
        """
        if not self.sink.counterfactual or shown.propensity is None:
            return {}
        # A policy that shows one slate for sure says nothing of any other.
        if isinstance(arm.policy, NeedsTruth) or not (shown.propensity < 1).any():
            return {}
        columns = {}
        for other in self.arms:
            if other is arm or other.name not in self.experiment.contenders:
                continue
            would = self._slates(other, wave, wave.draws.derived(f"would {other.name}"))
            columns[WOULD + other.name] = would.items
            chance = self._chances(wave, would.items)
            if chance is not None:
                columns[WOULD_CLICK + other.name] = chance
        return columns

    def _chances(self, wave: Wave, items: np.ndarray) -> np.ndarray | None:
        """(B, K) float32 the true chance of a click had these slates been shown; the users forget
        them at once. None for users of somebody else, who may not be asked twice for nothing.
        """
        if isinstance(self.state, OwnState):
            return None
        users = wave.users
        before = {name: array[users] for name, array in arrays_of(self.state).items()}
        answers = self.model.respond(self.state, users, items, wave.pages, wave.now, wave.draws)
        for name, array in arrays_of(self.state).items():
            array[users] = before[name]
        return answers.probability

    def _slates(self, arm: Arm, wave: Wave, draws: Draws) -> Slates:
        """What an arm shows on this page, checked."""
        requests, size = self._requests(arm, wave), self.experiment.slate_size
        return slates(arm.name, arm.policy, requests, size, draws)

    def _requests(self, arm: Arm, wave: Wave) -> Requests:
        """What the policy is told: nothing of the users' state, and no array that is needed after
        it.
        """
        users, length = wave.users, arm.policy.history_length
        clicks_alone = arm.policy.history_of == "clicks"
        ring = self.histories.clicks if clicks_alone else self.histories.impressions
        items, feedback, said, ages, turns = ring.last(
            users, length, arm.code + 1, wave.session, wave.now
        )
        return Requests(
            users=self.ids[users],
            sessions=wave.session.copy(),
            pages=wave.pages.copy(),
            now=wave.now.copy(),
            items=items,
            feedback=feedback,
            said=said,
            ages=ages,
            turns=turns,
            exclude=self._no_exclude[users] if arm.repeats else self.histories.seen[users],
            available=self._available.copy(),
        )

    def _record(
        self,
        arm: Arm,
        wave: Wave,
        shown: Slates,
        feedback: Feedback,
        others: dict[str, np.ndarray],
    ) -> None:
        """The page, handed to the sink: arrays of users (B,) and of places (B, K)."""
        stated = shown.propensity
        page = {
            "time": wave.now,
            "user": self.ids[wave.users],
            "session": wave.session,
            "page": wave.pages,
            "item": shown.items,
            "propensity": _unknown(shown.items.shape) if stated is None else stated,
            "clicked": feedback.clicked,
            "watched": feedback.watched,
            "long_view": feedback.long_view,
            "liked": feedback.liked,
            "hated": feedback.hated,
        }
        page |= others
        if self.sink.truth:
            page |= {"appeal": feedback.appeal, "probability": feedback.probability}
        self.sink.add(arm.bucket, arm.round if arm.code >= 0 else -1, page)


def _unknown(shape: tuple[int, ...]) -> np.ndarray:
    return np.full(shape, np.nan, np.float32)
