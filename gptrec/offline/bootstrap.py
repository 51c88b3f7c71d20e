"""How sure a difference between two models is, when users and training seeds are both samples."""

from dataclasses import dataclass

import numpy as np
from scipy.stats import norm, t


@dataclass(frozen=True)
class Difference:
    """Mean of a minus b, per user.

    Attributes:
        low, high: 95 % interval by a two-way bootstrap over users and seeds.
        sd_users, sd_seeds: standard error that each of them alone brings.
    """

    mean: float
    low: float
    high: float
    sd_users: float
    sd_seeds: float
    n_users: int
    n_seeds: tuple[int, int]


def two_way_bootstrap(
    a: np.ndarray,
    b: np.ndarray | None,
    rng: np.random.Generator,
    resamples: int = 2000,
    level: float = 0.95,
) -> Difference:
    """Resamples users, the same for both models, and the seeds of each model for itself (Owen,
    2007, pigeonhole).

    Seeds are few: resampling S of them understates their variance by (S - 1) / S, and the normal
    tail is too thin. Their deviations are widened by sqrt(S / (S - 1)) and, for the interval, by
    Student's quantile over the normal one, with Welch's degrees of freedom. With one seed the
    interval is about users alone, and `sd_seeds` is NaN.

    Args:
        a, b: (seeds, users) gains, such as NDCG@10 per user; b is None where a holds differences
            already, both models having the same seeds.
    """
    n_users = a.shape[1]
    if b is not None and b.shape[1] != n_users:
        raise ValueError(
            f"a has {n_users} users and b {b.shape[1]}; compare models on the same users"
        )
    models = [(a, 1.0)] if b is None else [(a, 1.0), (b, -1.0)]
    spare = _welch([model.mean(axis=1) for model, _ in models])
    thick = float(t.ppf((1 + level) / 2, spare) / norm.ppf((1 + level) / 2)) if spare else 0.0
    both, full = np.zeros(resamples), np.zeros(resamples)
    seeds = np.zeros(resamples)
    for model, sign in models:
        widen = np.sqrt(len(model) / (len(model) - 1)) if len(model) > 1 else 0.0
        pick = rng.integers(0, len(model), (resamples, len(model)))
        # (resamples, S)
        share = np.stack([(pick == s).mean(axis=1) for s in range(len(model))], axis=1)
        deviation = widen * (share - 1 / len(model))
        model_users = np.zeros((resamples, len(model)))
        users = np.random.Generator(np.random.PCG64(12345))  # the same users for both models
        for begin in range(0, resamples, 100):
            n = min(100, resamples - begin)
            counts = np.stack(
                [
                    np.bincount(users.integers(0, n_users, n_users), minlength=n_users)
                    for _ in range(n)
                ]
            )
            model_users[begin : begin + n] = counts @ model.T / n_users
        both += sign * ((1 / len(model) + thick * deviation) * model_users).sum(axis=1)
        full += sign * model_users.mean(axis=1)
        seeds += sign * (deviation * model.mean(axis=1)).sum(axis=1)
    tail = (1 - level) / 2
    low, high = np.quantile(both, [tail, 1 - tail])
    few = min(len(model) for model, _ in models) < 2
    return Difference(
        float(sum(sign * model.mean() for model, sign in models)),
        float(low),
        float(high),
        float(full.std()),
        float("nan") if few else float(seeds.std()),
        n_users,
        (len(a), len(a if b is None else b)),
    )


def _welch(means: list[np.ndarray]) -> float:
    """Degrees of freedom of a difference of means of few seeds (Welch, 1947); 0 where no model has
    two.
    """
    parts = [(float(np.var(m, ddof=1)) / len(m), len(m) - 1) for m in means if len(m) > 1]
    if not sum(v for v, _ in parts):
        return float(sum(n for _, n in parts))
    return sum(v for v, _ in parts) ** 2 / sum(v**2 / n for v, n in parts)


def over_seeds(values: np.ndarray) -> tuple[float, float, float]:
    """Mean of one number per seed, and its 95 % interval by Student's t; NaN bounds
    with one seed.
    """
    mean = float(np.mean(values))
    if len(values) < 2:
        return mean, float("nan"), float("nan")
    half = float(t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values)))
    return mean, mean - half, mean + half
