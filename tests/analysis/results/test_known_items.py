"""What the report says of how much the log knows: of the items that were shown, and of what makes
the best slates better than random ones.
"""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.reporting.sentences import advantage_sentence
from analysis.reporting.write import write
from policies.common.tables import number, percent
from simulator import simulate
from simulator.built_in.world import BuiltInParameters, built_in_log, true_users
from simulator.doubt.advantage import advantage
from tests.conftest import MakeExperiment


def light_of(results: dict, name: str) -> tuple[str, str]:
    return next((x["colour"], x["text"]) for x in results["lights"] if x["name"] == name)


def test_items_that_the_log_hardly_shows_are_counted_and_said(
    experiment: MakeExperiment, tmp_path: Path
) -> None:
    e = experiment(
        policies=("itemknn", "popularity", "uniform"), users=60, days=0.5, warmup_days=0.25
    )
    run = simulate(e, out=str(tmp_path / "run"))
    name = "Items known from the log"
    assert light_of(run.results, name)[0] == "green"
    path = run.path / "items.parquet"
    items = pd.read_parquet(path)
    assert (items["log_rows"] > 20).all()
    shown = {arm: run.impressions(arm)["item"].value_counts() for arm in e.policies}
    # as if the log had 19 rows of what popularity shows most, until that is most of it
    order = shown["popularity"].index
    share = shown["popularity"].cumsum() / shown["popularity"].sum()
    few = order[: int(np.searchsorted(share.to_numpy(), 0.6)) + 1]
    items.loc[items["item"].isin(few), "log_rows"] = 19
    items.to_parquet(path)
    (run.path / "manifest.json").write_text(_resealed(run.path, "items.parquet"), encoding="utf-8")
    again = write(run.path).as_json()
    colour, text = light_of(again, name)
    assert colour == "red"
    of_knn = shown["itemknn"].reindex(few).sum() / shown["itemknn"].sum()
    assert again["hardly_known"]["popularity"] == pytest.approx(share[few[-1]])
    assert again["hardly_known"]["itemknn"] == pytest.approx(of_knn)
    assert "fewer than 20 rows" in text
    assert "uniform" not in text


def _resealed(run: Path, name: str) -> str:
    """The manifest, knowing the file as it is now."""
    import json

    from policies.common.files import listed

    manifest = json.loads((run / "manifest.json").read_text(encoding="utf-8"))
    for stage in manifest["files"].values():
        if name in stage:
            stage[name] = {**stage[name], **listed(run, run / name)[name]}
    return json.dumps(manifest)


def test_the_way_to_the_best_slates_is_that_of_the_world() -> None:
    """Of the built-in world's own users: the whole of each step is what its parts give."""
    parameters = BuiltInParameters(users=300, items=200, categories=8, log_days=6.0)
    model, _ = true_users(parameters)
    data, _ = built_in_log(0, parameters)
    rows = advantage(model, data, 6, 0)
    tired = rows[-1]
    assert not tired["rested"]
    assert advantage_sentence(rows).endswith(f"the best slates get {number(tired['click_rate'])}.")
    rows = rows[:-1]
    rates = [row["click_rate"] for row in rows]
    assert rates[0] < tired["click_rate"] < rates[-1]
    assert [row["known"] for row in rows][-1].startswith("and the taste that the log does not")
    assert rates == sorted(rates)
    items = np.tile(np.arange(1, 201, dtype=np.int32), (300, 1))
    chance = 1 / (1 + np.exp(-model.appeal(np.arange(300), items)))
    seen = model.examination[:6]
    assert rates[0] == pytest.approx(chance.mean() * seen.mean(), rel=1e-5)
    best = -np.sort(-chance, axis=1)[:, :6]
    assert rates[-1] == pytest.approx((best * seen).mean(), rel=1e-5)
    assert rates[2] > rates[1]  # who knows the levels knows more than the log tells of them
    said = advantage_sentence(rows)
    share = (rates[1] - rates[0]) / (rates[-1] - rates[0])
    assert f"goes {percent(share, 0)} of the way" in said
