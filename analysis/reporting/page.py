"""The report as a page, as Markdown and in the terminal."""

import json
from html import escape
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from analysis.reporting.sentences import distrust, off_policy_words, reading, who
from analysis.reporting.tables import (
    Rows,
    arm_rows,
    effect_rows,
    item_rows,
    look_rows,
    off_policy_rows,
    pair_rows,
    quantile_rows,
    round_rows,
    segment_rows,
    short_off_policy_rows,
    short_rows,
    true_rows,
    user_rows,
)


# -- the three forms -------------------------------------------------------------------------------
def _html_table(head: list[str], body: Rows, text_columns: int = 1) -> str:
    def cell(tag: str, i: int, text: str) -> str:
        style = ' class="text"' if i < text_columns or head[i] == "source" else ""
        return f"<{tag}{style}>{escape(text)}</{tag}>"

    top = "".join(cell("th", i, name) for i, name in enumerate(head))
    lines = []
    for row in body:
        guard = ' class="guard"' if "guardrail" in row[0] else ""
        lines.append(
            f"<tr{guard}>" + "".join(cell("td", i, text) for i, text in enumerate(row)) + "</tr>"
        )
    return (
        "<div"
        f' class="scroll"><table><thead><tr>{top}</tr></thead><tbody>{"".join(lines)}</tbody></table></div>'
    )


def html(results: dict[str, Any], figures: dict[str, dict[str, str]]) -> str:
    """The page."""
    manifest = results["manifest"]
    top = [_html_table(*effect_rows(results))] if results["effects"]["rows"] else []
    if not results["effects"]["rows"] and results["true_effects"]["rows"]:
        top.append(_html_table(*true_rows(results)))
    top.append(_html_table(*arm_rows(results)))
    for name, rows, key in (
        ("All pairs of arms", pair_rows, "pairs"),
        ("Quantiles over users", quantile_rows, "quantiles"),
    ):
        top += [f"<h3>{name}</h3>" + _html_table(*rows(results))] if results[key] else []
    loop = results["rounds"] is not None
    # The template escapes everything but the tables, which are escaped cell by cell.
    environment = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=True)
    return environment.get_template("report.html.jinja").render(
        title=results["title"],
        lights=results["lights"],
        partial=results["partial"],
        warnings=results["warnings"],
        remarks=results["remarks"],
        verdicts=results["verdicts"] or results["true_verdicts"],
        figures=figures,
        tables_top=top,
        reading=reading(results),
        table_looks=_html_table(*look_rows(results)) if results["monitor"] else "",
        who=who(results) if results["effects"]["rows"] else [],
        table_segments=(
            _html_table(*segment_rows(results), 2) if results["segments"]["rows"] else ""
        ),
        table_rounds=_html_table(*round_rows(results)) if loop else "",
        table_items=_html_table(*item_rows(results)) if loop else "",
        off_policy=off_policy_words(results) if results.get("off_policy") else "",
        table_off_policy=(
            _html_table(*off_policy_rows(results), 2)
            if (results.get("off_policy") or {}).get("rows")
            else ""
        ),
        table_users=_html_table(*user_rows(results)) if results["users"] else "",
        notes=manifest.get("notes", []),
        command=command_of(manifest),
        changed=", ".join(f"{key} = {value}" for key, value in manifest.get("changed", {}).items())
        or "none",
        settings=(
            json.dumps(manifest["experiment"], indent=1)
            if manifest["experiment"] is not None
            else ""
        ),
        machine=json.dumps(_machine(manifest), indent=1),
    )


def command_of(manifest: dict[str, Any]) -> str:
    if "command" in manifest:
        return str(manifest["command"])
    return "python -m simulator.run --policies " + ",".join(manifest["experiment"]["policies"])


def _machine(manifest: dict[str, Any]) -> dict[str, Any]:
    keys = ("versions", "checksum", "training", "seconds", "peak_memory_mib", "pages")
    return {key: manifest[key] for key in keys if key in manifest}


