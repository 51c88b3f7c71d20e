"""Rows say whether they were shown, or are known only because they were chosen."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from policies.log import Impressions
from policies.sources.datasets import load

SHARED = Path(__file__).parents[4] / "shared" / "data"


def table(**columns: object) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "user": ["a", "a", "b", "b"],
            "item": ["x", "y", "x", "z"],
            "time": [1.5e9, 2e9, 1.6e9, 2e9],
        }
        | columns
    )


def test_a_log_with_skips_was_shown(tmp_path: Path) -> None:
    table(click=[1, 0, 0, 1]).to_csv(tmp_path / "log.csv", index=False)
    assert load(str(tmp_path / "log.csv")).log.shown.all()


def test_a_log_without_skips_was_only_chosen(tmp_path: Path) -> None:
    table().to_csv(tmp_path / "log.csv", index=False)
    (tmp_path / "log.txt").write_text("1 5 6 7\n2 5 8\n")
    for name in ("log.csv", "log.txt"):
        log = load(str(tmp_path / name)).for_policies()
        assert log.clicked.all()
        assert not log.shown.any()


def test_rows_are_shown_unless_somebody_says_otherwise() -> None:
    log = Impressions.of(item=np.arange(1, 4), clicked=np.array([True, False, True]))
    assert log.shown.all()


@pytest.mark.skipif(not SHARED.exists(), reason="the shared logs are not here")
def test_choices_before_kuairands_log_were_not_shown() -> None:
    data = load(f"kuairand:{SHARED / 'kuairand_pure'}")
    both = data.for_policies()
    assert both.shown.sum() == len(data.log) == 222_457
    assert not data.history.shown.any()
    assert len(data.history) > 0
    assert both.clicked[~both.shown].all()
