"""How the time and memory of fitting users grow with the log: generated logs of 1, 4 and 16 times
as many users.

    python benchmarks/fit_growth.py

Prints rows, seconds of the fit (calibration included) by the wall and of computing, and its peak
memory, each in a process of its own, with one thread. What grows is judged by the seconds of
computing, which other jobs on the machine disturb less.
"""

import argparse
import resource
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import torch

from simulator.built_in.world import BuiltInParameters, built_in_log
from simulator.fitting.fit_users import fit_users


def one(users: int, days: float) -> tuple[int, float, float, float]:
    """Rows, seconds by the wall and of computing, MiB."""
    torch.set_num_threads(1)
    data, _ = built_in_log(0, BuiltInParameters(users=users, log_days=days))
    began, computed = time.perf_counter(), time.process_time()
    fit_users(data)
    seconds, computed = time.perf_counter() - began, time.process_time() - computed
    return (
        len(data.log),
        seconds,
        computed,
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--users", type=int, default=500, help="of the smallest log (default 500)")
    parser.add_argument("--days", type=float, default=6.0)
    given = parser.parse_args()
    first = None
    for times in (1, 4, 16):
        with ProcessPoolExecutor(1, get_context("spawn")) as pool:
            rows, seconds, computed, memory = pool.submit(
                one, times * given.users, given.days
            ).result()
        per_million = 1e6 * computed / rows
        first = first or per_million
        print(
            f"{rows} rows: {seconds:.1f} s, {computed:.1f} s of computing, {per_million:.0f} s per"
            f" million rows ({per_million / first:.2f} of the first), {memory:.0f} MiB"
        )


if __name__ == "__main__":
    main()
