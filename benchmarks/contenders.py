"""Which contenders win, and by how much, where users have the taste that the log tells and where
they have more: whole worlds anew for every seed (draw of the fit, users, training, chance).

    python benchmarks/contenders.py --log kuairand:DIR --out contenders
    python benchmarks/contenders.py --log kuairand:DIR --taste 1 --out contenders
    python benchmarks/contenders.py --log world: --out built \
        --policies gptrec,sasrec,level,popularity
    python benchmarks/contenders.py --log kuairand:DIR --out ablations --seeds 3 --users 300 \
        --policies gptrec,gptrec.2,gptrec.3,gptrec.4,gptrec.5,gptrec.6,gptrec.7,gptrec.8,\
gptrec.9,gptrec.10,gptrec.11,gptrec.12,gptrec.13 \
        --every gptrec.prompt_share=.25 --every gptrec.interests=2 \
        --set gptrec.2.answers=false --set gptrec.3.content=false --set gptrec.4.prompt_share=0 \
        --set gptrec.5.dialogues=false --set gptrec.6.interests=1 --set gptrec.7.user_module=false \
        --set gptrec.8.updates=0 --set gptrec.9.update_steps=40 \
        --set gptrec.10.dialogues=false --set gptrec.10.update_steps=40 \
        --set gptrec.11.answers=false --set gptrec.11.update_steps=40 \
        --set gptrec.12.answers=false --set gptrec.12.dialogues=false \
        --set gptrec.12.update_steps=40 \
        --set gptrec.13.prompt_share=0 --set gptrec.13.interests=1
    python benchmarks/contenders.py --log world: --out losses --seeds 3 --users 300 --policies \
        gptrec,gptrec.2,gptrec.3,gptrec.4,gptrec.5 --set gptrec.2.update_loss=page \
        --set gptrec.3.update_loss=next --set gptrec.4.update_epochs=0 --set gptrec.5.updates=0

In twin worlds every user meets every arm; arms retrain on their own rows. `--taste` adds taste that
the log does not tell, of so many logits. With `--half` policies learn from one half of the pairs of
users and items of the log, and users are fitted to the other. The share of the way is
(click rate - uniform) / (oracle - uniform). Intervals are Student's t over seeds. A run that is
there is gone on with, or read.
"""

import argparse
import json
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import t

from policies.common.executor import HERE
from policies.common.settings import pairs_of
from policies.log import Dataset
from policies.registry import base_name
from simulator.doubt.moved import with_hidden_taste
from simulator.experiment.data import load_data, pair_draw
from simulator.experiment.simulate import begin_or_resume
from simulator.fitting.alternatives import KINDS
from simulator.fitting.calibration import calibrate_shift
from simulator.fitting.fit_users import fit
from simulator.fitting.posterior import Posterior
from simulator.population.sampling import FitSample, fit_sample
from simulator.settings import Experiment
from simulator.users.storage import about_users, save_users

REFERENCES = ("uniform", "oracle")
HALF = 0.5
POLICIES = "gptrec,sasrec.2,ranker,level,thompson,sasrec,itemknn,popularity"
SETS = ["sasrec.2.answers=true"]


def experiment_of(given: argparse.Namespace, seed: int, users: Path) -> Experiment:
    """A twin run of one seed."""
    arms: dict[str, dict[str, Any]] = {}
    policies = (*given.policies.split(","), *REFERENCES)
    for name, value in pairs_of([*SETS, *given.set]):
        arm, _, key = name.rpartition(".")
        if arm in policies:
            arms.setdefault(arm, {})[key] = value
    for name, value in pairs_of(given.every):
        policy, _, key = name.rpartition(".")
        for arm in policies:
            if base_name(arm) == policy:
                arms.setdefault(arm, {}).setdefault(key, value)
    return Experiment(
        policies=policies,
        log=given.log,
        users=given.users,
        days=given.days,
        rounds=given.rounds,
        seed=seed,
        design="twin",
        sensitivity=False,
        users_from=str(users),
        policy_share=HALF if given.half else None,
        policy_settings=arms,
    )


def save_users_of(given: argparse.Namespace, seed: int, out: Path) -> None:
    """Draw `seed` of the users that the log allows, with more taste where it is wanted."""
    plain = plain_run(given.log, given.user_model)
    data = load_data(plain)
    if given.half:
        log, history = (
            part.rows(pair_draw(part, seed) >= HALF) for part in (data.log, data.history)
        )
        some, fitted = fitted_to(replace(data, log=log, history=history), plain)
    else:
        some, fitted = fitted_to_log(given.log, given.user_model)
    model = fitted.model((7 * seed + 3) % len(fitted))
    if given.taste:
        model = with_hidden_taste(model, given.taste, seed)
    model = calibrate_shift(model, some.data, plain.slate_size, seed)
    save_users(out, some.of_log(model), about_users(data, plain.slate_size))


def plain_run(log: str, user_model: str) -> Experiment:
    """What users are fitted for; their number, and who they are, is the same for all seeds."""
    return Experiment(log=log, user_model=user_model)


