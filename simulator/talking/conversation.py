"""A conversation: one person, one policy of a run, page after page, as the engine serves a user."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import pandas as pd

from policies.base import BY_SELF, Policy, Requests
from policies.calls import foretell, slates
from policies.catalogue import Catalogue
from policies.common.errors import InputError, suggestion
from policies.common.manifests import read_manifest
from policies.draws import Draws, key_of
from policies.exploring import without_arm
from policies.log import Impressions
from simulator.engine.histories import Histories
from simulator.experiment.data import before_warmup, load_data
from simulator.experiment.units import AGAIN, Place, policy_of
from simulator.settings import Experiment, from_dict

SECONDS = 30.0  # that a page takes, where nobody says
SESSION = 0
NAMED_INTERESTS = 3  # however many the policy serves


@runtime_checkable
class HasInterests(Protocol):
    """A policy that says several interests, by having this method."""

    def interests_of(self, requests: Requests, k: int, interests: int) -> np.ndarray:
        """(B, interests, k) int32 the best items of each interest."""
        ...

    def nearness(self, items: np.ndarray, to: int) -> np.ndarray:
        """Of items of any shape, how near they are to one item; 1 = the same."""
        ...


@dataclass
class Conversation:
    """What has been said between a person and a policy.

    Attributes:
        arm: the policy's name. user: id of the person, beyond all others where nobody knows him.
        histories: his alone. key: of the draws of policies that draw.
        now: s since the start of the test. page: number of the page that is asked for.
        said: the pages so far, items (K,) and whether each was clicked.
    """

    arm: str
    policy: Policy
    catalogue: Catalogue
    user: int
    histories: Histories
    slate_size: int
    key: int
    now: float = 0.0
    page: int = 0
    said: list[tuple[np.ndarray, np.ndarray]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._times: list[float] = []
        self._like: int | None = None  # what more is wanted of
        self._slate: np.ndarray | None = None

    def requests(self) -> Requests:
        """What the policy is told."""
        one, session = np.zeros(1, np.int64), np.full(1, SESSION, np.int32)
        now = np.array([self.now])
        clicks = self.policy.history_of == "clicks"
        ring = self.histories.clicks if clicks else self.histories.impressions
        length = int(self.policy.history_length)
        items, feedback, said, ages, turns = ring.last(one, length, BY_SELF, session, now)
        return Requests(
            users=np.array([self.user], np.int32),
            sessions=session,
            pages=np.array([self.page], np.int16),
            now=now,
            items=items,
            feedback=feedback,
            said=said,
            ages=ages,
            turns=turns,
            exclude=self.histories.seen[:1].copy(),
            available=self.catalogue.available(self.now),
        )

    def slate(self) -> np.ndarray:
        """(K,) int32 the page that is shown now; asked twice, the same."""
        if self._slate is None:
            users, page = np.array([self.user]), np.array([self.page], np.int16)
            draws = Draws(self.key, users, np.array([SESSION]), page).derived("policy")
            shown = slates(self.arm, self.policy, self.requests(), self.slate_size, draws)
            self._slate = self._more(shown.items[0])
        return self._slate

    def _more(self, slate: np.ndarray) -> np.ndarray:
        """The interest that is nearest to what more is wanted of, in place of the whole slate."""
        if self._like is None or not (named := self.interests()):
            return slate
        inner = without_arm(self.policy)
        assert isinstance(inner, HasInterests)
        nearness = [inner.nearness(items, self._like).mean() for items in named]
        nearest = named[int(np.argmax(nearness))]
        # Few items may be left to show: the slate fills the page.
        rest = slate[~np.isin(slate, nearest)]
        return np.concatenate([nearest, rest])[: self.slate_size]

    def interests(self) -> list[np.ndarray] | None:
        """The best items of each interest, at most K, of those that may be shown; None where the
        policy has no interests.
        """
        inner = without_arm(self.policy)
        if not isinstance(inner, HasInterests):
            return None
        requests = self.requests()
        may = requests.available.copy()
        may[requests.exclude] = False
        named = []
        for items in inner.interests_of(requests, self.slate_size, NAMED_INTERESTS)[0]:
            if may[items].any():
                named.append(items[may[items]])
                may[items] = False  # few items may be left: none of them stands in two
        return named

    def expected(self) -> np.ndarray | None:
        """(K,) how likely the policy thinks each item of this page is clicked; None where it does
        not say.
        """
        pages = [*self.said, (self.slate(), np.zeros(self.slate_size, bool))]
        times = [*self._times, self.now]
        log = Impressions.of(
            bucket=np.full(len(pages) * self.slate_size, BY_SELF, np.int8),
            user=np.full(len(pages) * self.slate_size, self.user),
            item=np.concatenate([items for items, _ in pages]),
            clicked=np.concatenate([clicked for _, clicked in pages]),
            time=np.repeat(times, self.slate_size),
            page=np.repeat(np.arange(len(pages)), self.slate_size),
            slot=np.tile(np.arange(self.slate_size), len(pages)),
        )
        told = foretell(self.arm, self.policy, log, self.catalogue).get("clicked")
        return None if told is None else told[-self.slate_size :]

    def answer(
        self, clicked: np.ndarray, more_like: int | None = None, seconds: float = SECONDS
    ) -> None:
        """The person's answer to the page; the next one is then asked for.

        Args:
            clicked: (K,) bool. more_like: a slot, from 0, which counts as clicked.
            seconds: that the page took.
        """
        items, clicked = self.slate(), np.array(clicked, bool)
        if more_like is not None:
            clicked[more_like] = True
        self.histories.record(
            np.zeros(1, np.int64),
            items[None],
            clicked[None],
            BY_SELF,
            np.array([self.now]),
            np.full(1, SESSION),
            np.array([self.page]),
        )
        self.said.append((items, clicked))
        self._times.append(self.now)
        self._like = None if more_like is None else int(items[more_like])
        self._slate = None
        self.now += seconds
        self.page += 1


def conversation_of(
    experiment: Experiment,
    arm: str,
    policy: Policy,
    catalogue: Catalogue,
    user: int,
    log: Impressions | None = None,
) -> Conversation:
    """At its start.

    Args:
        log: of the time before the test, whose rows of `user` are his history; None = none.
    """
    length = int(policy.history_length)
    clicks = policy.history_of == "clicks"
    lengths = (0, length) if clicks else (length, 0)
    repeat_after = 0 if experiment.repeats(arm) else experiment.repeat_after
    histories = Histories.of(1, *lengths, repeat_after)
    if log is not None:
        place = np.full(max(user, int(log.user.max(initial=0))) + 1, -1)
        place[user] = 0
        histories.load(log, place)
    key = key_of("world", experiment.seed)
    return Conversation(arm, policy, catalogue, user, histories, experiment.slate_size, key)


@dataclass(frozen=True)
class Stage:
    """A finished run as a person finds it.

    Attributes:
        arms: that may be talked to. log: of the time before the test. user_ids: the log's own.
        nobody: an id that no user of the log or of the test has.
    """

    run: Path
    experiment: Experiment
    arms: tuple[str, ...]
    catalogue: Catalogue
    log: Impressions
    user_ids: np.ndarray
    nobody: int

    def begin(self, arm: str | None = None, user: str | None = None) -> Conversation:
        """A conversation with the last model of an arm.

        Args:
            arm: None = the first. user: the log's own id of whom to be; None = somebody new.

        Raises:
            InputError: there is no such arm, or no such user.
        """
        arm = self.arms[0] if arm is None else arm
        if arm not in self.arms:
            raise InputError(f"the run has no policy '{arm}'{suggestion(arm, self.arms)}")
        who = self.nobody
        if user is not None:
            found = np.flatnonzero(self.user_ids == user)
            if not len(found):
                raise InputError(f"--as '{user}': the log has no such user")
            who = int(found[0])
        place = Place(self.run, "log", (arm,))
        policy = policy_of(self.experiment, place, arm, str(last_model(self.run, arm)))
        log = None if user is None else self.log.rows(self.log.user == who)
        return conversation_of(self.experiment, arm, policy, self.catalogue, who, log)


def last_model(run: Path, arm: str) -> Path:
    """The file of an arm's model as the test left it.

    Raises:
        InputError: there is none.
    """
    name = arm.replace(":", ".")
    served = [
        path
        for path in run.glob(f"models/*/{name}-round*.safetensors")
        if path.parent.name.startswith(("split", "twin-"))
    ]
    first = run / "models" / "log" / f"{name}-round00.safetensors"
    found = max(served, key=lambda path: path.stem, default=first)
    if not found.is_file():
        raise InputError(f"'{run}' holds no model of '{arm}'; {AGAIN}")
    return found


def open_stage(run: Path) -> Stage:
    """A run's policies, its catalogue, and the log that its users come from.

    Raises:
        InputError: it is no run, or its log is not there any more.
    """
    if not (run / "manifest.json").is_file():
        raise InputError(f"'{run}' is not a run: there is no manifest.json in it")
    manifest: dict[str, Any] = read_manifest(run / "manifest.json", AGAIN)
    experiment = from_dict(manifest["experiment"])
    raw = load_data(experiment)
    if manifest.get("checksum", raw.fingerprint) != raw.fingerprint:
        raise InputError(
            f"the log '{experiment.log}' has changed since '{run}' was made: its items would be"
            " called by wrong names; bring the old log back, or make the run again"
        )
    share = 1.0 if experiment.policy_share is None else experiment.policy_share
    data = before_warmup(raw, experiment, share)
    arms = tuple(arm for arm in experiment.policies if _may_talk(run, arm))
    if not arms:
        raise InputError(f"'{run}' holds no model to talk to; {AGAIN}")
    log = Impressions.concat([data.history, data.log]) if len(data.history) else data.log
    took_part = pd.read_parquet(run / "users.parquet", columns=["user"])["user"]
    nobody = max(len(raw.user_ids), int(took_part.max()) + 1)
    return Stage(run, experiment, arms, data.catalogue, log, raw.user_ids, nobody)


def _may_talk(run: Path, arm: str) -> bool:
    """The oracle, who knows the simulated users, has nothing stored and nothing to say."""
    return any(run.glob(f"models/*/{arm.replace(':', '.')}-round*.safetensors"))
