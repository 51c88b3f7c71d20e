"""Screen 1 of the report in the terminal: the verdict, and a table that fits 80 columns."""

from rich.console import Console

from analysis.reporting import tables
from analysis.reporting.content import Report
from analysis.reporting.lights import alarms
from analysis.reporting.sentences import few_rows, not_shown, off_policy_sentence
from policies.common.errors import escaped


def show_results(report: Report, console: Console | None = None) -> None:
    console = console if console is not None else Console()

    def say(text: str, style: str | None = None) -> None:
        console.print(escaped(text), style=style, highlight=False, markup=False)

    judgement, simulation = report.judgement, report.simulation
    for sentence in alarms(report.lights):
        say(sentence, "bold red")
    for sentence in report.all_verdicts:
        say(sentence, "bold")
    if judgement.effects:
        tables.short_effect_table(judgement.effects).print(console, rule=True)
    elif simulation is not None and simulation.true_effects:
        tables.true_table(simulation.true_effects).print(console, rule=True)
    else:
        tables.arm_table(judgement).print(console, rule=True)
    if any(effect.variance_saved > 0 for effect in judgement.effects):
        say("Lifts are adjusted for what users did before the test (CUPED), the means are not.")
    estimates = simulation.off_policy if simulation is not None else None
    if estimates is not None and estimates.rows:
        say(
            "Off-policy, clicks per impression in the visits of another arm (the page has the other"
            " estimators):"
        )
        tables.short_off_policy_table(estimates).print(console, rule=True)
        for few in filter(None, (few_rows(estimates), not_shown(estimates))):
            say(few)
    elif estimates is not None:
        say(off_policy_sentence(estimates))
    for light in report.lights:
        say(f"{light.name} ({light.colour}): {light.text}")
    notes = report.manifest.get("notes", [])
    for kind, texts in (("warning", report.warnings), ("remark", report.remarks), ("note", notes)):
        for text in texts:
            say(f"{kind}: {text}")
