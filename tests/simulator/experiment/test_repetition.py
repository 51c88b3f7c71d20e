"""Several plausible worlds: different users, one experiment, and a summary that knows where doubt
comes from.
"""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import simulator.run as command
from analysis.studies.over_users import (
    MODELS,
    Doubt,
    OverUsers,
    UsersEffect,
    _doubt,
    sentences,
)
from policies.draws import generator
from policies.log import Dataset
from simulator.doubt.worlds import _share, visits_drawn
from simulator.fitting.alternatives import KINDS
from simulator.users.choice_model import ChoiceModel, Parameter
from simulator.users.storage import load_users
from tests.conftest import SHORT_FLAGS

FAST = [
    "--policies",
    "popularity,uniform,itemknn",
    "--users",
    "80",
    "--days",
    "1",
    "--rounds",
    "1",
    "--warmup-days",
    "0.5",
    "--set",
    "repeat_after=10",
    "--set",
    "threads=1",
    "--quiet",
]


def test_worlds_differ_in_their_users_alone_and_are_summed_up(
    small_log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "worlds"
    words = [*FAST, "--log", str(small_log), *SHORT_FLAGS, "--worlds", "2", "--out", str(out)]
    assert command.main(words) == 0
    assert "plausible worlds" in capsys.readouterr().out.replace("\n", " ")
    summary = json.loads((out / "summary.json").read_text())
    assert summary["status"] == "complete"
    assert [row["world"] for row in summary["rows"]] == ["world-00", "world-01"]
    one, other = (load_users(out / f"world-{k:02d}" / "users") for k in (0, 1))
    assert not np.array_equal(one.user_level, other.user_level)
    gaps = [model.parameters["gap_long_mean"] for model in (one, other)]
    assert gaps[0].error is not None
    assert 0 < abs(gaps[0].value - gaps[1].value) < 6 * gaps[0].error
    # nothing is known of its error
    assert one.parameters["seconds_per_item"] == other.parameters["seconds_per_item"]
    assert "| users | contender |" in (out / "summary.md").read_text()
    # Without its last world, killed while its users were written: going on gives the same.
    shutil.rmtree(out / "world-01")
    shutil.rmtree(out / "users" / "world-01")
    (out / "summary.json").write_text(json.dumps({**summary, "status": "incomplete"}))
    assert command.main(["--resume", str(out), "--quiet"]) == 0
    assert json.loads((out / "summary.json").read_text())["rows"] == summary["rows"]
    assert command.main(words) == 2
    assert "exists already" in capsys.readouterr().err
    assert (
        command.main(
            [
                *FAST,
                "--log",
                str(small_log),
                *SHORT_FLAGS,
                "--worlds",
                "1",
                "--out",
                str(tmp_path / "x"),
            ]
        )
        == 2
    )
    assert "at least 2" in capsys.readouterr().err


def test_the_two_doubts_are_told_apart() -> None:
    rng = np.random.default_rng(0)
    true = 0.05 + 0.02 * rng.normal(size=4000)
    lift = true + 0.03 * rng.normal(size=4000)
    rows = [effect(lift=x, true=y) for x, y in zip(lift, true, strict=True)]
    found = _doubt("a", rows)
    assert found.mean == pytest.approx(0.05, abs=0.003)
    assert found.users_unknown == pytest.approx(0.02, abs=0.002)
    assert found.users_few == pytest.approx(0.03)
    assert found.high - found.low == pytest.approx(2 * 1.96 * np.hypot(0.02, 0.03), rel=0.05)
    # Without the truth: worlds share their chance, and the spread of the estimates is that of the
    # effects.
    shared = [effect(lift=x + 0.03, true=np.nan) for x in true]
    assert _doubt("a", shared).users_unknown == pytest.approx(0.02, abs=0.002)
    few = _doubt("a", rows[:3])
    assert few.high - few.low > 2 * 1.96 * few.users_unknown


def effect(
    lift: float, true: float, low: float = np.nan, high: float = np.nan, world: str = "w"
) -> UsersEffect:
    return UsersEffect(world, "a", lift, low, high, 0.03, true)


def test_every_user_model_runs_the_same_experiment_and_the_verdicts_are_compared(
    small_log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "models"
    assert (
        command.main(
            [*FAST, "--log", str(small_log), *SHORT_FLAGS, "--user-model", "all", "--out", str(out)]
        )
        == 0
    )
    said = " ".join(capsys.readouterr().out.split())
    assert "user model" in said
    assert all(f"{kind}:" in said for kind in KINDS)
    summary = json.loads((out / "summary.json").read_text())
    assert [row["world"] for row in summary["rows"]] == list(KINDS)
    for kind in ("neighbours", "trees"):
        users = load_users(out / kind / "users")
        assert users.table is not None
        assert users.table.shape == (240, 121)
        assert users.parameters["taste_scale"].value > 0
    bad = [*FAST, "--log", str(small_log), *SHORT_FLAGS, "--user-model", "neighbour"]
    assert command.main(bad) == 2
    assert "did you mean 'neighbours'" in capsys.readouterr().err
    assert (
        command.main(
            [*FAST, "--log", str(small_log), *SHORT_FLAGS, "--user-model", "all", "--worlds", "2"]
        )
        == 2
    )
    assert "give one of them" in capsys.readouterr().err


def test_numbers_are_drawn_as_widely_as_their_errors_say(
    small_world: tuple[Dataset, ChoiceModel],
) -> None:
    parameters = {
        "gap_short_share": Parameter(0.05, "estimated", "x", 0.03),
        "gap_long_sd": Parameter(0.2, "estimated", "x", 0.1),
        "leave": Parameter(-1.0, "estimated", "x", 0.2),
        "churn": Parameter(0.0, "estimated", "x", 0.01),
        "watch_long": Parameter(1.0, "assumed", "x"),
        "satiation": Parameter(0.1, "estimated", "x", 0.01),
    }
    model = replace(small_world[1], parameters=parameters)
    rng = generator("drawn numbers")
    drawn = [visits_drawn(model, rng) for _ in range(800)]
    assert set(drawn[0]) == {"gap_short_share", "gap_long_sd", "leave", "churn"}
    leave = np.array([found["leave"].value for found in drawn])
    assert leave.mean() == pytest.approx(-1.0, abs=0.03)
    assert leave.std() == pytest.approx(0.2, rel=0.1)
    share, spread = (
        np.array([found[name].value for found in drawn])
        for name in ("gap_short_share", "gap_long_sd")
    )
    assert 0 < share.min() < 0.03 < 0.08 < share.max() < 1
    assert np.log(spread).std() == pytest.approx(0.5, rel=0.1)


def test_estimates_on_their_bounds_draw_no_absurd_worlds() -> None:
    rng = np.random.default_rng(0)
    churn = np.array([_share(4.5e-5, 5e-4, z) for z in rng.normal(size=2000)])
    assert churn.min() >= 0
    assert churn.max() < 0.003
    wide = np.array([_share(0.97, 1.3, z) for z in rng.normal(size=2000)])
    assert ((wide >= 0) & (wide <= 1)).all()


@pytest.mark.parametrize(
    ("bounds", "said"),
    [
        ([(0.01, 0.2), (0.02, 0.3)], "the verdict stands"),
        ([(-0.01, 0.2), (-0.02, 0.3)], "no difference is shown"),
        ([(0.01, 0.2), (-0.02, 0.3)], "the same wherever a difference is shown"),
        ([(0.01, 0.2), (-0.3, -0.1)], "does NOT stand"),
    ],
)
def test_significance_that_flips_is_no_verdict_that_flips(
    bounds: list[tuple[float, float]], said: str
) -> None:
    rows = [
        effect((low + high) / 2, 0.1, low, high, world=f"m{k}")
        for k, (low, high) in enumerate(bounds)
    ]
    doubt = Doubt("a", 0.1, 0.0, 0.0, 0.0, 0.2, wins=2, worlds=2, of_truth=True)
    summary = OverUsers(MODELS, ["m0", "m1"], "clicks", "b", rows, [doubt])
    assert said in sentences(summary)[0]
