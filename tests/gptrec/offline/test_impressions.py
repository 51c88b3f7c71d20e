"""The protocol of rows that were shown later: measures held to other libraries, and the command."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import ndcg_score

from gptrec.evaluate import main
from gptrec.offline.impressions import ece, page_ndcg, shifted
from policies.answers.measures import auc
from policies.testing import small_log


@pytest.fixture
def told() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    chance = np.round(rng.random(5000), 2)  # with ties
    return chance, (rng.random(5000) < chance).astype(float)


def test_auc_counts_pairs(told: tuple[np.ndarray, np.ndarray]) -> None:
    chance, answer = (part[:400] for part in told)
    weight = np.random.default_rng(2).poisson(1.0, len(chance)).astype(float)
    yes, no = answer > 0, answer == 0
    above = np.sign(chance[yes][:, None] - chance[no]) / 2 + 0.5
    pairs = weight[yes][:, None] * weight[no]
    assert auc(chance, answer) == pytest.approx(above.mean(), abs=1e-12)
    assert auc(chance, answer, weight) == pytest.approx((above * pairs).sum() / pairs.sum())
    assert np.isnan(auc(chance, np.ones(len(chance))))
    assert np.isnan(auc(chance, answer, weight * no))


def test_ndcg_of_pages_is_that_of_sklearn() -> None:
    rng = np.random.default_rng(3)
    chance, answer = rng.random(600), (rng.random(600) < 0.4).astype(float)
    page = np.repeat(np.arange(100), 6)
    scores = [
        ndcg_score(answer[page == p][None], chance[page == p][None])
        for p in range(100)
        if 0 < answer[page == p].sum() < 6
    ]
    assert page_ndcg(chance, answer, page) == pytest.approx(np.mean(scores), abs=1e-12)
    alone = np.arange(600)  # a page of one row has no order
    assert np.isnan(page_ndcg(chance, answer, alone))


def test_calibration_error(told: tuple[np.ndarray, np.ndarray]) -> None:
    chance, answer = told
    assert ece(chance, answer) < 0.03
    low = chance / 2
    assert ece(low, answer) == pytest.approx(answer.mean() - low.mean(), abs=0.02)
    moved = shifted(low, answer)
    assert moved.mean() == pytest.approx(answer.mean(), abs=1e-6)
    assert (np.argsort(moved, kind="stable") == np.argsort(low, kind="stable")).all()


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rows, _ = small_log(rows=8000)
    path = tmp_path_factory.mktemp("log") / "log.csv"
    pd.DataFrame(
        {
            "user": rows.user,
            "item": rows.item,
            "time": 1.6e9 + np.sort(np.random.default_rng(1).random(len(rows))) * 1e6,
            "click": rows.clicked.astype(int),
        }
    ).to_csv(path, index=False)
    return path


def test_the_command_foretells_later_rows_and_goes_on(
    log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    words = ["--protocol", "impressions", "--data", str(log), "--models", "level,gptrec"]
    words += ["--seeds", "1", "--set", "gptrec.epochs=1", "--set", "gptrec.width=16", "--quiet"]
    assert main([*words, "--out", str(out)]) == 0
    rows = {row["model"]: row for row in json.loads((out / "results.json").read_text())}
    # Users differ in which items they click: levels know nothing of it, answers do.
    assert rows["gptrec"]["auc"] > 0.7 > rows["level"]["auc"]
    assert rows["gptrec"]["low"] > 0.1
    assert rows["user + item levels"]["beyond levels"] == 0
    assert rows["gptrec"]["ece"] < rows["gptrec"]["ece by chance"] + 0.06
    shown = capsys.readouterr().out
    assert "AUC beyond levels" in shown
    before = (out / "results.json").read_bytes()
    (out / "results.json").unlink()
    (out / "level-0.safetensors").unlink()
    assert main(["--resume", str(out), "--quiet"]) == 0
    assert (out / "results.json").read_bytes() == before


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--models", "popularity"], "says what to show, not how likely"),
        (["--since", "soon"], "wanted a date such as 2022-05-01"),
        (["--since", "2035-01-01"], "0 after it"),
        (["--budget", "5m"], "--budget means nothing to --protocol impressions"),
    ],
)
def test_what_cannot_be_foretold_is_refused(
    words: list[str], said: str, log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--protocol", "impressions", "--data", str(log), "--seeds", "1", "--quiet"]
    assert main([*given, *words, "--out", str(tmp_path / "out")]) == 2
    assert said in capsys.readouterr().err


def test_a_log_of_choices_shows_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "log.txt"
    path.write_text("1 5 6 7\n2 5 8\n")
    words = ["--protocol", "impressions", "--data", str(path), "--out", str(tmp_path / "out")]
    assert main([*words, "--quiet"]) == 2
    assert "shows no skips" in capsys.readouterr().err
    assert main(["--since", "2022-05-01", "--data", str(path), "--out", str(tmp_path / "o")]) == 2
    assert "--since means nothing to --protocol leave-one-out" in capsys.readouterr().err
