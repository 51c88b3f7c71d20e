"""Whether chains have found what they walk around in: R-hat and effective sample size, by ArviZ.

Vehtari, Gelman, Simpson, Carpenter and Buerkner (Bayesian Analysis 2021): R-hat compares chains,
and the first half of each with its second, on ranks; the effective size is that of independent
draws that would tell a mean as well.
"""

from dataclasses import dataclass

import numpy as np

from simulator.chains.crossed_effects import CrossedEffectsDraws

FEWEST = 8  # draws of half a chain


@dataclass(frozen=True)
class Mixing:
    """Of draws of what makes people click.

    Attributes:
        worst: what has the largest `rhat`. least: what has the smallest `effective` size.
        draws: kept of all chains.
    """

    worst: str
    rhat: float
    least: str
    effective: float
    draws: int
    chains: int


def mixing(sampled: CrossedEffectsDraws) -> Mixing | None:
    """Over slopes, the spreads of levels and the half-life; None where chains are too short to
    say.
    """
    from arviz_stats.base import array_stats  # takes a second, and only a fit needs it

    n = 2 * sampled.chains
    if len(sampled) < n * FEWEST:
        return None
    found: dict[str, tuple[float, float]] = {}
    for name, numbers in watched(sampled).items():
        halves = numbers[: len(numbers) // n * n].reshape(n, -1)
        if np.ptp(halves) > 1e-12:
            rhat = float(array_stats.rhat(halves, chain_axis=0, draw_axis=1))
            effective = float(array_stats.ess(halves, chain_axis=0, draw_axis=1))
            found[name] = rhat, effective
    worst = max(found, key=lambda name: found[name][0])
    least = min(found, key=lambda name: found[name][1])
    return Mixing(worst, found[worst][0], least, found[least][1], len(sampled), sampled.chains)


def watched(sampled: CrossedEffectsDraws) -> dict[str, np.ndarray]:
    """(draws,) of each number that is looked at."""
    numbers = {
        f"slope of {name.replace('_', ' ')}" if name else "level": sampled.fixed[:, i]
        for i, name in enumerate(sampled.names)
    }
    numbers["spread of users"] = sampled.user.std(axis=1)
    numbers["spread of items"] = sampled.item.std(axis=1)
    if len(sampled.curved):
        numbers["half-life"] = sampled.curved
    return numbers


def in_words(found: Mixing) -> str:
    """A line on the chains."""
    chains = "one chain" if found.chains == 1 else f"{found.chains} chains"
    return (
        f"{chains}, {found.draws} draws; worst R-hat {found.rhat:.2f} ({found.worst}), least"
        f" effective size {found.effective:.0f} ({found.least})"
    )
