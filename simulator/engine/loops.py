"""What the histories of many users take up and give out, as compiled loops.

A ring of capacity C keeps its entry number i in column i mod C. A user may stand in several rows of
what is added: they are added in their order.
"""

import numpy as np

from policies.base import BY_LOG, BY_OTHER, BY_SELF
from policies.common.compiled import compiled


@compiled
def add_entries(
    users: np.ndarray,
    items: np.ndarray,
    feedback: np.ndarray,
    clicks_alone: bool,
    by: int,
    time: np.ndarray,
    session: np.ndarray,
    page: np.ndarray,
    to_items: np.ndarray,
    to_feedback: np.ndarray,
    to_by: np.ndarray,
    to_time: np.ndarray,
    to_session: np.ndarray,
    to_page: np.ndarray,
    count: np.ndarray,
) -> None:
    """Adds slates `items` (B, K) with `feedback` (B, K) bool, or what was clicked of them, to a
    ring. time, session and page are (B,); the `to_` arrays (n, C) and `count` (n,) are changed.
    """
    last = to_items.shape[1] - 1
    for b in range(len(users)):
        user = users[b]
        for k in range(items.shape[1]):
            if clicks_alone and not feedback[b, k]:
                continue
            at = count[user] & last
            to_items[user, at] = items[b, k]
            to_feedback[user, at] = feedback[b, k]
            to_by[user, at] = by
            to_time[user, at] = time[b]
            to_session[user, at] = session[b]
            to_page[user, at] = page[b]
            count[user] += 1


@compiled
def add_seen(users: np.ndarray, items: np.ndarray, seen: np.ndarray, count: np.ndarray) -> None:
    """Adds slates (B, K) to a ring (n, W) that is read as a set."""
    width = seen.shape[1]
    for b in range(len(users)):
        user = users[b]
        for k in range(items.shape[1]):
            seen[user, (count[user] + k) % width] = items[b, k]
        count[user] += items.shape[1]


@compiled
def last_entries(
    users: np.ndarray,
    length: int,
    own: int,
    session: np.ndarray,
    now: np.ndarray,
    of_items: np.ndarray,
    of_feedback: np.ndarray,
    of_by: np.ndarray,
    of_time: np.ndarray,
    of_session: np.ndarray,
    of_page: np.ndarray,
    count: np.ndarray,
) -> tuple[np.ndarray, ...]:
    """The last `length` entries of a ring for each of the users, oldest first, left-padded.

    Args:
        own: the code of the arm that asks. session, now: (B,) of the page that it is asked for.

    Returns:
        items, feedback, said, ages and turns of `policies.base.Requests`, (B, length) each.
    """
    shape = (len(users), length)
    items, feedback = np.zeros(shape, np.int32), np.zeros(shape, np.float32)
    said, ages = np.zeros(shape, np.int8), np.zeros(shape, np.float32)
    turns = np.full(shape, -1, np.int16)
    last = of_items.shape[1] - 1
    for b in range(len(users)):
        user = users[b]
        known = min(count[user], length)
        for i in range(length - known, length):
            at = (count[user] - length + i) & last
            items[b, i] = of_items[user, at]
            feedback[b, i] = of_feedback[user, at]
            by = of_by[user, at]
            said[b, i] = BY_LOG if by == 0 else (BY_SELF if by == own else BY_OTHER)
            ages[b, i] = now[b] - of_time[user, at]
            if of_session[user, at] == session[b]:
                turns[b, i] = of_page[user, at]
    return items, feedback, said, ages, turns
