"""Do off-policy intervals hold the truth? Runs in which two arms show at random with probabilities
that they state, and every other contender is estimated from their rows.

    python benchmarks/off_policy.py --out off_policy

The truth is what the users of the logging arm's visits would have clicked of the contender's
slates. "Refused" are the contenders of whom a report gives no figure: too few rows, or the arm
never shows what they would. Seeds draw users (without --users-from), visits and chance anew. A run
that is there is gone on with, or read.
"""

import argparse
from collections import Counter
from pathlib import Path

from analysis.reporting.tables import LEAST_ROWS
from analysis.results.counterfactual import LEAST_SUPPORT
from policies.common.executor import HERE
from simulator.experiment.simulate import begin_or_resume
from simulator.settings import Experiment

ESTIMATORS = ("ips", "snips", "dr")
MANY = 100.0  # effective rows from which intervals are held against the truth


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--log", default="world:")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--users", type=int, default=1000)
    parser.add_argument("--days", type=float, default=3.0)
    parser.add_argument("--epsilon", type=float, default=0.3)
    parser.add_argument("--users-from", help="users of an earlier run; fitted for every seed else")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    told: Counter[tuple[str, str, str]] = Counter()
    pairs = []
    for seed in range(1, given.seeds + 1):
        experiment = Experiment(
            policies=("thompson", "popularity.2", "level", "itemknn", "popularity"),
            log=given.log,
            users_from=given.users_from,
            users=given.users,
            days=given.days,
            rounds=1,
            learn_from="none",
            seed=seed,
            off_policy=True,
            sensitivity=False,
            policy_settings={"popularity.2": {"epsilon": given.epsilon}},
        )
        place = given.out / f"seed-{seed}"
        report = begin_or_resume(experiment, place, quiet=True, workers=HERE).report
        for row in report.as_json()["off_policy"]["rows"]:
            pair = (row["logger"], row["arm"])
            pairs += [] if pair in pairs else [pair]
            upper = row["mean_weight"] + 3 * row["mean_weight_error"]
            if row["effective_n"] < LEAST_ROWS or upper < LEAST_SUPPORT:
                told[*pair, "refused"] += 1
            elif row["effective_n"] < MANY:
                told[*pair, "few"] += 1
            else:
                told[*pair, "many"] += 1
                for name in ESTIMATORS:
                    low, high = row[name]["low"], row[name]["high"]
                    told[*pair, name] += low <= row["true_here"] <= high
    print(f"{given.log}, {given.seeds} seeds, {given.users} users, {given.days:g} days")
    print("| log of | contender | refused | under 100 rows | held: IPS | SNIPS | doubly robust |")
    print("|---|---|---|---|---|---|---|")
    for pair in pairs:
        n = told[*pair, "many"]
        held = " | ".join(f"{told[*pair, name]} of {n}" if n else "" for name in ESTIMATORS)
        print(f"| {' | '.join(pair)} | {told[*pair, 'refused']} | {told[*pair, 'few']} | {held} |")


if __name__ == "__main__":
    main()
