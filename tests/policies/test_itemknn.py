"""Neighbours: a large catalogue, where nothing is as large as users by items, gives what a small
one gives.
"""

import numpy as np
import pytest
from scipy import sparse

from policies.base import Requests
from policies.baselines import itemknn
from policies.baselines.itemknn import ItemKNN, _neighbours
from policies.catalogue import Catalogue
from policies.draws import Draws
from policies.log import Impressions

N, USERS = 300, 90


def clicks(seed: int) -> Impressions:
    rng = np.random.default_rng(seed)
    n = 1500
    return Impressions.of(
        user=rng.integers(0, USERS, n),
        item=1 + (rng.random(n) ** 2 * N).astype(int),
        time=np.sort(rng.random(n)),
        clicked=rng.random(n) < 0.7,
    )


def requests(seed: int, exclude: int) -> Requests:
    rng = np.random.default_rng(seed)
    items = rng.integers(1, N + 1, (USERS, 30))
    items[:20, :] = 0  # nothing is known of these
    items[20:40, :27] = 0
    zeros = np.zeros((USERS, 30))
    there = np.ones(N + 1, bool)
    there[[0, 3, 5, 7, 200]] = False
    return Requests(
        users=np.arange(USERS, dtype=np.int32),
        sessions=np.zeros(USERS, np.int32),
        pages=np.zeros(USERS, np.int16),
        now=np.zeros(USERS),
        items=items.astype(np.int32),
        feedback=(rng.random((USERS, 30)) < 0.5).astype(np.float32),
        said=zeros.astype(np.int8),
        ages=zeros.astype(np.float32),
        turns=zeros.astype(np.int16) - 1,
        exclude=rng.integers(0, N + 1, (USERS, exclude)).astype(np.int32),
        available=there,
    )


@pytest.mark.parametrize("exclude", [0, 25])
@pytest.mark.parametrize("k", [1, 6, 40])
def test_sparse_slates_are_the_dense_ones(
    exclude: int, k: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = ItemKNN(neighbours=20)
    catalogue = Catalogue.of(np.arange(N).astype(str))
    policy.fit(clicks(0), catalogue, np.random.default_rng(0))
    asked = requests(1, exclude)
    draws = Draws(1, asked.users, asked.sessions)
    dense = policy.recommend(asked, k, draws).items
    monkeypatch.setattr(itemknn, "DENSE", 0)
    np.testing.assert_array_equal(policy.recommend(asked, k, draws).items, dense)


def test_neighbours_are_the_largest_cosines() -> None:
    rng = np.random.default_rng(2)
    counts = sparse.random(
        60, 41, 0.2, "csr", random_state=3, data_rvs=lambda n: rng.integers(1, 4, n)
    )
    found = _neighbours(counts, 7).toarray()
    x = np.log1p(counts.toarray())
    x = np.log(42 / np.maximum((counts.toarray() > 0).sum(axis=1), 1))[:, None] * x
    x = x / np.maximum(np.linalg.norm(x, axis=0), 1e-12)
    cosine = x.T @ x
    np.fill_diagonal(cosine, 0)
    for item, row in enumerate(cosine):
        cut = np.sort(row)[-7]
        wanted = np.where((row >= cut - 1e-12) & (row > 1e-12), row, 0)
        np.testing.assert_allclose(found[item], wanted, atol=1e-6)
