"""What a notebook does: a data frame as log, settings as Python has them, a result that shows
itself.
"""

import json
import os
from pathlib import Path
from typing import Any

import matplotlib
import narwhals as nw
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from matplotlib.figure import Figure

from analysis import judge
from analysis.data.run import open_run
from analysis.errors import AnalysisError
from policies.baselines.popularity import Popularity
from policies.common.errors import InputError
from policies.sources import frames
from simulator import Experiment, Result, simulate
from simulator.experiment.data import load_data
from tests.conftest import MakeExperiment


@pytest.fixture(scope="module")
def frame(small_log: Path) -> pd.DataFrame:
    return pd.read_parquet(small_log)


@pytest.fixture(scope="module")
def result(
    frame: pd.DataFrame, experiment: MakeExperiment, tmp_path_factory: pytest.TempPathFactory
) -> Result:
    e = experiment(policies=("itemknn", "popularity"), users=80, rounds=2, log=frame)
    out = tmp_path_factory.mktemp("notebook") / "run"
    return simulate(e, out=str(out), workers=1)


def test_a_frame_is_the_log_that_its_file_is(
    result: Result, small_log: Path, experiment: MakeExperiment, tmp_path: Path
) -> None:
    e = experiment(policies=("itemknn", "popularity"), users=80, rounds=2, log=str(small_log))
    same = simulate(e, out=str(tmp_path / "run"), workers=1)
    pd.testing.assert_frame_equal(result.effects, same.effects)


def test_a_run_of_a_frame_can_be_made_again_by_another_process(
    result: Result, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frames, "_held", {})
    stored = json.loads((result.path / "manifest.json").read_text())["experiment"]
    again = Experiment(**stored)
    assert Path(again.log).is_file()
    assert Path(again.log).parent == result.path.parent / "logs"
    assert len(load_data(again).log) > 0


def test_the_same_frame_is_the_same_log_in_any_library(frame: pd.DataFrame) -> None:
    few = frame[["user", "item", "time", "click"]].head(50)
    table = pa.Table.from_pandas(few, preserve_index=False)
    named = Experiment(log=few).log
    assert named.startswith("frame:")
    assert named == Experiment(log=table).log
    assert named == Experiment(log=few.set_axis(range(100, 150))).log  # the index is no column
    assert named != Experiment(log=few.head(49)).log
    assert nw.from_native(table, eager_only=True).shape == few.shape


