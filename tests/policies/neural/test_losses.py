"""The losses against what they stand for."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from policies.baselines.sasrec import SASRecNet
from policies.draws import generator as keyed
from policies.neural.losses import CHUNK_ROWS, FullSoftmax, Negatives, Recipe, loss_of
from policies.neural.sequences import Batch


@pytest.mark.parametrize("rows", [1, CHUNK_ROWS, 2 * CHUNK_ROWS + 3])
def test_softmax_in_chunks_and_its_gradients_are_those_of_cross_entropy(rows: int) -> None:
    generator = torch.Generator().manual_seed(rows)
    states = torch.randn(rows, 8, dtype=torch.float64, generator=generator, requires_grad=True)
    vectors = torch.randn(50, 8, dtype=torch.float64, generator=generator, requires_grad=True)
    targets = torch.randint(0, 50, (rows,), generator=generator)
    weights = torch.rand(rows, dtype=torch.float64, generator=generator)
    plain = (F.cross_entropy(states @ vectors.T / 0.3, targets, reduction="none") * weights).sum()
    chunked = FullSoftmax.apply(states, vectors, targets, weights, 0.3)
    torch.testing.assert_close(chunked, plain)
    wanted = torch.autograd.grad(3 * plain, (states, vectors))
    for got, want in zip(torch.autograd.grad(3 * chunked, (states, vectors)), wanted, strict=True):
        torch.testing.assert_close(got, want)


@pytest.mark.parametrize("skips", [0, 3])
@pytest.mark.parametrize("recipe", [Recipe(sampled=100), Recipe(), Recipe(loss="bce")])
def test_gradients_are_the_same_bit_for_bit_with_several_threads(
    recipe: Recipe, skips: int
) -> None:
    rng = keyed("losses")
    net = SASRecNet(200, 64, 1, 2, 40, 0.0, recipe.loss == "softmax")
    items = rng.integers(1, 201, (60, 40)).astype(np.int32)
    targets = rng.integers(1, 201, items.size).astype(np.int32)
    batch = Batch(
        np.arange(60),
        items,
        np.zeros_like(items, np.int8),
        np.zeros(60, np.int64),
        np.arange(items.size),
        targets,
        np.ones(items.size, np.float32),
        rng.integers(0, 201, (items.size, skips)).astype(np.int32),
    )

    def gradients() -> list[torch.Tensor]:
        net.zero_grad()
        loss_of(net, batch, recipe, Negatives(np.ones(201)), keyed("draws")).backward()
        return [p.grad.clone() for p in net.parameters() if p.grad is not None]

    torch.set_num_threads(2)
    try:
        first = gradients()
        assert all(
            torch.equal(a, b) for _ in range(8) for a, b in zip(first, gradients(), strict=True)
        )
    finally:
        torch.set_num_threads(1)
