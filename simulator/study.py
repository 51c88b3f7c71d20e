"""Many tests instead of one: is our own judgement calibrated, and what can be claimed about a
policy?

python -m simulator.study aa --runs 1000           false positives, by metric and method
python -m simulator.study power --policies gptrec,sasrec
python -m simulator.study coverage --policies sasrec,popularity
python -m simulator.study replicate --seeds 20     whole worlds again: the claim about the policy
python -m simulator.study peeking --runs 20000     sequential tests on made-up data
python -m simulator.study loop --policies sasrec,popularity
                                                   what retraining on one's own feedback does
"""

import argparse
import json
import os
import shlex
import sys
import time
from pathlib import Path
from typing import Any

from policies.common.arguments import Parser
from policies.common.errors import InputError
from policies.common.executor import Workers, add_worker_flags, given_workers
from policies.common.files import reading, save_json
from policies.common.folders import one_writer, refuse_existing
from policies.common.settings import add_flags, read_toml
from policies.common.terminal import guarded
from simulator.commands import add_config_flags, add_quiet
from simulator.settings import LOG_FLAGS, Experiment, build, from_dict

ABOUT = "settings.json"
# -- the command -----------------------------------------------------------------------------------
HELP: dict[str, Any] = {
    "aa": ("false positives: one frozen policy's users under many salts", 1000, "runs", "salts"),
    "power": (
        "how often the effect between two frozen policies is found, and when",
        1000,
        "runs",
        "salts",
    ),
    "coverage": (
        "how often the interval covers the truth, with fresh users each time",
        400,
        "runs",
        "replicates",
    ),
    "replicate": (
        "whole worlds with other seeds: the claim about the policy",
        20,
        "seeds",
        "worlds",
    ),
    "bias": (
        "what the estimate misses where arms retrain: data volume and sharing, over worlds",
        10,
        "seeds",
        "worlds",
    ),
    "loop": (
        "what retraining on one's own feedback does, apart from time, more data and chance",
        5,
        "seeds",
        "worlds",
    ),
    "peeking": ("sequential tests on made-up data", 20_000, "runs", "made-up tests"),
}
SMALLER: dict[str, dict[str, Any]] = {
    "loop": {
        "policies": ("gptrec", "sasrec", "popularity"),
        "users": 500,
        "days": 32.0,
        "warmup_days": 1.0,
        "rounds": 8,
    },
    "coverage": {"users": 200, "days": 2.0, "warmup_days": 1.0},
    "aa": {"days": 14.0, "policies": ("sasrec",)},
    "power": {"days": 14.0},
}
_TAKEN = (
    "policies",
    *LOG_FLAGS,
    "users_from",
    "user_model",
    "fit_users",
    "users",
    "days",
    "warmup_days",
    "slate_size",
    "seed",
    "draws",
    "thin",
    "threads",
)
_MORE = {
    "power": ("control",),
    "coverage": ("control",),
    "replicate": ("control", "primary", "rounds", "weights", "learn_from"),
    "bias": ("control", "primary", "rounds", "weights"),
    "loop": ("rounds",),
}
QUICK: dict[str, Any] = {
    "policies": ("sasrec", "popularity"),
    "users": 200,
    "fit_users": 1000,  # half of the built-in world's: fitting all would take most of the time
    "days": 4.0,
    "rounds": 4,
}
QUICK_SEEDS = 2


