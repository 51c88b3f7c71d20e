"""Users that somebody else makes, in a run: how they are made, and what is said of them."""

from policies.draws import generator
from policies.log import Dataset
from simulator.experiment.data import before_warmup
from simulator.fitting.calibration import calibrate_level
from simulator.settings import Experiment
from simulator.users.strangers import Strangers

MISSED = 0.05  # of the click rate of random slates, relative


def strangers(experiment: Experiment, raw: Dataset) -> tuple[Strangers, list[str]]:
    """Made, taught by the log as policies see it, and set to its level where they can be; and
    notes for the report: whose the users are, and what is lost with them.
    """
    data = before_warmup(raw, experiment)
    rng = generator("users of somebody else", experiment.seed)
    made = Strangers.learned(experiment.user_model, data.for_policies(), data.catalogue, rng)
    model, rate = calibrate_level(made, data, experiment.slate_size, experiment.seed)
    target = data.calibration["random_click_rate"][0]
    notes = [
        f"The users are those of {model.name}; nothing about them was fitted here. Hold them"
        f" against the log: python -m simulator.validate --user-model {model.name}."
    ]
    if model.level is None:
        notes.append(
            "Their level cannot be set: random slates click as they like, whatever --calibrate"
            " says."
        )
    elif rate is not None and abs(rate - target) > MISSED * target:
        notes.append(
            f"Their level does not do what it should: moved to {model.level:.3g}, random slates are"
            f" clicked {rate:.3f} of the time, and {target:.3f} was wanted."
        )
    if model.model.n_users < experiment.users:
        notes.append(
            f"{experiment.users} people are like {model.model.n_users} users of the model: several"
            " are like the same one, and intervals take them for many."
        )
    if not model.numbers():
        notes.append("They do not say which of their numbers were estimated.")
    return model, notes
