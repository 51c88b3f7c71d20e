"""Sequential tests on made-up data whose truth is known: error rates and power at 14
daily looks.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy.stats import norm

from analysis.results.monitoring import look_bounds
from analysis.statistics.difference import mean_difference
from analysis.statistics.planning import power_of
from analysis.statistics.summary import Summary
from analysis.studies.judgement import Rate

KINDS = ("normal", "bernoulli", "returning")
METHODS = ("obrien_fleming", "pocock", "cs", "every_day", "fixed")
PER_DAY = 200  # new users per arm and day
RATE = 0.3  # of the Bernoulli data
USERS = 600  # per arm, of those who return


def paths(
    kind: str, runs: int, looks: int, effect: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """(runs, looks) z statistics, and (looks, looks) their correlation.

    Args:
        kind: `normal` and `bernoulli`: new users every day, each counted once, so that the looks'
            correlation is known; `returning`: users come in ever faster over the days, as in a
            ramp-up, stay, and differ lastingly, so that totals per user pile up; the correlation is
            measured on the users of each run and averaged.
        effect: in standard errors of the last look.
    """
    n = PER_DAY * np.arange(1, looks + 1)
    if kind == "returning":
        return _returning(runs, looks, effect, rng)
    shift = effect * np.sqrt(2 / n[-1])
    arms = []
    for sign in (-0.5, 0.5):
        if kind == "bernoulli":
            p = RATE + sign * shift * np.sqrt(RATE * (1 - RATE))
            clicks = rng.binomial(PER_DAY, p, (runs, looks)).cumsum(axis=1)
            mean = clicks / n
            arms.append(Summary(n, mean, mean * (1 - mean) * n / (n - 1)))
        else:
            total = rng.normal(sign * shift * PER_DAY, np.sqrt(PER_DAY), (runs, looks))
            # Sums of squares around a day's own mean are chi-square, and independent of it.
            squares = (rng.chisquare(PER_DAY - 1, (runs, looks)) + total**2 / PER_DAY).cumsum(
                axis=1
            )
            total = total.cumsum(axis=1)
            arms.append(Summary(n, total / n, (squares - total**2 / n) / (n - 1)))
    return mean_difference(arms[0], arms[1], use_t=False).statistic, by_days(looks)


def by_days(looks: int) -> np.ndarray:
    """(looks, looks) correlation of looks whose information is the share of days."""
    t = np.arange(1, looks + 1) / looks
    return np.sqrt(np.minimum.outer(t, t) / np.maximum.outer(t, t))


def _returning(
    runs: int, looks: int, effect: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """z of the difference of totals per assigned user, and the mean of the correlations that the
    runs measured.
    """
    chunk = 250
    # a tenth is there from the first day
    later = np.maximum((np.arange(USERS) + 0.5) / USERS - 0.1, 0.0) / 0.9
    first = np.floor(looks * np.sqrt(later))
    entered = first[:, None] <= np.arange(looks)
    paths, correlations = [], []
    for begin in range(0, runs, chunk):
        m = min(chunk, runs - begin)
        means, variance = [], np.zeros((m, looks, looks))
        for _ in range(2):
            taste = rng.standard_normal((m, USERS, 1), np.float32)
            daily = (taste + rng.standard_normal((m, USERS, looks), np.float32)) * entered
            total = daily.cumsum(axis=2)
            means.append(total.mean(axis=1))
            centred = total - means[-1][:, None, :]
            variance += np.swapaxes(centred, 1, 2) @ centred / USERS**2
        error = np.sqrt(np.einsum("mii->mi", variance))
        paths.append((means[1] - means[0]) / error)
        correlations.append((variance / error[:, :, None] / error[:, None, :]).mean(axis=0))
    correlation = np.mean(correlations, axis=0)
    # of an effect that is there from the first day and adds up like the totals
    drift = effect * correlation[-1]
    return np.concatenate(paths) + drift, correlation


def bounds(method: str, correlation: np.ndarray, alpha: float) -> np.ndarray:
    """(looks,) bound of |z|."""
    looks = len(correlation)
    if method in ("every_day", "fixed"):
        return np.where(
            (np.arange(looks) == looks - 1) | (method == "every_day"), norm.isf(alpha / 2), np.inf
        )
    return look_bounds(method, correlation, np.arange(1, looks + 1) / looks, alpha)


@dataclass(frozen=True)
class PeekingRate:
    """How often a method rejects at daily looks at made-up data.

    Attributes:
        kind: of the data, one of `KINDS`. correlation: of the looks, `measured`, or `days`: as if
            every day brought as much as another. effect: in standard errors of the last look.
    """

    kind: str
    method: str
    correlation: str
    effect: float
    rejected: int
    runs: int
    mean_day: float
    rate: Rate


@dataclass(frozen=True)
class Peeking:
    """Error rates and power of looking every day."""

    runs: int
    looks: int
    rows: list[PeekingRate]
    study: ClassVar[str] = "peeking"


def peek(runs: int, looks: int, seed: int, alpha: float = 0.05, power: float = 0.8) -> Peeking:
    """Rejections without an effect, and with one that a single look at the end finds with this
    power.
    """
    drift = float(norm.isf(alpha / 2) + norm.ppf(power))
    drift += (power - float(power_of(drift, 1.0, alpha=alpha))) / norm.pdf(norm.ppf(power))
    rows = []
    for i, kind in enumerate(KINDS):
        for effect in (0.0, drift):
            rng = np.random.default_rng([seed, i, int(effect > 0)])
            z, correlation = paths(kind, runs, looks, effect, rng)
            for method in METHODS:
                assumed = {"measured": correlation}
                if kind == "returning" and method not in ("every_day", "fixed"):
                    assumed["days"] = by_days(looks)
                for name, matrix in assumed.items():
                    crossed = np.abs(z) >= bounds(method, matrix, alpha)
                    count = int(crossed.any(axis=1).sum())
                    first = np.where(crossed.any(axis=1), crossed.argmax(axis=1) + 1, looks)
                    rate = Rate.of(count, runs, method, 1, None)
                    about = (kind, method, name, effect, count, runs, float(first.mean()))
                    rows.append(PeekingRate(*about, rate))
    return Peeking(runs, looks, rows)