def test_a_frame_that_is_gone_or_cannot_be_read_is_one_line(
    frame: pd.DataFrame, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    e = Experiment(log=frame.head(10))
    monkeypatch.setattr(frames, "_held", {})
    with pytest.raises(InputError, match="the data frame is gone"):
        simulate(e, out=str(tmp_path / "run"))
    with pytest.raises(InputError, match="cannot be read"):
        Experiment(log=pd.DataFrame({"user": [object()]}))


def test_settings_may_be_given_as_python_has_them() -> None:
    given: dict[str, Any] = {
        "columns": {"user": "uid", "item": "iid", "time": "ts"},
        "weights": [0.3, 0.4],
        "calibrate": {"random_click_rate": 0.12},
        "log": Path("events.csv"),
    }
    typed = Experiment(**given)
    plain = Experiment(
        columns="user=uid,item=iid,time=ts",
        weights="0.3,0.4",
        calibrate="random_click_rate=0.12",
        log="events.csv",
    )
    assert typed == plain
    word: Any = np.array(["events.csv"])[0]
    assert Experiment(log=word).log == "events.csv"
    with pytest.raises(InputError, match="is None"):
        Experiment(**{**given, "columns": {"user": None}})
    with pytest.raises(InputError, match="holds a comma"):
        Experiment(**{**given, "columns": {"user": "a,b"}})


def test_a_result_shows_its_first_screen(result: Result) -> None:
    text, page = repr(result), result._repr_html_()
    assert str(result.path) in text
    first = text.splitlines()[1]
    assert first.startswith("Do not trust the figures below")  # so few users
    assert first[:30] in page
    assert "itemknn" in page
    assert page.count("<img") == 1
    assert "<table>" in page
    assert "●" in page


def test_the_call_that_a_report_prints_makes_the_same_run(result: Result) -> None:
    manifest = open_run(result.path).manifest
    call = manifest["command"]
    made = eval(call, {"Experiment": Experiment, "simulate": lambda experiment: experiment})
    assert json.loads(json.dumps(made.as_dict())) == manifest["experiment"]
    assert "slate_size" not in call  # it is as everybody has it
    assert call in (result.path / "report.md").read_text(encoding="utf-8")


def test_figures_are_objects_and_no_backend_is_touched(result: Result) -> None:
    before = matplotlib.rcParams["backend"]
    forest: Any = result.plot.forest()
    assert Figure in type(forest).__mro__
    assert forest._repr_png_()[:4] == b"\x89PNG"
    rounds = result.plot.loop()
    assert {"round_click_rate", "round_gini"} <= set(rounds)
    assert rounds._repr_html_().count("<img") == len(rounds)
    assert all(isinstance(made, Figure) for made in result.plot.over_time().values())
    assert matplotlib.rcParams["backend"] == before
    assert not (Path(os.getcwd()) / "forest.png").exists()


def test_what_is_refused_of_a_frame_is_told_in_the_words_of_python(tmp_path: Path) -> None:
    frame = pd.DataFrame({"who": ["a"], "what": ["x"], "when": [1.7e9]})
    with pytest.raises(InputError) as refused:
        simulate(Experiment(log=frame, users=2), out=str(tmp_path / "run"))
    assert "the data frame needs a column for user" in str(refused.value)
    assert "columns user=" in str(refused.value)
    assert "--" not in str(refused.value)
    assert ".parquet" not in str(refused.value)


def test_rounds_are_counted_as_in_the_report(result: Result) -> None:
    assert sorted(result.rounds["round"].unique()) == [1, 2]


def test_a_column_that_columns_leaves_out_is_told_and_clicks_are_not_forgotten(
    tmp_path: Path,
) -> None:
    log = tmp_path / "log.csv"
    rows = ["uid,item,ts,clicked,like,slot"]
    rows += [f"u{k % 9},i{k % 60},{1.7e9 + 40 * k:.0f},{k % 2},0,0" for k in range(300)]
    log.write_text("\n".join(rows) + "\n")
    given: Any = {"user": "uid", "item": "item", "time": "ts"}
    with pytest.raises(InputError, match="column 'clicked' that --columns does not name"):
        load_data(Experiment(log=str(log), columns=given))
    notes = load_data(Experiment(log=str(log), columns=given | {"click": "clicked"})).notes
    assert "Not read, as --columns does not name them: slot=slot, like=like." in notes
    log.write_text(log.read_text().replace("clicked", "event"))
    with pytest.raises(InputError, match="words in 'event'"):
        load_data(Experiment(log=str(log), columns=given))
    log.write_text(log.read_text().replace("event", "clicked"))
    every = load_data(Experiment(log=str(log)))
    assert not any("Not read" in note for note in every.notes)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"log": {"user": ["a"]}}, "wanted a path or a data frame .* not a dict"),
        ({"log": [1, 2, 3]}, "not a list"),
        (
            {"policies": (Popularity, "itemknn")},
            "named, .*'policies.baselines.popularity:Popularity'",
        ),
        ({"policies": ("catmix",)}, "one of your own is module:Class"),
        (
            {"policies": ("mine/catmix.py:CatMix",)},
            "wanted a module and no file: mine.catmix:CatMix",
        ),
        ({"policies": ("/home/me/catmix.py:CatMix",)}, "no file: catmix:CatMix"),
        ({"policies": (type("Mine", (), {"__module__": "__main__"}),)}, "say 'my_module:Mine'"),
    ],
)
def test_what_python_gives_wrongly_is_told_in_a_line(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said) as refused:
        Experiment(**wrong)
    assert len(str(refused.value)) < 400


def test_simulate_wants_an_experiment_and_paths() -> None:
    wrong: Any = "log.csv"
    with pytest.raises(InputError, match="simulate wants an Experiment, not a str"):
        simulate(wrong)
    wrong = ["a"]
    with pytest.raises(InputError, match="out: wanted a path, not a list"):
        simulate(Experiment(), out=wrong)


def test_an_arm_that_is_not_there_is_told(result: Result) -> None:
    with pytest.raises(AnalysisError, match=r"no impressions of itemkn; did you mean 'itemknn'"):
        result.impressions("itemkn")


def test_judge_wants_one_row_per_user_and_says_which_argument_names_the_arm() -> None:
    rows = pd.DataFrame({"user": [1, 1, 2, 3], "variant": list("AABB"), "clicks": [1, 0, 1, 0]})
    with pytest.raises(AnalysisError, match="perhaps bucket='variant'"):
        judge(rows, ["clicks"])
    with pytest.raises(AnalysisError, match="one row per user"):
        judge(rows, ["clicks"], bucket="variant")
    # a user is known by another column: accounts may have several
    known = rows.assign(account_id=rows["user"], user=list("abcd"), **{"0": 1}).rename(
        columns={"0": 0}
    )
    assert len(judge(known, ["clicks"], bucket="variant")) == 1
    with pytest.raises(AnalysisError, match="no column 'clikcs'; did you mean 'clicks'"):
        judge(known, ["clikcs"], bucket="variant")
    odd = rows.assign(user=[[1], [2], [3], None])
    assert len(judge(odd, ["clicks"], bucket="variant")) == 1
