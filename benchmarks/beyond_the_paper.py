"""What pays beyond the paper, judged on validation alone: each change to gptrec against gptrec as
it is, over seeds.

    python benchmarks/beyond_the_paper.py --data Beauty.txt --seeds 3 --steps 1200 --out beyond

Every variant gets the same steps, of which prompts have the same share. Prints validation NDCG@10
with one interest, NDCG@20 with the number of interests that is best there, and the differences of
the former to the plain gptrec with intervals over users and seeds. The test part stays closed. Goes
on from the trials that --out holds.
"""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from gptrec.offline import trials
from gptrec.offline.bootstrap import two_way_bootstrap
from gptrec.offline.leave_one_out import read
from gptrec.offline.trials import Task
from gptrec.offline.workers import run_all
from policies.common.files import load_arrays
from policies.draws import generator
from policies.neural.next_items import gains

VARIANTS: dict[str, dict[str, Any]] = {
    "gptrec": {},
    "no prompts": {"prompt_share": 0.0},
    "prompts after every item": {"placement": "every"},
    "prompts before the last item (the paper's n-1)": {"placement": "last"},
    "skipped prompt items as hard negatives": {"hard_negatives": True},
    "three items per prompt": {"prompt_items": 3},
    "prompts drawn, temperature .1": {"prompt_sampling": 0.1},
    "curriculum": {"curriculum": True},
    "interests trained to differ": {"differ": 20},
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data", required=True, help='a .txt of "user item item ..." lines, or any log'
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=1200, help="of each training (default 1200)")
    parser.add_argument(
        "--jobs", type=int, default=2, help="trainings at a time (default 2), one thread each"
    )
    parser.add_argument("--out", type=Path, default=Path("beyond"))
    given = parser.parse_args()
    torch.set_num_threads(1)
    split = read(given.data)
    tasks = []
    for label, settings in VARIANTS.items():
        task = Task(label.replace("(", "").replace(")", ""), "gptrec", 0, settings, test=False)
        shares = [stage.share for stage in trials.policy_of(task).stages(split.train)]
        steps = tuple(max(1, round(given.steps * share)) for share in shares)
        tasks += [replace(task, seed=seed, steps=steps) for seed in range(given.seeds)]
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[note]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        found = run_all(tasks, (given.data, None, None), given.out, bar, given.jobs)
    labels = list(dict.fromkeys(task.label for task in tasks))
    ranks = {
        label: np.stack(
            [
                load_arrays(given.out / "trials" / f"{t.file}.safetensors")["valid"]
                for t in tasks
                if t.label == label
            ]
        )
        for label in labels
    }
    print(
        f"{split.name}: validation, {len(split.users)} users, {given.seeds} seeds, {given.steps}"
        " steps"
    )
    print(
        "| variant | NDCG@10 | minus gptrec (95 % over users and seeds) | NDCG@20, one interest |"
        " best number of interests |"
    )
    print("|---|---|---|---|---|")
    for label in labels:
        records = [found[task.file] for task in tasks if task.label == label]
        tried = {
            name: np.mean([r["interests"]["valid_ndcg@20"][name] for r in records])
            for name in records[0]["interests"]["valid_ndcg@20"]
        }
        best = max(tried, key=lambda name: tried[name])
        words = ""
        if label != "gptrec":
            d = two_way_bootstrap(
                gains(ranks[label], 10), gains(ranks["gptrec"], 10), generator("beyond", label)
            )
            words = f"{d.mean:+.4f} ({d.low:+.4f} to {d.high:+.4f})"
        mean = gains(ranks[label], 10).mean()
        print(
            f"| {label} | {mean:.4f} | {words} | {tried['1 x 1']:.4f} | {best}:"
            f" {tried[best] - tried['1 x 1']:+.4f} |"
        )


if __name__ == "__main__":
    main()
