"""Would the users' verdict on policies be right that the log never served? Worlds whose truth is
known, logs drawn from them, twelve policies.

    python benchmarks/verdicts.py --log kuairand:DIR --out verdicts.json

The worlds are users fitted to the log, plus a taste that no log shows (a normal of rank 8, of so
many logits). A logger that knows their levels and their fitted taste, and nothing of the rest,
serves items by softmax at a temperature, without and with 5 % uniformly random rows; clicks follow
the world. To the first two thirds of each log users are fitted again, with and without its
propensities, and of them twelve policies are made, each a known distribution over items for every
user. They are judged by

    users    the mean over draws of the fitted users, and how far the draws lie apart
    snips    self-normalised inverse propensity over the last third (where the log says how likely
             each row was)
    both     the users, corrected by the self-normalised inverse propensity of what they got wrong
             in the last third; with fewer than 100 effective rows the users, as unsure as they are
             wrong of the other policies; where the log does not say how likely its rows were, the
             users

against the true rate. Reported for each kind of world: signs of differences above .01 that are
right, mean error of the rates, coverage of 95 % intervals of rates and of differences, the mean
interval score (Gneiting and Raftery 2007; smaller is better), and whether the policy that knows
half of the hidden taste's variance is put above popularity. Nothing is simulated here but clicks:
pages of one item, no tiring, so that every truth is a sum.
"""

import argparse
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import combinations, product
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.optimize import brentq
from scipy.special import expit, softmax
from scipy.stats import norm

from policies.baselines.click_matrix import added, none_yet
from policies.baselines.itemknn import ItemKNN
from policies.common.executor import Unit, Workers, at_once
from policies.common.files import save_json
from policies.common.terminal import to_stderr
from policies.draws import generator
from policies.log import Dataset, Impressions
from policies.sources.levels import generic_level
from simulator.chains.crossed_effects import Chains
from simulator.doubt.worlds import plausible
from simulator.experiment.data import load_data
from simulator.fitting.fit_users import fit, fit_users
from simulator.population.sampling import in_line
from simulator.settings import Experiment, add_log_flags, log_settings
from simulator.users.choice_model import DAY, ChoiceModel
from simulator.users.storage import load_users, save_users

HIDDEN, TEMPERATURES, UNIFORM = (0.2, 0.5, 1.0), (0.5, 1.0), (0.0, 0.05)
RANDOM_RATE = 0.176  # of uniformly random items, in every world
WIDTH, KNOWN = 8, 4  # of the hidden taste, and what of it the expert knows: half of its variance
SPAN_D, MODELS, LEAST = 14, 10, 0.01  # days of a log; draws of users; difference that has a sign
LEAST_EFFECTIVE = 100.0  # rows (Kish), or nothing is corrected
EXPERT, POPULAR = "expert", "popular"


@dataclass(frozen=True)
class World:
    """Of U users and N items, items without padding.

    Attributes:
        levels: (N,) item levels. taste: (U, N) what the logger knows beside them. known: (U, N)
            what the expert knows of the hidden taste. truth: (U, N) probability of a click.
    """

    levels: np.ndarray
    taste: np.ndarray
    known: np.ndarray
    truth: np.ndarray


@dataclass(frozen=True)
class Judged:
    """Twelve rates, as an estimator has them.

    Attributes:
        rate: (P,). error: (P,) standard errors. apart: (P, P) standard errors of the differences.
    """

    rate: np.ndarray
    error: np.ndarray
    apart: np.ndarray


def world_of(model: ChoiceModel, hidden: float, seed: int) -> World:
    """A world of these users with a hidden taste of so many logits."""
    rng = generator("verdicts world", seed)
    users = rng.normal(size=(model.n_users, WIDTH)) * hidden / WIDTH**0.5
    items = rng.normal(size=(model.n_items, WIDTH))
    taste, levels = model.tastes().astype(np.float64), model.item_level[1:].astype(np.float64)
    logits = taste + levels + model.user_level[:, None] + users @ items.T
    shift = brentq(lambda s: expit(logits + s).mean() - RANDOM_RATE, -20, 20)
    return World(levels, taste, users[:, :KNOWN] @ items[:, :KNOWN].T, expit(logits + shift))


