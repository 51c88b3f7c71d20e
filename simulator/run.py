"""The main command: policies compete before simulated users, retrain on their feedback, and a report judges them.

    python -m simulator.run --policies gptrec,sasrec
    python -m simulator.run --policies gptrec,sasrec --log kuairand:DIR --users 3000 --slate-size 6

The same from Python:

    from simulator import Experiment, run
    result = run(Experiment(policies=("gptrec", "sasrec")))
    result.effects          # pandas
"""

import json
import os
import resource
import shlex
import sys
import time
from dataclasses import dataclass, fields
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas as pd

from analysis import metrics, report
from analysis.errors import AnalysisError
from analysis.inference import LEVEL
from analysis.load import open_run
from analysis.looks import Daily, monitor
from analysis.trial import of_run
from policies.errors import InputError
from policies.files import reading
from policies.log import Dataset
from simulator.buckets import assign, parse_weights
from simulator.command import guarded
from simulator.config import Experiment, build, from_dict
from simulator.engine import World
from simulator.fit import fit_users
from simulator.flags import parser
from simulator.progress import Show
from simulator.stages import (
    before_warmup,
    check_importable,
    first_world,
    load_data,
    plan,
    policy_share,
    population,
    restore_world,
    save_world,
    size_note,
    start_world,
    tables,
    train_policies,
    with_threads,
)
from simulator.storage import RunFolder, about_users, checksum, load_users, save_users
from simulator.turnover import told, turned_over
from simulator.users import DAY, ChoiceModel
from simulator.worlds import SUMMARY, run_models, run_worlds
from simulator.worlds import terminal as several_to_terminal


@dataclass(frozen=True)
class Result:
    """What came out: tables as pandas, all numbers with their units in `results`, files in `path`."""

    path: Path
    results: dict[str, Any]

    @property
    def effects(self) -> pd.DataFrame:
        """One row per contender and metric: lift, interval, p-values, true lift."""
        return pd.DataFrame(self.results["effects"]["rows"])

    @property
    def true_effects(self) -> pd.DataFrame:
        """One row per contender and metric: the effect between worlds in which everybody gets one arm."""
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


def run(
    experiment: Experiment | None = None, out: str | None = None, resume: str | None = None,
    quiet: bool = True, command: str | None = None,
) -> Result:  # fmt: skip
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
        raise InputError(f"--out '{out}' exists already; name another folder, or go on with --resume '{out}'")
    check_importable(e)
    if e.users_from is not None and e.user_model != "factors":
        raise InputError("--user-model takes part in fitting users; with --users-from give it to simulator.fit")
    if e.users_from is not None and e.calibrate is not None:
        raise InputError("--calibrate takes part in fitting users; with --users-from give it to simulator.fit")
    with Show(quiet) as show:
        if folder is None or folder.manifest["status"] != "complete":
            begun = folder
            folder = with_threads(e.threads, lambda: _simulate(e, begun, out, show, command, began))
        show.say("report")
        results = report.write(folder.path)
    return Result(folder.path, results)


def _simulate(
    e: Experiment, folder: RunFolder | None, out: str | None, show: Show, command: str | None, began: float
) -> RunFolder:
    """Fit the users, train the policies, warm up, and let the worlds run."""
    raw = load_data(e)
    show.say(f"log: {e.log}, {len(raw.log)} rows")
    if folder is None:
        if e.users_from is not None:
            load_users(Path(e.users_from), about_users(raw, e.slate_size))  # refused before anything is written
        folder = RunFolder.create(e, out)
        show.say(f"run directory: {folder.path} (after an interruption go on with --resume {folder.path})")
        _describe(folder, e, raw, command)
    elif folder.manifest.get("checksum", checksum(raw)) != checksum(raw):
        raise InputError(
            f"--resume '{folder.path}': the log '{e.log}' has changed since the run began; start a new run"
        )
    model = _users(e, raw, folder, show)
    data = before_warmup(raw, e, policy_share(e, model))
    show.say(told(e, model))
    data, model = turned_over(e, data, model)
    ids, people, arrival = population(e, model)
    policies = train_policies(e, data, folder, show.say)

    warm = first_world(e, data, people, ids, arrival, policies, folder)
    _go(warm, -e.warmup_days * DAY, 0.0, folder, show)
    bucket = None if e.design == "twin" else assign(ids, parse_weights(e.weights, len(e.policies)), e.bucket_salt)
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
    looks = [monitor(daily, trial.primary, trial.control, arm, trial.monitor, trial.planned, alpha) for arm in treated]
    return all(found["stopped"] is not None for found in looks)


