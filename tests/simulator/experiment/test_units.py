"""Who does the work never changes a row or a number: processes, shards, engines, deaths."""

import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from threadpoolctl import threadpool_info, threadpool_limits

import simulator.experiment.simulate as simulate_module
from analysis import report
from policies.base import Requests, Slates
from policies.baselines.popularity import Popularity
from policies.calls import PolicyFailure
from policies.common import executor
from policies.common.errors import InputError
from policies.common.executor import Workers
from policies.common.files import load_arrays
from policies.draws import Draws
from simulator import simulate
from simulator.experiment import schedule, units
from simulator.experiment.units import Segment, serve
from tests.conftest import MakeExperiment

CANONICAL = ["time", "user", "session", "page", "slot"]
KINDS: dict[str, dict[str, Any]] = {
    "two networks": {"policies": ("gptrec", "sasrec"), "weights": "0.4,0.4"},
    "twin": {"design": "twin"},
    "learn from all": {"learn_from": "all"},
    "off-policy": {"policies": ("uniform", "itemknn", "popularity"), "off_policy": True},
    "newcomers": {"new_users": 0.1, "new_items": 0.05, "gone_items": 0.05},
    "stop early": {"stop_early": True, "days": 3.0, "monitor": "pocock"},
    "oracle": {"policies": ("oracle", "itemknn", "popularity")},
    "learn from a frozen world": {"policies": ("itemknn", "popularity"), "learn_from": "open"},
    "as many rows": {
        "policies": ("itemknn", "itemknn.2", "popularity"),
        "policy_settings": {"itemknn.2": {"learn_from": "outside"}},
        "design": "twin",
        "equal_rows": True,
        "taste_dynamics": "reinforced",
        "taste_strength": 0.1,
    },
}


def tables(run: Path) -> dict[str, pd.DataFrame]:
    """Rows by the folder that they lie in, in canonical order."""
    found: dict[str, list[pd.DataFrame]] = {}
    for name in ("impressions", "truth", "truth_worlds", "off_policy"):
        for file in (run / name).rglob("*.parquet"):
            rows = pd.read_parquet(file, partitioning=None)
            found.setdefault(str(file.parent.relative_to(run)), []).append(rows)
    return {
        name: pd.concat(parts).sort_values(CANONICAL, ignore_index=True)
        for name, parts in found.items()
    }


def numbers(run: Path) -> dict[str, Any]:
    """Every number of the judgement."""
    content: dict[str, Any] = json.loads((run / "results.json").read_text(encoding="utf-8"))
    content.pop("manifest")
    return content


def assert_same(one: Path, two: Path) -> None:
    rows, others = tables(one), tables(two)
    assert rows.keys() == others.keys()
    assert sum(map(len, rows.values())) > 1000
    for name, table in rows.items():
        pd.testing.assert_frame_equal(table, others[name], check_exact=True)
    assert numbers(one) == numbers(two)


@pytest.mark.parametrize("kind", KINDS)
def test_processes_and_shards_change_nothing(
    experiment: MakeExperiment, tmp_path: Path, kind: str
) -> None:
    settings = {"policies": ("itemknn", "popularity"), "rounds": 2, "days": 2.0, "users": 90}
    settings["truth"] = kind in ("oracle", "newcomers")
    e = experiment(**(settings | KINDS[kind]))
    simulate(e, out=str(tmp_path / "one"), workers=1)
    simulate(e, out=str(tmp_path / "two"), workers=Workers(2, shards=3))
    assert_same(tmp_path / "one", tmp_path / "two")
    manifest = json.loads((tmp_path / "two" / "manifest.json").read_text())
    assert set(manifest["time"]) == {"load", "fit", "train", "serve", "doubt", "judge"}
    assert manifest["time"]["serve"] > 0
    assert (manifest["workers"], manifest["shards"]) == (2, 3)
    assert manifest["peak_memory_mib"] > 100
    assert len(manifest["machines"]) == 1


class Stop(Exception):
    """Stands for a power cut."""


