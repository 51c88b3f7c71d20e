"""The level that a log cannot tell: the shift of appeal meets the click rate of random slates."""

from dataclasses import replace

import numpy as np
from scipy.optimize import brentq
from scipy.special import expit, logit

from policies.base import Policy
from policies.baselines.uniform import Uniform
from policies.common.errors import InputError
from policies.draws import Draws, generator, key_of
from policies.log import Dataset
from simulator.engine.histories import Histories
from simulator.engine.recorder import WARMUP
from simulator.engine.world import Arm, World
from simulator.settings import Experiment
from simulator.users.choice_model import DAY, ChoiceModel, Parameter, is_matrix
from simulator.users.strangers import Strangers

SETTLED = 2000  # users of a simulation that a level is read from
TURNS = 4  # simulations, each nearer to a level
FEWEST_ROWS, LONGEST = 1000, 96.0  # of a simulation that a level is read from, and days


def check_rate(name: str, rate: float, examination: np.ndarray, k: int) -> float:
    """Share of a slate of `k` that is looked at.

    Raises:
        InputError: no users can have this click rate.
    """
    if not 0 < rate < 1:
        raise InputError(f"calibration: click rates must lie between 0 and 1, not {rate:g}")
    most = float(examination[:k].mean())
    if rate >= most:
        raise InputError(
            f"calibration: {name} {rate:g} cannot be met, as {most:.2f} of a slate of {k} is looked"
            " at"
        )
    return most


def at_random(model: ChoiceModel, data: Dataset, seed: int) -> np.ndarray:
    """(n,) logits of random items for rested users, users as often as they stand in the log;
    without the shift.
    """
    rng = generator("random slates", seed)
    user = data.log.user[rng.integers(0, len(data.log), 100_000)]
    item = rng.integers(1, data.catalogue.size + 1, len(user))
    logits: np.ndarray = model.appeal(user, item[:, None])[:, 0] - model["shift"]
    return logits


def random_by_levels(model: ChoiceModel, data: Dataset, k: int, seed: int) -> float:
    """Click rate of uniformly random slates if what was shown were all that one knows: the shift of
    the log's slates.
    """
    examination = float(model.examination[:k].mean())
    return examination * float(expit(at_random(model, data, seed) + model["shift"]).mean())


def calibrate_shift(model: ChoiceModel, data: Dataset, k: int, seed: int) -> ChoiceModel:
    """Moves the shift until a simulation of uniformly random slates, satiation and all, clicks at
    its level.

    Adds `selection`: what the slates of the log have over the level that was met.
    """
    if is_matrix(model):
        return model  # its level is the matrix's own
    target, why = data.calibration["random_click_rate"]
    check_rate("random_click_rate", target, model.examination, k)
    of_log = model["shift"]
    without = random_by_levels(model, data, k, seed)
    x, examination = at_random(model, data, seed), float(model.examination[:k].mean())
    first = brentq(
        lambda s: examination * expit(x + s).mean() - min(target, 0.99 * examination),
        -30 - x.max(),
        30 - x.min(),
    )
    shift = settled_shift(some_users(model), data, target, k, seed, float(first))
    source = f"uniformly random slates click at {target:g} in simulation ({why})"
    selection = (
        "what the log's policy knew and the log does not tell: random slates would click at"
        f" {without:.3f} without it"
    )
    met = model.with_parameters(shift=Parameter(shift, "assumed", source))
    if "skips" not in data.has:
        return met  # it was met before, but for satiation and for who visits most
    return met.with_parameters(selection=Parameter(of_log - shift, "assumed", selection))


def calibrate_level(
    users: Strangers, data: Dataset, k: int, seed: int
) -> tuple[Strangers, float | None]:
    """Users of somebody else whose level can be set, moved as `calibrate_shift` moves ours, and the
    click rate that random slates then have (None: too few come to tell); themselves where it cannot
    be set.
    """
    if users.level is None:
        return users, None
    target = data.calibration["random_click_rate"][0]
    rows = _some(users.n_users)
    level = users.level
    for turn in range(TURNS + 1):
        few = users.with_level(level).of_users(rows)
        rate = random_rate(few, data, k, seed)
        if rate is None or abs(rate - target) < 5e-4 or turn == TURNS:
            break
        level += float(logit(target) - logit(min(max(rate, 1e-4), 1 - 1e-4)))
    return users.with_level(level), rate


