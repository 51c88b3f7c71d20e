"""Is drift found in a log? Small worlds whose taste drifts by so much, each fitted.

    python benchmarks/drift.py

Prints for each true drift (logits per unexpected click, half of it gone after a week) the mean
estimate, its spread and the mean standard error; estimates that cannot be told from 0 count as they
are.
"""

import argparse
from dataclasses import replace

import numpy as np
import torch

from simulator.built_in.world import BuiltInParameters, built_in_log
from simulator.chains.crossed_effects import Chains
from simulator.fitting.fit_users import fit

SMALL = BuiltInParameters(users=240, items=120, categories=8, log_days=8.0)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--worlds", type=int, default=8)
    given = parser.parse_args()
    torch.set_num_threads(1)
    chains = Chains(draws=40)  # residuals need means alone
    for true in (0.0, 0.1, 0.3):
        found = []
        for seed in range(given.worlds):
            data, _ = built_in_log(20_000 + seed, replace(SMALL, drift=true))
            users = fit(data, seed, SMALL.slate_size, lambda text: None, chains=chains)
            found.append(users.drifted)
        value, error = np.array([pair for pair in found if pair is not None]).T
        print(
            f"true {true:g}: mean {value.mean():.3f}, spread {value.std(ddof=1):.3f}, s.e."
            f" {error.mean():.3f} (n = {len(value)})"
        )


if __name__ == "__main__":
    main()
