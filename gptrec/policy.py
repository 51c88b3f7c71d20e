"""RecGPT as a policy: pre-trained on clicks, fine-tuned on dialogues, speaking several interests ahead."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Literal

import numpy as np
import torch
from torch.nn import functional as F

from gptrec.interests import quotas, recall
from gptrec.model import RecGPT
from gptrec.prompts import Dialogues, Memory, dialogues_of, segments_of, skip_rank, turns, with_generated
from policies.base import Requests, Slates
from policies.catalogue import Catalogue
from policies.cooccurrence import ppmi_vectors
from policies.draws import Draws
from policies.log import Impressions
from policies.sequences import Batch, Sequences, autoregressive, split_by_time
from policies.sessions import Entries, SessionStore, Wave
from policies.torch_ranking import numpy_state, torch_state
from policies.training import Schedule, ndcg, seeded, train


@dataclass
class GPTRec:
    """The GPT chat recommender (arXiv 2404.08675); docs/recgpt.md says where it departs from the paper."""

    width: int = 64
    layers: int = 2
    heads: int = 2
    length: int = 50  # tokens of context at the start of a session
    window: int = 100  # impressions before the session that they are chosen from
    room: int = 48  # impressions that a session adds before the context is rebuilt
    skips: int = 2  # skipped items of a page that enter the context
    interests: int = 2
    later: int = 1  # items of the slate for each interest after the first
    dropout: float = 0.2
    user_dropout: float = 0.3
    user_module: bool = True
    prompt_share: float = 0.25  # positions that get a generated prompt in fine-tuning; 0 = none
    dialogues: bool = True  # fine-tune on what was shown and answered
    epochs: int = 4
    prompt_epochs: int = 1
    update_epochs: int = 2
    update_batches: int = 200  # of an epoch of an update, at most; a random part of the rows where there are more
    rate: float = 2e-3
    prompt_rate: float = 1e-3
    update_rate: float = 5e-4
    temperature: float = 0.07
    sampled: int = 1024  # negatives per batch where the catalogue is larger; 0 = softmax over all items
    batch_tokens: int = 2048
    validation_share: float = 0.1  # the last part of the log's clicks, by time
    validation_users: int = 1000
    cache: bool = True  # keep keys and values from page to page
    history_of: Literal["impressions", "clicks"] = "impressions"
    history_length: int = field(init=False, default=0)
    scores_: list[float] = field(init=False, default_factory=list, repr=False)  # validation NDCG@10 per epoch

    def __post_init__(self) -> None:
        self.history_length = self.window + self.room
        self._net: RecGPT | None = None
        self._memory = Memory.empty(self.length)
        self._popularity = np.zeros(0)
        self._store = self._new_store()

    @property
    def net(self) -> RecGPT:
        if self._net is None:
            raise RuntimeError("fit comes before this")
        return self._net

    def _new_store(self) -> SessionStore:
        return SessionStore(self.length, self.window, self.room, scratch=max(self.interests - 1, 0))

    def _make(self, n_items: int, n_users: int) -> RecGPT:
        positions = 1 + self.length + self.room + self.interests
        return RecGPT(
            n_items, n_users, self.width, self.layers, self.heads, positions,
            self.dropout, self.user_dropout, self.user_module,
        ).eval()  # fmt: skip

    # -- learning -------------------------------------------------------------------------------------------------

    def fit(self, log: Impressions, catalogue: Catalogue, rng: np.random.Generator) -> None:
        """Stage 1: predict the next click. Stage 2: the same model on prompts and dialogues."""
        early, late = split_by_time(log, self.validation_share)
        clicks = Sequences.of(early)
        n_users = int(log.user.max()) + 1
        self._net = self._make(catalogue.size, n_users)
        self._net.initialise(ppmi_vectors(clicks, catalogue.size, self.width, rng), seeded(rng))
        self._popularity = np.bincount(clicks.items, minlength=catalogue.size + 1).astype(np.float64)
        talks = dialogues_of(early, Memory.empty(self.length), self.skips)
        held_out = self._validation(talks, late, rng)

        def pretraining() -> Iterator[Batch]:
            return autoregressive(clicks, catalogue.size, self.length, self.batch_tokens, rng, self.room)

        self.scores_ = self._train(pretraining, self.epochs, self.rate, rng, held_out)
        self.scores_ += self._train(
            lambda: self._stage_two(clicks, talks, rng), self.prompt_epochs, self.prompt_rate, rng, held_out
        )
        self._memory = Memory.empty(self.length).after(dialogues_of(log, Memory.empty(self.length), self.skips))

    def update(self, log: Impressions, catalogue: Catalogue, rng: np.random.Generator) -> None:
        """Fine-tunes on the dialogues since: what was shown, by whom, and what was answered."""
        if not len(log):
            return
        talks = dialogues_of(log, self._memory, self.skips)
        clicks = Sequences.of(log)
        self._popularity = self._popularity + np.bincount(log.item[log.clicked], minlength=len(self._popularity))

        def epoch() -> Iterator[Batch]:
            return self._stage_two(clicks, talks, rng, self.update_batches)

        self._train(epoch, self.update_epochs, self.update_rate, rng, None)
        self._memory = self._memory.after(talks)
        self._store.wave = None

    def _stage_two(
        self, clicks: Sequences, talks: Dialogues, rng: np.random.Generator, most: int | None = None
    ) -> Iterator[Batch]:
        """Dialogues, then generated prompts, half of the batches each; what is switched off leaves the other alone."""
        n_items = len(self._popularity) - 1
        half = None if most is None else -(-most // 2)
        plain = islice(autoregressive(clicks, n_items, self.length, self.batch_tokens, rng, self.room), half)
        if self.dialogues:
            yield from islice(turns(talks, n_items, self.length + self.room, self.batch_tokens, rng, self.room), half)
        if self.prompt_share > 0:
            for batch in plain:
                yield with_generated(self.net, batch, self.prompt_share, rng)
        elif not self.dialogues:
            yield from plain

    def _train(self, epoch, epochs: int, rate: float, rng: np.random.Generator, validate) -> list[float]:  # type: ignore[no-untyped-def]  # fmt: skip
        self.net.dropout.generator = seeded(rng)
        schedule = Schedule(epochs, rate, temperature=self.temperature, sampled=self.sampled)
        return train(self.net, epoch, schedule, self._popularity, rng, validate)

    def _validation(self, talks: Dialogues, late: Impressions, rng: np.random.Generator):  # type: ignore[no-untyped-def]
        """A function that ranks each user's first late click after its early dialogue, or None without such users."""
        after = Sequences.of(late)
        users = np.intersect1d(talks.users, after.users)
        if not len(users):
            return None
        if len(users) > self.validation_users:
            users = np.sort(rng.choice(users, self.validation_users, replace=False))
        targets = after.items[after.starts[np.searchsorted(after.users, users)]]
        memory = Memory.empty(self.length).after(talks)
        items, segments = memory.items[users].astype(np.int64), memory.segments[users].astype(np.int64)
        none_yet = np.full(items.shape, -1)

        @torch.inference_mode()
        def score() -> float:
            net = self.net
            zero = np.zeros(len(users), np.int32)
            plain = Requests(
                users=users.astype(np.int32), sessions=zero, pages=zero.astype(np.int16), now=zero.astype(float),
                items=items, feedback=items, said=items, ages=items, turns=none_yet,
                exclude=items[:, :0], available=self._popularity >= 0,
            )  # fmt: skip
            entries = Entries(items, segments, none_yet, items > 0)
            store = SessionStore(self.length, self.length, 0)
            wave, at = store.advance(net, plain, entries, len(self._popularity), net.user_rows, 1)
            vectors = F.normalize(net.item_vectors(), dim=-1)
            found = (F.normalize(wave.last, dim=-1) @ vectors.T).numpy()[at]
            found[:, 0] = -np.inf
            return ndcg(found, targets)

        return score

    # -- serving --------------------------------------------------------------------------------------------------

    def _entries(self, requests: Requests, slate_size: int) -> Entries:
        """Which shown items are tokens: all clicks, and the first skipped ones of each page."""
        clicked = requests.feedback > 0
        first_page = requests.pages - requests.pages % self._store.rebuild_every(slate_size)
        there = requests.items > 0
        since = ((requests.turns >= first_page[:, None]) & there).sum(axis=1, keepdims=True)
        column = np.arange(requests.items.shape[1])
        there &= column >= self.history_length - since - self.window
        # A page is what was shown at one moment; what stands before the window does not count.
        page = np.where(there, requests.ages, np.float32(-1))
        keep = there & (clicked | (skip_rank(page, clicked | ~there) < self.skips))
        return Entries(requests.items, segments_of(clicked, requests.said), requests.turns, keep)

    def _advance(self, requests: Requests, slate_size: int) -> tuple[Wave, np.ndarray]:
        if not self.cache:
            self._store.wave = None
        entries = self._entries(requests, slate_size)
        start = len(self._popularity)
        return self._store.advance(self.net, requests, entries, start, self.net.user_rows, slate_size)

    @torch.inference_mode()
    def recommend(self, requests: Requests, slate_size: int, draws: Draws) -> Slates:
        slates = np.zeros((len(requests), slate_size), np.int32)
        vectors = F.normalize(self.net.item_vectors(), dim=-1)
        sizes = quotas(slate_size, self.interests, self.later)
        for page in np.unique(requests.pages):
            rows = np.flatnonzero(requests.pages == page)
            part = requests if len(rows) == len(requests) else requests.rows(rows)
            wave, at = self._advance(part, slate_size)
            exclude = np.zeros((len(wave.last), part.exclude.shape[1]), np.int32)
            exclude[at] = part.exclude
            slates[rows] = recall(wave, vectors, exclude, part.available, sizes)[at]
        return Slates(slates, np.ones(slates.shape, np.float32))

    def state(self) -> dict[str, np.ndarray]:
        return {
            **numpy_state(self.net),
            "memory.items": self._memory.items,
            "memory.segments": self._memory.segments,
            "popularity": self._popularity,
        }

    def restore(self, state: dict[str, np.ndarray]) -> None:
        self._memory = Memory(np.array(state["memory.items"]), np.array(state["memory.segments"]))
        self._popularity = np.array(state["popularity"])
        n_users = len(state["net.user.weight"]) - 1
        self._net = self._make(len(self._popularity) - 1, n_users)
        self._net.load_state_dict(torch_state(state))
        self._store = self._new_store()
