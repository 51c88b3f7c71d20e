"""What the transformers share around their scores: ranking on tensors, weights to
arrays and back.
"""

import numpy as np
import torch
from torch import Tensor, nn

from policies.common.errors import InputError

_PREFIX = "net."
GROUP = 64  # columns whose peak is looked at first


def best_allowed(
    scores: Tensor, exclude: np.ndarray, available: np.ndarray, k: int, ordered: bool = True
) -> np.ndarray:
    """(B, k) int32 best items that may be shown, best first; equal scores go to the lower id.
    Changes `scores`.

    Args:
        ordered: False = the best one first, the others in no certain order.
    """
    scores.index_fill_(1, torch.from_numpy(np.flatnonzero(~available)), -torch.inf)
    if exclude.shape[1]:
        scores.scatter_(1, torch.from_numpy(exclude.astype(np.int64)), -torch.inf)
    if k == 1:
        return _first_best(scores)[:, None].numpy().astype(np.int32)
    values, items = _top(scores, k)
    if not ordered:
        return items.numpy().astype(np.int32)
    by_id = torch.argsort(items, dim=1, stable=True)
    by_score = torch.argsort(values.gather(1, by_id), dim=1, descending=True, stable=True)
    return items.gather(1, by_id).gather(1, by_score).numpy().astype(np.int32)


def best_among(
    items: np.ndarray, scores: Tensor, exclude: np.ndarray, available: np.ndarray, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """(B, k) int32 best of the candidates `items` (B, M) by `scores`, the lower id among equals;
    and (B,) how many of them may be shown.
    """
    barred = ~available[items]
    for column in range(exclude.shape[1]):
        barred |= items == exclude[:, column, None]
    scores.masked_fill_(torch.from_numpy(barred), -torch.inf)
    # By score, then by id: the sort by id first, and the other one stable.
    by_id = np.argsort(items, axis=1, kind="stable")
    values = np.take_along_axis(scores.numpy(), by_id, 1)
    best = np.argsort(-values, axis=1, kind="stable")[:, :k]
    slates = np.take_along_axis(np.take_along_axis(items, by_id, 1), best, 1).astype(np.int32)
    return slates, (~barred).sum(axis=1)


def _first_best(scores: Tensor) -> Tensor:
    """(B,) the best column of each row, the first among equals: argmax, ten times as fast in wide
    rows.
    """
    rows, width = scores.shape
    groups = width // GROUP
    if groups < 2:
        return scores.argmax(dim=1)
    peaks = scores[:, : groups * GROUP].view(rows, groups, GROUP)
    group = peaks.amax(dim=2).argmax(dim=1)
    inside = peaks[torch.arange(rows), group]
    place = inside.argmax(dim=1)
    best = group * GROUP + place
    if groups * GROUP == width:
        return best
    rest = scores[:, groups * GROUP :]
    later = rest.amax(dim=1) > inside.gather(1, place[:, None])[:, 0]
    return torch.where(later, groups * GROUP + rest.argmax(dim=1), best)


def _top(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k best values of each row and where they are, in no certain order among equals.

    In wide rows the best k lie in the k groups with the highest peaks, and finding peaks is much
    cheaper than sorting.
    """
    rows, width = scores.shape
    groups = width // GROUP
    if groups < 4 * k:
        return torch.topk(scores, k, dim=1)
    peaks = scores[:, : groups * GROUP].view(rows, groups, GROUP).amax(dim=2)
    chosen = peaks.topk(k, dim=1).indices[:, :, None] * GROUP + torch.arange(GROUP)
    rest = torch.arange(groups * GROUP, width).expand(rows, -1)
    columns = torch.cat([chosen.flatten(1), rest], dim=1)
    values, place = torch.topk(scores.gather(1, columns), k, dim=1)
    return values, columns.gather(1, place)


def numpy_state(net: nn.Module) -> dict[str, np.ndarray]:
    """The weights as arrays, under names that cannot collide with a policy's own."""
    return {
        _PREFIX + name: value.detach().cpu().numpy().copy()
        for name, value in net.state_dict().items()
    }


def torch_state(state: dict[str, np.ndarray]) -> dict[str, Tensor]:
    """The weights of `numpy_state` as tensors."""
    arrays = {
        name[len(_PREFIX) :]: torch.from_numpy(np.array(v))
        for name, v in state.items()
        if name.startswith(_PREFIX)
    }
    if not arrays:
        raise InputError("the stored state holds no weights; it belongs to another policy")
    return arrays
