"""The main command: policies compete before simulated users, retrain on their feedback, and a
report judges them.

    python -m simulator.run --policies gptrec,sasrec
    python -m simulator.run --policies gptrec,sasrec --log kuairand:DIR --users 3000 --slate-size 6

The same from Python:

    from simulator import Experiment, simulate
    result = simulate(Experiment(policies=("gptrec", "sasrec")))
    result.effects          # pandas
"""

import json
import os
import shlex
import sys
import time
from pathlib import Path
from typing import Any

from analysis import report
from analysis.studies.repeated import terminal as several_to_terminal
from policies.common.errors import InputError
from policies.common.files import reading
from simulator.commands import guarded
from simulator.experiment.repetition import SUMMARY, run_models, run_worlds
from simulator.experiment.simulate import simulate
from simulator.flags import parser
from simulator.settings import build, from_dict


# -- the command -----------------------------------------------------------------------------------
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
            sets
            or file
            or out
            or worlds is not None
            or any(value is not None for value in given.values())
        ):
            raise InputError(
                "--resume goes on with the settings of the run; give no others with it"
            )
        if "user_model=all" in sets:
            sets.remove("user_model=all")
            given["user_model"] = "all"
        several = worlds is not None or given.get("user_model") == "all"
        if several or (resume is not None and (Path(resume) / SUMMARY).exists()):
            _several(given, file, sets, worlds, resume or out, resume is not None, quiet)
            return
        e = None if resume is not None else build(file, given, sets)
        result = simulate(e, out, resume, quiet, command)
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
            raise InputError(
                "--worlds and --user-model all repeat an experiment each; give one of them"
            )
        e = build(file, {**given, "user_model": None if every else given.get("user_model")}, sets)
        folder = (
            Path(out) if out is not None else Path("runs") / time.strftime("several-%Y%m%d-%H%M%S")
        )
        if folder.exists():
            raise InputError(
                f"--out '{folder}' exists already; name another folder, or go on with --resume"
                f" '{folder}'"
            )

    def say(text: str) -> None:
        if not quiet:
            print(text, file=sys.stderr)

    summary = (
        run_models(e, folder, simulate, quiet, say)
        if worlds is None
        else run_worlds(e, worlds, folder, simulate, quiet, say)
    )
    several_to_terminal(summary)
    print(f"summary: {os.path.relpath(folder / 'summary.md')}")


if __name__ == "__main__":
    sys.exit(main())
