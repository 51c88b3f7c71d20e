"""The offline protocol: leave one out, rank all items, exclude the history (docs/offline.md).

The last item of each user is the test target, the one before it the validation target, the rest is
for training. A target that already stands in the user's history cannot be ranked, since the history
is excluded: it is a miss.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from policies.base import Policy
from policies.catalogue import Catalogue
from policies.common.errors import InputError
from policies.log import Impressions
from policies.neural.next_items import best, gains, picked
from policies.neural.sequences import Sequences
from policies.sources.datasets import load_as
from policies.sources.lines import read_lines
from policies.sources.roles import Reading

K = 20
CUTS = (5, 10, 20)


@dataclass(frozen=True)
class LeaveOneOut:
    """A data set, split.

    Attributes:
        train: all users' clicks but for the targets.
        users: (V,) ids of those with at least three clicks, who have targets.
        valid, test: (V,) int32 targets.
        times: (M,) seconds of the clicks of `train`; zeros where the log tells the order only.
        notes: what was found out about the log, a sentence each.
    """

    name: str
    n_items: int
    n_users: int
    train: Sequences
    users: np.ndarray
    valid: np.ndarray
    test: np.ndarray
    times: np.ndarray
    notes: tuple[str, ...] = ()

    def history(self, with_valid: bool) -> Sequences:
        """The clicks of `users` before the target, in the order of `users`: without or with the
        validation target.
        """
        at = np.searchsorted(self.train.users, self.users)
        sizes = self.train.lengths[at]
        starts = np.concatenate([[0], np.cumsum(sizes + with_valid)])
        row = np.repeat(np.arange(len(at)), sizes)
        place = np.arange(len(row)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        items = np.zeros(starts[-1], np.int32)
        items[starts[row] + place] = self.train.items[self.train.starts[at][row] + place]
        if with_valid:
            items[starts[1:] - 1] = self.valid
        return Sequences(self.users, items, starts, np.ones(len(items), np.float32))

    def log(self) -> tuple[Impressions, Catalogue]:
        """The training part as a log of choices, for policies that are no networks."""
        train = self.train
        user = np.repeat(train.users, train.lengths)
        log = Impressions.of(
            user=user,
            item=train.items,
            time=self.times,
            shown=np.zeros(len(user), bool),
            clicked=np.ones(len(user), bool),
        )
        return log, Catalogue.of(np.arange(1, self.n_items + 1).astype(str))

    def repeated(self) -> int:
        """Test targets that stand in their own history."""
        history = self.history(True)
        row = np.repeat(np.arange(len(self.users)), history.lengths)
        return len(np.unique(row[history.items == self.test[row]]))


def read(spec: str, reading: Reading | None = None) -> LeaveOneOut:
    """A file of "user item item item ..." lines (.txt), or any log that the simulator reads."""
    if spec.endswith(".txt"):
        user, item, _, items = read_lines(Path(spec))
        return _split(Path(spec).name, user, item, np.zeros(len(user)), len(items))
    if spec.startswith("world:"):
        raise InputError(
            "the built-in world lives in simulator.run; give --data a .txt, an event table or a"
            " data set's folder"
        )
    data = load_as(spec, reading or Reading())
    log = data.for_policies()
    log = log.rows(log.clicked).by_user()
    split = _split(data.name, log.user.astype(np.int64), log.item, log.time, data.catalogue.size)
    return replace(split, notes=data.notes)


def _split(
    name: str, user: np.ndarray, item: np.ndarray, time: np.ndarray, n_items: int
) -> LeaveOneOut:
    """From rows grouped by user, in order of time."""
    count = np.bincount(user)
    start = np.cumsum(count) - count
    users = np.flatnonzero(count >= 3)
    if len(users) < 2:
        raise InputError(
            f"'{name}': {len(users)} users have 3 clicks or more; leave-one-out needs at least two"
            " such users"
        )
    if n_items <= K:
        raise InputError(f"'{name}': {n_items} items; ranking the best {K} needs more than that")
    end = start + count
    kept = np.ones(len(user), bool)
    kept[end[users] - 1] = kept[end[users] - 2] = False
    there, first = np.unique(user[kept], return_index=True)
    train = Sequences(
        there,
        item[kept].astype(np.int32),
        np.append(first, kept.sum()),
        np.ones(kept.sum(), np.float32),
    )
    return LeaveOneOut(
        name,
        n_items,
        len(count),
        train,
        users,
        item[end[users] - 2].astype(np.int32),
        item[end[users] - 1].astype(np.int32),
        time[kept],
    )


def ranks(
    policy: Policy, split: LeaveOneOut, part: str, rows: np.ndarray | None = None, k: int = K
) -> np.ndarray:
    """(V,) uint8 place of each target among the best k, from 1; 0 = not among them.

    Args:
        part: "valid" or "test"; the test's history includes the validation target.
        rows: only these of `split.users`.
    """
    history = split.history(part == "test")
    targets = split.test if part == "test" else split.valid
    users = split.users
    if rows is not None:
        users, targets = users[rows], targets[rows]
        history = Sequences(users, *picked(history, rows))
    slates = best(policy, split.n_items, users, history, k)
    hit = slates == targets[:, None]
    return np.where(hit.any(axis=1), hit.argmax(axis=1) + 1, 0).astype(np.uint8)


def metrics(ranks: np.ndarray) -> dict[str, float]:
    """HR and NDCG at 5, 10 and 20."""
    hits = {f"hr@{k}": float(((ranks > 0) & (ranks <= k)).mean()) for k in CUTS}
    return hits | {f"ndcg@{k}": float(gains(ranks, k).mean()) for k in CUTS}
