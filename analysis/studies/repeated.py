"""One experiment before several kinds of users: how much of the doubt comes of not knowing them?"""

from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text
from scipy.stats import t

from analysis.errors import AnalysisError

Z = 1.96
NOTHING = "no difference shown"


def summed_up(
    found: list[dict[str, Any]], names: list[str], contenders: list[str], control: str, metric: str
) -> dict[str, Any]:
    """The primary metric over worlds: for each contender its lifts, and where their spread comes
    from.

    Args:
        found: `results` of each world's run. names: of the worlds.
    """
    rows, spreads = [], []
    for arm in [arm for arm in contenders if arm != control]:
        per_world = [_of_world(results, arm, metric) for results in found]
        rows += [
            {"world": name, "arm": arm, **row} for name, row in zip(names, per_world, strict=True)
        ]
        spreads.append({"arm": arm, **_spread(per_world)})
    return {"metric": metric, "control": control, "rows": rows, "contenders": spreads}


def _of_world(results: dict[str, Any], arm: str, metric: str) -> dict[str, float]:
    """Lift, its standard error (NaN in a twin run) and the true lift (NaN where it was not
    simulated).
    """
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
            return {
                "lift": np.nan,
                "low": np.nan,
                "high": np.nan,
                "error": np.nan,
                "true_lift": row["true_lift"],
            }
    raise AnalysisError(f"no world has an effect of '{arm}' on '{metric}'")


def _spread(per_world: list[dict[str, float]]) -> dict[str, float | int | bool]:
    """Mean effect, and its two sources of doubt, as standard deviations of the relative lift."""
    lift, error, true = (
        np.array([row[name] for row in per_world]) for name in ("lift", "error", "true_lift")
    )
    within = float(np.sqrt(np.mean(error**2)))
    of_truth = bool(np.isfinite(true).all())
    if of_truth:
        mean, between = float(true.mean()), float(true.std(ddof=1))
        wins = int((true > 0).sum())
    # the worlds share their chance (users, buckets, draws), so that their estimates tell the spread
    # about as well
    else:
        mean, between = float(lift.mean()), float(lift.std(ddof=1))
        wins = int((lift > 0).sum())
    # Student's: a spread seen in n worlds, for one more world.
    wide = float(t.ppf(0.975, len(per_world) - 1)) * np.sqrt(1 + 1 / len(per_world)) * between
    both = float(np.hypot(wide, 0.0 if np.isnan(within) else Z * within))
    return {
        "mean": mean,
        "users_unknown": between,
        "users_few": within,
        "low": mean - both,
        "high": mean + both,
        "wins": wins,
        "worlds": len(per_world),
        "of_truth": of_truth,
    }


def words(summary: dict[str, Any]) -> list[str]:
    """One sentence per contender."""
    sentence = _of_models if summary["over"] == "user models" else _of_worlds
    return [sentence(c, summary) for c in summary["contenders"]]


def _of_worlds(c: dict[str, Any], summary: dict[str, Any]) -> str:
    what = "the true effect" if c["of_truth"] else "the estimated effect"
    sd = (
        "standard deviation"
        f" {_in_percent(c['users_unknown'])}{'' if c['of_truth'] else ', a part of chance included'}"
    )
    few = (
        ""
        if np.isnan(c["users_few"])
        else f"; from seeing few of them (within a world): {_in_percent(c['users_few'])}"
    )
    return (
        f"{c['arm']} against {summary['control']}, {summary['metric']}: {what} is"
        f" {_in_percent(c['mean'], '+')} % on average over {c['worlds']} plausible worlds, above 0"
        f" in {c['wins']} of them. From not knowing the users (between worlds): {sd}{few}. With"
        f" both, 95 % of such tests would find {_in_percent(c['low'], '+')} to"
        f" {_in_percent(c['high'], '+')} %."
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
        said = (
            "the verdict is the same wherever a difference is shown, but is not shown under all"
            " user models"
        )
    else:
        said = "the verdict does NOT stand under all user models"
    return (
        f"{c['arm']} against {summary['control']}, {summary['metric']}: {said} ({listed}); "
        + f"{'the true effect' if c['of_truth'] else 'the estimate'} is above 0 in {c['wins']} of"
        f" {c['worlds']}."
    )


def _verdict(row: dict[str, Any]) -> str:
    """What the test says of the metric, or in a twin run what is true; whether more is better is
    not asked.
    """
    if not np.isfinite(row["lift"]):
        return "more" if row["true_lift"] > 0 else "less"
    return "more" if row["low"] > 0 else "less" if row["high"] < 0 else NOTHING


def _in_percent(x: float, sign: str = "") -> str:
    return f"{100 * x:{sign}.2f}" if np.isfinite(x) else "–"


def _cells(row: dict[str, Any]) -> list[str]:
    values = (
        _in_percent(row["lift"], "+"),
        _in_percent(row["error"]),
        _in_percent(row["true_lift"], "+"),
    )
    return [row["world"], row["arm"], *values]


HEAD = ("users", "contender", "estimated lift [%]", "standard error [%]", "true lift [%]")


def markdown(summary: dict[str, Any]) -> list[str]:
    return [
        f"# {summary['metric']} over {len(summary['names'])} {summary['over']}",
        "",
        *(f"{line}\n" for line in words(summary)),
        f"| {' | '.join(HEAD)} |",
        "|" + "---|" * len(HEAD),
        *(f"| {' | '.join(_cells(row))} |" for row in summary["rows"]),
        "",
        "Each has a report of its own, in `NAME/report.html`.",
        "",
    ]


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
