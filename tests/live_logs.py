"""A made-up log of a live test, for the tests of its report."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.data.ab_test import ABTest
from analysis.report import main
from analysis.reporting.content import Report
from analysis.results.results import judge_test

DAY = 86_400
COLUMNS = "user=uid,bucket=variant,time=ts,click=clicked,watch=secs,session=visit"


def log(n: int = 600, lift: float = 0.5, days: int = 6, seed: int = 0) -> pd.DataFrame:
    """Rows of users a0, a1, ... in arms `new` and `old`, two days of them before the start at day
    2.
    """
    rng = np.random.default_rng(seed)
    taste = rng.uniform(0.1, 0.5, n)
    arm = rng.integers(0, 2, n)
    user = rng.integers(0, n, n * 40)
    time = rng.random(len(user)) * (days + 2) * DAY
    p = taste[user] * np.where(time >= 2 * DAY, 1 + lift * arm[user], 1.0)
    clicked = rng.random(len(user)) < p
    frame = pd.DataFrame(
        {
            "uid": [f"a{u}" for u in user],
            "variant": np.array(["old", "new"])[arm[user]],
            "ts": pd.Timestamp("2026-05-01") + pd.to_timedelta(time.round(), unit="s"),
            "clicked": clicked.astype(int),
            "secs": np.where(clicked, rng.exponential(20, len(user)), 0).round(1),
            "visit": (time // 7200).astype(int),
            "country": np.array(["de", "fr", "nl"])[user % 3],
        }
    )
    return frame.sort_values("ts", ignore_index=True)


def judge_file(path: Path, *more: str) -> int:
    words = [
        "--impressions",
        str(path),
        "--columns",
        COLUMNS,
        "--out",
        str(path.parent / "report"),
        *more,
    ]
    return main([*words, "--start", "2026-05-03"] if "--start" not in more else words)


def columns_of() -> dict[str, str]:
    return dict(part.split("=") for part in COLUMNS.split(","))


def verdict_of(path: Path, *more: str) -> str:
    assert judge_file(path, "--control", "old", *more) == 0
    results = json.loads((path.parent / "report" / "results.json").read_text())
    shutil.rmtree(path.parent / "report")
    (sentence,) = results["verdicts"]
    return str(sentence)


def results_of(test: ABTest) -> dict[str, Any]:
    """What `results.json` would hold."""
    manifest = {"control": test.control, "contenders": test.contenders, "experiment": None}
    return Report.of(judge_test(test), None, manifest, "a test").as_json()
