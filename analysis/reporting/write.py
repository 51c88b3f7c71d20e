"""The four kinds of files of a report."""

import base64
import json
import math
import shutil
from importlib.metadata import version
from pathlib import Path
from typing import Any

from analysis import metrics
from analysis.data.live_log import Source, open_log
from analysis.data.run import open_run
from analysis.reporting import figures as plots
from analysis.reporting import figures_by_round
from analysis.reporting import figures_over_time as plots_trial
from analysis.reporting.page import html, markdown
from analysis.reporting.sentences import (
    counted,
    lights,
)
from analysis.reporting.tables import (
    finite,
)
from analysis.results.results import compute, judged


def write(path: str | Path, partial: bool = False) -> dict[str, Any]:
    """Judges the run at `path`, writes the four kinds of files into it, returns the results."""
    metrics.load()
    run = open_run(path, partial)
    results = compute(run)
    results["partial"] = run.manifest["status"] != "complete"
    results["title"] = title_of(run.manifest)
    captions = _figures(results, run.arms, run.path / "figures")
    captions |= figures_by_round.rounds(results, run.arms, run.path / "figures")
    captions["lorenz"] = figures_by_round.lorenz_curves(run, run.path / "figures" / "lorenz.png")
    return _written(results, captions, run.path)


def write_log(source: Source, out: Path, command: str) -> dict[str, Any]:
    """Judges a live log and writes the four kinds of files into the folder `out`, which is made."""
    with open_log(source) as trial:
        results = judged(trial, {})
        results |= {"partial": False, "users": {}, "rounds": None, "top_items": None}
        sizes = len(trial.users)
        results["title"] = (
            f"{' against '.join(trial.arms)}: {sizes} users, {trial.days} days, log"
            f" {source.path.name}"
        )
        results["manifest"] = {
            "control": trial.control,
            "contenders": trial.contenders,
            "command": command,
            "experiment": None,
            "notes": [],
            "versions": {
                name: version(name)
                for name in ("duckdb", "numpy", "scipy", "statsmodels", "tea-tasting")
            },
        }
        results["lights"] = lights(results)
        out.mkdir(parents=True)
        try:
            return _written(results, _figures(results, trial.arms, out / "figures"), out)
        except BaseException:
            shutil.rmtree(out, ignore_errors=True)  # half a report is none
            raise


def _written(results: dict[str, Any], captions: dict[str, str], out: Path) -> dict[str, Any]:
    figures = {
        name: {
            "caption": caption,
            "data": (
                "data:image/png;base64,"
                + base64.b64encode((out / "figures" / f"{name}.png").read_bytes()).decode()
            ),
        }
        for name, caption in captions.items()
    }
    (out / "results.json").write_text(
        json.dumps(finite(results), indent=1) + "\n", encoding="utf-8"
    )
    (out / "report.md").write_text(markdown(results), encoding="utf-8")
    (out / "report.html").write_text(html(results, figures), encoding="utf-8")
    return results


def _figures(results: dict[str, Any], arms: list[str], folder: Path) -> dict[str, str]:
    """Those that every experiment has; name -> caption."""
    folder.mkdir(exist_ok=True)
    captions = {}
    if any(
        row["lift"] is not None and math.isfinite(row["lift"]) for row in results["effects"]["rows"]
    ):
        captions["forest"] = plots.forest(results, arms, folder / "forest.png")
    captions |= plots_trial.over_time(results, arms, folder)
    caption = plots.segments(results, arms, folder / "segments.png")
    return captions | ({"segments": caption} if caption is not None else {})


def title_of(manifest: dict[str, Any]) -> str:
    e = manifest["experiment"]
    log = manifest.get("log_name", e["log"])
    length = f"{counted(e['days'], 'day')}, {counted(e['rounds'], 'round')}"
    return f"{' against '.join(e['policies'])}: {e['users']} users, {length}, log {log}"
