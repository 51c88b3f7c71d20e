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

    def add(
        self,
        users: np.ndarray,
        items: np.ndarray,
        clicked: np.ndarray,
        by: int,
        time: np.ndarray,
        session: np.ndarray,
        page: np.ndarray,
        clicks_alone: bool = False,
    ) -> None:
        """Adds slates (B, K) of users (B,), or what was clicked of them; the others are (B,)."""
        from simulator.engine import loops  # where somebody is served: numba takes its time

        if self.items.shape[1]:
            loops.add_entries(
                users, items, clicked, clicks_alone, by, time, session, page, *self._arrays
            )

    def last(
        self, users: np.ndarray, length: int, own: int, session: np.ndarray, now: np.ndarray
    ) -> tuple[np.ndarray, ...]:
        """`loops.last_entries` of this ring."""
        from simulator.engine import loops

        return loops.last_entries(users, length, own, session, now, *self._arrays)

    @property
    def _arrays(self) -> tuple[np.ndarray, ...]:
        return tuple(getattr(self, name) for name in self.__slots__)


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

    def load(self, log: Impressions, place_of: np.ndarray) -> None:
        """Starts the histories from a log. `place_of` (U,) is each log user's place in the
        population, or -1.
        """
        place = np.where(
            log.user < len(place_of), place_of[np.minimum(log.user, len(place_of) - 1)], -1
        )
        mine = log.rows(place >= 0).by_user()
        before = np.full(len(mine), -1, np.int32)
        self.record(
            place_of[mine.user],
            mine.item[:, None],
            mine.clicked[:, None],
            0,
            mine.time,
            before,
            mine.page,
        )

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
        """Adds slates (B, K), in the order of their rows."""
        from simulator.engine import loops

        # One type each, since loops are compiled for every other one.
        users, items = np.asarray(users, np.int64), np.ascontiguousarray(items, np.int32)
        clicked, now = np.ascontiguousarray(clicked, bool), np.asarray(now, np.float64)
        session, page = np.asarray(session, np.int32), np.asarray(page, np.int16)
        if self.seen.shape[1]:
            loops.add_seen(users, items, self.seen, self.seen_count)
        self.impressions.add(users, items, clicked, by, now, session, page)
        self.clicks.add(users, items, clicked, by, now, session, page, clicks_alone=True)
