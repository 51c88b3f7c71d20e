"""One experiment, top to bottom: fit the users, train the policies, run the worlds, judge."""

import json
import resource
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.data.ab_test import of_run
from analysis.data.run import open_run
from analysis.errors import AnalysisError
from analysis.metrics import load_metrics
from analysis.reporting.content import Report
from analysis.reporting.write import write
from analysis.results.monitoring import all_crossed
from policies.calls import PolicyFailure
from policies.common.errors import InputError
from policies.common.files import Listed, files_below, listed, reading, save_text
from policies.common.folders import one_writer, refuse_existing
from policies.common.manifests import COMPLETE, SIMULATED, WORLDS_DONE
from policies.common.threads import with_threads
from policies.log import Dataset
from simulator.engine.world import Hooks, World
from simulator.experiment.checkpoints import recorder_of, restore_world, save_world
from simulator.experiment.data import before_warmup, load_data, policy_share, size_note
from simulator.experiment.newcomers import population_note, turned_over
from simulator.experiment.population import population
from simulator.experiment.progress import Progress
from simulator.experiment.run_folder import RunFolder, tables
from simulator.experiment.training import check_importable, train_policies
from simulator.experiment.worlds import first_world, plan, start_world
from simulator.fitting.fit_users import chains_of, fit_users
from simulator.settings import Experiment
from simulator.users.choice_model import DAY, ChoiceModel
from simulator.users.storage import USERS_FILES, about_users, load_users, save_users


@dataclass(frozen=True)
class Result:
    """Tables as pandas, all numbers with their units in `results`, files in `path`."""

    path: Path
    report: Report

    @cached_property
    def results(self) -> dict[str, Any]:
        """What `results.json` holds."""
        return self.report.as_json()

    @property
    def effects(self) -> pd.DataFrame:
        """One row per contender and metric: lift, interval, p-values, true lift."""
        return pd.DataFrame(self.results["effects"]["rows"])

    @property
    def true_effects(self) -> pd.DataFrame:
        """One row per contender and metric: the effect between worlds in which everybody gets an
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
        files = sorted((self.path / "impressions" / f"bucket={arm}").rglob("*.parquet"))
        rows = pd.concat([pd.read_parquet(file) for file in files])
        return rows.sort_values(["time", "user", "page", "slot"], ignore_index=True)


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
        command: what to print under "reproduce"; by default this call.

    Raises:
        InputError: a setting or the log cannot be used.
    """
    began = time.monotonic()
    folder: RunFolder | None = None
    with ExitStack() as held:
        places: list[Path] = []

        def hold(path: Path) -> None:
            held.enter_context(one_writer(path))
            places.append(path)

        if resume is not None:
            if Path(resume).is_dir():
                hold(Path(resume))
            folder, experiment = RunFolder.reopen(resume)
        settings = experiment if experiment is not None else Experiment()
        _check(settings, out)
        with Progress(quiet) as progress:
            if folder is None or folder.manifest["status"] not in WORLDS_DONE:
                begun = folder
                try:
                    folder = with_threads(
                        settings.threads,
                        lambda: _run(settings, begun, out, progress, command, began, hold),
                    )
                except PolicyFailure as failure:
                    raise _with_a_trace(failure, places) from None
            progress.say("report")
            report = write(folder.path)
            folder.manifest["status"] = COMPLETE
            folder.save()
    return Result(folder.path, report)


def _with_a_trace(failure: PolicyFailure, places: list[Path]) -> InputError:
    """The same line with the traceback in a file of the run, which can be gone on with."""
    if not places:
        return failure
    path = places[-1] / "policy-error.txt"
    save_text(path, failure.trace)
    return InputError(
        f"{failure}; the traceback is in '{path}'; mend the policy and go on with --resume"
        f" {places[-1]}"
    )


def begin_or_resume(experiment: Experiment, folder: Path, quiet: bool) -> Result:
    """Runs an experiment in this folder, or goes on with the one that is there."""
    if (folder / "manifest.json").exists():
        return simulate(resume=str(folder), quiet=quiet)
    return simulate(experiment, out=str(folder), quiet=quiet)


def _check(experiment: Experiment, out: str | None) -> None:
    """Raises InputError at what would fail only after hours of work."""
    try:
        load_metrics().find(experiment.primary)
    except AnalysisError as error:
        raise InputError(f"--primary: {error}") from None
    if out is not None:
        refuse_existing(Path(out), advice=f", or go on with --resume '{out}'")
    check_importable(experiment)
    if experiment.users_from is None:
        return
    for name, usual in (("user_model", "factors"), ("calibrate", None)):
        if getattr(experiment, name) != usual:
            raise InputError(
                f"--{name.replace('_', '-')} takes part in fitting users; with --users-from give it"
                " to simulator.fit"
            )


