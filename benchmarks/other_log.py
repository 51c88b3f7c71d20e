"""A log whose users are not of our make, and whether our users pass for them: sessions and returns
held out by time.

In this world days are on or off by a chain of two states, visits fall around two favourite hours of
each user, a visit lasts as long as a budget of time that knows nothing of clicks, and a click is a
probit of quality and category. None of that is a form that `simulator.fit` estimates (a mixture of
gaps with churn, a hazard of leaving by satisfaction, a logit of factors).

    python benchmarks/other_log.py --out other.csv
    python -m simulator.validate --log other.csv --held-out-days 7 --out other-fidelity
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

USERS, ITEMS, CATEGORIES, DAYS, SLATE = 1200, 600, 12, 21, 6
ON_TO_OFF, OFF_TO_ON = 0.25, 0.35
SECONDS = 9.0  # per item looked at, on average


def visits(rng: np.random.Generator) -> pd.DataFrame:
    """One row per visit: user, time [s], pages."""
    on = np.zeros((USERS, DAYS), bool)
    state = rng.random(USERS) < OFF_TO_ON / (ON_TO_OFF + OFF_TO_ON)
    for day in range(DAYS):
        on[:, day] = state
        flip = rng.random(USERS) < np.where(state, ON_TO_OFF, OFF_TO_ON)
        state = state ^ flip
    many = np.where(on, 1 + rng.poisson(rng.gamma(1.5, 0.8, (USERS, 1)), (USERS, DAYS)), 0)
    user, day = np.nonzero(many)
    count = many[user, day]
    user, day = np.repeat(user, count), np.repeat(day, count)
    favourite = np.stack([rng.normal(8, 1.5, USERS), rng.normal(20, 2.0, USERS)])[
        rng.integers(0, 2, len(user)), user
    ]
    hour = np.clip(favourite + rng.normal(0, 1.2, len(user)), 0, 23.99)
    budget = rng.gamma(1.2, 90.0 * rng.lognormal(0, 0.4, USERS)[user])
    pages = np.clip(np.ceil(budget / (SLATE * SECONDS)), 1, 40).astype(int)
    frame = pd.DataFrame({"user": user, "time": 86_400.0 * day + 3600 * hour, "pages": pages})
    return frame.sort_values(["user", "time"], ignore_index=True)


def log(seed: int) -> pd.DataFrame:
    """One row per impression."""
    rng = np.random.default_rng(seed)
    came = visits(rng)
    end = came["time"] + came["pages"] * SLATE * SECONDS
    # no visit within a visit
    clash = (came["user"].diff() == 0) & (came["time"] - end.shift(fill_value=0) < 1800)
    came = came[~clash].reset_index(drop=True)
    category, quality = rng.integers(0, CATEGORIES, ITEMS), rng.normal(0, 0.5, ITEMS)
    likes = rng.normal(0, 0.5, (USERS, CATEGORIES))
    bias = rng.normal(0, 0.4, USERS)
    shown = rng.zipf(1.6, 20 * ITEMS) % ITEMS  # a policy that shows what is popular
    popular = np.sqrt(np.bincount(shown, minlength=ITEMS) + 1.0)
    visit = np.repeat(np.arange(len(came)), came["pages"] * SLATE)
    start = np.cumsum(came["pages"] * SLATE) - came["pages"] * SLATE
    place = np.arange(len(visit)) - start.to_numpy()[visit]
    user = came["user"].to_numpy()[visit]
    slot, page = place % SLATE, place // SLATE
    pages = len(visit) // SLATE
    keys = np.log(popular).astype(np.float32) + rng.gumbel(size=(pages, ITEMS)).astype(np.float32)
    # without replacement within a page
    item = np.argpartition(-keys, SLATE, axis=1)[:, :SLATE].ravel()
    looks = rng.random(len(visit)) < np.exp(-0.08 * slot)
    x = (
        -0.3
        + quality[item]
        + likes[user, category[item]]
        + bias[user]
        + rng.normal(size=len(visit))
    )
    clicked = looks & (x > 0)
    watch = np.where(clicked, rng.weibull(0.9, len(visit)) * 20 * np.exp(0.4 * x), 0.0)
    time = came["time"].to_numpy()[visit] + page * SLATE * SECONDS
    return pd.DataFrame(
        {
            "user": user,
            "item": item,
            "time": time.round(1),
            "session": visit,
            "page": page,
            "slot": slot,
            "click": clicked.astype(int),
            "watch": watch.round(1),
            "long_view": (clicked & (watch > 18)).astype(int),
            "category": category[item],
        }
    ).sort_values(["time", "user", "slot"])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=0, help="of the world (default 0)")
    parser.add_argument("--out", type=Path, default=Path("other.csv"))
    given = parser.parse_args()
    rows = log(given.seed)
    rows.to_csv(given.out, index=False)
    print(
        f"{len(rows)} rows, {rows['session'].nunique()} sessions, click rate"
        f" {rows['click'].mean():.3f}: {given.out}"
    )


if __name__ == "__main__":
    main()
