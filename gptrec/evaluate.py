"""`python -m gptrec.evaluate`: models against each other offline, by the protocol of the paper.

`python -m gptrec.evaluate tune` chooses settings on the validation part alone.
"""

import argparse
import hashlib
import json
import shlex
import sys
import time
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from gptrec.offline import trials, tuning
from gptrec.offline.leave_one_out import LeaveOneOut, read
from gptrec.offline.report import summary, to_terminal, write
from gptrec.offline.trials import ABLATIONS, MODELS, Task
from gptrec.offline.workers import Data, in_a_fresh_process, run_all
from policies.common.errors import InputError, suggestion
from policies.common.files import save_json
from policies.registry import find, settings_of

EPILOG = """Examples:
  python -m gptrec.evaluate --data Beauty.txt --models sasrec,gptrec --budget 2m
  python -m gptrec.evaluate --data events.csv --columns user=uid,item=iid,time=ts --models sasrec
  python -m gptrec.evaluate --data Beauty.txt --models gptrec --ablate user,prompts --budget 3m
  python -m gptrec.evaluate tune --data Beauty.txt --models sasrec,gptrec --out tuned
  python -m gptrec.evaluate --data Beauty.txt --models sasrec,gptrec --settings tuned/best.json

A budget in minutes becomes a number of steps once, from a timed warm-up; it is stored, so that a
run that was interrupted goes on with --resume DIR to the same weights. Weights and the number of
interests are chosen on validation; the test part is opened once per trial."""


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        prog="python -m gptrec.evaluate",
        description=(
            "Leave-one-out evaluation: rank all items for each user, history excluded; HR and NDCG"
            " at 5, 10 and 20 with intervals over training seeds, and differences with intervals"
            " over users and seeds."
        ),
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    p.add_argument(
        "what",
        nargs="?",
        choices=["evaluate", "tune"],
        default="evaluate",
        help=(
            "evaluate (default), or tune: try --trials configurations per network, judge them on"
            " validation alone, keep every trial in tuning.jsonl and the best ones in best.json,"
            " which --settings reads"
        ),
    )
    p.add_argument(
        "--data",
        help=(
            'a .txt of "user item item ..." lines, or any log of simulator.run (kuairand:DIR,'
            " events.csv, ...)"
        ),
    )
    p.add_argument(
        "--columns",
        help="for an event table: user=...,item=...,time=... and click=... or rating=...",
    )
    p.add_argument(
        "--click-threshold", type=float, help="a rating of at least this counts as a click"
    )
    p.add_argument(
        "--models",
        default=",".join(MODELS),
        help=f"names or module:Class with commas between (default {','.join(MODELS)})",
    )
    p.add_argument("--seeds", type=int, default=5, help="training runs per model (default 5)")
    p.add_argument(
        "--budget", default="2m", help="training time per network and seed: 90s, 2m (default), 10m"
    )
    p.add_argument(
        "--steps", type=int, help="training steps per network instead of a budget of time"
    )
    p.add_argument(
        "--ablate",
        default="",
        help="also gptrec without: user, prompts, interests (with commas between)",
    )
    p.add_argument("--settings", type=Path, help="settings per model, best.json of a tuning")
    p.add_argument(
        "--set", action="append", default=[], metavar="MODEL.KEY=VALUE", help="a setting of a model"
    )
    p.add_argument(
        "--trials", type=int, default=12, help="tune: configurations per network (default 12)"
    )
    p.add_argument(
        "--jobs",
        type=int,
        default=1,
        help=(
            "trainings at a time, each on its share of the cores (default 1); two on two cores end"
            " sooner than one by one, though each takes longer than the budget, which is timed"
            " alone"
        ),
    )
    p.add_argument(
        "--out",
        type=Path,
        help="folder for the results, must not exist (default runs/offline-<time>)",
    )
    p.add_argument(
        "--resume", type=Path, metavar="DIR", help="go on with an interrupted evaluation or tuning"
    )
    return p


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit status: 0 done, 1 failed, 2 bad input, 130 interrupted."""
    words = sys.argv[1:] if arguments is None else arguments
    given = parser().parse_args(words)
    threads = torch.get_num_threads()
    try:
        if given.resume is not None:
            out = given.resume
            if given != parser().parse_args(["--resume", str(out)]):
                raise InputError(
                    "--resume goes on with the settings of the evaluation; give no others with it"
                )
            stored = _stored(out)
            words, chosen = stored["words"], stored["settings"]
            given = parser().parse_args(words)
            torch.set_num_threads(stored["threads"])
        else:
            out = given.out or Path("runs") / time.strftime("offline-%Y%m%d-%H%M%S")
            if out.exists():
                raise InputError(
                    f"'{out}' exists already; choose another --out, or go on with --resume {out}"
                )
            chosen = _settings(given)
            _check(given)
            torch.set_num_threads(max(1, torch.get_num_threads() // given.jobs))
        command = "python -m gptrec.evaluate " + shlex.join(words)
        if given.what == "tune":
            return _tune(given, words, chosen, out)
        return _evaluate(given, words, chosen, command, out)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except BrokenProcessPool:
        print(
            f"error: a training was killed (out of memory?); go on with --resume {out}",
            file=sys.stderr,
        )
        return 1
    except OSError as error:
        print(
            f"error: {error}; what was finished is kept, go on with --resume {out}", file=sys.stderr
        )
        return 1
    except KeyboardInterrupt:
        print(f"interrupted; go on with: python -m gptrec.evaluate --resume {out}", file=sys.stderr)
        return 130
    finally:
        torch.set_num_threads(threads)


def _evaluate(
    given: argparse.Namespace,
    words: list[str],
    settings: dict[str, dict[str, Any]],
    command: str,
    out: Path,
) -> int:
    wanted = _labels(given, settings)
    seconds = _seconds(given.budget)
    split = _open(given, words, settings, out)
    with _bar() as bar:
        planned = _planned(wanted, split, seconds, given.steps, out, bar)
        everything = [replace(task, seed=seed) for seed in range(given.seeds) for task in planned]
        # A model without chance in it is run once; its record stands for every seed.
        sources = [
            replace(task, seed=0) if trials.without_chance(task) else task for task in everything
        ]
        runs = {task.file: task for task in sources}
        found = run_all(runs.values(), _data(given), out, bar, given.jobs)
    records = [
        {**found[source.file], "seed": task.seed}
        for source, task in zip(sources, everything, strict=True)
    ]
    pairs = [(label, "gptrec") for label, _, _ in wanted if label.startswith("gptrec -")]
    results = summary(records, out, "sasrec", pairs)
    to_terminal(results)
    write(results, split, command, out)
    print(f"results: {out}/results.md")
    return 0


def _check(given: argparse.Namespace) -> None:
    """Refuses counts below one, and what the other command alone reads."""
    for name in ("seeds", "steps", "trials", "jobs"):
        if getattr(given, name) is not None and getattr(given, name) < 1:
            raise InputError(f"--{name} must be at least 1, not {getattr(given, name)}")
    usual = parser().parse_args([])
    foreign = ("seeds", "ablate") if given.what == "tune" else ("trials",)
    for name in foreign:
        if getattr(given, name) != getattr(usual, name):
            raise InputError(f"--{name} means nothing to '{given.what}'; leave it out")


def _labels(
    given: argparse.Namespace, settings: dict[str, dict[str, Any]]
) -> list[tuple[str, str, dict[str, Any]]]:
    """Label, model and settings of everything to be run."""
    models = [name.strip() for name in given.models.split(",") if name.strip()]
    if not models:
        raise InputError(f"--models is empty; wanted some of {', '.join(MODELS)}")
    for name in models:
        find(name)
    for name in settings:
        if name not in models and given.settings is None:
            raise InputError(
                f"settings for '{name}', which takes no part{suggestion(name, models)}"
            )
    if given.ablate and "gptrec" not in models:
        raise InputError("--ablate compares with gptrec; add it to --models")
    wanted = [(name, name, settings.get(name, {})) for name in models]
    for part in [part.strip() for part in given.ablate.split(",") if part.strip()]:
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


def _settings(given: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Of --settings, then --set."""
    found: dict[str, dict[str, Any]] = {}
    if given.settings is not None:
        try:
            found = json.loads(given.settings.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(f"--settings '{given.settings}' cannot be read: {error}") from None
        if not isinstance(found, dict) or not all(
            isinstance(part, dict) for part in found.values()
        ):
            raise InputError(
                f"--settings '{given.settings}': wanted an object of objects, model -> setting ->"
                " value"
            )
    for pair in given.set:
        name, equals, value = pair.partition("=")
        model, dot, key = name.rpartition(".")
        if not equals or not dot:
            raise InputError(f"--set '{pair}': wanted MODEL.KEY=VALUE, such as sasrec.width=128")
        allowed = settings_of(find(model))
        if key not in allowed:
            raise InputError(f"model '{model}' has no setting '{key}'{suggestion(key, allowed)}")
        if key.startswith(trials.WITHOUT_EFFECT):
            raise InputError(
                f"setting '{model}.{key}' has no effect here: --budget or --steps say how long to"
                " train"
            )
        found.setdefault(model, {})[key] = value
    return found


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
    for label, model, settings in wanted:
        task = Task(label, model, 0, settings)
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


def _tune(
    given: argparse.Namespace, words: list[str], settings: dict[str, dict[str, Any]], out: Path
) -> int:
    wanted = [part for part in _labels(given, settings) if trials.is_network(part[1])]
    if not wanted:
        raise InputError(
            f"--models {given.models}: none of them is trained in steps; tune networks, such as"
            " sasrec,gptrec"
        )
    seconds = _seconds(given.budget)
    split = _open(given, words, settings, out)
    with _bar() as bar:
        labelled = [
            (f"{label}.{i}", model, {**choice, **fixed})
            for label, model, fixed in wanted
            for i, choice in enumerate(tuning.choices(model, given.trials))
        ]
        tasks = [
            replace(task, test=False)
            for task in _planned(labelled, split, seconds, given.steps, out, bar)
        ]
        records = run_all(
            tasks, _data(given), out, bar, given.jobs, lambda done: tuning.keep(done, out)
        )
    for line in tuning.best_lines(list(records.values())):
        print(line)
    print(f"every trial: {out}/tuning.jsonl; use the best with --settings {out}/best.json")
    return 0


def _open(
    given: argparse.Namespace, words: list[str], settings: dict[str, dict[str, Any]], out: Path
) -> LeaveOneOut:
    """Reads the data, and makes the folder or checks that it is of the same data."""
    if not given.data:
        raise InputError(
            '--data is missing; give a .txt of "user item item ..." lines or any log of'
            " simulator.run"
        )
    split = read(*_data(given))
    digest = hashlib.sha256(
        split.train.items.tobytes() + split.valid.tobytes() + split.test.tobytes()
    ).hexdigest()
    manifest = {
        "format": trials.FORMAT,
        "words": words,
        "settings": settings,
        "data": split.name,
        "checksum": digest,
        "threads": torch.get_num_threads(),  # sums depend on them
    }
    if (out / "evaluation.json").exists():
        if _stored(out)["checksum"] != digest:
            raise InputError(
                f"'{given.data}' has changed since '{out}' was begun; start a new evaluation"
            )
    else:
        save_json(out / "evaluation.json", manifest)
    return split


def _data(given: argparse.Namespace) -> Data:
    return given.data, given.columns, given.click_threshold


def _stored(out: Path) -> dict[str, Any]:
    path = out / "evaluation.json"
    if not path.is_file():
        raise InputError(f"'{out}' is no evaluation: it has no evaluation.json")
    try:
        stored = json.loads(path.read_text())
    except ValueError:
        raise InputError(f"'{path}' is damaged; start a new evaluation") from None
    if stored.get("format") != trials.FORMAT:
        raise InputError(
            f"'{out}' has format {stored.get('format')}, wanted {trials.FORMAT}; start a new"
            " evaluation"
        )
    return stored


def _seconds(text: str) -> float:
    units = {"s": 1.0, "m": 60.0, "h": 3600.0}
    try:
        found = float(text[:-1]) * units[text[-1:]]
    except (ValueError, KeyError):
        found = -1.0
    if not 0 < found < 1e6:
        raise InputError(f"--budget '{text}': wanted a time such as 90s, 10m or 1h")
    return found


def _bar() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[note]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )


if __name__ == "__main__":
    sys.exit(main())