def _run(
    experiment: Experiment,
    folder: RunFolder | None,
    out: str | None,
    progress: Progress,
    command: str | None,
    began: float,
    hold: Callable[[Path], None],
) -> RunFolder:
    """Fit the users, train the policies, warm up, and let the worlds run."""
    raw = load_data(experiment)
    progress.say(f"log: {experiment.log}, {len(raw.log)} rows")
    if folder is None:
        folder = _begun(experiment, raw, out, progress, command, hold)
    elif folder.manifest.get("checksum", raw.fingerprint) != raw.fingerprint:
        raise InputError(
            f"--resume '{folder.path}': the log '{experiment.log}' has changed since the run began;"
            " start a new run"
        )
    model = _users(experiment, raw, folder, progress)
    data = before_warmup(raw, experiment, policy_share(experiment, model))
    progress.say(population_note(experiment, model))
    data, model = turned_over(experiment, data, model)
    ids, people, arrival = population(experiment, model)
    policies = train_policies(experiment, data, folder, progress.say)

    hooks = _hooks(experiment, folder, progress)
    warm = first_world(experiment, data, people, ids, arrival, policies, folder, hooks)
    _run_world(warm, -experiment.warmup_days * DAY, 0.0, folder, progress)
    split = experiment.assignment.of_users(ids) if experiment.design == "split" else None
    folder.write_tables(*tables(experiment, data, ids, split))
    pages = warm.pages_served
    for name, arms in plan(experiment):
        bucket = split if name == "split" else None
        hooks = _hooks(experiment, folder, progress, looks=name == "split")
        world = start_world(name, arms, experiment, warm, policies, folder, bucket, hooks)
        days = min(experiment.days, folder.manifest.get("stopped_day", experiment.days))
        _run_world(world, 0.0, days * DAY, folder, progress)
        pages += world.pages_served

    folder.manifest |= {
        "status": SIMULATED,
        "pages": pages,
        "seconds": round(time.monotonic() - began, 1),
        "peak_memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }
    folder.save()
    return folder


def _begun(
    experiment: Experiment,
    raw: Dataset,
    out: str | None,
    progress: Progress,
    command: str | None,
    hold: Callable[[Path], None],
) -> RunFolder:
    """A new run folder."""
    if experiment.users_from is not None:  # refused before anything is written
        load_users(Path(experiment.users_from), about_users(raw, experiment.slate_size))
    folder = RunFolder.create(experiment, out)
    hold(folder.path)
    progress.say(
        f"run directory: {folder.path} (after an interruption go on with --resume {folder.path})"
    )
    default = Experiment().as_dict()
    changed = {name: x for name, x in experiment.as_dict().items() if x != default[name]}
    folder.manifest |= {
        "command": command or f"simulate({experiment!r})",
        "changed": changed,
        "log_name": raw.name,
        "log": {
            "rows": len(raw.log),
            "users": raw.n_users,
            "items": raw.catalogue.size,
            "clicks": int(raw.log.clicked.sum()),
            "has": sorted(raw.has),
        },
        "notes": [*raw.notes, *size_note(experiment, raw)],
        "checksum": raw.fingerprint,
        "weights": experiment.assignment.shares,
    }
    folder.save()
    return folder


def _users(
    experiment: Experiment, raw: Dataset, folder: RunFolder, progress: Progress
) -> ChoiceModel:
    """The fitted users, with the clock set so that time 0 is the start of the test."""
    if folder.done("users"):
        return load_users(folder.path / "users")
    size = experiment.slate_size
    if experiment.users_from is not None:
        progress.say(f"users: from {experiment.users_from}")
        model = load_users(Path(experiment.users_from), about_users(raw, size))
    else:
        model = fit_users(
            raw, experiment.seed, size, progress.say, experiment.user_model, chains_of(experiment)
        )
    shifted = {f.name: getattr(model, f.name) for f in fields(model)}
    shifted["hour_zero"] = (model.hour_zero + 24 * experiment.warmup_days) % 24
    model = ChoiceModel(**shifted)
    save_users(folder.path / "users", model, about_users(raw, size, "run"))
    files: Listed = {}
    for name in USERS_FILES:
        files |= listed(folder.path, folder.path / "users" / name)
    folder.finish("users", files)
    return model


def _hooks(
    experiment: Experiment, folder: RunFolder, progress: Progress, looks: bool = False
) -> Hooks:
    """What the engine calls: the screen, the checkpoints, and the looks of a test that may stop."""

    def look(day: int) -> bool:
        return all_crossed(of_run(open_run(folder.path, partial=True, check=False), days=day))

    return Hooks(
        page=progress.page,
        checkpoint=lambda world, number: save_world(world, number, folder),
        look=look if looks and experiment.stop_early else None,
    )


def _run_world(
    world: World, start: float, end: float, folder: RunFolder, progress: Progress
) -> None:
    """Runs a world from its last checkpoint, or from its start, and remembers that it is done."""
    done = f"world {world.name}"
    begin, first_round = _where_to_begin(world, start, folder)
    recorder = recorder_of(world)
    below = recorder.folder.parent.relative_to(folder.path)
    if first_round < 0:  # it had ended; the interruption came before that was written down
        folder.finish(done, files_below(below, recorder.files))
    if folder.done(done):
        return
    progress.world(world.name, begin, end, world.pages_served)
    world.run(begin, end, first_round)
    if world.stopped_day is not None:
        folder.manifest["stopped_day"] = world.stopped_day
        folder.save()
        progress.say(
            f"stopped on day {world.stopped_day} of {world.experiment.days:g}: every contender has"
            " crossed its bound"
        )
    save_world(world, -1, folder)
    folder.finish(done, files_below(below, recorder.files))


def _where_to_begin(world: World, start: float, folder: RunFolder) -> tuple[float, int]:
    """The time [s] and the round with which a world goes on; its checkpoint is put back."""
    about = folder.checkpoint(world.name).with_suffix(".json")
    if not about.exists():
        recorder = recorder_of(world)
        recorder.keep_only(recorder.parts, [arm.bucket for arm in world.arms])
        return start, 1
    with reading(about, "start the run again in another folder"):
        stored = json.loads(about.read_text(encoding="utf-8"))
        restore_world(world, folder, stored)
        number = int(stored["next_round"])
    return (number * world.experiment.round_seconds if start >= 0 else start), number
