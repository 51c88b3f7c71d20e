"""As many pages of each user for all who learn, whatever world they come from: what is left between
two ways to learn is what the pages say, not how many there are.
"""

from dataclasses import dataclass, replace

import numpy as np

from policies.draws import Draws, key_of
from policies.log import Impressions

APART = 1e-3  # s between the pages that a user is shown at once in several worlds


@dataclass(frozen=True)
class Pages:
    """The pages of some rows.

    Attributes:
        of_row: (n,) page of each row. user: (P,) of each page. turn: (P,) its place among its
            user's pages, by keyed draw.
    """

    of_row: np.ndarray
    user: np.ndarray
    turn: np.ndarray

    @staticmethod
    def of(log: Impressions, seed: int) -> "Pages":
        """Drawn by user, session and page."""
        key = np.stack([x.astype(np.int64) for x in (log.user, log.session, log.page)])
        (user, session, page), of_row = np.unique(key, axis=1, return_inverse=True)
        draw = Draws(key_of("equal rows", seed), user, session, page).uniform("page", 1)[:, 0]
        order = np.lexsort((draw, user))
        turn = np.empty(len(user), np.int64)
        turn[order] = np.arange(len(user)) - np.searchsorted(user, user)
        return Pages(of_row.ravel(), user, turn)

    def counts(self, n_users: int) -> np.ndarray:
        """(n_users,) pages of each user."""
        return np.bincount(self.user, minlength=n_users)


def fewest(logs: list[Impressions], n_users: int) -> np.ndarray:
    """(n_users,) the least number of pages that a user has in any of these logs."""
    return np.min([Pages.of(log, 0).counts(n_users) for log in logs], axis=0)


def cut(log: Impressions, pages: np.ndarray, seed: int) -> Impressions:
    """So many pages of each user, `pages` (users,), by keyed draw; all where there are fewer."""
    if not len(log):
        return log
    found = Pages.of(log, seed)
    return log.rows((found.turn < pages[found.user])[found.of_row])


def thinned(log: Impressions, clicks: np.ndarray, seed: int) -> Impressions:
    """Whole pages of each user by keyed draw, those of `cut` first, up to so many clicks, `clicks`
    (users,): a page that goes beyond stays where that is nearer than to leave it out; where both
    are as near, with every second user.
    """
    if not len(log):
        return log
    found = Pages.of(log, seed)
    brought = np.bincount(found.of_row[log.clicked], minlength=len(found.user))
    order = np.lexsort((found.turn, found.user))
    total = np.cumsum(brought[order])
    first = np.searchsorted(found.user[order], found.user[order])
    before = (total - brought[order])[first]
    middle = np.empty(len(order))
    middle[order] = total - before - brought[order] / 2
    tie = np.where(brought > 0, 0.25 * (found.user % 2), 0)
    return log.rows((middle <= clicks[found.user] - tie)[found.of_row])


def shared(logs: list[Impressions], pages: np.ndarray, seed: int) -> list[Impressions]:
    """So many pages of each user in all, `pages` (users,), an equal share from each log.

    Where a number cannot be divided, a keyed draw says which logs give one more; where a log has
    too few, the others make up for it.
    """
    n, n_users = len(logs), len(pages)
    there = np.stack([Pages.of(log, seed).counts(n_users) for log in logs])
    users = np.arange(n_users)
    draws = Draws(key_of("shares", seed), users, np.zeros(n_users, np.int64))
    order = np.argsort(draws.uniform("order", n), axis=1)  # (users, n) logs, who gives first
    rank = np.argsort(order, axis=1).T
    given = np.minimum(pages // n + (rank < pages % n), there)
    left = pages - given.sum(axis=0)
    for log in order.T:
        more = np.minimum(left, there[log, users] - given[log, users])
        given[log, users] += more
        left = left - more
    # A user's visits in several worlds are different visits, whatever their numbers; and pages at
    # the same moment are different pages.
    return [
        replace(part, session=part.session * n + k, time=part.time + k * APART)
        for k, part in enumerate(cut(*x, seed) for x in zip(logs, given, strict=True))
    ]
