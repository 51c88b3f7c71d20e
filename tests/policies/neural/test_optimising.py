"""Steps that touch the items of a batch alone, as large catalogues need."""

import copy

import numpy as np
import pytest
import torch

from policies.baselines.sasrec import SASRecNet
from policies.draws import generator
from policies.neural.losses import Negatives, Recipe, loss_of
from policies.neural.optimising import MOST_GRADIENT, Optimiser, clip
from policies.neural.sequences import Batch
from policies.neural.training import Stage, Trainer

N = 200
RECIPE = Recipe(sampled=20)


def net_of(sparse: bool) -> SASRecNet:
    net = SASRecNet(N, 16, 1, 2, 12, 0.0)
    net.initialise(np.zeros((0, 16), np.float32), torch.Generator().manual_seed(0))
    net.items.sparse = sparse
    return net


def batch_of(seed: int, skips: int = 2) -> Batch:
    """Items 1..100 alone."""
    rng = generator("optimising", seed)
    items = rng.integers(1, 101, (8, 10)).astype(np.int32)
    return Batch(
        np.arange(8),
        items,
        np.zeros_like(items, np.int8),
        np.zeros(8, np.int64),
        np.arange(items.size),
        rng.integers(1, 101, items.size).astype(np.int32),
        np.ones(items.size, np.float32),
        rng.integers(0, 101, (items.size, skips)).astype(np.int32),
    )


def learn(net: SASRecNet, batch: Batch) -> None:
    negatives = Negatives(np.r_[0.0, np.full(100, 1e9), np.zeros(100)])  # items 1..100 again
    loss_of(net, batch, RECIPE, negatives, generator("draws")).backward()


@pytest.mark.parametrize("skips", [0, 2])
def test_gradients_of_some_rows_are_those_of_all(skips: int) -> None:
    dense, sparse = net_of(False), net_of(True)
    for net in (dense, sparse):
        learn(net, batch_of(0, skips))
        clip(net)
    assert sparse.items.weight.grad is not None
    assert sparse.items.weight.grad.is_sparse
    for (name, one), (_, other) in zip(
        dense.named_parameters(), sparse.named_parameters(), strict=True
    ):
        assert one.grad is not None, name
        assert other.grad is not None, name
        torch.testing.assert_close(other.grad.to_dense(), one.grad)


def test_clipping_is_torchs() -> None:
    ours, theirs = net_of(False), net_of(False)
    for net in (ours, theirs):
        learn(net, batch_of(1))
        for weight in net.parameters():
            assert weight.grad is not None
            weight.grad *= 1e4
    torch.nn.utils.clip_grad_norm_(theirs.parameters(), MOST_GRADIENT)
    clip(ours)
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad)


def test_items_out_of_play_stay_where_they_are() -> None:
    net = net_of(True)
    before = net.items.weight.detach().clone()
    optimiser = Optimiser(net, 0.5)
    for step in range(3):
        optimiser.zero_grad()
        learn(net, batch_of(step))
        clip(net)
        optimiser.step(0.01)
    moved = (net.items.weight.detach() != before).any(dim=1)
    assert moved[1:101].all()
    assert not moved[101:].any()


@pytest.mark.parametrize("sparse", [False, True])
def test_a_training_that_was_stopped_goes_on_the_same(sparse: bool) -> None:
    def trainer() -> Trainer:
        stage = Stage("t", lambda rng: (batch_of(int(rng.integers(99))) for _ in range(3)), 0.01, 2)
        return Trainer(net_of(sparse), [stage], RECIPE, np.zeros(N + 1), generator("trainer"))

    whole, first, second = trainer(), trainer(), trainer()
    whole.run()
    for _ in range(4):
        first.advance()
    second.restore(copy.deepcopy(first.state()))
    second.run()
    for one, other in zip(whole.net.parameters(), second.net.parameters(), strict=True):
        assert torch.equal(one, other)
