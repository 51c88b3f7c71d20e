"""Do dialogues help? gptrec with its own slates and answers against gptrec on clicks alone, in twin
worlds.

    python benchmarks/prompts_in_the_loop.py --log kuairand:DIR

Both arms have the same network, the same steps of retraining and no generated prompts; they differ
in what they read and learn from: pages with their answers, or clicks. Every user meets both (twin
worlds), three rounds. Each seed is a population and a pair of trainings of its own (and, built in,
a world); the interval is Student's over seeds.
"""

import argparse
import tempfile

import numpy as np

from gptrec.offline.bootstrap import over_seeds
from simulator import Experiment, simulate


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--log", default="world:", help="as for simulator.run (default: the built-in world)"
    )
    parser.add_argument("--users", type=int, default=300)
    parser.add_argument("--days", type=float, default=3.0)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=150, help="per retraining (default 150)")
    parser.add_argument(
        "--users-from", help="users that simulator.fit stored for this log; saves a fit per seed"
    )
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    shared = {"prompt_share": 0.0, "update_steps": given.steps}
    lifts = []
    for seed in range(given.seeds):
        log = f"world:{seed}" if given.log == "world:" else given.log
        e = Experiment(
            policies=("gptrec", "gptrec.2"),
            log=log,
            users=given.users,
            days=given.days,
            rounds=3,
            seed=seed,
            warmup_days=1.0,
            design="twin",
            truth=False,
            record_truth=False,
            primary="click_rate",
            users_from=given.users_from,
            threads=given.threads,
            policy_settings={"gptrec": shared, "gptrec.2": {"dialogues": False}},
        )
        with tempfile.TemporaryDirectory() as folder:
            effect = (
                simulate(e, out=f"{folder}/run").true_effects.set_index("metric").loc["click_rate"]
            )
        # The control is the last arm, clicks alone.
        lifts.append(100 * float(effect["true_lift"]))
        print(f"seed {seed}: click rate {lifts[-1]:+.2f} % with dialogues", flush=True)
    mean, low, high = over_seeds(np.array(lifts))
    print(
        f"{given.log.split(':')[0]}, {given.users} users, {given.days:g} days, 3 rounds,"
        f" {given.steps} steps per retraining: dialogues against clicks alone, click rate"
        f" {mean:+.2f} % (95 % {low:+.2f} to {high:+.2f}, n = {given.seeds} seeds)"
    )


if __name__ == "__main__":
    main()
