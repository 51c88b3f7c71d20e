"""How many threads torch has."""

from collections.abc import Callable
from typing import TypeVar

import torch

T = TypeVar("T")


def with_threads(n: int, work: Callable[[], T]) -> T:
    """`work` with so many threads of torch: sums depend on them."""
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        return work()
    finally:
        torch.set_num_threads(before)
