"""What the networks minimise: softmax over all items or over drawn ones, or one drawn negative per
click.
"""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from policies.neural.sequences import Batch

LOSSES = ("softmax", "bce")
CHUNK_ROWS = 256  # of the logits of all items that are held at once


@dataclass(frozen=True)
class Recipe:
    """What is minimised.

    Attributes:
        loss: `softmax` over cosine scores, or `bce`: as SASRec was published, dot products against
            one uniformly drawn negative per target.
        temperature: of the cosine softmax.
        sampled: negatives shared by a batch; 0 = all items. Drawn by popularity, with the log-Q
            correction (Bengio and Senecal, 2008).
        decay: weight decay of AdamW.
        popularity: share of the logarithm of an item's clicks that the softmax adds to its score
            in training alone, so that scores need not hold it (logit adjustment, Menon et al.,
            ICLR 2021).
    """

    loss: str = "softmax"
    temperature: float = 0.07
    sampled: int = 0
    decay: float = 0.01
    popularity: float = 0.0

    def all_items(self, n_items: int) -> bool:
        """Whether a softmax runs over all of so many items."""
        return not 0 < self.sampled < n_items


class Scores(Protocol):
    """A model as the loop sees it."""

    cosine: bool

    def states(self, batch: Batch) -> Tensor: ...  # (B * T, D)

    def item_vectors(self) -> Tensor: ...  # (N + 1, D); row 0 is never scored

    def vectors_of(self, items: Tensor) -> Tensor: ...  # (..., D) of these items


class Negatives:
    """Items to score against, drawn by smoothed popularity.

    Args:
        popularity: (N + 1,) clicks per item.
    """

    def __init__(self, popularity: np.ndarray):
        chance = popularity[1:] + 1.0
        chance = chance / chance.sum()
        self.log_chance = torch.from_numpy(np.concatenate([[0.0], np.log(chance)])).float()
        self._edges = np.cumsum(chance)

    def draw(self, n: int, rng: np.random.Generator) -> Tensor:
        """(n,) items, with repeats."""
        place = np.searchsorted(self._edges, rng.random(n) * self._edges[-1], side="right")
        return torch.from_numpy(np.minimum(place, len(self._edges) - 1) + 1)


def loss_of(
    model: Scores, batch: Batch, recipe: Recipe, negatives: Negatives, rng: np.random.Generator
) -> Tensor:
    """Mean loss of the targets; a page's skipped items count as hard negatives."""
    states = model.states(batch)
    device = states.device
    states = states[torch.from_numpy(batch.where).to(device)]
    targets = torch.from_numpy(batch.targets.astype(np.int64)).to(device)
    skipped = torch.from_numpy(batch.skipped.astype(np.int64)).to(device)
    weights = torch.from_numpy(batch.weights).to(device)
    weights = weights / weights.sum().clamp(min=1e-9)
    n_items = len(negatives.log_chance) - 1
    if recipe.loss == "bce":
        return (_binary(states, model, n_items, targets, skipped, rng) * weights).sum()
    unit = F.normalize(states, dim=-1)
    if batch.within:
        return (_of_page(unit, model, targets, skipped, recipe.temperature) * weights).sum()
    offset = recipe.popularity * negatives.log_chance.to(device) if recipe.popularity else None
    if recipe.all_items(n_items) and not skipped.shape[1]:
        units = F.normalize(model.item_vectors(), dim=-1)
        total: Tensor = FullSoftmax.apply(
            *(unit, units[1:], targets - 1, weights, recipe.temperature),
            None if offset is None else offset[1:],
        )
        return total
    losses = _softmax(unit, model, targets, skipped, recipe, negatives, offset, rng)
    return (losses * weights).sum()


