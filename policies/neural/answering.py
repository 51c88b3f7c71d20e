"""Slates in the order of what users are expected to answer, from the states of a network."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from policies.answers.exposures import CATEGORY_HALF_LIVES, Lately
from policies.answers.levels import Content
from policies.answers.model import AnswerModel
from policies.answers.rows import Rows
from policies.log import Impressions
from policies.neural.dialogues import Dialogues
from policies.neural.networks import ItemNet
from policies.neural.ranking import best_allowed, best_among

DENSE = 50_000  # items up to which all have a place while some of them are ordered
MOST_PAGES = 400_000  # whose states are held at once


def unit_vectors(net: ItemNet) -> np.ndarray:
    """(N + 1, D) of the items of a network."""
    with torch.inference_mode():
        units: np.ndarray = F.normalize(net.item_vectors(), dim=-1).numpy()
    return units


def first_of(log: Impressions) -> float:
    """When a log begins; infinity where it is empty."""
    return float(log.time.min()) if len(log) else np.inf


@dataclass(frozen=True)
class Told:
    """What there is to learn from a log of pages.

    Attributes:
        rows: that were shown. talks: the log by user, as dialogues.
        states: of pages of them by their numbers, (P, D). vectors: (N + 1, D) unit.
    """

    rows: Rows
    talks: Dialogues
    states: Callable[[Dialogues, np.ndarray], np.ndarray]
    vectors: np.ndarray

    def first(self, since: float, content: Content, rng: np.random.Generator) -> AnswerModel:
        """A new model, of a network that knows the rows before `since` alone."""
        late = self.rows.time >= since
        rows, states = self._read(self.rows.kept(late))
        early = self.rows.kept(~late)
        if not len(early):  # the network knows none of them: the earlier half for the levels
            half = rows.time < np.median(rows.time)
            early, rows = rows.kept(half), rows.kept(~half)
        return AnswerModel.fit(early, rows, states, self.vectors, content, rng)

    def more(self, model: AnswerModel, rng: np.random.Generator) -> None:
        """Goes on with rows that the network has not seen."""
        rows, states = self._read(self.rows)
        model.update(rows, states, self.vectors, rng)

    def foretold(self, model: AnswerModel) -> dict[str, np.ndarray]:
        """Kind of answer -> (n,) probabilities of all rows."""
        rows, states = self._read(self.rows, most=len(self.rows))
        return {kind: model.probability(kind, rows, states, self.vectors) for kind in model.levels}

    def _read(self, rows: Rows, most: int = MOST_PAGES) -> tuple[Rows, np.ndarray]:
        """These rows, their pages numbered anew from 0, and (P, D) unit states of the pages; of
        very many the latest.
        """
        pages, which = np.unique(rows.page, return_inverse=True)
        if len(pages) > most:
            when = np.zeros(len(pages))
            when[which] = rows.time
            least = np.partition(when, -most)[-most]
            rows = rows.kept(rows.time >= least)
            pages, which = np.unique(rows.page, return_inverse=True)
        if not len(pages):
            return rows, np.zeros((0, self.vectors.shape[1]), np.float32)
        states = self.states(self.talks, pages)
        states = states / np.maximum(np.linalg.norm(states, axis=1, keepdims=True), 1e-12)
        return replace(rows, page=which), states


class Ordering:
    """Logits of an answer, up to what all items of a user share.

    Args:
        kind: of answer, of `policies.base.KINDS`.
        vectors: (N + 1, D) of the items.
    """

    def __init__(self, model: AnswerModel, kind: str, vectors: Tensor):
        levels, taste = model.levels[kind], model.taste
        reading = model.readings[kind]
        self._form = torch.from_numpy(reading.matrix.astype(np.float32))
        self._taste = taste if kind == "clicked" else None
        parts = [F.normalize(vectors, dim=-1)]
        if self._taste is not None:
            parts.append(torch.from_numpy(taste.items.astype(np.float32)))
        self._items = torch.cat(parts, dim=1).T.contiguous().T
        self._level = torch.from_numpy(levels.items.astype(np.float32))
        self._category = torch.from_numpy(levels.content.category)
        self._of_items = torch.from_numpy(reading.of_items.astype(np.float32))
        self._tiring = levels.tiring.astype(np.float32)

    def _wants(self, states: Tensor, users: np.ndarray) -> Tensor:
        """(B, D + K) what these users look for."""
        wanted = F.normalize(states, dim=-1) @ self._form + self._of_items
        if self._taste is None:
            return wanted
        tastes = torch.from_numpy(self._taste.of_users(users).astype(np.float32))
        return torch.cat([wanted, tastes], dim=1)

    def _tired(self, lately: Lately) -> Tensor:
        """(B, C) logits of a category by what was shown of it."""
        slopes = self._tiring[: len(CATEGORY_HALF_LIVES)]
        return torch.from_numpy(np.einsum("f,bfc->bc", slopes, lately.categories))

    def of_all(self, states: Tensor, users: np.ndarray, lately: Lately) -> Tensor:
        """(B, N + 1) of all items.

        Args:
            states: (B, D) as the network says them. users: (B,) ids.
        """
        scores = self._wants(states, users) @ self._items.T
        scores += self._level
        scores += self._tired(lately)[:, self._category]
        repeats = torch.from_numpy(lately.counts * self._tiring[-1])
        return scores.scatter_add_(1, torch.from_numpy(lately.items.astype(np.int64)), repeats)

    def of(self, items: np.ndarray, states: Tensor, users: np.ndarray, lately: Lately) -> Tensor:
        """(B, M) of these items (B, M)."""
        from policies.answers.loops import counts_of  # numba takes most of a second

        at = torch.from_numpy(items.astype(np.int64))
        scores = torch.einsum("bd,bmd->bm", self._wants(states, users), self._items[at])
        scores += self._level[at]
        scores += self._tired(lately).gather(1, self._category[at])
        counts = counts_of(items, lately.items, lately.counts, len(self._level))
        return scores + torch.from_numpy(counts) * float(self._tiring[-1])


def _best_of_few(
    items: np.ndarray, scores: Tensor, exclude: np.ndarray, available: np.ndarray, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """As `best_among`, faster: of so few items a place for each costs less than sorting some."""
    every = torch.full((len(items), len(available)), -torch.inf)
    every.scatter_(1, torch.from_numpy(items.astype(np.int64)), scores)
    slates = best_allowed(every, exclude, available, k)
    best = every.gather(1, torch.from_numpy(slates.astype(np.int64)))
    return slates, torch.isfinite(best).sum(dim=1).numpy()


def ordered(
    ordering: Ordering,
    states: Tensor,
    users: np.ndarray,
    lately: Lately,
    exclude: np.ndarray,
    available: np.ndarray,
    k: int,
    candidates: np.ndarray | None,
) -> np.ndarray:
    """(B, k) int32 slates of one chunk.

    Args:
        states: (B, D). users: (B,). exclude: (B, W).
        candidates: (B, M) what was recalled for them; None = all items.
    """
    if candidates is None:
        return best_allowed(ordering.of_all(states, users, lately), exclude, available, k)
    scores = ordering.of(candidates, states, users, lately)
    if len(available) <= DENSE:
        slates, there = _best_of_few(candidates, scores, exclude, available, k)
    else:
        slates, there = best_among(candidates, scores, exclude, available, k)
    for row in np.flatnonzero(there < k):  # one by one, so that it gets the same bits in any batch
        one = slice(row, row + 1)
        every = ordering.of_all(states[one], users[one], lately.rows(one))
        slates[one] = best_allowed(every, exclude[one], available, k)
    return slates
