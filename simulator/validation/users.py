"""Users as a validation asks them: those that were fitted to the log, by all of their plausible
draws, or those of somebody else, by asking them again and again.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from scipy.special import logit

from policies.draws import generator, key_of
from policies.log import Dataset, Impressions
from simulator.fitting.calibration import calibrate_level, calibrate_shift, random_by_levels
from simulator.fitting.fit_users import fit
from simulator.fitting.posterior import Posterior
from simulator.users.choice_model import ChoiceModel
from simulator.users.strangers import Strangers
from simulator.validation.answering import answer, minds
from simulator.validation.asked import Asked, Say
from simulator.validation.free_running import lifted
from simulator.validation.held_out import Plausible, Replay, answers_of, seen
from simulator.validation.policy_ranking import PolicyRanking, policy_ranking

DRAWS = 20  # of the users, before a second log
TIMES = 20  # that users of somebody else are asked


class Users(Protocol):
    """Whoever is to be validated."""

    @property
    def one(self) -> Any:
        """A user model, as likely as any other, that answers as the log's own slates were."""
        ...

    @property
    def counted(self) -> frozenset[str]:
        """Feedback of which the users state no probability, so that it is counted: what it says of
        a single row is mostly chance.
        """
        ...

    def answers(
        self, data: Dataset, late: Impressions, k: int
    ) -> tuple[Replay, Replay, dict[str, float]]:
        """(rows,) probability of each feedback, by all of them and by one of them; and how unsure
        the rates are, as a standard deviation of their logarithm.
        """
        ...

    def looked(self, data: Dataset, log: Impressions, k: int) -> np.ndarray:
        """(rows,) chance that each row was looked at."""
        ...

    def in_a_run(self, data: Dataset, like: np.ndarray, k: int, seed: int) -> tuple["Users", float]:
        """As a run has them, with more users behind those of the log; and the logits by which the
        log's own slates exceed that level.
        """
        ...

    def random(self, data: Dataset, k: int, seed: int, by: float) -> float:
        """Click rate of uniformly random slates, the level being moved by so many logits."""
        ...

    def ranking(
        self, data: Dataset, late: Impressions, k: int, seed: int
    ) -> PolicyRanking | None: ...


def users_of(data: Dataset, asked: Asked, say: Say) -> Users:
    """Those of the kind that is asked for, made from the log."""
    if asked.stranger:
        say(f"users: {asked.kind}")
        rng = generator("users of somebody else", asked.seed)
        made = Strangers.learned(asked.kind, data.for_policies(), data.catalogue, rng)
        return OwnUsers(_at_own_level(made.as_users_of(data), data), asked.seed)
    return FittedUsers(fit(data, asked.seed, asked.slate_size, say, asked.kind, asked.chains))


def _at_own_level(users: Strangers, data: Dataset) -> Strangers:
    """With the click rate of the log on its own slates, where their level can be set: as fitted
    users have it.
    """
    want = float(data.log.clicked.mean())
    for _ in range(4 if users.level is not None else 0):
        rows, stated = answer(users, minds(users, data, data.log), data.log, key_of("own level"))
        rate = float(np.mean(stated if np.isfinite(stated).all() else rows.clicked))
        if abs(rate - want) < 1e-3:
            break
        by = float(logit(want) - logit(np.clip(rate, 1e-4, 1 - 1e-4)))
        users = users.with_level((users.level or 0.0) + by)
    return users


@dataclass(frozen=True)
class FittedUsers:
    """Users that were fitted to the log."""

    fitted: Posterior

    @property
    def counted(self) -> frozenset[str]:
        return frozenset()

    @property
    def one(self) -> ChoiceModel:
        return self.fitted.model(0)

    def answers(
        self, data: Dataset, late: Impressions, k: int
    ) -> tuple[Replay, Replay, dict[str, float]]:
        return answers_of(self.fitted, data, late, k)

    def looked(self, data: Dataset, log: Impressions, k: int) -> np.ndarray:
        return seen(self.fitted.plain, data, log, k)

    def random(self, data: Dataset, k: int, seed: int, by: float) -> float:
        some = range(min(len(self.fitted), 10))
        return float(
            np.mean(
                [random_by_levels(_lifted(self.fitted.model(i), by), data, k, seed) for i in some]
            )
        )

    def ranking(self, data: Dataset, late: Impressions, k: int, seed: int) -> PolicyRanking | None:
        return policy_ranking(self.fitted, data, late, k, seed)

    def in_a_run(self, data: Dataset, like: np.ndarray, k: int, seed: int) -> tuple["Users", float]:
        met = calibrate_shift(self.one, data, k, seed)
        selection = self.one["shift"] - met["shift"]
        users = np.concatenate([np.arange(data.n_users), like])
        return InARun(self.fitted, users, selection), selection


