"""Softmax over all items: in chunks of rows with their gradient, against one product that holds all
logits.

    python benchmarks/full_softmax.py

Forward and backward for one batch of 1,024 clicks, width 128, 12,101 items. Prints medians of
paired repetitions and the peak memory of each way, measured in a process of its own.
"""

import argparse
import multiprocessing
import resource
import time
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from policies.neural.losses import FullSoftmax

WAYS = ("chunks", "at once")


def step(way: str, states: Tensor, vectors: Tensor, targets: Tensor, weights: Tensor) -> None:
    states.grad = vectors.grad = None
    if way == "chunks":
        FullSoftmax.apply(states, vectors, targets, weights, 0.07).backward()
    else:
        (
            F.cross_entropy(states @ vectors.T / 0.07, targets, reduction="none") * weights
        ).sum().backward()


def batch(rows: int, items: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    states, vectors = (
        F.normalize(torch.randn(n, 128, generator=generator), dim=-1) for n in (rows, items)
    )
    targets = torch.randint(0, items, (rows,), generator=generator)
    return states.requires_grad_(), vectors.requires_grad_(), targets, torch.full((rows,), 1 / rows)


def peak(way: str, rows: int, items: int, threads: int) -> float:
    """MiB that one step adds to the process."""
    torch.set_num_threads(threads)
    given = batch(rows, items)
    step("chunks", *batch(8, 100))  # what torch itself takes at its first step
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    step(way, *given)
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--items", type=int, default=12_101)
    parser.add_argument("--rows", type=int, default=1024)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    memory = {}
    for way in WAYS:  # first of all: a process starts with the peak of its parent
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            memory[way] = pool.submit(peak, way, given.rows, given.items, given.threads).result()
    tensors = batch(given.rows, given.items)
    taken: dict[str, list[float]] = {way: [] for way in WAYS}
    for _ in range(given.repeats + 1):
        for way in WAYS:
            began = time.perf_counter()
            step(way, *tensors)
            taken[way].append(time.perf_counter() - began)
    for way in WAYS:
        print(f"{way}: {1e3 * np.median(taken[way][1:]):.0f} ms, {memory[way]:.0f} MiB")
    ratio = np.median(np.array(taken["at once"][1:]) / np.array(taken["chunks"][1:]))
    print(
        f"chunks are {ratio:.1f} times as fast ({given.rows} clicks, {given.items} items,"
        f" {given.threads} threads)"
    )


if __name__ == "__main__":
    main()
