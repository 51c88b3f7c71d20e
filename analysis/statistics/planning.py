"""How many users a test needs, and which effect it could find."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import brentq
from scipy.stats import norm
from statsmodels.stats.power import TTestIndPower

from analysis.errors import AnalysisError
from analysis.statistics.difference import ALTERNATIVES, check_errors
from analysis.statistics.sequential import crossing_probabilities, spending_bounds


@dataclass(frozen=True)
class Plan:
    """What a test needs.

    Attributes:
        n_control, n_treatment: users, not rounded. effect: absolute. inflation: of users because of
            the looks, 1 without.
        mean_share: with looks, the expected share of the information at the end, if the effect is
            there.
    """

    n_control: float
    n_treatment: float
    effect: float
    inflation: float
    mean_share: float

    @property
    def users(self) -> int:
        """Both arms, whole users."""
        return int(np.ceil(self.n_control - 1e-9) + np.ceil(self.n_treatment - 1e-9))


def sample_size(
    variance: float,
    effect: float,
    *,
    mean: float | None = None,
    alpha: float = 0.05,
    power: float = 0.8,
    ratio: float = 1.0,
    alternative: str = "two-sided",
    variance_saved: float = 0.0,
    use_t: bool = False,
    looks: int = 1,
    spending: str = "obrien_fleming",
) -> Plan:
    """Users needed to find an effect.

    Args:
        variance: of one user's value (of a ratio metric: of its linearised value). effect: to be
            found with this power; absolute, or relative where `mean` (of the control) is given.
        ratio: treatment users per control user. variance_saved: by CUPED, 0 to 1.
        use_t: Student's t (statsmodels) instead of the normal. looks: equally spaced, with error
            spending.

    Raises:
        AnalysisError: an effect of 0, or numbers out of their range.
    """
    _check(variance, alpha, power, ratio, variance_saved, looks, alternative)
    size = abs(effect * mean if mean is not None else effect)
    if not size > 0:
        raise AnalysisError("an effect of 0 cannot be found by any number of users")
    sd = np.sqrt(variance * (1 - variance_saved))
    if use_t:
        word = {"two-sided": "two-sided", "greater": "larger", "less": "larger"}[alternative]
        n = TTestIndPower().solve_power(
            size / sd, alpha=alpha, power=power, ratio=ratio, alternative=word
        )
        n = float(np.squeeze(n))
    else:
        n = float((_drift(alpha, power, alternative) * sd / size) ** 2 * (1 + 1 / ratio))
    inflation, share = _inflation(looks, alpha, power, spending)
    return Plan(n * inflation, n * ratio * inflation, float(size), inflation, share)


def sample_size_of_proportions(
    proportion: float,
    lift: float,
    *,
    alpha: float = 0.05,
    power: float = 0.8,
    ratio: float = 1.0,
    alternative: str = "two-sided",
) -> Plan:
    """Users needed to find a relative change of a proportion of users, by the test with unpooled
    variances.

    Args:
        proportion: of the control. lift: .02 is 2 % of it.
    """
    if not 0 < proportion < 1:
        raise AnalysisError(f"a proportion lies between 0 and 1, not {proportion}")
    other = proportion * (1 + lift)
    if not 0 < other < 1:
        raise AnalysisError(f"a lift of {lift:g} makes {proportion:g} a proportion of {other:g}")
    _check(1.0, alpha, power, ratio, 0.0, 1, alternative)
    effect = abs(other - proportion)
    if not effect > 0:
        raise AnalysisError("an effect of 0 cannot be found by any number of users")
    spread = proportion * (1 - proportion) + other * (1 - other) / ratio
    n = float((_drift(alpha, power, alternative) / effect) ** 2 * spread)
    return Plan(n, n * ratio, float(effect), 1.0, 1.0)


def sample_size_of_margin(
    variance: float,
    margin: float,
    *,
    mean: float | None = None,
    true_effect: float = 0.0,
    alpha: float = 0.025,
    power: float = 0.8,
    ratio: float = 1.0,
    variance_saved: float = 0.0,
) -> Plan:
    """Users needed to show that the treatment is not worse by a margin (`non_inferiority`).

    Args:
        margin: positive; absolute, or relative where `mean` (of the control) is given.
        true_effect: what the effect is believed to be, in the same unit; 0 = none.
    """
    distance = margin + true_effect
    if not (np.isfinite(margin) and margin > 0 and np.isfinite(true_effect) and distance > 0):
        raise AnalysisError(
            f"a margin of {margin} with a true effect of {true_effect} can be shown by no number of"
            " users; wanted a margin above 0, and no effect beyond it"
        )
    return sample_size(
        variance,
        distance,
        mean=mean,
        alpha=alpha,
        power=power,
        ratio=ratio,
        alternative="greater",
        variance_saved=variance_saved,
    )


def minimum_detectable_effect(
    variance: float,
    n_control: float,
    n_treatment: float | None = None,
    *,
    mean: float | None = None,
    alpha: float = 0.05,
    power: float = 0.8,
    alternative: str = "two-sided",
    variance_saved: float = 0.0,
    looks: int = 1,
    spending: str = "obrien_fleming",
) -> float:
    """The effect that so many users find with this power: absolute, or relative where `mean` is
    given.
    """
    other = n_control if n_treatment is None else n_treatment
    if not (n_control > 0 and other > 0):
        raise AnalysisError(f"wanted users in both arms, not {n_control:g} and {other:g}")
    _check(variance, alpha, power, other / n_control, variance_saved, looks, alternative)
    error = np.sqrt(variance * (1 - variance_saved) * (1 / n_control + 1 / other))
    inflation, _ = _inflation(looks, alpha, power, spending)
    absolute = float(_drift(alpha, power, alternative) * error * np.sqrt(inflation))
    return absolute / abs(mean) if mean is not None else absolute


def power_of(
    effect: ArrayLike,
    standard_error: ArrayLike,
    *,
    alpha: float = 0.05,
    alternative: str = "two-sided",
) -> np.ndarray:
    """Chance of finding a true effect when it will be estimated with this standard error (normal,
    both tails).
    """
    if alternative not in ALTERNATIVES:
        raise AnalysisError(
            f"alternative '{alternative}' is unknown; there are: {', '.join(ALTERNATIVES)}"
        )
    if not 0 < alpha < 1:
        raise AnalysisError(f"alpha lies between 0 and 1, not {alpha}")
    size = np.asarray(effect, float)
    error = check_errors(standard_error, size)
    if (error == 0).any():
        raise AnalysisError("a standard error of 0 says that nothing varies; there is no power")
    z = size / error
    if alternative == "two-sided":
        c = norm.isf(alpha / 2)
        return norm.sf(c - z) + norm.cdf(-c - z)
    return norm.sf(norm.isf(alpha) - (z if alternative == "greater" else -z))


@lru_cache(maxsize=1000)
def _drift(alpha: float, power: float, alternative: str) -> float:
    """The effect over its standard error that has this power."""
    if alternative != "two-sided":
        return float(norm.isf(alpha) + norm.ppf(power))
    top = norm.isf(alpha / 2) + norm.ppf(max(power, 0.5)) + 1
    return float(
        brentq(
            lambda z: float(power_of(z, 1.0, alpha=alpha)) - power, 0, top, xtol=1e-13, rtol=1e-13
        )
    )


@lru_cache(maxsize=1000)
def _inflation(looks: int, alpha: float, power: float, spending: str) -> tuple[float, float]:
    """Users of a test with looks over users of one without; and the expected share of its
    information when it ends.
    """
    if looks == 1:
        return 1.0, 1.0
    t = np.arange(1, looks + 1) / looks
    bounds = spending_bounds(t, alpha, spending)

    def reached(drift: float) -> np.ndarray:
        return np.add(*crossing_probabilities(t, bounds, drift))

    fixed = _drift(alpha, power, "two-sided")
    drift = brentq(lambda d: float(reached(d).sum()) - power, fixed * 0.9, fixed * 2, xtol=1e-10)
    stops = reached(drift)
    return float((drift / fixed) ** 2), float(stops @ t + (1 - stops.sum()))


def _check(
    variance: float,
    alpha: float,
    power: float,
    ratio: float,
    saved: float,
    looks: int,
    alternative: str,
) -> None:
    for name, value, good in (
        ("variance", variance, 0 < variance < np.inf),
        ("alpha", alpha, 0 < alpha < 1),
        ("power", power, alpha < power < 1),
        ("ratio", ratio, 0 < ratio < np.inf),
        ("variance_saved", saved, 0 <= saved < 1),
        ("looks", looks, looks in range(1, 1001)),
        ("alternative", alternative, alternative in ALTERNATIVES),
    ):
        if not good:
            raise AnalysisError(f"{name} cannot be {value}")
    if looks > 1 and alternative != "two-sided":
        raise AnalysisError(
            "looks are planned for with two-sided bounds; leave out the alternative"
        )
