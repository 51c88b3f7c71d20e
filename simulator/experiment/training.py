"""The contenders, trained on the log."""

import time
from collections.abc import Callable

from policies.base import Policy
from policies.calls import restore, state_of, train
from policies.common.files import Listed, listed, load_arrays, save_arrays
from policies.draws import generator
from policies.log import Dataset
from policies.registry import asks_for_truth, base_name, make
from simulator.experiment.run_folder import RunFolder
from simulator.settings import Experiment


def train_policies(
    experiment: Experiment, data: Dataset, run: RunFolder, say: Callable[[str], None]
) -> dict[str, Policy]:
    """Every arm's policy, trained on the log; arms with the same policy and settings share the
    training.
    """
    log = data.for_policies()
    trained: dict[tuple[str, str], Policy] = {}
    made: dict[str, Policy] = {}
    for arm in (*experiment.policies, experiment.warmup_policy):
        base, settings = base_name(arm), experiment.settings_for(arm)
        key = base, str(sorted(settings.items()))
        if key not in trained:
            policy = make(base, settings)
            stored = run.path / "models" / f"{arm.replace(':', '.')}-round00.safetensors"
            if stored.exists():
                restore(arm, policy, load_arrays(stored))
            else:
                began = time.monotonic()
                if not asks_for_truth(arm):
                    say(f"policies: {arm}, trained on {len(log)} rows")
                rng = generator("train", experiment.seed, base, sorted(settings.items()), 0)
                train(arm, "fit", policy, log, data.catalogue, rng)
                state = state_of(arm, policy)
                if state or not asks_for_truth(arm):  # the oracle has nothing to store
                    save_arrays(stored, state)
                run.manifest.setdefault("training", {})[arm] = {
                    "seconds": round(time.monotonic() - began, 1),
                    "validation_ndcg10": [round(x, 4) for x in getattr(policy, "scores_", [])],
                }
            trained[key] = policy
        made[arm] = trained[key]
    files: Listed = {}
    for path in sorted((run.path / "models").glob("*.safetensors")):
        files |= listed(run.path, path)
    run.finish("models", files)
    return made


def copy_of(experiment: Experiment, arm: str, policy: Policy) -> Policy:
    """A policy of its own for a world, with the same weights."""
    other = make(base_name(arm), experiment.settings_for(arm))
    state = {name: value.copy() for name, value in state_of(arm, policy).items()}
    restore(arm, other, state)
    return other


def check_importable(experiment: Experiment) -> None:
    """Fails early, before any work, where a policy of a third party cannot be made."""
    for arm in (*experiment.policies, experiment.warmup_policy):
        make(base_name(arm), experiment.settings_for(arm))
