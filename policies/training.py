"""The one training loop and the one loss of the transformers, so that they differ in the model alone."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from policies.sequences import Batch


@dataclass(frozen=True)
class Schedule:
    """How long and how fast.

    Attributes:
        epochs: passes over the data at most; the learning rate falls to zero over them.
        rate: the first learning rate.
        patience: stop after so many epochs without a better validation score.
        temperature: of the cosine softmax.
        sampled: negatives shared by a batch; 0 = all items. Drawn by popularity, with the log-Q correction
            (Bengio and Senecal, 2008).
    """

    epochs: int
    rate: float
    patience: int = 2
    temperature: float = 0.07
    sampled: int = 0


class Scores(Protocol):
    """A model as the loop sees it."""

    def states(self, batch: Batch) -> Tensor: ...  # (B * T, D)

    def item_vectors(self) -> Tensor: ...  # (N + 1, D); row 0 is never scored


def seeded(rng: np.random.Generator) -> torch.Generator:
    """A torch generator from a numpy one."""
    return torch.Generator().manual_seed(int(rng.integers(2**62)))


def loss_of(
    model: Scores, batch: Batch, schedule: Schedule, log_popularity: Tensor, rng: np.random.Generator
) -> Tensor:
    """Mean cross-entropy of the targets; a page's skipped items enter the denominator once more, as hard negatives."""
    device = log_popularity.device
    states = F.normalize(model.states(batch)[torch.from_numpy(batch.where).to(device)], dim=-1)
    vectors = F.normalize(model.item_vectors(), dim=-1)
    targets = torch.from_numpy(batch.targets.astype(np.int64)).to(device)
    n_items = len(vectors) - 1
    if 0 < schedule.sampled < n_items:
        chance = log_popularity[1:].exp().cpu().numpy().astype(np.float64)
        drawn = torch.from_numpy(rng.choice(n_items, schedule.sampled, p=chance / chance.sum()) + 1).to(device)
        negatives = states @ vectors[drawn].T / schedule.temperature
        # A sampled item stands for all that might have been drawn: subtract log(draws * chance).
        negatives = negatives - (log_popularity[drawn] + float(np.log(schedule.sampled)))
        negatives = negatives.masked_fill(drawn[None, :] == targets[:, None], -torch.inf)
        own = (states * vectors[targets]).sum(-1, keepdim=True) / schedule.temperature
        logits = torch.cat([own, negatives], dim=1)
        answer = torch.zeros_like(targets)
    else:
        logits = states @ vectors[1:].T / schedule.temperature
        answer = targets - 1
    if batch.skipped.shape[1]:
        skipped = torch.from_numpy(batch.skipped.astype(np.int64)).to(device)
        hard = torch.einsum("pd,psd->ps", states, vectors[skipped]) / schedule.temperature
        logits = torch.cat([logits, hard.masked_fill(skipped == 0, -torch.inf)], dim=1)
    weights = torch.from_numpy(batch.weights).to(device)
    return (F.cross_entropy(logits, answer, reduction="none") * weights).sum() / weights.sum()


def train(
    model: nn.Module,
    epoch: Callable[[], Iterable[Batch]],
    schedule: Schedule,
    popularity: np.ndarray,
    rng: np.random.Generator,
    validate: Callable[[], float] | None = None,
) -> list[float]:
    """Trains in place and leaves the weights of the best validation score; returns the scores, one per epoch.

    Args:
        epoch: makes the batches of one epoch.
        popularity: (N + 1,) clicks per item, for the sampling of negatives.
    """
    device = next(model.parameters()).device
    smoothed = torch.from_numpy(np.log((popularity + 1.0) / (popularity[1:] + 1.0).sum())).float().to(device)
    optimiser = torch.optim.AdamW(model.parameters(), lr=schedule.rate, weight_decay=0.01, foreach=True)
    scores: list[float] = []
    best: dict[str, Tensor] = {}
    for number in range(schedule.epochs):
        model.train()
        batches = list(epoch())
        for step, batch in enumerate(batches):
            if not len(batch.where):
                continue
            left = 1 - (number + step / len(batches)) / schedule.epochs
            for group in optimiser.param_groups:
                group["lr"] = schedule.rate * left
            optimiser.zero_grad(set_to_none=True)
            loss = loss_of(model, batch, schedule, smoothed, rng)  # type: ignore[arg-type]
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 5.0)
            optimiser.step()
        model.eval()
        if validate is None:
            continue
        scores.append(validate())
        if scores[-1] >= max(scores):
            best = {name: value.detach().clone() for name, value in model.state_dict().items()}
        elif len(scores) - 1 - int(np.argmax(scores)) >= schedule.patience:
            break
    if best:
        model.load_state_dict(best)
    return scores


def ndcg(scores: np.ndarray, targets: np.ndarray, k: int = 10) -> float:
    """Mean NDCG@k of one relevant item per row, all items ranked, ties counted against the target."""
    own = scores[np.arange(len(targets)), targets]
    rank = (scores >= own[:, None]).sum(axis=1) - 1
    return float(np.mean(np.where(rank < k, 1 / np.log2(rank + 2), 0.0))) if len(targets) else 0.0


class KeyedDropout(nn.Module):
    """Dropout from an explicit generator: the same seed gives the same weights, whatever else ran before."""

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
