"""Another log as the test: what differs is told first, and users are right where the truth is
theirs.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import simulator.validate as validate
from policies.common.errors import InputError
from policies.log import Dataset, Impressions
from policies.sources.levels import by_propensity
from simulator.users.choice_model import DAY, ChoiceModel
from simulator.validation.fidelity import (
    Answers,
    Fidelity,
    expected_calibration_error,
    judge,
)
from simulator.validation.reporting.lights import _of_second
from simulator.validation.second_log import (
    SecondFound,
    _moved,
    differences,
    in_terms_of,
    of_column,
    shift_to,
)
from tests.conftest import SHORT_FLAGS


def halves(data: Dataset) -> tuple[Dataset, Dataset]:
    """A log and what came after it, each ending at its own time 0."""
    middle = float(np.median(data.log.time))
    parts = []
    for late in (False, True):
        log = data.log.rows((data.log.time >= middle) == late)
        end = float(log.time.max())
        hour = (data.hour_zero + end / 3600) % 24
        moved = replace(log, time=log.time - end)
        parts.append(replace(data, log=moved, hour_zero=hour, ended=1.7e9 + end))
    return parts[0], parts[1]


def test_rows_come_in_terms_of_the_fitted_log(small_world: tuple[Dataset, ChoiceModel]) -> None:
    one, other = halves(small_world[0])
    # other numbers for the same people and things, and some who are new
    rng = np.random.default_rng(0)
    order = rng.permutation(other.n_users)
    people = np.concatenate([other.user_ids[order][:-3], ["x", "y", "z"]])
    place = np.argsort(order)
    renamed = replace(
        other, user_ids=people, log=replace(other.log, user=place[other.log.user].astype(np.int32))
    )
    second = in_terms_of(one, renamed, 0)
    back = np.concatenate([one.user_ids, ["x", "y", "z"]])
    assert (second.data.user_ids == back).all()
    expected = people[renamed.log.user]
    assert (second.data.user_ids[second.rows.user] == expected).all()
    assert len(second.like) == 3
    assert second.rows.time.min() > one.log.time.max()  # it came after
    assert second.offset is not None
    unsaid = in_terms_of(one, replace(renamed, ended=None), 0)
    assert unsaid.rows.time.min() == pytest.approx(1.0)


def test_what_cannot_be_a_test_is_refused(small_world: tuple[Dataset, ChoiceModel]) -> None:
    one, other = halves(small_world[0])
    with pytest.raises(InputError, match="has no skips"):
        in_terms_of(one, replace(other, has=other.has - {"skips"}), 0)
    ids = np.array([f"q{i}" for i in range(len(other.catalogue.ids))])
    with pytest.raises(InputError, match=r"0 of \d+ rows are of items of"):
        in_terms_of(one, replace(other, catalogue=replace(other.catalogue, ids=ids)), 0)
    with pytest.raises(InputError, match="holds rows of --log"):
        in_terms_of(one, one, 0)


def what_matters(one: Dataset, other: Dataset) -> set[str]:
    second = in_terms_of(one, other, 0)
    return {d.what for d in differences(second, one, other) if d.matters}


def test_what_differs_is_told(small_world: tuple[Dataset, ChoiceModel]) -> None:
    one, other = halves(small_world[0])
    assert what_matters(one, other) == set()
    assert what_matters(one, replace(other, ended=one.ended and one.ended + 60 * DAY)) == {"time"}
    rate = np.bincount(one.log.user, one.log.clicked, one.n_users)
    keen = rate[other.log.user] > np.quantile(rate, 0.7)
    assert "users" in what_matters(one, replace(other, log=other.log.rows(keen)))
    alone = replace(other.log, page=np.arange(len(other.log)).astype(np.int16))
    assert "pages" in what_matters(one, replace(other, log=alone))
    at_noon = replace(other.log, time=np.floor(other.log.time / DAY) * DAY)
    assert "hours" in what_matters(one, replace(other, log=at_noon))


def test_users_whom_the_log_does_not_have_are_not_asked_who_answers_what(
    small_world: tuple[Dataset, ChoiceModel],
) -> None:
    one, other = halves(small_world[0])
    strangers = replace(other, user_ids=np.array([f"x{i}" for i in range(other.n_users)]))
    second = in_terms_of(one, strangers, 0)
    assert (second.rows.user >= one.n_users).all()
    assert what_matters(one, strangers) == set()
    found = SecondFound(100, 0.0, [], (0.1, 0.1, 0.1), (0.1, 0.1), True, [_fidelity()])
    colours = {x.part: x.colour for x in _of_second(found)}
    assert colours["click: whose and of what"] == "none"
    assert colours["click rates of users"] == "none"
    assert colours["click rates of items"] != "none"
    same = replace(found, known=1.0)
    assert {x.part: x.colour for x in _of_second(same)}["click: whose and of what"] != "none"


def _fidelity() -> Fidelity:
    rng = np.random.default_rng(0)
    user, item, p = rng.integers(0, 50, 2000), rng.integers(1, 40, 2000), rng.random(2000)
    base = {"user + item": np.full(2000, 0.5)}
    return judge(Answers("click", user, item, rng.random(2000) < p, p, p, base), rng)


def test_rows_of_the_fitted_log_are_left_out_and_told(
    small_world: tuple[Dataset, ChoiceModel],
) -> None:
    one, other = halves(small_world[0])
    assert other.ended is not None
    assert one.ended is not None
    some = one.log.rows(slice(0, len(one.log) // 4))
    moved = replace(some, time=some.time - (other.ended - one.ended))
    mixed = replace(other, log=Impressions.concat([moved, other.log]))
    second = in_terms_of(one, mixed, 0)
    assert second.dropped == (0, len(some))
    assert len(second.rows) == len(other.log)
    told = {d.what: d.words for d in differences(second, one, mixed)}
    assert f"{len(some)} rows stand in both logs and are left out" in told["items"]
    few = replace(other.log, clicked=np.arange(len(other.log)) < 5)
    with pytest.raises(InputError, match="has 5 clicks in"):
        in_terms_of(one, replace(other, log=few), 0)


def test_a_column_that_differs_is_never_passed_over() -> None:
    feed, search = np.array(["feed"] * 50), np.array(["search"] * 50)
    named = of_column("tab", feed, search, named=True)
    assert named.matters
    unnamed = of_column("tab", feed, search, named=False)
    assert (unnamed.matters, unnamed.may_matter) == (False, True)
    assert "--context tab" in unnamed.words
    assert not of_column("tab", feed, feed, named=True).matters
    for difference, first in ((named, "no verdict"), (unnamed, "column")):
        found = SecondFound(100, 1.0, [difference], (0.1, 0.1, 0.1), (0.1, 0.1), True, [])
        rows = _of_second(found)
        assert rows[0].colour == "amber"
        assert rows[0].words.startswith(first)
        assert rows[1].colour == ("none" if difference.matters else "green")


def test_a_level_is_moved_to_what_happened() -> None:
    rng = np.random.default_rng(0)
    looked, p = np.full(5000, 0.8), 0.8 * rng.random(5000)
    by = shift_to(p, looked, 0.2)
    moved = _moved(p, looked, by)
    assert moved.mean() == pytest.approx(0.2)
    assert (moved <= looked).all()
    assert (np.diff(moved[np.argsort(p)]) >= 0).all()
    happened = rng.random(5000) < moved
    assert expected_calibration_error(happened, moved) < 0.02


def test_propensities_that_never_show_most_items_say_nothing_of_random_slates(
    small_world: tuple[Dataset, ChoiceModel],
) -> None:
    data = small_world[0]
    sure = replace(data, log=replace(data.log, propensity=np.ones(len(data.log), np.float32)))
    assert by_propensity(sure) is None
    n = data.catalogue.size
    any_ = replace(
        data, log=replace(data.log, propensity=np.full(len(data.log), 1 / n, np.float32))
    )
    assert by_propensity(any_) is not None


def test_the_command_holds_users_against_a_second_log(
    small_log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frame = pd.read_parquet(small_log)
    late = frame["time"] >= frame["time"].median()
    for name, rows in (("early", frame[~late]), ("late", frame[late])):
        odd = [[1, 2]] * len(rows)  # columns that nobody asked for stop nothing
        more = rows.assign(place=name, lists=odd, raw=[b"\xff"] * len(rows), uid=rows["user"])
        more.to_parquet(tmp_path / f"{name}.parquet")
    words = ["--log", str(tmp_path / "early.parquet"), *SHORT_FLAGS, "--quiet"]
    words += ["--test-log", str(tmp_path / "late.parquet")]
    assert validate.main([*words, "--out", str(tmp_path / "f")]) == 0
    said = capsys.readouterr().out
    assert "click rate of the second log" in said
    assert "say --context place" in " ".join(said.split())
    page = (tmp_path / "f" / "fidelity.html").read_text()
    assert "The two logs" in page
    assert "users" in page
    named = [*words, "--context", "place", "--out", str(tmp_path / "g")]
    assert validate.main(named) == 0
    assert "no verdict: context" in " ".join(capsys.readouterr().out.split())
    refused: list[tuple[list[str], str]] = [
        (["--context", "plase"], "did you mean 'place'"),
        (["--held-out-days", "2"], "is not for --test-log"),
    ]
    for flags, wanted in refused:
        assert validate.main([*words, *flags, "--out", str(tmp_path / "h")]) == 2
        assert wanted in capsys.readouterr().err
