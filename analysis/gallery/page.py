"""Runs side by side: one page over the runs of a folder, with what they differ in and what came
out.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from analysis.errors import AnalysisError
from analysis.reporting.templates import template
from policies.common.files import save_text
from policies.common.tables import Table, interval, signed

INDEX = "index.html"
OURS = "<title>Runs in "  # stands in every such page
NOT_COMPARED = ("seed",)  # shown, though it says nothing of what was asked


@dataclass(frozen=True)
class Listed:
    """A judged run.

    Attributes:
        told: its `results.json`.
    """

    path: Path
    told: dict[str, Any]

    @property
    def settings(self) -> dict[str, Any]:
        """Those of the experiment; none of a live test."""
        return self.told["manifest"].get("experiment") or {}

    @property
    def red(self) -> list[str]:
        return [light["name"] for light in self.told["lights"] if light["colour"] == "red"]

    @property
    def verdicts(self) -> list[str]:
        return self.told["verdicts"] or self.told["true_verdicts"]

    @property
    def lifts(self) -> list[dict[str, Any]]:
        """Of the primary metric; of a twin run the true ones."""
        primary = self.told["primary"]
        rows = self.told["effects"]["rows"] or self.told["true_effects"]["rows"]
        return [row for row in rows if row["metric"] == primary]


def listed_in(folder: Path) -> tuple[list[Listed], list[str]]:
    """The judged runs right below a folder, the latest first, and the names of what could not be
    read.

    Raises:
        AnalysisError: there is no such folder, or no judged run in it.
    """
    if not folder.is_dir():
        raise AnalysisError(f"--index '{folder}': there is no such folder")
    found, damaged = [], []
    for path in sorted(folder.glob("*/results.json")):
        try:
            told = json.loads(path.read_text(encoding="utf-8"))
            if isinstance(told, dict) and not told.keys() & {"verdicts", "lights"}:
                continue  # of something else, models offline say
            one = Listed(path.parent, told)
            _ = one.red, one.verdicts, one.settings.keys(), told["title"], lift_table([one])
        except (ValueError, KeyError, TypeError, AttributeError):
            damaged.append(path.parent.name)
            continue
        found.append(one)
    if not found:
        raise AnalysisError(f"--index '{folder}': it holds no run with a report")
    found.sort(key=lambda run: (run.path / "results.json").stat().st_mtime, reverse=True)
    return found, damaged


def unfinished_in(folder: Path) -> list[str]:
    """The runs right below a folder that began and have no report."""
    begun = (path.parent for path in sorted(folder.glob("*/manifest.json")))
    return [path.name for path in begun if not (path / "results.json").exists()]


def differing(runs: list[Listed]) -> list[str]:
    """The settings in which these runs differ, in their order."""
    names = dict.fromkeys(name for run in runs for name in run.settings)
    return [
        name
        for name in names
        if len({json.dumps(run.settings.get(name), sort_keys=True) for run in runs if run.settings})
        > 1
    ]


def lift_table(runs: list[Listed]) -> Table:
    """One row per run and contender."""
    rows = [
        (
            run.path.name + ("" if run.settings else " (live test)"),
            row["arm"],
            row["control"],
            signed(row["lift"]) if row.get("lift") is not None else "–",
            interval(row["low"], row["high"]) if row.get("low") is not None else "–",
            signed(row["true_lift"]) if row.get("true_lift") is not None else "–",
            ", ".join([*(["incomplete run"] if run.told.get("partial") else []), *run.red])
            or "none",
        )
        for run in runs
        for row in run.lifts
    ]
    head = ("run", "contender", "control", "lift", "95 % interval", "true lift", "red lights")
    return Table(head, rows, text=3)


def settings_table(runs: list[Listed]) -> Table | None:
    """The settings in which they differ; None where there is nothing to compare."""
    names = differing(runs)
    if not names:
        return None
    rows = [(run.path.name, *(_word(run.settings.get(name)) for name in names)) for run in runs]
    return Table(("run", *names), rows, text=1 + len(names))


def _word(value: Any) -> str:
    if value is None:
        return "–"
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def write_gallery(folder: Path) -> tuple[Path, list[str]]:
    """Writes `index.html` into a folder of runs; its path, and what could not be read.

    Raises:
        AnalysisError: there is nothing to show.
    """
    runs, damaged = listed_in(folder)
    path = folder / INDEX
    if path.exists() and OURS not in path.read_text(encoding="utf-8", errors="replace"):
        raise AnalysisError(f"'{path}' is a page of somebody else; move it away first")
    settings = settings_table(runs)
    page = template("gallery.html.jinja", Path(__file__).parent).render(
        folder=folder.resolve().name,
        runs=[
            {
                "name": run.path.name,
                "link": f"{quote(run.path.name)}/report.html",
                "title": run.told["title"],
                "red": run.red,
                "partial": bool(run.told.get("partial")),
                "verdicts": run.verdicts,
            }
            for run in runs
        ],
        lifts=lift_table(runs).html(),
        settings=settings.html() if settings is not None else "",
        damaged=", ".join(damaged),
        unfinished=", ".join(unfinished_in(folder)),
    )
    save_text(path, page)
    return path, damaged
