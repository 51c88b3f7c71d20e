"""The arms of a study of loops: every policy in every way to learn, in twin worlds of one run."""

from dataclasses import replace
from typing import Any

from analysis.loops.effects import REGIMES
from policies.common.errors import InputError
from policies.registry import base_name, is_reference
from simulator.settings import Experiment

REFERENCES = ("uniform", "oracle")
WAYS: dict[str, dict[str, Any]] = {
    "own": {},
    "frozen": {"updates": 0},
    "open": {"learn_from": "open"},
    "outside": {"learn_from": "outside"},
    "thinned": {"learn_from": "thinned"},
    "all": {"learn_from": "all"},
}


def arms_of(experiment: Experiment) -> dict[tuple[str, str], str]:
    """(policy, regime) -> arm: the policy's own name where it learns from itself, numbers that are
    free for the other ways to learn. A single policy has nobody to share with.

    Raises:
        InputError: nothing that could learn, or a setting that the study makes itself.
    """
    policies = [arm for arm in experiment.policies if arm not in REFERENCES]
    if not policies:
        raise InputError("a study of loops wants policies that learn, such as sasrec,popularity")
    if (reference := next(filter(is_reference, policies), None)) is not None:
        raise InputError(f"'{reference}' learns nothing, so that it has no loop; leave it out")
    if experiment.learn_from != "own":
        raise InputError(
            f"learn_from={experiment.learn_from}: the study itself makes every way to learn; leave"
            " it out"
        )
    moving = ("new_users", "gone_items")
    if name := next((name for name in moving if getattr(experiment, name)), None):
        raise InputError(
            f"{name}: a study of loops follows the same users from round to round, and items that"
            " stay (new ones may come: new_items); leave it out"
        )
    for arm in policies:
        settings = experiment.policy_settings
        given = {**settings.get(base_name(arm), {}), **settings.get(arm, {})}
        if made := sorted({"updates", "learn_from"} & given.keys()):
            raise InputError(f"--set {arm}.{made[0]}: the study itself makes every way to learn")
    taken, found = set(experiment.policies), {}
    for policy in policies:
        found[policy, "own"] = policy
        for regime in REGIMES:
            if regime != "own" and (regime != "all" or len(policies) > 1):
                found[policy, regime] = _free(base_name(policy), taken)
    return found


def _free(base: str, taken: set[str]) -> str:
    number = 2
    while f"{base}.{number}" in taken:
        number += 1
    taken.add(f"{base}.{number}")
    return f"{base}.{number}"


def of_seed(experiment: Experiment, seed: int) -> Experiment:
    """The run of one seed: users, training and chance of its own."""
    arms = arms_of(experiment)
    settings = dict(experiment.policy_settings)
    for (policy, regime), arm in arms.items():
        own = {**settings.get(base_name(policy), {}), **settings.get(policy, {})}
        settings[arm] = {**own, **WAYS[regime]}
    return replace(
        experiment,
        policies=(*dict.fromkeys(arms.values()), *REFERENCES),
        policy_settings=settings,
        design="twin",
        equal_rows=True,
        sensitivity=False,
        record_truth=True,
        new_users=0.0,
        new_items=experiment.new_items or 0.0,
        gone_items=0.0,
        seed=seed,
    )
