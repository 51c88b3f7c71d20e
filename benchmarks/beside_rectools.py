"""Training and ranking speed beside RecTools' SASRec, one after the other on the same machine and
data.

    python benchmarks/beside_rectools.py --data Beauty.txt

RecTools is installed into an environment of its own (kept in ~/.cache for the next time). Same size
on both sides: two layers, width 64, context 50; RecTools as it comes, with the softmax over all
items, ours with 2,048 sampled negatives. A sequence is a window of at most 51 clicks, in short logs
a user.

Prints training sequences per second, users per second for the top 10 with the history excluded
(batch 64), and how long sasrec and gptrec's pre-training take to a test NDCG@10 of .040.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
import venv
from pathlib import Path

import numpy as np

from gptrec.offline import trials
from gptrec.offline.leave_one_out import LeaveOneOut, ranks, read
from gptrec.offline.trials import Task
from policies.neural.next_items import best, gains


def environment() -> Path:
    """The python of an environment that has RecTools."""
    folder = (
        Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "gptrec-bench" / "rectools"
    )
    python = folder / "bin" / "python"
    if not (folder / ".ready").exists():
        print(f"installing RecTools into {folder}", file=sys.stderr)
        venv.create(folder, with_pip=True)
        # torch alone and first: see constraints.txt
        for wanted in (["torch==2.13.0"], ["rectools[torch]==0.19.0"]):
            subprocess.run([python, "-m", "pip", "install", "--quiet", *wanted], check=True)
        (folder / ".ready").touch()
    return python


def rectools(data: Path, epochs: int) -> dict[str, float]:
    script = Path(__file__).parent / "rectools_side.py"
    said = subprocess.run(
        [environment(), script, data, str(epochs)],
        check=True,
        capture_output=True,
        text=True,
        cwd="/",
    )
    return json.loads(said.stdout.strip().splitlines()[-1])


def ours(model: str, split: LeaveOneOut, seconds: float, goal: float) -> dict[str, float]:
    """Trains within so many seconds; the clock counts everything from the first weights on,
    co-occurrence included.
    """
    settings = {
        "width": 64,
        "layers": 2,
        "dropout": 0.2,
        **({"prompt_share": 0.0} if model == "gptrec" else {}),
    }
    task = Task(model, model, 0, settings)
    steps = trials.steps_within(task, split, seconds)
    began = time.perf_counter()
    policy, make_trainer = trials.begun(task, split)
    trainer = make_trainer(None, steps=list(steps))
    started = time.perf_counter()
    prepared, looked, reached = started - began, 0.0, float("nan")
    some = trials.validation_users(split)
    while not trainer.done:
        trainer.advance()
        if trainer.step % 50 == 0 and np.isnan(reached):
            look = time.perf_counter()
            with trainer.at_home():
                score = gains(ranks(policy, split, "test", some, k=10), 10).mean()
            looked += time.perf_counter() - look
            if score >= goal:
                reached = time.perf_counter() - began - looked
    trained = time.perf_counter() - started - looked
    trainer.run()
    rates = []
    for _ in range(3):
        look = time.perf_counter()
        best(policy, split.n_items, split.users, split.history(True), 10)
        rates.append(len(split.users) / (time.perf_counter() - look))
    return {
        "sequences_per_second": trainer.sequences / (prepared + trained),
        "users_per_second": float(np.median(rates)),
        "seconds_to_goal": reached,
        "prepared": prepared,
        "train_seconds": trained,
        "test_ndcg@10": float(gains(ranks(policy, split, "test", k=10), 10).mean()),
    }


def say(name: str, figures: dict[str, float]) -> None:
    print(
        f"{name}: " + ", ".join(f"{key} {value:,.4g}" for key, value in figures.items()), flush=True
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data", type=Path, required=True, help='a .txt of "user item item ..." lines'
    )
    parser.add_argument(
        "--seconds", type=float, default=45.0, help="training time of our models (default 45)"
    )
    parser.add_argument("--epochs", type=int, default=1, help="of RecTools (default 1)")
    parser.add_argument("--without-rectools", action="store_true", help="our side alone")
    given = parser.parse_args()
    split = read(str(given.data))
    found = {name: ours(name, split, given.seconds, 0.040) for name in ("sasrec", "gptrec")}
    for name in found:
        say(name, found[name])
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"peak memory of our side, training and ranking: {memory:,.0f} MiB")
    if not given.without_rectools:
        other = rectools(given.data.resolve(), given.epochs)
        say("RecTools SASRec", other)
        for name in ("sasrec", "gptrec"):
            for key in ("sequences_per_second", "users_per_second"):
                print(f"{name} against RecTools, {key}: {found[name][key] / other[key]:.1f} times")


if __name__ == "__main__":
    main()
