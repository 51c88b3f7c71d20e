"""Which contenders win, and by how much, where users have the taste that the log tells and where
they have more: whole worlds anew for every seed (draw of the fit, users, training, chance).

    python benchmarks/contenders.py --log kuairand:DIR --out contenders
    python benchmarks/contenders.py --log kuairand:DIR --taste 1 --out contenders
    python benchmarks/contenders.py --log world: --out built \
        --policies gptrec,sasrec,level,popularity
    python benchmarks/contenders.py --log kuairand:DIR --out ablations --seeds 3 --users 300 \
        --policies gptrec,gptrec.2,gptrec.3,gptrec.4,gptrec.5,gptrec.6,gptrec.7 \
        --set gptrec.2.answers=false --set gptrec.3.content=false --set gptrec.4.prompt_share=0 \
        --set gptrec.5.dialogues=false --set gptrec.6.interests=1 --set gptrec.7.user_module=false

In twin worlds every user meets every arm; arms retrain on their own rows. `--taste` adds taste that
the log does not tell, of so many logits. The share of the way is (click rate - uniform) / (oracle -
uniform). Intervals are Student's t over seeds. A run that is there is gone on with, or read.
"""

import argparse
import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import t

from policies.common.executor import HERE
from policies.common.settings import pairs_of
from simulator.doubt.moved import with_hidden_taste
from simulator.experiment.data import load_data
from simulator.experiment.simulate import begin_or_resume
from simulator.fitting.calibration import calibrate_shift
from simulator.fitting.fit_users import fit
from simulator.settings import Experiment
from simulator.users.storage import about_users, save_users

REFERENCES = ("uniform", "oracle")
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
        policy_settings=arms,
    )


def save_users_of(given: argparse.Namespace, seed: int, out: Path) -> None:
    """Draw `seed` of the users that the log allows, with more taste where it is wanted."""
    plain = Experiment(log=given.log, seed=seed)
    data = load_data(plain)
    fitted = fit(data, 0, plain.slate_size, lambda text: None)
    model = fitted.model((7 * seed + 3) % len(fitted))
    if given.taste:
        model = with_hidden_taste(model, given.taste, seed)
    model = calibrate_shift(model, data, plain.slate_size, seed)
    save_users(out, model, about_users(data, plain.slate_size))


def interval(values: np.ndarray) -> str:
    """Mean and Student's t interval over seeds, in per cent."""
    mean, n = 100 * values.mean(), len(values)
    if n < 2:
        return f"{mean:+.1f} % (one seed)"
    half = 100 * t.ppf(0.975, n - 1) * values.std(ddof=1) / n**0.5
    return f"{mean:+.1f} % ({mean - half:+.1f} to {mean + half:+.1f})"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--log", default="world:")
    parser.add_argument("--policies", default=POLICIES)
    parser.add_argument("--set", action="append", default=[], metavar="ARM.KEY=VALUE")
    parser.add_argument(
        "--taste", type=float, default=0.0, help="logits that the log does not tell"
    )
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=1)
    parser.add_argument("--users", type=int, default=500)
    parser.add_argument("--days", type=float, default=3.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    rates: dict[str, list[float]] = {}
    clicks: dict[str, list[float]] = {}
    seconds = []
    for seed in range(given.first_seed, given.first_seed + given.seeds):
        place = given.out / f"taste-{given.taste:g}" / f"seed-{seed}"
        if not (place / "users").is_dir():
            place.mkdir(parents=True, exist_ok=True)
            save_users_of(given, seed, place / "users")
        experiment = experiment_of(given, seed, place / "users")
        report = begin_or_resume(experiment, place / "run", quiet=False, workers=HERE).report
        for row in report.as_json()["arms"]["rows"]:
            rates.setdefault(row["arm"], []).append(row["click_rate"])
            clicks.setdefault(row["arm"], []).append(row["clicks"])
        seconds.append(json.loads((place / "run" / "manifest.json").read_text())["seconds"])
    rate = {arm: np.array(values) for arm, values in rates.items()}
    span = rate["oracle"] - rate["uniform"]
    print(
        f"{given.log}, taste {given.taste:g}: {given.seeds} seeds, {given.users} users,"
        f" {given.days:g} days, {given.rounds} rounds; {sum(seconds):.0f} s"
    )
    print("| arm | click rate | share of the way | clicks against level | against popularity |")
    print("|---|---|---|---|---|")
    for arm in sorted(rate, key=lambda arm: -rate[arm].mean()):
        share = 100 * ((rate[arm] - rate["uniform"]) / span).mean()
        against = [
            interval(np.array(clicks[arm]) / np.array(clicks[other]) - 1)
            if other in clicks and other != arm
            else ""
            for other in ("level", "popularity")
        ]
        print(f"| {arm} | {rate[arm].mean():.4f} | {share:.0f} % | {' | '.join(against)} |")
    first = next(iter(rate))
    for other in rate:
        if other not in (first, *REFERENCES):
            lift = np.array(clicks[first]) / np.array(clicks[other]) - 1
            print(f"{first} against {other}: {interval(lift)}")
    print(f"settings: {dataclasses.asdict(experiment)['policy_settings']}")


if __name__ == "__main__":
    main()
