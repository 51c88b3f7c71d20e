"""The number that decides: what a log does not tell of its users is moved to the ends of its
range, one number at a time, and the arms serve the same few users again, with the same draws and
the models that they began with.
"""

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.data.rows import parquet
from analysis.data.run import everyone
from analysis.metrics import load_metrics
from analysis.results.sensitivity import AS_FITTED, MovedLift
from analysis.statistics.comparison import value_of
from policies.common.executor import Executor, Unit, at_once
from policies.common.files import reading, save_json
from policies.draws import generator
from policies.log import Dataset
from policies.sources.levels import RANDOM_OVER_LOGGED, by_propensity, is_generic
from simulator.doubt.worlds import MOST_HIDDEN, MOST_LOOKED_AT
from simulator.engine.recorder import Recorder
from simulator.engine.world import World
from simulator.experiment.inputs import Population, read_log, read_population
from simulator.experiment.newcomers import turned_over
from simulator.experiment.population import population
from simulator.experiment.units import AGAIN, Place, arm_of, at_first, begun, policy_of
from simulator.fitting.calibration import settled_shift, some_users
from simulator.fitting.examination import SLOTS
from simulator.fitting.posterior import RESIDUAL_WIDTH, stretched
from simulator.fitting.visits import PUBLISHED
from simulator.settings import Experiment
from simulator.users.choice_model import DAY, ChoiceModel, Parameter, is_matrix
from simulator.users.storage import load_users, save_users

USERS, DAYS = 300, 2.0
SETTLED = 500  # users of a simulation that their level is read from
STAYING, RETURNING = "staying", "returning"
RESAMPLES = 400
MOST_SATIATION = 0.1  # logits per exposure, where the log does not tell
STEEPEST_SLOTS = 0.5  # exponent of examination, where the log does not tell: .12 is assumed
SURE = 1.96


@dataclass(frozen=True)
class Moved:
    """Users of whom one number is another.

    Attributes:
        number: its name. end: where it was moved, in words. random: click rate of random slates
            that they are to have; None = as before.
    """

    number: str
    end: str
    model: ChoiceModel
    random: float | None = None

    @property
    def settles(self) -> bool:
        """Whether random slates would be clicked at another rate."""
        return self.number not in (AS_FITTED, STAYING, RETURNING)


def asks(experiment: Experiment) -> bool:
    """Whether there is anything to ask: enough users, and two contenders."""
    return experiment.sensitivity and experiment.users >= USERS and len(experiment.contenders) > 1


def moved_users(model: ChoiceModel, data: Dataset, k: int, seed: int) -> Iterator[Moved]:
    """The users as they are, then each number at the ends of its range; those that the log tells by
    1.96 standard errors, no number that somebody gave.
    """
    yield Moved(AS_FITTED, "", model)
    yield from _random_levels(model, data, k)
    if model.table is None:
        yield Moved(
            "taste that the log does not tell",
            f"{MOST_HIDDEN:g} logits, not 0",
            with_hidden_taste(model, MOST_HIDDEN, seed),
        )
    yield from _levels_of_choices(model)
    yield from _tiring(model)
    if model.provenance.get("examination", ("", ""))[0] == "assumed":
        for exponent, words in ((0.0, "all slots"), (STEEPEST_SLOTS, "the first slots")):
            seen = np.arange(1, SLOTS + 1) ** -exponent
            words = f"{words} looked at (slot ** -{exponent:g})"
            yield Moved("examination", words, replace(model, examination=seen))
    yield from _slope(model, "leave_satisfaction", STAYING)
    yield from _slope(model, "return_satisfaction", RETURNING)


def _random_levels(model: ChoiceModel, data: Dataset, k: int) -> Iterator[Moved]:
    """The click rate of uniformly random slates, unless somebody says it."""
    if not is_generic(data):
        return
    level = data.calibration["random_click_rate"][0]
    told = by_propensity(data) if "skips" in data.has else None
    logged = float(data.log.clicked.mean())
    if "skips" not in data.has:
        logged = PUBLISHED["logged_click_rate"][0]
    if told is not None:
        ends = [level - SURE * told[1], level + SURE * told[1]]
    else:
        ends = [min(RANDOM_OVER_LOGGED) * logged, max(RANDOM_OVER_LOGGED) * logged]
    most = MOST_LOOKED_AT * float(model.examination[:k].mean())
    for end in ends:
        rate = float(np.clip(end, 1e-4, most))
        yield Moved("random level", f"{rate:.3g}, not {level:.3g}", model, rate)