def _lifted(model: ChoiceModel, by: float) -> ChoiceModel:
    moved = lifted(model, by)
    assert isinstance(moved, ChoiceModel)
    return moved


class InARun(FittedUsers):
    """Fitted users without what the log's policy knew, and with users like some of theirs in the
    place of those whom the log does not know.
    """

    def __init__(self, fitted: Posterior, users: np.ndarray, selection: float):
        super().__init__(fitted)
        self._draws = _DrawsInARun(fitted, users, selection)
        self._selection = selection

    def random(self, data: Dataset, k: int, seed: int, by: float) -> float:
        return super().random(data, k, seed, by - self._selection)

    @property
    def one(self) -> ChoiceModel:
        return self._draws.model(0)

    def answers(
        self, data: Dataset, late: Impressions, k: int
    ) -> tuple[Replay, Replay, dict[str, float]]:
        return answers_of(self._draws, data, late, k)


class _DrawsInARun(Plausible):
    def __init__(self, fitted: Posterior, users: np.ndarray, selection: float):
        self.fitted, self.users, self.selection = fitted, users, selection

    @property
    def plain(self) -> ChoiceModel:
        return self.fitted.plain

    def __len__(self) -> int:
        return min(len(self.fitted), DRAWS)

    def _of_all(self, model: ChoiceModel) -> ChoiceModel:
        return _lifted(model.of_users(self.users), -self.selection)

    def model(self, k: int) -> ChoiceModel:
        return self._of_all(self.fitted.model(k))

    def variants(self, model: ChoiceModel, name: str, k: int) -> list[ChoiceModel]:
        return [self._of_all(m) for m in self.fitted.variants(self.fitted.model(k), name, k)]


@dataclass(frozen=True)
class OwnUsers:
    """Users of somebody else."""

    model: Strangers
    seed: int

    @property
    def one(self) -> Strangers:
        return self.model

    def answers(
        self, data: Dataset, late: Impressions, k: int
    ) -> tuple[Replay, Replay, dict[str, float]]:
        """From the end of the log on, asked TIMES times; their minds are fresh."""
        total: Replay = {}
        for turn in range(TIMES):
            key = key_of("asked", self.seed, turn)
            rows, stated = answer(self.one, minds(self.one, data, late), late, key)
            known = np.isfinite(stated).all()
            now = {
                "click": stated if known else rows.clicked.astype(float),
                "long view": rows.long_view.astype(float),
                "like": rows.liked.astype(float),
                "hate": rows.hated.astype(float),
            }
            for name, p in now.items():
                total[name] = total.get(name, 0.0) + p / TIMES
        told = {
            name: p for name, p in total.items() if name == "click" or FLAGS[name] in self.tells
        }
        return told, told, dict.fromkeys(told, 0.0)

    @property
    def tells(self) -> frozenset[str]:
        return self.one.tells

    @property
    def counted(self) -> frozenset[str]:
        return frozenset(FLAGS) | (frozenset() if self._states else frozenset({"click"}))

    @cached_property
    def _states(self) -> bool:
        """Whether they state the probability of a click."""
        log = Impressions.of(user=np.zeros(1), item=np.ones(1), time=np.zeros(1))
        _, stated = answer(self.one, self.one.start(self.one.n_users, 0.0), log, key_of("stated"))
        return bool(np.isfinite(stated).all())

    def looked(self, data: Dataset, log: Impressions, k: int) -> np.ndarray:
        return np.ones(len(log))

    def random(self, data: Dataset, k: int, seed: int, by: float) -> float:
        """They are asked, each on a first page of k; nan where their level would have to be moved
        and cannot be.
        """
        users = self.model
        if by:
            if users.level is None:
                return float("nan")
            users = users.with_level(users.level + by)
        rng = generator("random slates", seed)
        n = min(20_000, 4 * data.n_users)
        user = np.repeat(rng.integers(0, self.one.n_users, n), k)
        item = np.concatenate([rng.permutation(data.catalogue.size)[:k] + 1 for _ in range(n)])
        log = Impressions.of(
            user=user,
            item=item,
            session=np.repeat(np.arange(n), k),
            slot=np.tile(np.arange(k), n),
            time=np.zeros(n * k),
        )
        rows, stated = answer(users, users.start(users.n_users, 0.0), log, key_of(seed))
        return float(np.mean(stated if np.isfinite(stated).all() else rows.clicked))

    def ranking(self, data: Dataset, late: Impressions, k: int, seed: int) -> PolicyRanking | None:
        return None

    def in_a_run(self, data: Dataset, like: np.ndarray, k: int, seed: int) -> tuple["Users", float]:
        met = calibrate_level(self.one, data, k, seed)[0]
        users = np.concatenate([np.arange(data.n_users), like])
        return OwnUsers(met.of_users(users), self.seed), 0.0


FLAGS = {"long view": "long_view", "like": "likes", "hate": "hates"}
