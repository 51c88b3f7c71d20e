"""What the neural sequence policies share: settings, training, validation, ranking. They differ in
the network.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from policies.answers.exposures import lately as lately_of
from policies.answers.levels import Content
from policies.answers.model import AnswerModel, below
from policies.answers.rows import rows_of
from policies.base import OBJECTIVES, Requests, Slates, bounded, plain_requests
from policies.catalogue import Catalogue
from policies.common.errors import InputError, suggestion
from policies.draws import Draws
from policies.log import Impressions
from policies.neural.answering import (
    Ordering,
    Told,
    first_of,
    ordered,
    unit_vectors,
)
from policies.neural.cooccurrence import ppmi_vectors
from policies.neural.dialogues import (
    Dialogues,
    Memory,
    contexts_before,
    dialogues_of,
    states_before,
)
from policies.neural.losses import LOSSES, Recipe
from policies.neural.optimising import SPARSE
from policies.neural.ranking import best_allowed, numpy_state, torch_state
from policies.neural.recall import Index, best_of
from policies.neural.sequences import (
    Batch,
    Sequences,
    autoregressive,
    joined,
    next_clicks,
    remember,
    split_by_time,
)
from policies.neural.sessions import CHUNK, left_aligned
from policies.neural.training import Stage, Trainer, ndcg_of, seeded

NO_PROPENSITY = (
    "propensity_cap changes nothing in what is learned from the log: known propensities weigh all"
    " its clicks alike; it counts in updates where pages of the run explore (epsilon)."
)
NO_SKIPS = (
    "the log shows no skips, so that no answers can be learned from it: slates are in the order of"
    " what is clicked next, until pages of this policy have been answered."
)


@dataclass
class Sequential:
    """A network that reads a user's last clicks and says a vector; items are scored by their
    nearness to it.

    Subclasses give `_make` and, where they cache or read more than clicks, `_slates` and the rest.
    """

    # settings that training on the log does not depend on
    OF_UPDATES: ClassVar[frozenset[str]] = frozenset(
        {"update_epochs", "update_batches", "update_steps", "update_rate"}
    )

    width: int = bounded(64, ge=1, le=4096)
    layers: int = bounded(2, ge=1, le=100)
    heads: int = bounded(2, ge=1, le=256)
    length: int = bounded(50, ge=1, le=5000)  # clicks of context
    room: int = bounded(0, ge=0, le=10_000)  # positions beyond them
    # sessions computed at once; more of them is faster where as many are on the same page
    chunk: int = CHUNK
    dropout: float = bounded(0.2, ge=0, lt=1)
    epochs: int = bounded(5, ge=0, le=100_000)
    patience: int = bounded(
        2, ge=1, le=100_000
    )  # a stage ends after so many validations without a better score
    update_epochs: int = bounded(2, ge=0, le=100_000)
    # of an epoch of an update, at most; a random part of the rows where there are more
    update_batches: int = bounded(200, ge=1, le=1_000_000)
    update_steps: int = bounded(
        0, ge=0, le=100_000_000
    )  # exactly so many steps per update; 0 = update_epochs
    rate: float = bounded(2e-3, gt=0, le=10)
    update_rate: float = bounded(5e-4, gt=0, le=10)
    loss: str = "softmax"  # or bce: dot products against one drawn negative per click
    temperature: float = bounded(0.07, gt=0, le=1000)
    # negatives per batch where the catalogue is larger; 0 = softmax over all items
    sampled: int = bounded(1024, ge=0, le=10_000_000)
    # items that an index recalls for a page, to be scored; 0 = all items are scored
    candidates: int = bounded(0, ge=0, le=10_000_000)
    cells: float = bounded(0.05, gt=0, le=1)  # share of that index that is looked at
    decay: float = bounded(0.01, ge=0, le=10)  # weight decay
    # how much of items' popularity training takes off what they score; 1 = all of it
    popularity_correction: float = bounded(0.0, ge=0, le=2)
    # most that a click counts by the inverse of its propensity, where some pages explore; 0 = all
    # clicks count alike
    propensity_cap: float = bounded(0.0, ge=0, le=1_000_000)
    untied: bool = False  # what an item says as context departs from what it is as an answer
    start: bool = True  # item embeddings started from the co-occurrence of items
    batch_tokens: int = bounded(2048, ge=1, le=10_000_000)
    validation_share: float = bounded(0.1, ge=0, lt=1)  # the last part of the log's clicks, by time
    validation_users: int = bounded(1000, ge=0, le=10_000_000)
    # order what is recalled by how likely it is answered, learned from skips as well as clicks;
    # needs rows that were shown
    answers: bool = False
    objective: str = "click"  # the answer that is wanted: click, long_view, like
    recalled: int = bounded(300, ge=0, le=10_000_000)  # items that are ordered; 0 = all
    # items without rows start from their category, their length and choices before the log
    content: bool = True
    window: int = bounded(
        100, ge=1, le=5000
    )  # impressions before the session that the context is chosen from, where these are read
    history_of: Literal["impressions", "clicks"] = "clicks"
    history_length: int = field(init=False, default=0)
    # what a person should know of the last training: of answers, of propensities
    _of_answers: str = field(init=False, default="", repr=False)
    _of_propensities: str = field(init=False, default="", repr=False)
    # validation NDCG@10, in order
    scores_: list[float] = field(init=False, default_factory=list, repr=False)

    def __post_init__(self) -> None:
        if self.loss not in LOSSES:
            raise InputError(f"loss '{self.loss}': wanted one of {', '.join(LOSSES)}")
        if self.loss == "bce":
            self._refuse("loss=softmax", "popularity_correction")
        if self.width % self.heads:
            raise InputError(f"width {self.width} is not a multiple of {self.heads} heads")
        for name in ("layers", "chunk"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} {getattr(self, name)}: wanted at least 1")
        if self.objective not in OBJECTIVES:
            raise InputError(
                f"objective '{self.objective}'{suggestion(self.objective, OBJECTIVES)}"
            )
        if self.answers:
            self.history_of = "impressions"  # skips tire as well
        else:
            self._refuse("answers=true", "objective", "recalled", "content")
        if self.history_of == "clicks":
            self._refuse("answers=true", "window")
        clicks = self.history_of == "clicks"
        self.history_length = (self.length if clicks else self.window) + self.room
        self._answers: AnswerModel | None = None
        self._ordering: Ordering | None = None
        self._net: Any = None
        self._memory = np.zeros((0, self.length), np.int32)
        self._popularity = np.zeros(0)
        # of the items as they are scored, while the weights stay
        self._vectors: Tensor | None = None
        self._index: Index | None = None

    def _refuse(self, wanted: str, *names: str) -> None:
        """Raises InputError at settings that would have no effect."""
        for name in names:
            value, usual = getattr(self, name), type(self).__dataclass_fields__[name].default
            if value != usual:
                raise InputError(f"{name}={value} has no effect without {wanted}")

    @property
    def net(self) -> Any:
        """The network. Its kind is the subclass's."""
        if self._net is None:
            raise RuntimeError("fit comes before this")
        return self._net

    @property
    def answers_(self) -> AnswerModel | None:
        """What it has learned of answers; None before any rows were shown."""
        return self._answers

    @property
    def n_items(self) -> int:
        return len(self._popularity) - 1

    def _make(self, n_items: int, n_users: int) -> torch.nn.Module:
        raise NotImplementedError

    # -- learning ----------------------------------------------------------------------------------

    def begin(
        self, clicks: Sequences, n_items: int, n_users: int, rng: np.random.Generator
    ) -> None:
        """A network with its first weights."""
        self._net = self._make(n_items, n_users).eval()
        width = self._net.width
        vectors = (
            ppmi_vectors(clicks, n_items, width, rng)
            if self.start
            else np.zeros((0, width), np.float32)
        )
        self._net.initialise(vectors, seeded(rng))
        self._popularity = np.bincount(clicks.items, minlength=n_items + 1).astype(np.float64)
        self._forget()

    def batches(self, clicks: Sequences, rng: np.random.Generator) -> Iterator[Batch]:
        """One epoch: predict each click from the ones before it; windows are as long as what
        serving sees, and a target.
        """
        return autoregressive(
            clicks, self.n_items, self.length + 1, self.batch_tokens, rng, self.room
        )

    def stages(self, clicks: Sequences) -> list[Stage]:
        """How a network is trained from its first weights."""
        return [Stage("training", lambda rng: self.batches(clicks, rng), self.rate, self.epochs)]

    def trainer(
        self,
        stages: list[Stage],
        rng: np.random.Generator,
        validate: Callable[[], float] | None = None,
        **limits: Any,
    ) -> Trainer:
        """A trainer of this policy's network; `limits` are those of `Trainer`."""
        self._forget()
        recipe = Recipe(
            *(self.loss, self.temperature, self.sampled, self.decay, self.popularity_correction)
        )
        if self.n_items > SPARSE and self.loss == "softmax" and not recipe.all_items(self.n_items):
            self.net.items.sparse = True
        return Trainer(self.net, stages, recipe, self._popularity, rng, validate, **limits)

    def fit(self, log: Impressions, catalogue: Catalogue, rng: np.random.Generator) -> None:
        early, late = split_by_time(self._weighted(log), self.validation_share)
        clicks = Sequences.of(early)
        self.begin(clicks, catalogue.size, int(log.user.max()) + 1, rng)
        users, contexts, targets = next_clicks(early, late, self.length, self.validation_users, rng)
        validate = (
            (lambda: ndcg_of(self.top(users, contexts, min(10, self.n_items)), targets))
            if len(users)
            else None
        )
        self.scores_ = self.trainer(
            self.stages(clicks), rng, validate, patience=self.patience
        ).run()
        self._learn_answers(log, first_of(late), catalogue, rng)
        self._memory = remember(np.zeros((0, self.length), np.int32), log)
        self._forget()

    def update(self, log: Impressions, catalogue: Catalogue, rng: np.random.Generator) -> None:
        """Fine-tunes on the users who clicked since, their remembered clicks included so that
        little is forgotten.
        """
        if not len(log):
            return
        self._learn_answers(log, -np.inf, catalogue, rng)
        if not log.clicked.any():
            self._forget()
            return
        clicks = joined(self._memory, self._weighted(log))
        self._count(log)
        stage = Stage(
            "update",
            lambda rng: islice(self.batches(clicks, rng), self.update_batches),
            self.update_rate,
            self.update_epochs,
        )
        self.trainer([stage], rng, steps=self._update_steps()).run()
        self._memory = remember(self._memory, log)
        self._forget()

    def _update_steps(self) -> list[int] | None:
        return [self.update_steps] if self.update_steps > 0 else None

    def _weighted(self, log: Impressions) -> Impressions:
        """Clicks as targets of the network that count by the inverse of their propensity,
        `propensity_cap` at most, and 1 on average; where it is not known they count as before.

        Source: Schnabel et al., ICML 2016, with clipped weights.
        """
        known = log.clicked & np.isfinite(log.propensity) & (log.propensity > 0)
        by = np.minimum(1 / log.propensity[known].astype(np.float64), self.propensity_cap)
        differ = known.any() and np.ptp(by) > 0
        self._of_propensities = "" if differ or not self.propensity_cap else NO_PROPENSITY
        if not self.propensity_cap or not differ:
            return log
        weight = log.weight.astype(np.float64)
        weight[known] *= by / by.mean()
        return replace(log, weight=weight.astype(np.float32))

    @property
    def says_(self) -> str:
        """What a person should know of the last training."""
        return " ".join(filter(None, (self._of_answers, self._of_propensities)))

    def _count(self, log: Impressions) -> None:
        self._popularity = self._popularity + np.bincount(
            log.item[log.clicked], minlength=len(self._popularity)
        )

    def _forget(self) -> None:
        """Drops what was computed with weights that have changed."""
        self._vectors = self._index = self._ordering = None

    # -- answers -----------------------------------------------------------------------------------

    def _told(self, log: Impressions) -> Dialogues:
        """A log as this policy reads it, after what it remembers."""
        return dialogues_of(log, Memory(self._memory, np.zeros(self._memory.shape, np.int8)))

    def _states(self, told: Dialogues, pages: np.ndarray) -> np.ndarray:
        """(len(pages), D) states before these pages."""
        return states_before(self.net, told, pages, self.n_items, self.length, self.room)

    def _to_learn(self, log: Impressions, catalogue: Catalogue) -> Told:
        """What a log by user tells of answers."""
        rows = rows_of(log, catalogue, self.history_length)
        return Told(rows, self._told(log), self._states, unit_vectors(self.net))

    def _learn_answers(
        self,
        log: Impressions,
        since: float,
        catalogue: Catalogue,
        rng: np.random.Generator,
    ) -> None:
        """Takes in rows, of which the network knows those before `since` alone; the first ones that
        show answers begin the model.
        """
        if not self.answers or not log.shown.any() or log.clicked[log.shown].all():
            self._of_answers = NO_SKIPS if self.answers else ""
            return
        self._of_answers = ""
        log = log.by_user()
        told = self._to_learn(log, catalogue)
        if self._answers is None or not self._answers.levels:
            content = Content.of(
                catalogue, np.bincount(log.item[~log.shown], minlength=catalogue.size + 1)
            )
            content = content if self.content else content.nothing()
            self._answers = told.first(since, content, rng)
        else:
            told.more(self._answers, rng)
        if OBJECTIVES[self.objective] not in self._answers.levels:
            self._of_answers = (
                f"the log holds too few answers of the kind '{self.objective}': slates are in the"
                " order of what is clicked next."
            )

    def foretell(self, log: Impressions, catalogue: Catalogue) -> dict[str, np.ndarray]:
        """Kind of answer -> (n,) probabilities for the n shown rows of a log by user, each from
        what was known before its page.
        """
        if self._answers is None:
            return {}
        told = self._to_learn(log, catalogue)
        return told.foretold(self._answers)

    # -- ranking -----------------------------------------------------------------------------------

    def _item_vectors(self) -> Tensor:
        """(N + 1, D) of the items as they are scored; transposed in memory, as one product of many
        reads it.
        """
        vectors: Tensor = self.net.scale(self.net.item_vectors()).T.contiguous().T
        return vectors

    def _slates(
        self, requests: Requests, k: int, vectors: Tensor, width: int | None = None
    ) -> np.ndarray:
        """(B, k) items for requests of one page.

        Args:
            vectors: (N + 1, D) of the items, as they are scored.
            width: forget sessions, and compute on so many columns of the history at most.
        """
        raise NotImplementedError

    def _order(self) -> Ordering | None:
        """How slates are ordered by answers; None = by what is clicked next."""
        if self._answers is None or OBJECTIVES[self.objective] not in self._answers.levels:
            return None
        if self._ordering is None:
            kind = OBJECTIVES[self.objective]
            self._ordering = Ordering(self._answers, kind, self.net.item_vectors())
        return self._ordering

    def _ordered(
        self,
        ordering: Ordering,
        requests: Requests,
        k: int,
        states: Tensor,
        at: np.ndarray,
        candidates: np.ndarray | None,
    ) -> np.ndarray:
        """(B, k) slates by answers.

        Args:
            states: (R, D) in chunks, of which the requests stand at `at`.
            candidates: (R, M) what was recalled; None = all items.
        """
        size = len(states)
        users = np.full(size, np.iinfo(np.int32).max, np.int64)
        exclude = np.zeros((size, requests.exclude.shape[1]), np.int32)
        users[at], exclude[at] = requests.users, requests.exclude
        assert self._answers is not None
        content = self._answers.content
        lately = lately_of(requests, content.category, content.n_categories).placed(at, size)
        slates = np.zeros((size, k), np.int32)
        for begin in range(0, size, self.chunk):
            here = slice(begin, begin + self.chunk)
            slates[here] = ordered(
                ordering,
                states[here],
                users[here],
                lately.rows(here),
                exclude[here],
                requests.available,
                k,
                None if candidates is None else candidates[here],
            )
        return slates[at]

    def _few(self, requests: Requests, k: int) -> int:
        """How many items are recalled for the answers to order k of them; 0 = all are ordered."""
        recalled = max(self.recalled, k) if self.recalled else 0
        return recalled if recalled < int(requests.available.sum()) else 0

    def _best(
        self,
        states: Tensor,
        vectors: Tensor,
        exclude: np.ndarray,
        available: np.ndarray,
        k: int,
        every: bool = False,
    ) -> np.ndarray:
        """(B, k) int32 best items at states (B, D) that may be shown.

        Args:
            every: whether all items are scored, whatever `candidates` says.
        """
        if every or not 0 < self.candidates < self.n_items:
            return best_allowed(states @ vectors.T, exclude, available, k)
        if self._index is None:
            self._index = Index(vectors, self.cells)
        items = self._index.near(states, max(self.candidates, k))
        return best_of(items, states, vectors, exclude, available, k)

    @torch.inference_mode()
    def recommend(self, requests: Requests, slate_size: int, draws: Draws) -> Slates:
        slates = np.zeros((len(requests), slate_size), np.int32)
        if self._vectors is None:
            self._vectors = self._item_vectors()
        for page in np.unique(requests.pages):
            rows = np.flatnonzero(requests.pages == page)
            part = requests if len(rows) == len(requests) else requests.rows(rows)
            slates[rows] = self._slates(part, slate_size, self._vectors)
        return Slates(slates, np.ones(slates.shape, np.float32))

    def recall_of_best(self, requests: Requests, k: int) -> float | None:
        """Share of the k items of each request that answers put first among all which stand among
        those recalled: what the order can show is capped by it. None where answers order nothing,
        or everything.
        """
        if self._order() is None or not self._few(requests, k):
            return None
        draws = Draws(0, requests.users, requests.sessions)
        shown = self.recommend(requests, k, draws).items
        self.recalled, recalled = 0, self.recalled
        best = self.recommend(requests, k, draws).items
        self.recalled = recalled
        self._forget()
        # An item of the best k that is recalled is among the best k of what is recalled.
        return float((best[:, :, None] == shown[:, None, :]).any(axis=2).mean())

    @torch.inference_mode()
    def top(
        self, users: np.ndarray, contexts: np.ndarray, k: int, exclude: Sequences | None = None
    ) -> np.ndarray:
        """(V, k) best items after these clicks, outside of any session; users of like length share
        a batch.

        Args:
            users: (V,) ids.
            contexts: (V, L) int32, left-padded with 0.
            exclude: what each user may not get, its sequences in the order of `users`; None =
                everything may come.
        """
        slates = np.zeros((len(users), k), np.int32)
        vectors = self._item_vectors()
        counts = (contexts > 0).sum(axis=1)
        order = np.argsort(counts, kind="stable")
        for begin in range(0, len(order), CHUNK):
            rows = order[begin : begin + CHUNK]
            width = max(int(counts[rows].max()), 1)
            requests = plain_requests(
                contexts[rows][:, -width:], self.n_items, users[rows], padded(exclude, rows)
            )
            slates[rows] = self._slates(requests, k, vectors, width)
        return slates

    def state(self) -> dict[str, np.ndarray]:
        answers = {} if self._answers is None else self._answers.state()
        return {
            **numpy_state(self.net),
            "memory": self._memory,
            "popularity": self._popularity,
            **{f"answers.{name}": value for name, value in answers.items()},
        }

    def restore(self, state: dict[str, np.ndarray]) -> None:
        self._memory = np.array(state["memory"])
        self._popularity = np.array(state["popularity"])
        self._net = self._make(self.n_items, self._n_users_of(state)).eval()
        self._net.load_state_dict(torch_state(state))
        answers = below(state, "answers.")
        self._answers = AnswerModel.from_state(answers) if answers else None
        self._forget()

    def _n_users_of(self, state: dict[str, np.ndarray]) -> int:
        return 0


