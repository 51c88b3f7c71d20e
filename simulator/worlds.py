"""One experiment before several kinds of users: how sure is the verdict when the users are not known for sure?

A fit leaves levels and slopes of clicks, long views and likes open; its draws are all as plausible. `simulator.run --worlds N` repeats the
experiment on N of them. The spread of the true effect over worlds is what comes of not knowing the users; the standard
error within a world is what comes of seeing few of them. No longer test and no larger bucket makes the first one smaller.
`--user-model all` repeats it before users of another make.
"""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text
from scipy.special import expit, logit
from scipy.stats import t

from policies.draws import generator
from policies.errors import InputError
from policies.files import save_json
from simulator.calibration import settle
from simulator.config import Experiment
from simulator.fit import fit, fit_users
from simulator.minds import KINDS, MATRIX_FILLED, MATRIX_SHARE, check_size, observed_share
from simulator.stages import load_data, with_threads
from simulator.storage import about_users, save_users
from simulator.users import ChoiceModel, Number

Z = 1.96
SUMMARY = "summary.json"
NOTHING = "no difference shown"


class Outcome(Protocol):
    """What a run gives back."""

    @property
    def results(self) -> dict[str, Any]: ...


Run = Callable[..., Outcome]


def run_worlds(e: Experiment, n: int, out: Path, run: Run, quiet: bool, say: Callable[[str], None]) -> dict[str, Any]:
    """Fits once, draws n worlds, runs the experiment in each (going on where it was interrupted), and sums up.

    Args:
        run: as `simulator.run.run`.
    """
    if n < 2:
        raise InputError(f"--worlds must be at least 2, not {n}; leave it out for one world")
    return _repeated(e, [f"world-{k:02d}" for k in range(n)], "worlds", _draw_users, out, run, quiet, say)


def run_models(e: Experiment, out: Path, run: Run, quiet: bool, say: Callable[[str], None]) -> dict[str, Any]:
    """The experiment before users of every make: does the verdict stand?"""
    kinds = list(KINDS)
    if observed_share(load_data(e)) >= MATRIX_FILLED:  # policies learn from the same part of it under all models
        kinds.append("matrix")
        e = replace(e, policy_share=MATRIX_SHARE if e.policy_share is None else e.policy_share)
    return _repeated(e, kinds, "user models", _fit_users, out, run, quiet, say)


def _repeated(
    e: Experiment,
    names: list[str],
    what: str,
    make: "Make",
    out: Path,
    run: Run,
    quiet: bool,
    say: Callable[[str], None],
) -> dict[str, Any]:
    if e.users_from is not None:
        raise InputError(f"repeating over {what} makes users of its own; leave out --users-from")
    if all(arm == e.control_arm for arm in e.contenders):
        raise InputError(f"nothing to compare over {what}: name two contenders, such as sasrec,popularity")
    about = {"over": what, "names": names, "experiment": e.as_dict()}
    new = not out.exists()
    save_json(out / SUMMARY, {**about, "status": "incomplete"})  # first of all: --resume knows the folder by it
    if not (out / "users" / names[-1] / "parameters.json").exists():
        try:
            with_threads(e.threads, lambda: make(e, names, out, say))
        except BaseException:
            if new:  # nothing worth going on with
                shutil.rmtree(out, ignore_errors=True)
            raise
    found = []
    for name in names:
        folder = out / name
        say(f"{what}: {name}")
        if (folder / "manifest.json").exists():
            outcome = run(resume=str(folder), quiet=quiet)
        else:
            here = replace(e, users_from=str(out / "users" / name), calibrate=None, user_model="factors")
            outcome = run(here, out=str(folder), quiet=quiet)
        found.append(outcome.results)
    summary = {**about, "status": "complete", **summed_up(found, e, names)}
    save_json(out / SUMMARY, summary)
    (out / "summary.md").write_text("\n".join(_markdown(summary)), encoding="utf-8")
    return summary


VISITS = ("leave", "gap_", "churn", "return_", "watch_", "drift", "new_")
SHARES = ("gap_short_share", "churn", "watch_none_share", "new_users", "new_items")
Make = Callable[[Experiment, list[str], Path, Callable[[str], None]], None]


