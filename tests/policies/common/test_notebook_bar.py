"""Progress in a notebook: shown by default there alone, escaped, drawn again in its cell."""

import sys
from types import SimpleNamespace
from typing import Any

import pytest

from policies.common.notebook_bar import NotebookBar, in_notebook
from simulator.experiment.progress import Progress


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Pages that a notebook would show, the first of them new and the others in its place."""
    pages: list[str] = []
    handle = SimpleNamespace(update=pages.append)

    def display(page: str, display_id: bool) -> Any:
        assert not pages
        pages.append(page)
        return handle

    shell = SimpleNamespace(kernel=object())
    ipython = SimpleNamespace(get_ipython=lambda: shell)
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", SimpleNamespace(HTML=str, display=display))
    return pages


def test_progress_is_silent_by_default_outside_of_a_notebook(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert not in_notebook()
    Progress(None).say("said")
    assert capsys.readouterr().err == ""
    Progress(False).say("said")
    assert "said" in capsys.readouterr().err


def test_progress_is_shown_by_default_in_a_notebook(drawn: list[str]) -> None:
    Progress(None).say("a < b")
    assert "a &lt; b" in drawn[-1]
    Progress(True).say("nothing")
    assert len(drawn) == 1


def test_a_bar_ends_full_and_is_drawn_again_in_place(drawn: list[str]) -> None:
    bar = NotebookBar()
    bar.show("live", 0.1, "day 0")
    bar.show("live", 0.2, "too soon after to be drawn")
    assert len(drawn) == 1
    bar.show("live", 1.0, "day 3")
    assert 'value="1.000"' in drawn[-1]
    assert "day 3" in drawn[-1]


@pytest.mark.parametrize("notebook", [False, True])
def test_a_part_of_no_length_is_not_divided_by(notebook: bool, drawn: list[str]) -> None:
    progress = Progress(False)
    if not notebook:
        progress._page = None
    place: Any = type("Place", (), {"name": "warm-up"})()
    progress.expect(place, 0.0, 0.0, 1)
    progress.ended(place, 0, 0.0, 0)
    progress.expect(place, 0.0, 86_400.0, 1)
    progress.page(place, 0, 0.0, 0)  # before anybody was served
    progress.ended(place, 0, 86_400.0, 9)
