"""From logs to training batches without wasted padding; shared by sasrec and gptrec.

A *window* is a run of one user's tokens. Windows of like length share a batch, so that little is
padded, and a batch holds about the same number of tokens whatever the lengths.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from policies.log import Impressions


@dataclass(frozen=True, slots=True)
class Sequences:
    """Every user's clicks in order of time, end to end.

    Attributes:
        users: (U,) user ids that have at least one click, ascending.
        items: (M,) int32 all clicks, grouped by user.
        starts: (U + 1,) where each user's clicks begin in `items`.
        weights: (M,) float32 how much each click counts as a target.
    """

    users: np.ndarray
    items: np.ndarray
    starts: np.ndarray
    weights: np.ndarray

    @staticmethod
    def of(log: Impressions) -> "Sequences":
        """From the clicked rows of a log in any order."""
        chosen = log.rows(log.clicked).by_user()
        users, first = np.unique(chosen.user, return_index=True)
        return Sequences(users, chosen.item, np.append(first, len(chosen)), chosen.weight)

    @property
    def lengths(self) -> np.ndarray:
        return np.diff(self.starts)


@dataclass(frozen=True, slots=True)
class Batch:
    """Tokens left-aligned behind a start token, and what to predict from where.

    Attributes:
        users: (B,) user ids.
        items: (B, T) int32; column 0 is the start token N + 1, 0 is padding.
        segments: (B, T) int8 who spoke and what was answered (all 0 for a policy that does not
            care).
        offset: (B,) position of column 0, so that every position is trained.
        where: (P,) index into the B * T states from which to predict.
        targets: (P,) int32 the item to predict.
        weights: (P,) float32.
        skipped: (P, S) int32 items of the target's page that were shown and ignored, 0 where none;
            S may be 0.
        shown: whether these are pages as they were shown; then several targets may share a state.
        within: whether a target is told from the skipped items of its page alone, and not from all
            items.
    """

    users: np.ndarray
    items: np.ndarray
    segments: np.ndarray
    offset: np.ndarray
    where: np.ndarray
    targets: np.ndarray
    weights: np.ndarray
    skipped: np.ndarray
    shown: bool = False
    within: bool = False


def windows(
    lengths: np.ndarray, longest: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cuts sequences into windows of at most `longest`, at a random phase.

    Args:
        lengths: (U,) tokens per sequence.

    Returns:
        row (W,) the sequence, begin (W,) and size (W,) within it; together they cover each token
        once.
    """
    phase = np.where(lengths > longest, rng.integers(0, longest, len(lengths)), 0)
    pieces = np.where(
        lengths > longest, (lengths - phase + longest - 1) // longest + (phase > 0), 1
    )
    row = np.repeat(np.arange(len(lengths)), pieces)
    k = np.arange(len(row)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    # With a phase the first piece is the short one: [0, phase), [phase, phase + longest), ...
    shift = phase[row]
    begin = np.where(shift > 0, np.maximum(shift + (k - 1) * longest, 0), k * longest)
    end = np.where((shift > 0) & (k == 0), shift, np.minimum(begin + longest, lengths[row]))
    size = end - begin
    kept = size > 0
    return row[kept], begin[kept], size[kept]


def by_length(
    sizes: np.ndarray, batch_tokens: int, rng: np.random.Generator
) -> Iterator[np.ndarray]:
    """Indices of windows of like size, about `batch_tokens` tokens together, batches in random
    order.
    """
    order = np.lexsort((rng.random(len(sizes)), sizes))
    batches = []
    begin = 0
    while begin < len(order):
        # Ascending sizes: the batch is as wide as its last window.
        end = begin + 1
        while end < len(order) and (end + 1 - begin) * (sizes[order[end]] + 1) <= batch_tokens:
            end += 1
        batches.append(order[begin:end])
        begin = end
    for index in rng.permutation(len(batches)):
        yield batches[index]


def autoregressive(
    sequences: Sequences,
    n_items: int,
    longest: int,
    batch_tokens: int,
    rng: np.random.Generator,
    room: int = 0,
) -> Iterator[Batch]:
    """One epoch: predict each click from the ones before it. Half of the windows start at a random
    position <= room.
    """
    row, begin, size = windows(sequences.lengths, longest, rng)
    for pick in by_length(size, batch_tokens, rng):
        width = int(size[pick].max())
        index = (sequences.starts[row[pick]] + begin[pick])[:, None] + np.arange(width)
        inside = np.arange(width) < size[pick][:, None]
        index = np.minimum(index, len(sequences.items) - 1)
        clicks = np.where(inside, sequences.items[index], 0)
        items = np.zeros((len(pick), width), np.int32)
        items[:, 0] = n_items + 1
        items[:, 1:] = np.where(inside[:, 1:], clicks[:, :-1], 0)
        where = np.flatnonzero(inside)
        yield Batch(
            users=sequences.users[row[pick]],
            items=items,
            segments=np.zeros(items.shape, np.int8),
            offset=rng.integers(0, room + 1, len(pick)) * (rng.random(len(pick)) < 0.5),
            where=where,
            targets=clicks.ravel()[where],
            weights=sequences.weights[index.ravel()[where]],
            skipped=np.zeros((len(where), 0), np.int32),
        )


def split_by_time(log: Impressions, share: float) -> tuple[Impressions, Impressions]:
    """The earlier part of a log and the last `share` of its clicks' time order, for validation."""
    times = np.sort(log.time[log.clicked])
    cut = times[min(int(len(times) * (1 - share)), len(times) - 1)] if len(times) else 0.0
    late = log.time >= cut
    return log.rows(~late), log.rows(late)


def next_clicks(
    early: Impressions, late: Impressions, length: int, most: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Validation: each user's last `length` early clicks and its first late one.

    Returns:
        users (V,), contexts (V, length) int32 left-padded, targets (V,) int32, at most `most`
        users.
    """
    before, after = Sequences.of(early), Sequences.of(late)
    users = np.intersect1d(before.users, after.users)
    if len(users) > most:
        users = np.sort(rng.choice(users, most, replace=False))
    targets = after.items[after.starts[np.searchsorted(after.users, users)]]
    return users, last_items(before, users, length), targets


def last_items(sequences: Sequences, users: np.ndarray, length: int) -> np.ndarray:
    """(V, length) int32: each user's last clicks, oldest first, left-padded with 0."""
    at = np.searchsorted(sequences.users, users)
    at_safe = np.minimum(at, len(sequences.users) - 1)
    known = (
        (at < len(sequences.users)) & (sequences.users[at_safe] == users)
        if len(sequences.users)
        else at < 0
    )
    if not known.any():
        return np.zeros((len(users), length), np.int32)
    index = sequences.starts[at_safe + 1][:, None] - length + np.arange(length)
    inside = (index >= sequences.starts[at_safe][:, None]) & known[:, None]
    return np.where(inside, sequences.items[np.maximum(index, 0)], 0).astype(np.int32)


def remember(memory: np.ndarray, log: Impressions) -> np.ndarray:
    """(U', L) each user's last L clicks after those of `log`; rows are user ids, added where
    needed.
    """
    length = memory.shape[1]
    sequences = Sequences.of(log)
    if not len(sequences.users):
        return memory
    memory = grown(memory, int(sequences.users.max()) + 1)
    fresh = last_items(sequences, sequences.users, length)
    kept = np.minimum(sequences.lengths, length)
    # Row by row the old clicks move left by as many places as there are new ones.
    source = np.arange(length) + kept[:, None]
    old = np.take_along_axis(memory[sequences.users], np.minimum(source, length - 1), 1)
    memory[sequences.users] = np.where(source < length, old, fresh)
    return memory


def grown(array: np.ndarray, rows: int) -> np.ndarray:
    """A copy with at least this many rows, new ones zero."""
    bigger = np.zeros((max(rows, len(array)), *array.shape[1:]), array.dtype)
    bigger[: len(array)] = array
    return bigger


def joined(memory: np.ndarray, log: Impressions) -> Sequences:
    """The sequences of the users in `log`: what was remembered of them, then their new clicks."""
    new = Sequences.of(log)
    memory = grown(memory, int(new.users.max()) + 1 if len(new.users) else 0)
    old = memory[new.users]
    rows, columns = np.nonzero(old)
    counts = (old > 0).sum(1)
    starts = np.concatenate([[0], np.cumsum(counts + new.lengths)])
    items = np.zeros(starts[-1], np.int32)
    weights = np.ones(starts[-1], np.float32)  # what is remembered counts as it is
    rank = np.cumsum(old > 0, axis=1)[rows, columns] - 1
    items[starts[rows] + rank] = old[rows, columns]
    row = np.repeat(np.arange(len(new.users)), new.lengths)
    place = starts[row] + counts[row] + np.arange(len(new.items)) - new.starts[row]
    items[place], weights[place] = new.items, new.weights
    return Sequences(new.users, items, starts, weights)
