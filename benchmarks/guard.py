"""What it costs to watch a policy: pages with every check of `policies.calls`, and
with those of the slates alone.

    python benchmarks/guard.py                 popularity, the cheapest policy there is
    python benchmarks/guard.py sasrec          a network

Before 2,000 users of the built-in world; pairs of runs in turn, so that other work on the machine
strikes both.
"""

import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent))

from throughput import clicks_at_random, world_of

import simulator.engine.world as engine
from policies import calls
from policies.base import Policy, Requests, Slates
from policies.draws import Draws, generator
from policies.registry import make
from policies.testing import check_slates
from simulator.built_in.world import BuiltInParameters
from simulator.users.choice_model import DAY

PAIRS = 7


def unwatched(arm: str, policy: Policy, requests: Requests, k: int, draws: Draws) -> Slates:
    """Its slates alone are looked at."""
    found = policy.recommend(requests, k, draws)
    check_slates(found, requests, k)
    return found


def seconds(name: str, watched: bool) -> float:
    p = BuiltInParameters(users=2000, items=1000)
    policy = make(name, {"epochs": 1} if name in ("sasrec", "gptrec") else {})
    with tempfile.TemporaryDirectory() as folder:
        world = world_of(p, policy, Path(folder), 6, True)
        policy.fit(clicks_at_random(p, 20_000), world.catalogue, generator("bench"))
        engine.slates = calls.slates if watched else unwatched
        began = time.process_time()
        world.run(0.0, 3 * DAY)
        return time.process_time() - began


def main() -> None:
    name = sys.argv[1] if len(sys.argv) > 1 else "popularity"
    torch.set_num_threads(1)
    seconds(name, True)
    pairs = np.array([(seconds(name, True), seconds(name, False)) for _ in range(PAIRS)])
    ratio = pairs[:, 0] / pairs[:, 1]
    print(
        f"{name}: watched {np.median(pairs[:, 0]):.2f} s, unwatched {np.median(pairs[:, 1]):.2f} s"
    )
    print(
        f"ratio of CPU time: median {np.median(ratio):.3f} of {PAIRS} pairs"
        f" ({ratio.min():.3f} to {ratio.max():.3f})"
    )


if __name__ == "__main__":
    main()
