"""How near fitted users come to the true ones on the built-in world: taste, levels, satiation, the
level of random slates.

    python benchmarks/appeal.py

The taste is compared over all pairs of users and items, user and item means taken off both sides. A
draw of the users is as spread as they are; the mean over all draws is what the log knows, and
nearer to the truth.
"""

import argparse
from dataclasses import replace

import numpy as np
from scipy.stats import spearmanr

from simulator.built_in.world import built_in_log
from simulator.fitting.calibration import random_by_levels
from simulator.fitting.fit_users import fit
from simulator.fitting.posterior import RESIDUAL_WIDTH
from simulator.users.choice_model import ChoiceModel


def table(model: ChoiceModel) -> np.ndarray:
    """(U, N) taste in logits, user and item means taken off."""
    x = model.tastes()
    return x - x.mean(0) - x.mean(1, keepdims=True) + x.mean()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--world", type=int, default=0, help="seed of the built-in world (default 0)"
    )
    seed = parser.parse_args().world
    data, true = built_in_log(seed)
    fitted = fit(data, 0, 6, lambda text: None)
    users = fitted.model(0)
    truth, drawn = table(true), table(users)
    known = ", ".join(f"{name} {share:.2f}" for name, share in fitted.reliability.items())
    mean = table(
        replace(
            users,
            user_taste=users.user_taste[:, :-RESIDUAL_WIDTH],
            item_taste=users.item_taste[:, :-RESIDUAL_WIDTH],
        )
    )
    print(
        "taste: Spearman correlation with the truth"
        f" {spearmanr(truth.ravel()[::7], mean.ravel()[::7])[0]:.2f} (reliability of its"
        f" parts {known}); sd {drawn.std():.2f} of a draw, true {truth.std():.2f}"
    )
    for name in ("user_level", "item_level"):
        one, other = getattr(users, name), getattr(true, name)
        first = 1 if name == "item_level" else 0
        print(
            f"{name}: correlation with the truth"
            f" {np.corrcoef(one[first:], other[first:])[0, 1]:.2f}, sd {one[first:].std():.2f} of a"
            f" draw, true {other[first:].std():.2f}"
        )
    for name in ("satiation", "repeat_fatigue", "long_view_appeal", "like_appeal"):
        number = users.parameters[name]
        print(
            f"{name}: {number.value:.3f} (s.e. {number.error or float('nan'):.3f}), true"
            f" {true[name]:.3f}"
        )
    print(
        f"random slates by levels and taste alone: {random_by_levels(users, data, 6, 0):.3f} clicks"
        " per impression, true .176"
    )


if __name__ == "__main__":
    main()
