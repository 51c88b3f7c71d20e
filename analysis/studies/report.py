"""A study as a table, a picture and a sentence; `study.json`, `study.md`, `study.png`."""

import json
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from rich.console import Console
from rich.table import Table
from rich.text import Text

from analysis.metrics import METRICS
from analysis.reporting.figures import HUES, save
from analysis.reporting.sentences import percent
from analysis.reporting.tables import finite
from analysis.studies.judgement import NAMES

Cells = tuple[list[str], list[list[str]]]


def write(found: dict[str, Any], command: str, out: Path) -> None:
    """The three files, into an existing folder."""
    (out / "study.json").write_text(json.dumps(finite(found), indent=1) + "\n", encoding="utf-8")
    parts = [f"# {title(found)}", *sentences(found)]
    for head, body in tables(found):
        rows = ["| " + " | ".join(row) + " |" for row in body]
        parts.append("\n".join(["| " + " | ".join(head) + " |", "|" + "---|" * len(head), *rows]))
    parts.append(f"```\n{command}\n```")
    (out / "study.md").write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    picture(found, out / "study.png")


def terminal(found: dict[str, Any]) -> None:
    """The same on the screen."""
    console = Console()
    for head, body in (
        [pivot(found)] if found["study"] in ("aa", "power", "peeking") else tables(found)
    ):
        table = Table(box=None, pad_edge=False)
        for i, name in enumerate(head):
            table.add_column(Text(name), justify="left" if i == 0 else "right", overflow="fold")
        for row in body:
            table.add_row(*map(Text, row))
        console.print(table)
    for sentence in sentences(found):
        console.print(sentence, style="bold", highlight=False)


def pivot(found: dict[str, Any]) -> Cells:
    """Rates only, a line per metric and a column per method, so that they fit a screen."""
    short = {
        "fixed": "end",
        "cuped": "CUPED",
        "obrien_fleming": "OBF",
        "pocock": "Pocock",
        "cs": "CS",
        "every_day": "naive",
    }
    methods = list(dict.fromkeys(row["method"] for row in found["rows"]))
    by = {(_line(row), row["method"]): row for row in found["rows"]}
    body = []
    for metric in dict.fromkeys(_line(row) for row in found["rows"]):
        cells = [by.get((metric, method)) for method in methods]
        marked = [
            "" if c is None else f"{c['rate']:.3f}" + ("!" if c["inside"] is False else "")
            for c in cells
        ]
        body.append([_label(metric), *marked])
    return [
        "share found" if found["study"] == "power" else "share rejected",
        *(short.get(method, method) for method in methods),
    ], body


def _line(row: dict[str, Any]) -> str:
    """What a line of the pivot is about."""
    if "kind" not in row:
        return str(row["metric"])
    return f"{row['kind']}{', effect' if row['effect'] else ''}{', by days' if row['correlation'] == 'days' else ''}"


def title(found: dict[str, Any]) -> str:
    return {
        "aa": "False positives of an A/A test",
        "power": "How often a known effect is found, and when",
        "coverage": "How often the 95 % interval covers the true effect",
        "peeking": "Error rates and power of looking every day, on made-up data",
        "bias": "What the estimate misses where arms retrain",
        "replicate": "The claim about the policy: whole worlds run again",
    }[str(found["study"])]


def _rate(row: dict[str, Any]) -> list[str]:
    return [f"{row['rate']:.4f}", f"{row['low']:.4f} to {row['high']:.4f}"]


def _band(row: dict[str, Any]) -> list[str]:
    if row["band"] is None:
        return ["a warning", ""]
    return [
        f"{row['band'][0]:.4f} to {row['band'][1]:.4f}",
        "inside" if row["inside"] else "OUTSIDE",
    ]


def tables(found: dict[str, Any]) -> list[Cells]:
    """Head and rows of every table of a study."""
    return {
        "aa": _aa,
        "power": _power,
        "coverage": _coverage,
        "peeking": _peeking,
        "replicate": _replicate,
        "bias": _bias,
    }[str(found["study"])](found)


def _label(name: str) -> str:
    return METRICS[name].label if name in METRICS else name


def _aa(found: dict[str, Any]) -> list[Cells]:
    head = ["metric", "method", "rejected", "95 % interval", "band of chance", ""]
    rows = [[_label(r["metric"]), NAMES[r["method"]], *_rate(r), *_band(r)] for r in found["rows"]]
    return [(head, rows), _cuped(found)]


