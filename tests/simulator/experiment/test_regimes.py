"""Whose rows an arm learns from, and how many of them."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from policies.base import BY_LOG, BY_OTHER, BY_SELF
from policies.common.errors import InputError
from policies.log import Impressions
from simulator import simulate
from simulator.experiment import units
from simulator.experiment.regimes import hidden_places, taught_by
from simulator.experiment.schedule import places
from simulator.population.equal_rows import Pages, cut, fewest, shared, thinned
from tests.conftest import MakeExperiment

REGIMES = ("itemknn", *(f"itemknn.{i}" for i in range(2, 7)), "popularity", "uniform")
LEARNS: dict[str, Any] = {
    "itemknn.2": {"updates": 0},
    "itemknn.3": {"learn_from": "open"},
    "itemknn.4": {"learn_from": "outside"},
    "itemknn.5": {"learn_from": "all"},
    "itemknn.6": {"learn_from": "thinned"},
}


def log_of(pages: dict[int, int], size: int = 3) -> Impressions:
    """So many pages of these users."""
    user = np.repeat(list(pages), [n * size for n in pages.values()])
    number = np.concatenate([np.repeat(np.arange(n), size) for n in pages.values()])
    return Impressions.of(
        user=user,
        page=number,
        item=np.arange(len(user)) + 1,
        time=number.astype(float),
        clicked=np.zeros(len(user), bool),
    ).sorted()


def pages_of(log: Impressions) -> dict[int, int]:
    counts = Pages.of(log, 0).counts(int(log.user.max(initial=0)) + 1)
    return {int(user): int(counts[user]) for user in np.flatnonzero(counts)}


def test_as_many_whole_pages_of_each_user() -> None:
    one, two = log_of({0: 5, 1: 2, 3: 4}), log_of({0: 3, 1: 6})
    least = fewest([one, two], 4)
    assert least.tolist() == [3, 2, 0, 0]
    for log in (one, two):
        found = cut(log, least, 7)
        assert pages_of(found) == {0: 3, 1: 2}
        assert len(found) == 15
    assert len(cut(one.rows(slice(0)), least, 7)) == 0
    again = cut(one, least, 7)
    np.testing.assert_array_equal(again.item, cut(one, least, 7).item)
    drawn = {
        tuple(cut(one, least, seed).page[cut(one, least, seed).user == 0]) for seed in range(9)
    }
    assert len(drawn) > 1


def test_users_are_drawn_apart_from_each_other() -> None:
    """Who else is in a log changes nobody's pages."""
    few, many = log_of({2: 9}), log_of({0: 4, 2: 9, 5: 3})
    least = np.full(6, 4)
    alone, among = cut(few, least, 1), cut(many, least, 1)
    np.testing.assert_array_equal(alone.page, among.page[among.user == 2])


def test_shares_are_equal_and_add_up() -> None:
    logs = [
        log_of({0: 9, 1: 9, 2: 1, 3: 2}),
        log_of({0: 9, 1: 9, 2: 9}),
        log_of({0: 9, 1: 9, 2: 9}),
    ]
    parts = shared(logs, np.array([6, 7, 7, 8]), 3)
    by_log = np.stack([Pages.of(part, 0).counts(4) for part in parts])
    assert by_log.sum(axis=0).tolist() == [6, 7, 7, 2]
    assert by_log[:, 0].tolist() == [2, 2, 2]
    assert sorted(by_log[:, 1].tolist()) == [2, 2, 3]
    assert by_log[0, 2] == 1
    assert by_log[:, 3].tolist() == [2, 0, 0]
    together = Impressions.concat(parts)
    # Nobody's page is that of another world, for those who tell pages by their time, either.
    assert pages_of(together) == {0: 6, 1: 7, 2: 7, 3: 2}
    assert len(set(zip(together.user, together.time, strict=True))) == 22


