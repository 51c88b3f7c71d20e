"""Users answer the pages of a log, one after the other: what they would have done with what it
shows, their minds moving as their own answers move them.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from policies.draws import Draws, key_of
from policies.log import Dataset, Impressions
from simulator.fitting.closeness import Chosen
from simulator.users.choice_model import ChoiceModel, Parameter
from simulator.users.state import UserState

WHOLE = frozenset({"sessions", "skips"})


@dataclass(frozen=True)
class Pages:
    """The pages of a log in the order in which each user saw them.

    Attributes:
        order: (rows,) rows of the log, page after page, by slot within a page. first: (pages,)
            where each page begins in `order`. size: (pages,) rows of it. turn: (pages,) how many
            pages its user saw before it. user, session, page: (pages,). time: (pages,) s.
    """

    order: np.ndarray
    first: np.ndarray
    size: np.ndarray
    turn: np.ndarray
    user: np.ndarray
    session: np.ndarray
    page: np.ndarray
    time: np.ndarray

    @staticmethod
    def of(log: Impressions) -> "Pages":
        order = np.lexsort((log.slot, log.page, log.session, log.user))
        user, session, page = (x[order] for x in (log.user, log.session, log.page))
        begins = np.ones(len(order), bool)
        begins[1:] = (np.diff(user) != 0) | (np.diff(session) != 0) | (np.diff(page) != 0)
        first = np.flatnonzero(begins)
        time = np.minimum.reduceat(log.time[order], first) if len(first) else np.zeros(0)
        of_user = user[first]
        seen = np.lexsort((page[first], session[first], time, of_user))
        new = np.ones(len(seen), bool)
        new[1:] = np.diff(of_user[seen]) != 0
        place = np.arange(len(seen))
        turn = np.empty(len(seen), np.int64)
        turn[seen] = place - np.maximum.accumulate(np.where(new, place, 0))
        size = np.diff(first, append=len(order))
        return Pages(order, first, size, turn, of_user, session[first], page[first], time)

    def waves(self) -> list[np.ndarray]:
        """Pages that may be answered at once: of one turn and one size, in the order of turns."""
        by = np.lexsort((self.size, self.turn))
        cut = (np.diff(self.turn[by]) != 0) | (np.diff(self.size[by]) != 0)
        return np.split(by, np.flatnonzero(cut) + 1) if len(by) else []


def answer(model: Any, state: Any, log: Impressions, key: int) -> tuple[Impressions, np.ndarray]:
    """The rows of the log with the answers of these users, and (rows,) the probability of a click
    that they state; `state` is changed.

    Args:
        model: place i of it is user i of the log. key: of the draws.
    """
    pages = Pages.of(log)
    n = len(log)
    found = {name: getattr(log, name).copy() for name in ANSWERS}
    chance = np.full(n, np.nan)
    for wave in pages.waves():
        rows = pages.order[pages.first[wave][:, None] + np.arange(pages.size[wave[0]])]
        user, session, page = pages.user[wave], pages.session[wave], pages.page[wave]
        given = model.respond(
            state, user, log.item[rows], page, pages.time[wave], Draws(key, user, session, page)
        )
        for name, answers in zip(ANSWERS, ANSWERS.values(), strict=True):
            found[name][rows] = getattr(given, answers)
        chance[rows] = given.probability
    return replace(log, **found), chance


# of the log: of `Feedback`
ANSWERS = {
    "clicked": "clicked",
    "watched": "watched",
    "long_view": "long_view",
    "liked": "liked",
    "hated": "hated",
}


def ready(model: Any, has: frozenset[str]) -> Any:
    """The users as they answer a log: what it does not show of their sessions cannot tire them."""
    if not isinstance(model, ChoiceModel) or has >= WHOLE:
        return model
    none = Parameter(0.0, "assumed", "the log has not all that was seen")
    return model.with_parameters(satiation=none, repeat_fatigue=none)


def minds(model: Any, data: Dataset, log: Impressions) -> Any:
    """The state of users before the first row of `log`, who have chosen what `data` says until
    then.
    """
    start = float(log.time.min())
    state = model.start(model.n_users, start)
    if isinstance(state, UserState) and state.chosen.shape[1]:
        chosen = Chosen.of(data)
        everyone = np.arange(len(state.chosen))
        last = chosen.latest(everyone, chosen.before(everyone, np.full(len(everyone), start)))
        state.chosen[:] = last
    return state


def answered_log(model: Any, data: Dataset, late: Impressions, seed: int) -> Impressions:
    """The rows of a log and of its late days as these users answer them from the first row on;
    what stands in its history is what they chose.
    """
    model = ready(model, data.has)
    both = Impressions.concat([data.log, late])
    before = replace(data, log=data.log.rows(slice(0)))
    rows, _ = answer(model, minds(model, before, both), both, key_of("answers to the log", seed))
    return rows