def _cuped(found: dict[str, Any]) -> Cells:
    head = [
        "metric",
        "variance saved by CUPED",
        "variance over the salts, with over without",
        "mean lift",
        "true lift",
        "bias in s.e.",
    ]
    rows = [
        [
            _label(r["metric"]),
            percent(r["saved"]),
            f"{r['variance_ratio']:.3f}",
            percent(r["mean_lift"], 3),
            percent(r["true_lift"], 3),
            f"{r['bias_in_errors']:+.1f}",
        ]
        for r in found["cuped"]
    ]
    return head, rows


def _power(found: dict[str, Any]) -> list[Cells]:
    head = ["metric", "method", "true lift", "found", "95 % interval", "mean day of the end"]
    rows = [
        [
            _label(r["metric"]),
            NAMES[r["method"]],
            percent(r["true_lift"]),
            *_rate(r),
            f"{r['mean_day']:.1f}",
        ]
        for r in found["rows"]
    ]
    return [(head, rows), _cuped(found)]


def _coverage(found: dict[str, Any]) -> list[Cells]:
    head = [
        "metric",
        "method",
        "true lift",
        "covers the population's",
        "95 % interval",
        "band of chance",
        "",
    ]
    head += ["covers these users'", "rho", "expected"]
    rows = [
        [
            _label(r["metric"]),
            NAMES[r["method"]],
            percent(r["true_lift"]),
            *_rate(r),
            *_band(r),
            f"{r['of_these_users']['rate']:.4f}",
            f"{r['rho']:.2f}",
            f"{r['expected_of_these_users']:.4f}",
        ]
        for r in found["rows"]
    ]
    return [(head, rows)]


def _peeking(found: dict[str, Any]) -> list[Cells]:
    head = [
        "data",
        "method",
        "looks' correlation",
        "effect",
        "rejected",
        "95 % interval",
        "mean day of the end",
    ]
    rows = [
        [
            r["kind"],
            NAMES[r["method"]],
            r["correlation"],
            "none" if r["effect"] == 0 else "found by .80 at the end",
            *_rate(r),
            f"{r['mean_day']:.1f}",
        ]
        for r in found["rows"]
    ]
    return [(head, rows)]


def _bias(found: dict[str, Any]) -> list[Cells]:
    head = [
        "run",
        "contender",
        "estimate, own rows",
        "estimate, all rows",
        "same buckets in the global worlds",
        "true effect",
    ]
    return [
        (
            head,
            [
                [
                    r["run"],
                    r["arm"],
                    *(percent(r[key]) for key in ("own", "all", "read_out", "true_lift")),
                ]
                for r in found["rows"]
            ],
        )
    ]


def _replicate(found: dict[str, Any]) -> list[Cells]:
    head = ["run", "contender", "estimate", "95 % interval", "true effect"]
    rows = [
        [
            r["run"],
            r["arm"],
            percent(r["lift"]),
            f"{percent(r['low'])} to {percent(r['high'])}",
            percent(r["true_lift"]),
        ]
        for r in found["rows"]
    ]
    return [(head, rows)]


def sentences(found: dict[str, Any]) -> list[str]:
    """What a study says, in words."""
    kind = found["study"]
    if kind == "aa":
        judged = [row for row in found["rows"] if row["inside"] is not None]
        outside = [
            f"{_label(row['metric'])}, {NAMES[row['method']]}"
            for row in judged
            if not row["inside"]
        ]
        said = (
            f"all {len(judged)} cells lie"
            if not outside
            else f"{len(judged) - len(outside)} of {len(judged)} cells lie"
        )
        text = (
            f"{found['salts']} salts over {found['users']} users and {found['days']} days: {said}"
            f" in the 99.9 % band of chance (Bonferroni over {found['cells']} cells; the confidence"
            " sequence has only to stay below)"
        )
        return [text + (f"; outside: {'; '.join(outside)}." if outside else ".")]
    if kind == "power":
        return [
            f"{found['arm']} against {found['control']}, {found['salts']} splits of the same"
            f" {found['users']} users: the effect is the same in all, what changes is who sees"
            " what."
        ]
    if kind == "coverage":
        judged = found["rows"]
        missed = sum(not row["inside"] for row in judged)
        return [
            f"{found['replicates']} replicates of {found['users']} fresh users, truth from"
            f" {found['truth_users']} others: {len(judged) - missed} of {len(judged)} intervals"
            " cover the population's effect as they say (99.9 % band, Bonferroni)."
        ]
    if kind == "bias":
        return [_parts(claim, found["primary"]) for claim in found["claims"]]
    if kind == "replicate":
        return [_claim(claim, found["primary"]) for claim in found["claims"]]
    return [
        f"{found['runs']} runs, {found['looks']} looks each. 'Measured' takes the looks'"
        " correlation from the users, 'days' from the calendar."
    ]


