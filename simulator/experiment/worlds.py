"""The worlds of an experiment: the warm-up, the split, one world per arm."""

import numpy as np

from policies.base import Policy
from policies.draws import Draws, key_of
from policies.log import Dataset
from simulator.buckets import HELD_OUT
from simulator.engine.histories import Histories
from simulator.engine.recorder import WARMUP, Recorder
from simulator.engine.world import Arm, Hooks, World
from simulator.experiment.run_folder import RunFolder
from simulator.experiment.training import copy_of
from simulator.settings import Experiment
from simulator.users.choice_model import DAY, ChoiceModel


def first_world(
    experiment: Experiment,
    data: Dataset,
    model: ChoiceModel,
    ids: np.ndarray,
    arrival: np.ndarray,
    policies: dict[str, Policy],
    run: RunFolder,
    hooks: Hooks,
) -> World:
    """The population at the start of the warm-up, which one policy serves. `arrival` as of
    `population`.
    """
    start = -experiment.warmup_days * DAY
    lengths = {"impressions": 0, "clicks": 0}
    for policy in policies.values():
        lengths[policy.history_of] = max(lengths[policy.history_of], int(policy.history_length))
    histories = Histories.of(
        len(ids), lengths["impressions"], lengths["clicks"], experiment.repeat_after
    )
    place = np.full(data.n_users, -1)
    known = ids < data.n_users
    place[ids[known]] = np.flatnonzero(known)
    histories.load(data.for_policies(), place)
    first = Draws(key_of("first visit", experiment.seed), ids, np.zeros_like(ids))
    return World(
        name=WARMUP,
        experiment=experiment,
        model=model,
        catalogue=data.catalogue,
        ids=ids,
        bucket=np.full(len(ids), HELD_OUT, np.int16),
        arms=[
            Arm(
                WARMUP,
                -1,
                copy_of(experiment, experiment.warmup_policy, policies[experiment.warmup_policy]),
            )
        ],
        state=model.start(len(ids), start),
        histories=histories,
        due=np.where(
            np.isfinite(arrival), arrival, model.first_visit(np.arange(len(ids)), start, first)
        ),
        sessions=np.zeros(len(ids), np.int32),
        sink=_recorder(experiment, run),
        hooks=hooks,
    )


def _recorder(
    experiment: Experiment, run: RunFolder, below: str = "", shared: Recorder | None = None
) -> Recorder:
    """A recorder of the run folder, or of a folder below it."""
    folder = run.path / below
    return Recorder(
        folder / "impressions",
        folder / "truth" if experiment.record_truth else None,
        run.path / "off_policy" if experiment.off_policy and not below else None,
        shared,
    )


def plan(experiment: Experiment) -> list[tuple[str, tuple[str, ...]]]:
    """The worlds of an experiment after the warm-up: (name, arms). `global-ARM` gives everybody
    that arm.
    """
    if experiment.design == "twin":
        return [(f"twin-{arm}", (arm,)) for arm in experiment.policies]
    worlds: list[tuple[str, tuple[str, ...]]] = [("split", experiment.policies)]
    if experiment.truth:
        worlds += [(f"global-{arm}", (arm,)) for arm in experiment.contenders]
    return worlds


def start_world(
    name: str,
    arms: tuple[str, ...],
    experiment: Experiment,
    warm: World,
    policies: dict[str, Policy],
    run: RunFolder,
    bucket: np.ndarray | None,
    hooks: Hooks,
) -> World:
    """A world that goes on from the end of the warm-up, with a state, histories and policies of its
    own.

    Args:
        bucket: (n,) who is served by which arm; None = one arm serves everybody.
    """
    codes = {arm: experiment.policies.index(arm) for arm in arms}
    sink = warm.sink
    if bucket is None:  # one arm serves everybody
        assert isinstance(sink, Recorder)
        bucket = np.full(len(warm.ids), codes[arms[0]], np.int16)
        below = f"truth_worlds/{arms[0].replace(':', '.')}" if name.startswith("global") else ""
        sink = _recorder(experiment, run, below, shared=sink)
    return World(
        name=name,
        experiment=experiment,
        model=warm.model,
        catalogue=warm.catalogue,
        ids=warm.ids,
        bucket=bucket,
        arms=[
            Arm(
                arm,
                codes[arm],
                copy_of(experiment, arm, policies[arm]),
                repeats=experiment.repeats(arm),
            )
            for arm in arms
        ],
        state=warm.state.copy(),
        histories=warm.histories.copy(),
        due=warm.due.copy(),
        sessions=warm.sessions.copy(),
        sink=sink,
        hooks=hooks,
    )
