"""The losses against what they stand for."""

from dataclasses import replace

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
    for offset in (torch.zeros(50, dtype=torch.float64), torch.randn(50, generator=generator)):
        logits = states @ vectors.T / 0.3 + offset
        plain = (F.cross_entropy(logits, targets, reduction="none") * weights).sum()
        chunked = FullSoftmax.apply(states, vectors, targets, weights, 0.3, offset)
        torch.testing.assert_close(chunked, plain)
        wanted = torch.autograd.grad(3 * plain, (states, vectors))
        got = torch.autograd.grad(3 * chunked, (states, vectors))
        for one, other in zip(got, wanted, strict=True):
            torch.testing.assert_close(one, other)


def two_each(items: np.ndarray, targets: np.ndarray, skipped: np.ndarray) -> Batch:
    """64 contexts of two tokens (64, 2), two of the 128 targets from the start of each."""
    return Batch(
        np.arange(64),
        items,
        np.zeros_like(items, np.int8),
        np.zeros(64, np.int64),
        np.repeat(np.arange(64) * 2, 2),
        targets,
        np.ones(128, np.float32),
        skipped.astype(np.int32),
    )


@pytest.mark.parametrize("sampled", [0, 150])
@pytest.mark.parametrize("skips", [0, 3])
def test_what_is_corrected_for_popularity_has_none_in_its_scores(sampled: int, skips: int) -> None:
    """Clicks that follow popularity alone: without the correction scores follow it, with it not."""
    rng = keyed("popularity")
    popularity = np.concatenate([[0], np.repeat([200.0, 20.0], 100)])
    items = np.zeros((64, 2), np.int32)
    items[:, 0] = rng.integers(1, 201, 64)
    gaps = []
    for correction in (0.0, 1.0):
        net = SASRecNet(200, 16, 1, 2, 2, 0.0, True)
        optimiser = torch.optim.Adam(net.parameters(), 0.01)
        recipe = Recipe(sampled=sampled, popularity=correction, temperature=0.3)
        for _ in range(60):
            targets = rng.choice(200, 128, p=popularity[1:] / popularity.sum()).astype(np.int32) + 1
            batch = two_each(items, targets, rng.integers(1, 201, (128, skips)))
            optimiser.zero_grad()
            loss_of(net, batch, recipe, Negatives(popularity), rng).backward()
            optimiser.step()
        with torch.no_grad():
            states = F.normalize(net.states(batch)[::2], dim=-1)
            scores = (states @ F.normalize(net.item_vectors(), dim=-1).T).mean(0)[1:]
        gaps.append(float(scores[:100].mean() - scores[100:].mean()))
    assert gaps[0] > 0.15
    assert abs(gaps[1]) < gaps[0] / 2


def test_a_choice_within_a_page_tells_what_is_clicked_and_not_what_is_shown() -> None:
    """Half of the items are shown ten times as often, a quarter is clicked more when shown."""
    rng = keyed("within")
    shown = np.repeat([10.0, 1.0], 100) / 1100
    better = np.arange(200) % 4 == 0
    gaps = []
    for within in (False, True):
        net = SASRecNet(200, 16, 1, 2, 2, 0.0, True)
        optimiser = torch.optim.Adam(net.parameters(), 0.01)
        for _ in range(150):
            pages = np.argsort(-np.log(shown) - rng.gumbel(size=(128, 200)))[:, :6]
            chosen = np.argmax(2.0 * better[pages] + rng.gumbel(size=pages.shape), axis=1)
            rows = np.arange(128)
            targets = pages[rows, chosen].astype(np.int32) + 1
            rest = np.stack([np.delete(page, at) for page, at in zip(pages, chosen, strict=True)])
            items = rng.integers(1, 201, (64, 2)).astype(np.int32)
            batch = replace(two_each(items, targets, rest + 1), shown=True, within=within)
            optimiser.zero_grad()
            recipe = Recipe(temperature=0.3)
            loss_of(net, batch, recipe, Negatives(np.ones(201)), rng).backward()
            optimiser.step()
        with torch.no_grad():
            states = F.normalize(net.states(batch)[::2], dim=-1)
            scores = (states @ F.normalize(net.item_vectors(), dim=-1).T).mean(0)[1:].numpy()
        often = np.arange(200) < 100
        gaps.append(
            (
                scores[often].mean() - scores[~often].mean(),
                scores[better].mean() - scores[~better].mean(),
            )
        )
    nothing = replace(batch, skipped=np.zeros((128, 0), np.int32))  # else than what was clicked
    for sampled in (0, 150):
        recipe = Recipe(temperature=0.3, sampled=sampled)
        assert loss_of(net, nothing, recipe, Negatives(np.ones(201)), rng) == 0
    (next_often, next_better), (page_often, page_better) = gaps
    assert page_better > 0.1
    assert next_better > 0.1
    assert next_often > 0.3
    assert abs(page_often) < next_often / 3


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
