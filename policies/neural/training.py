"""The one training loop of the neural policies, so that they differ in the model alone."""

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from policies.common.errors import InputError
from policies.common.processes import trim
from policies.neural.losses import Negatives, Recipe, loss_of
from policies.neural.networks import KeyedDropout
from policies.neural.optimising import Optimiser, clip
from policies.neural.sequences import Batch


@dataclass(frozen=True)
class Stage:
    """One part of a training.

    Attributes:
        batches: makes one epoch.
        rate: the first learning rate; it falls to zero over the stage.
        epochs: length of the stage where no budget is given.
        weave: changes a batch just before it is used, with the model as it then is, told what share
            of the stage is done; None = as it is.
        share: of the time, where a budget is given.
        own_best: keep the best weights of this stage, even if an earlier stage had better ones.
    """

    name: str
    batches: Callable[[np.random.Generator], Iterable[Batch]]
    rate: float
    epochs: int
    weave: Callable[[Batch, np.random.Generator, float], Batch] | None = None
    share: float = 1.0
    own_best: bool = False


# Every batch has a shape of its own; the holes that they leave would double the memory of a long
# training.
TRIM_EVERY = 25  # steps


def seeded(rng: np.random.Generator) -> torch.Generator:
    """A torch generator from a numpy one."""
    return torch.Generator().manual_seed(int(rng.integers(2**62)))


