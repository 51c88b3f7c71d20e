"""How often an A/A test rejects when both arms retrain on their own rows: a warning, not a
calibration.

    python benchmarks/aa_own.py --runs 40

Two arms of one policy start from the same weights. From the first retraining on they are different
models, shared by all users of an arm, so that the difference between the arms is no longer a
difference between users alone.
"""

import argparse
import dataclasses
import tempfile
from pathlib import Path

import pandas as pd
from scipy.stats import binomtest

from simulator import Experiment, simulate
from simulator.built_in.world import BuiltInParameters, built_in_log


def small_log(folder: Path) -> str:
    """A small built-in world as a file, so that a run takes seconds."""
    data, _ = built_in_log(0, BuiltInParameters(users=400, items=150, log_days=5.0))
    log = data.log
    frame = pd.DataFrame(
        {
            "user": log.user,
            "item": log.item,
            "time": log.time + 1e9,
            "click": log.clicked.astype(int),
            "page": log.page,
            "slot": log.slot,
            "session": log.user.astype("int64") * 10_000 + log.session,
            "category": data.catalogue.category[log.item].astype(str),
        }
    )
    frame.to_parquet(folder / "small.parquet")
    return str(folder / "small.parquet")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=40, help="salts (default 40)")
    parser.add_argument("--policy", default="itemknn", help="both arms' policy (default itemknn)")
    given = parser.parse_args()
    arms = (given.policy, f"{given.policy}.2")
    rejected = {"own": 0, "none": 0}
    scratch = tempfile.TemporaryDirectory()
    log = small_log(Path(scratch.name))
    for learn_from in rejected:
        e = Experiment(
            policies=arms,
            log=log,
            users=1000,
            days=4.0,
            rounds=4,
            truth=False,
            learn_from=learn_from,
            record_truth=False,
            repeat_after=20,
            calibrate="random_click_rate=.176",
        )
        for salt in range(given.runs):
            with tempfile.TemporaryDirectory() as folder:
                result = simulate(dataclasses.replace(e, salt=f"aa {salt}"), out=f"{folder}/run")
            clicks = result.effects.set_index("metric").loc["click_rate"]
            rejected[learn_from] += int(clicks["pvalue"] < 0.05)
        test = binomtest(rejected[learn_from], given.runs)
        low, high = test.proportion_ci(0.95)
        print(
            f"{given.policy} against itself, learn_from={learn_from}: {rejected[learn_from]} of"
            f" {given.runs} rejected at .05 on click rate (95 % interval {low:.3f} to {high:.3f})",
            flush=True,
        )


if __name__ == "__main__":
    main()