def markdown(results: dict[str, Any]) -> str:
    """The same in text, for a pull request."""

    def table(head: list[str], body: Rows) -> str:
        lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
        return "\n".join(
            lines
            + ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in body]
        )

    parts = [f"# {results['title']}"]
    parts += (
        ["**Incomplete run**: it was interrupted; the figures cover what was recorded."]
        if results["partial"]
        else []
    )
    parts += [f"**{sentence}**" for sentence in distrust(results)]
    parts += [f"**{sentence}**" for sentence in results["verdicts"] or results["true_verdicts"]]
    parts += [
        "\n".join(
            f"- {light['name']} ({light['colour']}): {light['text']}."
            for light in results["lights"]
        )
    ]
    parts += [
        "\n".join(
            [f"- Warning: {text}." for text in results["warnings"]]
            + [f"- {text}." for text in results["remarks"]]
        )
    ]
    if results["effects"]["rows"]:
        parts.append(table(*effect_rows(results)))
    elif results["true_effects"]["rows"]:
        parts.append(table(*true_rows(results)))
    parts += [table(*arm_rows(results)), *reading(results)]
    crossed = results.get("off_policy")
    for title, rows, there in (
        ("All pairs", pair_rows, results["pairs"]),
        ("Quantiles over users", quantile_rows, results["quantiles"]),
        ("Looks", look_rows, results["monitor"]),
        ("Segments", segment_rows, results["segments"]["rows"]),
        ("By round", round_rows, results["rounds"]),
        (
            "Off-policy cross-check (clicks per impression)",
            off_policy_rows,
            crossed and crossed["rows"],
        ),
    ):
        parts += [f"## {title}", table(*rows(results))] if there else []
    parts += [off_policy_words(results)] if crossed else []
    if results["users"]:
        parts += [
            "## Where the users come from",
            *results["manifest"].get("notes", []),
            table(*user_rows(results)),
        ]
    parts += ["## Reproduce", f"```\n{command_of(results['manifest'])}\n```"]
    return "\n\n".join(part for part in parts if part) + "\n"


def terminal(results: dict[str, Any], console: Console | None = None) -> None:
    """Screen 1, in the terminal: the verdict and a table that fits 80 columns."""
    console = console if console is not None else Console()
    for sentence in distrust(results):
        console.print(sentence, style="bold red", highlight=False, markup=False)
    for sentence in results["verdicts"] or results["true_verdicts"]:
        console.print(sentence, style="bold", highlight=False, markup=False)
    if results["effects"]["rows"]:
        console.print(_terminal_table(*short_rows(results)))
    elif results["true_effects"]["rows"]:
        console.print(_terminal_table(*true_rows(results)))
    else:
        console.print(_terminal_table(*arm_rows(results)))
    if any(row["variance_saved"] > 0 for row in results["effects"]["rows"]):
        console.print(
            "Lifts are adjusted for what users did before the test (CUPED), the means are not.",
            highlight=False,
        )
    crossed = results.get("off_policy")
    if crossed and crossed["rows"]:
        console.print(
            "Off-policy, clicks per impression in the visits of another arm (the page has the other"
            " estimators):"
        )
        console.print(_terminal_table(*short_off_policy_rows(results)))
    elif crossed:
        console.print(off_policy_words(results), highlight=False, markup=False)
    for light in results["lights"]:
        console.print(
            f"{light['name']} ({light['colour']}): {light['text']}", highlight=False, markup=False
        )
    for kind in ("warnings", "remarks"):
        for text in results[kind]:
            console.print(f"{kind.removesuffix('s')}: {text}", highlight=False, markup=False)


def _terminal_table(head: list[str], body: Rows) -> Table:
    table = Table(show_edge=False, pad_edge=False, box=SIMPLE_HEAD, collapse_padding=True)
    for i, name in enumerate(head):
        table.add_column(Text(name), justify="left" if i == 0 else "right", overflow="fold")
    for row in body:
        table.add_row(*map(Text, row))
    return table
