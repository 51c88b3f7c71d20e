"""RecGPT's model: a decoder over items that knows whom it talks to and who said what (arXiv
2404.08675, section 3.2).

The input at each position is the sum of four embeddings: item, user, position and segment. The
score of an item is the cosine between the last state and the item's embedding.
"""

import numpy as np
import torch
from torch import Tensor, nn

from policies.neural.networks import Block, ItemNet, extend_all
from policies.neural.sequences import Batch
from policies.neural.sessions import Tokens

# Who spoke, and what was answered. The paper has two: the user's own history and what the model
# said.
ORGANIC, SAID, SAID_CLICKED, SAID_SKIPPED, OTHER_SKIPPED = range(5)
SEGMENTS = 5
NEW_USER = 0  # the row that unknown users share


class RecGPT(ItemNet):
    """The network alone: tokens in, states out.

    Args:
        n_users: users with a row of their own; row 0 is the shared one.
        user_dropout: share of training windows whose user is replaced by the shared row, so that it
            is trained.
        user_module: False is the ablation: every user gets a zero vector.
    """

    def __init__(
        self,
        n_items: int,
        n_users: int,
        width: int,
        layers: int,
        heads: int,
        positions: int,
        dropout: float,
        user_dropout: float,
        user_module: bool = True,
        cosine: bool = True,
        untied: bool = False,
    ):
        super().__init__(n_items, width, dropout, cosine, untied)
        self.layers, self.heads = layers, heads
        self.user_dropout, self.user_module = user_dropout, user_module
        self.user = nn.Embedding(n_users + 1, width)
        self.position = nn.Embedding(positions, width)
        self.segment = nn.Embedding(SEGMENTS, width)
        self.blocks = nn.ModuleList(Block(width, heads, self.dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width)

    def initialise(self, vectors: np.ndarray, generator: torch.Generator) -> None:
        """As in `ItemNet`; users start near each other."""
        super().initialise(vectors, generator)
        with torch.no_grad():
            self.user.weight.mul_(0.1)

    def user_rows(self, users: np.ndarray) -> np.ndarray:
        """Rows of these user ids; the shared row for those that training did not know."""
        known = users + 1 < self.user.num_embeddings
        return np.where(known, users + 1, NEW_USER).astype(np.int64)

    def embed(self, items: Tensor, segments: Tensor, users: Tensor, positions: Tensor) -> Tensor:
        """(B, T, D), the sum of the four embeddings."""
        x = self.context_embedding(items) + self.segment(segments) + self.position(positions)
        return x + self.user(users)[:, None] if self.user_module else x

    def states(self, batch: Batch) -> Tensor:
        """(B * T, D) for training; tokens are left-aligned, so the causal mask hides
        the padding.
        """
        device = self.items.weight.device
        users = torch.from_numpy(self.user_rows(batch.users))
        if self.training and self.user_dropout > 0:
            dropped = torch.rand(len(users), generator=self.dropout.generator) < self.user_dropout
            users = users.masked_fill(dropped, NEW_USER)
        items = torch.from_numpy(batch.items.astype(np.int64)).to(device)
        segments = torch.from_numpy(batch.segments.astype(np.int64)).to(device)
        positions = torch.from_numpy(batch.offset)[:, None] + torch.arange(items.shape[1])
        positions = positions.clamp(max=self.position.num_embeddings - 1).to(device)
        x = self.dropout(self.embed(items, segments, users.to(device), positions))
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
        """See `policies.neural.sessions.CachedNet`: goes on from cached keys and values."""
        positions = (first[:, None] + torch.arange(tokens.items.shape[1])).clamp(
            max=self.position.num_embeddings - 1
        )
        x = self.embed(tokens.items, tokens.segments, tokens.users, positions)
        return self.norm(extend_all(self.blocks, x, keys, values, base, seen, newest))
