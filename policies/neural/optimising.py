"""How weights move: AdamW, and for embeddings of large catalogues an Adam that touches only the
rows that a batch has asked for.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

SPARSE = 100_000  # items above which a step moves only the embeddings of those in play
MOST_GRADIENT = 5.0  # norm of all gradients together


def of_rows(net: nn.Module) -> list[Tensor]:
    """The weights whose gradients hold some rows alone."""
    tables = (module for module in net.modules() if isinstance(module, nn.Embedding))
    return [table.weight for table in tables if table.sparse]


def clip(net: nn.Module) -> None:
    """As `torch.nn.utils.clip_grad_norm_`, which knows no sparse gradients."""
    gradients = []
    for weight in net.parameters():
        if weight.grad is not None and weight.grad.is_sparse:
            weight.grad = weight.grad.coalesce()
            gradients.append(weight.grad.values())
        elif weight.grad is not None:
            gradients.append(weight.grad)
    norms = [torch.linalg.vector_norm(gradient) for gradient in gradients]
    scale = MOST_GRADIENT / (torch.linalg.vector_norm(torch.stack(norms)) + 1e-6)
    scale = scale.clamp(max=1.0)
    for gradient in gradients:
        gradient.mul_(scale)


class Optimiser:
    """AdamW of all weights but those of `of_rows`: for these torch's SparseAdam, whose moments and
    weights stay where a batch has no row, and without weight decay.
    """

    def __init__(self, net: nn.Module, decay: float):
        some = of_rows(net)
        known = {id(weight) for weight in some}
        rest = [weight for weight in net.parameters() if id(weight) not in known]
        self.parts: dict[str, torch.optim.Optimizer] = {
            "optimiser": torch.optim.AdamW(rest, lr=1e-3, weight_decay=decay, fused=True)
        }
        if some:
            self.parts["of_rows"] = torch.optim.SparseAdam(some, lr=1e-3)

    def step(self, rate: float) -> None:
        for part in self.parts.values():
            for group in part.param_groups:
                group["lr"] = rate
            part.step()

    def zero_grad(self) -> None:
        for part in self.parts.values():
            part.zero_grad(set_to_none=True)

    def state(self) -> dict[str, np.ndarray]:
        """Moments and counts as arrays."""
        arrays = {}
        for name, part in self.parts.items():
            for i, values in part.state_dict()["state"].items():
                for key, value in values.items():
                    arrays[f"{name}.{i}.{key}"] = torch.as_tensor(value).cpu().numpy().copy()
        return arrays

    def restore(self, arrays: dict[str, Tensor]) -> None:
        """Goes on from what `state` gave."""
        for name, part in self.parts.items():
            moments: dict[int, dict[str, Any]] = {}
            for full, value in arrays.items():
                if full.startswith(f"{name}."):
                    index, _, key = full[len(name) + 1 :].partition(".")
                    # Files know no scalars: the count of steps comes back as an array of one.
                    moments.setdefault(int(index), {})[key] = (
                        _count(value, name) if key == "step" else value
                    )
            groups = part.state_dict()["param_groups"]
            part.load_state_dict({"state": moments, "param_groups": groups})


def _count(value: Tensor, name: str) -> Tensor | int:
    """The steps so far, as this kind of optimiser keeps them."""
    return value.reshape(()) if name == "optimiser" else int(value.reshape(()))
