"""Many tests instead of one: is our own judgement calibrated, and what can be claimed about a policy?

python -m simulator.study aa --runs 1000           false positives, by metric and method
python -m simulator.study power --policies gptrec,sasrec
python -m simulator.study coverage --policies sasrec,popularity
python -m simulator.study replicate --seeds 20     whole worlds again: the claim about the policy
python -m simulator.study peeking --runs 20000     sequential tests on made-up data
"""

import argparse
import json
import os
import shlex
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis import peeking, studies, study_report
from analysis.errors import AnalysisError
from policies.errors import InputError
from policies.files import save_json
from simulator.buckets import assign
from simulator.command import guarded
from simulator.config import LOG_FLAGS, Experiment, build, from_dict
from simulator.flags import FLAGS
from simulator.run import run
from simulator.stages import load_data

ABOUT = "settings.json"
TRUTH_TIMES = 50  # users of the truth over users of a replicate
Say = Callable[[str], None]
FROZEN: dict[str, Any] = {"learn_from": "none", "rounds": 1, "truth": False, "record_truth": False}


def aa(e: Experiment, n: int, out: Path, quiet: bool) -> dict[str, Any]:
    """One frozen policy serves everybody; n salts split its users into two arms."""
    (arm,) = e.policies
    e = replace(e, policies=(arm,), control=None, design="split", **FROZEN)
    path = _world(e, out, quiet)
    return studies.aa(path, _salted(_users(path), n))


def power(e: Experiment, n: int, out: Path, quiet: bool) -> dict[str, Any]:
    """Two frozen policies serve everybody, each in a world; n salts choose whose outcome is seen in which."""
    path = _world(_twin(e), out, quiet)
    return studies.power(path, _salted(_users(path), n))


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
            results.append(run(resume=str(folder), quiet=quiet).results)
        else:
            results.append(run(replace(e, seed=e.seed + i), out=str(folder), quiet=quiet).results)
    return {**studies.replicated(results, names), "learn_from": e.learn_from}


def bias(e: Experiment, n: int, out: Path, quiet: bool) -> dict[str, Any]:
    """The same n worlds with arms that learn from their own rows, and with arms that learn from all."""
    names = [f"seed-{e.seed + i:03d}" for i in range(n)]
    results: dict[str, list[dict[str, Any]]] = {"own": [], "all": []}
    for i, name in enumerate(names):
        for learn, found in results.items():
            _say(quiet, f"{name}, learning from {learn} ({i + 1} of {n})")
            folder = out / f"{name}-{learn}"
            if (folder / "manifest.json").exists():
                found.append(run(resume=str(folder), quiet=quiet).results)
                continue
            # Alone in its world an arm learns from everybody's rows either way: one truth for both.
            here = replace(e, seed=e.seed + i, learn_from=learn, truth=learn == "own")
            found.append(run(here, out=str(folder), quiet=quiet).results)
    return studies.biases(results["own"], results["all"], names)


STUDIES: dict[str, Callable[[Experiment, int, Path, bool], dict[str, Any]]] = {
    "aa": aa, "power": power, "coverage": coverage, "replicate": replicate, "bias": bias,
}  # fmt: skip


def _twin(e: Experiment) -> Experiment:
    arms = tuple(dict.fromkeys([*[arm for arm in e.contenders if arm != e.control_arm][:1], e.control_arm]))
    if len(arms) < 2:
        raise InputError("this study compares two arms; name two contenders, such as --policies sasrec,popularity")
    return replace(e, policies=arms, design="twin", weights=None, **FROZEN)


def _world(e: Experiment, out: Path, quiet: bool) -> Path:
    """The run that a study reads, made or gone on with."""
    folder = out / "world"
    if (folder / "manifest.json").exists():
        return run(resume=str(folder), quiet=quiet).path
    return run(e, out=str(folder), quiet=quiet).path


def _users(path: Path) -> np.ndarray:
    """(users,) ids in the order of the run's tables."""
    return pd.read_parquet(path / "users.parquet", columns=["user"])["user"].to_numpy()


def _salted(users: np.ndarray, n: int) -> np.ndarray:
    """(n, users) 0 or 1, as the buckets' hash says."""
    half = np.array([0.5, 0.5])
    return np.stack([assign(users, half, f"study {salt}") for salt in range(n)]).astype(np.int8)


def _say(quiet: bool, text: str) -> None:
    if not quiet:
        print(text, file=sys.stderr)


# -- the command ------------------------------------------------------------------------------------------------------

