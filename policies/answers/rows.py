"""Rows that were shown, as models of answers read them."""

from dataclasses import dataclass, replace

import numpy as np

from policies.answers.exposures import WINDOW, exposures_of
from policies.base import KINDS
from policies.catalogue import Catalogue
from policies.log import Impressions

MOST_ROWS = 2_000_000  # that are learned from at once: of more, the latest


@dataclass(frozen=True, slots=True)
class Rows:
    """n items that were shown, by user, each user's in order of time, page and slot.

    Attributes:
        user, item, slot: (n,) int64.
        seen: (n, EXPOSURES) float32, what the user had been shown of late, as `exposures_of`.
        answers: kind -> (n,) float64 0 or 1, of `KINDS`.
        time: (n,) s.
        page: (n,) which pages stand together: rows with equal numbers were shown at once.
        weight: (n,) float64 how much each counts; 1 on average.
    """

    user: np.ndarray
    item: np.ndarray
    slot: np.ndarray
    seen: np.ndarray
    answers: dict[str, np.ndarray]
    time: np.ndarray
    page: np.ndarray
    weight: np.ndarray

    def __len__(self) -> int:
        return len(self.item)

    def kept(self, which: np.ndarray) -> "Rows":
        """The rows picked by a mask or indices."""
        return replace(
            self,
            user=self.user[which],
            item=self.item[which],
            slot=self.slot[which],
            seen=self.seen[which],
            answers={kind: given[which] for kind, given in self.answers.items()},
            time=self.time[which],
            page=self.page[which],
            weight=self.weight[which],
        )


def pages_of(log: Impressions) -> np.ndarray:
    """(n,) the number of each row's page, from 0, of a log by user: what one user was shown at one
    moment.
    """
    new = np.ones(len(log), bool)
    new[1:] = (log.user[1:] != log.user[:-1]) | (log.time[1:] != log.time[:-1])
    numbers: np.ndarray = np.cumsum(new) - 1
    return numbers


def rows_of(
    log: Impressions, catalogue: Catalogue, window: int = WINDOW, most: int = MOST_ROWS
) -> Rows:
    """The rows that were shown, what came before them counted as exposures.

    Args:
        log: by user (`Impressions.by_user`), what was chosen without having been shown included.
        window: of exposures, as in `exposures_of`.
        most: of more rows than that, the latest.
    """
    seen = exposures_of(log, catalogue, window)
    which = np.flatnonzero(log.shown)
    if len(which) > most:
        latest = np.argsort(log.time[which], kind="stable")[-most:]
        which = np.sort(which[latest])
    weight = log.weight[which].astype(np.float64)
    return Rows(
        user=log.user[which].astype(np.int64),
        item=log.item[which].astype(np.int64),
        slot=log.slot[which].astype(np.int64),
        seen=seen[which],
        answers={kind: getattr(log, kind)[which].astype(np.float64) for kind in KINDS},
        time=log.time[which],
        page=pages_of(log)[which],
        weight=weight / max(float(weight.mean()), 1e-12) if len(weight) else weight,
    )