class Trainer:
    """Trains a network through its stages, step by step, so that it can stop at any step and go on
    the same.

    Args:
        net: moved to CUDA for the time of the training where there is one.
        stages: one after the other.
        steps: length of each stage in steps; None = its epochs.
        validate: scores the network as it is; the weights of the best score are kept, whatever the
            stage.
        evaluations: how often to validate in a stage that has `steps`; otherwise once per epoch.
        patience: end a stage after so many scores without a better one.
    """

    def __init__(
        self,
        net: nn.Module,
        stages: list[Stage],
        recipe: Recipe,
        popularity: np.ndarray,
        rng: np.random.Generator,
        validate: Callable[[], float] | None = None,
        steps: list[int] | None = None,
        evaluations: int = 10,
        patience: int = 3,
    ):
        lengths = [stage.epochs for stage in stages] if steps is None else steps
        kept = [i for i, n in enumerate(lengths) if n > 0]
        self.net, self.stages, self.recipe, self.rng = net, [stages[i] for i in kept], recipe, rng
        self.negatives = Negatives(popularity)
        self.validate, self.patience = validate, patience
        self.steps = (
            [steps[i] for i in kept] if steps is not None else [0] * len(kept)
        )  # 0 = epochs, known once one is made
        self.every = [max(1, n // evaluations) for n in self.steps]
        self.generator = seeded(rng)
        self.stage, self.step, self.place = 0, 0, 0
        self.scores: list[float] = []
        self.first_score = 0  # index into `scores` of this stage's first one
        self.best: dict[str, Tensor] = {}
        self.sequences = 0  # windows learned from so far
        self._epoch: list[Batch] = []
        self._epoch_start: Any = rng.bit_generator.state
        self._home = next(net.parameters()).device
        self.device = torch.device("cuda") if torch.cuda.is_available() else self._home
        self._optimiser = self._fresh_optimiser()

    # -- running -----------------------------------------------------------------------------------

    @property
    def done(self) -> bool:
        return self.stage >= len(self.stages)

    def run(self, after: Callable[["Trainer", bool], None] | None = None) -> list[float]:
        """Trains to the end and leaves the best weights in the network; returns the validation
        scores.

        Args:
            after: called after each step with this trainer and whether it has just validated.
        """
        while not self.done:
            validated = self.advance()
            if after is not None:
                after(self, validated)
        self.net.to(self._home).eval()
        if self.best:
            self.net.load_state_dict(self.best)
        return self.scores

    def advance(self) -> bool:
        """One step; at the due ones also validates (True) and goes to the next stage."""
        stage = self.stages[self.stage]
        if self.place >= len(self._epoch):
            self._begin_epoch(stage)
        batch = self._epoch[self.place] if self._epoch else None
        if batch is not None and len(batch.where):
            self._learn(batch, stage)
        self.place += 1
        self.step += 1
        if self.step % TRIM_EVERY == 0:
            trim()
        last = self.step >= self.steps[self.stage]
        validated = False
        if self.validate is not None and (last or self.step % self.every[self.stage] == 0):
            validated = True
            last |= self._judge()
        if last:
            if self.best:
                self.net.load_state_dict(self.best)
            self.stage, self.step, self.place, self._epoch = self.stage + 1, 0, 0, []
            self.first_score = len(self.scores)
            self._optimiser = self._fresh_optimiser()
        return validated

    def _begin_epoch(self, stage: Stage) -> None:
        self._epoch_start = self.rng.bit_generator.state
        self._epoch, self.place = list(stage.batches(self.rng)), 0
        if not self.steps[self.stage]:
            self.every[self.stage] = max(1, len(self._epoch))
            self.steps[self.stage] = stage.epochs * self.every[self.stage]

    def _fresh_optimiser(self) -> Optimiser:
        self.net.to(self.device)
        return Optimiser(self.net, self.recipe.decay)

    def _learn(self, batch: Batch, stage: Stage) -> None:
        self.net.train()
        for module in self.net.modules():
            if isinstance(module, KeyedDropout):
                module.generator = self.generator
        done = self.step / self.steps[self.stage]
        if stage.weave is not None:
            batch = stage.weave(batch, self.rng, done)
        self._optimiser.zero_grad()
        with (
            torch.autocast("cuda", torch.bfloat16) if self.device.type == "cuda" else nullcontext()
        ):
            loss = loss_of(self.net, batch, self.recipe, self.negatives, self.rng)  # type: ignore[arg-type]
        loss.backward()
        clip(self.net)
        self._optimiser.step(stage.rate * (1 - done))
        self.sequences += len(batch.users)

    def _judge(self) -> bool:
        """Validates; True if the stage should end early."""
        assert self.validate is not None
        here = self.scores[self.first_score :] if self.stages[self.stage].own_best else self.scores
        with self.at_home():
            score = self.validate()
            if score >= max(here, default=-np.inf):
                self.best = {
                    name: value.detach().clone() for name, value in self.net.state_dict().items()
                }
        self.scores.append(score)
        here = self.scores[self.first_score :]
        return len(here) - 1 - int(np.argmax(here)) >= self.patience

    @contextmanager
    def at_home(self) -> Iterator[None]:
        """The network where it came from, ready to rank; afterwards back where it is trained."""
        self.net.to(self._home).eval()
        yield
        self.net.to(self.device)

    # -- stopping and going on ---------------------------------------------------------------------

    def state(self) -> dict[str, np.ndarray]:
        """Everything that decides how the training goes on, as arrays."""
        arrays = {
            f"net.{k}": v.detach().cpu().numpy().copy() for k, v in self.net.state_dict().items()
        }
        arrays |= {f"best.{k}": v.cpu().numpy().copy() for k, v in self.best.items()}
        arrays |= self._optimiser.state()
        words = {
            "rng": self.rng.bit_generator.state,
            "epoch_start": self._epoch_start,
            "stage": self.stage,
            "step": self.step,
            "place": self.place if self._epoch else -1,
            "steps": self.steps,
            "every": self.every,
            "scores": self.scores,
            "first_score": self.first_score,
            "sequences": self.sequences,
        }
        arrays["torch_generator"] = self.generator.get_state().numpy().copy()
        arrays["words"] = np.frombuffer(json.dumps(words).encode(), np.uint8).copy()
        return arrays

    def restore(self, arrays: dict[str, np.ndarray]) -> None:
        """Goes on from what `state` gave; the arguments must be those of the trainer
        that gave it.
        """
        words = json.loads(arrays["words"].tobytes().decode())
        try:
            self.net.load_state_dict(_part(arrays, "net."))
        except RuntimeError as error:
            raise InputError(
                f"the checkpoint is of another model: {str(error).splitlines()[-1].strip()}"
            ) from None
        self.best = _part(arrays, "best.")
        self.stage, self.step, self.steps, self.every = (
            words[k] for k in ("stage", "step", "steps", "every")
        )
        self.scores, self.first_score, self.sequences = (
            words["scores"],
            words["first_score"],
            words["sequences"],
        )
        self._optimiser = self._fresh_optimiser()
        self._optimiser.restore({name: torch.from_numpy(v.copy()) for name, v in arrays.items()})
        self._epoch, self.place, self._epoch_start = [], 0, words["epoch_start"]
        if words["place"] >= 0:
            self.rng.bit_generator.state = words["epoch_start"]
            self._epoch, self.place = (
                list(self.stages[self.stage].batches(self.rng)),
                words["place"],
            )
        self.rng.bit_generator.state = words["rng"]
        self.generator.set_state(torch.from_numpy(arrays["torch_generator"].copy()))


def _part(arrays: dict[str, np.ndarray], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names begin with this, without it."""
    return {
        k[len(prefix) :]: torch.from_numpy(v.copy())
        for k, v in arrays.items()
        if k.startswith(prefix)
    }


def ndcg_of(slates: np.ndarray, targets: np.ndarray) -> float:
    """Mean NDCG of one relevant item per row, cut at the width of the slates (V, K)."""
    if not len(targets):
        return 0.0
    hit = slates == targets[:, None]
    return float((hit / np.log2(np.arange(slates.shape[1]) + 2)).sum(axis=1).mean())
