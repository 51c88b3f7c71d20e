"""What must not change the log does not change it, with torch policies and retraining on."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import simulator.experiment.schedule as schedule
import simulator.experiment.simulate as running
from simulator import Result, simulate
from tests.conftest import MakeExperiment

BOTH = ("gptrec", "sasrec")


def same(a: pd.DataFrame, b: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(a, b, check_exact=True)


@pytest.fixture(scope="module")
def plain(experiment: MakeExperiment, tmp_path_factory: pytest.TempPathFactory) -> Result:
    """Two torch policies, two rounds, retraining on their own rows."""
    return simulate(
        experiment(policies=BOTH, weights="0.4,0.4"),
        out=str(tmp_path_factory.mktemp("runs") / "plain"),
    )


def test_the_plain_run_retrains(plain: Result) -> None:
    rows = plain.impressions("sasrec")
    assert len(rows) > 1500
    assert set(plain.rounds["round"]) == {1, 2}
    assert (rows["time"] >= 0).all()


@pytest.mark.parametrize("hours", [5 / 60, 3.0])
def test_batch_every_changes_speed_never_results(
    plain: Result, experiment: MakeExperiment, tmp_path: Path, hours: float
) -> None:
    other = simulate(
        experiment(policies=BOTH, weights="0.4,0.4", batch_hours=hours), out=str(tmp_path / "run")
    )
    for arm in BOTH:
        same(plain.impressions(arm), other.impressions(arm))


@pytest.mark.parametrize("learn_from", ["own", "none"])
def test_one_more_bucket_changes_no_other(
    plain: Result, experiment: MakeExperiment, tmp_path: Path, learn_from: str
) -> None:
    settings = {"learn_from": learn_from}
    if learn_from == "own":
        before = plain
    else:
        before = simulate(
            experiment(policies=BOTH, weights="0.4,0.4", **settings), out=str(tmp_path / "two")
        )
    three = experiment(
        policies=(*BOTH, "itemknn"), weights="0.4,0.4,0.2", control="sasrec", **settings
    )
    after = simulate(three, out=str(tmp_path / "three"))
    assert len(after.impressions("itemknn")) > 0
    for arm in BOTH:
        same(before.impressions(arm), after.impressions(arm))


def test_half_the_population_changes_no_remaining_user(
    experiment: MakeExperiment, tmp_path: Path
) -> None:
    settings = {"policies": BOTH, "learn_from": "none"}
    whole = simulate(experiment(users=120, **settings), out=str(tmp_path / "whole"))
    half = simulate(experiment(users=60, **settings), out=str(tmp_path / "half"))
    for arm in BOTH:
        few, many = half.impressions(arm), whole.impressions(arm)
        assert few["user"].nunique() > 15
        same(few, many[many["user"].isin(few["user"])].reset_index(drop=True))


def test_another_process_writes_the_same_files(plain: Result, tmp_path: Path) -> None:
    settings = json.loads((plain.path / "manifest.json").read_text())["experiment"]
    code = (
        "import json, sys; from simulator import simulate;"
        "from simulator.settings import from_dict;"
        f"simulate(from_dict(json.loads(sys.stdin.read())), out={str(tmp_path / 'again')!r})"
    )
    subprocess.run([sys.executable, "-c", code], input=json.dumps(settings), text=True, check=True)
    files = sorted(p.relative_to(plain.path) for p in plain.path.rglob("*.parquet"))
    assert len(files) >= 8
    for file in files:
        same(pd.read_parquet(plain.path / file), pd.read_parquet(tmp_path / "again" / file))


def test_another_seed_differs(plain: Result, experiment: MakeExperiment, tmp_path: Path) -> None:
    other = simulate(
        experiment(policies=BOTH, weights="0.4,0.4", seed=1), out=str(tmp_path / "run")
    )
    a, b = plain.impressions("sasrec"), other.impressions("sasrec")
    assert len(a) != len(b) or not np.array_equal(a["item"], b["item"])


class Stop(Exception):
    """Stands for a power cut."""


@pytest.mark.parametrize("when", ["after the cut", "in the middle of a round", "in the warm-up"])
def test_interrupted_and_resumed_equals_uninterrupted(
    plain: Result,
    experiment: MakeExperiment,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    when: str,
) -> None:
    e = dataclasses.replace(experiment(policies=BOTH, weights="0.4,0.4"), batch_hours=6.0)
    folder = tmp_path / "run"
    calls = {"n": 0}

    def stop(unit: Any) -> None:
        raise Stop

    original = running.Progress.page

    def stop_on_page(self: Any, place: Any, shard: Any, now: Any, pages: Any) -> None:
        original(self, place, shard, now, pages)
        calls["n"] += 1
        if (when == "in the middle of a round" and now > 1.6 * 86_400) or (
            when == "in the warm-up" and calls["n"] == 3
        ):
            raise Stop

    if when == "after the cut":
        monkeypatch.setattr(schedule, "retrain", stop)
    monkeypatch.setattr(running.Progress, "page", stop_on_page)
    with pytest.raises(Stop):
        simulate(e, out=str(folder))
    monkeypatch.undo()
    assert json.loads((folder / "manifest.json").read_text())["status"] == "incomplete"
    resumed = simulate(resume=str(folder))
    assert json.loads((folder / "manifest.json").read_text())["status"] == "complete"
    for arm in BOTH:
        same(plain.impressions(arm), resumed.impressions(arm))
    np.testing.assert_array_equal(resumed.effects["lift"], plain.effects["lift"])
