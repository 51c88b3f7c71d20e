"""What the page offers beside the numbers: what to do next, words explained, runs side by side."""

import json
import re
import shutil
from pathlib import Path

import pytest

from analysis.errors import AnalysisError
from analysis.gallery.page import differing, listed_in, write_gallery
from analysis.reporting.advice import (
    GLOSSARY,
    OF_THE_LOG,
    anchor,
    next_steps,
    with_code,
    with_links,
)
from simulator import Result, simulate
from simulator.settings import LOG_FLAGS
from tests.conftest import MakeExperiment
from tests.live_logs import judge_file, log


@pytest.fixture(scope="module")
def results(experiment: MakeExperiment, tmp_path_factory: pytest.TempPathFactory) -> list[Result]:
    folder = tmp_path_factory.mktemp("runs")
    found: list[Result] = []
    for name, settings in {"one": {}, "two": {"seed": 1, "days": 3.0}}.items():
        e = experiment(policies=("itemknn", "popularity"), users=120, rounds=2, **settings)
        found.append(simulate(e, out=str(folder / name), workers=1))
    return found


def test_the_page_says_what_to_do_next_by_commands_that_are_there(results: list[Result]) -> None:
    steps = next_steps(results[0].report)
    assert 0 < len(steps) <= 4
    assert any("--user-model all" in step or "power --run" in step for step in steps)
    page = (results[0].path / "report.html").read_text(encoding="utf-8")
    told = (results[0].path / "report.md").read_text(encoding="utf-8")
    for step in steps:
        assert with_code(step) in page
        assert step.split("`")[0].strip() in told


def test_every_link_in_the_page_leads_somewhere(results: list[Result]) -> None:
    page = (results[0].path / "report.html").read_text(encoding="utf-8")
    wanted = set(re.findall(r'href="#([\w-]+)"', page))
    there = re.findall(r'\bid="([\w-]+)"', page)
    assert wanted
    assert wanted <= set(there)
    assert len(there) == len(set(there))
    assert {anchor(term) for term in GLOSSARY} <= set(there)
    assert "http://" not in page.replace("http://www.w3.org", "")


def test_only_the_first_of_a_word_is_linked_and_the_rest_is_escaped() -> None:
    told = with_links("CUPED & <b>: the lift of lifts, by CUPED")
    assert told.count("<a ") == 2
    assert "&amp; &lt;b&gt;" in told
    assert '<a class="word" href="#word-cuped">CUPED</a>' in told
    assert with_links("uplifting") == "uplifting"


def test_a_red_light_is_to_be_mended_first(tmp_path: Path) -> None:
    path = tmp_path / "log.parquet"
    log(n=60).to_parquet(path)
    assert judge_file(path, "--control", "old") == 0
    page = (tmp_path / "report" / "report.html").read_text(encoding="utf-8")
    assert "Mend first what is red: enough to judge" in page


def test_runs_stand_side_by_side(
    results: list[Result], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "runs"
    for result in results:
        shutil.copytree(result.path, folder / result.path.name)
    (folder / "broken").mkdir()
    (folder / "broken" / "results.json").write_text("{")
    (folder / "offline").mkdir()
    (folder / "offline" / "results.json").write_text('{"models": []}')  # of another command
    (folder / "begun").mkdir()
    (folder / "begun" / "manifest.json").write_text("{}")
    runs, damaged = listed_in(folder)
    assert damaged == ["broken"]
    assert {run.path.name for run in runs} == {"one", "two"}
    assert set(differing(runs)) == {"seed", "days"}
    path, _ = write_gallery(folder)
    page = path.read_text(encoding="utf-8")
    for result in results:
        assert f'href="{result.path.name}/report.html"' in page
        told = json.loads((result.path / "results.json").read_text())
        assert told["title"].split(":")[0] in page
    assert "broken" in page
    assert "Begun and not finished, so without a report: begun." in page
    path.write_text("<title>my own</title>")
    with pytest.raises(AnalysisError, match="a page of somebody else"):
        write_gallery(folder)


def test_a_folder_without_runs_is_one_line(tmp_path: Path) -> None:
    from analysis import report

    assert report.main(["--index", str(tmp_path)]) == 2
    assert report.main(["--index", str(tmp_path / "none")]) == 2
    for more in (["--out", "x"], ["--fail-if", "clicks < 0%"], ["--partial"], ["--metrics", "a:b"]):
        assert report.main(["--index", str(tmp_path), *more]) == 2


def test_a_log_is_named_with_all_that_says_how_it_is_read() -> None:
    assert set(OF_THE_LOG) == set(LOG_FLAGS)
