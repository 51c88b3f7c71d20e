"""Logs as conversations: what each user was shown and answered, page by page, as tokens; and the
states of a network before each page.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from policies.answers.rows import pages_of
from policies.log import Impressions
from policies.neural.sequences import Batch, grown

TOKENS = 8192  # that states are computed of at once


def skip_rank(page: np.ndarray, clicked: np.ndarray) -> np.ndarray:
    """Place of each skipped item among the skipped items of its page, from 0; rows of a page stand
    together.
    """
    skipped = ~clicked
    total = np.cumsum(skipped, axis=-1) - skipped
    first = np.ones(page.shape, bool)
    first[..., 1:] = page[..., 1:] != page[..., :-1]
    # The running total at the page's first row; it never falls, so a running maximum carries it
    # along.
    return total - np.maximum.accumulate(np.where(first, total, 0), axis=-1)


@dataclass(frozen=True, slots=True)
class Dialogues:
    """Conversations of U users and what there is to learn from them.

    Attributes:
        users: (U,) ids. starts: (U + 1,) where each one's tokens begin.
        items, segments: (M,) tokens, oldest first.
        row: (P,) whose target. before: (P,) how many of its tokens came before the target's page.
        targets: (P,) int32 clicked items. weights: (P,) float32.
        skipped: (P, S) int32 skipped items of the same page, 0 where none.
        page_row, page_before: (Q,) the same of every page, in the order of the log by user.
    """

    users: np.ndarray
    starts: np.ndarray
    items: np.ndarray
    segments: np.ndarray
    row: np.ndarray
    before: np.ndarray
    targets: np.ndarray
    weights: np.ndarray
    skipped: np.ndarray
    page_row: np.ndarray
    page_before: np.ndarray


@dataclass(frozen=True, slots=True)
class Memory:
    """The last L tokens of every user, left-padded: items (U, L) int32 and segments (U, L) int8;
    rows are user ids.
    """

    items: np.ndarray
    segments: np.ndarray

    @staticmethod
    def empty(length: int) -> "Memory":
        return Memory(np.zeros((0, length), np.int32), np.zeros((0, length), np.int8))

    def after(self, dialogues: Dialogues) -> "Memory":
        """The memory once these dialogues, which begin with what was remembered, have been had."""
        if not len(dialogues.users):
            return self
        rows = int(dialogues.users.max()) + 1
        items, segments = grown(self.items, rows), grown(self.segments, rows)
        length = items.shape[1]
        index = dialogues.starts[1:, None] - length + np.arange(length)
        inside = index >= dialogues.starts[:-1, None]
        items[dialogues.users] = np.where(inside, dialogues.items[np.maximum(index, 0)], 0)
        segments[dialogues.users] = np.where(inside, dialogues.segments[np.maximum(index, 0)], 0)
        return Memory(items, segments)


def clicks_alone(clicked: np.ndarray, shown_by: np.ndarray) -> np.ndarray:
    """Segments of a policy that does not care who spoke."""
    return np.zeros(len(clicked), np.int8)


def dialogues_of(
    log: Impressions,
    memory: Memory,
    skips: int = 0,
    segments_of: Callable[[np.ndarray, np.ndarray], np.ndarray] = clicks_alone,
) -> Dialogues:
    """Turns a log into dialogues that go on from what is remembered. `log.bucket` says who showed
    each item.

    Args:
        skips: of a page's skipped items, how many (the first ones) enter the context; all are hard
            negatives.
        segments_of: from who clicked what, and who showed it.
    """
    log = log.by_user()
    users, first_row = np.unique(log.user, return_index=True)
    row = np.searchsorted(users, log.user)
    page = pages_of(log)
    new_page = np.ones(len(log), bool)
    new_page[1:] = page[1:] != page[:-1]
    rank = skip_rank(page, log.clicked)
    kept = log.clicked | (rank < skips)
    memory = Memory(
        *(
            grown(part, int(users.max()) + 1 if len(users) else 0)
            for part in (memory.items, memory.segments)
        )
    )
    old = memory.items[users] > 0
    n_old = old.sum(axis=1)
    total = np.cumsum(kept)
    before_user = (total - kept)[first_row] if len(users) else np.zeros(0, np.int64)
    n_new = np.bincount(row[kept], minlength=len(users))
    starts = np.concatenate([[0], np.cumsum(n_old + n_new)])
    items = np.zeros(starts[-1], np.int32)
    segments = np.zeros(starts[-1], np.int8)
    r, c = np.nonzero(old)
    place = starts[r] + np.cumsum(old, axis=1)[r, c] - 1
    items[place], segments[place] = memory.items[users][r, c], memory.segments[users][r, c]
    place = (starts[row] + n_old[row] + total - 1 - before_user[row])[kept]
    items[place], segments[place] = log.item[kept], segments_of(log.clicked, log.bucket)[kept]
    # of the user's tokens, those before each page
    page_row = row[new_page]
    page_before = n_old[page_row] + (total - kept)[new_page] - before_user[page_row]
    click = np.flatnonzero(log.clicked)
    return Dialogues(
        users,
        starts,
        items,
        segments,
        row=row[click],
        before=page_before[page[click]],
        targets=log.item[click],
        weights=log.weight[click],
        skipped=_skipped_of(page, log.item, log.clicked, rank)[page[click]],
        page_row=page_row,
        page_before=page_before,
    )


def _skipped_of(
    page: np.ndarray, item: np.ndarray, clicked: np.ndarray, rank: np.ndarray, most: int = 8
) -> np.ndarray:
    """(pages, S) int32: the first skipped items of each page, 0 where there are fewer."""
    n_pages = int(page[-1]) + 1 if len(page) else 0
    usable = ~clicked & (rank < most)
    out = np.zeros(
        (n_pages, min(most, int(rank[usable].max()) + 1 if usable.any() else 0)), np.int32
    )
    out[page[usable], rank[usable]] = item[usable]
    return out


def contexts_before(talks: Dialogues, pages: np.ndarray, length: int) -> np.ndarray:
    """(len(pages), length) int32: the last tokens before these pages, left-aligned, then zeros."""
    before = np.minimum(talks.page_before[pages], length)
    start = talks.starts[talks.page_row[pages]] + talks.page_before[pages] - before
    index = start[:, None] + np.arange(length)
    inside = np.arange(length) < before[:, None]
    return np.where(inside, talks.items[np.minimum(index, max(len(talks.items) - 1, 0))], 0)


class States(Protocol):
    """A network as it is read."""

    def states(self, batch: Batch) -> Tensor: ...  # (B * T, D)


@torch.inference_mode()
def states_before(
    net: States, talks: Dialogues, pages: np.ndarray, n_items: int, length: int, room: int
) -> np.ndarray:
    """(len(pages), D) float32 states before these pages, after as many tokens as are read at
    serving: up to `length`, and then up to `room` more.

    Args:
        pages: their numbers, of at least one.
    """
    stride, before = max(room, 1), talks.page_before[pages]
    over = np.maximum(before - length - room, 0)
    key = talks.page_row[pages].astype(np.int64) * (1 << 32) + -(-over // stride) * stride
    windows, which = np.unique(key, return_inverse=True)
    row, begin = windows >> 32, windows & ((1 << 32) - 1)
    size = np.zeros(len(windows), np.int64)
    np.maximum.at(size, which, before - begin[which])
    order = np.argsort(size, kind="stable")
    grouped = np.argsort(which, kind="stable")
    first = np.searchsorted(which[grouped], np.arange(len(windows) + 1))
    out, done = np.zeros((len(pages), 0), np.float32), 0
    while done < len(order):
        end = done + 1
        while end < len(order) and (end + 1 - done) * (size[order[end]] + 1) <= TOKENS:
            end += 1
        pick = order[done:end]
        states = net.states(_read(talks, row[pick], begin[pick], size[pick], n_items)).numpy()
        width = int(size[pick].max()) + 1
        if not out.shape[1]:
            out = np.zeros((len(pages), states.shape[1]), np.float32)
        counts = first[pick + 1] - first[pick]
        run = np.repeat(first[pick] - np.cumsum(counts) + counts, counts)
        mine = grouped[run + np.arange(counts.sum())]
        place = np.repeat(np.arange(len(pick)), counts)
        out[mine] = states[place * width + before[mine] - begin[pick][place]]
        done = end
    return out


def window_tokens(
    talks: Dialogues, row: np.ndarray, begin: np.ndarray, size: np.ndarray, n_items: int
) -> tuple[np.ndarray, np.ndarray]:
    """(W, T + 1) items and segments of windows of dialogues, left-aligned behind a start token.

    Args:
        row, begin, size: (W,) whose, from which of its tokens on, how many.
    """
    width = int(size.max())
    index = (talks.starts[row] + begin)[:, None] + np.arange(width)
    inside = np.arange(width) < size[:, None]
    index = np.minimum(index, max(len(talks.items) - 1, 0))
    items = np.full((len(row), width + 1), n_items + 1, np.int32)
    segments = np.zeros(items.shape, np.int8)
    if width:
        items[:, 1:] = np.where(inside, talks.items[index], 0)
        segments[:, 1:] = np.where(inside, talks.segments[index], 0)
    return items, segments


def _read(
    talks: Dialogues, row: np.ndarray, begin: np.ndarray, size: np.ndarray, n_items: int
) -> Batch:
    """Such windows, with nothing to predict."""
    items, segments = window_tokens(talks, row, begin, size, n_items)
    nothing = np.zeros(0, np.int64)
    return Batch(
        users=talks.users[row],
        items=items,
        segments=segments,
        offset=np.zeros(len(row), np.int64),
        where=nothing,
        targets=nothing,
        weights=np.zeros(0, np.float32),
        skipped=np.zeros((0, 0), np.int32),
    )
