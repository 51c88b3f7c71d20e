"""One experiment, top to bottom: users are fitted, policies trained, worlds run, and a report
judges them.
"""

import json
import resource
import time
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pandas as pd

from analysis import metrics, report
from analysis.data.ab_test import of_run
from analysis.data.run import open_run
from analysis.errors import AnalysisError
from analysis.results.monitoring import Daily, monitor
from analysis.statistics.comparison import LEVEL
from policies.common.errors import InputError
from policies.common.files import reading
from policies.common.threads import with_threads
from policies.log import Dataset
from simulator.buckets import assign, parse_weights
from simulator.engine.world import World
from simulator.experiment.checkpoints import restore_world, save_world
from simulator.experiment.data import before_warmup, load_data, policy_share, size_note
from simulator.experiment.newcomers import told, turned_over
from simulator.experiment.population import population
from simulator.experiment.progress import Show
from simulator.experiment.run_folder import RunFolder, tables
from simulator.experiment.training import check_importable, train_policies
from simulator.experiment.worlds import first_world, plan, start_world
from simulator.fitting.fit_users import fit_users
from simulator.settings import Experiment
from simulator.users.choice_model import DAY, ChoiceModel
from simulator.users.storage import about_users, checksum, load_users, save_users


@dataclass(frozen=True)
class Result:
    """What came out: tables as pandas, all numbers with their units in `results`, files
    in `path`.
    """

    path: Path
    results: dict[str, Any]

    @property
    def effects(self) -> pd.DataFrame:
        """One row per contender and metric: lift, interval, p-values, true lift."""
        return pd.DataFrame(self.results["effects"]["rows"])

    @property
    def true_effects(self) -> pd.DataFrame:
        """One row per contender and metric: the effect between worlds in which everybody gets one
        arm.
        """
        return pd.DataFrame(self.results["true_effects"]["rows"])

    @property
    def arms(self) -> pd.DataFrame:
        """One row per arm, references included: every metric, clicks per page."""
        return pd.DataFrame(self.results["arms"]["rows"])

    @property
    def rounds(self) -> pd.DataFrame:
        """One row per arm and round: click rate, coverage, Gini, overlap, popularity, entropy."""
        return pd.DataFrame(self.results["rounds"]["loop"])

    def impressions(self, arm: str) -> pd.DataFrame:
        """Every impression of an arm in the test, in the order of time, user, page and slot."""
        folder = self.path / "impressions" / f"bucket={arm}"
        found = pd.concat([pd.read_parquet(file) for file in sorted(folder.rglob("*.parquet"))])
        return found.sort_values(["time", "user", "page", "slot"], ignore_index=True)


def simulate(
    experiment: Experiment | None = None,
    out: str | None = None,
    resume: str | None = None,
    quiet: bool = True,
    command: str | None = None,
) -> Result:
    """Runs an experiment, or goes on with an interrupted one, and writes its report.

    Args:
        experiment: the settings; ignored with `resume`, which has its own.
        out: the run directory; must not exist. By default runs/<time>-<policies>.
        resume: an interrupted run.
        quiet: no progress on standard error.

    Raises:
        InputError: a setting or the log cannot be used.
    """
    began = time.monotonic()
    folder: RunFolder | None = None
    if resume is not None:
        folder, e = RunFolder.reopen(resume)
    else:
        e = experiment if experiment is not None else Experiment()
    try:
        metrics.load()
        metrics.find(e.primary)
    except AnalysisError as error:
        raise InputError(f"--primary: {error}") from None
    if out is not None and Path(out).exists():
        raise InputError(
            f"--out '{out}' exists already; name another folder, or go on with --resume '{out}'"
        )
    check_importable(e)
    if e.users_from is not None and e.user_model != "factors":
        raise InputError(
            "--user-model takes part in fitting users; with --users-from give it to simulator.fit"
        )
    if e.users_from is not None and e.calibrate is not None:
        raise InputError(
            "--calibrate takes part in fitting users; with --users-from give it to simulator.fit"
        )
    with Show(quiet) as show:
        if folder is None or folder.manifest["status"] != "complete":
            begun = folder
            folder = with_threads(e.threads, lambda: _simulate(e, begun, out, show, command, began))
        show.say("report")
        results = report.write(folder.path)
    return Result(folder.path, results)


