"""The number that decides: with what a log does not tell of its users moved, one number at a time,
the arms serve the same few users again, with the same draws and the models that they began with.
"""

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.data.rows import parquet
from analysis.data.run import everyone
from analysis.metrics import load_metrics
from analysis.results.sensitivity import MovedLift
from analysis.statistics.comparison import value_of
from policies.common.executor import Executor, Unit, at_once
from policies.common.files import reading, save_json
from policies.draws import generator
from policies.log import Dataset
from simulator.doubt.moved import Moved, moved_users
from simulator.engine.recorder import Recorder
from simulator.engine.world import World
from simulator.experiment.inputs import Population, read_log, read_population
from simulator.experiment.units import AGAIN, Place, arm_of, at_first, begun, policy_of
from simulator.fitting.calibration import settled_shift, some_users
from simulator.population.newcomers import turned_over
from simulator.population.people import population
from simulator.settings import Experiment
from simulator.users.choice_model import DAY, ChoiceModel, is_matrix
from simulator.users.storage import load_users, save_users
from simulator.users.strangers import is_stranger

USERS, DAYS = 300, 2.0
SETTLED = 500  # users of a simulation that their level is read from
SETTLING = 2  # simulations of them, each nearer to it
RESAMPLES = 200


def asks(experiment: Experiment) -> bool:
    """Whether there is anything to ask: enough users, and two contenders."""
    ours = not is_stranger(experiment.user_model)
    many = experiment.users >= USERS and len(experiment.contenders) > 1
    return experiment.sensitivity and many and ours


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
        shift = settled_shift(small, data, target, k, experiment.seed, model["shift"], SETTLING)
        model = model.with_parameters(shift=replace(model.parameters["shift"], value=shift))
    _, turned = turned_over(experiment, data, model)
    _, people, _ = population(experiment, turned)
    assert isinstance(people, ChoiceModel)
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
