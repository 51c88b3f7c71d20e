"""Keys and values kept from page to page of a session; shared by sasrec and gptrec.

A session's context starts as what came before it, grows by a block of tokens with every page, and
is rebuilt after a fixed number of pages. Chunks have a fixed shape, the last one padded: the same
user then gets bit for bit the same scores whoever shares the chunk.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from policies.base import Requests

CHUNK = 64  # rows computed at once, unless a policy says otherwise


@dataclass(frozen=True, slots=True)
class Tokens:
    """Tokens of B users, left-aligned: items (B, T) int64 with 0 for none, segments (B, T) int64,
    users (B,) int64.
    """

    items: Tensor
    segments: Tensor
    users: Tensor


class CachedNet(Protocol):
    """A causal transformer that can go on from keys and values that it made before."""

    layers: int
    heads: int
    width: int

    def scale(self, vectors: Tensor) -> Tensor: ...

    def extend(
        self,
        tokens: Tokens,
        first: Tensor,
        keys: list[Tensor],
        values: list[Tensor],
        base: int,
        seen: Tensor | None,
        newest: Tensor,
    ) -> Tensor:
        """(B, D) state of the newest of the new tokens of each row.

        Args:
            first: (B,) position of the first new token.
            keys, values: per layer (B, heads, slots, D / heads); the new ones are written from slot
                `base` on.
            seen: (B, T, base + T) the slots that each new token attends to, bool or added to the
                scores (0 or -inf); None = itself and all before it.
            newest: (B,) which of the T it is.
        """
        ...


@dataclass(frozen=True, slots=True)
class Entries:
    """Histories as tokens that a policy chose: (B, H) arrays, `keep` says which entries are tokens
    at all.
    """

    items: np.ndarray
    segments: np.ndarray
    turns: np.ndarray
    keep: np.ndarray


def left_aligned(
    items: np.ndarray, segments: np.ndarray, mask: np.ndarray, width: int
) -> tuple[np.ndarray, np.ndarray]:
    """(B, width) items and segments: the last `width` masked entries of each row, oldest first,
    then zeros.
    """
    from_right = np.cumsum(mask[:, ::-1], axis=1)[:, ::-1]
    rows, columns = np.nonzero(mask & (from_right <= width))
    count = np.minimum(mask.sum(axis=1), width)
    place = count[rows] - from_right[rows, columns]
    out_items = np.zeros((len(items), width), np.int64)
    out_segments = np.zeros((len(items), width), np.int64)
    out_items[rows, place] = items[rows, columns]
    out_segments[rows, place] = segments[rows, columns]
    return out_items, out_segments


class Wave:
    """The live sessions of one wave, all on the same page."""

    def __init__(
        self,
        net: CachedNet,
        users: np.ndarray,
        rows: np.ndarray,
        sessions: np.ndarray,
        slots: int,
        chunk: int,
    ):
        self.net, self.users, self.sessions, self.chunk = net, users, sessions, chunk
        size = -(-len(users) // chunk) * chunk
        shape = (size, net.heads, slots, net.width // net.heads)
        self.keys = [torch.zeros(shape) for _ in range(net.layers)]
        self.values = [torch.zeros(shape) for _ in range(net.layers)]
        self.valid = torch.zeros((size, slots), dtype=torch.bool)
        self.count = torch.zeros(size, dtype=torch.int64)
        self.last = torch.zeros((size, net.width))
        self.rows = torch.zeros(size, dtype=torch.int64)  # which user embedding; 0 = the shared row
        self.rows[: len(users)] = torch.from_numpy(rows)
        self.base = 0
        self.page = 0  # the context holds the pages before this one

    def chunks(self) -> list[slice]:
        """The rows that are computed together."""
        return [slice(begin, begin + self.chunk) for begin in range(0, len(self.count), self.chunk)]

    def find(self, users: np.ndarray, sessions: np.ndarray) -> np.ndarray | None:
        """Where these users stand, or None unless all are here with these sessions. `self.users`
        ascends.
        """
        at = np.minimum(np.searchsorted(self.users, users), len(self.users) - 1)
        if len(at) and (self.users[at] == users).all() and (self.sessions[at] == sessions).all():
            return at
        return None

    def append(self, at: np.ndarray, items: np.ndarray, segments: np.ndarray) -> None:
        """Adds a block of tokens (B, T), left-aligned, for the users standing at `at`; the others
        get none.
        """
        width = items.shape[1]
        block = torch.zeros((len(self.count), width), dtype=torch.int64)
        spoken = torch.zeros_like(block)
        block[at], spoken[at] = torch.from_numpy(items), torch.from_numpy(segments)
        fresh = block > 0
        self.valid[:, self.base : self.base + width] = fresh
        for here in self.chunks():
            if not fresh[here].any():
                continue  # all of this chunk have left
            n = fresh[here].sum(1)
            states = self._newest(here, block[here], spoken[here], (n - 1).clamp(min=0))
            self.last[here] = torch.where((n > 0)[:, None], states, self.last[here])
        self.count += fresh.sum(1)
        self.base += width

    def _newest(self, here: slice, items: Tensor, segments: Tensor, newest: Tensor) -> Tensor:
        tokens = Tokens(items, segments, self.rows[here])
        keys, values = [k[here] for k in self.keys], [v[here] for v in self.values]
        if not self.base:  # left-aligned: what pads a row comes after all of its tokens
            return self.net.extend(tokens, self.count[here], keys, values, 0, None, newest)
        width = items.shape[1]
        end = self.base + width
        # Within the block tokens come first and padding last, so that causality alone hides the
        # padding.
        known = self.valid[here, None, :end].clone()
        known[..., self.base :] = True
        hidden = torch.full((width, end), -torch.inf).triu(self.base + 1)
        seen = torch.where(known, 0.0, -torch.inf) + hidden
        return self.net.extend(tokens, self.count[here], keys, values, self.base, seen, newest)

    def peek(self, here: slice, items: Tensor, segment: int, depth: int) -> Tensor:
        """(chunk, D) states after saying one more item (chunk,), kept in slots beyond the context.

        Depth d goes on from what was said at depths < d; the next page forgets it all.
        """
        base, width = self.base, 1
        end = base + depth + width
        self.valid[here, base + depth] = True
        seen = self.valid[here, None, :end]
        tokens = Tokens(items[:, None], torch.full((self.chunk, 1), segment), self.rows[here])
        keys, values = [k[here] for k in self.keys], [v[here] for v in self.values]
        first = self.count[here] + depth
        return self.net.extend(
            tokens,
            first,
            keys,
            values,
            base + depth,
            seen,
            torch.zeros(self.chunk, dtype=torch.int64),
        )

    def forget(self, depth: int) -> None:
        """Takes back what was said by `peek`."""
        self.valid[:, self.base : self.base + depth] = False

    def narrowed(self, at: np.ndarray) -> "Wave":
        """A wave of these users alone; worth its copy once many have left."""
        size = -(-len(at) // self.chunk) * self.chunk
        pick = torch.zeros(size, dtype=torch.int64)
        pick[: len(at)] = torch.from_numpy(at)
        new = object.__new__(Wave)
        new.net, new.users, new.sessions, new.chunk = (
            self.net,
            self.users[at],
            self.sessions[at],
            self.chunk,
        )
        new.keys = [k[pick] for k in self.keys]
        new.values = [v[pick] for v in self.values]
        new.valid, new.count = self.valid[pick], self.count[pick]
        new.last, new.rows = self.last[pick], self.rows[pick]
        new.base, new.page = self.base, self.page
        return new


class SessionStore:
    """Finds or makes the wave of a batch of requests, all on one page.

    Args:
        base_length: tokens of context at the start of a session (and at each rebuild).
        window: history entries before the session that those tokens are chosen from.
        room: further history entries that a session may add before the context is rebuilt.
        scratch: slots beyond the context for `Wave.peek`.
        chunk: rows computed at once.
    """

    def __init__(
        self, base_length: int, window: int, room: int, scratch: int = 0, chunk: int = CHUNK
    ):
        self.base_length, self.window, self.room, self.scratch = base_length, window, room, scratch
        self.chunk = chunk
        self.wave: Wave | None = None

    def rebuild_every(self, slate_size: int) -> int:
        return max(1, self.room // slate_size)

    def advance(
        self,
        net: CachedNet,
        requests: Requests,
        entries: Entries,
        start: int,
        user_rows: Callable,
        slate_size: int,
    ) -> tuple[Wave, np.ndarray]:
        """The wave, brought up to this page, and where its users stand. `start` is the start
        token's id.
        """
        page = int(requests.pages[0])
        phase = page % self.rebuild_every(slate_size)
        wave = self.wave
        at = None
        if wave is not None and phase and wave.page == page - 1 and wave.net is net:
            at = wave.find(requests.users, requests.sessions)
        if wave is None or at is None:
            wave, at = self._fresh(
                net, requests, entries, page - phase, start, user_rows, slate_size
            )
        elif len(at) < 0.6 * len(wave.users):
            wave = wave.narrowed(np.sort(at))
            at = np.searchsorted(wave.users, requests.users)
        for turn in range(wave.page, page):
            block = left_aligned(
                entries.items, entries.segments, entries.keep & (entries.turns == turn), slate_size
            )
            wave.append(at, *block)
        wave.page = page
        self.wave = wave
        return wave, at

    def _fresh(
        self,
        net: CachedNet,
        requests: Requests,
        entries: Entries,
        first_page: int,
        start: int,
        user_rows: Callable,
        slate_size: int,
    ) -> tuple[Wave, np.ndarray]:
        order = np.argsort(requests.users, kind="stable")
        at = np.argsort(order, kind="stable")
        slots = 1 + self.base_length + self.rebuild_every(slate_size) * slate_size + self.scratch
        users = requests.users[order]
        wave = Wave(net, users, user_rows(users), requests.sessions[order], slots, self.chunk)
        # The entries before the first page, as many as are surely there whenever one asks.
        since = ((entries.turns >= first_page) & (entries.items > 0)).sum(axis=1, keepdims=True)
        column = np.arange(entries.items.shape[1])
        end = entries.items.shape[1] - since
        before = entries.keep & (column < end) & (column >= end - self.window)
        items, segments = left_aligned(entries.items, entries.segments, before, self.base_length)
        items = np.concatenate([np.full((len(items), 1), start), items], axis=1)
        segments = np.concatenate([np.zeros((len(items), 1), np.int64), segments], axis=1)
        wave.append(at, items, segments)
        wave.page = first_page
        return wave, at
