"""Other minds: neighbours are the cosine they say, trees do not see their own answers, and tables
that are too large are refused.
"""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit

import simulator.fitting.alternatives as minds
import simulator.run as command
from policies.common.errors import InputError
from policies.draws import Draws, generator
from policies.log import Dataset
from simulator.experiment.data import before_warmup, load_data, policy_share
from simulator.fitting.alternatives import (
    Neighbours,
    Trees,
    check_size,
    cross_scored,
    full_table,
    make_scorer,
    scores_of,
)
from simulator.fitting.fit_users import fit, fit_users
from simulator.settings import Experiment
from simulator.users.choice_model import ChoiceModel
from tests.conftest import SHORT, SHORT_FLAGS


def test_neighbours_are_shrunk_cosines_summed_over_choices() -> None:
    rng = generator("neighbours")
    chosen = rng.random((30, 13)) < 0.3
    chosen[:, 0] = False
    user, item = np.nonzero(chosen)
    found = Neighbours(user, item, 30, 12).table(np.arange(30))
    both = chosen.T.astype(float) @ chosen
    count = chosen.sum(axis=0)
    near = both / np.sqrt(np.outer(count + minds.SHRINK, count + minds.SHRINK))
    np.fill_diagonal(near, 0)
    assert np.allclose(found, chosen @ near / np.sqrt(chosen.sum(axis=1) + 1)[:, None], atol=1e-6)


