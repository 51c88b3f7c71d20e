"""`python -m gptrec.evaluate`: models against each other offline, by the protocol of the paper.

`python -m gptrec.evaluate tune` chooses settings on the validation part alone.
"""

import argparse
import sys
import time
from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import TYPE_CHECKING

from gptrec.offline.settings import Evaluation
from policies.common.arguments import Parser
from policies.common.errors import InputError
from policies.common.folders import one_writer, refuse_existing
from policies.common.settings import add_flags, default_of, given_flags, names_of
from policies.common.terminal import guarded

if TYPE_CHECKING:
    from gptrec.offline.evaluation import Session

EPILOG = """Examples:
  python -m gptrec.evaluate --data Beauty.txt --models sasrec,gptrec --budget 2m
  python -m gptrec.evaluate --data events.csv --columns user=uid,item=iid,time=ts --models sasrec
  python -m gptrec.evaluate --data Beauty.txt --models gptrec --ablate user,prompts --budget 3m
  python -m gptrec.evaluate tune --data Beauty.txt --models sasrec,gptrec --out tuned
  python -m gptrec.evaluate --data Beauty.txt --models sasrec,gptrec --settings tuned/best.json
  python -m gptrec.evaluate --protocol impressions --data kuairand:DIR --since 2022-05-01

A budget in minutes becomes a number of steps once, from a timed warm-up; it is stored, so that a
run that was interrupted goes on with --resume DIR to the same weights. Weights and the number of
interests are chosen on validation; the test part is opened once per trial."""


def parser() -> argparse.ArgumentParser:
    p = Parser(
        prog="python -m gptrec.evaluate",
        description="Leave-one-out evaluation: rank all items for each user, history excluded; HR"
        " and NDCG at 5, 10 and 20 with intervals over training seeds, and differences with"
        " intervals over users and seeds.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    p.add_argument(
        "what",
        nargs="?",
        choices=["evaluate", "tune"],
        default="evaluate",
        help="evaluate (default), or tune: try --trials configurations per network, judge them on"
        " validation alone, keep every trial in tuning.jsonl and the best ones in best.json, which"
        " --settings reads",
    )
    add_flags(p, Evaluation, names_of(Evaluation))
    p.add_argument(
        "--set", action="append", default=[], metavar="MODEL.KEY=VALUE", help="a setting of a model"
    )
    p.add_argument(
        "--out",
        type=Path,
        help="folder for the results, must not exist (default runs/offline-<time>)",
    )
    p.add_argument(
        "--resume",
        type=Path,
        metavar="DIR",
        help="go on with an interrupted evaluation or tuning",
    )
    p.add_argument("--quiet", action="store_true", help="no progress")
    return p


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit status: 0 done, 2 not done, in one line why, 130 interrupted."""
    words = sys.argv[1:] if arguments is None else arguments
    given = parser().parse_args(words)
    usual = Path("runs") / time.strftime("offline-%Y%m%d-%H%M%S")
    out = given.resume or given.out or usual
    go_on = f"go on with: python -m gptrec.evaluate --resume {out}"
    import torch

    threads = torch.get_num_threads()
    try:
        return guarded(lambda: _run(given, list(words), out), interrupted=go_on, full=go_on)
    except BrokenProcessPool:
        print(f"error: a training was killed (out of memory?); {go_on}", file=sys.stderr)
        return 2
    finally:
        torch.set_num_threads(threads)


def _run(given: argparse.Namespace, words: list[str], out: Path) -> None:
    """A new evaluation or tuning, or one that was interrupted."""
    import torch

    from gptrec.offline.evaluation import Session, settings_per_model, stored_session

    quiet = given.quiet
    if given.resume is not None:
        usual = parser().parse_args(["--resume", str(out), *(["--quiet"] if quiet else [])])
        if given != usual:
            raise InputError(
                "--resume goes on with the settings of the evaluation; give no others with it"
            )
        stored = stored_session(out)
        words, chosen = stored["words"], stored["settings"]
        given = parser().parse_args(words)
        torch.set_num_threads(stored["threads"])
        asked = Evaluation(**given_flags(Evaluation, given))
    else:
        refuse_existing(out, advice=f", or go on with --resume {out}")
        asked = Evaluation(**given_flags(Evaluation, given))
        chosen = settings_per_model(asked.settings, given.set, asked.protocol == "impressions")
        _refuse_foreign(given.what, asked)
        torch.set_num_threads(max(1, torch.get_num_threads() // asked.jobs))
    session = Session(asked, chosen, words, out, quiet)
    out.mkdir(parents=True, exist_ok=True)
    with one_writer(out):
        _command(given.what, asked)(session)


def _command(what: str, asked: Evaluation) -> "Callable[[Session], None]":
    from gptrec.offline.evaluation import evaluate, foretell, tune

    if asked.protocol == "impressions":
        return foretell
    return tune if what == "tune" else evaluate


def _refuse_foreign(what: str, asked: Evaluation) -> None:
    """Refuses what another command or protocol alone reads."""
    shown = asked.protocol == "impressions"
    if shown and what == "tune":
        raise InputError("'tune' is for leave-one-out; leave --protocol out")
    for name in ("budget", "steps", "ablate", "jobs") if shown else ("since", "held_out"):
        if getattr(asked, name) != default_of(Evaluation, name):
            flag = name.replace("_", "-")
            raise InputError(f"--{flag} means nothing to --protocol {asked.protocol}; leave it out")
    for name in ("seeds", "ablate") if what == "tune" else ("trials",):
        if getattr(asked, name) != default_of(Evaluation, name):
            raise InputError(f"--{name} means nothing to '{what}'; leave it out")


if __name__ == "__main__":
    sys.exit(main())
