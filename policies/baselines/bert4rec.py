"""BERT4Rec: a transformer that looks both ways, trained to fill gaps (Sun et al., CIKM 2019, arXiv
1904.06690).

Same loss, start and care as the other transformers. A part of the windows hides its last click
only, as serving does.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from policies.base import bounded
from policies.neural.networks import Block, ItemNet
from policies.neural.sequences import Batch, Sequences, autoregressive
from policies.neural.sequential import Recomputing


class BERT4RecNet(ItemNet):
    """Items, some of them hidden, in; states out."""

    def __init__(
        self,
        n_items: int,
        width: int,
        layers: int,
        heads: int,
        positions: int,
        dropout: float,
        cosine: bool,
        untied: bool = False,
    ):
        super().__init__(n_items, width, dropout, cosine, untied)
        self.positions = nn.Embedding(positions, width)
        self.blocks = nn.ModuleList(Block(width, heads, self.dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width)

    def read(self, items: Tensor) -> Tensor:
        """(B, T, D) states at each token; padding is seen by none."""
        # Positions count from the end, as what is asked for stands there.
        at = (
            (items > 0).sum(1, keepdim=True) - 1 - torch.arange(items.shape[1], device=items.device)
        )
        at = at.clamp(min=0)
        x = self.dropout(self.context_embedding(items) + self.positions(at))
        seen = (items > 0)[:, None, None, :].expand(-1, 1, items.shape[1], -1)
        for block in self.blocks:
            x = block(x, seen)
        return self.norm(x)

    def states(self, batch: Batch) -> Tensor:
        """(B * T, D) for training."""
        return self.read(
            torch.from_numpy(batch.items.astype(np.int64)).to(self.items.weight.device)
        ).flatten(0, 1)


@dataclass
class BERT4Rec(Recomputing):
    """The baseline that looks both ways."""

    hidden: float = bounded(0.4, gt=0, lt=1)  # share of a window's clicks that is hidden
    last_only: float = bounded(
        0.3, ge=0, le=1
    )  # share of windows that hide their last click and no other

    def _make(self, n_items: int, n_users: int) -> BERT4RecNet:
        positions = 1 + self.length
        cosine = self.loss == "softmax"
        return BERT4RecNet(
            n_items,
            self.width,
            self.layers,
            self.heads,
            positions,
            self.dropout,
            cosine,
            self.untied,
        )

    def batches(self, clicks: Sequences, rng: np.random.Generator) -> Iterator[Batch]:
        """One epoch: every window once, some of its clicks hidden, at least one."""
        for batch in autoregressive(clicks, self.n_items, self.length + 1, self.batch_tokens, rng):
            yield masked(batch, self.n_items + 1, self.hidden, self.last_only, rng)

    def _last_states(self, contexts: Tensor) -> Tensor:
        end = (contexts > 0).sum(1)
        items = torch.cat([contexts, torch.zeros(len(contexts), 1, dtype=contexts.dtype)], dim=1)
        items[torch.arange(len(items)), end] = self.n_items + 1
        states = self.net.read(items)
        return states[torch.arange(len(items)), end]


def masked(
    batch: Batch, mask: int, hidden: float, last_only: float, rng: np.random.Generator
) -> Batch:
    """An autoregressive batch as one with gaps: its targets are the clicks, in place, some replaced
    by `mask`.
    """
    b, t = batch.items.shape
    clicks, weights = np.zeros(b * t, np.int32), np.zeros(b * t, np.float32)
    clicks[batch.where], weights[batch.where] = batch.targets, batch.weights
    clicks = clicks.reshape(b, t)
    last = np.arange(t) == ((clicks > 0).sum(axis=1) - 1)[:, None]
    gaps = (rng.random((b, t)) < hidden) & (clicks > 0)
    end_only = (rng.random((b, 1)) < last_only) | (gaps.sum(axis=1, keepdims=True) == 0)
    gaps = np.where(end_only, last, gaps)
    where = np.flatnonzero(gaps)
    return replace(
        batch,
        items=np.where(gaps, mask, clicks).astype(np.int32),
        offset=np.zeros(b, np.int64),
        where=where,
        targets=clicks.ravel()[where],
        weights=weights[where],
        skipped=np.zeros((len(where), 0), np.int32),
    )
