"""The numbers are what they say: A/A rejects at its level, a policy has no effect
against itself.
"""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom, spearmanr

from analysis.data.ab_test import of_run
from analysis.data.run import open_run
from analysis.metrics import METRICS
from analysis.statistics.comparison import compare
from policies.log import Dataset
from simulator import simulate
from simulator.buckets import assign
from simulator.built_in.world import BuiltInParameters, built_in_log, true_users
from simulator.fitting.fit_users import fit_users
from simulator.users.choice_model import ChoiceModel
from tests.conftest import SHORT, MakeExperiment


def test_aa_rejects_at_its_level(experiment: MakeExperiment, tmp_path: Path) -> None:
    """One frozen policy serves a world; 400 salts split its users into two arms."""
    e = experiment(policies=("popularity",), learn_from="none", users=1000, days=2.0)
    world = open_run(simulate(e, out=str(tmp_path / "run")).path)
    full = of_run(world).table()
    users = full["user"].to_numpy()
    for name in ("clicks", "click_rate"):
        rejected = 0
        for salt in range(400):
            arm = assign(users, np.array([0.5, 0.5]), f"aa {salt}")
            table = full.assign(bucket=np.array(["one", "other"])[arm])
            rejected += compare(table, METRICS[name], "one", "other").pvalue < 0.05
        low, high = binom.interval(0.999, 400, 0.05)
        assert low <= rejected <= high, f"{name}: {rejected} of 400 A/A tests rejected"


@pytest.mark.parametrize("learn_from", ["none", "own"])
def test_a_policy_has_no_true_effect_against_itself(
    experiment: MakeExperiment, tmp_path: Path, learn_from: str
) -> None:
    e = experiment(policies=("sasrec", "sasrec.2"), design="twin", learn_from=learn_from)
    result = simulate(e, out=str(tmp_path / "run"))
    assert (result.true_effects["true_lift"] == 0).all()
    assert len(result.true_effects) == len(METRICS) - 1  # the log tells no negative feedback
    pd.testing.assert_frame_equal(
        result.impressions("sasrec"), result.impressions("sasrec.2"), check_exact=True
    )


def test_levels_of_the_world() -> None:
    data, model = built_in_log(0)
    assert abs(data.log.clicked.mean() - 0.45) < 0.01
    clicks = np.sort(
        np.bincount(data.log.item[data.log.clicked], minlength=data.catalogue.size + 1)[1:]
    )
    # a long tail: a tenth of the items has a third of the clicks
    assert clicks[-100:].sum() > 0.3 * clicks.sum()
    taste = model.tastes().astype(float)
    levels = model.user_level.var() + model.item_level[1:].var()
    inner = taste - taste.mean(0) - taste.mean(1, keepdims=True) + taste.mean()
    assert levels <= inner.var()


def centred(x: np.ndarray) -> np.ndarray:
    return x - x.mean(0) - x.mean(1, keepdims=True) + x.mean()


def test_fitted_appeal_is_near_the_true_one() -> None:
    data, true = built_in_log(0, BuiltInParameters(users=800))
    fitted = fit_users(data, chains=SHORT)
    a = centred(true.tastes()).ravel()[::11]
    b = centred(fitted.tastes()).ravel()[::11]
    assert spearmanr(a, b)[0] > 0.3
    assert {n.status for n in fitted.parameters.values()} == {"estimated", "assumed"}
    for name in (
        "leave",
        "leave_first_page",
        "leave_satisfaction",
        "like",
        "watch_long",
        "watch_long_duration",
    ):
        number = fitted.parameters[name]
        assert number.error is not None
        assert abs(number.value - true[name]) < 5 * number.error + 0.06, name
    assert abs(fitted["gap_short_share"] - true["gap_short_share"]) < 0.05
    assert abs(fitted["gap_long_mean"] - true["gap_long_mean"]) < 0.15
    assert fitted["satiation"] > 0.03


def test_uniform_slates_get_their_level_in_simulation(
    small_world: tuple[Dataset, ChoiceModel], experiment: MakeExperiment, tmp_path: Path
) -> None:
    """Satiation on, all users: the click rate's 99 % interval, by user, holds .176."""
    result = simulate(
        experiment(policies=("uniform",), rounds=1, users=240, days=4.0), out=str(tmp_path / "run")
    )
    rows = result.impressions("uniform")
    per = rows.groupby("user")["clicked"].agg(["sum", "size"])
    rate = per["sum"].sum() / per["size"].sum()
    error = np.sqrt(((per["sum"] - rate * per["size"]) ** 2).sum()) / per["size"].sum()
    assert abs(rate - 0.176) < 2.576 * error + 0.002


def test_truth_has_the_shape_it_says() -> None:
    model, catalogue = true_users(BuiltInParameters(users=50, items=30))
    assert model.n_users == 50
    assert model.n_items == catalogue.size == 30
    assert (np.diff(model.examination) <= 0).all()
    assert model.examination[0] == 1
