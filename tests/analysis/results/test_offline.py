"""Offline figures beside what simulated users say."""

from pathlib import Path

import pytest

from analysis.reporting.offline import (
    disagreements,
    offline_sentence,
    offline_slopes,
    offline_table,
)
from analysis.results.offline import offline_of

TRAINING = {
    "sasrec": {"offline": {"ndcg10": 0.05, "users": 900, "auc": 0.7, "recalled": 0.9}},
    "popularity": {"offline": {"ndcg10": 0.02, "users": 900, "auc": None}},
    "level": {"offline": {"ndcg10": 0.01, "users": 900, "auc": 0.66}},
    "uniform": {"offline": {"ndcg10": 0.001, "users": 900, "auc": None}},
    "old": {"seconds": 3},
}
ARMS = ("sasrec", "popularity", "level", "old")
ADVANTAGE = [
    {"known": "nothing", "click_rate": 0.2},
    {"known": "item levels", "click_rate": 0.56},
    {"known": "everything", "click_rate": 0.6},
]


def rows(clicks: tuple[float, float, float], true: dict[str, float] | None = None):  # type: ignore[no-untyped-def]
    simulated = dict(zip(ARMS, clicks, strict=False))
    return offline_of(TRAINING, ARMS, {**simulated, "old": 1.0}, {}, true or {})


def test_orders_that_disagree_are_said_with_what_users_have_of_taste() -> None:
    told = offline_sentence(rows((10.0, 12.0, 11.0)), ADVANTAGE)
    assert "offline ranks sasrec first, these users rank popularity first (2 pairs of 3" in told
    assert "give 90.0 % to one list for everybody" in told
    assert "900 users" in told


def test_orders_that_agree() -> None:
    assert offline_sentence(rows((12.0, 11.0, 10.0)), ADVANTAGE).endswith(
        "Both orders are the same."
    )


def test_the_truth_orders_where_it_is_known() -> None:
    """The test's own figures are chance in part; the control stands at 0."""
    true = {"sasrec": -0.1, "popularity": 0.05}
    found = disagreements(rows((12.0, 11.0, 10.0), true))
    assert sorted(found) == [("sasrec", "level"), ("sasrec", "popularity")]


def test_arms_of_which_a_run_does_not_tell_have_no_row(tmp_path: Path) -> None:
    found = rows((12.0, 11.0, 10.0))
    assert [row.arm for row in found] == ["sasrec", "popularity", "level"]
    lines = offline_table(found, "clicks").markdown().splitlines()
    assert len(lines) == 5
    assert [cell.strip() for cell in lines[2].split("|")[3:5]] == ["0.700", "90.0 %"]
    assert [cell.strip() for cell in lines[3].split("|")[3:5]] == ["–", "–"]
    assert "Recalled" in offline_sentence(found, [])
    plain = found[1:]
    assert "recalled" not in offline_table(plain, "clicks").head
    assert "Recalled" not in offline_sentence(plain, [])
    offline_slopes(found, list(ARMS), tmp_path / "offline.png")
    assert (tmp_path / "offline.png").stat().st_size > 2000


def test_a_single_contender_has_no_order() -> None:
    alone = offline_of(TRAINING, ("level",), {"level": 1.0}, {}, {})
    assert "order" not in offline_sentence(alone, [])


@pytest.mark.parametrize("advantage", [[], ADVANTAGE[:1]])
def test_without_advantage_nothing_is_said_of_taste(advantage: list[dict[str, object]]) -> None:
    assert "taste" not in offline_sentence(rows((10.0, 12.0, 11.0)), advantage)
