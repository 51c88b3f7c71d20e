"""Taste that moves by a rule that somebody sets: used, named, and refused where it cannot be."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from policies.common.errors import InputError
from policies.log import Dataset
from simulator.experiment.simulate import simulate
from simulator.population.dynamics import with_dynamics
from simulator.users.choice_model import ChoiceModel
from simulator.users.storage import load_users
from tests.conftest import MakeExperiment

World = tuple[Dataset, ChoiceModel]


def test_a_run_names_the_rule_and_its_users_have_it(
    experiment: MakeExperiment, tmp_path: Path
) -> None:
    e = experiment(
        policies=("popularity", "itemknn"),
        taste_dynamics="reinforced",
        taste_strength=0.1,
        taste_half_life_d=3.0,
    )
    run = simulate(e, out=str(tmp_path / "run"))
    model = load_users(run.path / "users")
    assert (model.dynamics, model["drift"], model["drift_half_life_d"]) == ("reinforced", 0.1, 3)
    assert model.parameters["drift"].status == "assumed"
    notes = json.loads((run.path / "manifest.json").read_text(encoding="utf-8"))["notes"]
    assert any("taste_dynamics=reinforced" in note and "0.1 logits" in note for note in notes)
    assert "taste_dynamics=reinforced" in (run.path / "report.md").read_text(encoding="utf-8")


def test_rules_that_cannot_be_are_refused(small_world: World, experiment: MakeExperiment) -> None:
    with pytest.raises(InputError, match="exposure wants a strength"):
        experiment(taste_dynamics="exposure").check()
    with pytest.raises(InputError, match="taste_strength is for"):
        experiment(taste_strength=0.1).check()
    for rule in (None, "none"):
        with pytest.raises(InputError, match="taste_half_life_d is for"):
            experiment(taste_dynamics=rule, taste_half_life_d=3.0).check()
    model = small_world[1]
    e = experiment(taste_dynamics="exposure", taste_strength=0.1)
    with pytest.raises(InputError, match="the log has none"):
        with_dynamics(e, replace(model, category=np.zeros_like(model.category)))
    still = with_dynamics(experiment(taste_dynamics="none"), model)
    assert not still.drifts
