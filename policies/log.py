"""Impressions: the one table that everything reads, and the data set that a loader returns."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field, fields, replace
from functools import cached_property

import numpy as np

from policies.catalogue import Catalogue
from policies.common.errors import InputError

COLUMNS: dict[str, type] = {
    "bucket": np.int16,  # code of the bucket; -1 = the log or the warm-up
    "round": np.int16,  # of the model that served it; -1 = the log or the warm-up
    "time": np.float64,  # s
    "user": np.int32,
    "session": np.int32,
    "page": np.int16,
    "slot": np.int8,
    "item": np.int32,
    "propensity": np.float32,  # NaN = unknown
    "weight": np.float32,
    "shown": np.bool_,  # False = known only because it was chosen
    "clicked": np.bool_,
    "watched": np.float32,  # s
    "long_view": np.bool_,
    "liked": np.bool_,
    "hated": np.bool_,  # negative feedback: hidden, disliked, reported
}
_DEFAULTS = {
    "bucket": -1,
    "round": -1,
    "session": 0,
    "page": 0,
    "slot": 0,
    "propensity": np.nan,
    "weight": 1.0,
    "shown": True,
}


@dataclass(frozen=True, slots=True)
class Impressions:
    """One row per item shown; every attribute is an array of the same length, typed as `COLUMNS`
    says.

    Rows that are `shown` are all that a user was shown, skips and clicks alike, so that clicks over
    rows are a rate. The others are known only because they were chosen (a log without skips, the
    choices before a log): `clicked` is true on all of them, and tells nothing of a rate.
    """

    bucket: np.ndarray
    round: np.ndarray
    time: np.ndarray
    user: np.ndarray
    session: np.ndarray
    page: np.ndarray
    slot: np.ndarray
    item: np.ndarray
    propensity: np.ndarray
    weight: np.ndarray
    shown: np.ndarray
    clicked: np.ndarray
    watched: np.ndarray
    long_view: np.ndarray
    liked: np.ndarray
    hated: np.ndarray

    def __len__(self) -> int:
        return len(self.item)

    @staticmethod
    def of(**columns: np.ndarray) -> "Impressions":
        """From the columns given; the others get their neutral value. Converts types, checks
        lengths.
        """
        n = len(columns["item"])
        full: dict[str, np.ndarray] = {}
        for name, dtype in COLUMNS.items():
            given = columns.pop(name, None)
            if given is None:
                full[name] = np.full(n, _DEFAULTS.get(name, 0), dtype)
            else:
                full[name] = np.asarray(given, dtype)
            if len(full[name]) != n:
                raise InputError(f"column '{name}' has {len(full[name])} rows where 'item' has {n}")
        if columns:
            raise InputError(f"impressions have no column '{next(iter(columns))}'")
        return Impressions(**full)

    @staticmethod
    def empty() -> "Impressions":
        return Impressions.of(item=np.zeros(0, np.int32))

    @staticmethod
    def concat(parts: Iterable["Impressions"]) -> "Impressions":
        kept = list(parts)
        if not kept:
            return Impressions.empty()
        return Impressions(
            **{name: np.concatenate([getattr(p, name) for p in kept]) for name in COLUMNS}
        )

    def rows(self, which: np.ndarray | slice) -> "Impressions":
        """The rows picked by a mask, a slice or indices."""
        return Impressions(**{f.name: getattr(self, f.name)[which] for f in fields(self)})

    def sorted(self) -> "Impressions":
        """In the canonical order: time, user, page, slot. Itself where it is."""
        if self._in_order():
            return self
        return self.rows(np.lexsort((self.slot, self.page, self.user, self.time)))

    def _in_order(self) -> bool:
        """Whether no row stands before one that belongs before it."""
        tied = np.ones(max(len(self) - 1, 0), bool)
        for column in (self.time, self.user, self.page, self.slot):
            earlier, later = column[:-1], column[1:]
            if (tied & ~(earlier <= later)).any():
                return False
            tied &= earlier == later
        return True

    def by_user(self) -> "Impressions":
        """Grouped by user, each user's rows in order of time, page and slot."""
        return self.rows(np.lexsort((self.slot, self.page, self.time, self.user)))

    def check(self, n_items: int) -> "Impressions":
        """Returns itself, or raises InputError with the first thing that is wrong."""
        if len(self) == 0:
            raise InputError("the log is empty; give a log with at least one event")
        if not np.isfinite(self.time).all():
            bad = int((~np.isfinite(self.time)).sum())
            raise InputError(
                f"{bad} of {len(self)} rows have no usable time; give every row a number of seconds"
            )
        if self.item.min() < 1 or self.item.max() > n_items:
            raise InputError(
                f"item ids must be 1..{n_items}; found {self.item.min()}..{self.item.max()}"
            )
        if not self.clicked.any():
            raise InputError(
                "the log has no click at all; check the click column or lower the threshold"
            )
        if len(np.unique(self.user)) < 2:
            raise InputError("the log has one user; an A/B test needs at least two")
        return self


def sorted_columns(columns: dict[str, np.ndarray]) -> Impressions:
    """The columns of impressions in canonical order, one after the other: each is taken out of
    `columns`, so that a large log is not held twice.
    """
    given = Impressions(**columns)
    if given._in_order():
        return given
    order = np.lexsort((given.slot, given.page, given.user, given.time))
    del given
    return Impressions(**{name: columns.pop(name)[order] for name in COLUMNS})


@dataclass(frozen=True)
class Dataset:
    """A log as a loader returns it.

    Attributes:
        log: what was shown and answered; time 0 is the last event.
        catalogue: the items.
        user_ids: (U,) the log's own user ids as strings; `user` columns index it.
        name: what to call it in the report.
        has: which of "skips", "slots", "sessions", "watch", "long_view", "likes", "hates" the log
            really tells; "order_only" where its times are made up.
        calibration: published levels that the log itself cannot tell, name -> (value, source). They
            are assumed.
        notes: what the loader decided, one sentence each; printed in the report.
        history: what users chose before the log begins, order known but times made up. Policies and
            taste may learn from it; rates may not.
        hour_zero: hour of the day (UTC of the log) at time 0.
        ended: time 0 in seconds since 1970; None where the log does not say.
    """

    log: Impressions
    catalogue: Catalogue
    user_ids: np.ndarray
    name: str
    has: frozenset[str]
    calibration: dict[str, tuple[float, str]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    history: Impressions = field(default_factory=Impressions.empty)
    hour_zero: float = 0.0
    ended: float | None = None

    @property
    def n_users(self) -> int:
        return len(self.user_ids)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of who was shown what, when, and clicked it."""
        digest = hashlib.sha256()
        for column in (self.log.user, self.log.item, self.log.time, self.log.clicked):
            digest.update(np.ascontiguousarray(column).view(np.uint8).data)
        return digest.hexdigest()

    def for_policies(self) -> Impressions:
        """What a policy may learn from: the history and the log, in canonical order."""
        if not len(self.history):
            return self.log.sorted()
        return Impressions.concat([self.history, self.log]).sorted()

    def with_notes(self, *notes: str) -> "Dataset":
        return replace(self, notes=self.notes + notes)
