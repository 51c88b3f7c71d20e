"""Many tests instead of one: the runs behind each study."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.studies import judgement, over_worlds
from analysis.studies.report import Study
from policies.common.errors import InputError
from policies.common.executor import Workers
from policies.common.terminal import to_stderr
from simulator.buckets import assign
from simulator.experiment.data import load_data
from simulator.experiment.simulate import begin_or_resume, side_by_side
from simulator.settings import Experiment, LearnFrom

TRUTH_TIMES = 50  # users of the truth over users of a replicate
FROZEN: dict[str, Any] = {
    "learn_from": "none",
    "rounds": 1,
    "truth": False,
    "record_truth": False,
    "sensitivity": False,
}


def aa(experiment: Experiment, n: int, out: Path, quiet: bool, workers: Workers) -> Study:
    """One frozen policy serves everybody; n salts split its users into two arms."""
    (arm,) = experiment.policies
    experiment = replace(experiment, policies=(arm,), control=None, design="split", **FROZEN)
    path = _run_of(experiment, out, quiet, workers)
    return judgement.false_positives(path, salted(_users(path), n))


def power(experiment: Experiment, n: int, out: Path, quiet: bool, workers: Workers) -> Study:
    """Two frozen policies serve everybody, each in a world; n salts choose whose outcome is seen in
    which.
    """
    path = _run_of(_twin(experiment), out, quiet, workers)
    return judgement.power(path, salted(_users(path), n))


def coverage(experiment: Experiment, n: int, out: Path, quiet: bool, workers: Workers) -> Study:
    """n replicates of `users` fresh users each, and a truth from 50 times as many others."""
    known, size = load_data(experiment).n_users, experiment.users
    everybody = known + size * (n + TRUTH_TIMES)
    path = _run_of(replace(_twin(experiment), users=everybody), out, quiet, workers)
    users = _users(path)
    fresh = np.flatnonzero(users >= known)  # the fitted ones are known to the policies
    fresh = fresh[np.argsort(np.random.default_rng(experiment.seed).random(len(fresh)))]
    truth = np.zeros(len(users), bool)
    truth[fresh[: size * TRUTH_TIMES]] = True
    assigned = np.full((n, len(users)), -1, np.int8)
    for r in range(n):
        begin = size * (TRUTH_TIMES + r)
        own = fresh[begin : begin + size]
        assigned[r, own] = assign(users[own], np.array([0.5, 0.5]), f"coverage {r}")
    return judgement.coverage(path, assigned, truth)


def replicate(experiment: Experiment, n: int, out: Path, quiet: bool, workers: Workers) -> Study:
    """The whole experiment with n seeds: other users, other chance, other training."""
    names = _seeds(experiment, n)
    runs = [
        (replace(experiment, seed=experiment.seed + i, sensitivity=False), out / name)
        for i, name in enumerate(names)
    ]
    reports = side_by_side(runs, to_stderr(quiet), workers)
    return over_worlds.replicated(reports, names, experiment.learn_from)


def bias(experiment: Experiment, n: int, out: Path, quiet: bool, workers: Workers) -> Study:
    """The same n worlds with arms that learn from their own rows, and from all rows."""
    names = _seeds(experiment, n)
    ways: tuple[LearnFrom, ...] = ("own", "all")
    # Alone in its world an arm learns from everybody's rows either way: one truth for both.
    runs = [
        (
            replace(
                experiment,
                seed=experiment.seed + i,
                learn_from=way,
                truth=way == "own",
                sensitivity=False,
            ),
            out / f"{name}-{way}",
        )
        for i, name in enumerate(names)
        for way in ways
    ]
    reports = side_by_side(runs, to_stderr(quiet), workers)
    return over_worlds.biases(reports[::2], reports[1::2], names)


def _seeds(experiment: Experiment, n: int) -> list[str]:
    return [f"seed-{experiment.seed + i:03d}" for i in range(n)]


STUDIES: dict[str, Callable[[Experiment, int, Path, bool, Workers], Study]] = {
    "aa": aa,
    "power": power,
    "coverage": coverage,
    "replicate": replicate,
    "bias": bias,
}


def _twin(experiment: Experiment) -> Experiment:
    arms = tuple(
        dict.fromkeys(
            [
                *[arm for arm in experiment.contenders if arm != experiment.control_arm][:1],
                experiment.control_arm,
            ]
        )
    )
    if len(arms) < 2:
        raise InputError(
            "this study compares two arms; name two contenders, such as --policies"
            " sasrec,popularity"
        )
    return replace(experiment, policies=arms, design="twin", weights=None, **FROZEN)


def _run_of(experiment: Experiment, out: Path, quiet: bool, workers: Workers) -> Path:
    """The run that a study reads, made or gone on with."""
    return begin_or_resume(experiment, out / "world", quiet, workers).path


def _users(path: Path) -> np.ndarray:
    """(users,) ids in the order of the run's tables."""
    return pd.read_parquet(path / "users.parquet", columns=["user"])["user"].to_numpy()


def salted(users: np.ndarray, n: int) -> np.ndarray:
    """(n, users) 0 or 1, as the buckets' hash says."""
    half = np.array([0.5, 0.5])
    return np.stack([assign(users, half, f"study {salt}") for salt in range(n)]).astype(np.int8)
