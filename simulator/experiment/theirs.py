"""Users that somebody else makes, in a run: how they are made, and what is said of them."""

from policies.draws import generator
from policies.log import Dataset
from simulator.experiment.data import before_warmup
from simulator.fitting.calibration import calibrate_level
from simulator.settings import Experiment
from simulator.users.strangers import Strangers


def strangers(experiment: Experiment, raw: Dataset) -> Strangers:
    """Made, taught by the log as policies see it, and set to its level where they can be."""
    data = before_warmup(raw, experiment)
    rng = generator("users of somebody else", experiment.seed)
    made = Strangers.learned(experiment.user_model, data.for_policies(), data.catalogue, rng)
    return calibrate_level(made, data, experiment.slate_size, experiment.seed)


def introduced(model: Strangers) -> list[str]:
    """Notes for the report: whose the users are, and what is lost with them."""
    notes = [
        f"The users are those of {model.name}; nothing about them was fitted here. Hold them"
        f" against the log: python -m simulator.validate --user-model {model.name}."
    ]
    if model.level is None:
        notes.append(
            "Their level cannot be set: random slates click as they like, whatever --calibrate"
            " says."
        )
    if not model.numbers():
        notes.append("They do not say which of their numbers were estimated.")
    return notes
