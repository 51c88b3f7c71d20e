"""RecGPT as a policy: pre-trained on clicks, fine-tuned on dialogues, speaking several interests
ahead.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from gptrec.interests import quotas, recall
from gptrec.model import ORGANIC, SAID, RecGPT
from gptrec.prompts import PLACEMENTS, segments_of, turns, with_generated
from policies.base import BY_LOG, Requests, bounded, plain_requests
from policies.catalogue import Catalogue
from policies.common.errors import InputError, suggestion
from policies.log import Impressions
from policies.neural.answering import first_of, unit_vectors
from policies.neural.dialogues import Dialogues, Memory, dialogues_of, skip_rank
from policies.neural.sequences import Batch, Sequences, joined, split_by_time
from policies.neural.sequential import Sequential
from policies.neural.sessions import Entries, SessionStore, Wave
from policies.neural.training import Stage, ndcg_of

UPDATE_LOSSES = ("next", "page", "page-only")
NO_CHOICES = (
    "no page that it learned from had both clicks and skips, so that there was no choice to learn:"
    " its network learned what is clicked next."
)
NO_PAGES = (
    "updates learn what is clicked next: a choice within pages (update_loss) needs dialogues=true"
    " and loss=softmax."
)
NOT_READ = (
    "what is skipped is not read as context: the log shows no skips to learn its meaning from."
)
MOST_INTERESTS = 8  # positions kept for what is said ahead; more interests share the last one


@dataclass
class GPTRec(Sequential):
    """The GPT chat recommender (arXiv 2404.08675); docs/recgpt.md says where it departs from the
    paper.
    """

    OF_UPDATES = Sequential.OF_UPDATES | {"update_loss"}

    room: int = bounded(
        48, ge=0, le=10_000
    )  # impressions that a session adds before the context is rebuilt
    # skipped items of a page that enter the context, where the log shows skips: otherwise the
    # network has not learned what they mean
    skips: int = bounded(2, ge=0, le=100)
    # further interests bring no clicks that could be told (docs/contenders.md), nor do generated
    # prompts: neither is on by default
    interests: int = bounded(1, ge=1, le=100)
    later: int = bounded(1, ge=0, le=100)  # items of the slate for each interest after the first
    user_dropout: float = bounded(0.3, ge=0, le=1)
    user_module: bool = True
    # where prompts are generated: random, every (item) or last ("n-1" of the paper)
    placement: str = "random"
    # positions that get a generated prompt with placement=random; 0 = none at all
    prompt_share: float = bounded(0.0, ge=0, le=1)
    prompt_items: int = bounded(1, ge=1, le=100)  # items per generated prompt
    prompt_sampling: float = bounded(
        0.0, ge=0, le=1000
    )  # temperature at which prompts are drawn; 0 = greedy
    # a generated item that was not the answer counts as a hard negative
    hard_negatives: bool = False
    # generated prompts come in gradually over one training, in place of a stage of their own
    curriculum: bool = False
    # what follows a prompt learns only answers that are not among the model's so many best before
    # it
    differ: int = bounded(0, ge=0, le=1_000_000)
    # what an update learns from dialogues: which item of its page is clicked (page-only), that and
    # beside it which of all comes next (page), or that alone (next), which learns from what was
    # shown often that it is clicked often
    update_loss: Literal["next", "page", "page-only"] = "page-only"
    # read and fine-tune on what was shown and answered; False = clicks alone, as sasrec does
    dialogues: bool = True
    epochs: int = bounded(4, ge=0, le=100_000)
    prompt_epochs: int = bounded(1, ge=0, le=100_000)
    prompt_budget: float = bounded(0.2, ge=0, lt=1)  # share of a budget that goes to prompts
    prompt_rate: float = bounded(1e-3, gt=0, le=10)
    cache: bool = True  # keep keys and values from page to page
    answers: bool = True
    history_of: Literal["impressions", "clicks"] = "impressions"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.candidates:
            raise InputError("gptrec scores all items: its interests share one list; candidates=0")
        if self.update_loss not in UPDATE_LOSSES:
            raise InputError(
                f"update_loss '{self.update_loss}'{suggestion(self.update_loss, UPDATE_LOSSES)}"
            )
        if self.update_loss == "page" and not self._reads_pages():
            raise InputError(
                "update_loss=page needs dialogues=true and loss=softmax: it compares what was"
                " clicked with what was skipped beside it"
            )
        if self.placement not in PLACEMENTS:
            raise InputError(
                f"placement '{self.placement}'{suggestion(self.placement, PLACEMENTS)}"
            )
        for name, low, high in (
            ("prompt_share", 0, 1),
            ("prompt_budget", 0, 1),
            ("user_dropout", 0, 1),
        ):
            if not low <= getattr(self, name) <= high:
                raise InputError(
                    f"{name} {getattr(self, name):g}: wanted a share between {low} and {high}"
                )
        for name, least in (("interests", 1), ("later", 1), ("prompt_items", 1), ("differ", 0)):
            if getattr(self, name) < least:
                raise InputError(f"{name} {getattr(self, name)}: wanted at least {least}")
        self._talk = Memory.empty(self.length)
        self._store = self._new_store(self.interests)
        self._skips = self.skips
        self._of_pages = ""

    def _reads_pages(self) -> bool:
        """Whether an update may learn a choice within pages; otherwise it learns what is clicked
        next.
        """
        return self.dialogues and self.loss == "softmax"

    def _new_store(self, interests: int) -> SessionStore:
        return SessionStore(self.length, self.window, self.room, max(interests - 1, 0), self.chunk)

    def _make(self, n_items: int, n_users: int) -> RecGPT:
        # Generated prompts lengthen a window of training as pages lengthen a session.
        share = {"random": min(2 * self.prompt_share, 1.0), "every": 1.0, "last": 0.0}[
            self.placement
        ]
        prompts = self.prompt_items * (1 + int(share * self.length)) if self.prompt_share > 0 else 0
        positions = 1 + self.length + max(self.room, prompts) + MOST_INTERESTS
        return RecGPT(
            n_items,
            n_users,
            self.width,
            self.layers,
            self.heads,
            positions,
            self.dropout,
            self.user_dropout,
            self.user_module,
            self.loss == "softmax",
            self.untied,
        )

    # -- learning ----------------------------------------------------------------------------------

    def stages(self, clicks: Sequences) -> list[Stage]:
        """Pre-training; then, unless they are switched off, generated prompts."""
        share = self.prompt_budget if self.prompt_share > 0 else 0.0
        weave = self._weave_more_and_more if self.curriculum and share else None
        share = 0.0 if self.curriculum else share
        first = Stage(
            "pre-training",
            lambda rng: self.batches(clicks, rng),
            self.rate,
            self.epochs,
            weave,
            share=1 - share,
        )
        if not share:
            return [first]
        return [first, self._prompting(clicks, None, self.prompt_rate, self.prompt_epochs, share)]

    def _prompting(
        self,
        clicks: Sequences,
        talks: Dialogues | None,
        rate: float,
        epochs: int,
        share: float = 1.0,
        most: int | None = None,
        within: bool = False,
    ) -> Stage:
        """Dialogues, then generated prompts, half of the batches each; what is switched off leaves
        the other alone.

        Args:
            most: batches of an epoch; None = all.
            within: dialogues teach which item of a page is clicked, not which of all.
        """
        half = None if most is None else -(-most // 2)

        def batches(rng: np.random.Generator) -> Iterator[Batch]:
            if self.dialogues and talks is not None:
                reach = self.length + self.room
                told = turns(talks, self.n_items, reach, self.batch_tokens, rng, self.room)
                yield from (replace(batch, within=within) for batch in islice(told, half))
            if within and self.update_loss == "page-only":
                return
            # `page` is what comes next as well, with prompts or without
            if within or self.prompt_share > 0 or not self.dialogues or talks is None:
                yield from islice(self.batches(clicks, rng), half)

        return Stage(
            "prompts", batches, rate, epochs, self._weave, share, own_best=talks is not None
        )

    def _weave(self, batch: Batch, rng: np.random.Generator, done: float) -> Batch:
        """Generated prompts go into batches of plain clicks; dialogues hold prompts already."""
        if self.prompt_share <= 0 or batch.shown:
            return batch
        return with_generated(
            self.net,
            batch,
            self.prompt_share,
            rng,
            placement=self.placement,
            per_prompt=self.prompt_items,
            heat=self.prompt_sampling,
            hard=self.hard_negatives,
            differ=self.differ,
        )

    def _weave_more_and_more(self, batch: Batch, rng: np.random.Generator, done: float) -> Batch:
        """Generated prompts in a share of the batches that rises from none to twice the prompts'
        budget at the end.
        """
        return (
            self._weave(batch, rng, done) if rng.random() < 2 * self.prompt_budget * done else batch
        )

    def fit(self, log: Impressions, catalogue: Catalogue, rng: np.random.Generator) -> None:
        """Stage 1: predict the next click. Stage 2: the same model on prompts and dialogues."""
        early, late = split_by_time(self._weighted(log), self.validation_share)
        clicks = Sequences.of(early)
        self.begin(clicks, catalogue.size, int(log.user.max()) + 1, rng)
        self._skips = self.skips if (early.shown & ~early.clicked).any() else 0
        talks = self._talks(early, Memory.empty(self.length))
        pretraining = self.stages(clicks)[0]
        prompting = self._prompting(clicks, talks, self.prompt_rate, self.prompt_epochs)
        validate = self._validation(talks, late, rng)
        self.scores_ = self.trainer(
            [pretraining, prompting], rng, validate, patience=self.patience
        ).run()
        self._talk = Memory.empty(self.length)
        self._learn_answers(log, first_of(late), catalogue, rng)
        self._talk = self._talk.after(self._talks(log, self._talk))
        self._store = self._new_store(self.interests)

    def update(self, log: Impressions, catalogue: Catalogue, rng: np.random.Generator) -> None:
        """Fine-tunes on the dialogues since: what was shown, by whom, and what was answered."""
        if not len(log):
            return
        self._learn_answers(log, -np.inf, catalogue, rng)
        log = self._weighted(log)
        talks = self._talks(log, self._talk)
        # Without dialogues the old clicks are context for the new ones, as they are in dialogues
        # and for sasrec.
        clicks = Sequences.of(log) if self.dialogues else joined(self._talk.items, log)
        self._count(log)
        within = self._reads_pages() and self.update_loss != "next"
        self._of_pages = ""
        if self.update_loss != "next" and not self._reads_pages():
            self._of_pages = NO_PAGES
        elif within and not talks.skipped.any():
            self._of_pages = NO_CHOICES if log.clicked.any() else ""
        stage = self._prompting(
            clicks,
            talks,
            self.update_rate,
            self.update_epochs,
            most=self.update_batches,
            within=within and not self._of_pages,
        )
        self.trainer([stage], rng, steps=self._update_steps()).run()
        self._talk = self._talk.after(talks)
        self._forget()

    @property
    def says_(self) -> str:
        unread = NOT_READ if self.dialogues and self._skips < self.skips else ""
        return " ".join(filter(None, (super().says_, unread, self._of_pages)))

    def _told(self, log: Impressions) -> Dialogues:
        return self._talks(log, self._talk)

    def _talks(self, log: Impressions, memory: Memory) -> Dialogues:
        """Dialogues as this policy reads them: without `dialogues` clicks alone, whoever showed
        them.
        """
        if self.dialogues:
            return dialogues_of(log, memory, self._skips, segments_of)
        return dialogues_of(replace(log, bucket=np.full_like(log.bucket, BY_LOG)), memory)

    def _forget(self) -> None:
        super()._forget()
        self._store.wave = None

    def _validation(
        self, talks: Dialogues, late: Impressions, rng: np.random.Generator
    ) -> Callable[[], float] | None:
        """A function that ranks each user's first late click after its early dialogue, or None
        without such users.
        """
        after = Sequences.of(late)
        users = np.intersect1d(talks.users, after.users)
        if not len(users):
            return None
        if len(users) > self.validation_users:
            users = np.sort(rng.choice(users, self.validation_users, replace=False))
        targets = after.items[after.starts[np.searchsorted(after.users, users)]]
        memory = Memory.empty(self.length).after(talks)
        requests = plain_requests(memory.items[users], self.n_items, users)
        entries = Entries(
            requests.items,
            memory.segments[users].astype(np.int64),
            requests.turns,
            requests.items > 0,
        )

        @torch.inference_mode()
        def score() -> float:
            store = SessionStore(self.length, self.length, 0)
            wave, at = store.advance(
                self.net, requests, entries, len(self._popularity), self.net.user_rows, 1
            )
            exclude = np.zeros((len(wave.last), 0), np.int32)
            return ndcg_of(
                recall(
                    wave, self._item_vectors(), exclude, requests.available, [min(10, self.n_items)]
                )[at],
                targets,
            )

        return score

    # -- serving -----------------------------------------------------------------------------------

    def _entries(self, requests: Requests, store: SessionStore, slate_size: int) -> Entries:
        """Which shown items are tokens: all clicks, and the first skipped ones of each page."""
        clicked = requests.feedback > 0
        first_page = requests.pages - requests.pages % store.rebuild_every(slate_size)
        there = requests.items > 0
        since = ((requests.turns >= first_page[:, None]) & there).sum(axis=1, keepdims=True)
        column = np.arange(requests.items.shape[1])
        there &= column >= requests.items.shape[1] - since - store.window
        # A page is what was shown at one moment; what stands before the window does not count.
        page = np.where(there, requests.ages, np.float32(-1))
        keep = there & clicked
        shown_by = np.full_like(requests.said, BY_LOG)
        if self.dialogues:
            keep |= there & (skip_rank(page, clicked | ~there) < self._skips)
            shown_by = requests.said
        return Entries(requests.items, segments_of(clicked, shown_by), requests.turns, keep)

    def _slates(
        self, requests: Requests, k: int, vectors: Tensor, width: int | None = None
    ) -> np.ndarray:
        wave, at = self._advance(
            requests, k, self._store if width is None else self._passing_store(width)
        )
        exclude = np.zeros((len(wave.last), requests.exclude.shape[1]), np.int32)
        exclude[at] = requests.exclude
        ordering = self._order() if width is None else None
        few = k if ordering is None else self._few(requests, k)
        if ordering is not None and not few:
            return self._ordered(ordering, requests, k, wave.last, at, None)
        sizes = quotas(few, self.interests, self.later * few // k)
        slates = recall(
            wave, vectors, exclude, requests.available, sizes, ordering is None, self._ahead()
        )
        if ordering is None:
            return slates[at]
        return self._ordered(ordering, requests, k, wave.last, at, slates)

    def _ahead(self) -> int:
        """The segment of what is said ahead: prompts alone teach what `SAID` means; without them it
        counts as clicked.
        """
        return SAID if self.prompt_share > 0 else ORGANIC

    @torch.inference_mode()
    def interests_of(self, requests: Requests, k: int, interests: int) -> np.ndarray:
        """(B, interests, k) int32 the best items of each interest, in its own order; none of them
        stands in two, as long as there are enough that may be shown. However many interests it
        serves, it can say so many.
        """
        wave, at = self._advance(requests, k, self._new_store(interests))
        exclude = np.zeros((len(wave.last), requests.exclude.shape[1]), np.int32)
        exclude[at] = requests.exclude
        sizes = [k] * interests
        found = recall(
            wave, self._item_vectors(), exclude, requests.available, sizes, segment=self._ahead()
        )
        return found[at].reshape(len(at), interests, k)

    def nearness(self, items: np.ndarray, to: int) -> np.ndarray:
        """Cosine of the vectors of these items, of any shape, with that of one item."""
        units = unit_vectors(self.net)
        near: np.ndarray = units[items] @ units[to]
        return near

    def _passing_store(self, width: int) -> SessionStore:
        return SessionStore(width, width, 0, scratch=max(self.interests - 1, 0))

    def _advance(self, requests: Requests, k: int, store: SessionStore) -> tuple[Wave, np.ndarray]:
        """The wave of these requests, brought up to their page, and where each one stands in it."""
        if not self.cache:
            store.wave = None
        entries = self._entries(requests, store, k)
        return store.advance(
            self.net, requests, entries, len(self._popularity), self.net.user_rows, k
        )

    def state(self) -> dict[str, np.ndarray]:
        return {
            **super().state(),
            "talk.skips": np.array([self._skips]),
            "talk.items": self._talk.items,
            "talk.segments": self._talk.segments,
        }

    def restore(self, state: dict[str, np.ndarray]) -> None:
        super().restore(state)
        self._talk = Memory(np.array(state["talk.items"]), np.array(state["talk.segments"]))
        # what was trained before this was stored has read them
        self._skips = int(state.get("talk.skips", np.array([self.skips]))[0])
        self._store = self._new_store(self.interests)

    def _n_users_of(self, state: dict[str, np.ndarray]) -> int:
        return len(state["net.user.weight"]) - 1
