"""Writes the report of a run: `report.html` (one file, no network), `report.md`, `results.json`, `figures/*.png`.

python -m analysis.report RUN            judge a finished run again
python -m analysis.report RUN --partial  judge an interrupted one
"""

import argparse
import base64
import json
import math
import sys
from html import escape
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from analysis import plots
from analysis.errors import AnalysisError
from analysis.load import Run, open_run
from analysis.metrics import METRICS
from analysis.results import compute, percent

Rows = list[list[str]]


def write(path: str | Path, partial: bool = False) -> dict[str, Any]:
    """Judges the run at `path`, writes the four kinds of files into it, returns the results."""
    run = open_run(path, partial)
    results = compute(run)
    results["partial"] = run.manifest["status"] != "complete"
    figures = _figures(run, results)
    (run.path / "results.json").write_text(json.dumps(_finite(results), indent=1) + "\n", encoding="utf-8")
    (run.path / "report.md").write_text(markdown(results), encoding="utf-8")
    (run.path / "report.html").write_text(html(results, figures), encoding="utf-8")
    return results


def _finite(value: Any) -> Any:
    """NaN is no JSON: null instead."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _figures(run: Run, results: dict[str, Any]) -> dict[str, dict[str, str]]:
    folder = run.path / "figures"
    folder.mkdir(exist_ok=True)
    captions = {}
    if any(row["lift"] is not None and math.isfinite(row["lift"]) for row in results["effects"]["rows"]):
        captions["forest"] = plots.forest(results, run.arms, folder / "forest.png")
    captions |= plots.rounds(results, run.arms, folder)
    captions["lorenz"] = plots.lorenz_curves(run, folder / "lorenz.png")
    return {
        name: {
            "caption": caption,
            "data": "data:image/png;base64," + base64.b64encode((folder / f"{name}.png").read_bytes()).decode(),
        }
        for name, caption in captions.items()
    }


# -- numbers as text ----------------------------------------------------------------------------------------------


def number(x: float | None) -> str:
    """At most three significant digits; counts with thin spaces; rates below 1 without the leading zero."""
    if x is None or not math.isfinite(x):
        return "–"
    if float(x).is_integer() and abs(x) >= 1000:
        return f"{int(x):,}".replace(",", "\u2009")
    if abs(x) >= 100:
        return f"{x:.0f}"
    if abs(x) >= 1:
        return f"{x:.3g}"
    text = f"{x:.3f}" if abs(x) >= 0.001 or x == 0 else f"{x:.1e}"
    return text.replace("0.", ".", 1) if text.startswith(("0.", "-0.")) else text


def pvalue(x: float | None) -> str:
    if x is None or not math.isfinite(x):
        return "–"
    return "< .0001" if x < 0.0001 else f"{x:.4f}".lstrip("0")


def effect_rows(results: dict[str, Any]) -> tuple[list[str], Rows]:
    """The main table: outcomes first, guardrails after them."""
    rows = sorted(results["effects"]["rows"], key=lambda row: row["role"] == "guardrail")
    has_truth = any(row["true_lift"] is not None for row in rows)
    several = len({row["arm"] for row in rows}) > 1
    head = ["metric", *(["contender"] if several else []), "control mean", "contender mean", "lift", "95 % interval"]
    head += [*(["true lift"] if has_truth else []), "adjusted p", "detectable", "CUPED saved"]
    body = []
    for row in rows:
        name = METRICS[row["metric"]].label + (" ★" if row["role"] == "primary" else "")
        if row["margin"] is not None and math.isfinite(row["lift"]):
            words = "not worse" if row["not_worse"] else "may be worse"
            name += f" (guardrail: {words} by {percent(row['margin'], 0)})"
        line = [name, *([row["arm"]] if several else []), number(row["control_mean"]), number(row["treatment_mean"])]
        line += [percent(row["lift"]), f"{percent(row['low'])} to {percent(row['high'])}"]
        line += [percent(row["true_lift"])] if has_truth else []
        body.append(
            [*line, pvalue(row["pvalue_adjusted"]), percent(row["detectable"]), percent(row["variance_saved"], 0)]
        )
    return head, body


def true_rows(results: dict[str, Any]) -> tuple[list[str], Rows]:
    head = ["metric", "contender", "control mean", "contender mean", "true lift"]
    rows = results["true_effects"]["rows"]
    body = [
        [
            METRICS[r["metric"]].label,
            r["arm"],
            number(r["control_mean"]),
            number(r["treatment_mean"]),
            percent(r["true_lift"]),
        ]
        for r in rows
    ]
    return head, body


def arm_rows(results: dict[str, Any]) -> tuple[list[str], Rows]:
    """One column per arm, references included."""
    judged, control = {*results["manifest"]["contenders"]}, results["manifest"]["control"]
    rows = results["arms"]["rows"]
    notes = {
        row["arm"]: " (control)" if row["arm"] == control else "" if row["arm"] in judged else " (reference)"
        for row in rows
    }
    head = ["per arm", *(row["arm"] + notes[row["arm"]] for row in rows)]
    lines = [
        ("users", "users"),
        ("clicks per page", "clicks_per_page"),
        *((f"{m.label} [{m.unit}]", m.name) for m in METRICS.values()),
    ]
    return head, [[label, *(number(row[key]) for row in rows)] for label, key in lines]


def round_rows(results: dict[str, Any]) -> tuple[list[str], Rows]:
    head = [
        "arm",
        "round",
        "click rate",
        "clicks per page",
        "coverage",
        "Gini",
        "overlap",
        "popularity shown",
        "popularity clicked",
        "category entropy [bits]",
    ]
    keys = (
        "click_rate",
        "clicks_per_page",
        "coverage",
        "gini",
        "overlap",
        "popularity_shown",
        "popularity_clicked",
        "category_entropy",
    )
    body = [[r["arm"], str(r["round"] + 1), *(number(r[key]) for key in keys)] for r in results["rounds"]["loop"]]
    return head, body


def user_rows(results: dict[str, Any]) -> tuple[list[str], Rows]:
    head = ["parameter", "value", "standard error", "status", "source"]
    numbers = results["users"].get("numbers", {})
    body = [
        [name, number(n["value"]), number(n["error"]), n["status"], n["source"]] for name, n in sorted(numbers.items())
    ]
    arrays = results["users"].get("arrays", {})
    body += [[name, "array", "–", status, source] for name, (status, source) in sorted(arrays.items())]
    return head, body


def item_rows(results: dict[str, Any]) -> tuple[list[str], Rows]:
    head = ["arm", "item", "share of impressions", "click rate"]
    return head, [
        [r["arm"], r["item_id"], percent(r["share"]), number(r["click_rate"])] for r in results["top_items"]["rows"]
    ]


def reading(results: dict[str, Any]) -> list[str]:
    """What the numbers are and are not, in sentences."""
    rows, settings = results["effects"]["rows"], results["manifest"]["experiment"]
    found = []
    if rows:
        found.append(
            f"n = {rows[0]['n_control']} users in the control; users are the unit of randomisation and of analysis. "
            "Lifts by tea-tasting (delta method), CUPED on the warm-up; the primary metric (★) is corrected over arms by Holm, "
            "all others by Benjamini-Hochberg; intervals are not corrected. Detectable: the effect found with probability .80."
        )
    if any(row["true_lift"] is not None for row in rows) or results["true_effects"]["rows"]:
        found.append(
            "The true effect compares worlds in which everybody gets one arm; no live test can know it. It speaks of these "
            "models: an arm that retrains on a bucket learns from fewer users than one that serves everybody."
        )
    if settings["learn_from"] == "own" and settings["rounds"] > 1 and rows:
        found.append(
            "Users who share a retrained model are no independent replicates of the algorithm: the claim is about this training run."
        )
    if settings["learn_from"] == "all" and settings["rounds"] > 1:
        found.append(
            "The arms learned from each other's rows: the difference between them is biased, usually towards zero."
        )
    return found


# -- the three forms ----------------------------------------------------------------------------------------------


def _html_table(head: list[str], body: Rows, text_columns: int = 1) -> str:
    def cell(tag: str, i: int, text: str) -> str:
        style = ' class="text"' if i < text_columns or head[i] == "source" else ""
        return f"<{tag}{style}>{escape(text)}</{tag}>"

    top = "".join(cell("th", i, name) for i, name in enumerate(head))
    lines = []
    for row in body:
        guard = ' class="guard"' if "guardrail" in row[0] else ""
        lines.append(f"<tr{guard}>" + "".join(cell("td", i, text) for i, text in enumerate(row)) + "</tr>")
    return f'<div class="scroll"><table><thead><tr>{top}</tr></thead><tbody>{"".join(lines)}</tbody></table></div>'


def title_of(results: dict[str, Any]) -> str:
    e = results["manifest"]["experiment"]
    log = results["manifest"].get("log_name", e["log"])
    return f"{' against '.join(e['policies'])}: {e['users']} users, {e['days']:g} days, {e['rounds']} rounds, log {log}"


def html(results: dict[str, Any], figures: dict[str, dict[str, str]]) -> str:
    """The page."""
    manifest = results["manifest"]
    top = [_html_table(*effect_rows(results))] if results["effects"]["rows"] else []
    if not results["effects"]["rows"] and results["true_effects"]["rows"]:
        top.append(_html_table(*true_rows(results)))
    top.append(_html_table(*arm_rows(results)))
    # The template escapes everything but the tables, which are escaped cell by cell.
    environment = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=True)
    return environment.get_template("report.html.jinja").render(
        title=title_of(results), lights=results["lights"], partial=results["partial"],
        verdicts=results["verdicts"] or results["true_verdicts"], figures=figures, tables_top=top, reading=reading(results),
        table_rounds=_html_table(*round_rows(results)), table_items=_html_table(*item_rows(results)),
        table_users=_html_table(*user_rows(results)), notes=manifest.get("notes", []), command=command_of(manifest),
        changed=", ".join(f"{key} = {value}" for key, value in manifest.get("changed", {}).items()) or "none",
        settings=json.dumps(manifest["experiment"], indent=1), machine=json.dumps(_machine(manifest), indent=1),
    )  # fmt: skip


def command_of(manifest: dict[str, Any]) -> str:
    return str(
        manifest.get("command", "python -m simulator.run --policies " + ",".join(manifest["experiment"]["policies"]))
    )


def _machine(manifest: dict[str, Any]) -> dict[str, Any]:
    return {
        key: manifest.get(key) for key in ("versions", "checksum", "training", "seconds", "peak_memory_mib", "pages")
    }


def markdown(results: dict[str, Any]) -> str:
    """The same in text, for a pull request."""

    def table(head: list[str], body: Rows) -> str:
        lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
        return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in body])

    parts = [f"# {title_of(results)}"]
    parts += (
        ["**Incomplete run**: it was interrupted; the figures cover what was recorded."] if results["partial"] else []
    )
    parts += [f"**{sentence}**" for sentence in results["verdicts"] or results["true_verdicts"]]
    parts += ["\n".join(f"- {light['name']} ({light['colour']}): {light['text']}." for light in results["lights"])]
    if results["effects"]["rows"]:
        parts.append(table(*effect_rows(results)))
    elif results["true_effects"]["rows"]:
        parts.append(table(*true_rows(results)))
    parts += [table(*arm_rows(results)), *reading(results)]
    parts += ["## By round", table(*round_rows(results))]
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
    for sentence in results["verdicts"] or results["true_verdicts"]:
        console.print(sentence, style="bold", highlight=False)
    if results["effects"]["rows"]:
        console.print(_terminal_table(*_short_rows(results)))
    elif results["true_effects"]["rows"]:
        console.print(_terminal_table(*true_rows(results)))
    else:
        console.print(_terminal_table(*arm_rows(results)))
    for light in results["lights"]:
        console.print(f"{light['name']} ({light['colour']}): {light['text']}", highlight=False)


def _short_rows(results: dict[str, Any]) -> tuple[list[str], Rows]:
    """The main table without what only the page has room for."""
    rows = results["effects"]["rows"]
    several = len({row["arm"] for row in rows}) > 1
    has_truth = any(row["true_lift"] is not None for row in rows)
    head = [*(["contender"] if several else []), "metric", "control", "contender" if not several else "mean"]
    head += ["lift [%]", "95 % interval", "adj. p", *(["true [%]"] if has_truth else [])]
    body = []
    for row in rows:
        name = METRICS[row["metric"]].label + (" ★" if row["role"] == "primary" else "")
        line = [*([row["arm"]] if several else []), name, number(row["control_mean"]), number(row["treatment_mean"])]
        line += [_bare(row["lift"]), f"{_bare(row['low'])} to {_bare(row['high'])}", pvalue(row["pvalue_adjusted"])]
        body.append(line + ([_bare(row["true_lift"])] if has_truth else []))
    return head, body


def _bare(x: float | None) -> str:
    return percent(x).removesuffix(" %")


def _terminal_table(head: list[str], body: Rows) -> Table:
    table = Table(show_edge=False, pad_edge=False, box=SIMPLE_HEAD, collapse_padding=True)
    for i, name in enumerate(head):
        table.add_column(Text(name), justify="left" if i == 0 else "right", overflow="fold")
    for row in body:
        table.add_row(*map(Text, row))
    return table


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m analysis.report", description="Judge a run again and write its report."
    )
    parser.add_argument("run", help="a run directory, as `python -m simulator.run` leaves it")
    parser.add_argument("--partial", action="store_true", help="judge an interrupted run by what it recorded")
    given = parser.parse_args(arguments)
    try:
        results = write(given.run, given.partial)
    except AnalysisError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    terminal(results)
    print(f"report: {Path(given.run) / 'report.html'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
