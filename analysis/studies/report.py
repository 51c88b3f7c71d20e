"""A study as a table, a picture and a sentence; `study.json`, `study.md`, `study.png`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console

from analysis.metrics import load_metrics
from analysis.reporting.figures import HUES, figure
from analysis.studies.judgement import (
    Coverage,
    CupedCheck,
    FalsePositives,
    Power,
    Rate,
    as_json,
)
from analysis.studies.over_worlds import (
    BiasClaim,
    Biases,
    PolicyClaim,
    Replicates,
    WorldBias,
    WorldMean,
)
from analysis.studies.peeking import Peeking, PeekingRate
from policies.common.files import save_json, save_text
from policies.common.tables import Table, interval, percent

Study = FalsePositives | Power | Coverage | Peeking | Replicates | Biases
TITLES = {
    "aa": "False positives of an A/A test",
    "power": "How often a known effect is found, and when",
    "coverage": "How often the 95 % interval covers the true effect",
    "peeking": "Error rates and power of looking every day, on made-up data",
    "bias": "What the estimate misses where arms retrain",
    "replicate": "The claim about the policy: whole worlds run again",
}
METHODS = {
    "fixed": "at the end",
    "cuped": "at the end, CUPED",
    "obrien_fleming": "every day, O'Brien-Fleming spending",
    "pocock": "every day, Pocock spending",
    "cs": "every day, confidence sequence",
    "every_day": "every day, uncorrected",
    "session": "sessions taken as independent",
}
SHORT = {
    "fixed": "end",
    "cuped": "CUPED",
    "obrien_fleming": "OBF",
    "pocock": "Pocock",
    "cs": "CS",
    "every_day": "naive",
}


def write(study: Study, command: str, out: Path) -> None:
    """The three files, into an existing folder."""
    save_json(out / "study.json", as_json(study))
    parts = [f"# {TITLES[study.study]}", *sentences(study)]
    parts += [table.markdown() for table in tables(study)]
    parts.append(f"```\n{command}\n```")
    save_text(out / "study.md", "\n\n".join(parts) + "\n")
    if isinstance(study, Replicates | Biases):
        _draw_worlds(study, out / "study.png")
    else:
        _draw_rates(study, out / "study.png")


def show_study(study: Study) -> None:
    """The same on the screen."""
    short = isinstance(study, FalsePositives | Power | Peeking)
    for table in [pivot(study)] if short else tables(study):
        table.print()
    for sentence in sentences(study):
        Console().print(sentence, style="bold", highlight=False)


# -- tables ----------------------------------------------------------------------------------------


def pivot(study: Any) -> Table:
    """Rates only, a line per metric and a column per method, so that they fit a screen."""
    methods = list(dict.fromkeys(row.rate.method for row in study.rows))
    by = {(_line(row), row.rate.method): row.rate for row in study.rows}
    body = []
    for line in dict.fromkeys(_line(row) for row in study.rows):
        rates = [by.get((line, method)) for method in methods]
        body.append([_label(line), *map(_marked, rates)])
    what = "share found" if isinstance(study, Power) else "share rejected"
    return Table([what, *(SHORT.get(method, method) for method in methods)], body)


def _marked(rate: Rate | None) -> str:
    if rate is None:
        return ""
    return f"{rate.rate:.3f}" + ("!" if rate.inside is False else "")


def _line(row: Any) -> str:
    """What a line of the pivot is about."""
    if not isinstance(row, PeekingRate):
        return str(row.metric)
    effect = ", effect" if row.effect else ""
    return f"{row.kind}{effect}{', by days' if row.correlation == 'days' else ''}"


def _label(name: str) -> str:
    metrics = load_metrics()
    return metrics[name].label if name in metrics else name


def _rate(rate: Rate) -> list[str]:
    return [f"{rate.rate:.4f}", f"{rate.low:.4f} to {rate.high:.4f}"]


def _band(rate: Rate) -> list[str]:
    if rate.band is None:
        return ["a warning", ""]
    low, high = rate.band
    return [f"{low:.4f} to {high:.4f}", "inside" if rate.inside else "OUTSIDE"]


def tables(study: Study) -> list[Table]:
    """Every table of a study."""
    return _TABLES[type(study)](study)


def _false_positives(study: FalsePositives) -> list[Table]:
    head = ("metric", "method", "rejected", "95 % interval", "band of chance", "")
    body = [
        [_label(r.metric), METHODS[r.rate.method], *_rate(r.rate), *_band(r.rate)]
        for r in study.rows
    ]
    return [Table(head, body, text=2), _cuped(study.cuped)]


def _cuped(checks: list[CupedCheck]) -> Table:
    head = (
        "metric",
        "variance saved by CUPED",
        "variance over the salts, with over without",
        "mean lift",
        "true lift",
        "bias in s.e.",
    )
    body = []
    for c in checks:
        line = [_label(c.metric), percent(c.saved), f"{c.variance_ratio:.3f}"]
        line += [percent(c.mean_lift, 3), percent(c.true_lift, 3), f"{c.bias_in_errors:+.1f}"]
        body.append(line)
    return Table(head, body)


def _power(study: Power) -> list[Table]:
    head = ("metric", "method", "true lift", "found", "95 % interval", "mean day of the end")
    body = [
        [_label(r.metric), METHODS[r.rate.method], percent(r.true_lift), *_rate(r.rate),
         f"{r.mean_day:.1f}"]
        for r in study.rows
    ]  # fmt: skip
    return [Table(head, body, text=2), _cuped(study.cuped)]


def _coverage(study: Coverage) -> list[Table]:
    head = ["metric", "method", "true lift", "covers the population's", "95 % interval"]
    head += ["band of chance", "", "covers these users'", "rho", "expected"]
    body = []
    for r in study.rows:
        line = [_label(r.metric), METHODS[r.rate.method], percent(r.true_lift), *_rate(r.rate)]
        line += [*_band(r.rate), f"{r.of_these_users.rate:.4f}", f"{r.rho:.2f}"]
        body.append([*line, f"{r.expected_of_these_users:.4f}"])
    return [Table(head, body, text=2)]


def _peeking(study: Peeking) -> list[Table]:
    head = ("data", "method", "looks' correlation", "effect", "rejected", "95 % interval")
    body = []
    for r in study.rows:
        effect = "none" if r.effect == 0 else "found by .80 at the end"
        line = [r.kind, METHODS[r.method], r.correlation, effect, *_rate(r.rate)]
        body.append([*line, f"{r.mean_day:.1f}"])
    return [Table((*head, "mean day of the end"), body, text=4)]


def _bias(study: Biases) -> list[Table]:
    head = ("run", "contender", "estimate, own rows", "estimate, all rows")
    body = [
        [r.run, r.arm, *map(percent, (r.own, r.all, r.read_out, r.true_lift))] for r in study.rows
    ]
    return [Table((*head, "same buckets in the global worlds", "true effect"), body, text=2)]


def _replicate(study: Replicates) -> list[Table]:
    head = ("run", "contender", "estimate", "95 % interval", "true effect")
    body = [
        [r.run, r.arm, percent(r.lift), interval(r.low, r.high), percent(r.true_lift)]
        for r in study.rows
    ]
    return [Table(head, body, text=2)]


_TABLES: dict[type, Callable[[Any], list[Table]]] = {
    FalsePositives: _false_positives,
    Power: _power,
    Coverage: _coverage,
    Peeking: _peeking,
    Replicates: _replicate,
    Biases: _bias,
}

# -- sentences -------------------------------------------------------------------------------------


def sentences(study: Study) -> list[str]:
    """What a study says, in words."""
    if isinstance(study, FalsePositives):
        return [_said_of_false_positives(study)]
    if isinstance(study, Power):
        return [
            f"{study.arm} against {study.control}, {study.salts} splits of the same"
            f" {study.users} users: the effect is the same in all, what changes is who sees what."
        ]
    if isinstance(study, Coverage):
        missed = sum(not row.rate.inside for row in study.rows)
        return [
            f"{study.replicates} replicates of {study.users} fresh users, truth from"
            f" {study.truth_users} others: {len(study.rows) - missed} of {len(study.rows)}"
            " intervals cover the population's effect as they say (99.9 % band, Bonferroni)."
        ]
    if isinstance(study, Biases):
        return [_said_of_bias(claim, study.label) for claim in study.claims]
    if isinstance(study, Replicates):
        return [_said_of_policy(claim, study.label) for claim in study.claims]
    return [
        f"{study.runs} runs, {study.looks} looks each. 'Measured' takes the looks' correlation from"
        " the users, 'days' from the calendar."
    ]


def _said_of_false_positives(study: FalsePositives) -> str:
    judged = [row for row in study.rows if row.rate.inside is not None]
    outside = [
        f"{_label(row.metric)}, {METHODS[row.rate.method]}" for row in judged if not row.rate.inside
    ]
    said = f"all {len(judged)} cells lie"
    if outside:
        said = f"{len(judged) - len(outside)} of {len(judged)} cells lie"
    return (
        f"{study.salts} salts over {study.users} users and {study.days} days: {said} in the 99.9 %"
        f" band of chance (Bonferroni over {study.cells} cells; the confidence sequence has only to"
        f" stay below){_outside(outside)}."
    )


def _outside(cells: list[str]) -> str:
    return f"; outside: {'; '.join(cells)}" if cells else ""


def _said_of_policy(c: PolicyClaim, metric: str) -> str:
    return (
        f"{c.arm} against {c.control} on {metric} over {c.worlds} worlds: the true effect is"
        f" {_with_interval(c.truth)}, its standard deviation between worlds"
        f" {percent(c.sd_between_worlds)}; the estimate's bias is {_with_interval(c.bias)}, the"
        f" interval covered in {c.covered}, the sign was wrong in {c.wrong_sign}."
    )


def _with_interval(x: WorldMean) -> str:
    return f"{percent(x.mean)} ({interval(x.low, x.high)})"


def _said_of_bias(c: BiasClaim, metric: str) -> str:
    return (
        f"{c.arm} against {c.control} on {metric} over {c.worlds} worlds: the true effect is"
        f" {_with_interval(c.truth)}. Who is in which bucket moves the estimate by"
        f" {_with_interval(c.chance)} (chance). Given the buckets, arms that learn from their own"
        f" rows miss it by {_with_interval(c.volume)} (data volume); learning from all rows adds"
        f" {_with_interval(c.sharing)} (sharing), together {_with_interval(c.both)}. The sign was"
        f" wrong in {c.wrong_sign.own} and {c.wrong_sign.all}."
    )


# -- pictures --------------------------------------------------------------------------------------

AXES = {
    "power": "share of splits that find the effect",
    "coverage": "share of intervals that cover",
}
NOMINAL = {"aa": 0.05, "peeking": 0.05, "coverage": 0.95}


def _draw_rates(study: Any, path: Path) -> None:
    """Rates with their intervals, a line per metric or kind of data."""
    groups = list(dict.fromkeys(_group(row) for row in study.rows))
    methods = list(dict.fromkeys(row.rate.method for row in study.rows))
    with figure(path, (7.6, 1.6 + 0.55 * len(groups))) as (made, axis):
        for place, method in enumerate(methods):
            own = [row for row in study.rows if row.rate.method == method and _drawn(row)]
            shift = 0.11 * (place - len(methods) / 2)
            height = [-groups.index(_group(row)) - shift for row in own]
            x = [row.rate.rate for row in own]
            below = [max(row.rate.rate - row.rate.low, 0) for row in own]
            above = [max(row.rate.high - row.rate.rate, 0) for row in own]
            looks: dict[str, Any] = {"fmt": "o", "ms": 4, "color": HUES[place % len(HUES)]}
            axis.errorbar(x, height, xerr=[below, above], label=METHODS[method], **looks)
        if study.study in NOMINAL:
            axis.axvline(NOMINAL[study.study], color="black", lw=0.9)
        axis.set_yticks(range(0, -len(groups), -1), [_label(group) for group in groups])
        axis.set_xlabel(AXES.get(study.study, "share rejected without an effect"))
        axis.set_title(TITLES[study.study])
        made.legend(loc="outside lower center", ncols=2, fontsize=9)


def _group(row: Any) -> str:
    return str(row.kind if isinstance(row, PeekingRate) else row.metric)


def _drawn(row: Any) -> bool:
    return not isinstance(row, PeekingRate) or (row.effect == 0 and row.correlation == "measured")


def _draw_worlds(study: Replicates | Biases, path: Path) -> None:
    """Effects per world, and what is true in it."""
    rows: list[Any] = list(study.rows)
    arms = list(dict.fromkeys(row.arm for row in rows))
    places = range(0, -len(rows), -1)
    with figure(path, (7.2, 1.6 + 0.26 * len(rows))) as (_, axis):
        for y, row in zip(places, rows, strict=True):
            colour = HUES[arms.index(row.arm) % len(HUES)]
            if isinstance(row, WorldBias):
                axis.plot(100 * row.own, y, "o", color=colour, ms=6)
                axis.plot(100 * row.all, y, "s", mfc="white", mec=colour, ms=6)
            else:
                axis.plot([100 * row.low, 100 * row.high], [y, y], color=colour, lw=2)
                axis.plot(100 * row.lift, y, "o", color=colour, ms=6)
            if row.true_lift is not None:
                axis.plot(100 * row.true_lift, y, "D", mfc="white", mec="black", ms=6)
        axis.axvline(0, color="black", lw=0.9)
        axis.set_yticks(places, [f"{row.run} {row.arm}" for row in rows], fontsize=8)
        more = "; squares: learning from all rows" if isinstance(study, Biases) else ""
        axis.set_xlabel(f"lift on {study.label} [%]; diamonds: the true effect{more}")
        axis.set_title(TITLES[study.study])
