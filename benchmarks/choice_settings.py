"""In which spaces of the items held-out choices of a log without skips are told best, and how much
each of the latest choices counts.

    python benchmarks/choice_settings.py --log Beauty.txt

The mean log-likelihood of a held-out choice among 501 items, by slopes fitted to the other half of
them; and, in the best space, the slope of closeness to each of the five latest choices, alone and
beside the others.
"""

import argparse

import numpy as np

from policies.sources.datasets import load
from simulator.fitting.choices.held_choices import (
    SPACES,
    HeldChoices,
    conditional_logit,
    likelihood,
)
from simulator.fitting.closeness import near_vectors
from simulator.users.state import LAST


def in_words(space: object) -> str:
    coarse, fine = space.coarse, space.fine  # type: ignore[attr-defined]
    return f"{coarse.width} dimensions" + ("" if fine is None else f" and {fine.width}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--log", required=True)
    parser.add_argument("--columns")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    held = HeldChoices.of(load(given.log, given.columns), given.seed)
    for space in SPACES:
        print(f"{in_words(space)}: {likelihood(held.apart(space)) / len(held.held):.4f}")
    best = held.space()
    print(f"taken: {in_words(best)}, the second with a share of {best.share:.2f}")
    before, columns = held.before, held.columns(best)[..., :3]
    rng = np.random.default_rng(given.seed)
    fine = best.fine if best.fine is not None else best.coarse
    near = near_vectors(held.fit(fine), before, rng)
    each = np.stack(
        [
            (before[:, m] > 0)[:, None]
            * np.einsum("nd,nkd->nk", near[before[:, m]], near[held.items])
            for m in range(LAST)
        ],
        axis=-1,
    )
    slopes = conditional_logit(np.concatenate([columns, each], axis=-1))[0][3:]
    print("slopes of the latest choices, the last first:", " ".join(f"{x:.3f}" for x in slopes))


if __name__ == "__main__":
    main()
