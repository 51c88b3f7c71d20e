"""Pages per second within sessions: keys and values kept from page to page, against recomputing the same context.

    python benchmarks/session.py

64 users with 50 clicks behind them ask for eight pages; six clicks come in between any two, and there is room for all
of them (room=80), so that no context is rebuilt on the way. The top 10 of 12,101 items is part of the time. Weights are
untrained: they do not change the speed. Prints medians of paired repetitions.
"""

import argparse
import time
from dataclasses import replace

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
    empty = Sequences(np.zeros(0, int), np.zeros(0, np.int32), np.zeros(1, int), np.zeros(0, np.float32))
    for name, settings in (("sasrec", {}), ("gptrec", {"interests": 1}), ("gptrec", {"interests": 2})):
        policy = make(name, {**settings, "start": False, "room": 10 * PAGES})
        policy.begin(empty, given.items, 64, generator("bench"))  # type: ignore[attr-defined]
        requests = pages(given.items, 64, 50, policy.history_length)
        rates: dict[bool, list[float]] = {True: [], False: []}
        for _ in range(given.repeats):
            for cache in (True, False):
                policy.cache = cache  # type: ignore[attr-defined]
                policy._store.wave = None  # type: ignore[attr-defined]
                policy.recommend(requests[0], 10, Draws(0, requests[0].users, requests[0].sessions))
                began = time.perf_counter()
                for request in requests[1:]:
                    policy.recommend(request, 10, Draws(0, request.users, request.sessions))
                rates[cache].append(64 * (PAGES - 1) / (time.perf_counter() - began))
        ratio = float(np.median(np.array(rates[True]) / np.array(rates[False])))
        print(
            f"{name} {settings or ''}: {np.median(rates[True]):,.0f} pages/s cached, {np.median(rates[False]):,.0f} "
            f"recomputed, {ratio:.1f} times ({given.threads} thread, {given.items} items)"
        )


if __name__ == "__main__":
    main()
