"""How fast the simulator is: impressions per second with popularity, pages per second with the
transformers.

    python benchmarks/throughput.py            all of it (some ten minutes)
    python benchmarks/throughput.py --quick    smaller, for a first look

Each figure is the median of several runs in this process on one core, unless the line says
otherwise.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from policies.baselines.popularity import Popularity
from policies.catalogue import Catalogue
from policies.draws import Draws, generator, key_of
from policies.log import Impressions
from policies.registry import make
from simulator.built_in.world import BuiltInParameters, true_users
from simulator.engine.histories import Histories, Ring
from simulator.engine.recorder import Recorder
from simulator.engine.world import Arm, World
from simulator.settings import Experiment
from simulator.users.choice_model import DAY
from simulator.users.state import UserState


def world_of(
    p: BuiltInParameters, policy: object, folder: Path, slate: int, record_truth: bool
) -> World:
    """The true users of a synthetic world, served by one policy."""
    model, catalogue = true_users(p)
    ids = np.arange(p.users, dtype=np.int32)
    lengths = {"impressions": 0, "clicks": 0}
    lengths[policy.history_of] = policy.history_length
    e = Experiment(policies=("uniform",), users=p.users, rounds=1, slate_size=slate)
    return World(
        name="bench",
        experiment=e,
        model=model,
        catalogue=catalogue,
        ids=ids,
        bucket=np.zeros(p.users, np.int16),
        arms=[Arm("uniform", 0, policy)],
        state=model.start(p.users, 0.0),
        histories=Histories.of(p.users, lengths["impressions"], lengths["clicks"], e.repeat_after),
        due=model.first_visit(ids, 0.0, Draws(key_of("bench"), ids, ids * 0)),
        sessions=np.zeros(p.users, np.int32),
        sink=Recorder(folder / "impressions", folder / "truth" if record_truth else None),
    )


def clicks_at_random(p: BuiltInParameters, rows: int) -> Impressions:
    """A log to train on; what it says does not matter for speed."""
    rng = generator("bench log")
    return Impressions.of(
        user=rng.integers(0, p.users, rows),
        item=rng.integers(1, p.items + 1, rows),
        time=np.sort(rng.random(rows)) * -DAY,
        clicked=np.ones(rows, bool),
    )


def popularity(users: int, days: float, repeats: int, record_truth: bool) -> None:
    """Impressions per second, full user model, impressions recorded to Parquet (and the truth too,
    if asked).
    """
    p = BuiltInParameters(users=users, items=5000)
    few, rates = BuiltInParameters(users=50, items=5000), []
    with tempfile.TemporaryDirectory() as folder:  # so that loops are compiled
        world_of(few, make("uniform", {}), Path(folder), 10, record_truth).run(0.0, DAY)
    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as folder:
            policy = Popularity()
            policy.fit(clicks_at_random(p, 100_000), _catalogue(p), generator("bench"))
            world = world_of(p, policy, Path(folder), 10, record_truth)
            began = time.perf_counter()
            world.run(0.0, days * DAY)
            rates.append(world.pages_served * 10 / (time.perf_counter() - began))
    what = "impressions and truth" if record_truth else "impressions"
    print(
        f"popularity, {users} users, 5000 items, slate 10, recording {what}:"
        f" {np.median(rates):,.0f} impressions/s"
    )


def _catalogue(p: BuiltInParameters) -> Catalogue:
    return true_users(p)[1]


def transformers(users: int, days: float, repeats: int) -> None:
    """Pages per second of sasrec and gptrec, with keys and values kept from page to page and
    without.
    """
    p = BuiltInParameters(users=users, items=1000, leave=-2.5)
    log = clicks_at_random(p, 20 * users)
    for name in ("sasrec", "gptrec"):
        rates: dict[bool, list[float]] = {True: [], False: []}
        stages = {"epochs": 1, "update_epochs": 1} | (
            {"prompt_epochs": 1} if name == "gptrec" else {}
        )
        trained = make(name, stages)
        trained.fit(log, _catalogue(p), generator("bench"))
        for _ in range(repeats):
            for cache in (True, False):
                policy = make(name, {"cache": cache})
                policy.restore(trained.state())
                with tempfile.TemporaryDirectory() as folder:
                    world = world_of(p, policy, Path(folder), 6, False)
                    began = time.perf_counter()
                    world.run(0.0, days * DAY)
                    rates[cache].append(world.pages_served / (time.perf_counter() - began))
        ratio = np.median(np.array(rates[True]) / np.array(rates[False]))
        print(
            f"{name}, {users} users, 1000 items, slate 6, {torch.get_num_threads()} threads:"
            f" {np.median(rates[True]):,.0f} pages/s cached, {np.median(rates[False]):,.0f}"
            f" without, {ratio:.1f} times"
        )


def state_of_a_user(name: str) -> None:
    """Bytes that the engine keeps of each user between two visits."""
    p = BuiltInParameters(users=1000, items=5000)
    with tempfile.TemporaryDirectory() as folder:
        world = world_of(p, make(name, {}), Path(folder), 10, False)
    held = [getattr(world.state, part) for part in UserState.__slots__]
    for ring in (world.histories.impressions, world.histories.clicks):
        held += [getattr(ring, part) for part in Ring.__slots__]
    held += [world.histories.seen, world.histories.seen_count, world.due, world.sessions]
    print(f"{name}: {sum(array.nbytes for array in held) / p.users:,.0f} bytes of state per user")


def in_shards(users: int, shards: int) -> None:
    """One day of so many users with popularity, a shard after the other."""
    pages, began = 0, time.perf_counter()
    for shard in range(shards):
        p = BuiltInParameters(users=users // shards, items=5000)
        policy = Popularity()
        policy.fit(clicks_at_random(p, 100_000), _catalogue(p), generator("bench", shard))
        with tempfile.TemporaryDirectory() as folder:
            world = world_of(p, policy, Path(folder), 10, False)
            world.run(0.0, DAY)
            pages += world.pages_served
    rate = pages * 10 / (time.perf_counter() - began)
    print(f"popularity, {users} users in {shards} shards, one day: {rate:,.0f} impressions/s")


def apart(call: str) -> None:
    """A benchmark of this file in a process of its own, with its peak memory."""
    code = f"import benchmarks.throughput as b; b.{call}; b.say_memory()"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parent.parent)


def say_memory() -> None:
    print(
        "  peak memory of that process:"
        f" {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:,.0f} MiB"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true")
    quick = parser.parse_args().quick
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    torch.set_num_threads(1)
    popularity(10_000, 2.0 if quick else 6.0, 1 if quick else 5, False)
    popularity(10_000, 2.0 if quick else 6.0, 1 if quick else 5, True)
    apart("popularity(1_000, 6.0, 5, False)")
    apart("popularity(1_000_000, 1.0, 1, False)")
    if not quick:
        apart("in_shards(10_000_000, 20)")
    for name in ("popularity", "gptrec"):
        state_of_a_user(name)
    transformers(500, 1.0 if quick else 3.0, 1 if quick else 3)


if __name__ == "__main__":
    main()
