"""How near simulated answers are to held-out ones: rates, calibration, discrimination, spread over
users and items.
"""

from dataclasses import dataclass

import numpy as np
from scipy.stats import ks_2samp, norm, wasserstein_distance
from sklearn.metrics import roc_auc_score

DECILES = 10
LEVEL = 0.99
RESAMPLES = 200
PAIRS = 3  # of simulations, for what chance alone does
# Kind of answer: its column, and what tells that a log has it.
FEEDBACK = {
    "click": ("clicked", "skips"),
    "long view": ("long_view", "long_view"),
    "like": ("liked", "likes"),
    "hate": ("hated", "hates"),
}


@dataclass(frozen=True)
class Answers:
    """One kind of feedback on held-out rows.

    Attributes:
        name: such as "click".
        user, item: (rows,). happened: (rows,) bool. predicted: (rows,) probability, over all
            plausible simulators.
        simulated: (rows,) probability by one of them, as one simulation has it; its rates are as
            spread as users are.
        baselines: name -> (rows,) probabilities of simpler predictions.
    """

    name: str
    user: np.ndarray
    item: np.ndarray
    happened: np.ndarray
    predicted: np.ndarray
    simulated: np.ndarray
    baselines: dict[str, np.ndarray]
    # sd of the logarithm of the rate, from day to day and by how little the early days say
    unsure: float = 0.0


@dataclass(frozen=True)
class Fidelity:
    """What came out; intervals resample users, at the 99 % level for the rate and 95 % for the AUC
    difference. That of the rate also holds what days differ by, and how sure the fit is of it.

    Attributes:
        held_out, simulated: rates. relative: simulated over held-out, minus 1; low, high: its
            interval.
        ece, ece_chance: expected calibration error over 20 bins of equal size, and of answers drawn
            from the prediction.
        deciles: (10, 3) mean prediction, rate, standard error of the rate over users, by predicted
            probability.
        ceiling: AUC and log-loss of somebody who knows each row's probability, if the users were
            those simulated: the answers themselves are chance beyond it.
        auc: by prediction. auc_gain: over the first baseline, with low and high.
        log_loss: by prediction, per row in nats.
        ks_users, ks_users_chance: Kolmogorov-Smirnov distance of the per-user rates, simulated
            against held-out, and the mean of the same between two simulations. wasserstein_users:
            in rate.
        ks_items, ks_items_chance: the same over items.
    """

    name: str
    rows: int
    held_out: float
    simulated: float
    relative: float
    low: float
    high: float
    ece: float
    ece_chance: float
    deciles: list[list[float]]
    ceiling: tuple[float, float]
    auc: dict[str, float]
    auc_gain: tuple[float, float, float]
    auc_interval: tuple[float, float]
    log_loss: dict[str, float]
    ks_users: float
    ks_users_chance: float
    wasserstein_users: float
    ks_items: float
    ks_items_chance: float


def judge(a: Answers, rng: np.random.Generator, least: int = 5) -> Fidelity:
    """Every figure of one kind of feedback.

    Args:
        least: rows that a user or an item must have to take part in the comparison of rates.
    """
    held_out, simulated = float(a.happened.mean()), float(a.predicted.mean())
    low, high = _relative_interval(a, rng)
    gain, interval = _auc_gain(a, rng)
    predictions = {"simulator": a.predicted, **a.baselines}
    drawn = [rng.random(len(a.simulated)) < a.simulated for _ in range(2 * PAIRS)]
    users, items = (
        [_rates(index, y, least) for y in (a.happened, *drawn)] for index in (a.user, a.item)
    )
    return Fidelity(
        a.name,
        len(a.happened),
        held_out,
        simulated,
        simulated / held_out - 1 if held_out else float("nan"),
        low,
        high,
        expected_calibration_error(a.happened, a.predicted),
        _ece_by_chance(a, rng),
        _deciles(a),
        tuple(float(np.mean([score(y, a.simulated) for y in drawn])) for score in (_auc, log_loss)),  # type: ignore[arg-type]
        {name: _auc(a.happened, p) for name, p in predictions.items()},
        gain,
        interval,
        {
            name: log_loss(a.happened, p)
            for name, p in {**predictions, "constant": np.full(len(a.happened), held_out)}.items()
        },
        *_distances(users),
        float(wasserstein_distance(users[0], users[1])),
        *_distances(items),
    )


def _distances(rates: list[np.ndarray]) -> tuple[float, float]:
    """Kolmogorov-Smirnov distance of the first to the second one, and the mean of it over pairs of
    the others.
    """
    pairs = zip(rates[1::2], rates[2::2], strict=True)
    return distance(rates[0], rates[1]), float(
        np.mean([distance(one, other) for one, other in pairs])
    )


def distance(one: np.ndarray, other: np.ndarray) -> float:
    """The Kolmogorov-Smirnov distance of two samples."""
    with np.errstate(divide="ignore"):  # in the p-value of one against one, which nobody reads
        return float(ks_2samp(one, other, method="asymp").statistic)


