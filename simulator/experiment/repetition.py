"""One experiment before several kinds of users: how sure is the verdict when the users are not
known for sure?

A fit leaves levels and slopes of clicks, long views and likes open; its draws are all as plausible,
and so is what was assumed within its range (`simulator.doubt.worlds`).
`simulator.run --worlds N` repeats the experiment on N of them. The spread of the true effect over
worlds is what comes of not knowing the users; the standard error within a world is what comes of
seeing few of them. No longer test and no larger bucket makes the first one smaller. `--user-model
all` repeats it before users of another make.
"""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from analysis.studies.over_users import MODELS, OverUsers, over_users, write_summary
from policies.common.errors import InputError
from policies.common.executor import Workers
from policies.common.files import reading, save_json
from policies.common.folders import one_writer
from policies.common.terminal import to_stderr
from policies.common.threads import with_threads
from simulator.doubt.worlds import plausible
from simulator.experiment.data import load_data
from simulator.experiment.simulate import side_by_side
from simulator.fitting.alternatives import (
    KINDS,
    MATRIX_FILLED,
    MATRIX_SHARE,
    check_size,
    observed_share,
)
from simulator.fitting.fit_users import chains_of, fit, fit_users
from simulator.population.sampling import fit_sample
from simulator.settings import Experiment, from_dict
from simulator.users.storage import about_users, save_users
from simulator.users.strangers import is_stranger

SUMMARY = "summary.json"
ALL = Workers()


def repeat(
    experiment: Experiment, worlds: int | None, out: Path, quiet: bool, workers: Workers = ALL
) -> OverUsers:
    """Makes users, runs the experiment before each kind of them, and sums up.

    Args:
        worlds: how many draws of plausible users, all from one fit; None = one of every user model.
        out: folder of the runs; what is there is gone on with. workers: who does the runs.
    """
    if worlds is None:
        kinds = list(KINDS)
        # Policies learn from the same part of a matrix under all models.
        if observed_share(load_data(experiment)) >= MATRIX_FILLED:
            kinds.append("matrix")
            if experiment.policy_share is None:
                experiment = replace(experiment, policy_share=MATRIX_SHARE)
        return _repeated(experiment, kinds, MODELS, _fit_users, out, quiet, workers)
    if is_stranger(experiment.user_model):
        raise InputError(
            f"--worlds draws users from a fit; those of --user-model {experiment.user_model} are"
            " somebody else's"
        )
    if worlds < 2:
        raise InputError(f"--worlds must be at least 2, not {worlds}; leave it out for one world")
    names = [f"world-{k:02d}" for k in range(worlds)]
    return _repeated(experiment, names, "worlds", _draw_users, out, quiet, workers)


def is_repetition(folder: str | Path) -> bool:
    return (Path(folder) / SUMMARY).exists()


def resume_repetition(folder: Path, quiet: bool, workers: Workers = ALL) -> OverUsers:
    """Goes on with what `repeat` began."""
    with reading(folder / SUMMARY, "start again in another folder"):
        stored = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))
        experiment = from_dict(stored["experiment"])
        worlds = len(stored["names"]) if stored["over"] == "worlds" else None
    return repeat(experiment, worlds, folder, quiet, workers)


def _repeated(
    experiment: Experiment,
    names: list[str],
    over: str,
    make: "Make",
    out: Path,
    quiet: bool,
    workers: Workers,
) -> OverUsers:
    if experiment.users_from is not None:
        raise InputError(f"repeating over {over} makes users of its own; leave out --users-from")
    contenders, control = experiment.contenders, experiment.control_arm
    if all(arm == control for arm in contenders):
        raise InputError(
            f"nothing to compare over {over}: name two contenders, such as sasrec,popularity"
        )
    about = {"over": over, "names": names, "experiment": experiment.as_dict()}
    new = not out.exists()
    # first of all: --resume knows the folder by it
    save_json(out / SUMMARY, {**about, "status": "incomplete"})
    with one_writer(out):
        return _in_folder(experiment, about, make, out, quiet, new, workers)


def _in_folder(
    experiment: Experiment,
    about: dict[str, Any],
    make: "Make",
    out: Path,
    quiet: bool,
    new: bool,
    workers: Workers,
) -> OverUsers:
    names, over, say = about["names"], about["over"], to_stderr(quiet)
    if not (out / "users" / names[-1] / "parameters.json").exists():
        try:
            with_threads(experiment.threads, lambda: make(experiment, names, out, say))
        except BaseException:
            if new:  # nothing worth going on with
                shutil.rmtree(out, ignore_errors=True)
            raise
    runs = []
    for name in names:
        users = str(out / "users" / name)
        here = replace(
            experiment, users_from=users, calibrate=None, user_model="factors", sensitivity=False
        )
        runs.append((here, out / name))
    summary = over_users(over, names, side_by_side(runs, say, workers))
    write_summary(summary, about, out)
    return summary


Make = Callable[[Experiment, list[str], Path, Callable[[str], None]], None]


def _draw_users(
    experiment: Experiment, names: list[str], out: Path, say: Callable[[str], None]
) -> None:
    """One folder of fitted users per world, all from one fit."""
    data, n = load_data(experiment), len(names)
    some = fit_sample(data, experiment)
    fitted = fit(
        some.data,
        experiment.seed,
        experiment.slate_size,
        say,
        experiment.user_model,
        chains_of(experiment),
    )
    if len(fitted) < n:
        raise InputError(
            f"--worlds {n}: a fit to '{data.name}' has {len(fitted)} draws" + _why_few(experiment)
        )
    about = about_users(data, experiment.slate_size)
    models = plausible(fitted, some.data, names, experiment.slate_size, experiment.seed)
    for name, model in zip(names, models, strict=True):
        save_users(out / "users" / name, some.of_log(model), about)


def _fit_users(
    experiment: Experiment, names: list[str], out: Path, say: Callable[[str], None]
) -> None:
    """One folder of fitted users per user model."""
    data = load_data(experiment)
    samples = {
        kind: fit_sample(data, replace(experiment, user_model=cast(Any, kind))) for kind in names
    }
    for kind, some in samples.items():
        check_size(some.data, kind)
    for kind, some in samples.items():
        say(f"users: {kind}")
        model = fit_users(
            some.data, experiment.seed, experiment.slate_size, say, kind, chains_of(experiment)
        )
        about = about_users(data, experiment.slate_size)
        save_users(out / "users" / kind, some.of_log(model), about)


def _why_few(experiment: Experiment) -> str:
    if experiment.user_model == "matrix":
        return "; a matrix is replayed as it is, nothing is drawn"
    return "; use that many or fewer"
