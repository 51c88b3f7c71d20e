"""What moves taste during a run, where somebody sets it: a log hardly tells."""

from dataclasses import replace

from policies.common.errors import InputError
from simulator.settings import Experiment
from simulator.users.choice_model import ChoiceModel, Parameter

IN_WORDS = {
    "none": "taste stays as it is",
    "unexpected": "a click moves the taste for its category by {by} less its own probability of it",
    "reinforced": "a click adds {by} to the taste for its category, and each item of it that is"
    " looked at takes {by} times the click rate of the log",
    "exposure": "each item that is looked at adds {by} to the taste for its category",
}


def dynamics_note(experiment: Experiment) -> tuple[str, ...]:
    """A sentence on what was set."""
    rule = experiment.taste_dynamics
    if rule is None:
        return ()
    words = IN_WORDS[rule].format(by=f"{experiment.taste_strength or 0:g} logits")
    if rule != "none":
        words += f"; half of it is gone after {experiment.taste_half_life_d:g} days"
    return (f"Set, not told by the log (taste_dynamics={rule}): {words}.",)


def with_dynamics(experiment: Experiment, model: ChoiceModel) -> ChoiceModel:
    """Users whose taste moves as was set; themselves where nothing was.

    Raises:
        InputError: there are no categories to move.
    """
    rule = experiment.taste_dynamics
    if rule is None:
        return model
    if rule != "none" and not model.category.any():
        raise InputError(
            f"taste_dynamics={rule} moves the taste for categories, and the log has none; name"
            " their column with --columns category=..."
        )
    why = f"set: taste_dynamics={rule}"
    moved = model.with_parameters(
        drift=Parameter(float(experiment.taste_strength or 0.0), "assumed", why),
        drift_half_life_d=Parameter(experiment.taste_half_life_d, "assumed", why),
    )
    return moved if rule == "none" else replace(moved, dynamics=rule)
