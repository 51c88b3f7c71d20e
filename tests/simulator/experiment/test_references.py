"""Policies that ask for the truth: handed it anew by the engine, and never judged."""

import dataclasses
import json
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import pytest

import simulator.experiment.schedule as schedule
from policies.base import Requests, Slates, Truth
from policies.catalogue import Catalogue
from policies.common.errors import InputError
from policies.draws import Draws
from policies.log import Impressions
from policies.ranking import mask_scores, top_k
from policies.registry import asks_for_truth, is_reference
from simulator import Experiment, simulate
from tests.conftest import MakeExperiment

SPY = "tests.simulator.experiment.test_references:Spy"
SEEN: list[tuple[str, int]] = []  # what happened to which object
MADE: list[Any] = []


class Spy:
    """A stranger's reference: the opposite of the oracle, and it counts its truths."""

    history_length = 0
    history_of: Literal["impressions", "clicks"] = "impressions"

    def __init__(self) -> None:
        self.truth: Truth | None = None
        MADE.append(self)  # so that no two of them share a number

    def see_truth(self, truth: Truth) -> None:
        SEEN.append(("truth", id(self)))
        self.truth = truth

    def fit(self, log: Impressions, catalogue: Catalogue, rng: np.random.Generator) -> None:
        SEEN.append(("fit", id(self)))

    def update(self, log: Impressions, catalogue: Catalogue, rng: np.random.Generator) -> None:
        SEEN.append(("update", id(self)))

    def recommend(self, requests: Requests, slate_size: int, draws: Draws) -> Slates:
        assert self.truth is not None, "asked before the truth was handed over"
        scores = -self.truth.click_probability(requests.users, requests.now)
        return Slates(top_k(mask_scores(scores, requests), slate_size))

    def state(self) -> dict[str, np.ndarray]:
        return {"nothing": np.zeros(1)}

    def restore(self, state: dict[str, np.ndarray]) -> None:
        SEEN.append(("restore", id(self)))


def test_who_asks_for_the_truth_is_a_reference() -> None:
    assert asks_for_truth("oracle")
    assert asks_for_truth(SPY)
    assert is_reference(SPY)
    assert is_reference("uniform")
    assert not asks_for_truth("uniform")
    assert not is_reference("popularity")
    arms = Experiment(policies=("popularity", SPY, "itemknn", "oracle"))
    assert arms.contenders == ("popularity", "itemknn")
    assert arms.control_arm == "itemknn"


@pytest.mark.parametrize(
    "settings",
    [
        {"policies": ("popularity", SPY), "control": SPY},
        {"policies": ("popularity", "sasrec"), "warmup_policy": SPY},
        {"policies": (SPY, "oracle")},
    ],
)
def test_it_is_no_control_no_warm_up_and_never_alone(settings: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        Experiment(**settings)


def test_truth_comes_after_copy_and_retraining_and_the_report_marks_it(
    experiment: MakeExperiment, tmp_path: Path
) -> None:
    SEEN.clear()
    result = simulate(
        experiment(policies=("popularity", "uniform", SPY), off_policy=True, users=90),
        out=str(tmp_path / "run"),
    )
    trained = {who for what, who in SEEN if what in ("fit", "update")}
    assert "update" in {what for what, _ in SEEN}  # it was retrained
    serving = {who for what, who in SEEN if what == "restore"} - trained
    assert serving
    for who in serving:
        last = max(i for i, (what, other) in enumerate(SEEN) if other == who)
        assert SEEN[last][0] == "truth"  # nothing that is used has an older truth, or none
    rows = result.impressions(SPY)
    assert len(rows) > 100
    best = pd.concat([result.impressions("popularity"), result.impressions("uniform")])
    assert rows["clicked"].mean() < 0.7 * best["clicked"].mean()  # it shows what is liked least
    stored = json.loads((tmp_path / "run" / "results.json").read_text())
    assert "sees the truth" in stored["references"][SPY]
    assert SPY not in {row["arm"] for row in stored["effects"]["rows"]}
    assert not [c for c in pd.read_parquet(_first(tmp_path / "run", SPY)) if c.startswith("would")]
    assert "sees the truth" in (tmp_path / "run" / "report.html").read_text()


def _first(run: Path, arm: str) -> Path:
    folder = next(p for p in (run / "impressions").iterdir() if arm.split(":")[1] in p.name)
    return sorted(folder.rglob("*.parquet"))[0]


class Stop(Exception):
    """Stands for a power cut."""


def test_truth_comes_after_an_interruption(
    experiment: MakeExperiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    e = dataclasses.replace(experiment(policies=("popularity", SPY), users=60), batch_hours=6.0)
    whole = simulate(e, out=str(tmp_path / "whole"))

    def stop(unit: Any) -> None:
        raise Stop

    monkeypatch.setattr(schedule, "retrain", stop)
    with pytest.raises(Stop):
        simulate(e, out=str(tmp_path / "cut"))
    monkeypatch.undo()
    resumed = simulate(resume=str(tmp_path / "cut"))
    pd.testing.assert_frame_equal(whole.impressions(SPY), resumed.impressions(SPY))
