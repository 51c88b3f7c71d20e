"""SASRec: self-attention over the clicks of one user (Kang and McAuley, ICDM 2018, arXiv 1808.09781).

Departures from the paper, each because it trains faster to a better validation score: softmax over all items (or
sampled, with log-Q correction) instead of one negative per position, cosine scores with a temperature, item
embeddings started from the co-occurrence of items, a learning rate that falls to zero.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from policies.base import Requests, Slates, plain_requests
from policies.catalogue import Catalogue
from policies.cooccurrence import ppmi_vectors
from policies.draws import Draws
from policies.log import Impressions
from policies.sequences import (
    Batch,
    Sequences,
    autoregressive,
    joined,
    next_clicks,
    remember,
    split_by_time,
)
from policies.sessions import CHUNK, Entries, SessionStore, Tokens
from policies.torch_ranking import best_allowed, numpy_state, torch_state
from policies.training import KeyedDropout, Schedule, ndcg, seeded, train


class Block(nn.Module):
    """Attention and a feed-forward layer, each behind a layer norm and around a residual."""

    def __init__(self, width: int, heads: int, dropout: KeyedDropout):
        super().__init__()
        self.heads = heads
        self.norm_1, self.norm_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.dropout = dropout

    def split(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values, each (B, heads, T, D / heads)."""
        b, t, d = x.shape
        q, k, v = self.qkv(self.norm_1(x)).view(b, t, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        return q, k, v

    def finish(self, x: Tensor, attended: Tensor) -> Tensor:
        b, t, d = x.shape
        x = x + self.dropout(self.out(attended.transpose(1, 2).reshape(b, t, d)))
        return x + self.dropout(self.down(F.gelu(self.up(self.norm_2(x)))))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.split(x)
        return self.finish(x, F.scaled_dot_product_attention(q, k, v, is_causal=True))


class SASRecNet(nn.Module):
    """Items and positions in, states out; the score of an item is the cosine with its embedding."""

    def __init__(self, n_items: int, width: int, layers: int, heads: int, positions: int, dropout: float):
        super().__init__()
        self.width, self.layers, self.heads = width, layers, heads
        self.dropout = KeyedDropout(dropout)
        self.items = nn.Embedding(n_items + 2, width)  # 0 is padding, n_items + 1 the start of every sequence
        self.positions = nn.Embedding(positions, width)
        self.blocks = nn.ModuleList(Block(width, heads, self.dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width)

    def initialise(self, vectors: np.ndarray, generator: torch.Generator) -> None:
        """Small normal weights from this generator; item embeddings from `vectors` (N + 1, D)."""
        with torch.no_grad():
            for weight in self.parameters():
                if weight.ndim > 1:
                    weight.normal_(0.0, 0.02, generator=generator)
            for block in self.blocks:
                for linear in (block.qkv, block.out, block.up, block.down):
                    linear.bias.zero_()  # type: ignore[union-attr, operator]
            self.items.weight[: len(vectors)] = torch.from_numpy(vectors)

    def item_vectors(self) -> Tensor:
        return self.items.weight[:-1]

    def states(self, batch: Batch) -> Tensor:
        """(B * T, D) for training: tokens are left-aligned, so the causal mask hides the padding from all others."""
        device = self.items.weight.device
        items = torch.from_numpy(batch.items.astype(np.int64)).to(device)
        at = torch.from_numpy(batch.offset)[:, None] + torch.arange(items.shape[1])
        x = self.dropout(self.items(items) + self.positions(at.to(device)))
        for block in self.blocks:
            x = block(x)
        return self.norm(x).flatten(0, 1)

    def extend(
        self, tokens: Tokens, first: Tensor, keys: list[Tensor], values: list[Tensor], base: int, seen: Tensor
    ) -> Tensor:
        """See `policies.sessions.CachedNet`."""
        width = tokens.items.shape[1]
        at = first[:, None] + torch.arange(width)
        x = self.items(tokens.items) + self.positions(at.clamp(max=self.positions.num_embeddings - 1))
        for block, key, value in zip(self.blocks, keys, values, strict=True):
            q, k, v = block.split(x)  # type: ignore[operator]
            key[:, :, base : base + width], value[:, :, base : base + width] = k, v
            end = base + width
            attended = F.scaled_dot_product_attention(q, key[:, :, :end], value[:, :, :end], attn_mask=seen[:, None])
            x = block.finish(x, attended)  # type: ignore[operator]
        return self.norm(x)


@dataclass
class SASRec:
    """The strong plain baseline: what did people like this one click next?"""

    width: int = 64
    layers: int = 2
    heads: int = 2
    length: int = 50  # clicks of context at the start of a session
    room: int = 48  # further clicks before the context is rebuilt
    dropout: float = 0.2
    epochs: int = 5
    update_epochs: int = 2
    update_batches: int = 200  # of an epoch of an update, at most; a random part of the rows where there are more
    rate: float = 2e-3
    update_rate: float = 5e-4
    temperature: float = 0.07
    sampled: int = 1024  # negatives per batch where the catalogue is larger; 0 = softmax over all items
    batch_tokens: int = 2048
    validation_share: float = 0.1  # the last part of the log's clicks, by time
    validation_users: int = 1000
    cache: bool = True  # keep keys and values from page to page
    history_of: Literal["impressions", "clicks"] = "clicks"
    history_length: int = field(init=False, default=0)
    scores_: list[float] = field(init=False, default_factory=list, repr=False)  # validation NDCG@10 per epoch

    def __post_init__(self) -> None:
        self.history_length = self.length + self.room
        self._net: SASRecNet | None = None
        self._memory = np.zeros((0, self.length), np.int32)
        self._popularity = np.zeros(0)
        self._store = SessionStore(self.length, self.length, self.room)

    def fit(self, log: Impressions, catalogue: Catalogue, rng: np.random.Generator) -> None:
        early, late = split_by_time(log, self.validation_share)
        sequences = Sequences.of(early)
        self._net = self._make(catalogue.size)
        self._net.initialise(ppmi_vectors(sequences, catalogue.size, self.width, rng), seeded(rng))
        self._popularity = np.bincount(sequences.items, minlength=catalogue.size + 1).astype(np.float64)
        users, contexts, targets = next_clicks(early, late, self.length, self.validation_users, rng)
        held_out = (lambda: self._ndcg(contexts, targets)) if len(users) else None
        self.scores_ = self._train(sequences, self.epochs, self.rate, rng, held_out)
        self._memory = remember(np.zeros((0, self.length), np.int32), log)

    def update(self, log: Impressions, catalogue: Catalogue, rng: np.random.Generator) -> None:
        """Fine-tunes on the users who clicked since, their remembered clicks included so that little is forgotten."""
        if not log.clicked.any():
            return
        sequences = joined(self._memory, log)
        self._popularity = self._popularity + np.bincount(log.item[log.clicked], minlength=len(self._popularity))
        self._train(sequences, self.update_epochs, self.update_rate, rng, None, self.update_batches)
        self._memory = remember(self._memory, log)
        self._store.wave = None

    def _make(self, n_items: int) -> SASRecNet:
        return SASRecNet(n_items, self.width, self.layers, self.heads, 1 + self.length + self.room, self.dropout).eval()

    def _train(  # type: ignore[no-untyped-def]
        self, sequences: Sequences, epochs: int, rate: float, rng: np.random.Generator, validate, most: int | None = None
    ) -> list[float]:  # fmt: skip
        net = self.net
        net.dropout.generator = seeded(rng)
        n_items = len(self._popularity) - 1

        def epoch() -> Iterator[Batch]:
            batches = autoregressive(sequences, n_items, self.length, self.batch_tokens, rng, self.room)
            return islice(batches, most)

        schedule = Schedule(epochs, rate, temperature=self.temperature, sampled=self.sampled)
        return train(net, epoch, schedule, self._popularity, rng, validate)

    @property
    def net(self) -> SASRecNet:
        if self._net is None:
            raise RuntimeError("fit comes before this")
        return self._net

    @torch.inference_mode()
    def _ndcg(self, contexts: np.ndarray, targets: np.ndarray) -> float:
        scores = []
        store = SessionStore(self.length, self.length, self.room)
        for begin in range(0, len(targets), 1024):
            requests = plain_requests(contexts[begin : begin + 1024], len(self._popularity) - 1)
            wave, at = self._advance(store, requests, 1)
            vectors = F.normalize(self.net.item_vectors(), dim=-1)
            found = (F.normalize(wave.last, dim=-1) @ vectors.T).numpy()[at]
            found[:, 0] = -np.inf
            scores.append(found)
        return ndcg(np.concatenate(scores), targets)

    def _advance(self, store: SessionStore, requests: Requests, slate_size: int):  # type: ignore[no-untyped-def]
        clicked = (requests.items > 0) & (requests.feedback > 0)
        entries = Entries(requests.items, np.zeros_like(requests.items), requests.turns, clicked)
        start = len(self._popularity)
        return store.advance(self.net, requests, entries, start, np.zeros_like, slate_size)

    @torch.inference_mode()
    def recommend(self, requests: Requests, slate_size: int, draws: Draws) -> Slates:
        slates = np.zeros((len(requests), slate_size), np.int32)
        vectors = F.normalize(self.net.item_vectors(), dim=-1)
        for page in np.unique(requests.pages):
            rows = np.flatnonzero(requests.pages == page)
            part = requests if len(rows) == len(requests) else requests.rows(rows)
            if not self.cache:
                self._store.wave = None
            wave, at = self._advance(self._store, part, slate_size)
            states = F.normalize(wave.last, dim=-1)
            exclude = np.zeros((len(states), part.exclude.shape[1]), np.int64)
            exclude[at] = part.exclude
            best = np.zeros((len(states), slate_size), np.int32)
            for begin in range(0, len(states), CHUNK):
                here = slice(begin, begin + CHUNK)
                scores = states[here] @ vectors.T
                best[here] = best_allowed(scores, exclude[here], part.available, slate_size)
            slates[rows] = best[at]
        return Slates(slates, np.ones(slates.shape, np.float32))

    def state(self) -> dict[str, np.ndarray]:
        return {**numpy_state(self.net), "memory": self._memory, "popularity": self._popularity}

    def restore(self, state: dict[str, np.ndarray]) -> None:
        self._memory = np.array(state["memory"])
        self._popularity = np.array(state["popularity"])
        self._net = self._make(len(self._popularity) - 1)
        self._net.load_state_dict(torch_state(state))
        self._store.wave = None
