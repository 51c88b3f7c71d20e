"""One experiment in several plausible worlds: how sure is the verdict when the users themselves are not known for sure?

A fit leaves levels, tastes and parameters open; its draws are all as plausible. `simulator.run --worlds N` repeats the
experiment on N of them. The spread of the true effect over worlds is what comes of not knowing the users; the standard
error within a world is what comes of seeing few of them. No longer test and no larger bucket makes the first one smaller.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from policies.errors import InputError
from policies.files import save_json
from simulator.calibration import settle
from simulator.config import Experiment
from simulator.fit import fit
from simulator.stages import load_data, with_threads
from simulator.storage import about_users, save_users

Z = 1.96


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
    if e.users_from is not None:
        raise InputError("--worlds draws users of its own; leave out --users-from, which holds one draw")
    save_json(out / "worlds.json", {"worlds": n, "experiment": e.as_dict(), "status": "incomplete"})
    _draw_users(e, n, out, say)
    found = []
    for k in range(n):
        folder = out / f"world-{k:02d}"
        say(f"world {k + 1} of {n}")
        if (folder / "manifest.json").exists():
            outcome = run(resume=str(folder), quiet=quiet)
        else:
            here = replace(e, users_from=str(_users(out, k)), calibrate=None)
            outcome = run(here, out=str(folder), quiet=quiet)
        found.append(outcome.results)
    summary = {"worlds": n, "experiment": e.as_dict(), "status": "complete", **summed_up(found, e)}
    save_json(out / "worlds.json", summary)
    (out / "worlds.md").write_text("\n".join(_markdown(summary)), encoding="utf-8")
    return summary


def _users(out: Path, k: int) -> Path:
    return out / "users" / f"draw-{k:02d}"


def _draw_users(e: Experiment, n: int, out: Path, say: Callable[[str], None]) -> None:
    """One folder of fitted users per world, all from one fit."""
    if (_users(out, n - 1) / "parameters.json").exists():
        return

    def work() -> None:
        data = load_data(e)
        fitted = fit(data, e.seed, e.slate_size, say)
        if len(fitted) < n:
            raise InputError(f"--worlds {n}: a fit to '{data.name}' has {len(fitted)} draws" + _why_few(len(fitted)))
        # As far apart in the chain as can be.
        for k, draw in enumerate(np.linspace(0, len(fitted) - 1, n).round().astype(int)):
            model = settle(fitted.model(int(draw)), data, e.slate_size, e.seed)
            save_users(_users(out, k), model, about_users(data, e.slate_size))

    with_threads(e.threads, work)


def _why_few(draws: int) -> str:
    return "; a log without skips leaves nothing to draw" if draws == 1 else "; use that many or fewer"


def summed_up(found: list[dict[str, Any]], e: Experiment) -> dict[str, Any]:
    """The primary metric over worlds: for each contender its lifts, and where their spread comes from.

    Args:
        found: `results` of each world's run.
    """
    rows, contenders = [], []
    for arm in [arm for arm in e.contenders if arm != e.control_arm]:
        per_world = [_of_world(results, arm, e.primary) for results in found]
        rows += [{"world": k, "arm": arm, **row} for k, row in enumerate(per_world)]
        contenders.append({"arm": arm, **_spread(per_world)})
    return {"metric": e.primary, "control": e.control_arm, "rows": rows, "contenders": contenders}


def _of_world(results: dict[str, Any], arm: str, metric: str) -> dict[str, float]:
    """Lift, its standard error (NaN in a twin run) and the true lift (NaN where it was not simulated)."""
    for row in results["effects"]["rows"]:
        if (row["arm"], row["metric"]) == (arm, metric):
            true = row["true_lift"]
            error = (row["high"] - row["low"]) / (2 * Z)
            return {"lift": row["lift"], "error": error, "true_lift": np.nan if true is None else true}
    for row in results["true_effects"]["rows"]:
        if (row["arm"], row["metric"]) == (arm, metric):
            return {"lift": np.nan, "error": np.nan, "true_lift": row["true_lift"]}
    raise InputError(f"no world has an effect of '{arm}' on '{metric}'")


def _spread(per_world: list[dict[str, float]]) -> dict[str, float | int]:
    """Mean effect, and its two sources of doubt, as standard deviations of the relative lift."""
    lift, error, true = (np.array([row[name] for row in per_world]) for name in ("lift", "error", "true_lift"))
    within = float(np.sqrt(np.mean(error**2)))
    if np.isfinite(true).all():
        mean, between = float(true.mean()), float(true.std(ddof=1))
        wins = int((true > 0).sum())
    else:  # the spread of the estimates, less what chance within a world does
        mean, between = float(lift.mean()), float(np.sqrt(max(lift.var(ddof=1) - within**2, 0.0)))
        wins = int((lift > 0).sum())
    both = float(np.hypot(between, 0.0 if np.isnan(within) else within))
    return {"mean": mean, "users_unknown": between, "users_few": within, "low": mean - Z * both, "high": mean + Z * both,
            "wins": wins, "worlds": len(per_world)}  # fmt: skip


def words(summary: dict[str, Any]) -> list[str]:
    """One sentence per contender."""
    said = []
    for c in summary["contenders"]:
        few = (
            ""
            if np.isnan(c["users_few"])
            else f", {_in_percent(c['users_few'])} from seeing few of them (within a world)"
        )
        said.append(
            f"{c['arm']} against {summary['control']}, {summary['metric']}: {_in_percent(c['mean'], '+')} % on average "
            f"over {c['worlds']} plausible worlds, ahead in {c['wins']}; standard deviations in %: "
            f"{_in_percent(c['users_unknown'])} from not knowing the users (between worlds){few}. "
            f"With both, 95 % of such tests would find {_in_percent(c['low'], '+')} to {_in_percent(c['high'], '+')} %."
        )
    return said


def _in_percent(x: float, sign: str = "") -> str:
    return f"{100 * x:{sign}.2f}" if np.isfinite(x) else "–"


def _cells(row: dict[str, Any]) -> list[str]:
    values = _in_percent(row["lift"], "+"), _in_percent(row["error"]), _in_percent(row["true_lift"], "+")
    return [str(row["world"]), row["arm"], *values]


HEAD = ("world", "contender", "estimated lift [%]", "standard error [%]", "true lift [%]")


def _markdown(summary: dict[str, Any]) -> list[str]:
    return [
        f"# {summary['metric']} in {summary['worlds']} plausible worlds", "", *(f"{line}\n" for line in words(summary)),
        f"| {' | '.join(HEAD)} |", "|" + "---|" * len(HEAD), *(f"| {' | '.join(_cells(row))} |" for row in summary["rows"]), "",
        "Each world has a report of its own in `world-NN/report.html`.", "",
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
