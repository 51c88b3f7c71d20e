"""One experiment before several kinds of users: how much of the doubt comes of not knowing them?

The spread of the true effect over kinds of users is what comes of not knowing the users; the
standard error within a run is what comes of seeing few of them. No longer test and no larger bucket
makes the first one smaller.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from scipy.stats import t

from analysis.errors import AnalysisError
from analysis.reporting.content import Report
from analysis.statistics.comparison import QUANTILE
from policies.common.files import save_json, save_text
from policies.common.tables import Table

NAN = float("nan")
NOTHING = "no difference shown"
MODELS = "user models"  # the other one is "worlds": draws of plausible users


@dataclass(frozen=True)
class UsersEffect:
    """What the experiment found before one kind of users; NaN where a twin run has no estimate, or
    where the truth was not simulated.
    """

    world: str
    arm: str
    lift: float
    low: float
    high: float
    error: float
    true_lift: float

    @property
    def verdict(self) -> str:
        """What the test says of the metric, or in a twin run what is true; whether more is better
        is not asked.
        """
        if not np.isfinite(self.lift):
            return "more" if self.true_lift > 0 else "less"
        return "more" if self.low > 0 else "less" if self.high < 0 else NOTHING


@dataclass(frozen=True)
class Doubt:
    """A contender over all kinds of users, and its two sources of doubt, as standard deviations of
    the relative lift.

    Attributes:
        users_unknown: between kinds of users. users_few: within a run.
        low, high: 95 % of such tests would find a lift between them.
        wins: kinds of users before whom the effect is above 0. of_truth: whether of the true one.
    """

    arm: str
    mean: float
    users_unknown: float
    users_few: float
    low: float
    high: float
    wins: int
    worlds: int
    of_truth: bool


@dataclass(frozen=True)
class OverUsers:
    """The primary metric before every kind of users.

    Attributes:
        over: "worlds" (draws of plausible users) or "user models". label: of the metric.
    """

    over: str
    names: list[str]
    metric: str
    control: str
    rows: list[UsersEffect]
    contenders: list[Doubt]


def over_users(over: str, names: list[str], reports: list[Report]) -> OverUsers:
    """Sums up.

    Args:
        names, reports: of the run before each kind of users.
    """
    test = reports[0].judgement.test
    rows, doubts = [], []
    for arm in test.treated:
        own = [_effect(name, report, arm) for name, report in zip(names, reports, strict=True)]
        rows += own
        doubts.append(_doubt(arm, own))
    return OverUsers(over, names, test.primary.name, test.control, rows, doubts)


def _effect(name: str, report: Report, arm: str) -> UsersEffect:
    for effect in report.judgement.primary:
        if effect.arm == arm:
            true = NAN if effect.true_lift is None else effect.true_lift
            return UsersEffect(name, arm, effect.lift, effect.low, effect.high, effect.error, true)
    metric = report.judgement.test.primary.name
    for true_effect in report.simulation.true_effects if report.simulation is not None else []:
        if (true_effect.arm, true_effect.metric) == (arm, metric):
            return UsersEffect(name, arm, NAN, NAN, NAN, NAN, true_effect.true_lift)
    raise AnalysisError(f"no world has an effect of '{arm}' on '{metric}'")


def _doubt(arm: str, rows: list[UsersEffect]) -> Doubt:
    lift, error, true = np.array([[row.lift, row.error, row.true_lift] for row in rows]).T
    n, within = len(rows), float(np.sqrt(np.mean(error**2)))
    of_truth = bool(np.isfinite(true).all())
    # Runs share their chance (users, buckets, draws), so that without truths their estimates tell
    # the spread about as well.
    x = true if of_truth else lift
    mean, between = float(x.mean()), float(x.std(ddof=1))
    # Student's: a spread seen in n worlds, for one more world.
    wide = float(t.ppf(0.975, n - 1)) * np.sqrt(1 + 1 / n) * between
    both = float(np.hypot(wide, 0.0 if np.isnan(within) else QUANTILE * within))
    ends = (mean - both, mean + both)
    return Doubt(arm, mean, between, within, *ends, int((x > 0).sum()), n, of_truth)


# -- in words --------------------------------------------------------------------------------------


def sentences(summary: OverUsers) -> list[str]:
    """One per contender."""
    sentence = _of_models if summary.over == MODELS else _of_worlds
    return [sentence(doubt, summary) for doubt in summary.contenders]


def _of_worlds(doubt: Doubt, summary: OverUsers) -> str:
    what = "the true effect" if doubt.of_truth else "the estimated effect"
    unknown = f"standard deviation {_percent(doubt.users_unknown)}"
    unknown += "" if doubt.of_truth else ", a part of chance included"
    few = ""
    if not np.isnan(doubt.users_few):
        few = f"; from seeing few of them (within a world): {_percent(doubt.users_few)}"
    return (
        f"{doubt.arm} against {summary.control}, {summary.metric}: {what} is"
        f" {_percent(doubt.mean, '+')} % on average over {doubt.worlds} plausible worlds, above 0"
        f" in {doubt.wins} of them. From not knowing the users (between worlds): {unknown}{few}."
        f" With both, 95 % of such tests would find {_percent(doubt.low, '+')} to"
        f" {_percent(doubt.high, '+')} %."
    )


def _of_models(doubt: Doubt, summary: OverUsers) -> str:
    own = {row.world: row.verdict for row in summary.rows if row.arm == doubt.arm}
    verdicts = set(own.values())
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
    listed = ", ".join(f"{name}: {verdict}" for name, verdict in own.items())
    what = "the true effect" if doubt.of_truth else "the estimate"
    return (
        f"{doubt.arm} against {summary.control}, {summary.metric}: {said} ({listed}); {what} is"
        f" above 0 in {doubt.wins} of {doubt.worlds}."
    )


def _percent(x: float, sign: str = "") -> str:
    return f"{100 * x:{sign}.2f}" if np.isfinite(x) else "–"


def summary_table(summary: OverUsers) -> Table:
    head = ("users", "contender", "estimated lift [%]", "standard error [%]", "true lift [%]")
    body = []
    for row in summary.rows:
        lifts = (_percent(row.lift, "+"), _percent(row.error), _percent(row.true_lift, "+"))
        body.append([row.world, row.arm, *lifts])
    return Table(head, body, text=2)


def write_summary(summary: OverUsers, about: dict[str, Any], out: Path) -> None:
    """`summary.json` and `summary.md`.

    Args:
        about: the experiment, so that it can be gone on with.
    """
    parts = [
        f"# {summary.metric} over {len(summary.names)} {summary.over}",
        *sentences(summary),
        summary_table(summary).markdown(),
        "Each has a report of its own, in `NAME/report.html`.",
    ]
    save_text(out / "summary.md", "\n\n".join(parts) + "\n")
    save_json(out / "summary.json", {**about, "status": "complete", **asdict(summary)})


def show_summary(summary: OverUsers) -> None:
    """The same in the terminal."""
    summary_table(summary).print()
    for line in sentences(summary):
        Console().print(line, style="bold", highlight=False)
