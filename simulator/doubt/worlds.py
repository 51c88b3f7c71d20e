"""Users as plausible as the fitted ones: what was estimated is drawn from its errors, what was
assumed from its range. The spread of a verdict over them is what comes of not knowing the users.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from scipy.special import expit, logit
from scipy.stats import norm, t

from policies.draws import generator
from policies.log import Dataset
from policies.sources.levels import RANDOM_OVER_LOGGED, by_propensity, is_generic
from simulator.fitting.calibration import calibrate_shift
from simulator.fitting.posterior import Posterior
from simulator.fitting.visits import PUBLISHED
from simulator.users.choice_model import ChoiceModel, Parameter

VISITS = ("leave", "gap_", "churn", "return_", "watch_", "drift", "new_")
SHARES = ("gap_short_share", "churn", "watch_none_share", "new_users", "new_items")
LEAST_OVER_LOGGED, MOST_LOOKED_AT = 0.02, 0.95
MOST_HIDDEN = (
    1.0  # logits, of taste that no log of one policy tells: 0 to as large as strong tastes
)


def plausible(
    fitted: Posterior, data: Dataset, names: Sequence[str], slate_size: int, seed: int
) -> Iterator[ChoiceModel]:
    """A model for each name, as far apart in the chain as can be, each with the random level met.

    Drawn beside levels and slopes: staying, returning, watching, drift and arrivals; the level of
    uniformly random slates, where neither the log nor anybody says it; the taste that the log does
    not tell, where answers to the same pair do not tell how large it is.
    """
    n = len(names)
    levels = random_levels(data, n, seed)
    hidden = MOST_HIDDEN * _spread(n, "hidden taste of worlds", seed)
    draws = np.linspace(0, len(fitted) - 1, n).round().astype(int)
    for i, (name, draw) in enumerate(zip(names, draws, strict=True)):
        here, random = data, None
        if levels is not None:
            seen = float(fitted.plain.examination[:slate_size].mean())
            level = min(float(levels[i]), MOST_LOOKED_AT * seen)
            random = level / seen
            said = level, "drawn from what is not known of it"
            here = replace(data, calibration={**data.calibration, "random_click_rate": said})
        model = fitted.model(int(draw), float(hidden[i]), random)
        rng = generator("visits of a world", seed, name)
        model = model.with_parameters(**visits_drawn(model, rng))
        yield calibrate_shift(model, here, slate_size, seed)


def random_levels(data: Dataset, n: int, seed: int) -> np.ndarray | None:
    """(n,) click rates of uniformly random slates; None where somebody says it.

    By a log's propensities, with the error that they leave; else over the range of what logs show:
    the ratio to the log's own rate as another log would have it: Student's t on the logarithm, with
    the mean and spread of `RANDOM_OVER_LOGGED`; random slates are no better than the policy's.
    """
    place, logged = _spread(n, "random level of worlds", seed), float(data.log.clicked.mean())
    if not is_generic(data):
        return None
    told = by_propensity(data) if "skips" in data.has else None
    if told is not None:
        level = data.calibration["random_click_rate"][0] + told[1] * norm.ppf(place)
        return np.clip(level, LEAST_OVER_LOGGED * logged, 1.0)
    if "skips" not in data.has:
        logged = PUBLISHED["logged_click_rate"][0]
    known = np.log(RANDOM_OVER_LOGGED)
    spread = known.std(ddof=1) * (1 + 1 / len(known)) ** 0.5
    at = t.ppf(place, len(known) - 1)
    ratio = np.exp(known.mean() + spread * at)
    levels: np.ndarray = logged * np.clip(ratio, LEAST_OVER_LOGGED, 1.0)
    return levels


def _spread(n: int, *key: object) -> np.ndarray:
    """(n,) numbers between 0 and 1, one in each n-th part, in an order of their own."""
    return (generator(*key).permutation(n) + 0.5) / n


def visits_drawn(model: ChoiceModel, rng: np.random.Generator) -> dict[str, Parameter]:
    """Staying, returning, watching, drift and arrivals as they might be as well: normal around the
    estimates.

    Shares on the scale of their logits, spreads on that of their logarithms; each for itself, since
    the errors are known one by one. Shares near 0 or 1 for their error (a logit of theirs knows no
    normal) are drawn as they are and turned back at 0 and 1. What levels and appeal are made of is
    drawn elsewhere.
    """
    drawn = {}
    for name, number in model.parameters.items():
        if number.status != "estimated" or not number.error or not name.startswith(VISITS):
            continue
        value, error = number.value, number.error
        z = float(rng.normal())
        if name in SHARES:
            value = _share(value, error, z)
        else:
            value = value * np.exp(z * error / value) if name.endswith("_sd") else value + z * error
        drawn[name] = replace(number, value=float(value))
    return drawn


def _share(value: float, error: float, z: float) -> float:
    """A share z errors away, between 0 and 1."""
    if not 0 < value < 1:
        return value
    if error < value * (1 - value):
        return float(expit(logit(value) + z * error / (value * (1 - value))))
    there = abs(value + z * error) % 2
    return min(there, 2 - there)
