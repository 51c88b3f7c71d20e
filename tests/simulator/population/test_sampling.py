"""Fitting users to a part of a large log: who takes part is the same, and keeps the own number."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from policies.catalogue import Catalogue
from policies.common.errors import InputError
from policies.log import Dataset, Impressions
from simulator.experiment import simulate as simulate_module
from simulator.experiment import units
from simulator.experiment.data import before_warmup, load_data
from simulator.experiment.simulate import simulate
from simulator.population import sampling
from simulator.population.people import population
from simulator.population.sampling import fit_sample, how_many, sample_note
from simulator.settings import Experiment
from simulator.users.choice_model import ChoiceModel, Parameter
from simulator.users.storage import about_users, load_users, save_users
from tests.conftest import MakeExperiment

World = tuple[Dataset, ChoiceModel]


def with_newcomers(model: ChoiceModel) -> ChoiceModel:
    return model.with_parameters(new_users=Parameter(0.1, "assumed", "test"))


def test_who_takes_part_is_the_same_and_has_the_own_number(small_world: World) -> None:
    data, model = small_world
    model = with_newcomers(model)
    whole = Experiment(policies=("popularity",), users=20, seed=3)
    some = fit_sample(data, replace(whole, fit_users=50))
    assert some.users is not None
    assert len(some.users) == 50
    part = some.of_log(model.of_users(some.users))
    ids, people, arrival = population(whole, model)
    part_ids, part_people, part_arrival = population(whole, part)
    np.testing.assert_array_equal(part_ids, ids)
    assert isinstance(part_people, ChoiceModel)
    assert isinstance(people, ChoiceModel)
    np.testing.assert_array_equal(part_people.user_level[:20], people.user_level[:20])
    np.testing.assert_array_equal(part_arrival, arrival)
    assert (part_ids[20:] >= data.n_users).all()  # newcomers are nobody of the log
    many = replace(whole, users=120)  # more than are fitted
    ids, _, _ = population(many, part)
    assert len(np.unique(ids)) == len(ids)
    assert set(ids[:50]) == set(some.users)
    assert (ids[50:] >= data.n_users).all()


def test_rows_of_the_sample_are_those_of_its_users(small_world: World) -> None:
    data, _ = small_world
    some = fit_sample(data, Experiment(policies=("popularity",), users=5, fit_users=40))
    assert some.users is not None
    whole = data.log.rows(np.isin(data.log.user, some.users))
    np.testing.assert_array_equal(some.users[some.data.log.user], whole.user)
    np.testing.assert_array_equal(some.data.log.item, whole.item)
    np.testing.assert_array_equal(some.data.user_ids, data.user_ids[some.users])


def test_large_logs_are_sampled_by_themselves(
    small_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, _ = small_world
    experiment = Experiment(policies=("popularity",), users=10)
    assert fit_sample(data, experiment).users is None
    assert not sample_note(data, experiment)
    # a table of all pairs has room for so many users, and always for those who take part
    trees = replace(experiment, user_model="trees")
    monkeypatch.setitem(sampling.MOST_PAIRS, "trees", 100 * data.catalogue.size)
    assert how_many(data, trees) == 100
    assert how_many(data, experiment) == data.n_users
    assert how_many(data, replace(trees, users=150)) == 150
    monkeypatch.setattr(sampling, "MOST_ROWS", len(data.log) // 4)
    assert how_many(data, experiment) == pytest.approx(data.n_users / 4, abs=1)
    assert how_many(data, replace(experiment, users=data.n_users - 1)) == data.n_users - 1
    assert f"of the log's {data.n_users}" in sample_note(data, experiment)[0]
    with pytest.raises(InputError, match="--fit-users 5: fewer than take part"):
        fit_sample(data, replace(experiment, fit_users=5))


def test_a_run_with_sampled_users_says_so_and_serves_them_under_their_names(
    experiment: MakeExperiment, tmp_path: Path
) -> None:
    e = experiment(policies=("popularity", "itemknn"), users=30, fit_users=60)
    data = load_data(e)
    path = simulate(e, out=str(tmp_path / "run"), quiet=True).path
    notes = json.loads((path / "manifest.json").read_text(encoding="utf-8"))["notes"]
    assert any("fitted to 60 of the log's" in note for note in notes)
    users = pd.read_parquet(path / "users.parquet")
    kept = load_users(path / "users")
    assert kept.log_users is not None
    assert set(users["user"][:30]) <= set(kept.log_users)
    names = data.user_ids[users["user"][:30]]
    assert list(users["user_id"][:30]) == list(names)


def test_a_large_log_lies_in_its_file_and_gives_the_same(
    experiment: MakeExperiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    e = experiment(policies=("popularity", "itemknn"), users=30, fit_users=60)
    there = simulate(e, out=str(tmp_path / "held"), workers=1)
    for module in (simulate_module, units):
        monkeypatch.setattr(module, "MOST_ROWS", 1000)
    mapped = simulate(e, out=str(tmp_path / "mapped"), workers=1)
    pd.testing.assert_frame_equal(mapped.arms, there.arms)
    for arm in e.policies:
        pd.testing.assert_frame_equal(mapped.impressions(arm), there.impressions(arm))


def test_moving_the_clock_keeps_the_order_of_times_that_become_one() -> None:
    rng = np.random.default_rng(0)
    time = np.sort(rng.integers(0, 3000, 4000) * 2.0**-40 - 1000)
    user = rng.integers(0, 50, len(time))
    log = Impressions.of(time=time, user=user, item=np.ones(len(time), np.int32)).sorted()
    dataset = Dataset(
        log, Catalogue.of(np.array(["a"])), np.arange(50).astype(str), "t", frozenset()
    )
    moved = before_warmup(dataset, Experiment(warmup_days=3.0)).log
    assert len(np.unique(log.time - 3 * 86400)) < len(np.unique(log.time))  # they would become one
    assert moved.sorted() is moved
    np.testing.assert_array_equal(np.diff(moved.time) == 0, np.diff(log.time) == 0)
    np.testing.assert_allclose(moved.time, log.time - 3 * 86400, rtol=0, atol=1e-6)


def test_stored_users_of_a_sample_are_not_stretched(
    small_world: World, experiment: MakeExperiment, tmp_path: Path
) -> None:
    e, model = experiment(policies=("popularity",), users=30, fit_users=40), small_world[1]
    data = load_data(e)
    some = fit_sample(data, e)
    assert some.users is not None
    about = about_users(data, e.slate_size)
    save_users(tmp_path / "users", some.of_log(model.of_users(some.users)), about)
    e = replace(e, users=41, fit_users=None, calibrate=None, users_from=str(tmp_path / "users"))
    with pytest.raises(InputError, match=r"40 of the log's .* fewer than take part"):
        simulate(e, out=str(tmp_path / "run"), quiet=True)
