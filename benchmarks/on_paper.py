"""What a run would take on more cores, from the times of its units; and what it costs.

    python benchmarks/on_paper.py runs/RUN
    python benchmarks/on_paper.py runs/RUN --users 1000000 --cores 8 64

Units are handed to whoever is free, as the executor does it, each as long as it was in the run.
Serving grows with the users and is cut into as many shards as there are cores to a chain; trainings
are what they were (an update learns from 200 batches at most), loading, fitting and judging too.
That shards of few users are dearer each is not counted, nor what a network of machines adds.
"""

import argparse
import heapq
import json
import sys
from pathlib import Path

CORES = [1, 2, 4, 16, 64]
Batch = list[float]  # seconds of units that have to be done before the next batch


def about(path: Path, what: str) -> float:
    return float(json.loads(path.read_text(encoding="utf-8"))[what])


def seconds(path: Path) -> float:
    return about(path, "seconds")


def chains_of(
    run: Path, users: float, cores: int, round_length: float
) -> tuple[Batch, Batch, list[list[Batch]]]:
    """The trainings on the log, the warm-up, and the other chains.

    Args:
        users: over those of the run. round_length: s, after which models learn.
    """
    served = {path.name: path for path in (run / "checkpoint").iterdir()}
    shards = max(1, -(-cores // max(len(served) - 1, 1)))

    def cut(folder: Path, number: str) -> Batch:
        whole = sum(seconds(path) for path in folder.glob(f"{number}-*.json")) * users
        return [whole / shards] * shards

    first = [seconds(path) for path in sorted((run / "models" / "log").glob("*.json"))]
    chains = []
    for name, folder in sorted(served.items()):
        if name == "warmup":
            continue
        chain: list[Batch] = []
        for number in sorted({path.name[:3] for path in folder.glob("*.json")}):
            chain.append(cut(folder, number))
            end = about(next(folder.glob(f"{number}-*.json")), "end")
            cut_off = round(end / round_length)
            if abs(end - cut_off * round_length) < 1:
                learned = (run / "models" / name).glob(f"*-round{cut_off:02d}.json")
                chain.append([seconds(path) for path in learned])
        chains.append([batch for batch in chain if batch])
    return first, cut(served["warmup"], "000"), chains


def makespan(chains: list[list[Batch]], cores: int) -> float:
    """Seconds until all chains have ended, on so many cores."""
    ready = [(0.0, k, 0) for k in range(len(chains))]  # time, chain, batch
    free = [0.0] * cores
    heapq.heapify(ready)
    end = 0.0
    while ready:
        time, k, place = heapq.heappop(ready)
        done = time
        for unit in chains[k][place]:
            begin = max(time, heapq.heappop(free))
            heapq.heappush(free, begin + unit)
            done = max(done, begin + unit)
        end = max(end, done)
        if place + 1 < len(chains[k]):
            heapq.heappush(ready, (done, k, place + 1))
    return end


def main() -> int:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    p.add_argument("run", type=Path)
    p.add_argument("--cores", type=int, nargs="+", default=CORES)
    p.add_argument("--users", type=float, help="that it should have had (default: those it had)")
    given = p.parse_args()
    manifest = json.loads((given.run / "manifest.json").read_text(encoding="utf-8"))
    had, time = manifest["experiment"]["users"], manifest["time"]
    users = (given.users or had) / had
    length = manifest["experiment"]["days"] * 86_400 / manifest["experiment"]["rounds"]
    print(f"{users * had:,.0f} users, {manifest['experiment']['days']:g} days")
    for cores in given.cores:
        first, warm, chains = chains_of(given.run, users, cores, length)
        begin = makespan([[[time["fit"]]], *[[[x]] for x in first]], cores)
        rest = makespan([[warm]], cores) + makespan(chains, cores)
        print(f"{cores:4} cores: {time['load'] + begin + rest + time['judge']:8,.0f} s")
    first, warm, chains = chains_of(given.run, users, 1, length)
    work = sum(first) + sum(warm) + sum(sum(batch) for chain in chains for batch in chain)
    work += time["fit"] + time["load"] + time["judge"]
    print(f"work: {work / 3600:,.2f} core hours")
    return 0


if __name__ == "__main__":
    sys.exit(main())