def fitted_to(data: Dataset, plain: Experiment) -> tuple[FitSample, Posterior]:
    """What a log says of its users, or of as many as the user model has room for."""
    some = fit_sample(data, plain)
    return some, fit(some.data, 0, plain.slate_size, lambda text: None, plain.user_model)


@cache
def fitted_to_log(log: str, user_model: str) -> tuple[FitSample, Posterior]:
    """The same of all of it, once: every seed draws among what is plausible."""
    plain = plain_run(log, user_model)
    return fitted_to(load_data(plain), plain)


def interval(values: np.ndarray) -> str:
    """Mean and Student's t interval over seeds, in per cent."""
    mean, n = 100 * values.mean(), len(values)
    if n < 2:
        return f"{mean:+.1f} % (one seed)"
    half = 100 * t.ppf(0.975, n - 1) * values.std(ddof=1) / n**0.5
    return f"{mean:+.1f} % ({mean - half:+.1f} to {mean + half:+.1f})"


def the_command() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--log", default="world:")
    parser.add_argument("--policies", default=POLICIES)
    parser.add_argument("--set", action="append", default=[], metavar="ARM.KEY=VALUE")
    parser.add_argument(
        "--every",
        action="append",
        default=[],
        metavar="POLICY.KEY=VALUE",
        help="of every arm of a policy that does not say otherwise",
    )
    parser.add_argument(
        "--taste", type=float, default=0.0, help="logits that the log does not tell"
    )
    parser.add_argument("--user-model", default="factors", choices=KINDS)
    parser.add_argument("--half", action="store_true")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=1)
    parser.add_argument("--users", type=int, default=500)
    parser.add_argument("--days", type=float, default=3.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, required=True)
    return parser.parse_args()


def main() -> None:
    given = the_command()
    users = f"{given.user_model}-taste-{given.taste:g}{'-half' if given.half else ''}"
    arms: list[dict[str, Any]] = []
    advantage: list[dict[str, Any]] = []
    offline: list[dict[str, Any]] = []
    rounds: list[dict[str, Any]] = []
    seconds = []
    for seed in range(given.first_seed, given.first_seed + given.seeds):
        place = given.out / users / f"seed-{seed}"
        if not (place / "users").is_dir():
            place.mkdir(parents=True, exist_ok=True)
            save_users_of(given, seed, place / "users")
        experiment = experiment_of(given, seed, place / "users")
        beside = sorted(given.out.glob("*/seed-*/run"))  # of the same log, before other users
        report = begin_or_resume(experiment, place / "run", False, HERE, beside).report
        told = report.as_json()
        arms += [{**row, "seed": seed} for row in told["arms"]["rows"]]
        advantage += told["advantage"]["rows"] if told["advantage"] else []
        rounds += told["rounds"]["loop"]
        offline += told["offline"]["rows"] if told["offline"] else []
        seconds.append(json.loads((place / "run" / "manifest.json").read_text())["seconds"])
    print(
        f"{given.log}, users {users}: {given.seeds} seeds, {given.users} users,"
        f" {given.days:g} days, {given.rounds} rounds; {sum(seconds):.0f} s"
    )
    print(f"settings: {asdict(experiment)['policy_settings']}")
    frame = pd.DataFrame(arms)
    show_arms(frame.pivot(index="seed", columns="arm", values="click_rate"))
    show_lifts(frame.pivot(index="seed", columns="arm", values="clicks"))
    for name in ("click_rate", "coverage", "popularity_shown"):
        by_round = pd.DataFrame(rounds).pivot_table(name, "arm", "round", sort=False)
        print(f"\n{name} by round, mean over seeds\n{by_round.round(4).to_string()}")
    for title, rows, key, names in (
        ("what is known", advantage, "known", ["click_rate"]),
        ("offline", offline, "arm", ["ndcg10", "auc", "recalled"]),
    ):
        if rows:
            means = pd.DataFrame(rows).groupby(key, sort=False)[names].mean()
            print(f"\n{title}, mean over seeds\n{means.astype(float).round(4).to_string()}")


def show_arms(rate: pd.DataFrame) -> None:
    """Click rates and shares of the way, seeds by arms."""
    share = rate.sub(rate["uniform"], axis=0).div(rate["oracle"] - rate["uniform"], axis=0)
    print("\n| arm | clicks per impression | share of the way |\n|---|---|---|")
    for arm in rate.mean().sort_values(ascending=False).index:
        print(f"| {arm} | {rate[arm].mean():.4f} | {100 * share[arm].mean():.0f} % |")


def show_lifts(clicks: pd.DataFrame) -> None:
    """Clicks per user of each arm against each other one, seeds by arms; the best first."""
    means = clicks.drop(columns=list(REFERENCES)).mean()
    order = list(means.sort_values(ascending=False).index)
    if len(order) < 2:
        return
    print(f"\n| clicks against | {' | '.join(order[1:])} |\n|{'---|' * len(order)}")
    for i, arm in enumerate(order[:-1]):
        lifts = [
            interval((clicks[arm] / clicks[other] - 1).to_numpy()) if j > i else ""
            for j, other in enumerate(order)
        ]
        print(f"| {arm} | {' | '.join(lifts[1:])} |")


if __name__ == "__main__":
    main()
