"""Who takes part: ids, parameters and times of arrival."""

from dataclasses import replace

import numpy as np

from simulator.population.newcomers import newcomers, rates
from simulator.population.sampling import in_line
from simulator.settings import Experiment
from simulator.users.choice_model import ChoiceModel
from simulator.users.strangers import Strangers


def population(
    experiment: Experiment, model: ChoiceModel | Strangers
) -> tuple[np.ndarray, ChoiceModel | Strangers, np.ndarray]:
    """(n,) user ids, the model of these users, and when they come first [s]; -inf for those who are
    there from the start.

    Users come in an order that depends on the seed alone, so that a smaller population is the first
    part of a larger one. Beyond the fitted users, newcomers get their parameters and ids of their
    own, unknown to all policies.
    """
    rows = np.resize(in_line(model.known, experiment.seed), experiment.users)
    turn = np.arange(experiment.users) // model.n_users
    anew = model.first_unknown + (turn - 1) * model.n_users + rows
    ids = np.where(turn == 0, model.known[rows], anew).astype(np.int32)
    more, like, arrival = newcomers(experiment, model, rates(experiment, model)["new_users"])
    people: ChoiceModel | Strangers = model.of_users(np.concatenate([rows, like]))
    if isinstance(people, ChoiceModel) and people.last_chosen is not None:
        # of the log's own users: nobody else has chosen anything
        of_log = np.concatenate([turn == 0, np.zeros(len(like), bool)])
        people = replace(people, last_chosen=people.last_chosen * of_log[:, None])
    return (
        np.concatenate([ids, more]),
        people,
        np.concatenate([np.full(experiment.users, -np.inf), arrival]),
    )
