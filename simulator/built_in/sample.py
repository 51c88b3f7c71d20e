"""Small files of the kinds that people have, made from the built-in world, to try every command on:
a log with skips, ratings, pairs, items with titles, and a live A/B test whose true lift is known.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from policies.catalogue import Catalogue
from policies.draws import generator
from policies.log import Impressions
from simulator.buckets import assign
from simulator.built_in.world import BuiltInParameters, LoggingPolicy, served, true_users
from simulator.engine.recorder import WARMUP
from simulator.engine.world import Arm
from simulator.users.choice_model import DAY, ChoiceModel

SAMPLE = BuiltInParameters(users=500, items=300, categories=12, log_days=7.0)
TEST_DAYS = 7.0
TEST_STARTS = 1_767_571_200  # s; Monday, 5 January 2026, UTC
ARMS = ("A", "B")
BEFORE_DAYS = 3.0  # of the test's log that come before it
BETTER_KNOWN = 0.5  # arm B gets so much of the errors about users and items that arm A makes
MOST_SESSIONS = 1000  # of a user before the test, so that those of the test have other names
COUNTRIES = {"US": 0.5, "DE": 0.3, "JP": 0.2}
BUYS, PRICE, PRICE_SD = 0.03, 12.0, 0.5  # of clicks; median price and sd of its logarithm
TOPICS = {
    "cooking": ("soup", "bread", "curry", "pancakes"),
    "football": ("penalty", "derby", "free kick", "comeback"),
    "travel": ("night train", "island", "market", "mountain hut"),
    "music": ("piano", "busker", "choir", "drum solo"),
    "gardening": ("tomatoes", "roses", "compost", "balcony"),
    "space": ("moon", "launch", "comet", "telescope"),
    "pets": ("kitten", "parrot", "old dog", "hamster"),
    "cars": ("rally", "engine swap", "van", "road trip"),
    "chess": ("endgame", "gambit", "blitz", "blunder"),
    "history": ("castle", "shipwreck", "map", "letters"),
    "fitness": ("marathon", "stretching", "climbing", "swim"),
    "comedy": ("prank", "stand-up", "sketch", "bloopers"),
}
WORDS = ("First", "Slow", "Secret", "Rainy", "Perfect", "Last", "Tiny", "Honest", "Wild", "Quiet")


def write_sample(folder: Path, seed: int = 0) -> dict[str, Any]:
    """Writes the files into a folder; the same bytes for a seed. Returns what
    `truth.json` says.
    """
    p = SAMPLE
    model, catalogue = true_users(p, seed)
    catalogue = replace(catalogue, categories=("", *TOPICS))
    items = items_of(catalogue, seed)
    log = _log(p, seed, model, catalogue)  # ends when the test begins
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / "impressions.csv", impressions_of(log, items))
    _write(folder / "ratings.csv", ratings_of(log))
    clicked = log.rows(log.clicked)
    lines = [f"{_user(u)} {_item(i)}\n" for u, i in zip(clicked.user, clicked.item)]
    (folder / "pairs.txt").write_text("".join(lines), encoding="utf-8", newline="\n")
    _write(folder / "items.csv", items)
    before = log.rows(log.time >= -BEFORE_DAYS * DAY)
    truth = _live_test(folder, p, seed, (model, catalogue), before)
    text = json.dumps(truth, indent=1) + "\n"
    (folder / "truth.json").write_text(text, encoding="utf-8", newline="\n")
    return truth


def _log(p: BuiltInParameters, seed: int, model: ChoiceModel, catalogue: Catalogue) -> Impressions:
    arm = Arm(WARMUP, -1, LoggingPolicy(model, p, seed))
    nobody = np.full(p.users, -1, np.int16)
    return _in_order(served(p, seed, (model, catalogue), [arm], nobody, -p.log_days, 0.0))


def _in_order(log: Impressions) -> Impressions:
    return log.rows(np.lexsort((log.slot, log.user, log.time)))


def _user(number: int | np.integer) -> str:
    return f"u{number + 1:03d}"


def _item(number: int | np.integer) -> str:
    return f"v{number:03d}"


def _write(path: Path, frame: pd.DataFrame) -> None:
    frame.to_csv(path, index=False, lineterminator="\n")


def items_of(catalogue: Catalogue, seed: int) -> pd.DataFrame:
    """One row per item: id, made-up title, category and duration [s]."""
    rng = generator("sample titles", seed)
    topics = np.array(catalogue.categories)[catalogue.category[1:]]
    titles = [
        f"{rng.choice(WORDS)} {rng.choice(TOPICS[topic])}, part {number}"
        for number, topic in enumerate(topics, 1)
    ]
    ids = [_item(number) for number in range(1, catalogue.size + 1)]
    duration = catalogue.duration[1:].round(1).astype(np.float64)
    columns = {"item": ids, "title": titles, "category": topics, "duration": duration.round(1)}
    return pd.DataFrame(columns)


def impressions_of(log: Impressions, items: pd.DataFrame) -> pd.DataFrame:
    """One row per item shown, skips as well as clicks; columns by their usual names."""
    users = [_user(number) for number in log.user]
    there = log.item - 1
    return pd.DataFrame(
        {
            "user": users,
            "item": items["item"].to_numpy()[there],
            "time": TEST_STARTS + np.floor(log.time).astype(np.int64),
            "session": [f"{u}-{s}" for u, s in zip(users, log.session)],
            "page": log.page,
            "slot": log.slot,
            "click": log.clicked.astype(int),
            "watch": log.watched.astype(np.float64).round(1),
            "long_view": log.long_view.astype(int),
            "like": log.liked.astype(int),
            "hate": log.hated.astype(int),
            "category": items["category"].to_numpy()[there],
            "duration": items["duration"].to_numpy()[there],
        }
    )


def ratings_of(log: Impressions) -> pd.DataFrame:
    """Clicks as ratings: 1 hated, 3 clicked, 4 seen long, 5 liked."""
    log = log.rows(log.clicked)
    rating = np.select([log.hated, log.liked, log.long_view], [1, 5, 4], 3)
    return pd.DataFrame(
        {
            "userId": [_user(number) for number in log.user],
            "itemId": [_item(number) for number in log.item],
            "rating": rating,
            "timestamp": TEST_STARTS + np.floor(log.time).astype(np.int64),
        }
    )


def _live_test(
    folder: Path,
    p: BuiltInParameters,
    seed: int,
    truth: tuple[ChoiceModel, Catalogue],
    before: Impressions,
) -> dict[str, Any]:
    """Writes `ab.csv`, with rows from before the test, and `assignments.csv`; returns the truth,
    from worlds in which everybody gets the same arm.
    """
    model, _ = truth
    known = (p, replace(p, logging_noise_sd=BETTER_KNOWN * p.logging_noise_sd))
    arms = [
        Arm(name, code, LoggingPolicy(model, q, seed))
        for code, (name, q) in enumerate(zip(ARMS, known))
    ]
    ids = np.arange(p.users)
    bucket = assign(ids, np.array([0.5, 0.5]), f"sample {seed}")
    test = _in_order(served(p, seed, truth, arms, bucket, 0.0, TEST_DAYS))
    totals = {}
    for arm in arms:
        all_get_it = np.full(p.users, arm.code, np.int16)
        alone = served(p, seed, truth, [arm], all_get_it, 0.0, TEST_DAYS)
        totals[arm.name] = int(alone.clicked.sum())
    test = Impressions.concat([before, replace(test, session=test.session + MOST_SESSIONS)])
    rng = generator("sample buyers", seed)
    country = rng.choice(list(COUNTRIES), p.users, p=list(COUNTRIES.values()))
    price = PRICE * np.exp(PRICE_SD * rng.normal(size=len(test)))
    bought = test.clicked & (rng.random(len(test)) < BUYS)
    users = np.array([_user(number) for number in ids])
    frame = pd.DataFrame(
        {
            "user": users[test.user],
            "variant": np.array(ARMS)[bucket[test.user]],
            "time": TEST_STARTS + np.floor(test.time).astype(np.int64),
            "item": [_item(number) for number in test.item],
            "session": [f"{_user(u)}-{s}" for u, s in zip(test.user, test.session)],
            "slot": test.slot,
            "click": test.clicked.astype(int),
            "revenue": np.where(bought, price, 0.0).round(2),
            "country": country[test.user],
        }
    )
    _write(folder / "ab.csv", frame)
    assigned = {"user": users, "variant": np.array(ARMS)[bucket], "country": country}
    _write(folder / "assignments.csv", pd.DataFrame(assigned))
    return {
        "about": "clicks of all users in two worlds of the same draws, in each of which everybody"
        " gets the same arm; what a live test cannot know",
        "seed": seed,
        "days": TEST_DAYS,
        "users": p.users,
        "clicks_per_user": {arm: totals[arm] / p.users for arm in ARMS},
        "true_lift_of_clicks": totals["B"] / totals["A"] - 1,
    }
