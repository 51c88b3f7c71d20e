"""One table, three renderings."""

import io

import pytest
from rich.console import Console

from policies.common.tables import Table, number

TABLE = Table(
    ("arm", "lift", "note"), [["a|b", "1.2 %", "<b>"], ["c", "–", "plain"]], marked=frozenset({1})
)


def test_markdown_escapes_bars_and_has_a_line_per_row() -> None:
    assert TABLE.markdown().splitlines() == [
        "| arm | lift | note |",
        "|---|---|---|",
        "| a\\|b | 1.2 % | &lt;b> |",
        "| c | – | plain |",
    ]


def test_html_escapes_marks_rows_and_aligns_words() -> None:
    page = TABLE.html()
    assert "&lt;b&gt;" in page
    assert "<b>" not in page
    assert page.count("<tr") == 3
    assert page.count('class="guard"') == 1
    assert '<td class="text">c</td>' in page
    assert "<td>1.2 %</td>" in page


def test_the_terminal_cuts_nothing() -> None:
    out = io.StringIO()
    Table(("name", "text"), [["a", "word " * 60]], text=2).print(Console(file=out, width=40))
    assert out.getvalue().count("word") == 60


def test_columns_are_chosen_by_name() -> None:
    few = TABLE.columns("arm", "note")
    assert few.rows == [["a|b", "<b>"], ["c", "plain"]]


@pytest.mark.parametrize(
    ("x", "text"),
    [
        (0.0, ".000"),
        (-0.0286, "-.029"),
        (0.00029, ".00029"),
        (-0.000045, "-.000045"),
        (2.6e-6, "2.6e-06"),
        (12345.0, "12\u2009345"),
        (1.234, "1.23"),
    ],
)
def test_numbers_are_written_as_they_are_read(x: float, text: str) -> None:
    assert number(x) == text