def with_hidden_taste(model: ChoiceModel, sd: float, seed: int) -> ChoiceModel:
    """With a further taste of this standard deviation in logits over random pairs; what was fitted
    is made steeper, as the fit knew nothing of it.
    """
    rng, by = generator("hidden taste", seed), np.float32(stretched(sd))
    users = rng.normal(size=(model.n_users, RESIDUAL_WIDTH)) * sd / RESIDUAL_WIDTH**0.5
    items = rng.normal(size=(model.n_items + 1, RESIDUAL_WIDTH))
    items[0] = 0
    return replace(
        model,
        user_level=by * model.user_level,
        item_level=by * model.item_level,
        user_taste=np.concatenate([by * model.user_taste, users], axis=1).astype(np.float32),
        item_taste=np.concatenate([model.item_taste, items], axis=1).astype(np.float32),
    )


def _levels_of_choices(model: ChoiceModel) -> Iterator[Moved]:
    """How far levels follow popularity, of a log without skips: from not at all to as far as
    choices do, exposure and all.
    """
    slope, most = model.optional("level_slope", 0.0), model.optional("choice_slope", 0.0)
    if slope <= 0:
        return
    for end in (0.0, most):
        levels = (model.item_level * (end / slope)).astype(np.float32)
        yield Moved(
            "levels by popularity",
            f"slope {end:.2g}, not {slope:.2g}",
            replace(model, item_level=levels),
        )


def _tiring(model: ChoiceModel) -> Iterator[Moved]:
    number = model.parameters["satiation"]
    told = number.status == "estimated" and number.error is not None
    low, high = 0.0, MOST_SATIATION
    if told:
        assert number.error is not None
        low = max(number.value - SURE * number.error, 0.0)
        high = number.value + SURE * number.error
    for end in (low, high):
        if end != number.value:
            words = f"{end:.2g} logits per exposure, not {number.value:.2g}"
            yield Moved("satiation", words, _with(model, "satiation", end))


def _slope(model: ChoiceModel, name: str, words: str) -> Iterator[Moved]:
    """What satisfaction does: by its standard errors, or nothing and twice as much."""
    number = model.parameters[name]
    ends = [0.0, 2 * number.value]
    if number.status == "estimated" and number.error is not None:
        ends = [number.value - SURE * number.error, number.value + SURE * number.error]
    for end in ends:
        if end != number.value:
            said = f"satisfaction {end:.2g}, not {number.value:.2g}"
            yield Moved(words, said, _with(model, name, end))


def _with(model: ChoiceModel, name: str, value: float) -> ChoiceModel:
    return model.with_parameters(**{name: Parameter(float(value), "assumed", "moved")})


# -- serving ---------------------------------------------------------------------------------------


def sensitivity(
    by: Executor,
    experiment: Experiment,
    run: Path,
    data: Dataset,
    model: ChoiceModel,
    models: dict[str, str],
    say: Callable[[str], None],
) -> dict[str, Any]:
    """What each contender's lift on the primary metric is with every number moved.

    Args:
        by: who serves. data: what the users were fitted on. models: arm -> file of what it learned
            from the log.
    """
    folder = run / "checkpoint" / "sensitivity"
    moves: list[Moved] = []
    units: list[Unit] = []
    for moved in moved_users(model, data, experiment.slate_size, experiment.seed):
        place = folder / f"{len(moves):02d}"
        moves.append(moved)
        if not (place / "people" / "parameters.json").exists():
            say(f"the number that decides: {moved.number} {moved.end}".rstrip())
            save_users(place / "people", _people(moved, experiment, data))
        for arm in experiment.contenders:
            name = f"{moved.number} {moved.end} before {arm}"
            units.append(Unit(name, served, (run, place, arm, models[arm])))
    done = at_once(by, units)
    arms, tables = experiment.contenders, [pd.DataFrame(table) for table in done]
    rows = []
    for i, moved in enumerate(moves):
        of = dict(zip(arms, tables[i * len(arms) : (i + 1) * len(arms)], strict=True))
        for arm in arms:
            if arm != experiment.control_arm:
                rows.append(_row(moved, arm, of[arm], of[experiment.control_arm], experiment))
    return {"users": USERS, "days": min(experiment.days, DAYS), "rows": rows}


