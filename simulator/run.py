"""The main command: policies compete before simulated users, retrain on their feedback, and a
report judges them.

    python -m simulator.run --policies gptrec,sasrec
    python -m simulator.run --policies gptrec,sasrec --log kuairand:DIR --users 3000 --slate-size 6

The same from Python:

    from simulator import Experiment, simulate
    result = simulate(Experiment(policies=("gptrec", "sasrec")))
    result.effects          # pandas
"""

import argparse
import os
import shlex
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analysis.reporting.gates import Gate, add_gates, conclude, gates_of
from policies.common.arguments import Parser
from policies.common.errors import InputError
from policies.common.executor import Workers, add_worker_flags, given_workers
from policies.common.folders import refuse_existing
from policies.common.settings import add_flags, described, flagged
from policies.common.tables import Table
from policies.common.terminal import guarded
from simulator.commands import add_config_flags, add_quiet
from simulator.settings import Experiment, build

if TYPE_CHECKING:
    from analysis.studies.over_users import OverUsers

EPILOG = """Examples:
  python -m simulator.run --policies gptrec,sasrec
  python -m simulator.run --policies sasrec,popularity,uniform,oracle --days 14 --rounds 4
  python -m simulator.run --log events.csv --columns user=uid,item=iid,time=ts,click=clicked
  python -m simulator.run --policies my_module:MyPolicy,sasrec --set sasrec.width=32
Every setting can be given by --set or in a TOML file; --settings lists them all."""


def parser() -> argparse.ArgumentParser:
    """The flags; everything else is a setting of `Experiment`, reachable by --config and --set."""
    p = Parser(
        prog="python -m simulator.run",
        description="Rehearse an A/B test: users fitted on a log are served by competing policies"
        " that retrain on the feedback they get; a report says who won, by how much and how sure"
        " that is, with the true effect beside it.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_flags(p, Experiment, flagged(Experiment))
    add_config_flags(p)
    p.add_argument(
        "--worlds",
        type=int,
        metavar="N",
        help="repeat the experiment in N worlds whose users are all as plausible, and say how much"
        " of the doubt comes of not knowing them; --user-model all repeats it with each user model",
    )
    p.add_argument(
        "--out",
        help="run directory, must not exist (default runs/<time>-<policies>, or"
        " runs/several-<time>)",
    )
    p.add_argument("--resume", metavar="RUN", help="go on with an interrupted run")
    p.add_argument("--settings", action="store_true", help="list all settings and stop")
    add_gates(p)
    add_worker_flags(p)
    add_quiet(p)
    return p


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit status: 0 done, 2 not done, in one line why, 130 interrupted; with
    conditions 3 where one failed and 4 where a light is red.
    """
    words = sys.argv[1:] if arguments is None else arguments
    given = vars(parser().parse_args(words))
    command = "python -m simulator.run " + shlex.join(words)
    concluded = [0]

    def work() -> None:
        concluded[0] = _run(given, command)

    status = guarded(
        work,
        interrupted="the run directory named above holds what was done: go on with --resume DIR",
        full="make room and go on with --resume DIR, the run directory named above",
    )
    return status or concluded[0]


def _run(given: dict[str, Any], command: str) -> int:
    """One experiment, or the same one before several kinds of users; the status of its
    conditions.
    """
    # Late: who asks for help does not wait for torch.
    from analysis.metrics import load_metrics
    from analysis.reporting.terminal import show_results
    from simulator.experiment.repetition import is_repetition, resume_repetition
    from simulator.experiment.simulate import simulate

    workers = given_workers(given)
    own = ("config", "set", "out", "resume", "quiet", "worlds", "settings")
    file, sets, out, resume, quiet, worlds, listing = (given.pop(name) for name in own)
    fail_if, require = given.pop("fail_if"), given.pop("require")
    if listing:
        settings_table().print()
        return 0
    gates = gates_of(fail_if, require, load_metrics())
    if resume is not None:
        if sets or file or out or worlds is not None or any(x is not None for x in given.values()):
            raise InputError(
                "--resume goes on with the settings of the run; give no others with it"
            )
        if workers.shards is not None:
            raise InputError("--resume goes on with the shards that the run began with")
        if is_repetition(resume):
            _refuse_several(gates)
            _show(resume_repetition(Path(resume), quiet, workers), Path(resume))
            return 0
    if "user_model=all" in sets:
        if given.get("user_model") not in (None, "all"):
            raise InputError(
                f"--user-model {given['user_model']} and --set user_model=all: give one of them"
            )
        sets.remove("user_model=all")
        given["user_model"] = "all"
    if worlds is not None or given.get("user_model") == "all":
        _refuse_several(gates)
        _repeat(given, file, sets, worlds, out, quiet, workers)
        return 0
    experiment = None if resume is not None else build(file, given, sets)
    result = simulate(experiment, out, resume, quiet, command, workers)
    show_results(result.report)
    print(f"report: {os.path.relpath(result.path / 'report.html')}")
    return conclude(gates, result.report, result.path)


def _refuse_several(gates: list[Gate]) -> None:
    if gates:
        raise InputError("--fail-if and --require are for one test, not for several worlds")


def _repeat(
    given: dict[str, Any],
    file: str | None,
    sets: list[str],
    worlds: int | None,
    out: str | None,
    quiet: bool,
    workers: Workers,
) -> None:
    """`--worlds N` or `--user-model all`."""
    from simulator.experiment.repetition import repeat

    every_model = given.get("user_model") == "all"
    if every_model and worlds is not None:
        raise InputError(
            "--worlds and --user-model all repeat an experiment each; give one of them"
        )
    if every_model:
        given["user_model"] = None
    experiment = build(file, given, sets)
    usual = Path("runs") / time.strftime("several-%Y%m%d-%H%M%S")
    folder = Path(out) if out is not None else usual
    refuse_existing(folder, advice=f", or go on with --resume '{folder}'")
    _show(repeat(experiment, worlds, folder, quiet, workers), folder)


def _show(summary: "OverUsers", folder: Path) -> None:
    from analysis.studies.over_users import show_summary

    show_summary(summary)
    print(f"summary: {os.path.relpath(folder / 'summary.md')}")


def settings_table() -> Table:
    """Every setting of an experiment."""
    head = ("setting", "default", "bounds or choices", "meaning")
    return Table(head, described(Experiment), text=4)


if __name__ == "__main__":
    sys.exit(main())
