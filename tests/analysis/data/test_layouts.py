"""Impressions for other toolkits: every row, once, under the log's own ids."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis import export
from simulator import Result, simulate
from tests.conftest import MakeExperiment


@pytest.fixture(scope="module")
def result(experiment: MakeExperiment, tmp_path_factory: pytest.TempPathFactory) -> Result:
    e = experiment(policies=("popularity", "thompson", "uniform"), users=60, rounds=2)
    return simulate(e, out=str(tmp_path_factory.mktemp("export") / "run"), workers=1)


def test_recbole_gets_every_impression(result: Result, tmp_path: Path) -> None:
    out = tmp_path / "feed"
    assert export.main([str(result.path), "--format", "recbole", "--out", str(out)]) == 0
    found = pd.read_csv(out / "feed" / "feed.inter", sep="\t")
    arms = ("popularity", "thompson", "uniform")
    ours = pd.concat([result.impressions(arm) for arm in arms])
    assert len(found) == len(ours)
    assert found["label:float"].sum() == ours["clicked"].sum()
    users = pd.read_parquet(result.path / "users.parquet")
    assert set(found["user_id:token"]) <= set(users["user_id"])
    items = pd.read_csv(out / "feed" / "feed.item", sep="\t")
    assert set(found["item_id:token"]) <= set(items["item_id:token"])
    assert found["timestamp:float"].is_monotonic_increasing


@pytest.mark.parametrize("arm", ["uniform", "thompson"])
def test_open_bandit_gets_propensities(result: Result, tmp_path: Path, arm: str) -> None:
    out = tmp_path / "obd"
    words = [str(result.path), "--format", "obd", "--arm", arm, "--out", str(out)]
    assert export.main(words) == 0
    place = out / {"uniform": "random", "thompson": "bts"}[arm] / "all"
    found = pd.read_csv(place / "all.csv", index_col=0)  # as obp reads it
    context = pd.read_csv(place / "item_context.csv", index_col=0)
    ours = result.impressions(arm)
    assert len(found) == len(ours)
    np.testing.assert_allclose(found["propensity_score"], ours["propensity"], rtol=1e-6)
    np.testing.assert_array_equal(found["click"], ours["clicked"])
    named = context["name"].to_numpy()[found["item_id"]]
    items = pd.read_parquet(result.path / "items.parquet").set_index("item")["item_id"]
    np.testing.assert_array_equal(named, items[ours["item"]].to_numpy())
    assert found["position"].min() == 1


@pytest.mark.parametrize(
    ("more", "why"),
    [
        (["--format", "obd"], "is for one arm"),
        (["--format", "obd", "--arm", "popularity"], "one slate for sure"),
        (["--format", "recbole", "--arm", "popularty"], "did you mean 'popularity'"),
    ],
)
def test_what_cannot_be_is_one_line(
    result: Result,
    tmp_path: Path,
    more: list[str],
    why: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert export.main([str(result.path), "--out", str(tmp_path / "x"), *more]) == 2
    assert why in capsys.readouterr().err
    assert not (tmp_path / "x").exists()
