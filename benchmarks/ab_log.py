"""The log of a live A/B test of any size: three arms, 14 days and three before, effects of 0, 3 and
6 % on the click rate.

python benchmarks/ab_log.py --rows 1e7 --users 400000 --out ab
/usr/bin/time -v python -m analysis.report --impressions ab --start 1777000000 --segments platform
"""

import argparse
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as csv
import pyarrow.parquet as parquet

DAYS, BEFORE, START, CHUNK = 14, 3, 1_777_000_000, 2_000_000


def rows(
    n: int, users: int, rng: np.random.Generator, people: tuple[np.ndarray, np.ndarray, np.ndarray]
) -> pa.Table:
    """n impressions.

    Args:
        people: cumulative activity, click rate and arm of each user.
    """
    activity, rate, arm = people
    user = np.searchsorted(activity, rng.random(n)).clip(max=users - 1)
    time = rng.random(n) * (DAYS + BEFORE) * 86_400 - BEFORE * 86_400
    clicked = rng.random(n) < rate[user] * np.where(time > 0, 1 + 0.03 * arm[user], 1.0)
    return pa.table(
        {
            "user": pa.array(user).cast(pa.string()),
            "bucket": np.array(["A", "B", "C"])[arm[user]],
            "time": START + time,
            "click": clicked.astype(np.int8),
            "watch": np.where(clicked, rng.exponential(30, n), 0.0),
            "session": (time // 3600).astype(int),
            "slot": rng.integers(0, 6, n),
            "platform": np.array(["ios", "android"])[user % 2],
        }
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=float, default=1e7, help="impressions (default 1e7)")
    parser.add_argument("--users", type=int, default=400_000, help="default 400000")
    parser.add_argument("--csv", action="store_true", help="CSV instead of Parquet")
    parser.add_argument(
        "--out", type=Path, default=Path("ab"), help="folder, must not exist (default ab)"
    )
    given = parser.parse_args()
    rng = np.random.default_rng(0)
    activity = rng.gamma(1.5, 1.0, given.users).cumsum()
    people = (
        activity / activity[-1],
        rng.gamma(3, 0.1, given.users).clip(0, 0.8),
        rng.integers(0, 3, given.users),
    )
    given.out.mkdir(parents=True)
    left, part = int(given.rows), 0
    while left > 0:
        table = rows(min(left, CHUNK), given.users, rng, people)
        name = str(given.out / f"part-{part:04d}")
        if given.csv:
            csv.write_csv(table, name + ".csv")
        else:
            parquet.write_table(table, name + ".parquet")
        left, part = left - CHUNK, part + 1


if __name__ == "__main__":
    main()
