"""Policies before there is a run."""

from policies.registry import base_name, make
from simulator.settings import Experiment


def check_importable(experiment: Experiment) -> None:
    """Fails early, before any work, where a policy of a third party cannot be made."""
    for arm in (*experiment.policies, experiment.warmup_policy):
        make(base_name(arm), experiment.settings_for(arm))
