"""Conditions on which a pipeline goes on: `--fail-if "clicks < -1%"`, `--require "clicks > -1%"`,
by intervals and not by estimates, and the exit status that says so.
"""

import argparse
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from analysis.errors import AnalysisError
from policies.common.errors import suggestion
from policies.common.files import save_text
from policies.common.tables import in_markdown, interval, signed

if TYPE_CHECKING:  # a command reads conditions before it loads what judges
    from analysis.reporting.content import Report

FAILED, RED = 3, 4  # exit statuses: a condition does not hold; a light is red
FORM = re.compile(r"\s*(?P<metric>\w+)\s*(?P<sign>[<>])\s*(?P<bound>[+-]?\d+(\.\d+)?)\s*%\s*")


@dataclass(frozen=True)
class Gate:
    """A condition on the lift of a metric.

    Attributes:
        required: it has to be sure; otherwise it must not be sure.
        below: the lift lies below `bound`, or else above it. bound: .01 is 1 %.
        text: as it was given.
    """

    required: bool
    metric: str
    below: bool
    bound: float
    text: str

    def holds(self, low: float, high: float) -> bool:
        """Whether the condition is sure: the whole interval lies on its side."""
        return bool(high < self.bound if self.below else low > self.bound)


@dataclass(frozen=True)
class Outcome:
    """What became of a gate for one contender."""

    passed: bool
    text: str


def add_gates(parser: argparse.ArgumentParser) -> None:
    """`--fail-if` and `--require`, either as often as wanted."""
    group = parser.add_argument_group(
        "for pipelines", "With either of them the exit status is 4 where a light is red."
    )
    for flag, text in (
        ("--fail-if", "exit with 3 where an interval lies wholly on this side, as 'clicks < -1%%'"),
        ("--require", "exit with 3 unless it does, as 'clicks > -1%%'"),
    ):
        more = "; of the lift of every contender; may be repeated"
        group.add_argument(flag, action="append", default=[], metavar="CONDITION", help=text + more)


def gates_of(fail_if: Iterable[str], require: Iterable[str], known: Iterable[str]) -> list[Gate]:
    """The conditions as given.

    Args:
        known: names of metrics.

    Raises:
        AnalysisError: a text is no condition, or its metric is not known.
    """
    names = list(known)
    given = [("--fail-if", text) for text in fail_if] + [("--require", text) for text in require]
    return [_gate(flag, text, names) for flag, text in given]


def _gate(flag: str, text: str, known: list[str]) -> Gate:
    found = FORM.fullmatch(text)
    if found is None:
        raise AnalysisError(
            f'{flag} "{text}": wanted METRIC < NUMBER% or METRIC > NUMBER%, such as "clicks < -1%"'
        )
    name = found["metric"]
    if name not in known:
        raise AnalysisError(f"{flag}: there is no metric '{name}'{suggestion(name, known)}")
    bound = float(found["bound"]) / 100
    return Gate(flag == "--require", name, found["sign"] == "<", bound, text.strip())


def outcomes_of(gates: list[Gate], report: "Report") -> list[Outcome]:
    """Of every gate for every contender; what the report does not know fails what is required."""
    rows = _intervals(report)
    if not report.judgement.effects and report.simulation is not None:
        # Nobody was split: the truth has no interval.
        truth = report.simulation.true_effects
        rows = [(e.metric, e.arm, e.true_lift, e.true_lift) for e in truth]
    arms = report.judgement.test.treated
    return [_outcome(gate, arm, rows) for gate in gates for arm in arms]


def _intervals(report: "Report") -> list[tuple[str, str, float, float]]:
    """Metric, contender and interval of what may be concluded, as the verdict does: where looks are
    allowed for, by the primary metric's interval that does; of the others nothing before the
    planned end.
    """
    judgement = report.judgement
    test, early = judgement.test, judgement.test.days < judgement.test.planned
    rows = [(e.metric, e.arm, e.low, e.high) for e in judgement.effects]
    if not early and not judgement.by_looks:
        return rows
    rows = [] if early else [row for row in rows if row[0] != test.primary.name]
    if judgement.looked_at:
        rows += [
            (test.primary.name, looks.arm, looks.low, looks.high)
            for looks in judgement.monitor
            if looks.low is not None and looks.high is not None
        ]
    return rows


def _outcome(gate: Gate, arm: str, rows: list[tuple[str, str, float, float]]) -> Outcome:
    name = f"{'require' if gate.required else 'fail if'} {gate.text}, {arm}"
    low, high = next(
        ((low, high) for metric, of, low, high in rows if (metric, of) == (gate.metric, arm)),
        (np.nan, np.nan),
    )
    if not np.isfinite([low, high]).all():
        return Outcome(not gate.required, f"{name}: nothing can be concluded")
    sure = gate.holds(low, high)
    lift = signed(low) if low == high else interval(low, high)
    return Outcome(sure == gate.required, f"{name}: {'sure' if sure else 'not sure'} ({lift})")


def conclude(
    gates: list[Gate], report: "Report", folder: Path, say: Callable[[str], None] = print
) -> int:
    """Says what became of the gates, on top of `report.md` too; the exit status: 0, 3, or 4 where a
    light is red, since nothing can be concluded then.
    """
    if not gates:
        return 0
    red = [light.name for light in report.lights if light.colour == "red"]
    outcomes = outcomes_of(gates, report)
    lines = [f"{'passed' if one.passed else 'FAILED'}: {one.text}" for one in outcomes]
    lines += [f"RED: {name}" for name in red]
    for line in lines:
        say(line)
    path = folder / "report.md"
    title, _, rest = path.read_text(encoding="utf-8").partition("\n\n")
    told = "\n".join(f"- {in_markdown(line)}" for line in lines)
    save_text(path, f"{title}\n\n{told}\n\n{rest}")
    if red:
        return RED
    return 0 if all(one.passed for one in outcomes) else FAILED
