"""Fitting once: the stored users are the fitted ones, and foreign or damaged ones are refused in
one line.
"""

import errno
import json
import resource
import warnings
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit

import simulator.fit as fit
import simulator.fitting.fit_users as fitting
import simulator.run as command
import simulator.validate as validate
from policies.common.errors import InputError
from policies.common.files import load_arrays, save_arrays
from policies.draws import Draws, generator
from policies.log import Dataset
from simulator import validating
from simulator.fitting.sessions import _watch
from simulator.users import storage
from simulator.users.choice_model import ChoiceModel
from simulator.users.provenance import provenance
from simulator.users.storage import about_users, load_users
from tests.conftest import SHORT, SHORT_FLAGS, SHORT_RUN


def test_users_of_a_run_and_for_other_slates_are_refused(
    stored: Path, small_log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--log", str(small_log), *SHORT_RUN]
    assert (
        command.main(
            [*words, "--users-from", str(stored), "--slate-size", "8", "--out", str(tmp_path / "x")]
        )
        == 2
    )
    assert "were fitted for slates of 6, not of 8; say --slate-size 6" in capsys.readouterr().err
    assert command.main([*words, "--out", str(tmp_path / "run")]) == 0
    assert (
        command.main(
            [*words, "--users-from", str(tmp_path / "run" / "users"), "--out", str(tmp_path / "y")]
        )
        == 2
    )
    assert "(clock run)" in capsys.readouterr().err


def test_a_folder_that_cannot_be_made_is_refused_before_the_work(
    small_log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        fit.main(["--log", str(small_log), *SHORT_FLAGS, "--out", str(small_log / "x"), "--quiet"])
        == 2
    )
    assert "cannot be made" in capsys.readouterr().err
    assert fit.main(["--log", "nowhere.csv", "--out", str(tmp_path / "x"), "--quiet"]) == 2
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("command_", [fit, validate])
def test_a_full_disk_and_an_interruption_leave_one_line_and_no_folder(
    command_: ModuleType,
    small_log: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out, few = tmp_path / "out", tmp_path / "few.parquet"
    frame = pd.read_parquet(small_log)
    frame[frame["user"].isin(frame["user"].unique()[:60])].to_parquet(few)
    words = ["--log", str(few), *SHORT_FLAGS, "--out", str(out), "--quiet"]
    for error, status, said in (
        (OSError(errno.ENOSPC, "No space left"), 2, "disk is full"),
        (KeyboardInterrupt(), 130, "nothing was written"),
    ):

        def fail(folder: Path, *rest: object, error: BaseException = error) -> None:
            (folder / "half").write_text("half") if folder.is_dir() else folder.write_text("half")
            raise error

        saves = (storage, "save_users") if command_ is fit else (validating, "save_json")
        monkeypatch.setattr(*saves, fail)
        assert command_.main(words) == status
        found = capsys.readouterr().err
        assert said in found
        assert len(found.splitlines()) == 1
        assert not out.exists()


def test_a_disk_that_fills_up_under_the_arrays_is_an_error_of_the_system(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    try:
        with pytest.raises(OSError, match="too large") as caught:
            save_arrays(tmp_path / "a.safetensors", {"a": np.zeros(10_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.errno == errno.EFBIG


@pytest.fixture(scope="module")
def stored(small_log: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("fit") / "users"
    assert (
        fit.main(
            ["--log", str(small_log), *SHORT_FLAGS, "--out", str(out), "--threads", "1", "--quiet"]
        )
        == 0
    )
    return out


def test_a_run_with_stored_users_is_the_run_that_fits_them(
    stored: Path, small_log: Path, tmp_path: Path
) -> None:
    words = ["--log", str(small_log), *SHORT_RUN]
    for name, more in (("now", []), ("before", ["--users-from", str(stored)])):
        assert command.main([*words, *more, "--out", str(tmp_path / name)]) == 0
    first, second = (
        json.loads((tmp_path / name / "results.json").read_text()) for name in ("now", "before")
    )
    assert first["effects"] == second["effects"]
    assert first["users"]["numbers"] == second["users"]["numbers"]


def test_the_table_says_of_every_parameter_whether_it_is_assumed(
    stored: Path, small_log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = load_users(stored)
    table = {row[0]: row for row in provenance(model)}
    assert set(table) == set(model.parameters) | set(model.provenance)
    assert table["shift"][3] == "assumed"
    assert table["leave"][3] == "estimated"
    assert all(row[3] in ("estimated", "assumed") and row[4] for row in table.values())
    # The spread of the taste is in logits: of all pairs, what it adds.
    pairs = model.tastes()
    assert float(table["taste"][1].removeprefix("sd ")) == pytest.approx(pairs.std(), rel=0.05)


def test_users_of_another_log_or_version_and_damaged_ones_are_refused(
    stored: Path,
    small_world: tuple[Dataset, ChoiceModel],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    data, _ = small_world
    words = [
        "--users-from",
        str(stored),
        "--policies",
        "popularity,itemknn",
        "--out",
        str(tmp_path / "x"),
        "--quiet",
    ]
    assert command.main(words) == 2  # the built-in world has other users
    assert "were fitted on something else (log small" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()
    assert (
        command.main(
            ["--users-from", str(stored), "--calibrate", "random_click_rate=.2", "--quiet"]
        )
        == 2
    )
    assert "give it to simulator.fit" in capsys.readouterr().err
    with pytest.raises(InputError, match="holds no fitted users"):
        load_users(tmp_path / "nowhere")
    broken = tmp_path / "broken"
    broken.mkdir()
    parameters = json.loads((stored / "parameters.json").read_text())
    for text, message in (
        ("{", "is damaged"),
        ("[]", "is damaged"),
        ("null", "is damaged"),
        (json.dumps({**parameters, "format": 99}), "this version reads"),
        (json.dumps({**parameters, "numbers": {"shift": {"worth": 1}}}), "is damaged"),
        (json.dumps({**parameters, "numbers": {}}), "lacks shift"),
    ):
        (broken / "parameters.json").write_text(text)
        with pytest.raises(InputError, match=message):
            load_users(broken)
    (broken / "parameters.json").write_text(json.dumps(parameters))
    arrays = load_arrays(stored / "arrays.safetensors")
    for other_arrays, message in (
        (arrays | {"user_like": arrays["user_like"][:-3]}, "user_like has"),
        (arrays | {"hours": np.full(24, np.nan)}, "hours holds values that are not finite"),
        (
            {name: value for name, value in arrays.items() if name != "activity"},
            "is damaged or incomplete.*activity",
        ),
    ):
        save_arrays(broken / "arrays.safetensors", other_arrays)
        with pytest.raises(InputError, match=message):
            load_users(broken)
    about = about_users(data, 6)
    assert about["users"] == data.n_users
    # Other clicks of the same users and items, as with another --click-threshold, are another log.
    other = replace(data, log=replace(data.log, clicked=~data.log.clicked))
    assert {k for k, v in about_users(other, 6).items() if v != about[k]} == {"checksum"}
    other = replace(
        data, catalogue=replace(data.catalogue, category=data.catalogue.category[::-1].copy())
    )
    assert {k for k, v in about_users(other, 6).items() if v != about[k]} == {"categories"}
    assert np.isfinite(load_users(stored).user_level).all()


def test_watch_time_without_durations_is_that_of_the_log() -> None:
    """Durations that are all the same cannot carry a slope: the fit once blew up on them."""
    rng = np.random.default_rng(0)
    watched = rng.lognormal(2.0, 0.5, 4000)
    found = _watch("watch_long", watched, np.full(4000, 30.0))
    assert found["watch_long"].value == pytest.approx(2.0, abs=0.03)
    assert found["watch_long_sd"].value == pytest.approx(0.5, abs=0.03)
    assert (found["watch_long_duration"].value, found["watch_long_duration"].status) == (
        0.0,
        "assumed",
    )
    varied = _watch("watch_long", watched, np.exp(rng.normal(3, 1, 4000)))
    slope = varied["watch_long_duration"]
    assert slope.error is not None
    assert abs(slope.value) < 5 * slope.error


def test_what_plays_by_itself_is_watched_for_a_moment_without_a_click(
    small_world: tuple[Dataset, ChoiceModel],
) -> None:
    data, _ = small_world
    rng = generator("autoplay")
    log = data.log
    moment = np.where(
        ~log.clicked & (rng.random(len(log)) < 0.6),
        np.exp(rng.normal(0.7, 0.5, len(log))),
        log.watched,
    )
    model = fitting.fit_users(
        replace(data, log=replace(log, watched=moment.astype(np.float32))), chains=SHORT
    )
    users = np.arange(data.n_users)
    items = (
        np.argsort(rng.random((data.n_users, data.catalogue.size)), axis=1)[:, :6].astype(np.int32)
        + 1
    )
    zero = np.zeros(len(users))
    said = [
        model.respond(
            model.start(len(users), 0.0), users, items, zero, zero, Draws(i, users, users * 0)
        )
        for i in (1, 2)
    ]
    idle = np.concatenate([(~s.clicked).ravel() for s in said])
    watched = np.concatenate([s.watched.ravel() for s in said])[idle]
    # Random slates are clicked less often than the log's, so more of what is not clicked was looked
    # at.
    assert 0.55 < (watched > 0).mean() < 0.68
    assert np.log(watched[watched > 0]).mean() == pytest.approx(0.7, abs=0.05)
    assert "watch_none" not in fitting.fit_users(data, chains=SHORT).parameters


@pytest.mark.parametrize("rate", [0.0, 1.0])
def test_what_always_or_never_happens_is_no_published_rate(
    small_world: tuple[Dataset, ChoiceModel], rate: float
) -> None:
    data, _ = small_world
    log = replace(
        data.log, liked=np.full(len(data.log), bool(rate)), hated=data.log.clicked & False
    )
    users = fitting.fit(replace(data, log=log), 0, 6, lambda text: None, chains=SHORT).model(0)
    like = users.parameters["like"]
    assert like.status == "estimated"
    assert abs(expit(like.value) - rate) < 2 / log.clicked.sum()
    assert like.error is not None
    assert like.error > 1.0  # half an event
    assert users.parameters["like_appeal"].status == "assumed"
    assert users.parameters["hate"].value < -6.3


def test_a_log_of_few_clicks_is_fitted_without_a_word(
    small_world: tuple[Dataset, ChoiceModel],
) -> None:
    data, _ = small_world
    clicked = np.zeros(len(data.log), bool)
    clicked[:: len(clicked) // 3] = True
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        users = fitting.fit_users(
            replace(data, log=replace(data.log, clicked=clicked, long_view=clicked & False)),
            chains=SHORT,
        )
    assert np.isfinite(users.user_level).all()
    assert np.isfinite(users["shift"])