def _people(moved: Moved, experiment: Experiment, data: Dataset) -> ChoiceModel:
    """The first of the population as they would be, their level met anew."""
    model, k = moved.model, experiment.slate_size
    if moved.settles and not is_matrix(model):
        target = moved.random or data.calibration["random_click_rate"][0]
        small = some_users(model, SETTLED)
        shift = settled_shift(small, data, target, k, experiment.seed, model["shift"])
        model = model.with_parameters(shift=replace(model.parameters["shift"], value=shift))
    _, model = turned_over(experiment, data, model)
    _, people, _ = population(experiment, model)
    return people.of_users(np.arange(USERS))


def served(run: Path, place: Path, arm: str, file: str) -> dict[str, list[float]]:
    """Totals per user of an arm that serves them all, from the start of the test on.

    Args:
        place: folder of the users. file: what the arm learned from the log.
    """
    about = place / f"{arm.replace(':', '.')}.json"
    if not about.exists():
        _serve(run, place, arm, file, about)
    with reading(about, AGAIN):
        table: dict[str, list[float]] = json.loads(about.read_text(encoding="utf-8"))
        return table


def _serve(run: Path, place: Path, arm: str, file: str, about: Path) -> None:
    """Serves them, and keeps their totals alone."""
    experiment, given = begun(run), read_log(run)
    # A day at a time: how much a batch covers changes no result, and few users wait for nobody.
    here = replace(experiment, warmup_days=0.0, off_policy=False, batch_hours=24.0)
    people = load_users(place / "people")
    everybody = read_population(run)
    ids = everybody.ids[:USERS]
    these = Population(people, ids, everybody.arrival[:USERS], everybody.bucket[:USERS])
    policy = policy_of(here, Place(run, f"global-{arm}", (arm,)), arm, file)
    served_by = arm_of(here, arm, policy, 0)
    rows = about.with_suffix(".rows")
    shutil.rmtree(rows, ignore_errors=True)
    world = World(
        name="moved",
        experiment=here,
        model=people,
        catalogue=given.catalogue,
        ids=ids,
        bucket=np.full(USERS, served_by.code, np.int16),
        arms=[served_by],
        sink=Recorder(rows),
        **at_first(here, given, these, np.arange(USERS)),
    )
    world.run(0.0, min(experiment.days, DAYS) * DAY)
    table = pd.DataFrame({"user": ids})
    if list(rows.rglob("*.parquet")):
        table = everyone(table, parquet(rows, "true", load_metrics()).per_user(("user",)))
    shutil.rmtree(rows, ignore_errors=True)
    save_json(about, {name: table[name].tolist() for name in table})


# -- judging ---------------------------------------------------------------------------------------


def _row(
    moved: Moved, arm: str, treated: pd.DataFrame, control: pd.DataFrame, experiment: Experiment
) -> dict[str, Any]:
    """The lift with its 95 % interval, by resampling users who meet both arms (percentiles)."""
    metric = load_metrics().find(experiment.primary)

    def lift(which: np.ndarray) -> float:
        if len(treated.columns) < 2 or len(control.columns) < 2:
            return float("nan")  # nobody came
        base = value_of(control.iloc[which], metric)
        return value_of(treated.iloc[which], metric) / base - 1 if base > 0 else float("nan")

    rng, n = generator("the number that decides", experiment.seed), len(control)
    drawn = [lift(rng.integers(0, n, n)) for _ in range(RESAMPLES)]
    known = np.isfinite(drawn)
    low, high = np.quantile(np.array(drawn)[known], [0.025, 0.975]) if known.all() else [np.nan] * 2
    names = moved.number, moved.end, arm, experiment.control_arm
    return asdict(MovedLift(*names, lift(np.arange(n)), float(low), float(high)))
