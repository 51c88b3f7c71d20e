"""GRU4Rec: a recurrent network over the clicks of one user (Hidasi et al., ICLR 2016, arXiv
1511.06939).

Trained with the loss and the care of the transformers instead of session-parallel batches with TOP1
or BPR-max, so that a comparison says something about recurrence against attention.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from policies.base import bounded
from policies.neural.networks import ItemNet
from policies.neural.sequences import Batch
from policies.neural.sequential import Recomputing


class GRU4RecNet(ItemNet):
    """Items in, states out; the state is projected to the width of the items."""

    def __init__(
        self,
        n_items: int,
        width: int,
        layers: int,
        dropout: float,
        cosine: bool,
        untied: bool = False,
    ):
        super().__init__(n_items, width, dropout, cosine, untied)
        self.gru = nn.GRU(width, 2 * width, layers, batch_first=True)
        self.out = nn.Linear(2 * width, width)

    def initialise(self, vectors: np.ndarray, generator: torch.Generator) -> None:
        """As in `ItemNet`, but orthogonal where the network recurs, so that nothing fades."""
        super().initialise(vectors, generator)
        with torch.no_grad():
            for name, weight in self.gru.named_parameters():
                if "weight_hh" in name:
                    for gate in weight.chunk(3):
                        nn.init.orthogonal_(gate, generator=generator)
                elif "weight_ih" in name:
                    nn.init.xavier_uniform_(weight, generator=generator)
            nn.init.xavier_uniform_(self.out.weight, generator=generator)

    def read(self, items: Tensor) -> Tensor:
        """(B, T, D) states after each of these tokens."""
        return self.out(self.dropout(self.gru(self.dropout(self.context_embedding(items)))[0]))

    def states(self, batch: Batch) -> Tensor:
        """(B * T, D); tokens are left-aligned, so padding comes after everything that matters."""
        return self.read(
            torch.from_numpy(batch.items.astype(np.int64)).to(self.items.weight.device)
        ).flatten(0, 1)


@dataclass
class GRU4Rec(Recomputing):
    """The recurrent baseline."""

    layers: int = bounded(1, ge=1, le=100)
    heads: int = 1  # none; a width need not be a multiple of anything

    def _make(self, n_items: int, n_users: int) -> GRU4RecNet:
        return GRU4RecNet(
            n_items, self.width, self.layers, self.dropout, self.loss == "softmax", self.untied
        )

    def _last_states(self, contexts: Tensor) -> Tensor:
        start = torch.full((len(contexts), 1), self.n_items + 1)
        states = self.net.read(torch.cat([start, contexts], dim=1))
        return states[torch.arange(len(contexts)), (contexts > 0).sum(1)]