def log_of(
    world: World, data: Dataset, temperature: float, uniform: float, rows: int, seed: int
) -> tuple[Dataset, Impressions]:
    """What the logger shows and is answered: the first two thirds, and the last one."""
    rng = generator("verdicts log", seed, temperature, uniform)
    n_users, n_items = world.truth.shape
    shown = softmax((world.levels + world.taste) / temperature, axis=1)
    shown = (1 - uniform) * shown + uniform / n_items
    user = np.sort(rng.integers(0, n_users, rows))
    begin = np.searchsorted(user, np.arange(n_users + 1))
    item = np.empty(rows, np.int64)
    for u in range(n_users):
        n = begin[u + 1] - begin[u]
        item[begin[u] : begin[u + 1]] = rng.choice(n_items, n, p=shown[u])
    log = Impressions.of(
        user=user,
        item=item + 1,
        time=rng.uniform(-SPAN_D * DAY, 0, rows),
        session=np.arange(rows) - begin[user],
        clicked=rng.random(rows) < world.truth[user, item],
        propensity=shown[user, item],
    )
    ids = np.arange(n_users).astype(str)
    log = log.sorted()
    cut = 2 * rows // 3
    early = log.rows(slice(cut))
    made = Dataset(early, data.catalogue, ids, "verdicts", frozenset({"skips"}))
    return made, log.rows(slice(cut, None))


def policies_of(
    world: World, data: Dataset, temperature: float
) -> Iterator[tuple[str, np.ndarray]]:
    """Names and (U, N) distributions over items, or (1, N) of one for everybody."""
    log, n_items = data.log, world.truth.shape[1]
    rows = np.bincount(log.item, minlength=n_items + 1)[1:].astype(float)
    clicks = np.bincount(log.item[log.clicked], minlength=n_items + 1)[1:].astype(float)
    rate = (clicks + 5 * log.clicked.mean()) / (rows + 5)
    category = data.catalogue.category[1:].astype(np.int64)
    by_user = np.zeros((len(world.truth), int(category.max()) + 1)) + 0.02
    np.add.at(by_user, (log.user, category[log.item - 1]), log.clicked.astype(float))
    near = np.log1p(_neighbours(data))
    logger = world.levels + world.taste
    of_everybody = {
        "uniform": np.ones(n_items),
        POPULAR: clicks + 1,
        "popular, sharper": (clicks + 1) ** 2,
        "click rate": rate**4,
        "click rate, sharper": rate**10,
        "novel": 1 / (rows + 1),
    }
    for name, weight in of_everybody.items():
        yield name, (weight / weight.sum())[None]
    for name, score in {
        "own categories": np.log(by_user / by_user.sum(axis=1, keepdims=True))[:, category]
        + np.log(rate),
        "item-kNN": 4 * near,
        "item-kNN and popular": 2 * near + np.log(clicks + 1),
        "logger, sharper": logger / (temperature / 2),
        "logger, flatter": logger / (temperature * 2),
        EXPERT: 1.5 * (logger + world.known),
    }.items():
        yield name, softmax(score, axis=1)


def _neighbours(data: Dataset) -> np.ndarray:
    """(U, N) sums of item-kNN over a user's clicks, 1 on average over what is above 0."""
    knn = ItemKNN()
    knn.fit(data.log, data.catalogue, generator("verdicts"))
    assert knn._similar is not None
    sums = (added(none_yet(data.catalogue.size), data.log) @ knn._similar).toarray()[:, 1:]
    full = np.zeros((data.n_users, data.catalogue.size))
    full[: len(sums)] = sums
    there = full[full > 0]
    return full / (there.mean() if len(there) else 1.0)


