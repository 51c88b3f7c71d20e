"""The sample that ships: the same bytes for a seed, read by every command as its help says."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis import report
from policies.sources.datasets import load_as
from policies.sources.roles import Reading
from simulator import sample


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sample") / "sample"
    assert sample.main([str(path)]) == 0
    return path


def test_a_seed_gives_the_same_bytes_and_another_seed_others(folder: Path, tmp_path: Path) -> None:
    assert sample.main([str(tmp_path / "again")]) == 0
    assert sample.main([str(tmp_path / "other"), "--seed", "1"]) == 0
    names = sorted(path.name for path in folder.iterdir())
    assert len(names) == 7
    for name in names:
        ours = (folder / name).read_bytes()
        assert ours == (tmp_path / "again" / name).read_bytes(), name
        assert ours != (tmp_path / "other" / name).read_bytes(), name


def test_it_is_never_written_over(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert sample.main([str(folder)]) == 2
    assert "exists already" in capsys.readouterr().err
    assert sample.main([str(folder / "x"), "--seed", "-1"]) == 2


def test_its_three_logs_tell_of_the_same_clicks(folder: Path) -> None:
    shown = load_as(str(folder / "impressions.csv"), Reading(), None)
    rated = load_as(str(folder / "ratings.csv"), Reading(click_threshold=3), None)
    pairs = load_as(str(folder / "pairs.txt"), Reading(), None)
    assert {"skips", "slots", "sessions", "watch", "long_view", "likes", "hates"} <= shown.has
    assert 0.2 < shown.log.clicked.mean() < 0.6
    clicked = shown.log.rows(shown.log.clicked)
    disliked = int((clicked.hated > 0).sum())
    # what is hated is a rating of 1; nobody clicks an item twice in a second
    assert rated.log.clicked.sum() == len(clicked) - disliked
    assert len(pairs.log) + len(pairs.history) == len(clicked)
    items = pd.read_csv(folder / "items.csv")
    assert set(shown.catalogue.ids[1:]) <= set(items["item"])
    assert items["title"].is_unique
    assert items["category"].nunique() == 12


def test_the_live_test_is_judged_and_its_truth_is_near(folder: Path, tmp_path: Path) -> None:
    words = ["--impressions", str(folder / "ab.csv"), "--start", "2026-01-05"]
    words += ["--assignments", str(folder / "assignments.csv")]
    words += ["--numbers", "revenue", "--segments", "country", "--out", str(tmp_path / "judged")]
    assert report.main(words) == 0
    told = json.loads((tmp_path / "judged" / "results.json").read_text())
    clicks = next(row for row in told["effects"]["rows"] if row["metric"] == "clicks")
    truth = json.loads((folder / "truth.json").read_text())
    assert clicks["low"] < truth["true_lift_of_clicks"] < clicks["high"]
    assert clicks["low"] > 0
    users = pd.read_csv(folder / "assignments.csv")["variant"].value_counts()
    assert np.abs(users - 250).max() < 45
    rate = truth["clicks_per_user"]
    assert truth["true_lift_of_clicks"] == pytest.approx(rate["B"] / rate["A"] - 1)
