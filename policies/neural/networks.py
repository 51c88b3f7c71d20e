"""What the networks of the sequence policies are made of, so that they differ in what
they feed it.
"""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F


class KeyedDropout(nn.Module):
    """Dropout from an explicit generator: the same seed gives the same weights, whatever else ran
    before.
    """

    def __init__(self, p: float):
        super().__init__()
        self.p = p
        self.generator: torch.Generator | None = None

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.p == 0:
            return x
        # NOTE the CPU generator serves any device: masks are then the same on all of them.
        keep = torch.rand(x.shape, generator=self.generator).to(x.device) >= self.p
        return x * keep / (1 - self.p)


class Block(nn.Module):
    """Attention and a feed-forward layer, each behind a layer norm and around a residual.

    Shapes: (B, T, D); in attention (B, heads, T, D / heads).
    """

    def __init__(self, width: int, heads: int, dropout: KeyedDropout):
        super().__init__()
        self.heads = heads
        self.norm_1, self.norm_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.dropout = dropout

    def split(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values."""
        b, t, d = x.shape
        q, k, v = (
            self.qkv(self.norm_1(x))
            .view(b, t, 3, self.heads, d // self.heads)
            .permute(2, 0, 3, 1, 4)
        )
        return q, k, v

    def _split_newest(
        self, x: Tensor, row: Tensor, newest: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """As `split`, but the queries of the newest tokens alone: (B, heads, 1, D / heads)."""
        b, t, d = x.shape
        normed, weight, bias = self.norm_1(x), self.qkv.weight, self.qkv.bias
        q = F.linear(normed[row, newest], weight[:d], bias[:d]).view(
            b, self.heads, 1, d // self.heads
        )
        both = F.linear(normed, weight[d:], bias[d:]).view(b, t, 2, self.heads, d // self.heads)
        k, v = both.permute(2, 0, 3, 1, 4)
        return q, k, v

    def finish(self, x: Tensor, attended: Tensor) -> Tensor:
        b, t, d = x.shape
        x = x + self.dropout(self.out(attended.transpose(1, 2).reshape(b, t, d)))
        return x + self.dropout(self.down(F.gelu(self.up(self.norm_2(x)))))

    def forward(self, x: Tensor, seen: Tensor | None = None) -> Tensor:
        """Causal, or with `seen` (B, 1, T, T) bool: which position may look where."""
        q, k, v = self.split(x)
        return self.finish(
            x, F.scaled_dot_product_attention(q, k, v, attn_mask=seen, is_causal=seen is None)
        )

    def extend(
        self,
        x: Tensor,
        key: Tensor,
        value: Tensor,
        base: int,
        seen: Tensor | None,
        newest: Tensor | None = None,
    ) -> Tensor:
        """Goes on from cached keys and values; writes the new ones from slot `base` on. See
        `policies.neural.sessions`.

        Args:
            newest: (B,) the only token of each row whose state is wanted: (B, 1, D); None = all of
                them.
        """
        end = base + x.shape[1]
        if newest is None:
            q, k, v = self.split(x)
        else:
            row = torch.arange(len(x))
            q, k, v = self._split_newest(x, row, newest)
            x = x[row, newest][:, None]
            seen = (
                torch.arange(end) <= newest[:, None, None]
                if seen is None
                else seen[row, newest][:, None]
            )
        key[:, :, base:end], value[:, :, base:end] = k, v
        if seen is None:
            return self.finish(x, F.scaled_dot_product_attention(q, k, v, is_causal=True))
        mixed = F.scaled_dot_product_attention(
            q, key[:, :, :end], value[:, :, :end], attn_mask=seen[:, None]
        )
        return self.finish(x, mixed)


def extend_all(
    blocks: nn.ModuleList,
    x: Tensor,
    keys: list[Tensor],
    values: list[Tensor],
    base: int,
    seen: Tensor | None,
    newest: Tensor,
) -> Tensor:
    """(B, D) state of the newest token of each row; what the last block says of the others nobody
    reads.
    """
    for i, block in enumerate(blocks):
        last = newest if i + 1 == len(blocks) else None
        x = block.extend(x, keys[i], values[i], base, seen, last)  # type: ignore[operator]
    return x[:, 0]


class ItemNet(nn.Module):
    """A network over items: ids 1..N, 0 is padding, N + 1 a token with a meaning of its own.

    Args:
        cosine: score items by the cosine of state and embedding; otherwise by their dot product.
        untied: what an item says as context departs from what it is as an answer, by a learned
            vector that starts at 0.
    """

    def __init__(
        self, n_items: int, width: int, dropout: float, cosine: bool, untied: bool = False
    ):
        super().__init__()
        self.width, self.cosine = width, cosine
        self.dropout = KeyedDropout(dropout)
        self.items = nn.Embedding(n_items + 2, width)
        self.apart = nn.Embedding(n_items + 2, width) if untied else None

    def context_embedding(self, items: Tensor) -> Tensor:
        """Embeddings of these items as context."""
        x: Tensor = self.items(items)
        return x if self.apart is None else x + self.apart(items)

    def initialise(self, vectors: np.ndarray, generator: torch.Generator) -> None:
        """First weights from this generator; item embeddings from `vectors` (N + 1, D), or (0, D)
        for none.
        """
        with torch.no_grad():
            for name, weight in self.named_parameters():
                if weight.ndim > 1:
                    weight.normal_(0.0, 0.02, generator=generator)
                elif "bias" in name:
                    weight.zero_()
            self.items.weight[: len(vectors)] = torch.from_numpy(vectors)
            if self.apart is not None:
                self.apart.weight.zero_()

    def item_vectors(self) -> Tensor:
        return self.items.weight[:-1]

    def vectors_of(self, items: Tensor) -> Tensor:
        """`item_vectors` of these alone, with a gradient that is summed in one order whatever the
        number of threads, and that holds no other rows where the embedding is `sparse`.
        """
        vectors: Tensor = self.items(items)
        return vectors

    def scale(self, vectors: Tensor) -> Tensor:
        """Vectors as they are compared."""
        return F.normalize(vectors, dim=-1) if self.cosine else vectors
