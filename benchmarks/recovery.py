"""Are the parameters of the users recovered, and do their intervals cover? Many small worlds of
known truth, each fitted.

    python benchmarks/recovery.py --worlds 400 --jobs 2 --out recovery.csv

Prints for each parameter the truth, the mean estimate, the mean standard error beside the spread of
the estimates, and how often the 95 % interval (estimate +- 1.96 standard errors; of probabilities
on the scale of their logits, of the half-life and the slots on that of their logarithms) covers,
with the band that 99.9 % of honest intervals would stay in, Bonferroni over the parameters. Where
satisfaction takes part, the truth is stated at the click rate of the log, as the fit does; the
level of long views, likes and hates is that of the world's average user and item. Also says in how
many worlds the log told satiation at all (with --satiation 0 there is none to tell). Of the appeal
of all pairs: the rank correlation of a draw with the truth, and how often the interval between the
2.5 and 97.5 per cent of the draws covers. Goes on from the rows that --out holds.
"""

import argparse
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from rich.progress import track
from scipy.special import logit
from scipy.stats import binom, spearmanr

from simulator.built_in.world import BuiltInParameters, built_in_log
from simulator.fitting.fit_users import fit
from simulator.users.choice_model import ChoiceModel

SMALL = BuiltInParameters(users=240, items=120, categories=8, log_days=6.0)
PARAMETERS = (
    "leave",
    "leave_first_page",
    "leave_satisfaction",
    "gap_short_share",
    "gap_short_mean",
    "gap_short_sd",
    "gap_long_mean",
    "gap_long_sd",
    "activity_sd",
    "churn",
    "return_satisfaction",
    "satiation",
    "satiation_half_life_h",
    "repeat_fatigue",
    "long_view",
    "long_view_appeal",
    "like",
    "like_appeal",
    "hate",
    "hate_appeal",
    "watch_long",
    "watch_long_duration",
    "watch_long_sd",
    "watch_short",
    "watch_short_duration",
    "watch_short_sd",
)
SLOTS = tuple(f"slot {k}" for k in range(2, SMALL.slate_size + 1))
PROBABILITIES = ("gap_short_share", "churn")


def one(seed: int, satiation: float = SMALL.satiation) -> list[dict[str, float | str]]:
    """The estimates of one world, of a seed that nothing else uses."""
    torch.set_num_threads(1)
    data, true = built_in_log(10_000 + seed, replace(SMALL, satiation=satiation))
    fitted = fit(data, seed, SMALL.slate_size, lambda text: None)
    users, estimates = fitted.model(0), fitted.estimates()
    truth_of = {name: number.value for name, number in true.parameters.items()} | {
        "activity_sd": SMALL.activity_sd
    }
    moved = users["satisfaction_reference"] - true["satisfaction_reference"]
    truth_of["leave"] += true["leave_satisfaction"] * moved
    for name in ("gap_short_mean", "gap_long_mean"):
        truth_of[name] += true["return_satisfaction"] * moved
    weight = np.bincount(data.log.user, minlength=data.n_users)
    for name in ("long_view", "like", "hate"):
        truth_of[name] += float(np.average(getattr(true, f"user_{name}"), weights=weight))
    rows: list[dict[str, float | str]] = []
    for name in PARAMETERS:
        number = users.parameters.get(name)
        if number is None or number.status != "estimated" or number.error is None:
            continue
        rows.append(
            {
                "world": seed,
                "name": name,
                "value": estimates[name],
                "error": number.error,
                "true": truth_of[name],
            }
        )
    examination = fitted.examination
    if examination is not None and examination.error is not None:
        for name, k in zip(SLOTS, range(1, SMALL.slate_size), strict=True):
            value = float(examination.value[k])
            rows.append(
                {
                    "world": seed,
                    "name": name,
                    "value": value,
                    "error": value * examination.error[k],
                    "true": true.examination[k],
                }
            )
    truth = appeal(true)
    drawn = np.array([appeal(fitted.model(k)) for k in range(len(fitted))])
    low, high = np.quantile(drawn, [0.025, 0.975], axis=0)
    for name, value in (
        ("satiation told", float(users.parameters["satiation"].status == "estimated")),
        ("appeal, Spearman", float(spearmanr(drawn[0], truth)[0])),
        ("appeal, coverage", float(((low <= truth) & (truth <= high)).mean())),
    ):
        rows.append({"world": seed, "name": name, "value": value, "error": np.nan, "true": np.nan})
    return rows


def appeal(users: ChoiceModel) -> np.ndarray:
    """(pairs,) of all users and items, around 0: no log of one policy tells the level of all."""
    table = users.tastes() + users.item_level[1:] + users.user_level[:, None]
    return (table - table.mean()).ravel()


def covers(name: str, value: np.ndarray, error: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Whether each 95 % interval holds the truth."""
    if name in PROBABILITIES:
        value, error, true = logit(value), error / (value * (1 - value)), logit(true)
    elif name == "satiation_half_life_h" or name in SLOTS:
        value, error, true = np.log(value), error / value, np.log(true)
    found: np.ndarray = np.abs(value - true) <= 1.96 * error
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--worlds", type=int, default=400)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("recovery.csv"))
    parser.add_argument(
        "--satiation",
        type=float,
        default=SMALL.satiation,
        help="true cost of an exposure in logits",
    )
    given = parser.parse_args()
    done = pd.read_csv(given.out) if given.out.exists() else pd.DataFrame({"world": []})
    left = [seed for seed in range(given.worlds) if seed not in set(done["world"])]
    with ProcessPoolExecutor(given.jobs, get_context("spawn")) as pool:
        for rows in track(
            pool.map(partial(one, satiation=given.satiation), left), "worlds", len(left)
        ):
            done = pd.concat([done, pd.DataFrame(rows)], ignore_index=True)
            done.to_csv(given.out, index=False)
    done = done[done["world"] < given.worlds]
    judged = done[done["error"].notna()]
    names = [name for name in PARAMETERS + SLOTS if name in set(judged["name"])]
    n = judged.groupby("name")["world"].nunique()
    print(
        "| parameter | true | mean estimate | mean s.e. | spread of estimates | coverage | band of"
        " honest ones |"
    )
    print("|---|---|---|---|---|---|---|")
    for name in names:
        rows = judged[judged["name"] == name]
        covered = covers(
            name, rows["value"].to_numpy(), rows["error"].to_numpy(), rows["true"].to_numpy()
        )
        low, high = binom.interval(1 - 0.001 / len(names), n[name], 0.95)
        print(
            f"| {name} | {rows['true'].mean():.3f} | {rows['value'].mean():.3f} |"
            f" {rows['error'].mean():.3f} | {rows['value'].std():.3f} | {covered.mean():.3f} |"
            f" {low / n[name]:.3f} to {high / n[name]:.3f} |"
        )
    told = done[done["name"] == "satiation told"]["value"]
    print(
        f"satiation of {given.satiation:g} is estimated in {told.sum():.0f} of {len(told)} worlds"
    )
    for name, what in (
        ("appeal, Spearman", "a draw against the truth: Spearman"),
        ("appeal, coverage", "95 % intervals of the draws, mean coverage"),
    ):
        value = done[done["name"] == name]["value"]
        print(
            f"appeal of all pairs, {what} {value.mean():.3f} on average (n = {len(value)} worlds)"
        )


if __name__ == "__main__":
    main()
