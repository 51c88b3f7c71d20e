"""The report's tables as rows of text, for the page, the Markdown and the terminal."""

import math
from typing import Any

from analysis.metrics import METRICS
from analysis.reporting.sentences import percent

Rows = list[list[str]]


def finite(value: Any) -> Any:
    """The same with null for NaN and infinity, which are no JSON."""
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def number(x: float | None) -> str:
    """At most three significant digits; counts with thin spaces; rates below 1 without the leading
    zero.
    """
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
    head = [
        "metric",
        *(["contender"] if several else []),
        "control mean",
        "contender mean",
        "lift",
        "95 % interval",
    ]
    head += [*(["true lift"] if has_truth else []), "adjusted p", "detectable", "CUPED saved"]
    body = []
    for row in rows:
        name = METRICS[row["metric"]].label + (" ★" if row["role"] == "primary" else "")
        if row["margin"] is not None and math.isfinite(row["lift"]):
            words = "not worse" if row["not_worse"] else "may be worse"
            name += f" (guardrail: {words} by {percent(row['margin'], 0)})"
        line = [
            name,
            *([row["arm"]] if several else []),
            number(row["control_mean"]),
            number(row["treatment_mean"]),
        ]
        line += [percent(row["lift"]), f"{percent(row['low'])} to {percent(row['high'])}"]
        line += [percent(row["true_lift"])] if has_truth else []
        body.append(
            [
                *line,
                pvalue(row["pvalue_adjusted"]),
                percent(row["detectable"]),
                percent(row["variance_saved"], 0),
            ]
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
        row["arm"]: (
            " (control)"
            if row["arm"] == control
            else ""
            if row["arm"] in judged
            else " (reference)"
        )
        for row in rows
    }
    head = ["per arm", *(row["arm"] + notes[row["arm"]] for row in rows)]
    lines = [
        ("users", "users"),
        ("clicks per page", "clicks_per_page"),
        *((f"{m.label} [{m.unit}]", m.name) for m in METRICS.values()),
    ]
    return head, [
        [label, *(number(row[key]) for row in rows)] for label, key in lines if key in rows[0]
    ]


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
    body = [
        [r["arm"], str(r["round"] + 1), *(number(r[key]) for key in keys)]
        for r in results["rounds"]["loop"]
    ]
    return head, body


def user_rows(results: dict[str, Any]) -> tuple[list[str], Rows]:
    head = ["parameter", "value", "standard error", "status", "source"]
    numbers = results["users"].get("numbers", {})
    body = [
        [name, number(n["value"]), number(n["error"]), n["status"], n["source"]]
        for name, n in sorted(numbers.items())
    ]
    arrays = results["users"].get("arrays", {})
    body += [
        [name, "one each", "–", status, source] for name, (status, source) in sorted(arrays.items())
    ]
    return head, body


def item_rows(results: dict[str, Any]) -> tuple[list[str], Rows]:
    head = ["arm", "item", "share of impressions", "click rate"]
    return head, [
        [r["arm"], r["item_id"], percent(r["share"]), number(r["click_rate"])]
        for r in results["top_items"]["rows"]
    ]


def pair_rows(results: dict[str, Any]) -> tuple[list[str], Rows]:
    """All pairs of arms on the primary metric."""
    head = ["arm", "against", "lift", "95 % interval", "p, Holm over pairs"]
    return head, [
        [
            r["arm"],
            r["against"],
            percent(r["lift"]),
            f"{percent(r['low'])} to {percent(r['high'])}",
            pvalue(r["pvalue_adjusted"]),
        ]
        for r in results["pairs"]
    ]