def parser() -> argparse.ArgumentParser:
    p = Parser(
        prog="python -m simulator.study",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    kinds = p.add_subparsers(dest="study", required=True, metavar="|".join(HELP))
    for kind, (text, default, flag, what) in HELP.items():
        k = kinds.add_parser(kind, help=text, description=text)
        k.add_argument(f"--{flag}", type=int, help=f"{what} (default {default})")
        k.add_argument("--out", help="folder, must not exist (default runs/study-<kind>-<time>)")
        add_quiet(k)
        if kind == "peeking":
            k.add_argument(
                "--looks", type=int, default=14, help="days, a look at the end of each (default 14)"
            )
            k.add_argument("--seed", type=int, default=0, help="of chance (default 0)")
            continue
        if kind == "loop":
            k.add_argument(
                "--quick",
                action="store_true",
                help="200 users, fitted to 1000 of the log's, 4 rounds of a day, 2 seeds, sasrec"
                " and popularity",
            )
        add_worker_flags(k)
        k.add_argument("--resume", metavar="DIR", help="go on with an interrupted study")
        add_flags(k, Experiment, (*_TAKEN, *_MORE.get(kind, ())), SMALLER.get(kind))
        add_config_flags(k)
    return p


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit status: 0 done, 2 bad input, 130 interrupted."""
    given = vars(parser().parse_args(arguments))
    words = sys.argv[1:] if arguments is None else arguments
    kind, quiet = given.pop("study"), given.pop("quiet")
    count = given.pop(HELP[kind][2])

    def work() -> None:
        workers = Workers() if kind == "peeking" else given_workers(given)
        _study(kind, count, given, quiet, workers, "python -m simulator.study " + shlex.join(words))

    return guarded(
        work,
        interrupted="go on with --resume and the study's folder",
        full="make room and go on with --resume",
    )


def _study(
    kind: str,
    count: int | None,
    given: dict[str, Any],
    quiet: bool,
    workers: Workers,
    command: str,
) -> None:
    # Late: who asks for help does not wait for torch.
    from analysis.loops import report as loops
    from analysis.studies.peeking import peek
    from analysis.studies.report import show_study, write
    from simulator.experiment.studies import STUDIES
    from simulator.loop.study import check, loop

    resume = given.pop("resume", None)
    experiment: Experiment | None
    if resume is not None:
        out, experiment, n = _reopened(kind, Path(resume), given, count)
    else:
        quick = given.pop("quick", False)
        usual = QUICK_SEEDS if quick else HELP[kind][1]
        n = usual if count is None else count
        if n < (1 if kind == "loop" else 2):
            least = 1 if kind == "loop" else 2
            raise InputError(f"--{HELP[kind][2]} must be at least {least}, not {n}")
        out = Path(
            given.pop("out") or Path("runs") / f"study-{kind}-{time.strftime('%Y%m%d-%H%M%S')}"
        )
        experiment = None if kind == "peeking" else _settings(kind, given, quick)
        if kind == "loop" and experiment is not None:
            check(experiment)
        if experiment is None and given["looks"] < 1:
            raise InputError(f"--looks must be at least 1, not {given['looks']}")
        refuse_existing(out, advice=f", or go on with --resume '{out}'")
        save_json(
            out / ABOUT,
            {
                "study": kind,
                "n": n,
                "experiment": None if experiment is None else experiment.as_dict(),
            },
        )
    with one_writer(out):
        if kind == "loop":
            assert experiment is not None
            found = loop(experiment, n, out, quiet, workers)
            loops.write(found, command, out)
            loops.show(found)
            print(f"page: {os.path.relpath(out / 'loop.html')}")
            return
        study = (
            peek(n, given["looks"], given["seed"])
            if experiment is None
            else STUDIES[kind](experiment, n, out, quiet, workers)
        )
        write(study, command, out)
    show_study(study)
    print(f"study: {os.path.relpath(out / 'study.md')}")


def _settings(kind: str, given: dict[str, Any], quick: bool = False) -> Experiment:
    flags = {
        key: value for key, value in given.items() if key not in ("out", "config", "set", "looks")
    }
    file = read_toml(given["config"]) if given.get("config") else {}
    named = {key.replace("-", "_") for key in file}
    usual = {**SMALLER.get(kind, {}), **(QUICK if quick else {})}
    if "users" in named or given.get("users") is not None:
        usual.pop("fit_users", None)  # it might be too few for them
    flags = {
        **{key: value for key, value in usual.items() if key not in named},
        **{key: value for key, value in flags.items() if value is not None},
    }
    experiment = build(given.get("config"), flags, given.get("set", []))
    if kind == "aa" and len(experiment.policies) != 1:
        raise InputError(
            f"an A/A test has one policy, not {','.join(experiment.policies)}; name one, such as"
            " --policies sasrec"
        )
    return experiment


def _reopened(
    kind: str, folder: Path, given: dict[str, Any], count: int | None
) -> tuple[Path, Experiment, int]:
    """A study that was interrupted, with the settings that it began with."""
    if not (folder / ABOUT).is_file():
        raise InputError(f"--resume '{folder}': there is no study in it")
    if (count is not None and kind != "loop") or any(value for value in given.values()):
        raise InputError("--resume goes on with the settings of the study; give no others with it")
    with reading(folder / ABOUT, "start the study again in another folder"):
        about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
        if about["study"] != kind:
            raise InputError(
                f"--resume '{folder}' holds a study of '{about['study']}', not of '{kind}'"
            )
        n = int(about["n"])
        if count is not None:  # more seeds extend a study of loops
            if count < n:
                raise InputError(f"--seeds {count}: the study in '{folder}' has {n}; give more")
            save_json(folder / ABOUT, {**about, "n": count})
            n = count
        return folder, from_dict(about["experiment"]), n


if __name__ == "__main__":
    sys.exit(main())
