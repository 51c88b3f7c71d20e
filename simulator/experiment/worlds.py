"""The worlds of an experiment: the warm-up, the split, one world per arm."""

import numpy as np

from policies.base import Policy
from policies.draws import Draws, key_of
from policies.log import Dataset
from simulator.buckets import HELD_OUT, assign, parse_weights
from simulator.engine.histories import Histories
from simulator.engine.recorder import WARMUP, Recorder
from simulator.engine.world import Arm, World
from simulator.experiment.run_folder import RunFolder
from simulator.experiment.training import copy_of
from simulator.settings import Experiment
from simulator.users.choice_model import DAY, ChoiceModel


# -- worlds ----------------------------------------------------------------------------------------
def first_world(
    e: Experiment,
    data: Dataset,
    model: ChoiceModel,
    ids: np.ndarray,
    arrival: np.ndarray,
    policies: dict[str, Policy],
    run: RunFolder,
) -> World:
    """The population at the start of the warm-up, which one policy serves. `arrival` as of
    `population`.
    """
    start = -e.warmup_days * DAY
    lengths = {"impressions": 0, "clicks": 0}
    for policy in policies.values():
        lengths[policy.history_of] = max(lengths[policy.history_of], int(policy.history_length))
    histories = Histories.of(len(ids), lengths["impressions"], lengths["clicks"], e.repeat_after)
    place = np.full(data.n_users, -1)
    known = ids < data.n_users
    place[ids[known]] = np.flatnonzero(known)
    histories.load(data.for_policies(), place)
    first = Draws(key_of("first visit", e.seed), ids, np.zeros_like(ids))
    return World(
        name=WARMUP,
        experiment=e,
        model=model,
        catalogue=data.catalogue,
        ids=ids,
        bucket=np.full(len(ids), HELD_OUT, np.int16),
        arms=[Arm(WARMUP, -1, copy_of(e, e.warmup_policy, policies[e.warmup_policy]))],
        state=model.start(len(ids), start),
        histories=histories,
        due=np.where(
            np.isfinite(arrival), arrival, model.first_visit(np.arange(len(ids)), start, first)
        ),
        sessions=np.zeros(len(ids), np.int32),
        recorder=_recorder(e, run, "impressions", "truth"),
    )


def _recorder(e: Experiment, run: RunFolder, folder: str, truth: str) -> Recorder:
    shadow = run.path / "off_policy" if e.off_policy and folder == "impressions" else None
    return Recorder(run.path / folder, run.path / truth if e.record_truth else None, shadow)


def plan(e: Experiment) -> list[tuple[str, tuple[str, ...]]]:
    """The worlds of an experiment after the warm-up: (name, arms). `global-ARM` gives everybody
    that arm.
    """
    if e.design == "twin":
        return [(f"twin-{arm}", (arm,)) for arm in e.policies]
    worlds: list[tuple[str, tuple[str, ...]]] = [("split", e.policies)]
    if e.truth:
        worlds += [(f"global-{arm}", (arm,)) for arm in e.contenders]
    return worlds


def start_world(
    name: str,
    arms: tuple[str, ...],
    e: Experiment,
    warm: World,
    policies: dict[str, Policy],
    run: RunFolder,
) -> World:
    """A world that goes on from the end of the warm-up, with minds, histories and policies of its
    own.
    """
    codes = {arm: e.policies.index(arm) for arm in arms}
    if name == "split":
        bucket = assign(warm.ids, parse_weights(e.weights, len(e.policies)), e.bucket_salt)
        recorder = warm.recorder
    else:
        bucket = np.full(len(warm.ids), codes[arms[0]], np.int16)
        folder = f"truth_worlds/{arms[0].replace(':', '.')}" if name.startswith("global") else None
        recorder = _recorder(
            e,
            run,
            f"{folder}/impressions" if folder else "impressions",
            f"{folder}/truth" if folder else "truth",
        )
        recorder = _WithWarmup(recorder, warm.recorder)
    return World(
        name=name,
        experiment=e,
        model=warm.model,
        catalogue=warm.catalogue,
        ids=warm.ids,
        bucket=bucket,
        arms=[
            Arm(arm, codes[arm], copy_of(e, arm, policies[arm]), repeats=e.repeats(arm))
            for arm in arms
        ],
        state=warm.state.copy(),
        histories=warm.histories.copy(),
        due=warm.due.copy(),
        sessions=warm.sessions.copy(),
        recorder=recorder,
    )


class _WithWarmup(Recorder):
    """Records a world of its own, and reads the warm-up that all worlds share."""

    def __init__(self, own: Recorder, shared: Recorder):
        super().__init__(own.folder, own.truth_folder)
        self.shared = shared

    def rows(self, buckets: dict[str, int], start: float, end: float):  # type: ignore[no-untyped-def]
        own = {name: code for name, code in buckets.items() if name != WARMUP}
        found = super().rows(own, start, end)
        if WARMUP not in buckets:
            return found
        shared = Recorder(self.shared.folder)
        shared.parts = [part for part in self.shared.parts if part.bucket == WARMUP]
        warm = shared.rows({WARMUP: buckets[WARMUP]}, start, end)
        return type(found).concat([warm, found]).sorted()