def _describe(folder: RunFolder, e: Experiment, raw: Dataset, command: str | None) -> None:
    """What the manifest says about where things come from."""
    default = Experiment().as_dict()
    folder.manifest |= {
        "command": command or f"run({e!r})",
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
        "weights": dict(zip(e.policies, parse_weights(e.weights, len(e.policies)).tolist(), strict=True)),
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
    begin = start if first_round == 1 and not about.exists() else (first_round * length if start >= 0 else start)
    show.world(world.name, begin, end, world.pages_served)
    world.on_page = show.page
    world.on_checkpoint = lambda w, number: save_world(w, number, folder)
    world.run(begin, end, first_round)
    if world.stopped_day is not None:
        folder.manifest["stopped_day"] = world.stopped_day
        folder.save()
        show.say(
            f"stopped on day {world.stopped_day} of {world.experiment.days:g}: every contender has crossed its bound"
        )
    save_world(world, -1, folder)
    folder.finish(done)


# -- the command ------------------------------------------------------------------------------------------------------


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit status: 0 done, 1 failed half-way, 2 bad input, 130 interrupted."""
    given = vars(parser().parse_args(arguments))
    file, sets, out, resume, quiet, worlds = (
        given.pop(name) for name in ("config", "set", "out", "resume", "quiet", "worlds")
    )
    words = sys.argv[1:] if arguments is None else arguments
    command = "python -m simulator.run " + shlex.join(words)

    def work() -> None:
        if resume is not None and (
            sets or file or out or worlds is not None or any(value is not None for value in given.values())
        ):
            raise InputError("--resume goes on with the settings of the run; give no others with it")
        if "user_model=all" in sets:
            sets.remove("user_model=all")
            given["user_model"] = "all"
        several = worlds is not None or given.get("user_model") == "all"
        if several or (resume is not None and (Path(resume) / SUMMARY).exists()):
            _several(given, file, sets, worlds, resume or out, resume is not None, quiet)
            return
        e = None if resume is not None else build(file, given, sets)
        result = run(e, out, resume, quiet, command)
        report.terminal(result.results)
        print(f"report: {os.path.relpath(result.path / 'report.html')}")

    return guarded(
        work,
        interrupted="the run directory named above holds what was done: go on with --resume DIR",
        full="make room and go on with --resume DIR, the run directory named above",
    )


def _several(
    given: dict[str, Any],
    file: str | None,
    sets: list[str],
    worlds: int | None,
    out: str | None,
    go_on: bool,
    quiet: bool,
) -> None:
    """`--worlds N` or `--user-model all`, or going on with it."""
    if go_on:
        assert out is not None
        folder = Path(out)
        with reading(folder / SUMMARY, "start again in another folder"):
            stored = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))
            e = from_dict(stored["experiment"])
            worlds = len(stored["names"]) if stored["over"] == "worlds" else None
    else:
        every = given.get("user_model") == "all"
        if every and worlds is not None:
            raise InputError("--worlds and --user-model all repeat an experiment each; give one of them")
        e = build(file, {**given, "user_model": None if every else given.get("user_model")}, sets)
        folder = Path(out) if out is not None else Path("runs") / time.strftime("several-%Y%m%d-%H%M%S")
        if folder.exists():
            raise InputError(f"--out '{folder}' exists already; name another folder, or go on with --resume '{folder}'")

    def say(text: str) -> None:
        if not quiet:
            print(text, file=sys.stderr)

    summary = (
        run_models(e, folder, run, quiet, say) if worlds is None else run_worlds(e, worlds, folder, run, quiet, say)
    )
    several_to_terminal(summary)
    print(f"summary: {os.path.relpath(folder / 'summary.md')}")


class _Callable(ModuleType):
    """`from simulator import run` gives this module once it was imported by name; calling it runs an experiment."""

    def __call__(self, *args: Any, **kwargs: Any) -> Result:
        return run(*args, **kwargs)


sys.modules[__name__].__class__ = _Callable

if __name__ == "__main__":
    sys.exit(main())