def test_no_more_clicks_of_each_user() -> None:
    """Whole pages, as near to so many clicks as they go; nobody's by who else is there."""
    log = log_of({0: 40, 1: 40, 2: 40, 4: 1})
    rng = np.random.default_rng(5)
    log = replace(log, clicked=rng.random(len(log)) < 0.4)
    wanted = np.array([9, 0, 200, 3, 5])
    found = thinned(log, wanted, 7)
    clicks = np.bincount(found.user[found.clicked], minlength=5)
    assert abs(clicks[0] - 9) <= 1
    assert clicks[1] <= 1
    assert clicks[2] == log.clicked[log.user == 2].sum()
    assert len(found) % 3 == 0
    # what `cut` takes first stays first
    kept = set(found.page[found.user == 0])
    assert kept == set(cut(log, np.array([len(kept), 0, 0, 0, 0]), 7).page)
    alone = thinned(log.rows(log.user == 0), wanted, 7)
    np.testing.assert_array_equal(alone.page, found.page[found.user == 0])
    # pages without a click go beyond nothing, whoever's they are
    none = log_of(dict.fromkeys(range(4), 5))
    assert pages_of(thinned(none, np.zeros(4, int), 7)) == dict.fromkeys(range(4), 5)
    # over many users halves go either way
    many = log_of(dict.fromkeys(range(300), 30))
    many = replace(many, clicked=rng.random(len(many)) < 0.5)
    total = thinned(many, np.full(300, 10), 1).clicked.sum()
    assert abs(total / 3000 - 1) < 0.02


def taught(monkeypatch: pytest.MonkeyPatch) -> dict[tuple[str, str, int], Impressions]:
    """What arms are given to learn from, by world, arm and round."""
    seen: dict[tuple[str, str, int], Impressions] = {}
    plain = units._learned

    def watched(unit: Any, experiment: Any, given: Any, call: str, rows: Any, state: Any) -> Any:
        if call == "update":
            seen[unit.place.world, unit.arm, unit.number] = rows
        return plain(unit, experiment, given, call, rows, state)

    monkeypatch.setattr(units, "_learned", watched)
    return seen


def pairs(frame: pd.DataFrame) -> set[tuple[float, int, int]]:
    return set(zip(frame["time"], frame["user"], frame["item"], strict=True))


def rows(log: Impressions) -> set[tuple[float, int, int]]:
    return set(zip(log.time, log.user, log.item, strict=True))