def _simulate(
    e: Experiment,
    folder: RunFolder | None,
    out: str | None,
    show: Show,
    command: str | None,
    began: float,
) -> RunFolder:
    """Fit the users, train the policies, warm up, and let the worlds run."""
    raw = load_data(e)
    show.say(f"log: {e.log}, {len(raw.log)} rows")
    if folder is None:
        if e.users_from is not None:
            # refused before anything is written
            load_users(Path(e.users_from), about_users(raw, e.slate_size))
        folder = RunFolder.create(e, out)
        show.say(
            f"run directory: {folder.path} (after an interruption go on with --resume"
            f" {folder.path})"
        )
        _describe(folder, e, raw, command)
    elif folder.manifest.get("checksum", checksum(raw)) != checksum(raw):
        raise InputError(
            f"--resume '{folder.path}': the log '{e.log}' has changed since the run began; start a"
            " new run"
        )
    model = _users(e, raw, folder, show)
    data = before_warmup(raw, e, policy_share(e, model))
    show.say(told(e, model))
    data, model = turned_over(e, data, model)
    ids, people, arrival = population(e, model)
    policies = train_policies(e, data, folder, show.say)

    warm = first_world(e, data, people, ids, arrival, policies, folder)
    _go(warm, -e.warmup_days * DAY, 0.0, folder, show)
    bucket = (
        None
        if e.design == "twin"
        else assign(ids, parse_weights(e.weights, len(e.policies)), e.bucket_salt)
    )
    folder.write_tables(*tables(e, data, ids, bucket))
    pages = warm.pages_served
    for name, arms in plan(e):
        world = start_world(name, arms, e, warm, policies, folder)
        world.pages_served = 0
        if e.stop_early and name == "split":
            world.on_look = lambda day: _crossed(e, folder, day)
        _go(world, 0.0, min(e.days, folder.manifest.get("stopped_day", e.days)) * DAY, folder, show)
        pages += world.pages_served

    folder.manifest |= {
        "status": "complete",
        "pages": pages,
        "seconds": round(time.monotonic() - began, 1),
        "peak_memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }
    folder.save()
    return folder


def _crossed(e: Experiment, folder: RunFolder, day: int) -> bool:
    """Whether every contender has crossed its bound by the end of this day."""
    trial = of_run(open_run(folder.path, partial=True), days=day)
    table = trial.table()
    daily = Daily(table, trial.rows.daily(trial.primary.columns, table[["user", "bucket"]], day))
    treated = [arm for arm in trial.contenders if arm != trial.control]
    alpha = (1 - LEVEL) / len(treated)
    looks = [
        monitor(daily, trial.primary, trial.control, arm, trial.monitor, trial.planned, alpha)
        for arm in treated
    ]
    return all(found["stopped"] is not None for found in looks)


def _describe(folder: RunFolder, e: Experiment, raw: Dataset, command: str | None) -> None:
    """What the manifest says about where things come from."""
    default = Experiment().as_dict()
    folder.manifest |= {
        "command": command or f"simulate({e!r})",
        "changed": {key: value for key, value in e.as_dict().items() if value != default[key]},
        "log_name": raw.name,
        "log": {
            "rows": len(raw.log),
            "users": raw.n_users,
            "items": raw.catalogue.size,
            "has": sorted(raw.has),
        },
        "notes": [*raw.notes, *size_note(e, raw)],
        "checksum": checksum(raw),
        "weights": dict(
            zip(e.policies, parse_weights(e.weights, len(e.policies)).tolist(), strict=True)
        ),
    }
    folder.save()


def _users(e: Experiment, raw: Dataset, folder: RunFolder, show: Show) -> ChoiceModel:
    """The fitted users, with the clock set so that time 0 is the start of the test."""
    if folder.done("users"):
        return load_users(folder.path / "users")
    if e.users_from is not None:
        show.say(f"users: from {e.users_from}")
        model = load_users(Path(e.users_from), about_users(raw, e.slate_size))
    else:
        model = fit_users(raw, e.seed, e.slate_size, show.say, e.user_model)
    shifted = {f.name: getattr(model, f.name) for f in fields(model)}
    shifted["hour_zero"] = (model.hour_zero + 24 * e.warmup_days) % 24
    model = ChoiceModel(**shifted)
    save_users(folder.path / "users", model, about_users(raw, e.slate_size, "run"))
    folder.finish("users")
    return model


def _go(world: World, start: float, end: float, folder: RunFolder, show: Show) -> None:
    """Runs a world from its last checkpoint, or from its start, and remembers that it is done."""
    about = folder.checkpoint(world.name).with_suffix(".json")
    first_round = 1
    length = world.experiment.round_seconds
    if about.exists():
        with reading(about, "start the run again in another folder"):
            stored = json.loads(about.read_text(encoding="utf-8"))
            restore_world(world, folder, stored)
            first_round = stored["next_round"]
        if first_round < 0:  # it had ended; the interruption came before that was written down
            folder.finish(f"world {world.name}")
    else:
        world.recorder.keep_only(world.recorder.parts, [arm.bucket for arm in world.arms])
    done = f"world {world.name}"
    if folder.done(done):
        return
    begin = (
        start
        if first_round == 1 and not about.exists()
        else (first_round * length if start >= 0 else start)
    )
    show.world(world.name, begin, end, world.pages_served)
    world.on_page = show.page
    world.on_checkpoint = lambda w, number: save_world(w, number, folder)
    world.run(begin, end, first_round)
    if world.stopped_day is not None:
        folder.manifest["stopped_day"] = world.stopped_day
        folder.save()
        show.say(
            f"stopped on day {world.stopped_day} of {world.experiment.days:g}: every contender has"
            " crossed its bound"
        )
    save_world(world, -1, folder)
    folder.finish(done)
