"""The built-in world's own users, as a folder for --users-from: what no log tells, to hold fitted
users against.

python benchmarks/true_users.py --out true_users
python -m simulator.run --users-from true_users --policies sasrec,popularity
"""

import argparse
from pathlib import Path

from simulator.built_in.world import built_in_log
from simulator.experiment.data import load_data
from simulator.settings import Experiment
from simulator.users.storage import about_users, save_users


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--world", type=int, default=0, help="seed of the built-in world (default 0)"
    )
    parser.add_argument("--out", type=Path, default=Path("true_users"))
    given = parser.parse_args()
    e = Experiment(log=f"world:{given.world}")
    save_users(given.out, built_in_log(given.world)[1], about_users(load_data(e), e.slate_size))


if __name__ == "__main__":
    main()
