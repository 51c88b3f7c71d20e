"""A report in a notebook: its first screen, and its figures as objects of matplotlib."""

import base64
from collections.abc import Callable
from html import escape
from typing import Any

from analysis.reporting.content import Report
from analysis.reporting.figures import Picture, forest
from analysis.reporting.figures_by_round import round_figures
from analysis.reporting.figures_over_time import over_time_figures
from analysis.reporting.lights import alarms
from analysis.reporting.markdown import main_table
from analysis.reporting.sentences import not_compared


class Pictures(dict[str, Picture]):
    """Figures by name, shown one after the other. In place of a folder it keeps what would be
    saved.
    """

    def __truediv__(self, name: str) -> Callable[[Picture], None]:
        def keep(made: Picture) -> None:
            self[name.removesuffix(".png")] = made

        return keep

    def _repr_html_(self) -> str:
        return "".join(map(_image, self.values()))


def _image(picture: Picture) -> str:
    data = base64.b64encode(picture._repr_png_()).decode()
    return f'<img alt="" style="max-width: 34em" src="data:image/png;base64,{data}">'


class Plots:
    """The figures of a report."""

    def __init__(self, report: Report):
        self._report = report

    def forest(self) -> Picture:
        """Lift, interval and, where it is known, the truth of every metric and contender."""
        album: Any = Pictures()
        forest(self._report.judgement, album / "forest")
        return next(iter(album.values()))

    def over_time(self) -> Pictures:
        """The effect as it grows day by day; empty where nobody was split."""
        album: Any = Pictures()
        over_time_figures(self._report, album)
        return Pictures(album)

    def loop(self) -> Pictures:
        """Click rate, concentration, variety, ... by round; empty for a live test."""
        album: Any = Pictures()
        round_figures(self._report, album)
        return Pictures(album)


def first_lines(report: Report) -> list[str]:
    """Alarms and verdicts, as the page begins; why there is no verdict where there is none."""
    alone = not_compared(report.judgement.test) if report.simulation is not None else []
    return [*alarms(report.lights), *(report.all_verdicts or alone)]


def first_screen(report: Report) -> str:
    """Verdict, lights, the table of effects and the forest plot, as HTML."""
    colours = {"green": "#2a7f4f", "amber": "#a86a00", "red": "#b3261e"}
    dots = [f'<span style="color: {colours[x.colour]}">●</span>' for x in report.lights]
    parts = [f"<p><strong>{escape(line)}</strong></p>" for line in first_lines(report)]
    parts += [
        f"<div>{dot} {escape(light.name)}: {escape(light.text)}.</div>"
        for dot, light in zip(dots, report.lights, strict=True)
    ]
    table = main_table(report)
    parts += [] if table is None else [table.html()]
    if any(effect.known for effect in report.judgement.effects):
        parts.append(_image(Plots(report).forest()))
    return "".join(parts)