def by_users(
    models: list[ChoiceModel], targets: dict[str, np.ndarray]
) -> tuple[Judged, np.ndarray]:
    """Rates over draws of the users, all alike in number of rows; and (U, N) their mean answers."""
    mean, rates = np.zeros((models[0].n_users, models[0].n_items)), []
    for model in models:
        logits = model.tastes() + model.item_level[1:] + model.user_level[:, None]
        answers = expit(logits + model["shift"])
        mean += answers / len(models)
        rates.append([rate_of(answers, target) for target in targets.values()])
    drawn = np.array(rates)
    more = (1 + 1 / len(models)) ** 0.5
    apart = (drawn[:, :, None] - drawn[:, None, :]).std(axis=0, ddof=1)
    return Judged(drawn.mean(axis=0), more * drawn.std(axis=0, ddof=1), more * apart), mean


def rate_of(answers: np.ndarray, target: np.ndarray) -> float:
    """Mean of answers (U, N) under a target (U, N) or (1, N), users alike."""
    return float((answers * target).sum(axis=1).mean())


def by_propensity(
    log: Impressions,
    targets: dict[str, np.ndarray],
    answers: np.ndarray | None = None,
    users: Judged | None = None,
) -> Judged:
    """SNIPS, or with a model's `answers` (U, N) the model corrected by SNIPS of what it got wrong;
    errors by users.

    Args:
        users: who have the word where too few rows speak of a policy.
    """
    n = int(log.user.max()) + 1
    rates, influences, enough = [], [], []
    for target in targets.values():
        at = target[log.user if len(target) > 1 else 0, log.item - 1]
        w = at / log.propensity.astype(np.float64)
        rest, model, of_user = log.clicked.astype(float), 0.0, np.zeros(n)
        if answers is not None:
            rest = rest - answers[log.user, log.item - 1]
            by_user = (answers[:n] * target[: n if len(target) > 1 else 1]).sum(axis=1)
            model, of_user = float(by_user.mean()), (by_user - by_user.mean()) / n
        mean = float(w @ rest / w.sum())
        enough.append(w.sum() ** 2 / (w @ w) >= LEAST_EFFECTIVE)
        rates.append(model + mean)
        influences.append(of_user + np.bincount(log.user, w * (rest - mean), minlength=n) / w.sum())
    by_user = np.array(influences)
    error = np.sqrt((by_user**2).sum(axis=1))
    apart = np.sqrt(((by_user[:, None] - by_user[None]) ** 2).sum(axis=2))
    rate, told = np.array(rates), np.array(enough)
    if users is None:
        return Judged(rate, error, apart)
    # How wrong the users are elsewhere is how wrong they may be here.
    elsewhere = float(np.sqrt(((rate - users.rate)[told] ** 2).mean())) if told.any() else 0.0
    rate = np.where(told, rate, users.rate)
    error = np.where(told, error, np.hypot(users.error, elsewhere))
    return Judged(
        rate, error, np.where(told[:, None] & told, apart, np.hypot(error[:, None], error))
    )


def cell(
    folder: str, about: dict[str, float], log: str, sizes: tuple[int, int], draws: int
) -> list[dict[str, object]]:
    """One log of one world, judged with and without its propensities."""
    data = load_data(Experiment(log=log))
    model = load_users(Path(folder))
    seed = int(about["seed"])
    world = world_of(model, about["hidden"], seed)
    made, late = log_of(world, data, about["temperature"], about["uniform"], sizes[1], seed)
    targets = dict(policies_of(world, made, about["temperature"]))
    truth = np.array([rate_of(world.truth, target) for target in targets.values()])
    fitted = fit(made, seed, 1, lambda text: None, chains=Chains(draws, 8, seed))
    rows = []
    for told in (True, False):
        unknown = replace(made.log, propensity=np.full(len(made.log), np.nan, np.float32))
        here = made if told else replace(made, log=unknown)
        here = replace(here, calibration={"random_click_rate": generic_level(here)})
        names = [f"world {k}" for k in range(MODELS)]
        models = list(plausible(fitted, here, names, 1, seed))
        users, answers = by_users(models, targets)
        by = {"users": users, "both": users}
        if told:
            by |= {
                "snips": by_propensity(late, targets),
                "both": by_propensity(late, targets, answers, users),
            }
        for name, judged in by.items():
            row = {**about, "propensities": told, "by": name, **scores(judged, truth)}
            order = list(targets)
            gap = judged.rate[order.index(EXPERT)] - judged.rate[order.index(POPULAR)]
            true_gap = truth[order.index(EXPERT)] - truth[order.index(POPULAR)]
            row |= {"expert_right": bool((gap > 0) == (true_gap > 0)), "gap": float(gap)}
            row |= {"true_gap": float(true_gap), "names": order, "truth": truth.tolist()}
            row |= {"rates": judged.rate.tolist()}
            rows.append(row)
    return rows


