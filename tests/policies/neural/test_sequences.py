"""Windows and batches: every click is a target once, nothing is lost."""

import numpy as np
import pytest

from policies.log import Impressions
from policies.neural import cooccurrence
from policies.neural.cooccurrence import decayed_counts, ppmi_vectors
from policies.neural.sequences import (
    Sequences,
    autoregressive,
    by_length,
    joined,
    last_items,
    next_clicks,
    remember,
    split_by_time,
    windows,
)


def log_of(user: list[int], item: list[int]) -> Impressions:
    n = len(user)
    return Impressions.of(
        user=np.array(user),
        item=np.array(item),
        time=np.arange(n, dtype=float),
        clicked=np.ones(n, bool),
    )


@pytest.mark.parametrize("seed", range(5))
def test_windows_cover_each_token_once(seed: int) -> None:
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, 40, 50)
    row, begin, size = windows(lengths, 7, rng)
    assert size.max() <= 7
    covered = [np.zeros(n, int) for n in lengths]
    for r, b, s in zip(row, begin, size, strict=True):
        covered[r][b : b + s] += 1
    assert all((c == 1).all() for c in covered)


def test_batches_hold_every_window_once_and_few_tokens() -> None:
    rng = np.random.default_rng(0)
    sizes = rng.integers(1, 60, 500)
    batches = list(by_length(sizes, 600, rng))
    assert sorted(np.concatenate(batches).tolist()) == list(range(500))
    assert all(len(b) * (sizes[b].max() + 1) <= 600 for b in batches if len(b) > 1)
    padded = sum(len(b) * sizes[b].max() for b in batches)
    assert padded < 1.15 * sizes.sum()


def test_autoregressive_targets_are_the_next_clicks() -> None:
    rng = np.random.default_rng(0)
    user = np.sort(rng.integers(0, 20, 400))
    sequences = Sequences.of(log_of(user.tolist(), rng.integers(1, 30, 400).tolist()))
    seen = 0
    for batch in autoregressive(sequences, 30, 9, 64, rng, room=4):
        assert (batch.items[:, 0] == 31).all()
        flat = batch.items.ravel()
        width = batch.items.shape[1]
        for where, target in zip(batch.where, batch.targets, strict=True):
            if where % width:  # the token that predicts it is the click before it
                items = sequences.items[sequences.starts[batch.users[where // width]] :]
                assert any(
                    items[i] == flat[where] and items[i + 1] == target
                    for i in range(len(items) - 1)
                )
        seen += len(batch.targets)
    assert seen == 400


def test_memory_and_new_clicks_join_in_order() -> None:
    memory = remember(np.zeros((0, 3), np.int32), log_of([0, 0, 2, 2, 2, 2], [1, 2, 3, 4, 5, 6]))
    assert memory.tolist() == [[0, 1, 2], [0, 0, 0], [4, 5, 6]]
    new = log_of([2, 0, 4], [7, 8, 9])
    both = joined(memory, new)
    assert both.users.tolist() == [0, 2, 4]
    assert [both.items[a:b].tolist() for a, b in zip(both.starts, both.starts[1:])] == [
        [1, 2, 8],
        [4, 5, 6, 7],
        [9],
    ]
    assert remember(memory, new).tolist() == [[1, 2, 8], [0, 0, 0], [5, 6, 7], [0, 0, 0], [0, 0, 9]]


def test_validation_looks_forward_in_time_only() -> None:
    rng = np.random.default_rng(1)
    n = 1000
    log = Impressions.of(
        user=rng.integers(0, 40, n),
        item=rng.integers(1, 50, n),
        time=rng.random(n),
        clicked=rng.random(n) < 0.5,
    )
    early, late = split_by_time(log, 0.1)
    assert early.time.max() < late.time.min()
    assert late.clicked.sum() == pytest.approx(0.1 * log.clicked.sum(), abs=2)
    users, contexts, targets = next_clicks(early, late, 5, 1000, rng)
    for user, context, target in zip(users, contexts, targets, strict=True):
        mine = late.rows((late.user == user) & late.clicked)
        assert target == mine.item[np.argmin(mine.time)]
        before = early.rows((early.user == user) & early.clicked)
        assert context[context > 0].tolist() == before.item[np.argsort(before.time)][-5:].tolist()


def test_last_items_of_unknown_users_are_empty() -> None:
    sequences = Sequences.of(log_of([1, 1], [5, 6]))
    assert last_items(sequences, np.array([0, 1, 9]), 3).tolist() == [
        [0, 0, 0],
        [0, 5, 6],
        [0, 0, 0],
    ]


def test_cooccurrence_counts_by_hand() -> None:
    counts = decayed_counts(Sequences.of(log_of([0, 0, 0, 1], [1, 2, 3, 1])), 3, window=2).toarray()
    assert counts[1, 2] == counts[2, 3] == 1.0
    assert counts[1, 3] == 0.5
    assert np.array_equal(counts, counts.T)


@pytest.mark.parametrize("exact", [True, False])
def test_ppmi_vectors_put_companions_together(exact: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not exact:
        monkeypatch.setattr(cooccurrence, "EXACT", 0)
    rng = np.random.default_rng(0)
    user = np.repeat(np.arange(200), 6)
    item = rng.integers(0, 10, 1200) * 2 + 1 + (user % 2)  # odd users choose even items
    vectors = ppmi_vectors(Sequences.of(log_of(user.tolist(), item.tolist())), 20, 8, rng)
    unit = vectors[1:] / np.linalg.norm(vectors[1:], axis=1, keepdims=True)
    close = unit @ unit.T
    same = (np.arange(20)[:, None] - np.arange(20)) % 2 == 0
    assert close[same].mean() > close[~same].mean() + 0.2


def test_users_who_share_no_item_do_not_hold_up_the_start() -> None:
    log = log_of(np.repeat(np.arange(40), 30).tolist(), list(range(1, 1201)))
    one, two = (
        ppmi_vectors(Sequences.of(log), 1200, 32, np.random.default_rng(3)) for _ in range(2)
    )
    assert np.isfinite(one).all()
    assert np.array_equal(one, two)


def test_a_clicks_weight_goes_with_it_as_a_target() -> None:
    rng = np.random.default_rng(0)
    log = log_of([0] * 12 + [1] * 3, list(range(1, 16)))
    weighted = Impressions.of(
        user=log.user, item=log.item, time=log.time, clicked=log.clicked, weight=log.item / 10.0
    )
    memory = np.full((2, 4), 20, np.int32)
    for sequences, at_least in ((Sequences.of(weighted), 15), (joined(memory, weighted), 23)):
        batches = list(autoregressive(sequences, 20, 5, 32, rng))
        targets = np.concatenate([b.targets for b in batches])
        weights = np.concatenate([b.weights for b in batches])
        assert len(targets) == at_least
        assert np.allclose(weights, np.where(targets == 20, 1.0, targets / 10.0))
