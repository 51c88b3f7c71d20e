"""Worlds in which nobody tires, no taste moves and nobody new comes: what a fit finds of it.

    python benchmarks/still_worlds.py --worlds 40

Each line is a small built-in world with `satiation`, `repeat_fatigue` and `drift` of 0; the last
one counts how often each was taken for estimated, where none should be.
"""

import argparse
from collections import Counter

from simulator.built_in.world import BuiltInParameters, built_in_log
from simulator.chains.crossed_effects import Chains
from simulator.fitting.arrivals import NAMES
from simulator.fitting.fit_users import fit

STILL = BuiltInParameters(
    users=300, items=150, categories=8, satiation=0.0, repeat_fatigue=0.0, drift=0.0
)
WATCHED = ("satiation", "repeat_fatigue", "drift", "closeness", *NAMES)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--worlds", type=int, default=40)
    found: Counter[str] = Counter()
    worlds = parser.parse_args().worlds
    for seed in range(worlds):
        data, _ = built_in_log(seed, STILL)
        fitted = fit(data, seed, 6, lambda text: None, chains=Chains(40, 2))
        parameters = fitted.model(0).parameters
        wrong = [
            name
            for name in WATCHED
            if name in parameters
            and parameters[name].status == "estimated"
            and parameters[name].value != 0
        ]
        found.update(wrong)
        drift = "nan" if fitted.drifted is None else f"{fitted.drifted[0] / fitted.drifted[1]:.2f}"
        print(f"world {seed}: drift {drift} errors from 0; estimated: {', '.join(wrong) or 'none'}")
    counts = ", ".join(f"{name} {found[name]}" for name in WATCHED)
    print(f"{worlds} worlds, estimated wrongly: {counts}")


if __name__ == "__main__":
    main()
