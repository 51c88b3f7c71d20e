"""The losses against what they stand for."""

import pytest
import torch
from torch.nn import functional as F

from policies.losses import CHUNK_ROWS, FullSoftmax


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
