"""The report as a page: one file, no network, readable without a script."""

import json
from dataclasses import dataclass
from typing import Any

from analysis.reporting import tables
from analysis.reporting.advice import GLOSSARY, anchor, next_steps
from analysis.reporting.content import Report
from analysis.reporting.markdown import command_of, explained, main_table
from analysis.reporting.offline import offline_sentence, offline_table
from analysis.reporting.sentences import off_policy_sentence, sensitivity_sentence, who
from analysis.reporting.templates import template

MACHINE = ("versions", "checksum", "training", "seconds", "peak_memory_mib", "pages")


@dataclass(frozen=True)
class Figure:
    """A picture in the page: its caption, and the PNG as a data URL."""

    caption: str
    data: str


def html(report: Report, figures: dict[str, Figure]) -> str:
    # The template escapes everything but the tables, which are escaped cell by cell.
    page = template("report.html.jinja")
    return page.render(report=report, figures=figures, **_tables(report), **_words(report))


def _tables(report: Report) -> dict[str, Any]:
    """Name in the template -> HTML, "" where there is nothing."""
    judgement, simulation = report.judgement, report.simulation
    table = main_table(report)
    top = [table.html()] if table is not None else []
    top.append(tables.arm_table(judgement).html())
    if judgement.pairs:
        top.append("<h3>All pairs of arms</h3>" + tables.pair_table(judgement.pairs).html())
    if judgement.quantiles:
        title = "<h3>Quantiles over users</h3>"
        top.append(title + tables.quantile_table(judgement.quantiles).html())
    segments = judgement.segments.rows
    made = {
        "tables_top": top,
        "table_looks": tables.look_table(judgement.monitor).html() if judgement.monitor else "",
        "table_segments": tables.segment_table(segments).html() if segments else "",
        **dict.fromkeys(("table_rounds", "table_items", "table_off_policy", "table_users"), ""),
        "table_advantage": "",
        "table_offline": "",
        "offline": "",
        "table_sensitivity": "",
    }
    if simulation is None:
        return made
    made["table_rounds"] = tables.round_table(simulation.rounds.loop).html()
    made["table_items"] = tables.item_table(simulation.top_items).html()
    if simulation.sensitivity is not None:
        made["table_sensitivity"] = tables.sensitivity_table(simulation.sensitivity).html()
    if simulation.offline:
        label = judgement.test.primary.label
        made["table_offline"] = offline_table(simulation.offline, label).html()
        made["offline"] = offline_sentence(simulation.offline, simulation.advantage)
    if simulation.advantage:
        made["table_advantage"] = tables.advantage_table(simulation.advantage).html()
    if simulation.users:
        made["table_users"] = tables.parameter_table(simulation.users).html()
    if simulation.off_policy is not None and simulation.off_policy.rows:
        made["table_off_policy"] = tables.off_policy_table(simulation.off_policy).html()
    return made


def _words(report: Report) -> dict[str, Any]:
    """Name in the template -> sentences and settings."""
    judgement, simulation, manifest = report.judgement, report.simulation, report.manifest
    estimates = simulation.off_policy if simulation is not None else None
    found = simulation.sensitivity if simulation is not None else None
    changed = ", ".join(f"{key} = {value}" for key, value in manifest.get("changed", {}).items())
    experiment = manifest["experiment"]
    return {
        "steps": next_steps(report),
        "glossary": [(anchor(term), term, text) for term, text in sorted(GLOSSARY.items())],
        "reading": explained(report),
        "who": who(judgement.segments) if judgement.effects else [],
        "off_policy": off_policy_sentence(estimates) if estimates is not None else "",
        "sensitivity": sensitivity_sentence(found) if found is not None else "",
        "notes": manifest.get("notes", []),
        "command": command_of(report),
        "changed": changed or "none",
        "settings": json.dumps(experiment, indent=1) if experiment is not None else "",
        "machine": json.dumps({k: manifest[k] for k in MACHINE if k in manifest}, indent=1),
    }
