"""The report as text, for a pull request."""

from analysis.reporting import tables
from analysis.reporting.advice import next_steps
from analysis.reporting.content import Report
from analysis.reporting.lights import alarms
from analysis.reporting.offline import offline_sentence, offline_table
from analysis.reporting.sentences import (
    advantage_sentence,
    explanations,
    off_policy_sentence,
    sensitivity_sentence,
    who,
)
from policies.common.errors import escaped
from policies.common.tables import Table, in_markdown


def command_of(report: Report) -> str:
    """What to type to get the same again."""
    manifest = report.manifest
    if "command" in manifest:
        return str(manifest["command"])
    return "python -m simulator.run --policies " + ",".join(manifest["experiment"]["policies"])


def main_table(report: Report) -> Table | None:
    """The effects, or where nobody was split what is true; None where there is neither."""
    if report.judgement.effects:
        return tables.effect_table(report.judgement.effects)
    if report.simulation is not None and report.simulation.true_effects:
        return tables.true_table(report.simulation.true_effects)
    return None


def explained(report: Report) -> list[str]:
    """What the numbers are and are not."""
    simulation = report.simulation
    true_effects = simulation.true_effects if simulation is not None else []
    return explanations(report.judgement, true_effects, report.manifest["experiment"])


def markdown(report: Report) -> str:
    parts = [f"# {in_markdown(report.title)}"]
    if report.partial:
        parts.append(
            "**Incomplete run**: it was interrupted; the figures cover the whole days that all arms"
            " have served all their users."
        )
    parts += [f"**{in_markdown(text)}**" for text in (*alarms(report.lights), *report.all_verdicts)]
    if steps := next_steps(report):
        parts.append("\n".join(["What to do next:", "", *(f"- {in_markdown(x)}" for x in steps)]))
    lights = (f"{x.name} ({x.colour}): {x.text}" for x in report.lights)
    parts.append("\n".join(f"- {in_markdown(text)}." for text in lights))
    remarks = [*(f"Warning: {text}" for text in report.warnings), *report.remarks]
    parts.append("\n".join(f"- {in_markdown(text)}." for text in remarks))
    table = main_table(report)
    parts += [table.markdown()] if table is not None else []
    parts.append(tables.arm_table(report.judgement).markdown())
    parts += map(in_markdown, explained(report))
    if report.judgement.effects:
        parts += ["## Who", *map(in_markdown, who(report.judgement.segments))]
    for title, section in _sections(report):
        parts += [f"## {title}", section.markdown()]
    simulation = report.simulation
    if simulation is not None and simulation.off_policy is not None:
        parts.append(off_policy_sentence(simulation.off_policy))
    if simulation is not None and simulation.users:
        notes = map(in_markdown, report.manifest.get("notes", []))
        if simulation.sensitivity is not None:
            parts += ["## The number that decides", sensitivity_sentence(simulation.sensitivity)]
            parts.append(tables.sensitivity_table(simulation.sensitivity).markdown())
        if simulation.offline:
            label = report.judgement.test.primary.label
            told = offline_sentence(simulation.offline, simulation.advantage)
            table = offline_table(simulation.offline, label)
            parts += ["## Offline beside online", in_markdown(told), table.markdown()]
        parts += ["## Where the users come from", *notes]
        if simulation.advantage:
            parts.append(advantage_sentence(simulation.advantage))
            parts.append(tables.advantage_table(simulation.advantage).markdown())
        parts.append(tables.parameter_table(simulation.users).markdown())
    parts += ["## Reproduce", f"````\n{escaped(command_of(report))}\n````"]
    return "\n\n".join(part for part in parts if part) + "\n"


def _sections(report: Report) -> list[tuple[str, Table]]:
    """Title and table of what is not on the first screen, where there is any."""
    judgement, simulation = report.judgement, report.simulation
    sections = []
    if judgement.pairs:
        sections.append(("All pairs", tables.pair_table(judgement.pairs)))
    if judgement.quantiles:
        sections.append(("Quantiles over users", tables.quantile_table(judgement.quantiles)))
    if judgement.monitor:
        sections.append(("Looks", tables.look_table(judgement.monitor)))
    if judgement.segments.rows:
        sections.append(("Segments", tables.segment_table(judgement.segments.rows)))
    if simulation is not None:
        sections.append(("By round", tables.round_table(simulation.rounds.loop)))
        if simulation.off_policy is not None and simulation.off_policy.rows:
            title = "Off-policy cross-check (clicks per impression)"
            sections.append((title, tables.off_policy_table(simulation.off_policy)))
    return sections