def quantile_rows(results: dict[str, Any]) -> tuple[list[str], Rows]:
    """Median and tails of the primary metric over users."""
    head = [
        "users' quantile",
        "contender",
        "control",
        "contender's",
        "difference",
        "95 % interval",
        "p",
    ]
    return head, [
        [
            f"{100 * r['quantile']:g} %",
            r["arm"],
            number(r["control"]),
            number(r["treatment"]),
            number(r["difference"]),
            f"{number(r['low'])} to {number(r['high'])}",
            pvalue(r["pvalue"]),
        ]
        for r in results["quantiles"]
    ]


def segment_rows(results: dict[str, Any]) -> tuple[list[str], Rows]:
    """The primary metric by segment."""
    head = [
        "segment",
        "level",
        "contender",
        "users",
        "lift",
        "95 % interval",
        "p, Benjamini-Hochberg",
    ]
    return head, [
        [
            r["segment"],
            r["level"],
            r["arm"],
            number(r["users"]),
            percent(r["lift"]),
            f"{percent(r['low'])} to {percent(r['high'])}",
            pvalue(r["pvalue_adjusted"]),
        ]
        for r in results["segments"]["rows"]
    ]


def off_policy_rows(results: dict[str, Any]) -> tuple[list[str], Rows]:
    """Clicks per impression of the contenders, estimated from another arm's log."""

    def interval(x: dict[str, float] | None) -> str:
        return (
            "–"
            if x is None
            else f"{number(x['value'])} ({number(x['low'])} to {number(x['high'])})"
        )

    head = [
        "contender",
        "log of",
        "IPS",
        "SNIPS",
        "direct",
        "doubly robust",
        "effective rows",
        "in the test",
        "true",
    ]
    return head, [
        [
            r["arm"],
            r["logger"],
            *(interval(r[key]) for key in ("ips", "snips", "dm", "dr")),
            number(float(round(r["effective_n"]))),
            number(r["tested"]),
            number(r["true"]),
        ]
        for r in results["off_policy"]["rows"]
    ]


def short_off_policy_rows(results: dict[str, Any]) -> tuple[list[str], Rows]:
    """The doubly robust estimate alone, in the width of a terminal."""
    head, rows = off_policy_rows(results)
    keep = [
        head.index(name) for name in ("contender", "log of", "doubly robust", "in the test", "true")
    ]
    return [head[i] for i in keep], [[row[i] for i in keep] for row in rows]


def look_rows(results: dict[str, Any]) -> tuple[list[str], Rows]:
    """The sequential test, look by look."""
    head = [
        "day",
        "contender",
        "lift so far",
        "interval that holds for all looks",
        "z",
        "bound",
        "crossed",
    ]
    return head, [
        [
            str(k["day"]),
            row["arm"],
            percent(k["lift"]),
            f"{percent(k['low'])} to {percent(k['high'])}",
            number(k["z"]),
            number(k["bound"]),
            "yes" if k["crossed"] else "no",
        ]
        for row in results["monitor"]
        for k in row["looks"]
    ]


def short_rows(results: dict[str, Any]) -> tuple[list[str], Rows]:
    """The main table without what only the page has room for."""
    rows = results["effects"]["rows"]
    several = len({row["arm"] for row in rows}) > 1
    has_truth = any(row["true_lift"] is not None for row in rows)
    head = [
        *(["contender"] if several else []),
        "metric",
        "control",
        "contender" if not several else "mean",
    ]
    head += ["lift [%]", "95 % interval", "adj. p", *(["true [%]"] if has_truth else [])]
    body = []
    for row in rows:
        name = METRICS[row["metric"]].label + (" ★" if row["role"] == "primary" else "")
        line = [
            *([row["arm"]] if several else []),
            name,
            number(row["control_mean"]),
            number(row["treatment_mean"]),
        ]
        line += [
            _bare(row["lift"]),
            f"{_bare(row['low'])} to {_bare(row['high'])}",
            pvalue(row["pvalue_adjusted"]),
        ]
        body.append(line + ([_bare(row["true_lift"])] if has_truth else []))
    return head, body


def _bare(x: float | None) -> str:
    return percent(x).removesuffix(" %")