def padded(sequences: Sequences | None, rows: np.ndarray) -> np.ndarray:
    """(len(rows), W) int32: these sequences, padded with 0."""
    if sequences is None:
        return np.zeros((len(rows), 0), np.int32)
    sizes = sequences.lengths[rows]
    index = sequences.starts[rows][:, None] + np.arange(int(sizes.max(initial=0)))
    inside = index < sequences.starts[rows + 1][:, None]
    return np.where(inside, sequences.items[np.minimum(index, len(sequences.items) - 1)], 0)


@dataclass
class Recomputing(Sequential):
    """A sequence policy that reads its context anew at every page."""

    def _last_states(self, contexts: Tensor) -> Tensor:
        """(B, D) what comes after these clicks (B, W), left-aligned, padded with 0."""
        raise NotImplementedError

    def _slates(
        self, requests: Requests, k: int, vectors: Tensor, width: int | None = None
    ) -> np.ndarray:
        # Chunks of one shape, the last one padded: a user gets the same bits whoever shares the
        # chunk.
        every = width is not None
        chunk = self.chunk if width is None else CHUNK
        width = self.length if width is None else width
        b = len(requests)
        clicked = (requests.feedback > 0) & (requests.items > 0)
        contexts = np.zeros((-(-b // chunk) * chunk, width), np.int64)
        contexts[:b], _ = left_aligned(requests.items, requests.items, clicked, width)
        exclude = np.zeros((len(contexts), requests.exclude.shape[1]), np.int64)
        exclude[:b] = requests.exclude
        ordering = None if every else self._order()
        few = self._few(requests, k) if ordering is not None else k
        slates, found = np.zeros((len(contexts), few), np.int32), []
        for begin in range(0, len(contexts), chunk):
            here = slice(begin, begin + chunk)
            states = self._last_states(torch.from_numpy(contexts[here]))
            found.append(states)
            if few:
                scaled = self.net.scale(states)
                slates[here] = self._best(
                    scaled, vectors, exclude[here], requests.available, few, every
                )
        if ordering is None:
            return slates[:b]
        return self._ordered(
            ordering, requests, k, torch.cat(found), np.arange(b), slates if few else None
        )

    def _states(self, told: Dialogues, pages: np.ndarray) -> np.ndarray:
        contexts = contexts_before(told, pages, self.length).astype(np.int64)
        with torch.inference_mode():
            parts = [
                self._last_states(torch.from_numpy(contexts[begin : begin + CHUNK]))
                for begin in range(0, len(contexts), CHUNK)
            ]
        states: np.ndarray = torch.cat(parts).numpy()
        return states
