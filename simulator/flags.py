"""The flags of `python -m simulator.run`."""

import argparse

from simulator.settings import LOG_FLAGS


def parser() -> argparse.ArgumentParser:
    """The flags; everything else is a setting of `Experiment`, reachable by --config and --set."""
    p = argparse.ArgumentParser(
        prog="python -m simulator.run",
        description=(
            "Rehearse an A/B test: users fitted on a log are served by competing policies that"
            " retrain on the feedback they get; a report says who won, by how much and how sure"
            " that is, with the true effect beside it."
        ),
        epilog=(
            "Examples:\n  python -m simulator.run --policies gptrec,sasrec\n  python -m"
            " simulator.run --policies sasrec,popularity,uniform,oracle --days 14 --rounds 4\n "
            " python -m simulator.run --log events.csv --columns"
            " user=uid,item=iid,time=ts,click=clicked\n  python -m simulator.run --policies"
            " my_module:MyPolicy,sasrec --set sasrec.width=32\nEvery setting of"
            " simulator.Experiment can be given by --set or in the TOML file."
        ),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    for flag, text in FLAGS.items():
        p.add_argument(f"--{flag}", help=text)
    p.add_argument(
        "--truth",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="with a split, also run a world per arm in which everybody gets it (default on)",
    )
    p.add_argument(
        "--stop-early",
        action="store_true",
        default=None,
        help="end the test on the first day on which every contender has crossed",
    )
    p.add_argument(
        "--off-policy",
        action="store_true",
        default=None,
        help=(
            "off-policy estimates of the contenders from the log of an arm with known propensities,"
            " such as uniform"
        ),
    )
    p.add_argument(
        "--config",
        metavar="FILE.toml",
        help="settings in a file; [policy.NAME] holds those of a policy",
    )
    p.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="any setting, or POLICY.KEY=VALUE; may be repeated",
    )
    p.add_argument(
        "--worlds",
        type=int,
        metavar="N",
        help=(
            "repeat the experiment in N worlds whose users are all as plausible, and say how much"
            " of the doubt comes of not knowing them"
        ),
    )
    p.add_argument(
        "--out",
        help=(
            "run directory, must not exist (default runs/<time>-<policies>, or runs/several-<time>)"
        ),
    )
    p.add_argument("--resume", metavar="RUN", help="go on with an interrupted run")
    p.add_argument("--quiet", action="store_true", help="no progress")
    return p


FLAGS = {
    "policies": (
        "arms: popularity, itemknn, bprmf, gru4rec, bert4rec, sasrec, gptrec, module:Class;"
        " references uniform and oracle (default gptrec,sasrec)"
    ),
    **LOG_FLAGS,
    "users-from": "folder of users that simulator.fit stored for this log (default: fit them now)",
    "user-model": (
        "what makes users like things: factors (default), neighbours, trees, matrix; all = one run"
        " with each, and whether the verdict stands"
    ),
    "users": (
        "simulated users, drawn from the fitted ones; beyond their number, newcomers (default 2000)"
    ),
    "days": "length of the test in days (default 7)",
    "warmup-days": "days before the test in which one policy serves everybody (default 3)",
    "rounds": "models per arm; the first learns from the log, the others from feedback (default 3)",
    "slate-size": "items per page (default 6)",
    "seed": (
        "of population, training and chance (default 0); another built-in world is --log world:SEED"
    ),
    "control": "arm to compare against (default: the last one that is no reference)",
    "weights": (
        "share of users per arm, such as .1,.1; the rest is held out (default: equal shares)"
    ),
    "design": "split: each user in one arm (default); twin: each user meets every arm",
    "learn-from": "what an arm retrains on: own rows (default), all rows, none",
    "monitor": (
        "daily looks at the primary metric: obrien_fleming (default) or pocock spending, cs"
        " (confidence sequence), none"
    ),
    "primary": (
        "metric of the verdict: clicks (default), click_rate, watch_time, long_views, likes, hates,"
        " sessions, days_active"
    ),
}