def _claim(c: dict[str, Any], primary: str) -> str:
    about = f"{c['arm']} against {c['control']} on {_label(primary)} over {c['worlds']} worlds"
    return (
        f"{about}: the true effect is {_interval(c['truth'])}, its standard deviation between"
        f" worlds {percent(c['sd_between_worlds'])}; the estimate's bias is {_interval(c['bias'])},"
        f" the interval covered in {c['covered']}, the sign was wrong in {c['wrong_sign']}."
    )


def _interval(x: dict[str, float]) -> str:
    return f"{percent(x['mean'])} ({percent(x['low'])} to {percent(x['high'])})"


def _parts(c: dict[str, Any], primary: str) -> str:
    wrong = c["wrong_sign"]
    about = f"{c['arm']} against {c['control']} on {_label(primary)} over {c['worlds']} worlds"
    return (
        f"{about}: the true effect is {_interval(c['truth'])}. Who is in which bucket moves the"
        f" estimate by {_interval(c['chance'])} (chance). Given the buckets, arms that learn from"
        f" their own rows miss it by {_interval(c['volume'])} (data volume); learning from all rows"
        f" adds {_interval(c['sharing'])} (sharing), together {_interval(c['both'])}. The sign was"
        f" wrong in {wrong['own']} and {wrong['all']}."
    )


def picture(found: dict[str, Any], path: Path) -> None:
    """Rates with their intervals, or effects per world."""
    if found["study"] in ("replicate", "bias"):
        _worlds_picture(found, path)
        return
    rows = found["rows"]
    groups = list(dict.fromkeys(_group(row) for row in rows))
    methods = list(dict.fromkeys(row["method"] for row in rows))
    figure, axis = plt.subplots(figsize=(7.6, 1.6 + 0.55 * len(groups)), layout="constrained")
    for place, method in enumerate(methods):
        own = [row for row in rows if row["method"] == method and _drawn(row)]
        height = [-groups.index(_group(row)) - 0.11 * (place - len(methods) / 2) for row in own]
        x = [row["rate"] for row in own]
        spread = [
            [max(row["rate"] - row["low"], 0) for row in own],
            [max(row["high"] - row["rate"], 0) for row in own],
        ]
        axis.errorbar(
            x,
            height,
            xerr=spread,
            fmt="o",
            ms=4,
            color=HUES[place % len(HUES)],
            label=NAMES[method],
        )
    if found["study"] in ("aa", "peeking"):
        axis.axvline(0.05, color="black", lw=0.9)
    if found["study"] == "coverage":
        axis.axvline(0.95, color="black", lw=0.9)
    axis.set_yticks(range(0, -len(groups), -1), [_label(str(group)) for group in groups])
    axis.set_xlabel(
        {
            "power": "share of splits that find the effect",
            "coverage": "share of intervals that cover",
        }.get(str(found["study"]), "share rejected without an effect")
    )
    axis.set_title(title(found))
    figure.legend(loc="outside lower center", ncols=2, fontsize=9)
    save(figure, path)


def _group(row: dict[str, Any]) -> str:
    return str(row.get("metric", row.get("kind")))


def _drawn(row: dict[str, Any]) -> bool:
    return bool(row.get("effect", 0) == 0 and row.get("correlation", "measured") == "measured")


def _worlds_picture(found: dict[str, Any], path: Path) -> None:
    rows = found["rows"]
    figure, axis = plt.subplots(figsize=(7.2, 1.6 + 0.26 * len(rows)), layout="constrained")
    arms = list(dict.fromkeys(row["arm"] for row in rows))
    for y, row in zip(range(0, -len(rows), -1), rows, strict=True):
        colour = HUES[arms.index(row["arm"]) % len(HUES)]
        if "low" in row:
            axis.plot([100 * row["low"], 100 * row["high"]], [y, y], color=colour, lw=2)
        axis.plot(100 * row.get("lift", row.get("own")), y, "o", color=colour, ms=6)
        if "all" in row:
            axis.plot(100 * row["all"], y, "s", mfc="white", mec=colour, ms=6)
        if row["true_lift"] is not None:
            axis.plot(100 * row["true_lift"], y, "D", mfc="white", mec="black", ms=6)
    axis.axvline(0, color="black", lw=0.9)
    axis.set_yticks(
        range(0, -len(rows), -1), [f"{row['run']} {row['arm']}" for row in rows], fontsize=8
    )
    more = "; squares: learning from all rows" if found["study"] == "bias" else ""
    axis.set_xlabel(f"lift on {_label(found['primary'])} [%]; diamonds: the true effect{more}")
    axis.set_title(title(found))
    save(figure, path)
