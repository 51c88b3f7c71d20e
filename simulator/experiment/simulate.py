"""One experiment, top to bottom: fit the users, train the policies, run the worlds, judge."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path
from typing import Any

from analysis.data.ab_test import of_run
from analysis.data.run import open_run
from analysis.errors import AnalysisError
from analysis.metrics import load_metrics
from analysis.reporting.content import Report
from analysis.reporting.write import write
from analysis.results.monitoring import all_crossed
from policies.calls import PolicyFailure
from policies.common.errors import InputError
from policies.common.executor import (
    HERE,
    Unit,
    Workers,
    at_once,
    drive,
    usual_workers,
)
from policies.common.files import Listed, listed, save_text
from policies.common.folders import one_writer, refuse_existing
from policies.common.manifests import COMPLETE, SIMULATED, WORLDS_DONE
from policies.common.processes import PeakMemory
from policies.common.threads import with_threads
from policies.log import Dataset
from policies.registry import asks_for_truth
from policies.sources.frames import in_a_file, in_its_words
from simulator.doubt.advantage import advantage
from simulator.experiment.clock import Clock, in_words
from simulator.experiment.data import (
    RUNS,
    before_warmup,
    load_data,
    policy_share,
    size_note,
)
from simulator.experiment.inputs import read_log, write_log, write_population
from simulator.experiment.progress import Progress
from simulator.experiment.result import Result
from simulator.experiment.run_folder import RunFolder, tables
from simulator.experiment.schedule import Plan, Schedule, chains_of_run
from simulator.experiment.sensitivity import asks, sensitivity
from simulator.experiment.theirs import strangers
from simulator.experiment.training import check_importable, check_seen_by_others
from simulator.fitting.fit_users import chains_of, fit_users
from simulator.population.dynamics import dynamics_note, with_dynamics
from simulator.population.newcomers import needs_no_users, population_note, turned_over
from simulator.population.people import population
from simulator.population.sampling import MOST_ROWS, FitSample, fit_sample, sample_note
from simulator.settings import Experiment
from simulator.users.choice_model import ChoiceModel
from simulator.users.storage import (
    USERS_FILES,
    about_users,
    load_users,
    save_users,
    stored_users,
)
from simulator.users.strangers import TELLS, Strangers, is_stranger


def simulate(
    experiment: Experiment | None = None,
    out: str | None = None,
    resume: str | None = None,
    quiet: bool | None = None,
    command: str | None = None,
    workers: Workers | int | None = None,
    beside: Sequence[Path] = (),
) -> Result:
    """Runs an experiment, or goes on with an interrupted one, and writes its report.

    Who does the work never changes the result.

    Args:
        experiment: the settings; ignored with `resume`, which has its own.
        out: the run directory; must not exist. By default runs/<time>-<policies>.
        resume: an interrupted run.
        quiet: no progress on standard error; by default progress is shown in notebooks alone.
        command: what to print under "reproduce"; by default this call.
        workers: processes, of one thread each; by default what GPTREC_WORKERS says, or one for each
            core. `Workers` also names an engine and in how many shards users are served; a resumed
            run has those that it began with.
        beside: folders of other runs: what their arms have learned from the same log with the same
            seed and settings is not learned again.

    Raises:
        InputError: a setting or the log cannot be used.
    """
    if not isinstance(experiment, Experiment | None):
        raise InputError(
            f"simulate wants an Experiment, not a {type(experiment).__name__}:"
            " simulate(Experiment(log=...))"
        )
    for name, value in (("out", out), ("resume", resume)):
        if not isinstance(value, str | PathLike | None):
            raise InputError(f"{name}: wanted a path, not a {type(value).__name__}")
    spec = "" if experiment is None else experiment.log
    with (
        in_its_words(spec),
        _worlds(experiment, out, resume, quiet, command, workers, beside) as (folder, progress),
    ):
        progress.say("report")
        judged = Clock()
        with judged.of("judge"):
            report = write(folder.path)
        folder.manifest.setdefault("time", {})["judge"] = judged.table()["judge"]
        folder.manifest["status"] = COMPLETE
        folder.save()
        progress.say(in_words(folder.manifest))
    return Result(folder.path, report)


def worlds(
    experiment: Experiment, folder: Path, quiet: bool, workers: Workers | int | None = None
) -> Path:
    """What `simulate` simulates, in this folder, without a judgement; what is there is gone on
    with.
    """
    there = (folder / "manifest.json").exists()
    given = (None, None, str(folder)) if there else (experiment, str(folder), None)
    with _worlds(given[0], given[1], given[2], quiet, None, workers, ()) as (run, _):
        return run.path


@contextmanager
def _worlds(
    experiment: Experiment | None,
    out: str | None,
    resume: str | None,
    quiet: bool | None,
    command: str | None,
    workers: Workers | int | None,
    beside: Sequence[Path],
) -> Iterator[tuple[RunFolder, Progress]]:
    """As `simulate`, up to the judgement; nobody else writes into the folder meanwhile."""
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
        beside_it = Path(RUNS) if out is None else Path(out).parent
        settings = replace(settings, log=in_a_file(settings.log, beside_it))
        with Progress(quiet) as progress:
            if folder is None or folder.manifest["status"] not in WORLDS_DONE:
                work = _Work(
                    settings,
                    folder,
                    out,
                    progress,
                    command,
                    began,
                    hold,
                    _workers(workers, settings.threads),
                    tuple(path.resolve() for path in beside),
                )
                try:
                    folder = with_threads(settings.threads, lambda: _run(work))
                except PolicyFailure as failure:
                    raise _with_a_trace(failure, places) from None
            folder.drop_scratch()
            yield folder, progress


def _with_a_trace(failure: PolicyFailure, places: list[Path]) -> InputError:
    """The same line with the traceback in a file of the run, which can be gone on with."""
    if not places:
        return failure
    path = places[-1] / failure.file
    save_text(path, failure.trace)
    return InputError(
        f"{failure}; the traceback is in '{path}'; {failure.mend} and go on with --resume"
        f" {places[-1]}"
    )


def _workers(given: Workers | int | None, threads: int) -> Workers:
    """
    Args:
        threads: of each process; no more processes than the cores bear, unless somebody says so.
    """
    workers = given if isinstance(given, Workers) else Workers(given)
    if workers.number is None and workers.engine == "local":
        return replace(workers, number=usual_workers(threads))
    return workers


def begin_or_resume(
    experiment: Experiment,
    folder: Path,
    quiet: bool,
    workers: Workers | int | None = None,
    beside: Sequence[Path] = (),
) -> Result:
    """Runs an experiment in this folder, or goes on with the one that is there."""
    if (folder / "manifest.json").exists():
        return simulate(resume=str(folder), quiet=quiet, workers=workers, beside=beside)
    return simulate(experiment, out=str(folder), quiet=quiet, workers=workers, beside=beside)


def side_by_side(
    runs: list[tuple[Experiment, Path]], say: Callable[[str], None], workers: Workers
) -> list[Report]:
    """Reports of experiments that know nothing of each other, each in its folder, begun or gone on
    with; every one by one process.
    """
    names = [folder.name for _, folder in runs]
    folders = tuple(folder.resolve() for _, folder in runs)

    def here(experiment: Experiment, folder: Path, beside: tuple[Path, ...]) -> Report:
        say(f"{folder.name} ({names.index(folder.name) + 1} of {len(names)})")
        return _report_of(experiment, folder, beside)

    with _workers(workers, max(e.threads for e, _ in runs)).executor() as by:
        if not by.here:
            say(f"{len(runs)} runs on {by.workers} processes, from {names[0]} on")
        work = here if by.here else _report_of
        return at_once(by, [Unit(f.name, work, (e, f.resolve(), folders)) for e, f in runs])


def _report_of(experiment: Experiment, folder: Path, beside: tuple[Path, ...]) -> Report:
    return begin_or_resume(experiment, folder, quiet=True, workers=HERE, beside=beside).report


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


def _run(work: "_Work") -> RunFolder:
    """Fit the users, train the policies, warm up, and let the worlds run."""
    experiment, progress, clock = work.experiment, work.progress, work.clock
    with clock.of("load"):
        raw = load_data(experiment)
    progress.say(f"log: {experiment.log}, {len(raw.log)} rows")
    memory = PeakMemory()
    with work.workers.executor() as by, memory.watched():  # it may not start: no folder before it
        if not by.here:
            check_seen_by_others(experiment)
        folder = work.folder(raw, by.workers)
        clock.go_on(folder.manifest.get("time", {}))
        shards, finished = folder.manifest["shards"], _finish(folder, clock)
        plan = Plan(folder.path.resolve(), experiment, shards, finished, progress, by.here)
        plan.beside = work.beside
        # before the log goes to its file: rows of some users lie on every page of it
        theirs = is_stranger(experiment.user_model)
        fits = experiment.users_from is None and not theirs and not folder.done("users")
        some = fit_sample(raw, experiment) if fits else None
        if needs_no_users(experiment, raw):
            raw = _write_log(experiment, raw, plan, folder)

        def fit_users_here(check: Callable[[], None]) -> None:
            def say(text: str) -> None:
                check()
                progress.say(text)

            with clock.of("fit"):
                _inputs(experiment, raw, some, plan, folder, say)
            with folder.lock:
                folder.manifest["time"] = clock.table()
                folder.save()

        schedule = Schedule(
            plan,
            _look(plan, folder, progress) if experiment.stop_early else None,
            lambda: folder.manifest.get("stopped_day", experiment.days),
        )
        drive(by, schedule.source, progress.notes, fit_users_here)
        ours = "user_model" not in folder.manifest
        if ours and asks(experiment) and "sensitivity" not in folder.manifest:
            with clock.of("doubt"):
                model = load_users(folder.path / "users")
                found = sensitivity(by, experiment, plan.run, raw, model, plan.models, progress.say)
            folder.manifest["sensitivity"] = found

    folder.manifest |= {
        "status": SIMULATED,
        "seconds": round(time.monotonic() - work.began, 1),
        "time": clock.table(),
        "workers": by.workers,
        # of a cluster this process alone would be counted
        "peak_memory_mib": None if work.workers.address is not None else memory.mib,
    }
    if len(folder.manifest["machines"]) > 1:
        folder.manifest["notes"].append(
            "Units were done on machines that differ, so that another run may differ in its last"
            f" bits: {'; '.join(folder.manifest['machines'])}."
        )
    folder.save()
    return folder


def _look(plan: Plan, folder: RunFolder, progress: Progress) -> Callable[[int], bool]:
    """Whether a test that may stop early does so at the end of a day."""

    def look(day: int) -> bool:
        now = of_run(open_run(folder.path, partial=True, check=False), days=day)
        if not all_crossed(now):
            return False
        folder.manifest["stopped_day"] = day
        folder.save()
        progress.say(
            f"stopped on day {day} of {plan.experiment.days:g}: every contender has crossed its"
            " bound"
        )
        return True

    return look


def _finish(folder: RunFolder, clock: Clock) -> Callable[[str, Listed, list[dict[str, Any]]], None]:
    """What is written down when a stage is done."""

    def finished(stage: str, files: Listed, said: list[dict[str, Any]]) -> None:
        clock.add("serve" if stage.startswith("world ") else "train", said)
        with folder.lock:
            if stage.startswith("world ") and not folder.done(stage):
                pages = sum(about["pages"] for about in said)
                folder.manifest["pages"] = folder.manifest.get("pages", 0) + pages
            if stage.startswith("model "):
                folder.manifest.setdefault("training", {})[said[0]["arm"]] = {
                    name: said[0][name]
                    for name in ("seconds", "trained_as", "validation_ndcg10", "offline")
                }
            if stage.startswith(("model ", "models ")):
                _note(folder.manifest["notes"], said)
            machines = {*folder.manifest.get("machines", []), *(about["machine"] for about in said)}
            folder.manifest["machines"] = sorted(machines)
            folder.finish(stage, files)

    return finished


def _note(notes: list[str], said: list[dict[str, Any]]) -> None:
    """Takes down what policies say of a training; of all the same, once."""
    for about in said:
        note = f"{about['arm']}: {about['says']}"
        if about.get("says") and note not in notes:
            notes.append(note)


def _write_log(experiment: Experiment, raw: Dataset, plan: Plan, folder: RunFolder) -> Dataset:
    """What policies learn from before the test, for the units. The same log; where it is large, its
    columns are now those of the file, which all processes share.
    """
    share = 1.0 if experiment.policy_share is None else experiment.policy_share
    if not folder.done("log"):
        write_log(folder.path, before_warmup(raw, experiment, share))
        folder.finish("log")
    plan.log_there = True
    if len(raw.log) <= MOST_ROWS or len(raw.history) or share < 1:
        return raw
    there = read_log(folder.path).log
    return replace(raw, log=replace(there, time=raw.log.time))


def _inputs(
    experiment: Experiment,
    raw: Dataset,
    some: FitSample | None,
    plan: Plan,
    folder: RunFolder,
    say: Callable[[str], None],
) -> None:
    """Users, population and log, as files for the units.

    Args:
        some: what users are fitted to; None = they are there, or come from elsewhere.
    """
    if not folder.done("inputs"):
        model = _users(experiment, raw, some, folder, say)
        data = before_warmup(raw, experiment, policy_share(experiment, model))
        say(population_note(experiment, model))
        told = experiment.truth or experiment.design == "twin"
        if told and isinstance(model, ChoiceModel):
            parts = advantage(model, raw, experiment.slate_size, experiment.seed)
            with folder.lock:
                folder.manifest["advantage"] = parts
        data, model = turned_over(experiment, data, model)
        if not folder.done("log"):
            write_log(folder.path, data)
            folder.finish("log")
        ids, people, arrival = population(experiment, model)
        bucket = experiment.assignment.of_users(ids)
        split = bucket if experiment.design == "split" else None
        folder.write_tables(*tables(experiment, data, ids, split))
        write_population(folder.path, people, ids, arrival, bucket)
        folder.finish("inputs")
    plan.log_there = plan.users_there = True


@dataclass(frozen=True)
class _Work:
    """A run that is to be made or gone on with; what `simulate` was told."""

    experiment: Experiment
    begun: RunFolder | None
    out: str | None
    progress: Progress
    command: str | None
    began: float
    hold: Callable[[Path], None]
    workers: Workers
    beside: tuple[Path, ...] = ()
    clock: Clock = field(default_factory=Clock)

    def folder(self, raw: Dataset, workers: int) -> RunFolder:
        """A new one, or the one that was begun."""
        if self.begun is None:
            return _begun(self, raw, workers)
        if self.begun.manifest.get("checksum", raw.fingerprint) != raw.fingerprint:
            raise InputError(
                f"--resume '{self.begun.path}': the log '{self.experiment.log}' has changed since"
                " the run began; start a new run"
            )
        return self.begun


def _begun(work: _Work, raw: Dataset, workers: int) -> RunFolder:
    """A new run folder, of a run by so many workers."""
    experiment, out, progress, hold = work.experiment, work.out, work.progress, work.hold
    sampled = sample_note(raw, experiment)  # refusals come before anything is written
    if experiment.users_from is not None:
        wanted = about_users(raw, experiment.slate_size)
        model = load_users(Path(experiment.users_from), wanted)
        if model.log_users is not None and model.n_users < experiment.users:
            raise InputError(
                f"--users-from '{experiment.users_from}': {model.n_users} of the log's"
                f" {model.log_size} users were fitted, fewer than take part (--users"
                f" {experiment.users}); fit more with --fit-users, or let fewer take part"
            )
    folder = RunFolder.create(experiment, out)
    hold(folder.path)
    progress.say(
        f"run directory: {folder.path} (after an interruption go on with --resume {folder.path})"
    )
    default = Experiment().as_dict()
    changed = {name: x for name, x in experiment.as_dict().items() if x != default[name]}
    folder.manifest |= {
        "command": work.command or _in_python(experiment, changed),
        "shards": _shards(work, workers),
        "changed": changed,
        "log_name": raw.name,
        "log": {
            "rows": len(raw.log),
            "users": raw.n_users,
            "items": raw.catalogue.size,
            "clicks": int(raw.log.clicked.sum()),
            "has": sorted(raw.has),
        },
        "notes": [
            *raw.notes,
            *size_note(experiment, raw),
            *sampled,
            *dynamics_note(experiment),
        ],
        "checksum": raw.fingerprint,
        "weights": experiment.assignment.shares,
    }
    folder.save()
    return folder


def _in_python(experiment: Experiment, names: Iterable[str]) -> str:
    """The call that makes the same run, with these settings alone: the others are the defaults."""
    given = ", ".join(f"{name}={getattr(experiment, name)!r}" for name in names)
    return f"simulate(Experiment({given}))"


LEAST_USERS = 250  # of a shard: fewer of them leave the policies' chunks half empty


def _shards(work: _Work, workers: int) -> int:
    if work.workers.shards is not None:
        return work.workers.shards
    parts = chains_of_run(work.experiment)
    return max(1, min(-(-workers // parts), work.experiment.users // LEAST_USERS))


def _users(
    experiment: Experiment,
    raw: Dataset,
    some: FitSample | None,
    folder: RunFolder,
    say: Callable[[str], None],
) -> ChoiceModel | Strangers:
    """The users, with the clock set so that time 0 is the start of the test."""
    if folder.done("users"):
        return stored_users(folder.path / "users")
    size = experiment.slate_size
    model, notes = _made_users(experiment, raw, some, say)
    if isinstance(model, Strangers):
        _introduce(experiment, model, folder, notes)
    else:
        model = with_dynamics(experiment, model)
        hour = (model.hour_zero + 24 * experiment.warmup_days) % 24
        model = replace(model, hour_zero=hour)
    save_users(folder.path / "users", model, about_users(raw, size, "run"))
    files: Listed = {}
    for name in USERS_FILES:
        files |= listed(folder.path, folder.path / "users" / name)
    folder.finish("users", files)
    return model


def _made_users(
    experiment: Experiment, raw: Dataset, some: FitSample | None, say: Callable[[str], None]
) -> tuple[ChoiceModel | Strangers, list[str]]:
    """From a folder, of somebody else, or fitted to the log; and notes for the report."""
    size, kind = experiment.slate_size, experiment.user_model
    if experiment.users_from is not None:
        say(f"users: from {experiment.users_from}")
        return load_users(Path(experiment.users_from), about_users(raw, size)), []
    if is_stranger(kind):
        say(f"users: {kind}")
        return strangers(experiment, raw)
    assert some is not None
    fitted = fit_users(some.data, experiment.seed, size, say, kind, chains_of(experiment))
    return some.of_log(fitted), []


def _introduce(
    experiment: Experiment, model: Strangers, folder: RunFolder, notes: list[str]
) -> None:
    """Says whose the users are, and what is lost with them.

    Raises:
        InputError: an arm asks for what they do not state.
    """
    asking = next((arm for arm in experiment.policies if asks_for_truth(arm)), None)
    if asking is not None and not model.knows_truth:
        raise InputError(
            f"--policies names {asking}, which asks for the truth; users of {model.name} state no"
            " click_probability"
        )
    with folder.lock:
        told = set(folder.manifest["log"]["has"])
        folder.manifest["log"]["has"] = sorted(told - (TELLS - model.tells))
        folder.manifest["user_model"] = model.name
        folder.manifest["notes"] += notes
