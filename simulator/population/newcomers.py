"""Newcomers and new items during a run: who arrives when, drawn from the fitted users and items,
unknown to all policies.
"""

from dataclasses import replace
from typing import Any

import numpy as np

from policies.catalogue import Catalogue
from policies.common.errors import InputError
from policies.draws import Draws, key_of
from policies.log import Dataset
from simulator.fitting.arrivals import NAMES, arrivals
from simulator.settings import Experiment
from simulator.users.choice_model import DAY, ChoiceModel
from simulator.users.strangers import Strangers, is_stranger

ITEM_ARRAYS = (
    "item_level",
    "item_taste",
    "item_long_view",
    "item_like",
    "item_hate",
    "category",
    "duration",
)


def rates(experiment: Experiment, model: ChoiceModel | Strangers) -> dict[str, float]:
    """Shares per day: those of the experiment, or what the log says."""
    fitted = dict.fromkeys(NAMES, 0.0)
    if isinstance(model, ChoiceModel):
        fitted |= {name: model[name] for name in NAMES if name in model.parameters}
    return {
        name: fitted[name] if (given := getattr(experiment, name)) is None else given
        for name in NAMES
    }


def needs_no_users(experiment: Experiment, raw: Dataset) -> bool:
    """Whether nothing of the fitted users enters what policies learn from before the test: items
    that come and go are the users' model's, and a matrix is hidden from policies in part.
    """
    if experiment.user_model == "matrix" or experiment.users_from is not None:
        return False
    given = (experiment.new_items, experiment.gone_items)
    if None not in given:
        return given == (0, 0)
    told = {} if is_stranger(experiment.user_model) else arrivals(raw)
    return all(
        (told[name].value if mine is None and name in told else mine or 0) == 0
        for name, mine in zip(("new_items", "gone_items"), given, strict=True)
    )


def population_note(experiment: Experiment, model: ChoiceModel | Strangers) -> str:
    """The population in words."""
    share = rates(experiment, model)
    new, born, gone = (
        share["new_users"] * experiment.users,
        share["new_items"] * model.n_items,
        share["gone_items"] * model.n_items,
    )
    words = f"population: {experiment.users} users"
    if new:
        words += f", {new:.3g} newcomers a day"
    return words + (
        f"; {born:.3g} new items and {gone:.3g} withdrawn ones a day" if born or gone else ""
    )


def newcomers(
    experiment: Experiment, model: ChoiceModel | Strangers, share: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ids, rows of the fitted users whose parameters they have, and arrival times [s] of the users
    who come during the run.

    They come as often by hour of the day as users visit. Ids and times depend on the seed and the
    place in the line alone, as long as the population is no larger than the fitted one: a smaller
    population has the first of them.

    Args:
        share: new users per day, as a share of the population.
    """
    span = experiment.warmup_days + experiment.days
    n = round(share * experiment.users * span)
    line = np.arange(n)
    # After the ids of the population that is there from the start.
    turns = -(-experiment.users // model.n_users)
    ids = model.first_unknown + (turns - 1) * model.n_users + line
    if n and ids[-1] >= np.iinfo(np.int32).max:
        raise InputError(
            f"new_users={share:g} of {experiment.users} users in {span:g} days: too many;"
            " lower one of them"
        )
    u = Draws(key_of("newcomers", experiment.seed), ids, ids * 0).uniform("arrival", 2)
    rows = np.minimum((u[:, 0] * model.n_users).astype(np.int64), model.n_users - 1)
    begin, end = model.busy_time(np.array([-experiment.warmup_days, experiment.days]) * DAY)
    return ids.astype(np.int32), rows, model.clock_time(begin + u[:, 1] * (end - begin))


def turned_over(
    experiment: Experiment, data: Dataset, model: ChoiceModel | Strangers
) -> tuple[Dataset, ChoiceModel | Strangers]:
    """Data and users with the items that appear during the run, and all items' times of birth and
    withdrawal.

    New items are like items of the catalogue, under ids of their own. The items' lives end at a
    constant hazard.
    """
    share = rates(experiment, model)
    if share["new_items"] == 0 and share["gone_items"] == 0:
        return data, model
    n = data.catalogue.size
    source, born, u = _lives(experiment, n, share["new_items"])
    catalogue = _more(data.catalogue, source, born)
    if share["gone_items"] > 0:
        start = np.maximum(np.r_[np.full(n, -np.inf), born], -experiment.warmup_days * DAY)
        end = start - np.log1p(-u) / share["gone_items"] * DAY
        withdrawn = catalogue.withdrawn.copy()
        withdrawn[1:] = np.minimum(withdrawn[1:], end)
        catalogue = replace(catalogue, withdrawn=withdrawn)
    _check(experiment, catalogue)
    if isinstance(model, Strangers):
        return replace(data, catalogue=catalogue), model
    return replace(data, catalogue=catalogue), _with_items(model, source)


def with_new_items(experiment: Experiment, model: ChoiceModel) -> tuple[ChoiceModel, np.ndarray]:
    """The same users in face of all items of a run, and (N,) s when items appear: -inf of those
    from before.
    """
    source, born, _ = _lives(experiment, model.n_items, rates(experiment, model)["new_items"])
    there = np.full(model.n_items, -np.inf)
    return _with_items(model, source), np.concatenate([there, born])


def _lives(
    experiment: Experiment, n: int, share: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which of n items new ones are like (ids), when they appear [s], and (n + new,) draws from
    0 to 1 for the ends of all lives.
    """
    span = experiment.warmup_days + experiment.days
    line = np.arange(n + round(share * n * span))
    u = Draws(key_of("items", experiment.seed), line, line * 0).uniform("lives", 3)
    source = 1 + np.minimum((u[n:, 0] * n).astype(np.int64), n - 1)
    return source, (u[n:, 1] * span - experiment.warmup_days) * DAY, u[:, 2]


def _with_items(model: ChoiceModel, source: np.ndarray) -> ChoiceModel:
    """With further items like those of `source`."""
    more: dict[str, Any] = {
        name: np.concatenate([a := getattr(model, name), a[source]]) for name in ITEM_ARRAYS
    }
    if model.item_near is not None:
        more["item_near"] = np.concatenate([model.item_near, model.item_near[source]])
    table = model.table
    if table is not None:
        table = np.concatenate([table, table[:, source]], axis=1)
    return replace(model, table=table, **more)


def _more(catalogue: Catalogue, source: np.ndarray, born: np.ndarray) -> Catalogue:
    """With further items like those of `source`."""
    names = np.array([f"new-item-{k + 1}" for k in range(len(source))], dtype=str)
    return replace(
        catalogue,
        ids=np.concatenate([catalogue.ids, names]),
        category=np.concatenate([catalogue.category, catalogue.category[source]]),
        duration=np.concatenate([catalogue.duration, catalogue.duration[source]]),
        born=np.concatenate([catalogue.born, born]),
        withdrawn=np.concatenate([catalogue.withdrawn, np.full(len(source), np.inf)]),
    )


def _check(experiment: Experiment, catalogue: Catalogue) -> None:
    """Raises InputError where some day has too few items."""
    least = experiment.slate_size + experiment.repeat_after
    for day in range(-int(np.ceil(experiment.warmup_days)), int(np.ceil(experiment.days))):
        there = int(catalogue.available(day * DAY).sum())
        if there < least:
            raise InputError(
                f"on day {day} {there} items are left, fewer than slates of"
                f" {experiment.slate_size} with repeat_after={experiment.repeat_after} need; lower"
                " gone_items or repeat_after"
            )
