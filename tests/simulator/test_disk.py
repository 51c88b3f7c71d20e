"""Runs on disk: what is missing, doubled or damaged is said, never judged."""

import json
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import analysis.reporting.write
from analysis import report
from policies.common.errors import InputError
from policies.common.files import save_arrays, save_json, whole
from policies.common.folders import UNFINISHED, new_folder, one_writer
from policies.common.manifests import seal
from simulator import run as command
from simulator import simulate
from simulator.engine.world import Tell
from simulator.experiment import schedule
from simulator.experiment.units import Segment
from tests.conftest import MakeExperiment


@pytest.fixture(scope="module")
def finished(experiment: MakeExperiment, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small run, in a folder whose name means something to shells and databases."""
    out = tmp_path_factory.mktemp("runs") / "user=5" / "click=1, ru[n]*?\\ ü'x"
    simulate(experiment(policies=("popularity", "itemknn"), users=60), out=str(out))
    return out


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(finished, tmp_path / "run"))


def refused(run: Path, words: str, capsys: pytest.CaptureFixture[str], resume: bool = True) -> None:
    """Both the report and the resumption say so in one line."""
    asked: list[tuple[Callable[..., int], list[str]]] = [(report.main, [str(run)])]
    if resume:
        asked.append((command.main, ["--resume", str(run), "--quiet"]))
    capsys.readouterr()
    for main, arguments in asked:
        assert main(arguments) == 2
        said = capsys.readouterr().err
        assert words in said
        assert said.count("\n") == 1


def part_of(run: Path) -> Path:
    return sorted((run / "impressions").rglob("*.parquet"))[-1]


def test_a_run_is_judged_the_same_whatever_its_path_holds(finished: Path, run: Path) -> None:
    assert report.main([str(run)]) == 0
    one, two = (json.loads((path / "results.json").read_text()) for path in (finished, run))
    assert one["effects"] == two["effects"]
    assert set(json.dumps(one["arms"])) == set(json.dumps(two["arms"]))


def test_parts_that_are_missing_cut_flipped_or_doubled(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    part = part_of(run)
    content = part.read_bytes()
    name = part.relative_to(run).as_posix()
    part.unlink()
    refused(run, f"is incomplete: {name} is missing", capsys)
    part.write_bytes(content[:-200])
    refused(run, "damaged: ", capsys)
    flipped = bytearray(content)
    flipped[len(content) // 2] ^= 1
    part.write_bytes(bytes(flipped))
    refused(run, "damaged: ", capsys)
    part.write_bytes(content)
    shutil.copy(part, part.with_name("part-00077.parquet"))
    refused(run, "is no file that this run wrote", capsys, resume=False)


@pytest.mark.parametrize("name", ["users.parquet", "items.parquet", "users/parameters.json"])
def test_tables_that_are_cut(run: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = run / name
    path.write_bytes(path.read_bytes()[:-20])
    refused(run, "damaged: ", capsys)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda m: m | {"control": "popularity"}, "was changed since it was written"),
        (lambda m: m | {"weights": {"popularity": 5, "itemknn": 1}}, "was changed since"),
        (
            lambda m: m | {"experiment": m["experiment"] | {"days": 3.0}},
            "was changed since it was written",
        ),
        (lambda m: m | {"format": 1}, "in format 1"),
        (lambda m: m | {"format": 99}, "in format 99"),
        (lambda m: {k: v for k, v in m.items() if k != "files"}, "damaged or incomplete"),
        (lambda m: m | {"files": 3}, "damaged or incomplete"),
        (lambda m: m | {"files": {"tables": {"users.parquet": {}}}}, "damaged or incomplete"),
        (lambda m: [m], "damaged or incomplete"),
        (lambda m: None, "damaged or incomplete"),
    ],
)
def test_a_manifest_edited_by_hand(
    run: Path, change: Any, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = run / "manifest.json"
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    refused(run, words, capsys)


@pytest.mark.parametrize(
    "change",
    [
        lambda arrays: arrays | {"due": np.full_like(arrays["due"], np.nan)},
        lambda arrays: arrays | {"due": arrays["due"][:-1]},
        lambda arrays: {},
    ],
)
def test_a_checkpoint_that_is_not_as_it_was_written(
    interrupted: Path, tmp_path: Path, change: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Path(shutil.copytree(interrupted, tmp_path / "run"))
    for path in (run / "checkpoint" / "warmup").glob("*.safetensors"):
        save_file(change(load_file(path)), path)
    refuse_to_resume(run, capsys)


@pytest.mark.parametrize(
    "name", ["log.safetensors", "population.safetensors", "people/arrays.safetensors"]
)
def test_inputs_of_units_that_are_not_as_they_were_written(
    interrupted: Path, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Path(shutil.copytree(interrupted, tmp_path / "run"))
    path = run / "inputs" / name
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))
    refuse_to_resume(run, capsys)


def test_a_run_begun_by_a_version_without_shards_is_not_gone_on_with(
    interrupted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its rows would stay beside those that are made anew."""
    run = Path(shutil.copytree(interrupted, tmp_path / "run"))
    path = run / "manifest.json"
    manifest = json.loads(path.read_text())
    del manifest["shards"]
    path.write_text(json.dumps(manifest | {"settings": seal(manifest)}))
    capsys.readouterr()
    assert command.main(["--resume", str(run), "--quiet"]) == 2
    assert "begun by a version that did runs otherwise" in capsys.readouterr().err


def refuse_to_resume(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert command.main(["--resume", str(run), "--quiet"]) == 2
    said = capsys.readouterr().err
    assert "damaged: " in said
    assert said.count("\n") == 1


class Stop(Exception):
    """Stands for a power cut."""


@pytest.fixture(scope="module")
def interrupted(experiment: MakeExperiment, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was cut off after its warm-up."""
    out, plain = tmp_path_factory.mktemp("runs") / "half", schedule.serve

    def stop(unit: Segment, tell: Tell | None) -> dict[str, Any]:
        if unit.place.world == "split":
            raise Stop
        return plain(unit, tell)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(schedule, "serve", stop)
        with pytest.raises(Stop):
            simulate(experiment(policies=("popularity", "itemknn"), users=60), out=str(out))
    return out


HOLD = """
import sys
from pathlib import Path
from policies.common.folders import one_writer
with one_writer(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_one_process_writes_into_a_run(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(run)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert other.stdout is not None
    assert other.stdout.readline() == "held\n"
    refused(run, "another process is writing into", capsys)
    other.kill()  # leaves it free
    other.communicate()
    with one_writer(run):
        pass


def test_a_report_is_written_whole_or_not_at_all(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {name: (run / name).read_bytes() for name in ("results.json", "report.md")}

    def fail(*_: Any) -> str:
        raise InputError("no page today")

    monkeypatch.setattr(analysis.reporting.write, "html", fail)
    assert report.main([str(run)]) == 2
    assert {name: (run / name).read_bytes() for name in before} == before
    assert not list(run.glob("*.part"))


def test_complete_is_said_once_the_report_exists(
    experiment: MakeExperiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> str:
        raise InputError("no page today")

    monkeypatch.setattr(analysis.reporting.write, "html", fail)
    out = tmp_path / "run"
    arms = experiment(policies=("popularity", "uniform"), users=40)
    with pytest.raises(InputError, match="no page"):
        simulate(arms, out=str(out))
    monkeypatch.undo()
    assert json.loads((out / "manifest.json").read_text())["status"] != "complete"
    simulate(resume=str(out))
    assert json.loads((out / "manifest.json").read_text())["status"] == "complete"
    assert json.loads((out / "results.json").read_text())["manifest"]["status"] == "complete"


def test_files_have_the_mode_that_the_umask_says(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        save_arrays(tmp_path / "a.safetensors", {"x": np.zeros(2)})
        save_json(tmp_path / "b.json", {})
    finally:
        os.umask(before)
    modes = {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert modes == {0o640}


def test_a_half_made_folder_of_a_killed_process_is_taken_over(tmp_path: Path) -> None:
    out = tmp_path / "users"
    out.mkdir()
    (out / UNFINISHED).touch()
    (out / "arrays.safetensors.part").write_text("half")
    with new_folder(out):
        (out / "whole.json").write_text("{}")
    assert sorted(path.name for path in out.iterdir()) == ["whole.json"]
    with pytest.raises(InputError, match="exists already"), new_folder(out):
        pass


def test_what_is_written_is_whole_or_not_there(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("before")

    def half() -> None:
        with whole(path) as beside:
            beside.write_text("hal")
            raise OSError("no space")

    with pytest.raises(OSError, match="no space"):
        half()
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]
