"""Policies before there is a run."""

from policies.common.errors import InputError
from policies.registry import base_name, make
from simulator.settings import Experiment


def check_importable(experiment: Experiment) -> None:
    """Fails early, before any work, where a policy of a third party cannot be made."""
    for arm in (*experiment.policies, experiment.warmup_policy):
        make(base_name(arm), experiment.settings_for(arm))


def check_seen_by_others(experiment: Experiment) -> None:
    """Raises InputError where another process could not make a policy: one that is written in the
    script or notebook that runs is in this one alone.
    """
    for arm in (*experiment.policies, experiment.warmup_policy):
        if base_name(arm).startswith("__main__:"):
            raise InputError(
                f"policy '{arm}' is written in the script or notebook that runs, which other"
                " processes do not see; put it into a module, or say workers=1"
            )
