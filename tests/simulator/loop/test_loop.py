"""The study of loops from the command: same numbers whoever does it and however often it dies."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from analysis.loops.effects import REGIMES
from policies.common.errors import InputError
from policies.common.files import load_arrays
from simulator import study
from simulator.loop import arms
from simulator.loop import study as loop_study
from simulator.loop.arms import arms_of, of_seed
from simulator.settings import Experiment
from tests.conftest import MakeExperiment

FLAGS = [
    *("--policies", "itemknn,popularity", "--users", "60", "--rounds", "3", "--days", "3"),
    *("--warmup-days", "1", "--set", "repeat_after=20", "--quiet"),
    *("--set", "taste_dynamics=reinforced", "--set", "taste_strength=.1"),
]


@pytest.fixture(scope="module")
def flags(small_log: Path, small_users: Path) -> list[str]:
    return ["loop", *FLAGS, "--log", str(small_log), "--users-from", str(small_users)]


@pytest.fixture(scope="module")
def done(flags: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of two seeds."""
    out = tmp_path_factory.mktemp("loop") / "study"
    assert study.main([*flags, "--seeds", "2", "--out", str(out)]) == 0
    return out


def told(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "study.json").read_text())
    return found


def test_every_policy_in_every_regime_by_round(done: Path) -> None:
    found = told(done)
    means = {
        (x["policy"], x["regime"], x["measure"], x["round"]): x["mean"] for x in found["means"]
    }
    for policy in ("itemknn", "popularity"):
        for measure in ("utility", "gini", "overlap"):
            first = {means[policy, regime, measure, 0] for regime in REGIMES}
            assert len(first) == 1  # before anything is learned from feedback
        assert means[policy, "frozen", "caused", 2] == 0
        assert means[policy, "own", "drift", 2] > 0
    assert means["itemknn", "own", "utility", 2] != means["itemknn", "frozen", "utility", 2]
    low, high = (np.array(found["references"][name]) for name in ("uniform", "oracle"))
    assert (low < high).all()
    assert {len(x) for x in found["references"].values()} == {2}
    assert {x["contrast"] for x in found["effects"]} == set(found["contrasts"])


def test_the_page_and_the_text_say_it(done: Path) -> None:
    page, text = ((done / name).read_text() for name in ("loop.html", "study.md"))
    for part in (page, text):
        assert "what a policy does by retraining on its own feedback" in part
        assert "Primary, named beforehand" in part
        assert "--policies itemknn,popularity" in part
    assert page.count("data:image/svg") >= 8
    assert "<script" not in page


def test_more_seeds_extend_a_study_and_equal_one_that_had_them_at_once(
    done: Path, flags: list[str], tmp_path: Path
) -> None:
    one = tmp_path / "one"
    assert study.main([*flags, "--seeds", "1", "--out", str(one)]) == 0
    before = (one / "seed-000" / "manifest.json").read_bytes()
    assert study.main(["loop", "--resume", str(one), "--seeds", "2", "--quiet"]) == 0
    assert (one / "seed-000" / "manifest.json").read_bytes() == before
    assert told(one) == told(done)
    assert study.main(["loop", "--resume", str(one), "--seeds", "1", "--quiet"]) == 2


def test_a_policy_added_changes_no_other_but_in_all(
    done: Path, flags: list[str], tmp_path: Path
) -> None:
    alone = [*flags, "--policies", "itemknn", "--seeds", "1", "--out", str(tmp_path / "alone")]
    assert study.main(alone) == 0
    one, two = (
        load_arrays(place / "seed-000" / "loop.safetensors") for place in (tmp_path / "alone", done)
    )
    for arm in ("itemknn", "itemknn.2", "itemknn.3", "itemknn.4", "itemknn.5"):
        for measure in ("user {} utility", "user {} drift", "world {} gini", "exposure {}"):
            np.testing.assert_array_equal(one[measure.format(arm)], two[measure.format(arm)])
    assert "exposure itemknn.6" not in one  # nobody to share with
    assert not np.array_equal(two["exposure itemknn"], two["exposure itemknn.6"])


