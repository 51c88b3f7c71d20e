"""What users saw and clicked last: ring buffers over the whole population."""

from dataclasses import dataclass

import numpy as np

from policies.log import Impressions


@dataclass(slots=True)
class Ring:
    """The last entries of n users.

    The capacity is a power of two, so that the place of an entry is a bit mask. `by` is 0 for the
    log and the warm-up, bucket code + 1 else.
    """

    items: np.ndarray  # (n, C) int32
    feedback: np.ndarray  # (n, C) float32
    by: np.ndarray  # (n, C) int8
    time: np.ndarray  # (n, C) float64
    session: np.ndarray  # (n, C) int32
    page: np.ndarray  # (n, C) int16
    count: np.ndarray  # (n,) int64

    @staticmethod
    def of(n_users: int, length: int) -> "Ring":
        capacity = 1 << max(length - 1, 0).bit_length() if length else 0
        shape = (n_users, capacity)
        return Ring(
            np.zeros(shape, np.int32),
            np.zeros(shape, np.float32),
            np.zeros(shape, np.int8),
            np.zeros(shape),
            np.full(shape, -1, np.int32),
            np.zeros(shape, np.int16),
            np.zeros(n_users, np.int64),
        )

    def copy(self) -> "Ring":
        return Ring(*(getattr(self, name).copy() for name in self.__slots__))

    def append(
        self,
        users: np.ndarray,
        row: np.ndarray,
        items: np.ndarray,
        feedback: np.ndarray,
        by: np.ndarray | int,
        time: np.ndarray,
        session: np.ndarray,
        page: np.ndarray,
    ) -> None:
        """Adds entries: `row` (M,), ascending, says whose; the other arrays are (M,) but for
        `users` (B,).
        """
        capacity = self.items.shape[1]
        if not capacity:
            return
        per_user = np.bincount(row, minlength=len(users))
        first = np.cumsum(per_user) - per_user
        rank = np.arange(len(row)) - first[row]
        fits = rank >= per_user[row] - capacity  # of more than fit, only the last
        at = (users[row], (self.count[users[row]] + rank) & (capacity - 1))
        if not fits.all():
            at, items, feedback = (at[0][fits], at[1][fits]), items[fits], feedback[fits]
            time, session, page = time[fits], session[fits], page[fits]
        self.items[at], self.feedback[at], self.by[at] = items, feedback, by
        self.time[at], self.session[at], self.page[at] = time, session, page
        self.count[users] += per_user

    def last(
        self, users: np.ndarray, length: int
    ) -> tuple[tuple[np.ndarray, np.ndarray], np.ndarray]:
        """Index of each user's last `length` entries, oldest first, and which of them exist, both
        (B, length).
        """
        capacity = max(self.items.shape[1], 1)
        place = self.count[users][:, None] - length + np.arange(length)
        return (users[:, None], place & (capacity - 1)), place >= 0


@dataclass(slots=True)
class Histories:
    """Impressions and clicks as far back as the policies look, and what may not be shown again yet.

    `seen` (n, W) is a ring too, but as a set: its order does not matter.
    """

    impressions: Ring
    clicks: Ring
    seen: np.ndarray
    seen_count: np.ndarray

    @staticmethod
    def of(n_users: int, impressions: int, clicks: int, repeat_after: int) -> "Histories":
        return Histories(
            Ring.of(n_users, impressions),
            Ring.of(n_users, clicks),
            np.zeros((n_users, repeat_after), np.int32),
            np.zeros(n_users, np.int64),
        )

    def copy(self) -> "Histories":
        return Histories(
            self.impressions.copy(), self.clicks.copy(), self.seen.copy(), self.seen_count.copy()
        )

    def load(self, log: Impressions, place_of: np.ndarray) -> None:
        """Starts the histories from a log. `place_of` (U,) is each log user's place in the
        population, or -1.
        """
        place = np.where(
            log.user < len(place_of), place_of[np.minimum(log.user, len(place_of) - 1)], -1
        )
        mine = log.rows(place >= 0).by_user()
        users, row = np.unique(place_of[mine.user], return_inverse=True)
        order = np.argsort(row, kind="stable")
        mine, row = mine.rows(order), row[order]
        self._add(users, row, mine.item, mine.clicked, 0, mine.time, mine.session, mine.page)

    def record(
        self,
        users: np.ndarray,
        items: np.ndarray,
        clicked: np.ndarray,
        by: int,
        now: np.ndarray,
        session: np.ndarray,
        page: np.ndarray,
    ) -> None:
        """Adds one page of slates (B, K)."""
        k = items.shape[1]
        width = self.seen.shape[1]
        if width:
            last = np.arange(max(k - width, 0), k)
            at = (self.seen_count[users][:, None] + last) % width
            self.seen[users[:, None], at] = items[:, last]
            self.seen_count[users] += k
        if self.impressions.items.shape[1]:
            row = np.repeat(np.arange(len(users)), k)
            self.impressions.append(
                users, row, items.ravel(), clicked.ravel(), by, now[row], session[row], page[row]
            )
        if self.clicks.items.shape[1]:
            row, slot = np.nonzero(clicked)
            ones = np.ones(len(row), np.float32)
            self.clicks.append(
                users, row, items[row, slot], ones, by, now[row], session[row], page[row]
            )

    def _add(
        self,
        users: np.ndarray,
        row: np.ndarray,
        items: np.ndarray,
        clicked: np.ndarray,
        by: int,
        time: np.ndarray,
        session: np.ndarray,
        page: np.ndarray,
    ) -> None:
        self.impressions.append(users, row, items, clicked, by, time, np.full(len(row), -1), page)
        c = clicked
        self.clicks.append(
            users,
            row[c],
            items[c],
            np.ones(int(c.sum()), np.float32),
            by,
            time[c],
            np.full(int(c.sum()), -1),
            page[c],
        )
        width = self.seen.shape[1]
        if not width:
            return
        per_user = np.bincount(row, minlength=len(users))
        rank = np.arange(len(row)) - (np.cumsum(per_user) - per_user)[row]
        late = rank >= per_user[row] - width
        self.seen[users[row[late]], (self.seen_count[users[row[late]]] + rank[late]) % width] = (
            items[late]
        )
        self.seen_count[users] += per_user