class FullSoftmax(torch.autograd.Function):
    """Weighted cross-entropy over all items, its gradient made on the way, so that all logits are
    never held at once.

    A chunk of rows stays in the cache between its three uses, which also makes it faster than one
    large product.
    """

    @staticmethod
    def forward(
        ctx: Any,
        states: Tensor,
        vectors: Tensor,
        targets: Tensor,
        weights: Tensor,
        temperature: float,
        offset: Tensor | None = None,
    ) -> Tensor:
        """Sum of weights * loss.

        Args:
            states: (P, D). vectors: (N, D). targets: (P,) rows of `vectors`. weights: (P,).
            offset: (N,) added to the logits; None = nothing.
        """
        total = torch.zeros(
            (), device=states.device, dtype=torch.promote_types(states.dtype, torch.float32)
        )
        of_states, of_vectors = torch.empty_like(states), torch.zeros_like(vectors)
        for begin in range(0, len(states), CHUNK_ROWS):
            here = slice(begin, begin + CHUNK_ROWS)
            part, target = states[here], targets[here, None]
            product = part @ vectors.T
            logits = product.to(torch.promote_types(product.dtype, torch.float32)) / temperature
            if offset is not None:
                logits += offset
            scale = torch.logsumexp(logits, dim=1, keepdim=True)
            total += ((scale - logits.gather(1, target))[:, 0] * weights[here]).sum()
            chance = logits.sub_(scale).exp_()
            chance.scatter_add_(1, target, torch.full_like(scale, -1.0))
            chance.mul_(weights[here, None] / temperature)
            of_states[here] = (chance @ vectors).to(states.dtype)
            of_vectors += (chance.T @ part).to(vectors.dtype)
        ctx.save_for_backward(of_states, of_vectors)
        return total

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        of_states, of_vectors = ctx.saved_tensors
        return grads[0] * of_states, grads[0] * of_vectors, None, None, None, None


def _softmax(
    states: Tensor,
    model: Scores,
    targets: Tensor,
    skipped: Tensor,
    recipe: Recipe,
    negatives: Negatives,
    offset: Tensor | None,
    rng: np.random.Generator,
) -> Tensor:
    """(P,) losses by unit `states` (P, D); of the items, no vectors but those in play are read.

    Args:
        offset: (N + 1,) added to the items' logits; None = nothing.
    """
    if offset is None:
        offset = torch.zeros(len(negatives.log_chance), device=targets.device)
    if not recipe.all_items(len(negatives.log_chance) - 1):
        drawn = negatives.draw(recipe.sampled, rng).to(targets.device)
        others = states @ F.normalize(model.vectors_of(drawn), dim=-1).T / recipe.temperature
        # A sampled item stands for all that might have been drawn: subtract log(draws * chance).
        others = others - (
            negatives.log_chance.to(targets.device)[drawn] + float(np.log(recipe.sampled))
        )
        others = (others + offset[drawn]).masked_fill(
            drawn[None, :] == targets[:, None], -torch.inf
        )
        answers = F.normalize(model.vectors_of(targets), dim=-1)
        own = (states * answers).sum(-1, keepdim=True) / recipe.temperature
        own = own + offset[targets, None]
        logits, answer = torch.cat([own, others], dim=1), torch.zeros_like(targets)
    else:
        units = F.normalize(model.item_vectors(), dim=-1)
        logits, answer = states @ units[1:].T / recipe.temperature + offset[1:], targets - 1
    if skipped.shape[1]:
        # Each skipped item enters the denominator once more.
        passed = F.normalize(model.vectors_of(skipped), dim=-1)
        hard = torch.einsum("pd,psd->ps", states, passed) / recipe.temperature + offset[skipped]
        logits = torch.cat([logits, hard.masked_fill(skipped == 0, -torch.inf)], dim=1)
    return F.cross_entropy(logits, answer, reduction="none")


def _of_page(
    states: Tensor, model: Scores, targets: Tensor, skipped: Tensor, temperature: float
) -> Tensor:
    """(P,) losses of a choice among an item and the skipped ones of its page: which item is clicked
    when it is shown, and nothing of which ones are shown often. 0 where none was skipped.
    """
    items = torch.cat([targets[:, None], skipped], dim=1)
    vectors = F.normalize(model.vectors_of(items), dim=-1)
    logits = torch.einsum("pd,psd->ps", states, vectors) / temperature
    logits = logits.masked_fill(items == 0, -torch.inf)
    return F.cross_entropy(logits, torch.zeros_like(targets), reduction="none")


def _binary(
    states: Tensor,
    model: Scores,
    n_items: int,
    targets: Tensor,
    skipped: Tensor,
    rng: np.random.Generator,
) -> Tensor:
    drawn = torch.from_numpy(rng.integers(1, n_items + 1, len(targets))).to(targets.device)
    own, other = (
        (states * model.vectors_of(targets)).sum(-1),
        (states * model.vectors_of(drawn)).sum(-1),
    )
    losses = -F.logsigmoid(own) - F.logsigmoid(-other)
    if skipped.shape[1]:
        hard = F.logsigmoid(-torch.einsum("pd,psd->ps", states, model.vectors_of(skipped))) * (
            skipped > 0
        )
        losses = losses - hard.sum(1)
    return losses
