"""Runs a study of loops: a run of twin worlds for each seed, measured and put together."""

import time
from pathlib import Path

import numpy as np

from analysis.loops.effects import Measured
from analysis.loops.measures import BY_NAME
from analysis.loops.report import Loops
from policies.common.errors import InputError
from policies.common.executor import Workers
from policies.common.terminal import to_stderr
from simulator.experiment.simulate import worlds
from simulator.experiment.units import experiment_of
from simulator.loop.arms import REFERENCES, arms_of, of_seed
from simulator.loop.measured import OfSeed, measures_of
from simulator.settings import Experiment
from simulator.users.strangers import is_stranger


def check(experiment: Experiment) -> None:
    """Raises InputError at what no study can be made of."""
    arms_of(experiment)
    if is_stranger(experiment.user_model):
        raise InputError(
            "a study of loops measures what is true of users, which those of"
            f" --user-model {experiment.user_model} do not tell"
        )
    if experiment.rounds < 2:
        raise InputError("--rounds 1: nothing is learned from feedback; give 2 or more")
    of_seed(experiment, experiment.seed)


def loop(experiment: Experiment, n: int, out: Path, quiet: bool, workers: Workers) -> Loops:
    """n seeds, each in its folder; what is there is gone on with, or read."""
    check(experiment)
    arms, say = arms_of(experiment), to_stderr(quiet)
    began, found = time.monotonic(), []
    for k in range(n):
        seed = experiment.seed + k
        folder = out / f"seed-{seed:03d}"
        say(f"seed {k + 1} of {n}: {len(arms) + len(REFERENCES)} worlds")
        here = of_seed(experiment, seed)
        _check_begun(folder, here)
        run = worlds(here, folder, quiet, workers)
        frozen = {arm: arms[policy, "frozen"] for (policy, _), arm in arms.items()}
        frozen |= {name: name for name in REFERENCES}
        found.append(measures_of(run, here, frozen, run / "loop.safetensors"))
        passed = time.monotonic() - began
        left = passed / (k + 1) * (n - k - 1)
        say(f"seed {k + 1} of {n} done, {passed:.0f} s; about {left:.0f} s left")
    return put_together(experiment, arms, found)


def _check_begun(folder: Path, experiment: Experiment) -> None:
    """Raises InputError where a seed was begun with other settings than this study has now."""
    if (folder / "manifest.json").exists() and experiment_of(folder) != experiment:
        raise InputError(
            f"'{folder}' was begun with other arms or settings (by another version, perhaps); make"
            " the study in a new folder"
        )


def put_together(
    experiment: Experiment, arms: dict[tuple[str, str], str], found: list[OfSeed]
) -> Loops:
    """Of all seeds."""
    policies = tuple(dict.fromkeys(policy for policy, _ in arms))
    users: dict[tuple[str, str, str], list[np.ndarray]] = {}
    of_worlds: dict[tuple[str, str, str], np.ndarray] = {}
    for (policy, regime), arm in arms.items():
        for measure in BY_NAME:
            if (arm, measure) in found[0].users:
                users[policy, regime, measure] = [x.users[arm, measure] for x in found]
            if (arm, measure) in found[0].worlds:
                of_worlds[policy, regime, measure] = np.stack(
                    [x.worlds[arm, measure] for x in found]
                )
    measured = Measured(policies, len(found), experiment.rounds, users, of_worlds)
    moved = {
        policy: _mean([x.taste[arms[policy, "own"]][-1] for x in found])
        for policy in policies
        if arms[policy, "own"] in found[0].taste
    }
    return Loops(
        measured,
        {key: np.sum([x.exposure[arm] for x in found], axis=0) for key, arm in arms.items()},
        moved,
        _mean([x.start for x in found]),
        {
            name: np.stack([np.nanmean(x.users[name, "utility"], axis=1) for x in found])
            for name in REFERENCES
        },
        {
            (policy, regime): np.stack([x.learned[arm] for x in found])
            for (policy, regime), arm in arms.items()
            if regime != "frozen"
        },
        _about(experiment),
    )


def _mean(seeds: list[np.ndarray]) -> np.ndarray:
    """Over seeds, of those that have the group; NaN where none has."""
    there = np.isfinite(seeds)
    total = np.where(there, seeds, 0).sum(axis=0)
    n = there.sum(axis=0)
    mean: np.ndarray = np.where(n > 0, total / np.maximum(n, 1), np.nan)
    return mean


def _about(e: Experiment) -> dict[str, str]:
    """What a reader has to know of the settings."""
    dynamics: str = e.taste_dynamics or "as the log tells"
    if e.taste_strength is not None:
        dynamics += f" {e.taste_strength:g}"
    return {
        "users a seed": str(e.users),
        "days": f"{e.days:g}",
        "log": e.log,
        "slate of": str(e.slate_size),
        "taste dynamics": dynamics,
        "all learns from": ", ".join(arm for arm in e.policies if arm not in REFERENCES),
    }
