"""Two stages: candidates from an index, then exact scores."""

from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from policies.base import plain_requests
from policies.common.errors import InputError
from policies.draws import Draws
from policies.neural.ranking import best_allowed
from policies.registry import make

if find_spec("faiss") is None:
    pytest.skip("faiss is not installed: pip install '.[recall]'", allow_module_level=True)

from policies.neural.recall import Index, best_of

N, D = 20_000, 16


def vectors(n: int, seed: int) -> torch.Tensor:
    """Around 50 directions, as items of kinds are."""
    generator = torch.Generator().manual_seed(seed)
    kinds = torch.randn(50, D, generator=torch.Generator().manual_seed(9))
    kind = torch.randint(0, 50, (n,), generator=generator)
    return F.normalize(kinds[kind] + 0.7 * torch.randn(n, D, generator=generator), dim=-1)


def test_nearly_all_of_the_best_are_found_and_states_do_not_depend_on_each_other() -> None:
    items, states = vectors(N + 1, 0), vectors(256, 1)
    available = np.arange(N + 1) > 0
    available[::7] = False
    exclude = np.random.default_rng(0).integers(0, N + 1, (256, 5))
    exact = best_allowed(states @ items.T, exclude, available, 10)
    index = Index(items, 0.3)
    near = index.near(states, 200)
    found = best_of(near, states, items, exclude, available, 10)
    assert (found[:, :, None] == exact[:, None, :]).any(axis=2).mean() > 0.95
    assert available[found].all()
    assert not (found[:, :, None] == exclude[:, None, :]).any()
    again = Index(items, 0.3)
    for rows in (slice(3, 4), slice(100, 164)):
        np.testing.assert_array_equal(again.near(states[rows], 200), near[rows])


def test_all_cells_are_all_items_and_too_few_candidates_fall_back() -> None:
    items, states = vectors(501, 2), vectors(64, 3)
    available = np.arange(501) > 0
    none = np.zeros((64, 0), np.int64)
    exact = best_allowed(states @ items.T, none, available, 8)
    near = Index(items, 1.0).near(states, 100)
    np.testing.assert_array_equal(best_of(near, states, items, none, available, 8), exact)
    barred = near[:, :95]  # five are left
    left = best_allowed(states @ items.T, barred, available, 8)
    np.testing.assert_array_equal(best_of(near, states, items, barred, available, 8), left)


@pytest.mark.parametrize("name", ["sasrec", "gru4rec"])
def test_a_policy_serves_by_it(name: str) -> None:
    small: dict[str, Any] = {"width": 16, "epochs": 0}
    whole, two = make(name, small), make(name, {**small, "candidates": 150, "cells": 1.0})
    from policies.testing import small_log

    log, catalogue = small_log(n_items=400)
    whole.fit(log, catalogue, np.random.default_rng(0))
    two.restore(whole.state())
    rng = np.random.default_rng(1)
    requests = plain_requests(rng.integers(1, 401, (70, whole.history_length)), 400)
    draws = Draws(0, requests.users, requests.sessions)
    np.testing.assert_array_equal(
        two.recommend(requests, 6, draws).items, whole.recommend(requests, 6, draws).items
    )


def test_gptrec_says_that_it_does_not() -> None:
    with pytest.raises(InputError, match="gptrec scores all items"):
        make("gptrec", {"candidates": 100})
