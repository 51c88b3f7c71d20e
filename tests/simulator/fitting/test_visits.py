"""Visits: gaps that the end of the log cuts off are not lost, and what is not seen is
not made up.
"""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from policies.draws import generator
from policies.log import Dataset
from simulator.fitting import return_times
from simulator.fitting.return_times import Gaps, fit_return_times
from simulator.fitting.sessions import staying
from simulator.fitting.visits import fit_visits
from simulator.users.choice_model import ChoiceModel

TRUE = {
    "gap_short_share": 0.35,
    "gap_short_mean": 0.4,
    "gap_short_sd": 0.5,
    "gap_long_mean": 3.0,
    "gap_long_sd": 0.4,
    "activity_sd": 0.3,
    "return_satisfaction": -0.6,
    "churn": 0.02,
}


def observed(seed: int, users: int = 800, days: float = 6.0) -> tuple[Gaps, np.ndarray]:
    """Gaps of users who are watched for some days, with the parameters above, and their factors."""
    rng = generator("gaps", seed)
    factor = rng.normal(0, TRUE["activity_sd"], users)
    rows = []
    for user in range(users):
        t = 0.0
        while t < 24 * days:
            share = rng.uniform(-0.5, 0.5)
            kind = "short" if rng.random() < TRUE["gap_short_share"] else "long"
            y = rng.normal(TRUE[f"gap_{kind}_mean"], TRUE[f"gap_{kind}_sd"])
            y += factor[user] + TRUE["return_satisfaction"] * share
            gap = np.inf if rng.random() < TRUE["churn"] else np.exp(y)
            left = 24 * days - t
            rows.append((user, np.log(min(gap, left)), gap < left, share))
            t += gap
    columns = [np.array(column) for column in zip(*rows, strict=True)]
    return Gaps(columns[0], columns[1], columns[2].astype(bool), columns[3]), factor


def test_gaps_are_recovered_although_the_log_ends() -> None:
    gaps, factor = observed(0)
    assert gaps.ended.mean() < 0.92
    found, activity = fit_return_times(gaps, 801)
    for name, true in TRUE.items():
        number = found[name]
        assert number.error is not None
        assert abs(number.value - true) < 3.5 * number.error, name
        assert number.error < 0.1
    # A draw per user, as spread as the users, and of the right users.
    assert activity[:800].std() == pytest.approx(TRUE["activity_sd"], rel=0.2)
    assert np.corrcoef(activity[:800], factor)[0, 1] > 0.4
    assert activity[800] == 0  # never seen


def test_dropping_the_last_gaps_would_shorten_the_long_ones() -> None:
    gaps, _ = observed(1, days=2.0)
    whole, _ = fit_return_times(gaps, 800)
    seen, _ = fit_return_times(gaps.rows(gaps.ended), 800)
    assert seen["gap_long_mean"].value < TRUE["gap_long_mean"] - 0.1 < whole["gap_long_mean"].value


def test_the_same_seed_gives_the_same_factors_and_few_gaps_give_nothing() -> None:
    gaps, _ = observed(2, users=200)
    assert np.array_equal(fit_return_times(gaps, 200)[1], fit_return_times(gaps, 200)[1])
    few, activity = fit_return_times(gaps.rows(np.arange(len(gaps.user)) < 100), 200)
    assert few == {}
    assert (activity == 0).all()


def test_what_stands_at_the_end_of_its_bounds_is_no_estimate(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bounds = list(return_times._BOUNDS)
    bounds[3] = (-3, TRUE["gap_long_mean"] - 0.5)  # the truth lies outside
    monkeypatch.setattr(return_times, "_BOUNDS", bounds)
    found, _ = fit_return_times(observed(3)[0], 800)
    assert found["gap_long_mean"].value == pytest.approx(bounds[3][1])
    assert found["gap_long_mean"].status == "assumed"
    assert "at the end of what is looked at" in found["gap_long_mean"].source
    assert found["gap_short_share"].status == "estimated"


def test_levels_of_visits_that_were_given_are_assumed(
    small_world: tuple[Dataset, ChoiceModel],
) -> None:
    data, true = small_world
    parameters, _, _, source = fit_visits(data, 0.45)
    assert parameters["gap_long_mean"].status == "estimated"
    assert source[0] == "estimated"
    assert abs(parameters["gap_long_mean"].value - true["gap_long_mean"]) < 0.15
    given = replace(data, calibration=data.calibration | {"sessions_per_day": (3.0, "given")})
    parameters, _, _, source = fit_visits(given, 0.45)
    assert parameters["gap_long_mean"].status == "assumed"
    assert source[0] == "assumed"


def test_sessions_of_one_page_are_estimated_as_such() -> None:
    pages = pd.DataFrame(
        {"page": np.zeros(50, int), "share": np.linspace(0, 1, 50), "last": np.ones(50, bool)}
    )
    found = staying(pages, 0.5)
    assert set(found) == {"leave"}
    assert found["leave"].status == "estimated"
    assert found["leave"].value > 5
