"""Free running: a model gives back the levels that it was given, and a wrong one is told apart."""

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from policies.draws import generator
from policies.log import Dataset
from simulator.fitting.fit_users import fit
from simulator.fitting.return_times import _parameter
from simulator.users.choice_model import ChoiceModel
from simulator.validation.free_running import FEATURES, features_of, free_running, two_sample
from simulator.validation.reporting.lights import free_lights
from simulator.validation.validation import split
from tests.conftest import SHORT


@pytest.fixture(scope="module")
def fitted(small_world: tuple[Dataset, ChoiceModel]) -> Any:
    early, late = split(small_world[0], 2)
    return fit(early, 0, 6, lambda text: None, chains=SHORT).model(0), early, late


def test_levels_that_were_fitted_come_back(fitted: Any) -> None:
    model, early, late = fitted
    found = free_running(model, early, late, 6, 0)
    assert found is not None
    for name, log, simulated in found.levels:
        # 240 users for four days: chance alone is several per cent, least in the shares.
        assert simulated == pytest.approx(log, rel=0.2, abs=0.02), name
    for name, (distance, _) in found.distances.items():
        assert 0 < found.chance[name] < 0.5
        assert distance - found.chance[name] < 0.05, name
    assert 0.01 < found.chance["sessions per user and day"] < 0.3
    assert found.auc[0] < 0.65
    assert found.auc[1] < found.auc[0] < found.auc[2]
    # Users who come twice as often are another matter.
    busy = model.with_parameters(
        gap_long_mean=replace(model.parameters["gap_long_mean"], value=model["gap_long_mean"] - 1.5)
    )
    wrong = free_running(busy, early, late, 6, 0)
    assert wrong is not None
    sessions = {name: simulated / log for name, log, simulated in wrong.levels}
    assert sessions["sessions per user and day"] > 1.4
    assert free_lights(wrong)[0].colour == "red"
    assert free_lights(None)[0].colour == "none"
    blurred = replace(
        found,
        chance=dict.fromkeys(found.chance, 0.5),
        chance_fitted=dict.fromkeys(found.chance, 0.5),
    )
    assert [light.colour for light in free_lights(blurred)[:3]] == [
        "amber"
    ] * 3  # within chance, which could hide anything


def test_gaps_that_a_log_hardly_tells_count_as_assumed() -> None:
    assert _parameter("gap_long_mean", 3.0, 0.2).status == "estimated"
    for name, value, error in (
        ("gap_short_mean", -3.0, 11.0),
        ("gap_long_sd", 0.5, 0.7),
        ("churn", 0.4, 0.3),
    ):
        number = _parameter(name, value, error)
        assert number.status == "assumed"
        assert "hardly tells" in number.source


def test_the_two_sample_test_knows_same_from_different() -> None:
    def days(seed: int, scale: float) -> pd.DataFrame:
        rng = generator("user-days", seed)
        table = pd.DataFrame(
            scale * rng.gamma(2.0, size=(1500, len(FEATURES))), columns=list(FEATURES)
        )
        return table.assign(user=rng.integers(0, 300, 1500))

    same, different = (
        two_sample(days(0, 1.0), days(1, scale), generator("two samples")) for scale in (1.0, 1.5)
    )
    assert same[1] - 0.03 < 0.5 < same[2] + 0.03
    assert different[1] > 0.6
    assert np.isfinite(different).all()


def test_what_the_log_does_not_tell_is_not_held_against_the_users(fitted: Any) -> None:
    model, early, late = fitted
    assert features_of(early) == FEATURES
    bare = replace(early, has=early.has - {"watch", "long_view"})
    assert features_of(bare) == ("impressions", "clicks", "categories", "active_hours")
    assumed = model.with_parameters(
        gap_long_mean=replace(model.parameters["gap_long_mean"], status="assumed")
    )
    assert free_running(assumed, early, late, 6, 0) is None
    assert free_running(model, early, late.rows(late.user < 3), 6, 0) is None