def some_users(model: ChoiceModel, n: int = SETTLED) -> ChoiceModel:
    """A few of them, by keyed draw."""
    return model.of_users(_some(model.n_users, n))


def _some(n_users: int, n: int = SETTLED) -> np.ndarray:
    everyone = np.arange(n_users)
    rows = np.argsort(Draws(key_of("settle"), everyone, everyone * 0).uniform("u", 1)[:, 0])
    return rows[: min(n_users, n)]


def settled_shift(
    model: ChoiceModel,
    data: Dataset,
    target: float,
    k: int,
    seed: int,
    first: float,
    turns: int = TURNS,
) -> float:
    """The shift at which a simulation of uniformly random slates clicks at `target`.

    Args:
        first: where to start, and what stays where hardly anybody comes. turns: at most.
    """
    shift = first
    for _ in range(turns):
        model = model.with_parameters(shift=replace(model.parameters["shift"], value=shift))
        rate = random_rate(model, data, k, seed)
        if rate is None:
            return first
        if abs(rate - target) < 5e-4:
            break
        shift += float(logit(target) - logit(min(max(rate, 1e-4), 1 - 1e-4)))
    return shift


def random_rate(model: ChoiceModel | Strangers, data: Dataset, k: int, seed: int) -> float | None:
    """Of uniformly random slates, see `settled_rate`."""
    return settled_rate(model, data, k, seed, Uniform())


def settled_rate(
    model: ChoiceModel | Strangers,
    data: Dataset,
    k: int,
    seed: int,
    policy: Policy,
    days: float = 2.0,
) -> float | None:
    """Mean true click probability of a policy's slates in a simulation of `days`, after those in
    which users tire.

    None where fewer than `FEWEST_ROWS` are seen, however long: up to 64 times as many days are
    tried.

    Minds start rested, so that the first day, and the first two half-lives of satiation, click more
    than those to come.
    """
    tiring = 1.0
    if isinstance(model, ChoiceModel) and model["satiation"] > 0:
        tiring = max(tiring, 2 * model["satiation_half_life_h"] / 24)
    n = model.n_users
    available = int(data.catalogue.available(0.0).sum())
    experiment = Experiment(
        policies=("uniform",), users=max(n, 2), rounds=1, seed=seed, slate_size=k
    )
    ids = np.arange(n, dtype=np.int32)
    clicks = MeanProbability(tiring * DAY)
    world = World(
        name="calibration",
        experiment=experiment,
        model=model,
        catalogue=data.catalogue,
        ids=ids,
        bucket=np.full(n, -1, np.int16),
        arms=[Arm(WARMUP, -1, policy)],
        state=model.start(n, 0.0),
        histories=Histories.of(n, 0, 0, max(min(experiment.repeat_after, available - k), 0)),
        due=model.first_visit(ids, 0.0, Draws(key_of("settle", seed), ids, ids * 0)),
        sessions=np.zeros(n, np.int32),
        sink=clicks,
    )
    world.run(0.0, (tiring + days) * DAY)
    if clicks.count < FEWEST_ROWS:
        longer = 2 * days if days < LONGEST else None
        return None if longer is None else settled_rate(model, data, k, seed, policy, longer)
    return clicks.total / clicks.count


class MeanProbability:
    """A sink that keeps the mean of the true click probabilities from a time on, and no rows; of
    the clicks where users do not state them.
    """

    truth, counterfactual = True, False

    def __init__(self, since: float):
        self.since, self.total, self.count = since, 0.0, 0

    def add(self, bucket: str, round_: int, page: dict[str, np.ndarray]) -> None:
        late = page["time"] >= self.since
        settled = page["probability"][late]
        if np.isnan(settled).any():
            settled = page["clicked"][late].astype(np.float32)
        self.total += float(settled.sum(dtype=np.float64))
        self.count += settled.size

    def flush(self) -> None:
        pass
