"""Many tests instead of one: the runs behind each study."""

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.studies import judgement as studies
from policies.common.errors import InputError
from simulator.buckets import assign
from simulator.experiment.data import load_data
from simulator.experiment.simulate import simulate
from simulator.settings import Experiment

TRUTH_TIMES = 50  # users of the truth over users of a replicate
Say = Callable[[str], None]
FROZEN: dict[str, Any] = {"learn_from": "none", "rounds": 1, "truth": False, "record_truth": False}


def aa(e: Experiment, n: int, out: Path, quiet: bool) -> dict[str, Any]:
    """One frozen policy serves everybody; n salts split its users into two arms."""
    (arm,) = e.policies
    e = replace(e, policies=(arm,), control=None, design="split", **FROZEN)
    path = _world(e, out, quiet)
    return studies.aa(path, salted(_users(path), n))


def power(e: Experiment, n: int, out: Path, quiet: bool) -> dict[str, Any]:
    """Two frozen policies serve everybody, each in a world; n salts choose whose outcome is seen in
    which.
    """
    path = _world(_twin(e), out, quiet)
    return studies.power(path, salted(_users(path), n))


def coverage(e: Experiment, n: int, out: Path, quiet: bool) -> dict[str, Any]:
    """n replicates of `e.users` fresh users each, and a truth from 50 times as many others."""
    known, size = load_data(e).n_users, e.users
    everybody = known + size * (n + TRUTH_TIMES)
    path = _world(replace(_twin(e), users=everybody), out, quiet)
    users = _users(path)
    fresh = np.flatnonzero(users >= known)  # the fitted ones are known to the policies
    fresh = fresh[np.argsort(np.random.default_rng(e.seed).random(len(fresh)))]
    truth = np.zeros(len(users), bool)
    truth[fresh[: size * TRUTH_TIMES]] = True
    assigned = np.full((n, len(users)), -1, np.int8)
    for r in range(n):
        begin = size * (TRUTH_TIMES + r)
        own = fresh[begin : begin + size]
        assigned[r, own] = assign(users[own], np.array([0.5, 0.5]), f"coverage {r}")
    return studies.coverage(path, assigned, truth)


def replicate(e: Experiment, n: int, out: Path, quiet: bool) -> dict[str, Any]:
    """The whole experiment with n seeds: other users, other chance, other training."""
    names, results = [f"seed-{e.seed + i:03d}" for i in range(n)], []
    for i, name in enumerate(names):
        _say(quiet, f"{name} ({i + 1} of {n})")
        folder = out / name
        if (folder / "manifest.json").exists():
            results.append(simulate(resume=str(folder), quiet=quiet).results)
        else:
            results.append(
                simulate(replace(e, seed=e.seed + i), out=str(folder), quiet=quiet).results
            )
    return {**studies.replicated(results, names), "learn_from": e.learn_from}


def bias(e: Experiment, n: int, out: Path, quiet: bool) -> dict[str, Any]:
    """The same n worlds with arms that learn from their own rows, and with arms that learn from
    all.
    """
    names = [f"seed-{e.seed + i:03d}" for i in range(n)]
    results: dict[str, list[dict[str, Any]]] = {"own": [], "all": []}
    for i, name in enumerate(names):
        for learn, found in results.items():
            _say(quiet, f"{name}, learning from {learn} ({i + 1} of {n})")
            folder = out / f"{name}-{learn}"
            if (folder / "manifest.json").exists():
                found.append(simulate(resume=str(folder), quiet=quiet).results)
                continue
            # Alone in its world an arm learns from everybody's rows either way: one truth for both.
            here = replace(e, seed=e.seed + i, learn_from=learn, truth=learn == "own")
            found.append(simulate(here, out=str(folder), quiet=quiet).results)
    return studies.biases(results["own"], results["all"], names)


STUDIES: dict[str, Callable[[Experiment, int, Path, bool], dict[str, Any]]] = {
    "aa": aa,
    "power": power,
    "coverage": coverage,
    "replicate": replicate,
    "bias": bias,
}


def _twin(e: Experiment) -> Experiment:
    arms = tuple(
        dict.fromkeys([*[arm for arm in e.contenders if arm != e.control_arm][:1], e.control_arm])
    )
    if len(arms) < 2:
        raise InputError(
            "this study compares two arms; name two contenders, such as --policies"
            " sasrec,popularity"
        )
    return replace(e, policies=arms, design="twin", weights=None, **FROZEN)


def _world(e: Experiment, out: Path, quiet: bool) -> Path:
    """The run that a study reads, made or gone on with."""
    folder = out / "world"
    if (folder / "manifest.json").exists():
        return simulate(resume=str(folder), quiet=quiet).path
    return simulate(e, out=str(folder), quiet=quiet).path


def _users(path: Path) -> np.ndarray:
    """(users,) ids in the order of the run's tables."""
    return pd.read_parquet(path / "users.parquet", columns=["user"])["user"].to_numpy()


def salted(users: np.ndarray, n: int) -> np.ndarray:
    """(n, users) 0 or 1, as the buckets' hash says."""
    half = np.array([0.5, 0.5])
    return np.stack([assign(users, half, f"study {salt}") for salt in range(n)]).astype(np.int8)


def _say(quiet: bool, text: str) -> None:
    if not quiet:
        print(text, file=sys.stderr)