def visits_drawn(model: ChoiceModel, rng: np.random.Generator) -> dict[str, Number]:
    """Staying, returning, watching, drift and arrivals as they might be as well: normal around the estimates.

    Shares on the scale of their logits, spreads on that of their logarithms; each for itself, since the errors are known one by
    one. Shares near 0 or 1 for their error (a logit of theirs knows no normal) are drawn as they are and turned back at 0 and 1.
    What levels and appeal are made of is drawn elsewhere.
    """
    found = {}
    for name, number in model.numbers.items():
        if number.status != "estimated" or not number.error or not name.startswith(VISITS):
            continue
        value, error = number.value, number.error
        z = float(rng.normal())
        if name in SHARES:
            value = _share(value, error, z)
        else:
            value = value * np.exp(z * error / value) if name.endswith("_sd") else value + z * error
        found[name] = replace(number, value=float(value))
    return found


def _share(value: float, error: float, z: float) -> float:
    """A share z errors away, between 0 and 1."""
    if not 0 < value < 1:
        return value
    if error < value * (1 - value):
        return float(expit(logit(value) + z * error / (value * (1 - value))))
    there = abs(value + z * error) % 2
    return min(there, 2 - there)


def _draw_users(e: Experiment, names: list[str], out: Path, say: Callable[[str], None]) -> None:
    """One folder of fitted users per world, all from one fit."""
    data, n = load_data(e), len(names)
    fitted = fit(data, e.seed, e.slate_size, say, e.user_model)
    if len(fitted) < n:
        raise InputError(f"--worlds {n}: a fit to '{data.name}' has {len(fitted)} draws" + _why_few(e, len(fitted)))
    # As far apart in the chain as can be.
    for name, draw in zip(names, np.linspace(0, len(fitted) - 1, n).round().astype(int), strict=True):
        model = fitted.model(int(draw))
        model = model.with_numbers(**visits_drawn(model, generator("visits of a world", e.seed, name)))
        model = settle(model, data, e.slate_size, e.seed)
        save_users(out / "users" / name, model, about_users(data, e.slate_size))


def _fit_users(e: Experiment, names: list[str], out: Path, say: Callable[[str], None]) -> None:
    """One folder of fitted users per user model."""
    data = load_data(e)
    for kind in names:
        check_size(data, kind)
    for kind in names:
        say(f"users: {kind}")
        save_users(
            out / "users" / kind, fit_users(data, e.seed, e.slate_size, say, kind), about_users(data, e.slate_size)
        )


def _why_few(e: Experiment, draws: int) -> str:
    if e.user_model == "matrix":
        return "; a matrix is replayed as it is, nothing is drawn"
    return "; a log without skips leaves nothing to draw" if draws == 1 else "; use that many or fewer"


def summed_up(found: list[dict[str, Any]], e: Experiment, names: list[str]) -> dict[str, Any]:
    """The primary metric over worlds: for each contender its lifts, and where their spread comes from.

    Args:
        found: `results` of each world's run.
    """
    rows, contenders = [], []
    for arm in [arm for arm in e.contenders if arm != e.control_arm]:
        per_world = [_of_world(results, arm, e.primary) for results in found]
        rows += [{"world": name, "arm": arm, **row} for name, row in zip(names, per_world, strict=True)]
        contenders.append({"arm": arm, **_spread(per_world)})
    return {"metric": e.primary, "control": e.control_arm, "rows": rows, "contenders": contenders}


def _of_world(results: dict[str, Any], arm: str, metric: str) -> dict[str, float]:
    """Lift, its standard error (NaN in a twin run) and the true lift (NaN where it was not simulated)."""
    for row in results["effects"]["rows"]:
        if (row["arm"], row["metric"]) == (arm, metric):
            true = row["true_lift"]
            error = (row["high"] - row["low"]) / (2 * Z)
            return {
                "lift": row["lift"],
                "low": row["low"],
                "high": row["high"],
                "error": error,
                "true_lift": np.nan if true is None else true,
            }
    for row in results["true_effects"]["rows"]:
        if (row["arm"], row["metric"]) == (arm, metric):
            return {"lift": np.nan, "low": np.nan, "high": np.nan, "error": np.nan, "true_lift": row["true_lift"]}
    raise InputError(f"no world has an effect of '{arm}' on '{metric}'")


