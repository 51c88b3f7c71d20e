"""RecGPT's model: a decoder over items that knows whom it talks to and who said what (arXiv 2404.08675, section 3.2).

The input at each position is the sum of four embeddings: item, user, position and segment. The score of an item is
the cosine between the last state and the item's embedding.
"""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from policies.sequences import Batch
from policies.sessions import Tokens
from policies.training import KeyedDropout

# Who spoke, and what was answered. The paper has two: the user's own history and what the model said.
ORGANIC, SAID, SAID_CLICKED, SAID_SKIPPED, OTHER_SKIPPED = range(5)
SEGMENTS = 5
NEW_USER = 0  # the row that unknown users share


class Layer(nn.Module):
    """One decoder layer, layer norm first. Shapes: (B, T, D); attention in (B, H, T, D / H)."""

    def __init__(self, width: int, heads: int, dropout: KeyedDropout):
        super().__init__()
        self.heads = heads
        self.before_attention = nn.LayerNorm(width)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.attended = nn.Linear(width, width)
        self.before_mlp = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.dropout = dropout

    def heads_of(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        batch, length, width = x.shape
        qkv = self.query_key_value(self.before_attention(x)).view(batch, length, 3, self.heads, width // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        return q, k, v

    def close(self, x: Tensor, mixed: Tensor) -> Tensor:
        x = x + self.dropout(self.attended(mixed.transpose(1, 2).flatten(2)))
        return x + self.dropout(self.mlp(self.before_mlp(x)))


class RecGPT(nn.Module):
    """The network alone: tokens in, states out.

    Args:
        n_users: users with a row of their own; row 0 is the shared one.
        user_dropout: share of training windows whose user is replaced by the shared row, so that it is trained.
        user_module: False is the ablation: every user gets a zero vector.
    """

    def __init__(
        self, n_items: int, n_users: int, width: int, layers: int, heads: int, positions: int,
        dropout: float, user_dropout: float, user_module: bool = True,
    ):  # fmt: skip
        super().__init__()
        self.width, self.layers, self.heads = width, layers, heads
        self.user_dropout, self.user_module = user_dropout, user_module
        self.dropout = KeyedDropout(dropout)
        self.item = nn.Embedding(n_items + 2, width)  # 0 is padding, n_items + 1 opens every conversation
        self.user = nn.Embedding(n_users + 1, width)
        self.position = nn.Embedding(positions, width)
        self.segment = nn.Embedding(SEGMENTS, width)
        self.decoder = nn.ModuleList(Layer(width, heads, self.dropout) for _ in range(layers))
        self.final = nn.LayerNorm(width)

    def initialise(self, vectors: np.ndarray, generator: torch.Generator) -> None:
        """Small normal weights from this generator, zero biases, item embeddings from `vectors` (N + 1, D)."""
        with torch.no_grad():
            for name, weight in self.named_parameters():
                if weight.ndim > 1:
                    weight.normal_(0.0, 0.02, generator=generator)
                elif name.endswith("bias"):
                    weight.zero_()
            self.user.weight.mul_(0.1)
            self.item.weight[: len(vectors)] = torch.from_numpy(vectors)

    def item_vectors(self) -> Tensor:
        return self.item.weight[:-1]

    def user_rows(self, users: np.ndarray) -> np.ndarray:
        """Rows of these user ids; the shared row for those that training did not know."""
        known = users + 1 < self.user.num_embeddings
        return np.where(known, users + 1, NEW_USER).astype(np.int64)

    def embed(self, items: Tensor, segments: Tensor, users: Tensor, positions: Tensor) -> Tensor:
        """(B, T, D), the sum of the four embeddings."""
        x = self.item(items) + self.segment(segments) + self.position(positions)
        return x + self.user(users)[:, None] if self.user_module else x

    def states(self, batch: Batch) -> Tensor:
        """(B * T, D) for training; tokens are left-aligned, so the causal mask hides the padding."""
        device = self.item.weight.device
        users = torch.from_numpy(self.user_rows(batch.users))
        if self.training and self.user_dropout > 0:
            dropped = torch.rand(len(users), generator=self.dropout.generator) < self.user_dropout
            users = users.masked_fill(dropped, NEW_USER)
        items = torch.from_numpy(batch.items.astype(np.int64)).to(device)
        segments = torch.from_numpy(batch.segments.astype(np.int64)).to(device)
        positions = torch.from_numpy(batch.offset)[:, None] + torch.arange(items.shape[1])
        positions = positions.clamp(max=self.position.num_embeddings - 1).to(device)
        x = self.dropout(self.embed(items, segments, users.to(device), positions))
        for layer in self.decoder:
            q, k, v = layer.heads_of(x)  # type: ignore[operator]
            x = layer.close(x, F.scaled_dot_product_attention(q, k, v, is_causal=True))  # type: ignore[operator]
        return self.final(x).flatten(0, 1)

    def extend(
        self, tokens: Tokens, first: Tensor, keys: list[Tensor], values: list[Tensor], base: int, seen: Tensor
    ) -> Tensor:
        """See `policies.sessions.CachedNet`: goes on from cached keys and values."""
        end = base + tokens.items.shape[1]
        positions = (first[:, None] + torch.arange(end - base)).clamp(max=self.position.num_embeddings - 1)
        x = self.embed(tokens.items, tokens.segments, tokens.users, positions)
        for layer, key, value in zip(self.decoder, keys, values, strict=True):
            q, k, v = layer.heads_of(x)  # type: ignore[operator]
            key[:, :, base:end], value[:, :, base:end] = k, v
            mixed = F.scaled_dot_product_attention(q, key[:, :, :end], value[:, :, :end], attn_mask=seen[:, None])
            x = layer.close(x, mixed)  # type: ignore[operator]
        return self.final(x)