def test_two_processes_and_a_study_that_was_killed_give_the_same(
    done: Path, flags: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from simulator.loop import study as module

    plain, runs = module.worlds, []

    def stop(*arguments: Any) -> Any:
        runs.append(arguments)
        if len(runs) == 2:
            raise KeyboardInterrupt
        return plain(*arguments)

    monkeypatch.setattr(module, "worlds", stop)
    out = tmp_path / "killed"
    flags = [*flags, "--seeds", "2", "--workers", "2", "--out", str(out)]
    assert study.main(flags) == 130
    monkeypatch.undo()
    assert study.main(["loop", "--resume", str(out), "--quiet"]) == 0
    assert told(out) == told(done)


def test_a_study_of_another_version_is_not_gone_on_with(
    flags: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """Its arms mean something else, and their figures would stand under wrong names."""
    out = tmp_path / "old"
    flags = [*flags, "--policies", "popularity", "--rounds", "2", "--days", "2", "--seeds", "1"]
    assert study.main([*flags, "--out", str(out)]) == 0
    (out / "seed-000" / "loop.safetensors").unlink()
    monkeypatch.setitem(arms.WAYS, "open", {"learn_from": "outside"})
    assert study.main(["loop", "--resume", str(out), "--seeds", "1", "--quiet"]) == 2
    assert "begun with other arms or settings" in capsys.readouterr().err


def test_new_items_are_followed_until_they_are_found(
    done: Path, flags: list[str], tmp_path: Path
) -> None:
    out = tmp_path / "new"
    flags = [*flags, "--policies", "itemknn", "--seeds", "1", "--set", "new_items=.05"]
    assert study.main([*flags, "--out", str(out)]) == 0
    measures = {x["measure"] for x in told(done)["means"]}
    assert not measures & {"new_reached", "new_wait", "new_unseen"}
    rows = [x for x in told(out)["means"] if x["measure"] == "new_reached"]
    assert {x["regime"] for x in rows} == set(REGIMES) - {"all"}
    late = [x["mean"] for x in rows if x["round"] == 2]
    assert all(0 <= mean <= 1 for mean in late)
    frozen = next(x["mean"] for x in rows if (x["regime"], x["round"]) == ("frozen", 2))
    # a policy that never sees a new item clicked cannot put it forward
    assert frozen == 0
    assert "new items found" in (out / "study.md").read_text()


def test_regimes_have_arms_of_their_own(experiment: MakeExperiment) -> None:
    e = experiment(
        policies=("sasrec", "sasrec.2", "popularity"),
        policy_settings={"sasrec.2": {"epsilon": 0.1}},
    )
    found = arms_of(e)
    assert len(set(found.values())) == 18
    run = of_seed(e, 4)
    run.check()
    assert run.settings_for(found["sasrec.2", "open"])["epsilon"] == 0.1
    assert run.learns_from(found["sasrec.2", "open"]) == "open"
    assert run.settings_for(found["sasrec", "frozen"])["updates"] == 0
    assert run.seed == 4


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"policies": ("uniform", "oracle")}, "wants policies that learn"),
        ({"policies": ("random", "sasrec")}, "unknown"),
        ({"policy_settings": {"sasrec": {"updates": 1}}}, "makes every way to learn"),
        ({"rounds": 1}, "nothing is learned"),
        ({"learn_from": "outside"}, "makes every way to learn"),
        ({"policies": ("sasrec.2",), "policy_settings": {"sasrec": {"updates": 1}}}, "every way"),
        ({"gone_items": 0.05}, "the same users from round to round"),
        ({"user_model": "tests.strangers:Mine"}, "what is true of users"),
    ],
)
def test_what_has_no_loop_is_refused(
    experiment: MakeExperiment, tmp_path: Path, settings: dict[str, Any], words: str
) -> None:
    from policies.common.executor import HERE
    from simulator.loop.study import loop

    with pytest.raises(InputError, match=words):
        loop(experiment(**settings), 1, tmp_path, True, HERE)


def test_a_study_that_cannot_be_made_leaves_no_folder(tmp_path: Path) -> None:
    out = tmp_path / "study"
    assert study.main(["loop", "--policies", "uniform", "--out", str(out)]) == 2
    assert study.main(["loop", "--rounds", "1", "--out", str(out)]) == 2
    assert not out.exists()


def test_quick_is_smaller(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen: list[tuple[Experiment, int]] = []

    def watched(e: Experiment, n: int, *_: Any) -> None:
        seen.append((e, n))
        raise InputError("enough")

    monkeypatch.setattr(loop_study, "loop", watched)
    (tmp_path / "own.toml").write_text("users = 80\nwarmup-days = 2\nrounds = 5\n")
    file = ["--config", str(tmp_path / "own.toml")]
    for more in ([], ["--quick"], ["--quick", "--seeds", "3", "--users", "70"], file):
        out = str(tmp_path / f"study{len(seen)}")
        assert study.main(["loop", *more, "--out", out]) == 2
    told = [(e.users, e.rounds, n) for e, n in seen]
    assert told == [(500, 8, 5), (200, 4, 2), (70, 4, 3), (80, 5, 5)]
    assert seen[3][0].warmup_days == 2
    assert [e.fit_users for e, _ in seen] == [None, 1000, None, None]
    assert seen[0][0].policies == ("gptrec", "sasrec", "popularity")