def test_every_regime_learns_from_its_world(
    experiment: MakeExperiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = taught(monkeypatch)
    e = experiment(
        policies=REGIMES,
        policy_settings=LEARNS,
        design="twin",
        equal_rows=True,
        rounds=3,
        days=3.0,
        users=60,
    )
    found = simulate(e, out=str(tmp_path / "run"))
    shown = {arm: found.impressions(arm) for arm in REGIMES}
    sources = {
        "itemknn": ["itemknn"],
        "itemknn.3": ["itemknn.2"],
        "itemknn.4": ["uniform"],
        "itemknn.5": ["itemknn", "popularity"],
        "itemknn.6": ["itemknn.2"],
    }
    for number in (1, 2):
        pages, clicks = [], []
        for arm, others in sources.items():
            log = seen[f"twin-{arm}", arm, number]
            log = log.rows(log.bucket != BY_LOG)
            assert log.time.max() < number * 86400
            there = set().union(*(pairs(shown[other]) for other in others))
            if len(others) == 1:
                assert rows(log) <= there
            else:  # a millisecond apart
                assert {x[1:] for x in rows(log)} <= {x[1:] for x in there}
            told = set(np.unique(log.bucket))
            assert told == {"itemknn.4": {BY_OTHER}, "itemknn.5": {BY_SELF, BY_OTHER}}.get(
                arm, {BY_SELF}
            )
            pages.append(pages_of(log))
            clicks.append(np.bincount(log.user[log.clicked], minlength=400))
        assert pages[0] == pages[1] == pages[2] == pages[3]
        thin, every, random = clicks[4], clicks[1], clicks[2]
        assert (np.abs(thin - np.minimum(every, random)) <= 2).all()
        assert 0.8 < thin.sum() / random.sum() < 1.1
        assert sum(pages[0].values()) > 60
        warm = [(seen[f"twin-{arm}", arm, number].bucket == BY_LOG).sum() for arm in sources]
        assert len(set(warm)) == 1
        assert (warm[0] > 0) == (number == 1)
    alone = simulate(
        experiment(
            policies=("itemknn", "itemknn.2", "uniform"),
            policy_settings={"itemknn.2": {"updates": 0}},
            design="twin",
            equal_rows=True,
            rounds=3,
            days=3.0,
            users=60,
        ),
        out=str(tmp_path / "alone"),
    )
    for arm in ("itemknn", "itemknn.2"):
        pd.testing.assert_frame_equal(alone.impressions(arm), shown[arm], check_exact=True)


@pytest.mark.parametrize("way", ["open", "outside"])
def test_arms_of_a_split_learn_from_worlds_beside_it(
    experiment: MakeExperiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """What is learned is of the same users; in twin worlds it is the same rows of more of them."""
    seen = taught(monkeypatch)
    policies = ("itemknn", "popularity")
    e = experiment(policies=policies, learn_from=way, truth=True, users=90, rounds=3, days=3.0)
    found = simulate(e, out=str(tmp_path / "split"))
    for arm in e.policies:
        users = set(found.impressions(arm)["user"])
        for number in (1, 2):
            log, everybody = (
                given.rows(given.bucket != BY_LOG)
                for given in (seen["split", arm, number], seen[f"global-{arm}", arm, number])
            )
            assert 0 < len(np.unique(log.user)) < len(np.unique(everybody.user))
            assert (number - 1) * 86400 <= log.time.min() < log.time.max() < number * 86400
            assert set(log.user) <= users
            assert rows(log) == rows(everybody.rows(np.isin(everybody.user, list(users))))
    names = {path.name for path in (tmp_path / "split" / "sources").iterdir()}
    assert names == ({"frozen-itemknn", "frozen-popularity"} if way == "open" else {"outside"})


def test_ways_to_learn_that_make_no_sense_are_refused(experiment: MakeExperiment) -> None:
    with pytest.raises(
        InputError, match=r"learn_from wants one of own, all, .* not 'opne'; did you"
    ):
        experiment(policy_settings={"sasrec": {"learn_from": "opne"}}).check()
    with pytest.raises(InputError, match="takes a share from each arm that learns from its own"):
        experiment(design="twin", learn_from="all").check()
    with pytest.raises(InputError, match="takes equal shares: --set equal_rows=true"):
        experiment(design="twin", policy_settings={"sasrec": {"learn_from": "all"}}).check()
    given = {"sasrec": {"updates": 0, "learn_from": "open"}}
    with pytest.raises(InputError, match="never retrains learns from nobody"):
        experiment(policy_settings=given).check()
    with pytest.raises(InputError, match="as many clicks as random slates"):
        experiment(design="twin", learn_from="thinned").check()
    with pytest.raises(InputError, match="equal_rows is for --design twin"):
        experiment(equal_rows=True).check()


def test_one_arm_of_a_split_may_learn_from_all(
    experiment: MakeExperiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = taught(monkeypatch)
    e = experiment(
        policies=("itemknn", "popularity"),
        policy_settings={"itemknn": {"learn_from": "all"}},
        users=60,
    )
    simulate(e, out=str(tmp_path / "run"))
    told = {arm: set(np.unique(seen["split", arm, 1].bucket)) for arm in e.policies}
    assert told == {"itemknn": {BY_LOG, BY_SELF, BY_OTHER}, "popularity": {BY_LOG, BY_SELF}}


def test_regimes_are_told_apart_by_what_the_engine_keeps(experiment: MakeExperiment) -> None:
    """A policy that may repeat at once has its own frozen world."""
    e = experiment(
        policies=("itemknn", "itemknn.2", "itemknn.3", "itemknn.4"),
        policy_settings={
            "itemknn.2": {"updates": 0},
            "itemknn.3": {"repeat": True, "learn_from": "open"},
            "itemknn.4": {"repeat": True, "updates": 0},
        },
        design="twin",
    )
    place = units.Place(Path(), "twin-itemknn.3", ("itemknn.3",))
    assert [arm for _, arm, _ in taught_by(e, place, "itemknn.3")] == ["itemknn.4"]


def test_without_retraining_no_world_is_run_to_learn_from(experiment: MakeExperiment) -> None:
    e = experiment(policies=("itemknn", "popularity"), learn_from="open", rounds=1)
    _, split, truth = places(Path(), e)
    assert hidden_places(e, [*split, *truth]) == []
    more = experiment(policies=("itemknn", "popularity"), learn_from="open", rounds=2)
    _, split, truth = places(Path(), more)
    assert len(hidden_places(more, [*split, *truth])) == 2
