"""Pages per second within sessions: keys and values kept from page to page, against recomputing the
same context.

Recomputed in three ways. "In full": the forward pass of training over the whole context, once per
interest. "Newest": the same, but the last block for the newest token alone (our own best), the
further interests one step each. "By page": block by block, which is bit for bit what the cache
says. All of them rank by the same top 10.

    python benchmarks/session.py

Users with 50 (--history) clicks behind them ask for eight pages; six clicks come in between any
two, and there is room for all of them (room=80), so that no context is rebuilt on the way. 64 users
and chunk=64, then 256 users and chunk=256 (the policies' setting: sessions computed at once). The
top 10 of 12,101 items is part of the time. Weights are untrained: they do not change the speed.
Prints medians of paired repetitions.
"""

import argparse
import time
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from gptrec.interests import quotas
from gptrec.model import SAID
from policies.base import Requests, plain_requests
from policies.draws import Draws, generator
from policies.neural.ranking import best_allowed
from policies.neural.sequences import Batch, Sequences
from policies.neural.sessions import left_aligned
from policies.registry import make

PAGES, CLICKS = 8, 6


def pages(n_items: int, users: int, history: int, columns: int) -> list[Requests]:
    """The requests of one session per user, page by page."""
    rng = generator("bench session")
    clicks = rng.integers(1, n_items + 1, (users, history + PAGES * CLICKS)).astype(np.int32)
    turn = np.concatenate([np.full(history, -1), np.repeat(np.arange(PAGES), CLICKS)]).astype(
        np.int16
    )
    found = []
    for page in range(PAGES):
        now = history + page * CLICKS
        shown, turns = np.zeros((users, columns), np.int32), np.full((users, columns), -1, np.int16)
        kept = min(now, columns)
        shown[:, columns - kept :], turns[:, columns - kept :] = (
            clicks[:, now - kept : now],
            turn[now - kept : now],
        )
        plain = plain_requests(shown, n_items)
        age = np.where(turns < 0, 1e5, 60.0 * (page - turns)).astype(np.float32)
        found.append(replace(plain, pages=np.full(users, page, np.int16), turns=turns, ages=age))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--items", type=int, default=12_101)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--history", type=int, default=50, help="clicks before the session (default 50)"
    )
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    print(
        f"{given.threads} thread, {given.items} items, {given.history} clicks before the session,"
        " top 10 included"
    )
    for chunk in (64, 256):
        for name, interests in (("sasrec", 1), ("gptrec", 1), ("gptrec", 2)):
            compare(name, interests, chunk, given.items, given.repeats, given.history)


def compare(name: str, interests: int, users: int, items: int, repeats: int, history: int) -> None:
    """Prints the rates of one model, as many sessions at once as there are users."""
    settings = {
        "start": False,
        "chunk": users,
        **({"interests": interests} if name == "gptrec" else {}),
    }
    whole = {**settings, "length": history + PAGES * CLICKS, "room": 0}
    kept = begun(name, {**settings, "length": history, "room": 10 * PAGES}, items, users)
    requests = pages(items, users, history, kept.history_length)
    before = [
        replace(r, pages=np.zeros_like(r.pages), turns=np.full_like(r.turns, -1)) for r in requests
    ]
    one_pass = begun(name, whole, items, users)
    ways = {
        "cached": lambda: rate(kept, requests, cache=True),
        "in full": lambda: rate_in_full(one_pass, before, interests),
        "newest": lambda: rate(one_pass, before, cache=False),
        "by page": lambda: rate(kept, requests, cache=False),
    }
    rates: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(repeats):
        for way, measure in ways.items():
            rates[way].append(measure())
    ratios = {
        way: np.median(np.array(rates["cached"]) / np.array(found)) for way, found in rates.items()
    }
    recomputed = (
        f"{way} {np.median(rates[way]):,.0f} ({ratios[way]:.1f} times)" for way in list(ways)[1:]
    )
    print(
        f"{name}, {interests} interest{'s' * (interests > 1)}, {users} users, chunk {users}: "
        f"{np.median(rates['cached']):,.0f} pages/s cached; recomputed {', '.join(recomputed)}"
    )


def begun(name: str, settings: dict[str, Any], items: int, users: int) -> Any:
    """The policy with untrained weights."""
    policy: Any = make(name, settings)
    empty = Sequences(
        np.zeros(0, int), np.zeros(0, np.int32), np.zeros(1, int), np.zeros(0, np.float32)
    )
    policy.begin(empty, items, users, generator("bench"))
    return policy


def rate(policy: Any, requests: list[Requests], cache: bool) -> float:
    """Pages per second after the first page."""
    policy.cache = cache
    policy._store.wave = None
    policy.recommend(requests[0], 10, Draws(0, requests[0].users, requests[0].sessions))
    began = time.perf_counter()
    for request in requests[1:]:
        policy.recommend(request, 10, Draws(0, request.users, request.sessions))
    return len(requests[0]) * (PAGES - 1) / (time.perf_counter() - began)


@torch.inference_mode()
def rate_in_full(policy: Any, requests: list[Requests], interests: int) -> float:
    """Pages per second after the first page by the forward pass of training, as a model without a
    cache would serve.
    """
    policy.net.eval()
    vectors = policy._item_vectors()
    began = time.perf_counter()
    for request in requests[1:]:
        clicked = request.items > 0
        items, segments = left_aligned(
            request.items, np.zeros_like(request.items), clicked, request.items.shape[1]
        )
        exclude = request.exclude
        for size in quotas(10, interests, 1):
            states = last_states(policy, request.users, items, segments)
            best = best_allowed(
                policy.net.scale(states) @ vectors.T, exclude, request.available, size
            )
            exclude = np.concatenate([exclude, best], axis=1)
            items = np.pad(items, ((0, 0), (0, 1)))
            segments = np.pad(segments, ((0, 0), (0, 1)))
            end = (np.arange(len(items)), (items > 0).sum(axis=1))
            items[end], segments[end] = best[:, 0], SAID
    return len(requests[0]) * (PAGES - 1) / (time.perf_counter() - began)


def last_states(
    policy: Any, users: np.ndarray, items: np.ndarray, segments: np.ndarray
) -> torch.Tensor:
    """(B, D) after these left-aligned tokens and the start token before them."""
    b, width = len(items), int((items > 0).sum(axis=1).max()) + 1
    tokens, spoken = (
        np.full((b, width), policy.n_items + 1, np.int32),
        np.zeros((b, width), np.int8),
    )
    tokens[:, 1:], spoken[:, 1:] = items[:, : width - 1], segments[:, : width - 1]
    none = np.zeros(0, np.int32)
    batch = Batch(users, tokens, spoken, np.zeros(b, np.int64), none, none, none, none)
    states = policy.net.states(batch).view(b, width, -1)
    return states[torch.arange(b), torch.from_numpy((items > 0).sum(axis=1))]


if __name__ == "__main__":
    main()
