"""Personalised prompts: what the model said and what the user answered, woven into the sequences it
learns from.

Two kinds. *Dialogues* are real: a page that was shown is one turn. The loss stands at the state
before the page, once for each click on it; only after the page do its items and answers enter the
context. *Generated* prompts need no feedback: the current model says its next item, and the user's
true next click is taken for the answer.
"""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch

from gptrec.model import ORGANIC, OTHER_SKIPPED, SAID, SAID_CLICKED, SAID_SKIPPED, RecGPT
from policies.base import BY_SELF
from policies.neural.dialogues import Dialogues, window_tokens
from policies.neural.sequences import Batch, by_length, windows


def segments_of(clicked: np.ndarray, shown_by: np.ndarray) -> np.ndarray:
    """The segment of each shown item, from the user's answer and from who showed it."""
    mine = shown_by == BY_SELF
    return np.where(
        clicked, np.where(mine, SAID_CLICKED, ORGANIC), np.where(mine, SAID_SKIPPED, OTHER_SKIPPED)
    )


PLACEMENTS = ("random", "every", "last")


def turns(
    dialogues: Dialogues,
    n_items: int,
    longest: int,
    batch_tokens: int,
    rng: np.random.Generator,
    room: int,
) -> Iterator[Batch]:
    """One epoch of dialogues: each click is predicted once, from the state before its page."""
    lengths = np.diff(dialogues.starts)
    row, begin, size = windows(np.maximum(lengths, 1), longest, rng)
    size = np.minimum(size, lengths[row] - begin)
    # Targets by window: those with begin < before <= begin + size, and before == 0 in the first
    # window.
    order = np.lexsort((dialogues.before, dialogues.row))
    key = dialogues.row[order].astype(np.int64) * (1 << 32) + dialogues.before[order]
    low = np.searchsorted(key, row.astype(np.int64) * (1 << 32) + begin + (begin > 0), side="left")
    high = np.searchsorted(key, row.astype(np.int64) * (1 << 32) + begin + size, side="right")
    useful = high > low
    row, begin, size, low, high = (part[useful] for part in (row, begin, size, low, high))
    for pick in by_length(size, batch_tokens, rng):
        width = int(size[pick].max())
        items, segments = window_tokens(dialogues, row[pick], begin[pick], size[pick], n_items)
        count = (high - low)[pick]
        whose = np.repeat(np.arange(len(pick)), count)
        target = order[
            np.repeat(low[pick] - np.cumsum(count) + count, count) + np.arange(count.sum())
        ]
        yield Batch(
            users=dialogues.users[row[pick]],
            items=items,
            segments=segments,
            offset=rng.integers(0, room + 1, len(pick)) * (rng.random(len(pick)) < 0.5),
            where=whose * (width + 1) + dialogues.before[target] - begin[pick][whose],
            targets=dialogues.targets[target],
            weights=dialogues.weights[target],
            skipped=dialogues.skipped[target],
            shown=True,
        )


def with_generated(
    net: RecGPT,
    batch: Batch,
    share: float,
    rng: np.random.Generator,
    placement: str = "random",
    per_prompt: int = 1,
    heat: float = 0.0,
    hard: bool = False,
    differ: int = 0,
) -> Batch:
    """Weaves what the model would say next into an autoregressive batch: x1 x2 [g2] x3 x4 [g4] x5
    ...

    The loss stands at x2 -> x3 and at [g2] -> x3, never on predicting g. Without gradient.

    Args:
        share: of the positions that get a prompt, with placement `random`.
        placement: `random`, `every` position, or before the `last` target of a window only (the
            paper's n-1).
        per_prompt: items said at once, the best first.
        heat: temperature at which they are drawn without repeats; 0 = the best ones.
        hard: items said that were not the answer are hard negatives at both states.
        differ: the state after a prompt learns only the answers that the model ranks below so many
            others before it: what the first interest would recall is none of the second one's
            business. 0 = all answers.
    """
    b, t = batch.items.shape
    target, weight = np.zeros(b * t, np.int64), np.zeros(b * t, np.float32)
    target[batch.where], weight[batch.where] = batch.targets, batch.weights
    target, weight = target.reshape(b, t), weight.reshape(b, t)
    learn = target > 0
    spoken = learn & _placed(learn, share, placement, rng)
    per_prompt = min(per_prompt, len(net.item_vectors()) - 1)
    generated = np.zeros((b, t, per_prompt), np.int64)
    generated[spoken], rank = _generate(
        net, batch, np.flatnonzero(spoken), target[spoken], per_prompt, heat, rng
    )
    after = np.where(rank >= differ, weight[spoken], np.float32(0))
    # where each token goes
    place = np.arange(t) + per_prompt * (np.cumsum(spoken, axis=1) - spoken)
    width = t + per_prompt * int(spoken.sum(axis=1).max(initial=0))
    items, segments = np.zeros((b, width), np.int32), np.zeros((b, width), np.int8)
    rows = np.repeat(np.arange(b), t).reshape(b, t)
    items[rows, place], segments[rows, place] = batch.items, batch.segments
    for i in range(per_prompt):
        items[rows[spoken], place[spoken] + 1 + i] = generated[spoken, i]
        segments[rows[spoken], place[spoken] + 1 + i] = SAID
    end = rows[spoken] * width + place[spoken] + per_prompt
    targets = np.concatenate([target[learn], target[spoken]]).astype(np.int32)
    wrong = np.where(generated == target[..., None], 0, generated) if hard else generated[..., :0]
    return replace(
        batch,
        items=items,
        segments=segments,
        offset=np.zeros(b, np.int64),
        where=np.concatenate([rows[learn] * width + place[learn], end]),
        targets=targets,
        weights=np.concatenate([weight[learn], after]),
        skipped=np.concatenate([wrong[learn], wrong[spoken]]).astype(np.int32),
    )


def _placed(
    learn: np.ndarray, share: float, placement: str, rng: np.random.Generator
) -> np.ndarray:
    if placement == "every":
        return learn
    if placement == "last":
        return np.cumsum(learn, axis=1) == learn.sum(axis=1, keepdims=True)
    return rng.random(learn.shape) < share


@torch.no_grad()
def _generate(
    net: RecGPT,
    batch: Batch,
    where: np.ndarray,
    targets: np.ndarray,
    n: int,
    heat: float,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """(P, n) items at each of these states, from the model as it is, without dropout; and (P,) how
    many beat the target.
    """
    was_training = net.training
    net.eval()
    vectors = net.scale(net.item_vectors()[1:])
    states = net.scale(net.states(batch)[torch.from_numpy(where).to(vectors.device)])
    answers = torch.from_numpy(targets - 1).to(vectors.device)
    chosen, beaten = [], []
    for part, answer in zip(states.split(256), answers.split(256), strict=True):
        scores = part @ vectors.T
        beaten.append((scores > scores.gather(1, answer[:, None])).sum(dim=1))
        if heat > 0:
            # Gumbel's trick: the best of perturbed scores are draws without replacement.
            noise = torch.from_numpy(rng.gumbel(size=tuple(scores.shape)).astype(np.float32)).to(
                scores.device
            )
            scores = scores / heat + noise
        chosen.append(scores.topk(n, dim=1).indices + 1)
    net.train(was_training)
    if not len(where):
        return np.zeros((0, n), np.int64), np.zeros(0, np.int64)
    return torch.cat(chosen).cpu().numpy(), torch.cat(beaten).cpu().numpy()
