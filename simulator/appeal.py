"""Levels and taste from a log: what was chosen against what was shown and against what could have been shown.

A logistic factor model, fitted by stochastic gradients. It is a choice model of low rank and never a transformer.
"""

from dataclasses import dataclass

import numpy as np
import torch
from scipy.special import logit
from torch import Tensor
from torch.nn import functional as F

from policies.log import Dataset
from policies.losses import picked
from policies.training import seeded


@dataclass(frozen=True)
class AppealSettings:
    """How the appeal is fitted.

    Attributes:
        width: D, of the taste vectors.
        epochs: at most; stops when the held-out loss stops falling.
        rate: of Adam.
        penalty: L2 on taste vectors; level_penalty: on levels. Both per observation.
        unshown: items that were not shown, drawn at random, per chosen one.
        held_out: share of the rows by which the number of epochs is chosen.
    """

    width: int = 16
    epochs: int = 10
    rate: float = 0.04
    penalty: float = 0.005
    level_penalty: float = 0.005
    unshown: float = 1.0
    held_out: float = 0.05
    batch: int = 16_384


PENALTIES = (0.005, 0.02)


@dataclass(frozen=True)
class Appeal:
    """(U,), (N + 1,), (U, D) and (N + 1, D) float32 in logits, on the scale of the log's own contrast."""

    user_level: np.ndarray
    item_level: np.ndarray
    user_taste: np.ndarray
    item_taste: np.ndarray
    base: float
    losses: tuple[float, ...]  # held-out log-loss by epoch

    def score(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        """Logits of the pairs (users, items), any shape."""
        taste = (self.user_taste[users] * self.item_taste[items]).sum(-1)
        return self.base + self.user_level[users] + self.item_level[items] + taste


def choose_appeal(data: Dataset, reach: np.ndarray, rng: np.random.Generator) -> tuple[Appeal, AppealSettings]:
    """The fit whose penalty does best on held-out rows, and its settings.

    Unshown items are part of the contrast: among shown items alone the logging policy has already selected what
    appeals, and taste all but vanishes (`benchmarks/appeal.py` prints how much of it is found with and without them).
    """
    seed = int(rng.integers(2**62))
    tried = []
    for penalty in PENALTIES:
        settings = AppealSettings(penalty=penalty)
        tried.append((fit_appeal(data, reach, np.random.Generator(np.random.PCG64(seed)), settings), settings))
    return min(tried, key=lambda pair: min(pair[0].losses))


def _rows(data: Dataset, s: AppealSettings, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    """users, items, clicks (0 or 1) and slots of what was shown, of choices before the log, and of unshown items."""
    log, past = data.log, data.history
    user = np.concatenate([log.user, past.user])
    item = np.concatenate([log.item, past.item])
    clicked = np.concatenate([log.clicked, past.clicked])
    slot = np.concatenate([log.slot, np.zeros(len(past), np.int8)])
    extra = int(s.unshown * clicked.sum())
    if extra:
        user = np.concatenate([user, rng.permutation(np.resize(user[clicked], extra))])
        item = np.concatenate([item, rng.integers(1, data.catalogue.size + 1, extra)])
        clicked = np.concatenate([clicked, np.zeros(extra, bool)])
        slot = np.concatenate([slot, np.zeros(extra, np.int8)])
    return user.astype(np.int64), item.astype(np.int64), clicked.astype(np.float32), slot.astype(np.int64)


def fit_appeal(data: Dataset, reach: np.ndarray, rng: np.random.Generator, s: AppealSettings) -> Appeal:
    """Fits the factor model to a log.

    Args:
        reach: (K_max,) probability of examining each slot; an unexamined item says nothing about appeal.
    """
    user, item, clicked, slot = _rows(data, s, rng)
    examined = torch.from_numpy(reach[np.minimum(slot, len(reach) - 1)].astype(np.float32))
    u, i, y = torch.from_numpy(user), torch.from_numpy(item), torch.from_numpy(clicked)
    order = torch.from_numpy(rng.permutation(len(user)))
    n_held = int(s.held_out * len(user))
    held, kept = order[:n_held], order[n_held:]
    model = _Factors(data.n_users, data.catalogue.size, s, float(clicked.mean()), seeded(rng))
    optimiser = torch.optim.Adam(model.parameters, lr=s.rate, betas=(0.9, 0.99), foreach=True)
    best, best_loss, losses = model.copies(), np.inf, []
    for epoch in range(s.epochs):
        shuffled = kept[torch.from_numpy(rng.permutation(len(kept)))]
        for group in optimiser.param_groups:
            group["lr"] = s.rate * (1 - epoch / s.epochs)
        for begin in range(0, len(shuffled), s.batch):
            pick = shuffled[begin : begin + s.batch]
            optimiser.zero_grad(set_to_none=True)
            loss = _loss(model.logits(u[pick], i[pick]), y[pick], examined[pick]) + model.penalty(u[pick], i[pick])
            loss.backward()
            optimiser.step()
        with torch.inference_mode():
            held_loss = float(_loss(model.logits(u[held], i[held]), y[held], examined[held])) if n_held else float(loss)
        losses.append(held_loss)
        if held_loss < best_loss:
            best, best_loss = model.copies(), held_loss
        elif epoch - int(np.argmin(losses)) >= 2:
            break
    user_level, item_level, user_taste, item_taste, base = (part.numpy() for part in best)
    item_level[0], item_taste[0] = 0, 0
    return Appeal(user_level, item_level, user_taste, item_taste, float(base[0]), tuple(losses))


def _loss(logits: Tensor, y: Tensor, examined: Tensor) -> Tensor:
    """Mean negative log-likelihood of click = examined and appealing, examination independent given the slot."""
    log_p = F.logsigmoid(logits) + torch.log(examined)
    p = (torch.sigmoid(logits) * examined).clamp(max=1 - 1e-6)
    return -(y * log_p + (1 - y) * torch.log1p(-p)).mean()


class _Factors:
    """The tensors of the model."""

    def __init__(self, n_users: int, n_items: int, s: AppealSettings, rate: float, generator: torch.Generator):
        self.settings = s
        rate = min(max(rate, 0.01), 0.99)
        spread = 0.1 / np.sqrt(s.width)
        self.user_level = torch.zeros(n_users)
        self.item_level = torch.zeros(n_items + 1)
        self.user_taste = torch.randn((n_users, s.width), generator=generator) * spread**0.5
        self.item_taste = torch.randn((n_items + 1, s.width), generator=generator) * spread**0.5
        self.base = torch.tensor([float(logit(rate))])
        self.parameters = [self.user_level, self.item_level, self.user_taste, self.item_taste, self.base]
        for parameter in self.parameters:
            parameter.requires_grad_(True)

    def logits(self, u: Tensor, i: Tensor) -> Tensor:
        levels = picked(self.user_level[:, None], u) + picked(self.item_level[:, None], i)
        taste = picked(self.user_taste, u) * picked(self.item_taste, i)
        return self.base + levels[:, 0] + taste.sum(1)

    def penalty(self, u: Tensor, i: Tensor) -> Tensor:
        """Per observation, so that rare users and items are not shrunk more than others by the batch size."""
        s = self.settings
        n = len(u)
        of_user = torch.bincount(u, minlength=len(self.user_level)) / n
        of_item = torch.bincount(i, minlength=len(self.item_level)) / n
        taste = of_user @ (self.user_taste**2).sum(1) + of_item @ (self.item_taste**2).sum(1)
        level = of_user @ self.user_level**2 + of_item @ self.item_level**2
        return s.penalty * taste + s.level_penalty * level

    def copies(self) -> list[Tensor]:
        return [parameter.detach().clone() for parameter in self.parameters]