def _spread(per_world: list[dict[str, float]]) -> dict[str, float | int | bool]:
    """Mean effect, and its two sources of doubt, as standard deviations of the relative lift."""
    lift, error, true = (np.array([row[name] for row in per_world]) for name in ("lift", "error", "true_lift"))
    within = float(np.sqrt(np.mean(error**2)))
    of_truth = bool(np.isfinite(true).all())
    if of_truth:
        mean, between = float(true.mean()), float(true.std(ddof=1))
        wins = int((true > 0).sum())
    else:  # the worlds share their chance (users, buckets, draws), so that their estimates tell the spread about as well
        mean, between = float(lift.mean()), float(lift.std(ddof=1))
        wins = int((lift > 0).sum())
    # Student's: a spread seen in n worlds, for one more world.
    wide = float(t.ppf(0.975, len(per_world) - 1)) * np.sqrt(1 + 1 / len(per_world)) * between
    both = float(np.hypot(wide, 0.0 if np.isnan(within) else Z * within))
    return {"mean": mean, "users_unknown": between, "users_few": within, "low": mean - both, "high": mean + both,
            "wins": wins, "worlds": len(per_world), "of_truth": of_truth}  # fmt: skip


def words(summary: dict[str, Any]) -> list[str]:
    """One sentence per contender."""
    sentence = _of_models if summary["over"] == "user models" else _of_worlds
    return [sentence(c, summary) for c in summary["contenders"]]


def _of_worlds(c: dict[str, Any], summary: dict[str, Any]) -> str:
    what = "the true effect" if c["of_truth"] else "the estimated effect"
    sd = f"standard deviation {_in_percent(c['users_unknown'])}{'' if c['of_truth'] else ', a part of chance included'}"
    few = (
        "" if np.isnan(c["users_few"]) else f"; from seeing few of them (within a world): {_in_percent(c['users_few'])}"
    )
    return (
        f"{c['arm']} against {summary['control']}, {summary['metric']}: {what} is {_in_percent(c['mean'], '+')} % on average over "
        f"{c['worlds']} plausible worlds, above 0 in {c['wins']} of them. From not knowing the users (between worlds): {sd}{few}. "
        f"With both, 95 % of such tests would find {_in_percent(c['low'], '+')} to {_in_percent(c['high'], '+')} %."
    )


def _of_models(c: dict[str, Any], summary: dict[str, Any]) -> str:
    rows = [row for row in summary["rows"] if row["arm"] == c["arm"]]
    told = [(row["world"], _verdict(row)) for row in rows]
    verdicts = {verdict for _, verdict in told}
    listed = ", ".join(f"{name}: {verdict}" for name, verdict in told)
    if verdicts == {NOTHING}:
        said = "no difference is shown under any user model"
    elif len(verdicts) == 1:
        said = "the verdict stands under all user models"
    elif len(verdicts - {NOTHING}) == 1:
        said = "the verdict is the same wherever a difference is shown, but is not shown under all user models"
    else:
        said = "the verdict does NOT stand under all user models"
    return f"{c['arm']} against {summary['control']}, {summary['metric']}: {said} ({listed}); " + (
        f"{'the true effect' if c['of_truth'] else 'the estimate'} is above 0 in {c['wins']} of {c['worlds']}."
    )


def _verdict(row: dict[str, Any]) -> str:
    """What the test says of the metric, or in a twin run what is true; whether more is better is not asked."""
    if not np.isfinite(row["lift"]):
        return "more" if row["true_lift"] > 0 else "less"
    return "more" if row["low"] > 0 else "less" if row["high"] < 0 else NOTHING


def _in_percent(x: float, sign: str = "") -> str:
    return f"{100 * x:{sign}.2f}" if np.isfinite(x) else "–"


def _cells(row: dict[str, Any]) -> list[str]:
    values = _in_percent(row["lift"], "+"), _in_percent(row["error"]), _in_percent(row["true_lift"], "+")
    return [row["world"], row["arm"], *values]


HEAD = ("users", "contender", "estimated lift [%]", "standard error [%]", "true lift [%]")


def _markdown(summary: dict[str, Any]) -> list[str]:
    return [
        f"# {summary['metric']} over {len(summary['names'])} {summary['over']}", "", *(f"{line}\n" for line in words(summary)),
        f"| {' | '.join(HEAD)} |", "|" + "---|" * len(HEAD), *(f"| {' | '.join(_cells(row))} |" for row in summary["rows"]), "",
        "Each has a report of its own, in `NAME/report.html`.", "",
    ]  # fmt: skip


def terminal(summary: dict[str, Any]) -> None:
    """The same in the terminal."""
    console, table = Console(), Table(box=None, pad_edge=False)
    for name in HEAD:
        table.add_column(Text(name))
    for row in summary["rows"]:
        table.add_row(*_cells(row))
    console.print(table)
    for line in words(summary):
        console.print(line, style="bold", highlight=False)
