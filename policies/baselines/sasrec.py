"""SASRec: self-attention over the clicks of one user (Kang and McAuley, ICDM 2018, arXiv
1808.09781).

Departures from the paper, each because it trains faster to a better validation score: softmax over
all items (or sampled, with log-Q correction) instead of one negative per position, cosine scores
with a temperature, item embeddings started from the co-occurrence of items, a learning rate that
falls to zero. `loss=bce` with `start=false` takes back the first three.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from policies.base import Requests, bounded
from policies.neural.networks import Block, ItemNet, extend_all
from policies.neural.sequences import Batch
from policies.neural.sequential import Sequential
from policies.neural.sessions import Entries, SessionStore, Tokens, Wave


class SASRecNet(ItemNet):
    """Items and positions in, states out; the score of an item is the cosine (or dot product) with
    its embedding.
    """

    def __init__(
        self,
        n_items: int,
        width: int,
        layers: int,
        heads: int,
        positions: int,
        dropout: float,
        cosine: bool = True,
        untied: bool = False,
    ):
        super().__init__(n_items, width, dropout, cosine, untied)
        self.layers, self.heads = layers, heads
        self.positions = nn.Embedding(positions, width)
        self.blocks = nn.ModuleList(Block(width, heads, self.dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width)

    def states(self, batch: Batch) -> Tensor:
        """(B * T, D) for training: tokens are left-aligned, so the causal mask hides the padding
        from all others.
        """
        device = self.items.weight.device
        items = torch.from_numpy(batch.items.astype(np.int64)).to(device)
        at = torch.from_numpy(batch.offset)[:, None] + torch.arange(items.shape[1])
        x = self.dropout(self.context_embedding(items) + self.positions(at.to(device)))
        for block in self.blocks:
            x = block(x)
        return self.norm(x).flatten(0, 1)

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
        """See `policies.neural.sessions.CachedNet`."""
        at = first[:, None] + torch.arange(tokens.items.shape[1])
        x = self.context_embedding(tokens.items) + self.positions(
            at.clamp(max=self.positions.num_embeddings - 1)
        )
        return self.norm(extend_all(self.blocks, x, keys, values, base, seen, newest))


@dataclass
class SASRec(Sequential):
    """The strong plain baseline: what did people like this one click next?"""

    room: int = bounded(48, ge=0, le=10_000)  # further clicks before the context is rebuilt
    cache: bool = True  # keep keys and values from page to page

    def __post_init__(self) -> None:
        super().__post_init__()
        window = self.window if self.answers else self.length
        self._store = SessionStore(self.length, window, self.room, chunk=self.chunk)

    def _make(self, n_items: int, n_users: int) -> SASRecNet:
        positions = 1 + self.length + self.room
        cosine = self.loss == "softmax"
        return SASRecNet(
            n_items,
            self.width,
            self.layers,
            self.heads,
            positions,
            self.dropout,
            cosine,
            self.untied,
        )

    def _forget(self) -> None:
        super()._forget()
        self._store.wave = None

    def _slates(
        self, requests: Requests, k: int, vectors: Tensor, width: int | None = None
    ) -> np.ndarray:
        wave, at = self._advance(
            requests, k, self._store if width is None else SessionStore(width, width, 0)
        )
        states = self.net.scale(wave.last)
        exclude = np.zeros((len(states), requests.exclude.shape[1]), np.int64)
        exclude[at] = requests.exclude
        ordering = self._order() if width is None else None
        few = k if ordering is None else self._few(requests, k)
        best = np.zeros((len(states), few), np.int32)
        for here in wave.chunks() if few else []:
            best[here] = self._best(
                states[here], vectors, exclude[here], requests.available, few, width is not None
            )
        if ordering is None:
            return best[at]
        return self._ordered(ordering, requests, k, wave.last, at, best if few else None)

    def _advance(self, requests: Requests, k: int, store: SessionStore) -> tuple[Wave, np.ndarray]:
        """The wave of these requests, brought up to their page, and where each one stands in it."""
        if not self.cache:
            store.wave = None
        clicked = (requests.items > 0) & (requests.feedback > 0)
        entries = Entries(requests.items, np.zeros_like(requests.items), requests.turns, clicked)
        return store.advance(self.net, requests, entries, len(self._popularity), np.zeros_like, k)