def test_only_the_best_neighbours_of_an_item_count(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = generator("neighbours", "best")
    chosen = rng.random((60, 21)) < 0.3
    user, item = np.nonzero(chosen[:, 1:])
    monkeypatch.setattr(minds, "NEIGHBOURS", 3)
    few = Neighbours(user, item + 1, 60, 20)
    assert (np.diff(few._near.tocsc().indptr) <= 3).all()


@pytest.mark.parametrize("kind", ["neighbours", "trees"])
def test_scores_know_nothing_of_their_own_rows(
    kind: str, small_world: tuple[Dataset, ChoiceModel]
) -> None:
    data, _ = small_world
    rng = generator("chance", kind)
    log = data.log.rows(np.sort(rng.permutation(len(data.log))[:4000]))
    chance = replace(data, log=replace(log, clicked=rng.random(len(log)) < 0.4))
    crossed = cross_scored(chance, kind, generator("folds"))
    clicked = chance.log.clicked
    assert abs(crossed[clicked].mean() - crossed[~clicked].mean()) < 0.15 * crossed.std()
    real = cross_scored(replace(data, log=log), kind, generator("folds"))
    assert real[log.clicked].mean() - real[~log.clicked].mean() > 0.1 * real.std()


@pytest.mark.parametrize("kind", ["neighbours", "trees"])
def test_the_table_is_the_scores_of_all_pairs(
    kind: str, small_world: tuple[Dataset, ChoiceModel]
) -> None:
    data, _ = small_world
    scorer = make_scorer(data, kind, generator("mind"))
    assert isinstance(scorer, Trees) == (kind == "trees")
    table = full_table(scorer, data.n_users, block=100)
    assert table.shape == (data.n_users, data.catalogue.size + 1)
    rng = generator("pairs")
    user, item = rng.integers(0, data.n_users, 50), rng.integers(1, data.catalogue.size + 1, 50)
    assert np.allclose(scores_of(scorer, user, item, block=7), table[user, item], atol=0.01)


def test_users_with_a_table_answer_by_it(small_world: tuple[Dataset, ChoiceModel]) -> None:
    data, _ = small_world
    model = fit_users(data, 0, 6, kind="neighbours", chains=SHORT)
    assert model.table is not None
    users = np.arange(data.n_users)
    items = np.tile(np.arange(1, 7, dtype=np.int32), (data.n_users, 1))
    state = model.start(data.n_users, 0.0)
    zero = np.zeros(data.n_users)
    whole = model.click_probability(state, users, zero)
    said = model.respond(state, users, items, zero, zero, Draws(1, users, users * 0))
    assert np.allclose(whole[:, 1:7] * model.examination[:6], said.probability, atol=1e-5)
    some = model.of_users(np.array([5, 3]))
    assert np.allclose(
        some.appeal(np.array([0, 1]), items[:2]), model.appeal(np.array([5, 3]), items[:2])
    )


def test_levels_of_the_log_are_met_with_a_table(small_world: tuple[Dataset, ChoiceModel]) -> None:
    data, _ = small_world
    model = fit(data, 0, 6, lambda text: None, "trees", chains=SHORT).model(0)
    x = model.appeal(data.log.user, data.log.item[:, None])[:, 0]
    # Without what satiation takes, and the trees have seen these clicks.
    assert (model.examination[data.log.slot] * expit(x)).mean() == pytest.approx(
        data.log.clicked.mean(), rel=0.25
    )


def test_what_cannot_be_held_or_learned_is_refused(
    small_world: tuple[Dataset, ChoiceModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    data, _ = small_world
    monkeypatch.setitem(minds.MOST_PAIRS, "trees", 100)
    with pytest.raises(InputError, match="every pair of 240 users and 120 items"):
        check_size(data, "trees")
    check_size(data, "factors")
    with pytest.raises(InputError, match="has no skips; use factors"):
        check_size(replace(data, has=frozenset()), "neighbours")


# -- a matrix that holds every pair ----------------------------------------------------------------


@pytest.fixture(scope="module")
def matrix(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """150 users by 80 items, each pair once, answered by two groups of users with
    opposite tastes.
    """
    rng = np.random.default_rng(3)
    user, item = (x.ravel() for x in np.meshgrid(np.arange(150), np.arange(80), indexing="ij"))
    p = np.where((user % 2 == item % 2), 0.6, 0.15)
    frame = pd.DataFrame(
        {
            "user": user,
            "item": item,
            "time": rng.integers(0, 6 * 86_400, len(user)),
            "click": (rng.random(len(user)) < p).astype(int),
        }
    )
    path = tmp_path_factory.mktemp("matrix") / "matrix.csv"
    frame.sort_values("time").to_csv(path, index=False)
    return path


def test_a_matrix_is_replayed(matrix: Path) -> None:
    data = load_data(Experiment(log=str(matrix), users=10))
    model = fit_users(data, kind="matrix", chains=SHORT)
    log = data.log
    chance = expit(model.appeal(log.user, log.item[:, None])[:, 0])
    assert chance[log.clicked] == pytest.approx(1 - minds.SURE, abs=0.002)
    assert chance[~log.clicked] == pytest.approx(minds.SURE, abs=0.002)
    assert model["selection"] == 0
    items = (
        np.argsort(np.random.default_rng(0).random((150, 80)), axis=1)[:, :5].astype(np.int32) + 1
    )
    users, zero = np.arange(150), np.zeros(150)
    said = model.respond(
        model.start(150, 0.0), users, items, zero.astype(int), zero, Draws(1, users, users * 0)
    )
    assert said.clicked[:, 0].mean() == pytest.approx(
        log.clicked.mean(), abs=0.12
    )  # the first slot is always looked at


def test_the_four_models_run_the_same_experiment_and_policies_see_a_part_of_the_matrix(
    matrix: Path, tmp_path: Path
) -> None:
    words = [
        "--log",
        str(matrix),
        *SHORT_FLAGS,
        "--policies",
        "itemknn,popularity",
        "--users",
        "60",
        "--days",
        "1",
        "--warmup-days",
        "1",
    ]
    words += [
        "--rounds",
        "1",
        "--user-model",
        "all",
        "--set",
        "repeat_after=20",
        "--quiet",
        "--out",
        str(tmp_path / "all"),
    ]
    assert command.main(words) == 0
    summary = json.loads((tmp_path / "all" / "summary.json").read_text())
    assert summary["names"] == [*minds.KINDS, "matrix"]
    assert [row["world"] for row in summary["rows"]] == summary["names"]
    settings = json.loads((tmp_path / "all" / "matrix" / "manifest.json").read_text())["experiment"]
    assert settings["policy_share"] == minds.MATRIX_SHARE


def test_policies_learn_from_their_share_alone(matrix: Path) -> None:
    e = Experiment(log=str(matrix), users=10)
    data = load_data(e)
    model = fit_users(data, kind="matrix", chains=SHORT)
    share = policy_share(e, model)
    assert share == minds.MATRIX_SHARE
    seen = before_warmup(data, e, share).for_policies()
    assert len(seen) == pytest.approx(0.1 * len(data.log), rel=0.15)
    assert policy_share(e, replace(model, provenance={})) == 1.0
    with pytest.raises(InputError, match="have seen the truth"):
        policy_share(replace(e, policy_share=1.0), model)


def test_a_log_with_holes_is_no_matrix(small_world: tuple[Dataset, ChoiceModel]) -> None:
    with pytest.raises(InputError, match="holds at least 90 % of all pairs"):
        check_size(small_world[0], "matrix")
    with pytest.raises(InputError, match="policy_share"):
        Experiment(policy_share=0.0)
