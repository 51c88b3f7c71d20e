"""The four kinds of files of a report: `report.html`, `report.md`, `results.json`, `figures/`."""

import base64
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from importlib.metadata import version
from pathlib import Path
from typing import Any

from analysis.data.live_log import open_log
from analysis.data.live_source import LiveLog
from analysis.data.run import Run, open_run
from analysis.metrics import METRICS, Metrics
from analysis.reporting.content import Report
from analysis.reporting.figures import advantage_bars, forest, segment_forest
from analysis.reporting.figures_by_round import lorenz_figure, round_figures
from analysis.reporting.figures_over_time import over_time_figures
from analysis.reporting.markdown import markdown
from analysis.reporting.offline import offline_slopes
from analysis.reporting.page import Figure, html
from analysis.reporting.sentences import counted
from analysis.results.results import judge_run, judge_test
from policies.common.files import save_json, save_text
from policies.common.folders import new_folder, one_writer
from policies.common.manifests import COMPLETE, WORLDS_DONE

SOFTWARE = ("duckdb", "numpy", "scipy", "statsmodels", "tea-tasting")


def write(path: str | Path, partial: bool = False, metrics: Metrics | None = None) -> Report:
    """Judges the run at `path` and writes the files into it.

    Args:
        metrics: by default the built-in ones and those of entry points.
    """
    with one_writer(Path(path)) if Path(path).is_dir() else nullcontext():
        run = open_run(path, partial, metrics)
        incomplete = run.manifest["status"] not in WORLDS_DONE
        manifest = run.manifest if incomplete else run.manifest | {"status": COMPLETE}
        report = Report.of(*judge_run(run), manifest, title_of(run), incomplete)
        with _figures(run.path) as folder:
            captions = _common_figures(report, folder)
            captions |= round_figures(report, folder)
            captions["lorenz"] = lorenz_figure(run, folder / "lorenz.png")
            told = [] if report.simulation is None else report.simulation.offline
            if sum(row.ndcg10 is not None for row in told) > 1:
                arms = list(report.judgement.test.arms)
                captions["offline"] = offline_slopes(told, arms, folder / "offline.png")
            if parts := run.manifest.get("advantage"):
                captions["advantage"] = advantage_bars(parts, folder / "advantage.png")
            _write_files(report, captions, folder, run.path)
    return report


def write_log(source: LiveLog, out: Path, command: str, metrics: Metrics = METRICS) -> Report:
    """Judges a live log and writes the files into the folder `out`, which is made."""
    with open_log(source, metrics) as test:
        judgement = judge_test(test)
        manifest: dict[str, Any] = {
            "control": test.control,
            "contenders": test.contenders,
            "command": command,
            "experiment": None,
            "notes": [],
            "versions": {name: version(name) for name in SOFTWARE},
        }
        title = (
            f"{' against '.join(test.arms)}: {len(test.users)} users, {test.days} days, log"
            f" {source.impressions.name}"
        )
        report = Report.of(judgement, None, manifest, title)
        with new_folder(out), _figures(out) as folder:
            _write_files(report, _common_figures(report, folder), folder, out)
    return report


def title_of(run: Run) -> str:
    settings = run.settings
    length = f"{counted(settings['days'], 'day')}, {counted(settings['rounds'], 'round')}"
    log = run.manifest.get("log_name", settings["log"])
    return (
        f"{' against '.join(settings['policies'])}: {settings['users']} users, {length}, log {log}"
    )


def _common_figures(report: Report, folder: Path) -> dict[str, str]:
    """Those that every experiment has; name -> caption."""
    judgement, captions = report.judgement, {}
    if any(effect.known for effect in judgement.effects):
        captions["forest"] = forest(judgement, folder / "forest.png")
    captions |= over_time_figures(report, folder)
    caption = segment_forest(judgement, folder / "segments.png")
    return captions | ({"segments": caption} if caption is not None else {})


@contextmanager
def _figures(out: Path) -> Iterator[Path]:
    """A folder for pictures, which becomes `figures` once the report is written."""
    beside = out / "figures.part"
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir()
    try:
        yield beside
        shutil.rmtree(out / "figures", ignore_errors=True)
        beside.rename(out / "figures")
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def as_figure(picture: Path, caption: str) -> Figure:
    """A picture in a page.

    Args:
        picture: the PNG; the SVG beside it is what the page shows.
    """
    data = base64.b64encode(picture.with_suffix(".svg").read_bytes()).decode()
    return Figure(caption, f"data:image/svg+xml;base64,{data}")


def _write_files(report: Report, captions: dict[str, str], pictures: Path, out: Path) -> None:
    """All three are made before the first is written, each whole or not at all."""
    figures = {name: as_figure(pictures / f"{name}.png", text) for name, text in captions.items()}
    numbers, text, page = report.as_json(), markdown(report), html(report, figures)
    save_json(out / "results.json", numbers)
    save_text(out / "report.md", text)
    save_text(out / "report.html", page)
