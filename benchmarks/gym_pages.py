"""Pages per second of the users as a vectorised environment, with slates drawn at random.

python benchmarks/gym_pages.py --users 1000 --pages 100
"""

import argparse
import time

import numpy as np

from simulator.gym import SlateVectorEnv


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--users", type=int, default=1000)
    parser.add_argument("--pages", type=int, default=100, help="of each user, in each of 5 runs")
    given = parser.parse_args()
    envs = SlateVectorEnv(user_ids=range(given.users))
    envs.reset(seed=0)
    rng = np.random.default_rng(0)
    slates = rng.integers(0, envs.single_action_space.nvec[0], (given.pages, given.users, 6))
    envs.step(slates[0])  # compiled
    speeds = []
    for _ in range(5):
        began = time.perf_counter()
        for slate in slates:
            envs.step(slate)
        speeds.append(given.pages * given.users / (time.perf_counter() - began))
    print(
        f"{np.median(speeds):,.0f} pages/s (median of 5; {min(speeds):,.0f} to {max(speeds):,.0f})"
    )


if __name__ == "__main__":
    main()
