"""What an evaluation found, as tables, Markdown, JSON and a picture."""

import shlex
from dataclasses import asdict
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from gptrec.offline.bootstrap import over_seeds, two_way_bootstrap
from gptrec.offline.leave_one_out import CUTS, LeaveOneOut
from policies.common.files import load_arrays, save_json, save_text
from policies.common.tables import Table, in_markdown, wide_console
from policies.draws import generator
from policies.neural.next_items import gains

COLUMNS = [f"{name}@{k}" for name in ("hr", "ndcg") for k in CUTS]


def summary(
    records: list[dict[str, Any]], out: Path, against: str | None, pairs: list[tuple[str, str]]
) -> dict[str, Any]:
    """Every number of the evaluation.

    Args:
        records: of the trials, as `trials.run` gives them.
        against: label that the others are compared with, unless it was not run.
        pairs: further comparisons, (a, b) for a minus b.
    """
    labels = list(dict.fromkeys(record["label"] for record in records))
    models = {label: _model([r for r in records if r["label"] == label]) for label in labels}
    wanted = [
        (label, against) for label in labels if against in labels and label != against
    ] + pairs
    per_user = {label: _gains([r for r in records if r["label"] == label], out) for label in labels}
    differences = []
    for a, b in wanted:
        if a in labels and b in labels and b is not None:
            bootstrapped = two_way_bootstrap(per_user[a], per_user[b], generator("two-way", a, b))
            differences.append({"a": a, "b": b, "metric": "ndcg@10", **asdict(bootstrapped)})
    several = [
        r for r in records if r.get("interests") and not r["interests"]["chosen"].startswith("1 ")
    ]
    for label in dict.fromkeys(r["label"] for r in several):
        mine = [r for r in several if r["label"] == label]
        # The same weights on both sides: one difference per user and seed, against nothing.
        more = _gains(mine, out, cut=20) - _gains(mine, out, "one_interest", 20)
        bootstrapped = two_way_bootstrap(more, None, generator("interests", label))
        differences.append(
            {
                "a": label,
                "b": "itself with one interest",
                "metric": "ndcg@20",
                **asdict(bootstrapped),
            }
        )
    return {"models": models, "differences": differences}


def _model(records: list[dict[str, Any]]) -> dict[str, Any]:
    figures: dict[str, Any] = {"seeds": len(records)}
    for part in ("valid", "test"):
        for name in COLUMNS:
            mean, low, high = over_seeds(np.array([r[part][name] for r in records]))
            figures[f"{part} {name}"] = {"mean": mean, "low": low, "high": high}
    for name in ("train_seconds", "seconds", "users_per_second", "peak_mib"):
        figures[name] = float(np.median([r[name] for r in records]))
    figures["curves"] = [r["curve"] for r in records]
    figures["interests"] = [r["interests"]["chosen"] for r in records if "interests" in r]
    figures["steps"] = records[0]["task"]["steps"]
    return figures


def _gains(
    records: list[dict[str, Any]], out: Path, part: str = "test", cut: int = 10
) -> np.ndarray:
    """(seeds, users) NDCG of the test part."""
    files = [out / "trials" / f"{r['file']}.safetensors" for r in records]
    return np.stack([gains(load_arrays(file)[part], cut) for file in files])


def number(value: float, digits: int = 4) -> str:
    text = f"{value:.{digits}f}"
    return text.replace("0.", ".", 1) if abs(value) < 1 else text


def main_table(figures: dict[str, Any]) -> Table:
    """Test figures, mean over seeds, with the interval of NDCG@10."""
    head = ["model", "seeds", *(name.upper() for name in COLUMNS), "NDCG@10, 95 % over seeds"]
    head += ["valid NDCG@10", "training [s]", "users/s", "memory [MiB]"]
    body = []
    for label, m in figures["models"].items():
        ci = m["test ndcg@10"]
        known = not np.isnan(ci["low"])
        spread = f"{number(ci['low'])} to {number(ci['high'])}" if known else "one seed"
        line = [label, str(m["seeds"]), *(number(m[f"test {name}"]["mean"]) for name in COLUMNS)]
        line += [spread, number(m["valid ndcg@10"]["mean"]), f"{m['train_seconds']:.0f}"]
        body.append([*line, f"{m['users_per_second']:.0f}", f"{m['peak_mib']:.0f}"])
    return Table(head, body)


def sentence(d: dict[str, Any]) -> str:
    """A difference in words."""
    share = (
        f"users alone {number(d['sd_users'], 5)}, training seeds alone {number(d['sd_seeds'], 5)}"
    )
    if np.isnan(d["sd_seeds"]):
        share = f"users alone {number(d['sd_users'], 5)}, training seeds unknown with one seed"
    verdict = "better" if d["low"] > 0 else "worse" if d["high"] < 0 else "no difference shown"
    return (
        f"{d['a']} minus {d['b']}, test {d['metric'].upper()}: {d['mean']:+.4f} (95 %"
        f" {d['low']:+.4f} to {d['high']:+.4f}; {verdict}). Standard errors: {share}. n ="
        f" {d['n_users']} users, {d['n_seeds'][0]} and {d['n_seeds'][1]} seeds."
    )


def show(figures: dict[str, Any]) -> None:
    """The table and the differences, in the terminal."""
    main_table(figures).print()
    for difference in figures["differences"]:
        wide_console().print(sentence(difference), highlight=False)


def write(figures: dict[str, Any], split: LeaveOneOut, words: list[str], out: Path) -> None:
    """results.json, results.md and quality.png."""
    save_json(out / "results.json", figures)
    parts = [
        f"# Offline evaluation on {split.name}",
        f"{split.n_users} users, {split.n_items} items, {len(split.train.items)} clicks for"
        " training; leave one out, all items ranked, history excluded:"
        f" {split.repeated()} of {len(split.users)} test targets stand in their own history and"
        " count as misses. Weights and interests chosen on validation; test means over seeds.",
        f"`python -m gptrec.evaluate {shlex.join(words)}`",
        main_table(figures).markdown(),
        "\n".join(f"- {sentence(difference)}" for difference in figures["differences"]),
        "\n".join(f"- {in_markdown(note)}" for note in split.notes),
        "![validation NDCG@10 against training time](quality.png)",
    ]
    save_text(out / "results.md", "\n\n".join(part for part in parts if part) + "\n")
    picture(figures, split).savefig(out / "quality.png", dpi=120)


def picture(figures: dict[str, Any], split: LeaveOneOut) -> Figure:
    """Validation NDCG@10 against seconds of training, a thin line per seed."""
    figure = Figure(figsize=(7.5, 4.5), layout="constrained")
    axes = figure.subplots()
    colours = matplotlib.color_sequences["tab10"]
    for i, (label, model) in enumerate(figures["models"].items()):
        colour = colours[i % len(colours)]
        drawn = False
        for curve in model["curves"]:
            if curve:
                x, y = np.array(curve).T
                axes.plot(x, y, color=colour, alpha=0.8, lw=1.2, label=None if drawn else label)
                drawn = True
        if not drawn:
            axes.axhline(
                model["valid ndcg@10"]["mean"],
                color=colour,
                ls="--",
                lw=1,
                label=f"{label} (no steps)",
            )
    axes.set(
        xlabel="training [s], validation not counted",
        ylabel="validation NDCG@10",
        ylim=(0, None),
        xlim=(0, None),
    )
    axes.set_title(f"Quality against training time, {split.name}: one line per seed")
    axes.grid(alpha=0.25)
    axes.legend(frameon=False, fontsize=8, loc="lower right")
    return figure
