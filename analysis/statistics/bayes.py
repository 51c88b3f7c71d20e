"""A Bayesian reading of an estimate, with a prior that is one."""

from dataclasses import dataclass

import numpy as np
from scipy.stats import norm

from analysis.errors import AnalysisError
from analysis.statistics.difference import check_errors, check_level


@dataclass(frozen=True)
class Posterior:
    """What is believed of an effect after a test, in the estimate's unit.

    Attributes:
        mean, sd, low, high: of the effect. chance: that it is above 0.
        risk: expected loss of rolling the treatment out, and risk_of_not: of keeping the control:
            what is lost where the choice is wrong, times how likely that is.
    """

    mean: float
    sd: float
    low: float
    high: float
    chance: float
    risk: float
    risk_of_not: float


def posterior(
    estimate: float,
    standard_error: float,
    prior_sd: float,
    *,
    prior_mean: float = 0.0,
    level: float = 0.95,
) -> Posterior:
    """A normal estimate under a normal prior of effects.

    Args:
        prior_sd: spread of the true effects of tests like this one, in the estimate's unit: from
            earlier tests, say .01 where half of the lifts were below .7 %.
    """
    check_level(level)
    error = float(check_errors(standard_error, np.asarray(estimate, float)))
    if not (0 < prior_sd < np.inf and np.isfinite(prior_mean)):
        raise AnalysisError(
            f"a prior has a finite mean and a spread above 0, not {prior_mean} and {prior_sd}; a"
            " flat one is chance_to_win"
        )
    if error == 0:
        mean, sd = float(estimate), 0.0
    else:
        weight = prior_sd**2 / (prior_sd**2 + error**2)
        mean = float(weight * estimate + (1 - weight) * prior_mean)
        sd = float(np.sqrt(weight) * error)
    half = float(norm.ppf(0.5 + level / 2)) * sd
    if sd == 0:
        return Posterior(mean, sd, mean, mean, float(mean > 0), max(-mean, 0.0), max(mean, 0.0))
    z = mean / sd
    loss = float(sd * norm.pdf(z) - mean * norm.cdf(-z))  # E[max(-effect, 0)]
    gain = float(sd * norm.pdf(z) + mean * norm.cdf(z))
    return Posterior(mean, sd, mean - half, mean + half, float(norm.cdf(z)), loss, gain)