def test_a_run_in_shards_goes_on_and_does_nothing_twice(
    experiment: MakeExperiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    e = experiment(policies=("itemknn", "popularity"), rounds=2, days=2.0, users=90)
    simulate(e, out=str(tmp_path / "one"), workers=1)
    units: list[Segment] = []

    def stop(unit: Segment, tell: Any) -> dict[str, Any]:
        units.append(unit)
        if len(units) == 8:
            raise Stop
        return serve(unit, tell)

    monkeypatch.setattr(schedule, "serve", stop)
    with pytest.raises(Stop):
        simulate(e, out=str(tmp_path / "cut"), workers=Workers(1, shards=3))
    monkeypatch.undo()
    done = {unit.about: unit.about.stat().st_mtime_ns for unit in units[:7]}
    simulate(resume=str(tmp_path / "cut"), workers=2)  # with the three shards that it began with
    assert_same(tmp_path / "one", tmp_path / "cut")
    assert done == {path: path.stat().st_mtime_ns for path in done}
    manifest = json.loads((tmp_path / "cut" / "manifest.json").read_text())
    assert manifest["shards"] == 3


def test_the_order_of_parts_changes_no_number(experiment: MakeExperiment, tmp_path: Path) -> None:
    """The same rows in parts of other names and in another order within them."""
    e = experiment(policies=("uniform", "itemknn", "popularity"), off_policy=True, users=90)
    simulate(e, out=str(tmp_path / "run"), workers=Workers(1, shards=2))
    shutil.copytree(tmp_path / "run", tmp_path / "other")
    before, rng = numbers(tmp_path / "run"), np.random.default_rng(0)
    manifest = json.loads((tmp_path / "other" / "manifest.json").read_text())
    for name in ("impressions", "truth_worlds", "off_policy"):
        for folder in {p.parent for p in (tmp_path / "other" / name).rglob("*.parquet")}:
            rows = pd.concat(pd.read_parquet(p, partitioning=None) for p in folder.iterdir())
            for path in list(folder.iterdir()):
                path.unlink()
            shuffled = rows.iloc[rng.permutation(len(rows))]
            for k, part in enumerate(np.array_split(np.arange(len(rows)), 3)):
                shuffled.iloc[part].to_parquet(folder / f"{k}.parquet", index=False)
    manifest["files"] = {}
    manifest["status"] = "incomplete"  # its parts are not those that it wrote
    (tmp_path / "other" / "manifest.json").write_text(json.dumps(manifest))
    assert report.main([str(tmp_path / "other"), "--partial"]) == 0
    after = numbers(tmp_path / "other")
    for name in ("effects", "true_effects", "arms", "rounds", "off_policy", "monitor"):
        assert after[name] == before[name], name


def test_arms_that_begin_alike_are_trained_once(
    experiment: MakeExperiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An arm that explores, one that is frozen and one of equal settings take what another one has
    learned; and it is what they would have learned.
    """
    small = {"width": 16, "layers": 1, "heads": 2, "length": 12, "epochs": 1}
    e = experiment(
        policies=("sasrec", "sasrec.2", "sasrec.3", "sasrec.4", "sasrec.5"),
        policy_settings={
            "sasrec": small,
            "sasrec.2": {**small, "epsilon": 0.2},
            "sasrec.3": {**small, "updates": 0},
            "sasrec.4": {**small, "width": 8},
            "sasrec.5": {**small, "update_epochs": 0, "update_rate": 0.01},
        },
    )
    simulate(e, out=str(tmp_path / "once"))
    beside = [tmp_path / "once", tmp_path / "nowhere"]
    fits: list[tuple[Any, ...]] = []
    plain = units.train

    def counted(*arguments: Any) -> None:
        fits.append(arguments)
        plain(*arguments)

    monkeypatch.setattr(units, "train", counted)
    simulate(e, out=str(tmp_path / "beside"), beside=beside)
    assert "fit" not in {call for _, call, *_ in fits}
    simulate(replace(e, seed=2), out=str(tmp_path / "seed"), beside=beside)
    assert [arm for arm, call, *_ in fits if call == "fit"] == ["sasrec", "sasrec.4", "popularity"]
    monkeypatch.setattr(units, "_trained_alike", lambda unit, experiment: None)
    simulate(e, out=str(tmp_path / "each"))
    assert_same(tmp_path / "each", tmp_path / "once")
    assert_same(tmp_path / "each", tmp_path / "beside")
    trained = {
        place: json.loads((tmp_path / place / "manifest.json").read_text())["training"]
        for place in ("once", "each")
    }
    told = {arm: about["trained_as"] for arm, about in trained["once"].items()}
    alike = dict.fromkeys(e.policies, "sasrec") | {"sasrec.4": "sasrec.4"}
    assert told == alike | {"popularity": "popularity"}  # the warm-up's
    assert {about["trained_as"] for about in trained["each"].values()} == set(told)
    for arm in e.policies:
        assert trained["once"][arm]["offline"] == trained["each"][arm]["offline"]


def test_what_a_strangers_training_reads_is_not_guessed(experiment: MakeExperiment) -> None:
    """Its `fit` may read what ours reads in updates alone."""
    ours, theirs = "sasrec", "policies.baselines.sasrec:SASRec"
    settings = {"width": 16, "update_rate": 0.01}
    e = experiment(policies=(ours, theirs), policy_settings={ours: settings, theirs: settings})
    assert "update_rate" not in dict(units._kind(e, ours)[1])
    assert dict(units._kind(e, theirs)[1]) == settings


class Backwards(Popularity):
    """What is clicked least comes first."""

    def recommend(self, requests: Requests, slate_size: int, draws: Draws) -> Slates:
        self._ranked = np.argsort(self._counts, kind="stable").astype(np.int32)
        return super().recommend(requests, slate_size, draws)


class Forwards(Popularity):
    """Of the same module."""


def test_arms_of_like_names_have_models_of_their_own(
    experiment: MakeExperiment, tmp_path: Path
) -> None:
    """`popularity.2`, retrained twice, is `popularity` before the same users; two classes of a
    module are not each other.
    """
    classes = f"{__name__}:Backwards", f"{__name__}:Forwards"
    e = experiment(
        policies=("popularity", "popularity.2", *classes),
        design="twin",
        rounds=3,
        days=3.0,
        users=60,
        truth=False,
    )
    simulate(e, out=str(tmp_path / "run"), workers=1)
    rows = tables(tmp_path / "run")
    for number in range(3):
        of = {
            arm: rows[f"impressions/bucket={arm.replace(':', '.')}/round={number:02d}"]
            if f"impressions/bucket={arm.replace(':', '.')}/round={number:02d}" in rows
            else rows[f"impressions/bucket={arm}/round={number:02d}"]
            for arm in e.policies
        }
        same = ["time", "user", "item", "clicked"]
        pd.testing.assert_frame_equal(of["popularity.2"][same], of["popularity"][same])
        pd.testing.assert_frame_equal(of[classes[1]][same], of["popularity"][same])
        assert len(of[classes[0]].merge(of["popularity"], on=["time", "user", "item"])) < 0.5 * len(
            of["popularity"]
        )
    models = [file.stem for file in (tmp_path / "run" / "models").rglob("*.json")]
    assert len([name for name in models if name.startswith("popularity.2-")]) == 2


def cut_short(
    e: Any, out: Path, monkeypatch: pytest.MonkeyPatch, last: Callable[[Segment], bool]
) -> None:
    """A run in which a power cut stops the unit of which `last` is true."""

    def stop(unit: Segment, tell: Any) -> dict[str, Any]:
        if last(unit):
            raise Stop
        return serve(unit, tell)

    monkeypatch.setattr(schedule, "serve", stop)
    with pytest.raises(Stop):
        simulate(e, out=str(out), workers=1)
    monkeypatch.undo()


def test_an_interrupted_run_is_judged_where_all_arms_are(
    experiment: MakeExperiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One arm is at its end, the other a third of the way: days after that are not compared."""
    e = experiment(policies=("itemknn", "popularity"), rounds=3, days=3.0, users=90, truth=False)
    simulate(e, out=str(tmp_path / "whole"), workers=1)
    out = tmp_path / "cut"
    cut_short(e, out, monkeypatch, lambda u: u.place.arms == ("popularity",) and u.number == 1)
    assert report.main([str(out), "--partial"]) == 0
    found = tables(tmp_path / "whole")
    for row in numbers(out)["arms"]["rows"]:
        folder = f"impressions/bucket={row['arm']}/"
        rows = pd.concat(table for name, table in found.items() if name.startswith(folder))
        clicks = rows.loc[rows["time"] < 86_400, "clicked"].sum()
        assert row["clicks"] * row["users"] == pytest.approx(clicks)
    out = tmp_path / "early"
    cut_short(e, out, monkeypatch, lambda u: u.place.arms == ("popularity",) and u.number == 0)
    assert report.main([str(out), "--partial"]) == 2


def test_shards_and_units_that_were_changed_by_hand_are_refused(
    experiment: MakeExperiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    e = experiment(policies=("popularity",), rounds=2, days=2.0, users=60, truth=False)
    out = tmp_path / "run"
    cut_short(e, out, monkeypatch, lambda u: u.number == 1)
    manifest = out / "manifest.json"
    text = manifest.read_text()
    manifest.write_text(text.replace('"shards": 1', '"shards": 2'))
    with pytest.raises(InputError, match="was changed since it was written"):
        simulate(resume=str(out), workers=1)
    manifest.write_text(text)
    about = out / "checkpoint" / "split" / "000-0000.json"
    about.write_text(json.dumps({"files": {}}))
    with pytest.raises(InputError, match="damaged or incomplete"):
        simulate(resume=str(out), workers=1)


class Writer(Popularity):
    """Writes into its log behind numpy's back, as long as its module is not mended."""

    mended = False

    def fit(self, log: Any, catalogue: Any, rng: np.random.Generator) -> None:
        if not Writer.mended:
            torch.from_numpy(log.clicked).fill_(True)
        super().fit(log, catalogue, rng)


def test_a_log_that_a_policy_spoiled_is_read_again(
    experiment: MakeExperiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    e = experiment(policies=(f"{__name__}:Writer", "popularity"), users=60, truth=False)
    with pytest.raises(InputError, match=r"changed log\.clicked in place"):
        simulate(e, out=str(tmp_path / "run"), workers=1)
    monkeypatch.setattr(Writer, "mended", True)
    simulate(resume=str(tmp_path / "run"), workers=1)
    simulate(e, out=str(tmp_path / "other"), workers=1)
    assert_same(tmp_path / "run", tmp_path / "other")


class Dotted(Popularity):
    """Its model says how many threads numpy's BLAS had."""

    def state(self) -> dict[str, np.ndarray]:
        threads = [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]
        return super().state() | {"threads": np.array(threads)}


@pytest.mark.parametrize("workers", [1, 2])
def test_units_have_one_thread_of_blas(
    experiment: MakeExperiment, tmp_path: Path, workers: int
) -> None:
    e = experiment(policies=(f"{__name__}:Dotted", "popularity"), users=60, truth=False)
    with threadpool_limits(2, "blas"):
        simulate(e, out=str(tmp_path / "run"), workers=workers)
    models = list((tmp_path / "run" / "models").rglob("*Dotted*.safetensors"))
    assert models
    for model in models:
        assert set(load_arrays(model)["threads"]) == {1}


def test_what_only_an_unfinished_run_needs_goes_though_the_end_was_cut(
    experiment: MakeExperiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(folder: Any) -> None:
        raise Stop

    monkeypatch.setattr(simulate_module.RunFolder, "drop_scratch", stop)
    e = experiment(policies=("popularity",), users=60, truth=False)
    with pytest.raises(Stop):
        simulate(e, out=str(tmp_path / "run"), workers=1)
    monkeypatch.undo()
    assert (tmp_path / "run" / "inputs").exists()
    simulate(resume=str(tmp_path / "run"), workers=1)
    assert not (tmp_path / "run" / "inputs").exists()
    assert not list((tmp_path / "run" / "checkpoint").rglob("*.safetensors"))


def test_no_folder_is_made_before_an_engine_has_started(
    experiment: MakeExperiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(workers: int, address: str | None) -> Any:
        raise InputError("Ray does not start")

    monkeypatch.setattr(executor, "OnRay", refuse)
    with pytest.raises(InputError, match="Ray does not start"):
        simulate(
            experiment(policies=("popularity",), users=60),
            out=str(tmp_path / "run"),
            workers=Workers(engine="ray"),
        )
    assert not (tmp_path / "run").exists()


def test_a_policy_of_a_script_wants_one_process(
    experiment: MakeExperiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules["__main__"], "Mine", Popularity, raising=False)
    e = experiment(policies=("__main__:Mine", "popularity"), users=60, truth=False)
    with pytest.raises(InputError, match=r"put it into a module, or say workers=1"):
        simulate(e, out=str(tmp_path / "two"), workers=2)
    simulate(e, out=str(tmp_path / "one"), workers=1)


class Learner(Popularity):
    """Learns while it serves, which depends on who else is served."""

    def recommend(self, requests: Requests, slate_size: int, draws: Draws) -> Slates:
        slates = super().recommend(requests, slate_size, draws)
        self._counts = self._counts + 1
        return slates


def test_a_policy_that_learns_while_it_serves_is_refused(
    experiment: MakeExperiment, tmp_path: Path
) -> None:
    e = experiment(policies=(f"{__name__}:Learner", "popularity"), users=60)
    with pytest.raises(InputError, match="learn in `update` alone"):
        simulate(e, out=str(tmp_path / "run"), workers=1)


def test_a_policy_that_fails_in_another_process_is_one_line(
    experiment: MakeExperiment, tmp_path: Path
) -> None:
    e = experiment(policies=(f"{__name__}:Learner", "popularity"), users=60)
    with pytest.raises(InputError, match="learn in `update` alone") as error:
        simulate(e, out=str(tmp_path / "run"), workers=2)
    assert "\n" not in str(error.value)
    assert not isinstance(error.value, PolicyFailure)
    assert "Traceback" in (tmp_path / "run" / "policy-error.txt").read_text()


@pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed: pip install '.[ray]'")
def test_ray_changes_nothing(experiment: MakeExperiment, tmp_path: Path) -> None:
    e = experiment(policies=("itemknn", "popularity"), rounds=2, days=2.0, users=90, truth=False)
    simulate(e, out=str(tmp_path / "one"), workers=1)
    simulate(e, out=str(tmp_path / "ray"), workers=Workers(2, "ray", shards=3))
    assert_same(tmp_path / "one", tmp_path / "ray")