def scores(judged: Judged, truth: np.ndarray) -> dict[str, float]:
    """How right the rates are, their intervals and those of all differences."""
    z, signs, right = float(norm.ppf(0.975)), 0, 0
    covered, score = [], []
    for a, b in combinations(range(len(truth)), 2):
        true, found = truth[a] - truth[b], judged.rate[a] - judged.rate[b]
        if abs(true) > LEAST:
            signs += 1
            right += (found > 0) == (true > 0)
        covered.append(abs(found - true) <= z * judged.apart[a, b])
        score.append(_interval_score(found - true, z * judged.apart[a, b]))
    off = judged.rate - truth
    return {
        "signs": signs,
        "right": int(right),
        "error": float(np.abs(off).mean()),
        "covers": float((np.abs(off) <= z * judged.error).mean()),
        "covers_differences": float(np.mean(covered)),
        "interval_score": float(
            np.mean([_interval_score(x, z * e) for x, e in zip(off, judged.error, strict=True)])
        ),
        "interval_score_differences": float(np.mean(score)),
    }


def _interval_score(off: float, half: float, alpha: float = 0.05) -> float:
    """Of a 95 % interval of this half width around an estimate that is off by so much."""
    return float(2 * half + 2 / alpha * max(abs(off) - half, 0.0))


def summary(rows: list[dict[str, object]], by: list[str]) -> pd.DataFrame:
    """Means over the cells of a kind; signs as sums."""
    frame = pd.DataFrame(rows)
    grouped = frame.groupby([*by, "by"], sort=False)
    table = grouped[
        ["error", "covers", "covers_differences", "interval_score", "interval_score_differences"]
    ].mean()
    table.insert(0, "signs", grouped["right"].sum() / grouped["signs"].sum())
    table["expert"] = grouped["expert_right"].mean()
    table["cells"] = grouped.size()
    return table


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_log_flags(parser)
    parser.add_argument("--users", type=int, default=1000)
    parser.add_argument("--rows", type=int, default=150_000, help="of each log")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--draws", type=int, default=100)
    parser.add_argument("--out", help="every cell as JSON")
    parser.add_argument("--workers", type=int)
    given = parser.parse_args()
    experiment = Experiment(**log_settings(given))
    say: Callable[[str], None] = to_stderr(False)
    data = load_data(experiment)
    model = fit_users(data, 0, experiment.slate_size, say)
    some = in_line(np.arange(data.n_users), 0)[: given.users]
    seeds = range(given.first_seed, given.first_seed + given.seeds)
    cells = [
        {"hidden": h, "temperature": t, "uniform": u, "seed": float(seed)}
        for h, t, u, seed in product(HIDDEN, TEMPERATURES, UNIFORM, seeds)
    ]
    with tempfile.TemporaryDirectory() as folder:
        save_users(Path(folder), model.of_users(some))
        sizes = len(some), given.rows
        work = [
            Unit(
                " ".join(f"{k} {x:g}" for k, x in about.items()),
                cell,
                (folder, about, experiment.log, sizes, given.draws),
            )
            for about in cells
        ]
        with Workers(given.workers).executor() as by:
            rows = [row for part in at_once(by, work) for row in part]
    if given.out:
        save_json(Path(given.out), rows)
    pd.set_option("display.width", 200)
    for kinds in (["propensities"], ["propensities", "hidden"], ["propensities", "uniform"]):
        print(summary(rows, kinds).round(4).to_string(), "\n")


if __name__ == "__main__":
    main()