def expected_calibration_error(
    happened: np.ndarray, predicted: np.ndarray, bins: int = 20
) -> float:
    """Mean |rate - prediction| over bins of equal size (Guo et al., ICML 2017, with bins by
    quantile).
    """
    parts = np.array_split(np.argsort(predicted, kind="stable"), bins)
    return float(
        sum(abs(happened[p].mean() - predicted[p].mean()) * len(p) for p in parts if len(p))
        / len(happened)
    )


def _ece_by_chance(a: Answers, rng: np.random.Generator) -> float:
    """Of answers drawn from the prediction itself."""
    drawn = [rng.random(len(a.predicted)) < a.predicted for _ in range(2 * PAIRS)]
    return float(np.mean([expected_calibration_error(y, a.predicted) for y in drawn]))


def log_loss(happened: np.ndarray, predicted: np.ndarray) -> float:
    p = np.clip(predicted, 1e-9, 1 - 1e-9)
    return float(-np.where(happened, np.log(p), np.log1p(-p)).mean())


def _auc(happened: np.ndarray, predicted: np.ndarray) -> float:
    return float(roc_auc_score(happened, predicted)) if 0 < happened.mean() < 1 else float("nan")


def _deciles(a: Answers) -> list[list[float]]:
    deciles = []
    for part in np.array_split(np.argsort(a.predicted, kind="stable"), DECILES):
        y, p = a.happened[part].astype(float), a.predicted[part]
        _, row = np.unique(a.user[part], return_inverse=True)
        residual = np.bincount(row, y - y.mean())
        # Few events happen to be fewer still: never less than the binomial error of the prediction.
        error = np.sqrt(
            np.maximum((residual**2).sum() / len(part) ** 2, p.mean() * (1 - p.mean()) / len(part))
        )
        deciles.append([float(p.mean()), float(y.mean()), float(error)])
    return deciles


def _relative_interval(a: Answers, rng: np.random.Generator) -> tuple[float, float]:
    """Of simulated over held-out minus 1, users resampled, at LEVEL."""
    _, row = np.unique(a.user, return_inverse=True)
    happened, predicted = np.bincount(row, a.happened), np.bincount(row, a.predicted)
    n, ratio = len(happened), np.zeros(1000)
    for i in range(len(ratio)):
        weight = np.bincount(rng.integers(0, n, n), minlength=n)
        ratio[i] = (weight @ predicted) / max(float(weight @ happened), 1e-9) - 1
    tail = (1 - LEVEL) / 2
    middle = float(predicted.sum() / max(happened.sum(), 1e-9)) - 1
    more = float(norm.isf(tail)) * a.unsure * (1 + middle)
    low, high = (float(np.quantile(ratio, q)) for q in (tail, 1 - tail))
    return middle - float(np.hypot(middle - low, more)), middle + float(
        np.hypot(high - middle, more)
    )


def _auc_gain(
    a: Answers, rng: np.random.Generator
) -> tuple[tuple[float, float, float], tuple[float, float]]:
    """AUC of the prediction minus that of the first baseline, with its 95 % interval over users;
    and the interval of the AUC itself.
    """
    base, nothing = next(iter(a.baselines.values())), float("nan")
    if not 0 < a.happened.mean() < 1:
        return (nothing, nothing, nothing), (nothing, nothing)
    _, row = np.unique(a.user, return_inverse=True)
    n = int(row.max()) + 1
    places = [np.unique(p, return_inverse=True)[1] for p in (a.predicted, base)]
    both = np.empty((RESAMPLES, 2))
    for i in range(RESAMPLES):
        weight = np.bincount(rng.integers(0, n, n), minlength=n)[row]
        both[i] = [_weighted_auc(a.happened, weight, place) for place in places]
    low, high = np.quantile(both[:, 0] - both[:, 1], [0.025, 0.975])
    least, most = np.quantile(both[:, 0], [0.025, 0.975])
    gain = _auc(a.happened, a.predicted) - _auc(a.happened, base)
    return (gain, float(low), float(high)), (float(least), float(most))


def _weighted_auc(happened: np.ndarray, weight: np.ndarray, place: np.ndarray) -> float:
    """AUC of rows whose predictions rank as `place`, equal ones alike; a tie counts half."""
    positives = np.bincount(place, weight * happened)
    negatives = np.bincount(place, weight * ~happened, minlength=len(positives))
    below = np.cumsum(negatives) - negatives / 2
    return float((positives * below).sum() / max(positives.sum() * negatives.sum(), 1e-9))


def _rates(index: np.ndarray, happened: np.ndarray, least: int) -> np.ndarray:
    """Rate of each user or item with at least so many rows."""
    count = np.bincount(index)
    rate = np.bincount(index, happened) / np.maximum(count, 1)
    kept = rate[count >= least]
    return kept if len(kept) else np.array([float(happened.mean())])
