"""How many threads torch has, and calls in threads of their own."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

from policies.common.executor import usual_workers

T = TypeVar("T")


def with_threads(n: int, work: Callable[[], T]) -> T:
    """`work` with so many threads of torch: sums depend on them."""
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        return work()
    finally:
        torch.set_num_threads(before)


def side_by_side(calls: Sequence[Callable[[], T]]) -> list[T]:
    """What these calls give, in their order; they share nothing that they change. As many at once
    as the cores bear: for work in C that lets other threads run.
    """
    each = torch.get_num_threads()
    at_once = min(usual_workers(each), len(calls))
    if at_once < 2:
        return [call() for call in calls]
    # A new thread would have as many threads of torch as there are cores.
    with ThreadPoolExecutor(at_once, initializer=torch.set_num_threads, initargs=(each,)) as pool:
        return list(pool.map(lambda call: call(), calls))
