"""An offline evaluation from its settings: what is run, in which order, and what is stored."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from gptrec.offline import impressions, report, trials, tuning
from gptrec.offline.leave_one_out import LeaveOneOut, read
from gptrec.offline.settings import MODELS, Evaluation
from gptrec.offline.trials import ABLATIONS, Task
from gptrec.offline.workers import Data, in_a_fresh_process, run_all
from policies.common.errors import InputError, suggestion
from policies.common.files import reading, save_json
from policies.common.settings import pairs_of
from policies.registry import asks_for_truth, find, make, settings_of
from policies.sources.datasets import load_as
from policies.sources.roles import Reading

ABOUT = "evaluation.json"
FORETELL = ("level", "ranker", "sasrec", "gptrec")  # by the protocol of impressions
PerModel = dict[str, dict[str, Any]]  # model -> setting -> value


@dataclass(frozen=True)
class Session:
    """An evaluation or a tuning with its folder.

    Attributes:
        words: of the command line, so that it can be gone on with. settings: per model.
    """

    asked: Evaluation
    settings: PerModel
    words: list[str]
    out: Path
    quiet: bool = False

    @property
    def data(self) -> Data:
        asked = self.asked
        assert asked.data is not None
        return asked.data, Reading(
            asked.columns, asked.click_threshold, asked.click_when, asked.time_unit
        )


def evaluate(session: Session) -> None:
    """Trains and ranks every model for every seed; writes and prints the tables."""
    asked, out = session.asked, session.out
    wanted = _labels(asked, session.settings)
    seconds, split = _seconds(asked.budget), _open(session)
    with _bar(session.quiet) as bar:
        planned = _planned(wanted, split, seconds, asked.steps, out, bar)
        everything = [replace(task, seed=seed) for seed in range(asked.seeds) for task in planned]
        # A model without chance in it is run once; its record stands for every seed.
        sources = [
            replace(task, seed=0) if trials.without_chance(task) else task for task in everything
        ]
        runs = {task.file: task for task in sources}
        by_file = run_all(runs.values(), session.data, out, bar, asked.jobs)
    records = [
        {**by_file[source.file], "seed": task.seed}
        for source, task in zip(sources, everything, strict=True)
    ]
    pairs = [(label, "gptrec") for label, _, _ in wanted if label.startswith("gptrec -")]
    results = report.summary(records, out, "sasrec", pairs)
    report.show(results)
    for note in split.notes:
        print(f"note: {note}")
    report.write(results, split, session.words, out)
    print(f"results: {out}/results.md")


def foretell(session: Session) -> None:
    """The protocol of rows that were shown later; writes and prints the table."""
    asked, out = session.asked, session.out
    _check_data(asked)
    chosen = asked.models if asked.models != MODELS else FORETELL
    for model in chosen:
        if not impressions.can_foretell(model):
            raise InputError(
                f"--protocol impressions: '{model}' says what to show, not how likely it is"
                f" answered; models that do: {', '.join(FORETELL)}, and your own with a method"
                " foretell(log, catalogue)"
            )
    models = [
        (
            model,
            ({"answers": True} if trials.is_network(model) else {})
            | session.settings.get(model, {}),
        )
        for model in chosen
    ]
    for model, given in models:
        make(model, given)
    assert asked.data is not None
    data = load_as(*session.data)
    _begin(session, data.name, data.fingerprint)
    split = impressions.split_at(data, asked.since, asked.held_out)
    say = Console(stderr=True, quiet=session.quiet)

    def print_on(text: str) -> None:
        say.print(text, style="dim", highlight=False)

    results = impressions.evaluate(split, models, asked.seeds, out, print_on)
    impressions.table(results).print()
    print(f"results: {out}/results.md")


def tune(session: Session) -> None:
    """Tries settings for every network and judges them on validation alone."""
    asked, out = session.asked, session.out
    networks = [part for part in _labels(asked, session.settings) if trials.is_network(part[1])]
    if not networks:
        raise InputError(
            f"--models {','.join(asked.models)}: none of them is trained in steps; tune networks,"
            " such as sasrec,gptrec"
        )
    seconds, split = _seconds(asked.budget), _open(session)
    with _bar(session.quiet) as bar:
        labelled = [
            (f"{label}.{i}", model, {**choice, **fixed})
            for label, model, fixed in networks
            for i, choice in enumerate(tuning.choices(model, asked.trials))
        ]
        tasks = [
            replace(task, test=False)
            for task in _planned(labelled, split, seconds, asked.steps, out, bar)
        ]
        records = run_all(
            tasks, session.data, out, bar, asked.jobs, lambda done: tuning.keep(done, out)
        )
    for line in tuning.best_lines(list(records.values())):
        print(line)
    print(f"every trial: {out}/tuning.jsonl; use the best with --settings {out}/best.json")


def settings_per_model(
    file: Path | None, sets: Sequence[str], impressions_too: bool = False
) -> PerModel:
    """Of --settings, then --set.

    Args:
        impressions_too: trained as in the simulator, so that all settings have their effect.
    """
    chosen: PerModel = {}
    if file is not None:
        try:
            chosen = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(f"--settings '{file}' cannot be read: {error}") from None
        if not isinstance(chosen, dict) or not all(isinstance(x, dict) for x in chosen.values()):
            raise InputError(
                f"--settings '{file}': wanted an object of objects, model -> setting -> value"
            )
    for name, value in pairs_of(sets, "MODEL.KEY=VALUE, such as sasrec.width=128"):
        model, dot, key = name.rpartition(".")
        if not dot:
            raise InputError(
                f"--set '{name}={value}': wanted MODEL.KEY=VALUE, such as sasrec.width=128"
            )
        allowed = settings_of(find(model))
        if key not in allowed:
            raise InputError(f"model '{model}' has no setting '{key}'{suggestion(key, allowed)}")
        if key.startswith(trials.WITHOUT_EFFECT) and not impressions_too:
            raise InputError(
                f"setting '{model}.{key}' has no effect here: --budget or --steps say how long to"
                " train, and choices show no skips to learn answers from"
            )
        chosen.setdefault(model, {})[key] = value
    return chosen


def stored_session(out: Path) -> dict[str, Any]:
    """What `evaluate` or `tune` wrote when it began."""
    path = out / ABOUT
    if not path.is_file():
        raise InputError(f"'{out}' is not an evaluation: it has no evaluation.json")
    with reading(path, "start a new evaluation"):
        stored: dict[str, Any] = json.loads(path.read_text())
        if stored.get("format") != trials.FORMAT:
            raise InputError(
                f"'{out}' has format {stored.get('format')}, wanted {trials.FORMAT}; start a new"
                " evaluation"
            )
        for name in ("words", "settings", "threads", "checksum"):
            if name not in stored:
                raise KeyError(name)
    return stored


def _labels(asked: Evaluation, settings: PerModel) -> list[tuple[str, str, dict[str, Any]]]:
    """Label, model and settings of everything to be run."""
    models = asked.models
    if not models:
        raise InputError(f"--models is empty; wanted some of {', '.join(MODELS)}")
    for name in models:
        if asks_for_truth(name):
            raise InputError(
                f"model '{name}' asks for the truth of simulated users, and a log has none; leave"
                " it out"
            )
    for name in settings:
        if name not in models and asked.settings is None:
            raise InputError(
                f"settings for '{name}', which takes no part{suggestion(name, models)}"
            )
    if asked.ablate and "gptrec" not in models:
        raise InputError("--ablate compares with gptrec; add it to --models")
    wanted = [(name, name, settings.get(name, {})) for name in models]
    for part in asked.ablate:
        if part not in ABLATIONS:
            raise InputError(f"--ablate '{part}'{suggestion(part, ABLATIONS)}")
        if ABLATIONS[part]:
            wanted.append(
                (f"gptrec - {part}", "gptrec", {**settings.get("gptrec", {}), **ABLATIONS[part]})
            )
    labels = [label for label, _, _ in wanted]
    twice = next((label for label in labels if labels.count(label) > 1), None)
    if twice:
        raise InputError(
            f"'{twice}' is named twice; for more training runs of one model use --seeds"
        )
    for label, model, chosen in wanted:
        # refuses bad values before anything is written
        trials.policy_of(Task(label, model, 0, chosen))
    return wanted


def _planned(
    wanted: list[tuple[str, str, dict[str, Any]]],
    split: LeaveOneOut,
    seconds: float,
    steps: int | None,
    out: Path,
    bar: Progress,
) -> list[Task]:
    """The tasks with their steps; what the warm-up gave is stored once."""
    stored = out / "steps.json"
    known: dict[str, list[int]] = json.loads(stored.read_text()) if stored.exists() else {}
    tasks = []
    for label, model, chosen in wanted:
        task = Task(label, model, 0, chosen)
        if trials.is_network(model) and label not in known:
            if steps is not None:
                shares = [stage.share for stage in trials.policy_of(task).stages(split.train)]
                known[label] = [max(1, round(steps * share)) for share in shares]
            else:
                bar.console.print(f"timing {label}", style="dim", highlight=False)
                known[label] = list(in_a_fresh_process(trials.steps_within, task, split, seconds))
            save_json(stored, known)
        tasks.append(replace(task, steps=tuple(known.get(label, ()))))
    return tasks


def _open(session: Session) -> LeaveOneOut:
    """Reads the data, and makes the folder or checks that it is of the same data."""
    _check_data(session.asked)
    split = read(*session.data)
    content = split.train.items.tobytes() + split.valid.tobytes() + split.test.tobytes()
    _begin(session, split.name, hashlib.sha256(content).hexdigest())
    return split


def _check_data(asked: Evaluation) -> None:
    if not asked.data:
        raise InputError(
            '--data is missing; give a .txt of "user item item ..." lines or any log of'
            " simulator.run"
        )


def _begin(session: Session, name: str, digest: str) -> None:
    """Writes down what is evaluated, or checks that it is the same data."""
    out = session.out
    if not (out / ABOUT).exists():
        about = {
            "format": trials.FORMAT,
            "words": session.words,
            "settings": session.settings,
            "data": name,
            "checksum": digest,
            "threads": torch.get_num_threads(),  # sums depend on them
        }
        save_json(out / ABOUT, about)
    elif stored_session(out)["checksum"] != digest:
        raise InputError(
            f"'{session.asked.data}' has changed since '{out}' was begun; start a new evaluation"
        )


def _seconds(text: str) -> float:
    units = {"s": 1.0, "m": 60.0, "h": 3600.0}
    try:
        seconds = float(text[:-1]) * units[text[-1:]]
    except (ValueError, KeyError):
        seconds = -1.0
    if not 0 < seconds < 1e6:
        raise InputError(f"--budget '{text}': wanted a time such as 90s, 10m or 1h")
    return seconds


def _bar(quiet: bool) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[note]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True, quiet=quiet),
        disable=quiet,
    )
