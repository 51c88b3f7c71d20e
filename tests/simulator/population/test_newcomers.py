"""New users, new items and withdrawn ones: told from a log, and simulated without touching anybody
else.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import simulator.run as command
from policies.common.errors import InputError
from policies.draws import generator
from policies.log import Dataset
from simulator import Experiment, simulate
from simulator.experiment.data import before_warmup
from simulator.fitting.arrivals import arrivals, share_new
from simulator.population.newcomers import rates, turned_over
from simulator.population.people import population
from simulator.users.choice_model import DAY, ChoiceModel, Parameter
from tests.conftest import SHORT_FLAGS, MakeExperiment

TURNOVER = {"new_users": 0.1, "new_items": 0.05, "gone_items": 0.05}


def first_and_days(
    rng: np.random.Generator, n: int, share: float, days: int
) -> tuple[np.ndarray, np.ndarray]:
    """The first day of users of very different activity, and on how many days they came."""
    new = rng.random(n) < share
    since = np.where(new, rng.integers(1, days, n), 0)
    seen = rng.random((n, days)) < rng.beta(0.8, 2.0, (n, 1))
    seen &= np.arange(days) >= since[:, None]
    seen[new, since[new]] = True  # who is new comes
    kept = seen.any(axis=1)
    return np.argmax(seen, axis=1)[kept], seen.sum(axis=1)[kept]


@pytest.mark.parametrize("days", [8, 30])
@pytest.mark.parametrize("share", [0.0, 0.15, 0.5])
def test_newcomers_are_told_from_rare_visitors(share: float, days: int) -> None:
    rng = generator("newcomers", share)
    found = np.array([share_new(*first_and_days(rng, 3000, share, days), days) for _ in range(40)])
    if share == 0:
        assert found[:, 0].mean() < 0.01
        return
    # Some of those who were there before never came.
    there = np.mean([len(first_and_days(rng, 3000, share, days)[0]) for _ in range(20)])
    z = (found[:, 0] - share * 3000 / there) / found[:, 1]
    assert abs(z.mean()) < 4 / np.sqrt(40)
    assert 0.6 < z.std() < 1.5


def test_a_log_without_newcomers_has_none(small_world: tuple[Dataset, ChoiceModel]) -> None:
    data = small_world[0]
    assert {number.value for number in arrivals(data).values()} == {0.0}
    rng = generator("late")
    since = np.where(rng.random(data.n_users) < 0.5, rng.uniform(0.0, 0.9, data.n_users), 0.0)
    log = data.log
    share = (log.time - log.time.min()) / np.ptp(log.time)
    half_new = arrivals(replace(data, log=log.rows(share >= since[log.user])))
    length = np.ptp(log.time) / DAY
    assert half_new["new_users"].status == "estimated"
    assert half_new["new_users"].value == pytest.approx(0.5 / length, rel=0.3)
    before = replace(
        log.rows(np.unique(log.user, return_index=True)[1]),
        time=np.full(len(np.unique(log.user)), -1e9),
    )
    known = arrivals(replace(data, log=log.rows(share >= since[log.user]), history=before))
    assert known["new_users"].value == 0  # they all were there before
    short = arrivals(replace(data, log=log.rows(share < 0.3)))
    assert "less than 4 days" in short["new_users"].source


def test_who_comes_does_not_depend_on_how_many(
    small_world: tuple[Dataset, ChoiceModel], experiment: MakeExperiment
) -> None:
    model = small_world[1]
    many, few = (experiment(users=users, new_users=0.2) for users in (100, 50))
    (ids, people, arrival), (fewer, _, earlier) = (population(e, model) for e in (many, few))
    new = arrival > -np.inf
    assert new.sum() == round(0.2 * 100 * 3)
    assert people.n_users == len(ids) == len(set(ids.tolist())) == 160
    assert (ids[new] >= model.n_users).all()
    assert (arrival[new] >= -DAY).all()
    assert (arrival[new] < 2 * DAY).all()
    crowd = population(experiment(users=200, new_users=0.9, days=30.0), model)[2]
    hour = (crowd[crowd > -np.inf] / 3600 % 24).astype(int)
    busy = model.hours.argmax()
    assert (
        np.bincount(hour, minlength=24)[busy]
        > 2 * np.bincount(hour, minlength=24)[model.hours.argmin()]
    )
    there = np.isin(ids, fewer)
    assert there.sum() == len(fewer)
    np.testing.assert_array_equal(arrival[there], earlier)


def test_items_live_and_die_and_resemble_the_others(
    small_world: tuple[Dataset, ChoiceModel],
) -> None:
    data, model = small_world
    e = Experiment(
        policies=("popularity",),
        days=20,
        warmup_days=2,
        repeat_after=20,
        new_items=0.1,
        gone_items=0.1,
    )
    whole, grown = turned_over(e, before_warmup(data, e), model)
    assert isinstance(grown, ChoiceModel)
    n, new = data.catalogue.size, round(0.1 * data.catalogue.size * 22)
    assert whole.catalogue.size == grown.n_items == n + new
    assert whole.catalogue.ids[n + 1] == "new-item-1"
    for item in (n + 1, n + new):
        (like,) = np.flatnonzero((model.item_taste == grown.item_taste[item]).all(axis=1))
        assert grown.category[item] == model.category[like]
        assert grown.item_level[item] == model.item_level[like]
    left = [whole.catalogue.available(day * DAY)[1 : n + 1].mean() for day in (-2, 5, 12, 19)]
    np.testing.assert_allclose(left, np.exp(-0.1 * np.array([0, 7, 14, 21])), atol=0.12)
    there = [whole.catalogue.available(day * DAY).sum() for day in range(-2, 20)]
    assert min(there) > 0.75 * n
    assert max(there) < 1.25 * n
    with pytest.raises(InputError, match="lower gone_items or repeat_after"):
        turned_over(replace(e, new_items=0.0, gone_items=0.5), before_warmup(data, e), model)
    same, unchanged = turned_over(replace(e, new_items=0.0, gone_items=0.0), data, model)
    assert same is data
    assert unchanged is model


def test_the_log_decides_unless_told_otherwise(small_world: tuple[Dataset, ChoiceModel]) -> None:
    model = small_world[1].with_parameters(new_users=Parameter(0.03, "estimated", "x"))
    assert rates(Experiment(), model) == {"new_users": 0.03, "new_items": 0.0, "gone_items": 0.0}
    assert rates(Experiment(new_users=0.0, new_items=0.2), model) == {
        "new_users": 0.0,
        "new_items": 0.2,
        "gone_items": 0.0,
    }
    with pytest.raises(InputError, match="new_items must be at least 0, below 1"):
        Experiment(new_items=1.5)


def test_a_run_with_turnover_keeps_its_invariances(
    experiment: MakeExperiment, tmp_path: Path
) -> None:
    arms = ("sasrec", "uniform")
    settings = {"policies": arms, **TURNOVER}
    plain = simulate(experiment(**settings), out=str(tmp_path / "plain"))
    batches = simulate(experiment(**settings, batch_hours=5.0), out=str(tmp_path / "batches"))
    for arm in arms:
        pd.testing.assert_frame_equal(
            plain.impressions(arm), batches.impressions(arm), check_exact=True
        )
    rows = plain.impressions("uniform")
    users = pd.read_parquet(plain.path / "users.parquet")
    new = users[users["user_id"].str.startswith("new-")]
    assert len(new) == 36
    served = rows[rows["user"].isin(new["user"])]
    assert 0 < served["user"].nunique() < len(new)
    items = pd.read_parquet(plain.path / "items.parquet")
    fresh = items[items["item_id"].str.startswith("new-item")]["item"]
    assert len(fresh) == round(0.05 * 120 * 3)
    shown = rows[rows["item"].isin(fresh)]
    assert len(shown) > 0
    # Sessions that begin on the second day hold items that those of the first cannot have.
    day = rows.groupby(["user", "session"])["time"].transform("min") // DAY
    late = set(rows[day == 1]["item"]) - set(rows[day == 0]["item"])
    assert late & set(fresh)
    gone = set(rows[day == 0]["item"]) - set(rows[day == 1]["item"])
    assert len(gone) >= 3


def test_turnover_from_the_command(
    small_log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [
        "--policies",
        "popularity,uniform",
        "--log",
        str(small_log),
        *SHORT_FLAGS,
        "--users",
        "60",
        "--days",
        "1",
        "--warmup-days",
        "1",
        "--rounds",
        "1",
        "--set",
        "repeat_after=20",
        "--set",
        "new_users=.5",
        "--no-truth",
        "--out",
        str(tmp_path / "run"),
    ]
    assert command.main(words) == 0
    assert "30 newcomers a day" in " ".join(capsys.readouterr().err.split())
