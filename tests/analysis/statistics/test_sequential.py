"""Looking more than once: bounds, confidence sequences, sample ratio, against published numbers."""

import math
from typing import Any

import numpy as np
import pytest
from scipy import stats

from analysis import (
    after_stopping,
    confidence_sequence,
    crossing_probabilities,
    sequential_sample_ratio,
    spending_bounds,
)

EXACT: dict[str, Any] = {"rel": 1e-6}


def test_the_sequential_sample_ratio_is_the_bayes_factor_of_a_dirichlet() -> None:
    x, share, c = np.array([60.0, 40.0]), np.array([0.5, 0.5]), 100.0
    wanted = stats.dirichlet_multinomial.pmf(x, c * share, 100) / stats.multinomial.pmf(
        x, 100, share
    )
    assert sequential_sample_ratio([x], share, c)[0] == pytest.approx(min(1 / wanted, 1), **EXACT)


def test_the_sequential_sample_ratio_rarely_errs_and_finds_a_broken_split() -> None:
    rng = np.random.default_rng(0)
    looks = rng.multinomial(200, [0.5, 0.25, 0.25], (400, 30)).cumsum(axis=1)
    wrong = [sequential_sample_ratio(run, [0.5, 0.25, 0.25])[-1] < 0.05 for run in looks]
    assert np.mean(wrong) <= 0.05
    broken = rng.multinomial(200, [0.46, 0.27, 0.27], (100, 30)).cumsum(axis=1)
    assert (
        np.mean([sequential_sample_ratio(run, [0.5, 0.25, 0.25])[-1] < 0.05 for run in broken])
        > 0.8
    )


# Lan and DeMets bounds, two-sided .05, half per side, equally spaced looks; as in the tables of
# ldbounds and gsDesign.
PUBLISHED = {
    ("obrien_fleming", 2): [2.9626, 1.9686],
    ("obrien_fleming", 3): [3.7103, 2.5114, 1.9930],
    ("obrien_fleming", 4): [4.3326, 2.9631, 2.3590, 2.0141],
    ("obrien_fleming", 5): [4.8769, 3.3569, 2.6803, 2.2898, 2.0310],
    ("pocock", 2): [2.1570, 2.2010],
    ("pocock", 5): [2.4380, 2.4268, 2.4101, 2.3966, 2.3859],
}


@pytest.mark.parametrize(("spending", "looks"), PUBLISHED)
def test_bounds_are_the_published_ones(spending: str, looks: int) -> None:
    found = spending_bounds(np.arange(1, looks + 1) / looks, 0.05, spending)
    assert found == pytest.approx(PUBLISHED[spending, looks], rel=1e-3, abs=1e-3)


@pytest.mark.parametrize(
    ("looks", "constant", "power"),
    [(5, 2.413, 0), (5, 2.040, 0.5), (2, 2.178, 0), (2, 1.977, 0.5), (10, 2.555, 0)],
)
def test_classical_bounds_spend_five_per_cent(looks: int, constant: float, power: float) -> None:
    """Constants of Pocock (1977) and O'Brien and Fleming (1979), from Jennison and Turnbull 2000,
    tables 2.1 and 2.3.
    """
    t = np.arange(1, looks + 1) / looks
    up, down = crossing_probabilities(t, constant * (1 / t) ** power)
    assert up.sum() + down.sum() == pytest.approx(0.05, abs=1e-4)


def test_unequal_looks_against_a_multivariate_normal() -> None:
    t = np.array([0.3, 0.45, 1.0])
    bounds = spending_bounds(t, 0.05, "pocock")
    stays = stats.multivariate_normal(
        cov=np.sqrt(np.minimum.outer(t, t) / np.maximum.outer(t, t))
    ).cdf(bounds, lower_limit=-bounds)
    assert 1 - stays == pytest.approx(0.05, abs=1e-5)
    up, _ = crossing_probabilities(t, bounds, drift=2.8)
    moved = stats.multivariate_normal(
        mean=2.8 * np.sqrt(t), cov=np.sqrt(np.minimum.outer(t, t) / np.maximum.outer(t, t))
    )
    assert up.sum() == pytest.approx(1 - moved.cdf(bounds, lower_limit=-bounds), abs=1e-4)


def test_error_may_be_spent_by_other_fractions_than_the_information() -> None:
    t, at = np.array([0.2, 0.7, 1.0]), np.array([1, 2, 3]) / 3
    up, down = crossing_probabilities(t, spending_bounds(t, 0.05, "linear", spend_at=at))
    assert (up + down) == pytest.approx(np.full(3, 0.05 / 3), rel=1e-6)


def test_one_look_is_no_sequential_test() -> None:
    assert spending_bounds([1.0])[0] == pytest.approx(1.959963985, rel=1e-8)
    found = after_stopping(1.5, 1, [1.0], [1.96], 0.2)
    wanted = (0.3, 0.3 - 1.959963985 * 0.2, 0.3 + 1.959963985 * 0.2, 2 * stats.norm.sf(1.5))
    assert (found.estimate, found.low, found.high, found.pvalue) == pytest.approx(wanted, rel=1e-6)


def test_the_interval_after_stopping_covers_and_its_middle_is_unbiased() -> None:
    rng = np.random.default_rng(4)
    t, drift = np.arange(1, 6) / 5, 2.5
    bounds = spending_bounds(t)
    paths = rng.normal(drift / 5, np.sqrt(0.2), (300, 5)).cumsum(axis=1) / np.sqrt(t)
    crossed = np.abs(paths) >= bounds
    looks = np.where(crossed.any(1), crossed.argmax(1), 4)
    found = [
        after_stopping(z[k], k + 1, t, bounds, 1 / np.sqrt(t[k])) for z, k in zip(paths, looks)
    ]
    inside = sum(f.low <= drift <= f.high for f in found)
    above = sum(f.estimate > drift for f in found)
    for count, rate in ((inside, 0.95), (above, 0.5)):
        low, high = stats.binom.interval(0.999, len(found), rate)
        assert low <= count <= high
    naive = np.mean([f.naive for f in found])
    # stopping early flatters the naive one
    assert abs(np.median([f.estimate for f in found]) - drift) < naive - drift


def test_the_confidence_sequence_is_the_papers_formula() -> None:
    n, alpha = 400.0, 0.05
    rho2 = (-2 * math.log(alpha) + math.log(-2 * math.log(alpha) + 1)) / 1000
    half = 1.5 * math.sqrt(
        2 * (n * rho2 + 1) / (n**2 * rho2) * math.log(math.sqrt(n * rho2 + 1) / alpha)
    )
    found = confidence_sequence(0.3, 1.5 / math.sqrt(n), n, optimal_n=1000)
    assert (found.low, found.high) == pytest.approx((0.3 - half, 0.3 + half), rel=1e-12)
    edge = confidence_sequence(half, 1.5 / math.sqrt(n), n, optimal_n=1000)
    assert edge.pvalue == pytest.approx(alpha, rel=1e-9)
