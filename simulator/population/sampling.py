"""Which users of a large log the user model is fitted to."""

from dataclasses import dataclass, replace

import numpy as np

from policies.common.errors import InputError
from policies.draws import Draws, key_of
from policies.log import Dataset, Impressions
from simulator.fitting.alternatives import MOST_PAIRS
from simulator.settings import Experiment
from simulator.users.choice_model import ChoiceModel

MOST_ROWS = 5_000_000  # that a fit reads where nobody says how many users


def in_line(users: np.ndarray, seed: int) -> np.ndarray:
    """(n,) order in which these users are taken into a population or a fit: of the seed alone."""
    place = Draws(key_of("population", seed), users, users * 0).uniform("place", 1)[:, 0]
    return np.argsort(place)


@dataclass(frozen=True)
class FitSample:
    """A log to fit users to.

    Attributes:
        data: with its users numbered anew. users: (M,) their numbers in the whole log, ascending;
            None = it is the whole log. of: users of the whole log.
    """

    data: Dataset
    users: np.ndarray | None
    of: int

    def of_log(self, model: ChoiceModel) -> ChoiceModel:
        """Users fitted to this, with the numbers that they have in the log."""
        if self.users is None:
            return model
        return replace(model, log_users=self.users, log_size=self.of)


def how_many(data: Dataset, experiment: Experiment) -> int:
    """Users that are fitted: no more than a table of all pairs has room for, where there is one.

    Raises:
        InputError: fewer than take part.
    """
    wanted = experiment.fit_users
    if wanted is None:
        share = MOST_ROWS / max(len(data.log), 1)
        held = MOST_PAIRS.get(experiment.user_model, np.inf) // data.catalogue.size
        wanted = int(max(experiment.users, min(np.ceil(share * data.n_users), held)))
    elif wanted < experiment.users:
        raise InputError(
            f"--fit-users {wanted}: fewer than take part (--users {experiment.users}); fit at least"
            " as many, or let fewer take part"
        )
    return min(wanted, data.n_users)


def sample_note(data: Dataset, experiment: Experiment) -> tuple[str, ...]:
    """A sentence where users are fitted to a part of the log."""
    n = how_many(data, experiment)
    if n == data.n_users or experiment.users_from is not None:
        return ()
    return (
        f"Users are fitted to {n} of the log's {data.n_users}, drawn by the seed (--fit-users);"
        " policies learn from all of it.",
    )


def fit_sample(data: Dataset, experiment: Experiment) -> FitSample:
    """The users who take part, and as many others as are to be fitted."""
    n, everybody = how_many(data, experiment), np.arange(data.n_users)
    if n == data.n_users:
        return FitSample(data, None, n)
    users = np.sort(in_line(everybody, experiment.seed)[:n])
    place = np.full(data.n_users, -1, np.int32)
    place[users] = np.arange(n)
    part = replace(
        data,
        log=_of(data.log, place),
        history=_of(data.history, place),
        user_ids=data.user_ids[users],
    )
    part.log.check(data.catalogue.size)
    return FitSample(part, users, data.n_users)


def _of(log: Impressions, place: np.ndarray) -> Impressions:
    """The rows of the users who have a place, by that as their number."""
    at = place[log.user]
    kept = log.rows(at >= 0)
    return replace(kept, user=at[at >= 0])
