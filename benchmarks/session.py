"""Pages per second within sessions: keys and values kept from page to page, against recomputing the same context.

Recomputed page by page, which is bit for bit what the cache says, and in one pass over all that was clicked. With several
interests a pass for each, too: the cache also spares saying the first one's item after the whole context again.

    python benchmarks/session.py

Users with 50 clicks behind them ask for eight pages; six clicks come in between any two, and there is room for all
of them (room=80), so that no context is rebuilt on the way. 64 users and chunk=64, then 256 users and chunk=256 (the
policies' setting: sessions computed at once). The top 10 of 12,101 items is part of the time. Weights are untrained: they
do not change the speed. Prints medians of paired repetitions.
"""

import argparse
import time
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from policies.base import Requests, plain_requests
from policies.draws import Draws, generator
from policies.registry import make
from policies.sequences import Sequences

PAGES, CLICKS = 8, 6


def pages(n_items: int, users: int, history: int, columns: int) -> list[Requests]:
    """The requests of one session per user, page by page."""
    rng = generator("bench session")
    clicks = rng.integers(1, n_items + 1, (users, history + PAGES * CLICKS)).astype(np.int32)
    turn = np.concatenate([np.full(history, -1), np.repeat(np.arange(PAGES), CLICKS)]).astype(np.int16)
    found = []
    for page in range(PAGES):
        now = history + page * CLICKS
        shown, turns = np.zeros((users, columns), np.int32), np.full((users, columns), -1, np.int16)
        kept = min(now, columns)
        shown[:, columns - kept :], turns[:, columns - kept :] = clicks[:, now - kept : now], turn[now - kept : now]
        plain = plain_requests(shown, n_items)
        age = np.where(turns < 0, 1e5, 60.0 * (page - turns)).astype(np.float32)
        found.append(replace(plain, pages=np.full(users, page, np.int16), turns=turns, ages=age))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=12_101)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    print(f"{given.threads} thread, {given.items} items, top 10 included")
    for chunk in (64, 256):
        for name, interests in (("sasrec", 1), ("gptrec", 1), ("gptrec", 2)):
            compare(name, interests, chunk, given.items, given.repeats)


def compare(name: str, interests: int, users: int, items: int, repeats: int) -> None:
    """Prints the rates of one model, as many sessions at once as there are users."""
    settings = {"start": False, "chunk": users, **({"interests": interests} if name == "gptrec" else {})}
    whole = {**settings, "length": 50 + PAGES * CLICKS, "room": 0}
    kept = begun(name, {**settings, "room": 10 * PAGES}, items, users)
    requests = pages(items, users, 50, kept.history_length)
    before = [replace(r, pages=np.zeros_like(r.pages), turns=np.full_like(r.turns, -1)) for r in requests]
    ways = {"cached": (kept, requests, 1), "page by page": (kept, requests, 1)}
    ways["in one pass"] = begun(name, whole, items, users), before, 1
    if interests > 1:
        alone = begun(name, {**whole, "interests": 1}, items, users)
        ways["in one pass per interest"] = alone, before, interests
    rates: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(repeats):
        for way, (model, asked, passes) in ways.items():
            rates[way].append(rate(model, asked, cache=way == "cached") / passes)
    ratios = {way: np.median(np.array(rates["cached"]) / np.array(found)) for way, found in rates.items()}
    recomputed = (f"{way} {np.median(rates[way]):,.0f} ({ratios[way]:.1f} times)" for way in list(ways)[1:])
    print(
        f"{name}, {interests} interest{'s' * (interests > 1)}, {users} users, chunk {users}: "
        f"{np.median(rates['cached']):,.0f} pages/s cached; recomputed {', '.join(recomputed)}"
    )


def begun(name: str, settings: dict[str, Any], items: int, users: int) -> Any:
    """The policy with untrained weights."""
    policy: Any = make(name, settings)
    empty = Sequences(np.zeros(0, int), np.zeros(0, np.int32), np.zeros(1, int), np.zeros(0, np.float32))
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


if __name__ == "__main__":
    main()
