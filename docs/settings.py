"""Writes docs/settings.md: every setting of every command, from the one place that describes it."""

from pathlib import Path

from analysis.data.live_source import LiveLog
from analysis.ope import LoggedTable
from analysis.studies.next_test import NextTest
from gptrec.offline.settings import Evaluation
from policies.common.settings import described
from policies.common.tables import Table
from simulator.settings import Experiment

KINDS = {
    "python -m simulator.run": Experiment,
    "python -m gptrec.evaluate": Evaluation,
    "python -m analysis.report --impressions FILE": LiveLog,
    "python -m analysis.power": NextTest,
    "python -m analysis.ope": LoggedTable,
}


def document() -> str:
    """The whole document."""
    parts = [
        "# Settings\n",
        "Written by `python docs/settings.py`. Those of an experiment stand in a TOML file, in\n"
        "`--set KEY=VALUE` or in a flag; those of a policy in `[policy.NAME]` or\n"
        "`--set NAME.KEY=VALUE`.\n",
    ]
    for command, kind in KINDS.items():
        table = Table(("setting", "default", "bounds", "meaning"), described(kind))
        parts.append(f"## `{command}`\n\n{table.markdown()}\n")
    return "\n".join(parts)


if __name__ == "__main__":
    Path(__file__).with_suffix(".md").write_text(document(), encoding="utf-8")