HELP: dict[str, Any] = {
    "aa": ("false positives: one frozen policy's users under many salts", 1000, "runs", "salts"),
    "power": ("how often the effect between two frozen policies is found, and when", 1000, "runs", "salts"),
    "coverage": ("how often the interval covers the truth, with fresh users each time", 400, "runs", "replicates"),
    "replicate": ("whole worlds with other seeds: the claim about the policy", 20, "seeds", "worlds"),
    "bias": (
        "what the estimate misses where arms retrain: data volume and sharing, over worlds",
        10,
        "seeds",
        "worlds",
    ),
    "peeking": ("sequential tests on made-up data", 20_000, "runs", "made-up tests"),
}
SMALLER: dict[str, dict[str, Any]] = {
    "coverage": {"users": 200, "days": 2.0, "warmup_days": 1.0},
    "aa": {"days": 14.0, "policies": ("sasrec",)},
    "power": {"days": 14.0},
}
_TAKEN = ("policies", *LOG_FLAGS, "users-from", "user-model", "users", "days", "warmup-days", "slate-size", "seed")
_MORE = {
    "power": ("control",),
    "coverage": ("control",),
    "replicate": ("control", "primary", "rounds", "weights", "learn-from"),
    "bias": ("control", "primary", "rounds", "weights"),
}


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        prog="python -m simulator.study", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    kinds = p.add_subparsers(dest="study", required=True, metavar="|".join(HELP))
    for kind, (text, default, flag, what) in HELP.items():
        k = kinds.add_parser(kind, help=text, description=text)
        k.add_argument(f"--{flag}", type=int, help=f"{what} (default {default})")
        k.add_argument("--out", help="folder, must not exist (default runs/study-<kind>-<time>)")
        k.add_argument("--quiet", action="store_true", help="no progress")
        if kind == "peeking":
            k.add_argument("--looks", type=int, default=14, help="days, a look at the end of each (default 14)")
            k.add_argument("--seed", type=int, default=0, help="of chance (default 0)")
            continue
        k.add_argument("--resume", metavar="DIR", help="go on with an interrupted study")
        for name in (*_TAKEN, *_MORE.get(kind, ())):
            k.add_argument(f"--{name}", help=FLAGS[name].split(" (default")[0] + _default(kind, name))
        k.add_argument("--config", metavar="FILE.toml", help="settings in a file")
        k.add_argument(
            "--set", action="append", default=[], metavar="KEY=VALUE", help="any setting, or POLICY.KEY=VALUE"
        )
    return p


def _default(kind: str, name: str) -> str:
    key = name.replace("-", "_")
    value = SMALLER.get(kind, {}).get(key, getattr(Experiment(), key))
    shown = ",".join(value) if isinstance(value, tuple) else value
    return f" (default {shown:g})" if isinstance(shown, float) else f" (default {shown})" if shown is not None else ""


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit status: 0 done, 2 bad input, 130 interrupted."""
    given = vars(parser().parse_args(arguments))
    words = sys.argv[1:] if arguments is None else arguments
    kind, quiet = given.pop("study"), given.pop("quiet")
    count = given.pop(HELP[kind][2])

    def work() -> None:
        try:
            _study(kind, count, given, quiet, "python -m simulator.study " + shlex.join(words))
        except AnalysisError as error:
            raise InputError(str(error)) from None

    return guarded(
        work, interrupted="go on with --resume and the study's folder", full="make room and go on with --resume"
    )


def _study(kind: str, count: int | None, given: dict[str, Any], quiet: bool, command: str) -> None:
    resume = given.pop("resume", None)
    e: Experiment | None
    if resume is not None:
        out, e, n = _reopened(kind, Path(resume), given, count)
    else:
        n = HELP[kind][1] if count is None else count
        if n < 2:
            raise InputError(f"--{HELP[kind][2]} must be at least 2, not {n}")
        out = Path(given.pop("out") or Path("runs") / f"study-{kind}-{time.strftime('%Y%m%d-%H%M%S')}")
        e = None if kind == "peeking" else _settings(kind, given)
        if out.exists():
            raise InputError(f"--out '{out}' exists already; name another folder, or go on with --resume '{out}'")
        out.mkdir(parents=True)
        save_json(out / ABOUT, {"study": kind, "n": n, "experiment": None if e is None else e.as_dict()})
    if e is None:
        rows = peeking.study(n, given["looks"], given["seed"])
        for row in rows:
            row |= studies.rate(row["rejected"], row["runs"], row["method"], 1, None)
        found: dict[str, Any] = {"study": "peeking", "runs": n, "looks": given["looks"], "rows": rows}
    else:
        found = STUDIES[kind](e, n, out, quiet)
    study_report.write(found, command, out)
    study_report.terminal(found)
    print(f"study: {os.path.relpath(out / 'study.md')}")


def _settings(kind: str, given: dict[str, Any]) -> Experiment:
    flags = {key: value for key, value in given.items() if key not in ("out", "config", "set", "looks")}
    flags = {**SMALLER.get(kind, {}), **{key: value for key, value in flags.items() if value is not None}}
    e = build(given.get("config"), flags, given.get("set", []))
    if kind == "aa" and len(e.policies) != 1:
        raise InputError(f"an A/A test has one policy, not {','.join(e.policies)}; name one, such as --policies sasrec")
    return e


def _reopened(kind: str, folder: Path, given: dict[str, Any], count: int | None) -> tuple[Path, Experiment, int]:
    """A study that was interrupted, with the settings that it began with."""
    if not (folder / ABOUT).is_file():
        raise InputError(f"--resume '{folder}': there is no study in it")
    about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
    if about["study"] != kind:
        raise InputError(f"--resume '{folder}' holds a study of '{about['study']}', not of '{kind}'")
    if count is not None or any(value for value in given.values()):
        raise InputError("--resume goes on with the settings of the study; give no others with it")
    return folder, from_dict(about["experiment"]), about["n"]


if __name__ == "__main__":
    sys.exit(main())
